//! The runbooks in `docs/runbooks`, as an operator runs them: bash, the tool, the servers' own command lines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::servers::{address, unique, variable};
use tempfile::TempDir;

const OLD: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const NEW: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
const CONTEXT: &str = "tenant=acme";
const FILES: usize = 5;

/// A shell of an operator, with a tree of files.
struct Shell {
    tree: TempDir,
    variables: Vec<(String, String)>,
}

impl Shell {
    fn new(variables: &[(&str, &str)]) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            tree: tempfile::tempdir().unwrap(),
            variables: variables.iter().map(own).collect(),
        }
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let tool = Path::new(env!("CARGO_BIN_EXE_waxseal")).parent().unwrap();
        let path = format!("{}:{}", tool.display(), variable("PATH").unwrap());
        Command::new(program)
            .args(arguments)
            .current_dir(self.tree.path())
            .env_clear()
            .env("PATH", path)
            .env("OLD", OLD)
            .env("NEW", NEW)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap()
    }

    fn runbook(&self, name: &str, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs/runbooks")
            .join(name);
        self.run(script.to_str().unwrap(), arguments)
    }

    /// What it prints, where it must succeed.
    fn done(output: Output) -> String {
        let said = String::from_utf8(output.stdout).unwrap();
        let complained = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}\n{complained}");
        said
    }

    fn file(&self, number: usize) -> PathBuf {
        self.tree.path().join(format!("data/{number}/file {number}.wax"))
    }

    fn seal_tree(&self, kek: &str) {
        for number in 0..FILES {
            self.seal_file(kek, number);
        }
    }

    fn seal_file(&self, kek: &str, number: usize) {
        let file = self.file(number);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let plain = self.tree.path().join("plain");
        fs::write(&plain, format!("content {number}")).unwrap();
        let arguments = ["seal", "--kek", kek, "--context", CONTEXT, "-o"];
        let arguments = [&arguments[..], &[file.to_str().unwrap(), plain.to_str().unwrap()]].concat();
        Self::done(self.run("waxseal", &arguments));
    }

    fn body(&self, number: usize) -> Vec<u8> {
        let bytes = fs::read(self.file(number)).unwrap();
        bytes[waxseal::Envelope::parse(&bytes).unwrap().header().body_offset()..].to_vec()
    }

    fn bodies(&self) -> Vec<Vec<u8>> {
        (0..FILES).map(|number| self.body(number)).collect()
    }

    fn opens(&self, kek: &str, number: usize) -> bool {
        let file = self.file(number);
        let arguments = ["open", "--kek", kek, "--context", CONTEXT, file.to_str().unwrap()];
        let opened = self.run("waxseal", &arguments);
        assert!(!opened.status.success() || opened.stdout == format!("content {number}").as_bytes());
        opened.status.success()
    }

    fn all_open(&self, kek: &str) -> bool {
        (0..FILES).all(|number| self.opens(kek, number))
    }
}

#[test]
fn a_master_is_swapped_and_what_is_left_behind_is_told() {
    let shell = Shell::new(&[]);
    shell.seal_tree("env:OLD");
    let before = shell.bodies();
    // Damaged beyond re-wrapping: it counts as left behind, and nothing of it is lost.
    let good = fs::read(shell.file(2)).unwrap();
    fs::write(shell.file(2), &good[..40]).unwrap();
    let partly = shell.runbook("swap-master", &["env:OLD", "env:NEW", "data", CONTEXT]);
    assert!(!partly.status.success());
    let said = String::from_utf8(partly.stdout).unwrap();
    assert!(said.contains("5 files, 4 re-wrapped, 1 not under"), "{said}");
    let complained = String::from_utf8(partly.stderr).unwrap();
    assert!(
        complained.contains("under a key that cannot be read: ./data/2/file 2.wax"),
        "{complained}"
    );
    assert_eq!(fs::read(shell.file(2)).unwrap(), &good[..40]);

    // Restored from a backup under the old key; the second run does the rest.
    fs::write(shell.file(2), &good).unwrap();
    let said = Shell::done(shell.runbook("swap-master", &["env:OLD", "env:NEW", "data", CONTEXT]));
    assert!(said.contains("5 files, 1 re-wrapped, 0 not under"), "{said}");
    assert!(said.contains("0 files do not open"), "{said}");
    assert!(shell.all_open("env:NEW") && !shell.opens("env:OLD", 0));
    assert!(shell.bodies() == before);
    let wrong = shell.runbook("swap-master", &["env:OLD", "env:NEW"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn what_cannot_be_listed_is_not_taken_for_moved() {
    let mut shell = Shell::new(&[]);
    shell.seal_tree("env:NEW");
    fs::create_dir(shell.tree.path().join("empty")).unwrap();
    let refused = |output: Output, reason: &str| {
        let complained = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && complained.contains(reason),
            "{complained}"
        );
    };
    for runbook in ["rewrap-tree", "swap-master"] {
        let run = |directory| shell.runbook(runbook, &["env:OLD", "env:NEW", directory, CONTEXT]);
        refused(run("date"), "not all of ./date can be read");
        refused(run("empty"), "no *.wax file is below ./empty");
        let arguments = ["--allow-empty", "env:OLD", "env:NEW", "empty", CONTEXT];
        let said = Shell::done(shell.runbook(runbook, &arguments));
        assert!(said.contains("0 files, 0 re-wrapped, 0 not under"), "{said}");
        Shell::done(run("data"));
    }

    // A directory that may not be read, told by `find` itself: root may read all of them.
    let find = shell.tree.path().join("find");
    fs::write(&find, "#!/bin/sh\n/usr/bin/find \"$@\"\nexit 1\n").unwrap();
    Shell::done(shell.run("chmod", &["+x", "find"]));
    let tool = Path::new(env!("CARGO_BIN_EXE_waxseal")).parent().unwrap();
    let path = format!(
        "{}:{}:{}",
        shell.tree.path().display(),
        tool.display(),
        variable("PATH").unwrap()
    );
    shell.variables.push(("PATH".to_owned(), path));
    for runbook in ["rewrap-tree", "swap-master"] {
        let partly = shell.runbook(runbook, &["env:OLD", "env:NEW", "data", CONTEXT]);
        refused(partly, "not all of ./data can be read");
    }
}

/// One file: deriving a key takes its time.
#[test]
fn keys_of_one_name_are_told_apart() {
    let shell = Shell::new(&[]);
    let named = |variable: &str| format!("passphrase-env:{variable}?name=ops&kdf=pbkdf2&iterations=600000");
    let (old, new) = (named("OLD"), named("NEW"));
    shell.seal_file(&old, 0);
    let before = shell.body(0);
    let count = || shell.runbook("rewrap-tree", &["--count", &old, &new, "data", CONTEXT]);
    let counted = count();
    let said = String::from_utf8(counted.stdout).unwrap();
    assert!(
        !counted.status.success() && said.contains("1 files, 0 re-wrapped, 1 not under"),
        "{said}"
    );

    for moved in [1, 0] {
        let said = Shell::done(shell.runbook("rewrap-tree", &[&old, &new, "data", CONTEXT]));
        assert!(
            said.contains(&format!("1 files, {moved} re-wrapped, 0 not under")),
            "{said}"
        );
    }
    assert!(shell.opens(&new, 0) && !shell.opens(&old, 0) && shell.body(0) == before);

    // Under both keys it is not moved.
    let both = ["rewrap", "--kek", &new, "--to", &new, "--to", &old];
    let file = shell.file(0);
    let both = [
        &both[..],
        &["--context", CONTEXT, "--in-place", file.to_str().unwrap()],
    ]
    .concat();
    Shell::done(shell.run("waxseal", &both));
    assert!(!count().status.success());
}

#[test]
fn a_vault_key_is_rotated_and_its_old_version_ends() {
    let Some(address) = address("openbao") else { return };
    let token = variable("WAXSEAL_TEST_OPENBAO_TOKEN").unwrap();
    let client = variable("WAXSEAL_TEST_OPENBAO_BINARY").unwrap();
    let (mount, key) = (unique("runbook"), "orders");
    let shell = Shell::new(&[
        ("VAULT_ADDR", &address),
        ("VAULT_TOKEN", &token),
        ("VAULT", &client),
        ("MOUNT", &mount),
    ]);
    Shell::done(shell.run(&client, &["secrets", "enable", "-path", &mount, "transit"]));
    Shell::done(shell.run(&client, &["write", "-f", &format!("{mount}/keys/{key}")]));
    let uri = format!("vault-transit:{key}?mount={mount}");
    shell.seal_tree(&uri);
    let before = shell.bodies();
    let old = fs::read(shell.file(0)).unwrap();

    let rotate = |arguments: &[&str]| {
        shell.runbook("rotate-vault-key", &[arguments, &[key, "data", CONTEXT]].concat())
    };
    let said = Shell::done(rotate(&["rotate"]));
    assert!(said.contains("version 1 -> 2"), "{said}");
    assert!(said.contains("5 files, 5 re-wrapped, 0 not under"), "{said}");
    assert!(shell.all_open(&uri) && shell.bodies() == before);
    // A backup from before still opens: nothing was retired.
    let new = fs::read(shell.file(0)).unwrap();
    fs::write(shell.file(0), &old).unwrap();
    assert!(shell.opens(&uri, 0));

    // A file that was written under the old version meanwhile keeps it alive, and nothing is re-wrapped on the way.
    let refused = |output: Output| {
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            !output.status.success() && !said.contains("no longer open anything"),
            "{said}"
        );
    };
    refused(rotate(&["retire", "2"]));
    assert!(fs::read(shell.file(0)).unwrap() == old && shell.opens(&uri, 0));
    // So do a directory that is not there, a version that is not there and what is no version.
    refused(shell.runbook("rotate-vault-key", &["retire", "2", key, "date", CONTEXT]));
    let said = Shell::done(rotate(&["move"]));
    assert!(said.contains("5 files, 1 re-wrapped, 0 not under"), "{said}");
    refused(rotate(&["retire", "3"]));
    assert_eq!(rotate(&["retire", "two"]).status.code(), Some(2));
    assert_eq!(rotate(&["--retire"]).status.code(), Some(2));

    let said = Shell::done(rotate(&["retire", "2"]));
    assert!(
        said.contains("versions below 2 no longer open anything"),
        "{said}"
    );
    assert!(shell.all_open(&uri) && shell.bodies() == before);
    fs::write(shell.file(0), old).unwrap();
    assert!(!shell.opens(&uri, 0));
    // And what cannot be moved any more keeps every step from ending well.
    refused(rotate(&["rotate"]));
    refused(rotate(&["retire", "3"]));
    fs::write(shell.file(0), new).unwrap();
    assert!(shell.opens(&uri, 0));
    // A key that was rotated before is rotated again.
    let said = Shell::done(rotate(&["rotate"]));
    assert!(said.contains("version 3 -> 4"), "{said}");
    assert!(said.contains("5 files, 5 re-wrapped, 0 not under"), "{said}");
    Shell::done(rotate(&["retire", "4"]));
}

#[test]
fn an_alias_of_aws_moves_to_a_new_key() {
    let (Some(endpoint), Some(client)) = (address("moto"), variable("WAXSEAL_TEST_AWS_CLI")) else {
        assert_ne!(
            variable("CI").as_deref(),
            Some("true"),
            "moto and aws-cli are needed"
        );
        println!("skipped: run scripts/services up moto aws-cli");
        return;
    };
    let shell = Shell::new(&[
        ("AWS", &client),
        ("AWS_ENDPOINT_URL", &endpoint),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("HOME", "/nonexistent"),
    ]);
    let alias = format!("alias/{}", unique("runbook"));
    let aws = |arguments: &[&str]| Shell::done(shell.run(&client, arguments)).trim().to_owned();
    let query = ["--query", "KeyMetadata.Arn", "--output", "text"];
    let old = aws(&[&["kms", "create-key"][..], &query].concat());
    aws(&[
        "kms",
        "create-alias",
        "--alias-name",
        &alias,
        "--target-key-id",
        &old,
    ]);
    let uri = format!("aws-kms:{alias}");
    shell.seal_tree(&uri);
    let before = shell.bodies();
    let late = fs::read(shell.file(0)).unwrap();

    let new = Shell::done(shell.runbook("rotate-aws-key", &["prepare", &alias]));
    let new = new.trim();
    assert!(new.starts_with("arn:aws:kms:") && new != old, "{new}");
    let said = Shell::done(shell.runbook("rotate-aws-key", &["move", &alias, new, "data", CONTEXT]));
    assert!(said.contains(&format!("{alias}: {old} -> {new}")), "{said}");
    assert!(said.contains("5 files, 5 re-wrapped, 0 not under"), "{said}");
    assert!(shell.all_open(&uri) && shell.bodies() == before);
    assert!(shell.all_open(&format!("aws-kms:{new}")));
    assert!(!shell.opens(&format!("aws-kms:{old}"), 0));

    let query = ["--query", "KeyMetadata.KeyState", "--output", "text"];
    let state = || aws(&[&["kms", "describe-key", "--key-id", &old][..], &query].concat());
    let retire =
        |key: &str, data: &str| shell.runbook("rotate-aws-key", &["retire", &alias, key, data, CONTEXT]);
    // Not what the alias means, not by a directory that is not there, and not while a process still wraps under it.
    assert!(!retire(new, "data").status.success());
    assert!(!retire(&old, "date").status.success());
    let moved = fs::read(shell.file(0)).unwrap();
    fs::write(shell.file(0), &late).unwrap();
    assert!(!retire(&old, "data").status.success());
    assert_eq!(state(), "Enabled");
    fs::write(shell.file(0), moved).unwrap();
    Shell::done(retire(&old, "data"));
    assert_eq!(state(), "Disabled");
}
