#![allow(clippy::unwrap_used, reason = "a test")]

use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;

use pollster::block_on;
use secrecy::ExposeSecret;

use super::*;
use crate::runtime::ProcessEnvironment;

/// Generous: it only keeps a test that fails from hanging.
const LONG: Duration = Duration::from_secs(60);

fn words(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

fn script(text: &str) -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script");
    std::fs::write(&path, text).unwrap();
    let command = vec!["/bin/sh".to_owned(), path.display().to_string()];
    (dir, command)
}

#[test]
fn a_command_gives_its_output_less_one_line_end_and_no_shell_reads_it() {
    for (command, expected) in [
        ("echo correct  horse", "correct horse"),
        // No shell: nothing is expanded, and ';' is a word.
        ("echo $HOME ; echo x", "$HOME ; echo x"),
    ] {
        let text = block_on(from_command(&words(command), LONG)).unwrap();
        assert_eq!(text.expose_secret(), expected);
    }
    let (_dir, command) = script("printf ' a b \\r\\n\\r\\n'");
    let text = block_on(from_command(&command, LONG)).unwrap();
    assert_eq!(text.expose_secret(), " a b \r\n");
}

#[test]
fn a_command_that_fails_or_says_too_much_is_refused_and_its_arguments_are_not_shown() {
    for (script_text, named) in [
        ("echo CANARY; exit 3", "failed: exit status: 3"),
        ("head -c 1025 /dev/zero", "too long"),
        ("printf '\\377'", "not UTF-8"),
        ("kill -9 $$", "failed: signal"),
    ] {
        let (_dir, mut command) = script(script_text);
        command.push("CANARY".into());
        let error = block_on(from_command(&command, LONG)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{script_text}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(named) && shown.contains("/bin/sh"), "{shown}");
        assert!(!shown.contains("CANARY"), "{shown}");
    }
    let error = block_on(from_command(&words("/nobody/here CANARY"), LONG)).unwrap_err();
    assert!(error.to_string().contains("cannot be started"), "{error}");
    assert!(!format!("{error:?}").contains("CANARY"), "{error:?}");
}

#[test]
fn a_command_that_does_not_end_is_ended() {
    // One that holds its output open, and one that closes it and goes on.
    for text in ["exec sleep 600", "exec sleep 600 >&-"] {
        let (dir, mut command) = script(&format!("echo $$ > \"$1\"\n{text}"));
        let pid = dir.path().join("pid");
        command.push(pid.display().to_string());
        let error = block_on(from_command(&command, Duration::from_millis(700))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        let pid = std::fs::read_to_string(pid).unwrap();
        let status = format!("/proc/{}/status", pid.trim());
        let gone = |_| {
            let there = std::fs::read_to_string(&status).unwrap_or_default();
            let is_gone = !there.contains("sleep") || there.contains("zombie");
            if !is_gone {
                std::thread::sleep(Duration::from_millis(100));
            }
            is_gone
        };
        assert!((0..300).any(gone), "it still runs");
    }
}

#[test]
fn a_descriptor_is_read_to_its_end_and_left_open() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, b"correct horse\n").unwrap();
    drop(writer);
    let number = u32::try_from(reader.as_raw_fd()).unwrap();
    let text = block_on(from_descriptor(number, None, LONG)).unwrap();
    assert_eq!(text.expose_secret(), "correct horse");
    // It is at its end, and there.
    assert!(
        block_on(from_descriptor(number, None, LONG))
            .unwrap()
            .expose_secret()
            .is_empty()
    );

    // The other end is kept open.
    let (reader, writer) = std::io::pipe().unwrap();
    let number = u32::try_from(reader.as_raw_fd()).unwrap();
    let error = block_on(from_descriptor(number, None, Duration::from_millis(200))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(
        error.to_string().contains(&format!("descriptor {number}")),
        "{error}"
    );
    drop(writer);

    let error = block_on(from_descriptor(987_654, None, LONG)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("descriptor 987654"), "{error}");
}

#[test]
fn a_descriptor_that_the_program_hands_over_is_read_from_where_it_stands() {
    #[derive(Debug)]
    struct Program;
    impl Environment for Program {
        fn var(&self, _: &str) -> Result<Option<SecretString>> {
            Ok(None)
        }
        fn descriptor(&self, number: u32) -> Result<Option<Box<dyn Read + Send>>> {
            match number {
                // Not one of this process: what is handed over is all that is looked at.
                987_654 => Ok(Some(Box::new(&b"correct horse\n"[..]))),
                _ => Err(Error::configuration("not given")),
            }
        }
    }
    let text = block_on(Source::Descriptor(987_654).read(&Program, None)).unwrap();
    assert_eq!(text.expose_secret(), "correct horse");
    let error = block_on(Source::Descriptor(0).read(&Program, None)).unwrap_err();
    assert!(error.to_string().contains("not given"), "{error}");
}

#[test]
fn a_secret_volume_is_taken_where_it_is_allowed_and_the_error_says_how() {
    // As the kubelet lays it out: links, and mode 0440.
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("..2026_11_26");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("passphrase"), "correct horse\r\n").unwrap();
    std::fs::set_permissions(data.join("passphrase"), std::fs::Permissions::from_mode(0o440)).unwrap();
    std::os::unix::fs::symlink("..2026_11_26", dir.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/passphrase", dir.path().join("passphrase")).unwrap();
    let source = |allow_shared| Source::File {
        path: dir.path().join("passphrase"),
        allow_shared,
    };
    let error = block_on(source(false).read(&ProcessEnvironment, None)).unwrap_err();
    assert!(error.to_string().contains("allow-shared=true"), "{error}");
    let text = block_on(source(true).read(&ProcessEnvironment, None)).unwrap();
    assert_eq!(text.expose_secret(), "correct horse");
}

#[test]
fn a_prompt_is_the_programs() {
    #[derive(Debug)]
    struct Terminal;
    impl Environment for Terminal {
        fn var(&self, _: &str) -> Result<Option<SecretString>> {
            Ok(None)
        }
        fn ask(&self, what: &str) -> Result<Option<SecretString>> {
            Ok(Some(format!("{what}\n").into()))
        }
    }
    let error = block_on(Source::Prompt.read(&ProcessEnvironment, None)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("passphrase-file:PATH"), "{error}");
    for (name, expected) in [(None, "passphrase"), (Some("ops"), "passphrase \"ops\"")] {
        let text = block_on(Source::Prompt.read(&Terminal, name)).unwrap();
        assert_eq!(text.expose_secret(), expected);
    }
}
