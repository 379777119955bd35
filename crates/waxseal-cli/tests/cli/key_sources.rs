//! What keys are read from, however they are named: never the input, never what is overwritten, never what was not given.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::tool::{KEY, NEW_KEY, Tool};

/// The least cost there is.
const COST: &str = "kdf=argon2id&memory=19456&passes=2&lanes=1";

fn ends(tool: &Tool, script: &str, code: i32, says: &str) {
    let run = tool.shell(script);
    assert_eq!(run.code, code, "{script}: {}", run.stderr);
    assert!(run.stderr.contains(says), "{script}: {}", run.stderr);
}

/// The first file that the tool opens itself has the number 3: its text would be the passphrase.
#[test]
fn a_descriptor_that_was_not_given_is_not_what_the_tool_opened_since() {
    let tool = Tool::new();
    tool.write_private("f", NEW_KEY);
    tool.write("sealed", tool.done(&["seal", "--kek", "env:K"], b"hello"));
    let listing = tool.listing();
    for script in [
        "$W seal --kek passphrase-fd:3 f -o new",
        "printf x | $W seal --kek passphrase-fd:3 -o new",
        "printf x | $W seal --kek passphrase-fd:3 --aad @f > /dev/null",
        "$W seal --kek passphrase-fd:4 f -o new",
        "$W seal --kek passphrase-fd:4294967295 f -o new",
        "$W seal --kek env:K --kek passphrase-fd:3 f -o new",
        "$W seal --kek file:/dev/fd/3 f -o new",
        "$W open --kek passphrase-fd:3 sealed -o new",
        "printf x | $W open --kek passphrase-fd:3 -o new",
        "$W rewrap --kek env:K --to passphrase-fd:3 sealed -o new",
        "$W rewrap --kek env:K --to passphrase-fd:3 --in-place sealed",
        "$W doctor --kek passphrase-fd:3",
        "WAXSEAL_KMS_URI=passphrase-fd:3 $W seal f -o new",
        "WAXSEAL_KMS_URI=env:K WAXSEAL_KMS_ALSO_OPEN=passphrase-fd:3 $W seal f -o new",
        "WAXSEAL_KMS_BACKEND=passphrase-fd WAXSEAL_KMS_KEY_ID=3 $W seal f -o new",
    ] {
        ends(&tool, &format!("exec 3<&- 4<&-; {script}"), 9, "): it is closed");
        assert_eq!(tool.listing(), listing, "{script}");
    }
    ends(
        &tool,
        "$W seal --kek passphrase-fd:0 f -o new <&-",
        9,
        "the passphrase of --kek (/dev/fd/0): it is closed",
    );
    // In the table, as all that is wrong with the environment.
    let run = tool.shell("exec 3<&-; WAXSEAL_KMS_URI=passphrase-fd:3 $W doctor");
    let table = String::from_utf8(run.stdout).unwrap();
    assert!(run.code == 10 && table.contains("it is closed"), "{table}");
}

#[test]
fn a_key_that_variables_name_is_neither_the_input_nor_the_output() {
    let tool = Tool::new();
    tool.write("f", "hello");
    tool.write("sealed", tool.done(&["seal", "--kek", "env:K"], b"hello"));
    for name in ["key", "a key"] {
        tool.write_private(name, KEY);
    }
    let listing = tool.listing();
    for script in [
        "printf x | WAXSEAL_KMS_BACKEND=passphrase-fd WAXSEAL_KMS_KEY_ID=0 $W seal -o new",
        "printf x | WAXSEAL_KMS_BACKEND=passphrase-file WAXSEAL_KMS_KEY_ID=/dev/stdin $W seal -o new",
        "printf x | WAXSEAL_KMS_URI=env:K WAXSEAL_KMS_ALSO_OPEN='env:NEW passphrase-fd:0' $W open -o new",
        "printf x | WAXSEAL_KMS_URI=passphrase-fd:0 $W rewrap --to passphrase-fd:0 -o new",
    ] {
        ends(&tool, script, 2, "would both read");
        assert_eq!(tool.listing(), listing, "{script}");
    }
    for script in [
        "WAXSEAL_KMS_BACKEND=file WAXSEAL_KMS_KEY_ID=key $W seal f -o key",
        "WAXSEAL_KMS_BACKEND=file WAXSEAL_KMS_KEY_ID=$PWD/key $W seal f >> key",
        "WAXSEAL_KMS_BACKEND=file WAXSEAL_KMS_KEY_ID=key?allow-shared=true $W open sealed -o key",
        "WAXSEAL_KMS_URI='file:a key' $W seal f -o 'a key'",
        "WAXSEAL_KMS_URI=env:K WAXSEAL_KMS_ALSO_OPEN=file:key $W open sealed -o key",
        "WAXSEAL_KMS_URI=file:key $W rewrap --to env:NEW sealed -o key",
    ] {
        ends(&tool, script, 2, "the key of the environment is read from");
        for name in ["key", "a key"] {
            assert_eq!(tool.read(name), KEY.as_bytes(), "{script}");
        }
    }
}

#[test]
#[cfg(all(feature = "azure-key-vault", feature = "pkcs11", feature = "vault-transit"))]
fn no_pin_token_or_certificate_of_a_key_is_overwritten() {
    let tool = Tool::new();
    tool.write("f", "hello");
    for uri in [
        "vault-transit:o?addr=http://127.0.0.1:1&auth=jwt&role=r&jwt-file=secret",
        "azure-key-vault:https://127.0.0.1:1/keys/k?ca=secret&verify-challenge=off",
        "pkcs11:token=t;object=k?module-path=/m.so&pin-source=file:secret",
        "pkcs11:token=t;object=k?module-path=/m.so&pin-source=file:%73ecret",
        "pkcs11:token=t;object=k?module-path=/m.so&pin-source=file:./%73ecret&allow-shared=true",
    ] {
        tool.write_private("secret", "1234");
        let line = tool.fails_with(2, &["seal", "--kek", uri, "-o", "secret", "f"], b"");
        assert!(line.contains("the key of --kek is read from"), "{line}");
    }
}

#[test]
fn a_descriptor_is_read_from_where_the_shell_has_left_it() {
    let tool = Tool::new();
    tool.write("f", "hello");
    tool.write("p", "not this line\ncorrect horse\n");
    let script = format!("exec 3<p; read line <&3; $W seal --kek 'passphrase-fd:3?{COST}' f -o new");
    ends(&tool, &script, 0, "");
    let open = format!("P='correct horse' $W open --kek 'passphrase-env:P?{COST}' new");
    assert_eq!(tool.shell(&open).stdout, b"hello");
}

/// What a descriptor leads to cannot be opened by its path if it is a socket, or another user's.
#[test]
fn a_descriptor_that_has_no_path_to_open_is_read() {
    let tool = Tool::new();
    tool.write("f", "hello");
    let (mut here, there) = UnixStream::pair().unwrap();
    here.write_all(b"correct horse\n").unwrap();
    drop(here);
    let kek = format!("passphrase-fd:0?{COST}");
    let output = tool
        .command(&["seal", "--kek", &kek, "-o", "new", "f"])
        .stdin(Stdio::from(OwnedFd::from(there)))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let open = format!("P='correct horse' $W open --kek 'passphrase-env:P?{COST}' new");
    assert_eq!(tool.shell(&open).stdout, b"hello");
}
