//! The runbooks of a key ring in `docs/runbooks`, as an operator runs them.

#[cfg(feature = "fleet")]
mod stores;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::ring::aged::age;

const CONTEXT: &str = "tenant=acme";

/// A shell of an operator, in a directory of its own.
struct Shell(TempDir);

impl Shell {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One with a ring, and files sealed under its key.
    fn with_ring(options: &[&str]) -> (Self, String) {
        let shell = Self::new();
        done(shell.runbook("ring-day-one", &[&["/", "local"], options].concat()));
        fs::create_dir(shell.path("data")).unwrap();
        for number in 0..3 {
            shell.seal(number);
        }
        let id = shell.ids("active").remove(0);
        (shell, id)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let tool = Path::new(env!("CARGO_BIN_EXE_waxseal")).parent().unwrap();
        Command::new(program)
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", tool.display()),
            )
            .env("WAXSEAL_ACTOR", "operator")
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    fn runbook(&self, name: &str, arguments: &[&str]) -> Output {
        self.runbook_with(name, arguments, &[])
    }

    fn runbook_with(&self, name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs/runbooks")
            .join(name);
        self.run(script.to_str().unwrap(), arguments, variables)
    }

    fn tool(&self, arguments: &[&str]) -> Output {
        self.run("waxseal", arguments, &[])
    }

    fn seal(&self, number: usize) {
        fs::write(self.path("plain"), format!("content {number}")).unwrap();
        let file = format!("data/{number}.wax");
        done(self.tool(&[
            "seal",
            "--ring",
            "ring.toml",
            "--context",
            CONTEXT,
            "-o",
            &file,
            "plain",
        ]));
    }

    fn all_open(&self) {
        for number in 0..3 {
            let file = format!("data/{number}.wax");
            let opened = self.tool(&["open", "--ring", "ring.toml", "--context", CONTEXT, &file]);
            assert_eq!(done(opened), format!("content {number}"));
        }
    }

    fn ids(&self, state: &str) -> Vec<String> {
        let list = done(self.tool(&["keys", "list", "--state", state, "--json"]));
        let list: Value = serde_json::from_str(&list).unwrap();
        let ids = list["keys"].as_array().unwrap().iter();
        ids.map(|key| key["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// What it prints, where it must succeed.
fn done(output: Output) -> String {
    let said = String::from_utf8(output.stdout).unwrap();
    let complained = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}\n{complained}");
    said
}

/// What it complains of, where it must fail.
fn failed(output: Output) -> String {
    assert!(
        !output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn day_one_can_be_run_again() {
    let (shell, id) = Shell::with_ring(&[]);
    done(shell.runbook("ring-day-one", &["/", "local"]));
    assert_eq!(shell.ids("active"), [id]);
    shell.all_open();
}

#[test]
fn rotated_rewrapped_and_retired_with_evidence() {
    let (shell, first) = Shell::with_ring(&["--overlap", "PT0S"]);
    let said = done(shell.runbook("ring-rotate", &["/", "data", "quarterly", CONTEXT]));
    assert!(said.contains("3 files, 0 of them not re-wrapped"), "{said}");
    assert_eq!(shell.ids("deprecated"), [first.as_str()]);
    shell.all_open();
    let complained = failed(shell.runbook("ring-retire", &[&first, "data"]));
    assert!(complained.contains("the census began"), "{complained}");
    age(shell.0.path());
    done(shell.runbook("ring-retire", &[&first, "data"]));
    assert_eq!(shell.ids("retired"), [first.as_str()]);
    assert!(shell.path(&format!("receipt-{first}.json")).exists());
}

#[test]
fn a_key_that_has_leaked_is_out_of_use_and_can_be_revoked_again() {
    let (shell, first) = Shell::with_ring(&[]);
    let arguments = [first.as_str(), "INC-7", "carol", "it was in a log", "data"];
    let said = done(shell.runbook("ring-revoke", &arguments));
    assert!(
        said.contains("ticket INC-7") && said.contains("it was in a log"),
        "{said}"
    );
    assert_eq!(shell.ids("compromised"), [first.as_str()]);
    let active = shell.ids("active");
    assert_eq!(active.len(), 1);
    let opened = shell.tool(&["open", "--ring", "ring.toml", "--context", CONTEXT, "data/0.wax"]);
    assert_eq!(opened.status.code(), Some(13));
    assert!(shell.path(&format!("receipt-{first}.json")).exists());
    // Nothing changes the second time. With logs, it says what was done under the key.
    #[cfg(feature = "audit")]
    {
        let open = [
            "open",
            "--ring",
            "ring.toml",
            "--context",
            CONTEXT,
            "data/0.wax",
            "--log",
            "log",
        ];
        assert_eq!(shell.tool(&open).status.code(), Some(13));
        done(shell.runbook_with("ring-revoke", &arguments, &[("LOGS", "log")]));
        let review = fs::read_to_string(shell.path(&format!("review-{first}.md"))).unwrap();
        assert!(
            review.contains("at or after it: 0.") && review.contains("key\\_revoked"),
            "{review}"
        );
    }
    #[cfg(not(feature = "audit"))]
    done(shell.runbook("ring-revoke", &arguments));
    assert_eq!(shell.ids("active"), active);
    shell.seal(0);
    // One that cannot be disabled is revoked all the same, and the script says that not all was done.
    let arguments = [active[0].as_str(), "INC-8", "carol", "again"];
    let output = shell.runbook_with("ring-revoke", &arguments, &[("DISABLE", "1")]);
    let complained = failed(output);
    assert!(complained.contains("run this again"), "{complained}");
    assert_eq!(shell.ids("compromised").len(), 2);
    // A key that is not there is not revoked.
    let nobody = "01890000-0000-7000-8000-000000000000";
    let complained = failed(shell.runbook("ring-revoke", &[nobody, "a", "b", "c"]));
    assert!(complained.contains("is not revoked"), "{complained}");
}

/// The script that revokes a parent leaves no tenant that cannot seal.
#[test]
fn tenants_under_a_parent_that_has_leaked_have_new_branch_keys() {
    let shell = Shell::new();
    let init = ["--scope-template", "tenant/{tenant}", "--overlap", "PT0S"];
    done(shell.tool(&[&["ring", "init"], &init[..]].concat()));
    done(shell.tool(&["keys", "create", "--scope", "/", "--kek", "local"]));
    let parent = shell.ids("active").remove(0);
    for tenant in ["a", "b"] {
        let scope = format!("tenant/{tenant}");
        done(shell.tool(&["keys", "create", "--scope", &scope, "--kek", "branch"]));
    }
    let said = done(shell.runbook("ring-revoke", &[&parent, "INC-7", "carol", "leaked"]));
    assert!(
        said.contains("nothing is sealed there until it is rotated"),
        "{said}"
    );
    let status = done(shell.tool(&["ring", "status"]));
    assert!(!status.contains("`keys tick`"), "{status}");
    assert_eq!(shell.ids("active").len(), 3);
}

/// Files of the tenant, its neighbor's, and a key file that somebody has to remove.
#[test]
fn a_tenant_that_leaves_is_shredded_and_its_neighbor_is_not() {
    let template = ["--scope-template", "tenant/{tenant}", "--cooling-off", "PT0S"];
    let shell = Shell::new();
    done(shell.runbook(
        "ring-day-one",
        &[&["tenant/acme", "local"], &template[..]].concat(),
    ));
    done(shell.tool(&["keys", "create", "--scope", "tenant/other", "--kek", "local"]));
    fs::create_dir(shell.path("data")).unwrap();
    for number in 0..3 {
        shell.seal(number);
    }
    let id = shell.ids("active").remove(0);
    let start = [
        "start",
        "tenant/acme",
        "GDPR-17",
        "dana",
        "the contract ended",
        "data",
    ];
    let said = done(shell.runbook("ring-shred", &start));
    assert!(
        said.contains("found 3 envelopes") && said.contains("ticket GDPR-17: the contract ended"),
        "{said}"
    );
    let open = || shell.tool(&["open", "--ring", "ring.toml", "--context", CONTEXT, "data/0.wax"]);
    assert_eq!(open().status.code(), Some(14));
    done(shell.runbook("ring-shred", &["cancel", "tenant/acme", "they stay"]));
    shell.all_open();
    done(shell.runbook("ring-shred", &start));
    let complained = failed(shell.runbook("ring-shred", &["end", "tenant/acme"]));
    assert!(
        complained.contains("remove the file") && complained.contains("is not gone yet"),
        "{complained}"
    );
    let shown = done(shell.tool(&["keys", "show", &id, "--json"]));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let uri = shown["key"]["uri"].as_str().unwrap();
    let file = uri.strip_prefix("file:").unwrap().split('?').next().unwrap();
    fs::remove_file(shell.path(file)).unwrap();
    done(shell.tool(&["keys", "destroy", &id, "--attest", "--reason", "removed", "--yes"]));
    done(shell.runbook("ring-shred", &["end", "tenant/acme"]));
    let receipt = fs::read_to_string(shell.path("shred-tenant%2Facme.json")).unwrap();
    assert!(receipt.contains("\"stage\":\"destroyed\""));
    assert_eq!(shell.ids("destroyed"), [id]);
    assert_eq!(shell.ids("active").len(), 1, "the neighbor");
    let complained = failed(shell.runbook("ring-shred", &["start", "tenant/none", "T", "W", "R"]));
    assert!(complained.contains("nothing to shred"), "{complained}");
}

#[test]
fn a_shredding_that_was_interrupted_goes_on_and_spares_the_receipts_of_others() {
    let template = [
        "--scope-template",
        "tenant/{tenant}/{part}",
        "--cooling-off",
        "PT0S",
    ];
    let shell = Shell::new();
    done(shell.runbook("ring-day-one", &[&["/", "local"], &template[..]].concat()));
    for scope in ["tenant/a-b/c", "tenant/a/b-c"] {
        done(shell.tool(&["keys", "create", "--scope", scope, "--kek", "branch"]));
    }
    fs::create_dir(shell.path("data")).unwrap();
    fs::create_dir(shell.path("kept")).unwrap();
    let receipt = shell.path("kept/receipt.json").display().to_string();
    let elsewhere = [("RECEIPT", receipt.as_str())];
    let start = |scope: &'static str| ["start", scope, "GDPR-17", "dana", "the contract ended", "data"];
    // Shredded, and killed before the receipt was there.
    let shred = [
        "keys",
        "shred",
        "--scope",
        "tenant/a-b/c",
        "--ticket",
        "T",
        "--reason",
        "x",
        "--yes",
    ];
    done(shell.tool(&shred));
    let said = done(shell.runbook_with("ring-shred", &start("tenant/a-b/c"), &elsewhere));
    assert!(said.contains("is shredded already: going on"), "{said}");
    for name in ["census-receipt.json", "pending-receipt.json"] {
        assert!(shell.path("kept").join(name).exists(), "{name}");
    }
    done(shell.runbook_with("ring-shred", &["end", "tenant/a-b/c"], &elsewhere));
    let complained = failed(shell.runbook_with("ring-shred", &start("tenant/a/b-c"), &elsewhere));
    assert!(
        complained.contains("is no receipt of tenant/a/b-c"),
        "{complained}"
    );
    assert_eq!(shell.ids("active").len(), 2, "nothing was done");
    done(shell.runbook("ring-shred", &start("tenant/a/b-c")));
    done(shell.runbook("ring-shred", &["end", "tenant/a/b-c"]));
    let complained = failed(shell.runbook_with("ring-shred", &["end", "tenant/a/b-c"], &elsewhere));
    assert!(complained.contains("name another file"), "{complained}");
    done(shell.runbook("ring-shred", &["end", "tenant/a-b/c"]));
    for (file, scope) in [
        (receipt.as_str(), "tenant/a-b/c"),
        ("shred-tenant%2Fa-b%2Fc.json", "tenant/a-b/c"),
        ("shred-tenant%2Fa%2Fb-c.json", "tenant/a/b-c"),
    ] {
        let said = done(shell.tool(&["keys", "shred-receipt", "--check", file]));
        assert!(said.starts_with(&format!("{scope}: destroyed")), "{said}");
    }
}

#[test]
fn the_parent_of_branch_keys_is_rotated_and_they_move_along() {
    let shell = Shell::new();
    let by_tenant = [
        "/",
        "local",
        "--scope-template",
        "tenant/{tenant}",
        "--overlap",
        "PT0S",
    ];
    done(shell.runbook("ring-day-one", &by_tenant));
    fs::create_dir(shell.path("data")).unwrap();
    let made = done(shell.tool(&[
        "keys",
        "create",
        "--scope",
        "tenant/acme",
        "--kek",
        "branch",
        "--json",
    ]));
    assert!(made.contains("active"), "{made}");
    for number in 0..3 {
        shell.seal(number);
    }
    let said = done(shell.runbook("ring-rotate-parent", &["/", "export.json", "yearly"]));
    assert!(
        said.contains("1 branch key wrapped anew") && said.contains("the ring remembers an export"),
        "{said}"
    );
    shell.all_open();
    let again = shell.runbook_with(
        "ring-rotate-parent",
        &["/", "export.json", "yearly"],
        &[("NO_ROTATE", "1")],
    );
    assert!(done(again).contains("0 branch keys wrapped anew, 1 were under"));
    let old = shell.ids("deprecated").remove(0);
    age(shell.0.path());
    done(shell.runbook("ring-retire", &[&old, "data"]));
    shell.all_open();
}

#[test]
fn what_is_under_a_leaked_key_is_moved_under_an_approval() {
    let (shell, first) = Shell::with_ring(&[]);
    let made = done(shell.tool(&["ring", "approver-key", "carol.key", "--json"]));
    let made: Value = serde_json::from_str(&made).unwrap();
    done(shell.tool(&["ring", "set", "--approver", made["approver"].as_str().unwrap()]));
    done(shell.runbook("ring-revoke", &[&first, "INC-7", "carol", "it was in a log"]));
    let approve = |id: &str, expires: &str, output: &str| {
        shell.tool(&[
            "ring",
            "approve",
            "--key",
            id,
            "--ticket",
            "INC-7",
            "--expires",
            expires,
            "--signer",
            "carol.key",
            "-o",
            output,
        ])
    };
    // One that is over moves nothing, and the script says which files are left and why.
    done(approve(&first, "PT1S", "over.json"));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let arguments = [first.as_str(), "over.json", "data", CONTEXT];
    let output = shell.runbook("ring-break-glass", &arguments);
    assert_eq!(output.status.code(), Some(8));
    let complained = failed(output);
    assert_eq!(complained.matches("not moved: data/").count(), 3, "{complained}");
    assert!(complained.contains("it has expired"), "{complained}");
    // Nor does one of another key begin with it.
    done(approve(&first, "PT8H", "approval.json"));
    let other = shell.ids("active").remove(0);
    let complained = failed(shell.runbook("ring-break-glass", &[&other, "approval.json", "data", CONTEXT]));
    assert!(complained.contains("is no approval for the key"), "{complained}");
    let arguments = [first.as_str(), "approval.json", "data", CONTEXT];
    done(shell.runbook("ring-break-glass", &arguments));
    shell.all_open();
    // And again, where nothing is to be done.
    done(shell.runbook("ring-break-glass", &arguments));
    shell.all_open();
    // Nothing keeps the key from its end but time.
    age(shell.0.path());
    done(shell.tool(&["census", "data", "--receipt", "last.json"]));
    done(shell.tool(&["keys", "destroy", &first, "--receipt", "last.json", "--yes"]));
}

#[test]
fn nothing_is_retired_that_something_is_under() {
    let (shell, first) = Shell::with_ring(&["--overlap", "PT0S"]);
    done(shell.tool(&["keys", "rotate", "--scope", "/", "--reason", "test"]));
    age(shell.0.path());
    let complained = failed(shell.runbook("ring-retire", &[&first, "data"]));
    assert!(
        complained.contains("3 items would become unreadable"),
        "{complained}"
    );
    // An item that cannot be read may be the last one.
    fs::write(shell.path("data/3.wax"), "WAX\u{1}").unwrap();
    let complained = failed(shell.runbook("ring-retire", &[&first, "data"]));
    assert!(complained.contains("not whole"), "{complained}");
    assert_eq!(shell.ids("deprecated"), [first.as_str()]);
    fs::remove_file(shell.path("data/3.wax")).unwrap();
    shell.all_open();
}

#[test]
fn a_canary_and_the_way_back() {
    let (shell, first) = Shell::with_ring(&[]);
    done(shell.runbook("ring-canary", &["start", &first, "50", "a new server"]));
    let second = shell.ids("pending").remove(0);
    shell.all_open();
    done(shell.runbook("ring-canary", &["promote", &second]));
    assert_eq!(shell.ids("active"), [second.as_str()]);
    done(shell.runbook("ring-rollback", &[&first, "the new server is slow"]));
    assert_eq!(
        (shell.ids("active"), shell.ids("deprecated")),
        (vec![first], vec![second])
    );
    shell.all_open();
    // Another canary is given up. What it has wrapped opens.
    let active = shell.ids("active").remove(0);
    done(shell.runbook("ring-canary", &["start", &active, "100", "another server"]));
    let third = shell.ids("pending").remove(0);
    done(shell.runbook("ring-canary", &["back", &third, "it fails"]));
    assert!(shell.ids("deprecated").contains(&third) && shell.ids("pending").is_empty());
    shell.all_open();
}

#[test]
fn saved_and_restored() {
    let (shell, first) = Shell::with_ring(&[]);
    done(shell.runbook("ring-backup", &["save", "old.json"]));
    done(shell.runbook("ring-rotate", &["/", "data", "quarterly", CONTEXT]));
    done(shell.runbook("ring-backup", &["save", "new.json"]));
    fs::remove_file(shell.path("ring.db")).unwrap();
    let complained = failed(shell.runbook("ring-backup", &["restore", "old.json"]));
    assert!(complained.contains("older state"), "{complained}");
    done(shell.runbook("ring-backup", &["restore", "new.json"]));
    shell.all_open();
    assert_eq!(shell.ids("deprecated"), [first]);
}

#[test]
fn a_ring_with_branch_keys_is_saved_and_restored() {
    let shell = Shell::new();
    let template = ["--scope-template", "tenant/{tenant}"];
    done(shell.runbook("ring-day-one", &[&["/", "local"], &template[..]].concat()));
    done(shell.tool(&["keys", "create", "--scope", "tenant/acme", "--kek", "branch"]));
    fs::create_dir(shell.path("data")).unwrap();
    (0..3).for_each(|number| shell.seal(number));
    done(shell.runbook("ring-backup", &["save", "saved.json"]));
    done(shell.tool(&["ring", "check"]));
    fs::rename(shell.path("ring.db"), shell.path("ring.db.damaged")).unwrap();
    let said = done(shell.runbook("ring-backup", &["restore", "saved.json"]));
    assert!(said.contains("2 keys in 2 scopes verified"), "{said}");
    // What is not asked by itself is named.
    assert!(said.contains("1 branch key"), "{said}");
    shell.all_open();
    // Day one can be run again, too.
    done(shell.runbook("ring-day-one", &["/", "local"]));
}

/// What `ring check` tells an operator to do, done.
#[test]
fn a_damaged_inventory_is_moved_away_and_restored() {
    let (shell, first) = Shell::with_ring(&[]);
    done(shell.runbook("ring-backup", &["save", "saved.json"]));
    let mut bytes = fs::read(shell.path("ring.db")).unwrap();
    let needle = b"\"state\":\"active\"";
    let places: Vec<usize> = (0..bytes.len() - needle.len())
        .filter(|at| bytes[*at..].starts_with(needle))
        .collect();
    for at in places {
        bytes[at..at + needle.len()].copy_from_slice(b"\"state\":\"Active\"");
    }
    fs::write(shell.path("ring.db"), bytes).unwrap();
    let complained = failed(shell.tool(&["ring", "check"]));
    assert!(complained.contains("does not verify: 1 error"), "{complained}");
    // The runbook that is named is there, and says what comes first.
    let named = complained.rsplit(' ').next().unwrap().trim();
    let runbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(named);
    let runbook = fs::read_to_string(runbook).unwrap_or_else(|_| panic!("{named}"));
    assert!(runbook.contains("mv ring.db ring.db.damaged"));
    let complained = failed(shell.runbook("ring-backup", &["restore", "saved.json"]));
    assert!(complained.contains("move the inventory away"), "{complained}");
    fs::rename(shell.path("ring.db"), shell.path("ring.db.damaged")).unwrap();
    done(shell.runbook("ring-backup", &["restore", "saved.json"]));
    shell.all_open();
    assert_eq!(shell.ids("active"), [first]);
}

#[test]
fn an_inventory_that_is_away_comes_back() {
    let (shell, _) = Shell::with_ring(&[]);
    fs::rename(shell.path("ring.db"), shell.path("away.db")).unwrap();
    let away = shell.runbook("ring-away", &["1"]);
    assert_eq!(away.status.code(), Some(6));
    // Nothing was made in its place.
    assert!(!shell.path("ring.db").exists());
    fs::rename(shell.path("away.db"), shell.path("ring.db")).unwrap();
    let said = done(shell.runbook("ring-away", &["1"]));
    assert!(said.contains("1 key in 1 scope verified"), "{said}");
    shell.all_open();
}

#[test]
fn every_runbook_says_how_it_is_used() {
    let shell = Shell::new();
    for name in [
        "ring-day-one",
        "ring-rotate",
        "ring-rotate-parent",
        "ring-canary",
        "ring-rollback",
        "ring-retire",
        "ring-revoke",
        "ring-break-glass",
        "ring-shred",
        "ring-backup",
    ] {
        let output = shell.runbook(name, &[]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(&format!("  {name} ")), "{said}");
    }
}
