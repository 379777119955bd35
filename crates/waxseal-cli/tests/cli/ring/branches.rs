//! Branch keys, from the command line.

use super::aged::age;
use super::*;

impl Ring {
    /// A ring of tenants whose branch keys are under the scope `/`.
    pub(super) fn of_branches(more: &[&str]) -> (Self, String) {
        let ring = Self::none();
        let init = [
            "ring",
            "init",
            "--scope-template",
            "tenant/{tenant}",
            "--overlap",
            "PT0S",
        ];
        ring.json(&[&init[..], more].concat());
        let made = ring.json(&["keys", "create", "--scope", "/", "--kek", "local"]);
        ring.0.write("plain", "alice");
        fs::create_dir(ring.0.path("data")).unwrap();
        (ring, text(&made["moves"][0]["key"]))
    }

    pub(super) fn branch(&self, of: &str) -> String {
        let made = self.json(&["keys", "create", "--scope", of, "--kek", "branch"]);
        assert_eq!(made["moves"][0]["to"], "active", "{made}");
        text(&made["moves"][0]["key"])
    }

    fn shown(&self, id: &str) -> Value {
        self.json(&["keys", "show", id])["key"].clone()
    }
}

#[test]
fn a_branch_key_is_made_shown_rotated_and_wrapped_anew() {
    let (ring, parent) = Ring::of_branches(&[]);
    let id = ring.branch("tenant/acme");
    let key = ring.shown(&id);
    assert_eq!(
        key["kek"],
        serde_json::json!({"provider": "branch", "id": id, "version": null})
    );
    assert_eq!(key["uri"], "branch:");
    assert_eq!(
        (&key["branch"]["parent"], &key["branch"]["parent_scope"]),
        (&parent.as_str().into(), &"/".into())
    );
    assert_eq!(key["branch"]["wrapped_under"], ring.shown(&parent)["kek"]);
    assert_eq!(
        (&key["class"], &key["protection"]),
        (&"symmetric".into(), &"software".into())
    );
    assert_eq!(ring.shown(&parent)["branch"], Value::Null);
    let shown = ring.run(&["keys", "show", &id]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("wrapped under") && shown.contains(&format!("{parent} of /")),
        "{shown}"
    );
    ring.seal("data/a.wax", "alice");
    assert_eq!(ring.open("data/a.wax").stdout, b"alice");
    let status = ring.json(&["ring", "status"]);
    assert_eq!(
        status["branch_keys"],
        serde_json::json!([{"parent": parent, "parent_scope": "/", "keys": 1}])
    );

    let rotated = ring.json(&["keys", "rotate", "--scope", "/", "--reason", "test"]);
    let next = text(&rotated["rotated"][0]["key"]);
    age(ring.0.folder());
    let said = ring.fails(
        8,
        &["keys", "retire", &parent, "--force", "--reason", "x", "--yes"],
    );
    assert!(
        said.contains("1 branch key is") && said.contains("ring rewrap-branches --scope /"),
        "{said}"
    );
    let other = ring.json(&["ring", "rewrap-branches", "--scope", "system"]);
    assert_eq!((&other["rewrapped"], &other["left"]), (&0.into(), &0.into()));
    let job = ring.json(&["ring", "rewrap-branches"]);
    assert_eq!(
        fields(&job),
        [
            "command",
            "current",
            "failed",
            "left",
            "rewrapped",
            "schema",
            "stopped",
            "taken_over"
        ]
    );
    assert_eq!(
        (&job["rewrapped"], &job["left"], &job["stopped"]),
        (&1.into(), &0.into(), &false.into())
    );
    assert_eq!(ring.shown(&id)["branch"]["parent"], next.as_str());
    let again = ring.run(&["ring", "rewrap-branches"]);
    let again = String::from_utf8(again.stdout).unwrap();
    assert!(
        again.contains("0 branch keys wrapped anew, 1 were under the active key"),
        "{again}"
    );

    // A census counts what is under the parent: nothing anymore.
    let census = ring.json(&["census", "data", "--receipt", "receipt.json"]);
    let places: Vec<String> = census["covers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| text(&place["place"]))
        .collect();
    assert_eq!(places[1], "branch-keys");
    assert_eq!(
        census["not_covered"],
        serde_json::json!(["backups", "dek-stores"])
    );
    let run = ring.run(&["keys", "retire", &parent, "--receipt", "receipt.json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(ring.open("data/a.wax").stdout, b"alice");
    assert_eq!(ring.json(&["ring", "check"])["good"], true);
}

#[test]
fn a_parent_is_destroyed_after_an_export_that_the_ring_remembers() {
    let (ring, parent) = Ring::of_branches(&["--cooling-off", "PT0S"]);
    ring.branch("tenant/acme");
    ring.seal("data/a.wax", "alice");
    let early = ring.json(&["ring", "export", "early.json"]);
    assert_eq!(
        early["remembered"],
        ring.json(&["ring", "status"])["exported"]["revision"]
    );
    ring.json(&["keys", "rotate", "--scope", "/", "--reason", "test"]);
    age(ring.0.folder());
    ring.json(&["ring", "rewrap-branches"]);
    ring.retire(&parent);
    ring.json(&["census", "data", "--receipt", "receipt.json"]);
    let destroy = ["keys", "destroy", &parent, "--receipt", "receipt.json", "--yes"];
    let said = ring.fails(8, &destroy);
    assert!(
        said.contains("the newest export is of revision") && said.contains("waxseal ring export"),
        "{said}"
    );
    // A machine without the authority exports as well, and the ring remembers nothing.
    let config = fs::read_to_string(ring.0.path("ring.toml")).unwrap();
    ring.0
        .write("reader.toml", config.split("# Only where keys").next().unwrap());
    let export = ring.json(&["ring", "export", "reader.json", "--ring", "reader.toml"]);
    assert_eq!(export["remembered"], Value::Null);
    ring.fails(8, &destroy);
    let export = ring.json(&["ring", "export", "export.json"]);
    assert!(export["remembered"].is_u64(), "{export}");
    assert_eq!(ring.run(&destroy).code, 0);
    assert_eq!(ring.state_of(&parent), "destroying");
    // What was exported fills another inventory, and everything opens there.
    let at = |revision: &str| export[revision].as_u64().unwrap();
    assert!(at("remembered") > 1);
    fs::remove_file(ring.0.path("ring.db")).unwrap();
    fs::remove_file(ring.0.path("ring.mark")).unwrap();
    assert_eq!(ring.run(&["ring", "import", "export.json", "--yes"]).code, 0);
    assert_eq!(ring.open("data/a.wax").stdout, b"alice");
}

/// Fills another inventory with an export, as this machine believes it.
fn imports(ring: &Ring, export: &str) -> Run {
    let _ = fs::remove_file(ring.0.path("other.db"));
    ring.run(&["ring", "import", export, "--ring", "other.toml", "--yes"])
}

fn with_another_inventory(ring: &Ring) {
    let config = fs::read_to_string(ring.0.path("ring.toml")).unwrap();
    assert!(config.contains("ring.db") && config.contains("ring.mark"));
    ring.0.write("other.toml", config.replace("ring.db", "other.db"));
}

#[test]
fn the_newest_export_is_as_new_as_the_mark_and_an_export_of_nothing_new_changes_nothing() {
    let (ring, _) = Ring::of_branches(&[]);
    ring.branch("tenant/acme");
    ring.seal("data/a.wax", "alice");
    let export = ring.json(&["ring", "export", "export.json"]);
    let status = ring.json(&["ring", "status"]);
    let mark = fs::read_to_string(ring.0.path("ring.mark")).unwrap();
    assert_eq!(export["mark"], mark.trim_end());
    let revision = status["revision"].as_u64().unwrap();
    assert_eq!(export["remembered"], revision - 1);
    with_another_inventory(&ring);
    let run = imports(&ring, "export.json");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let opened = [
        "open",
        "--ring",
        "other.toml",
        "--context",
        "tenant=acme",
        "data/a.wax",
    ];
    assert_eq!(ring.run(&opened).stdout, b"alice");

    let again = ring.json(&["ring", "export", "again.json"]);
    assert_eq!(
        (&again["mark"], &again["remembered"]),
        (&export["mark"], &export["remembered"])
    );
    assert_eq!(ring.json(&["ring", "status"])["revision"], revision);
    // What is new is remembered.
    ring.branch("tenant/b");
    let new = ring.json(&["ring", "status"])["revision"].clone();
    let third = ring.json(&["ring", "export", "again.json"]);
    assert_eq!(third["remembered"], new);
}

#[test]
fn an_export_that_is_killed_at_random_leaves_one_that_restores() {
    let (ring, _) = Ring::of_branches(&[]);
    with_another_inventory(&ring);
    let mut killed = 0;
    for turn in 0..12_u64 {
        ring.branch(&format!("tenant/t{turn}"));
        // The machine has seen the revision of the branch key, and no export of it yet.
        let _ = fs::remove_file(ring.0.path("export.json"));
        let mut child = ring
            .0
            .command(&["ring", "export", "export.json"])
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(4 + 7 * turn));
        killed += u64::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        if ring.0.path("export.json").exists() {
            let run = imports(&ring, "export.json");
            assert_eq!(run.code, 0, "turn {turn}: {}", run.stderr);
        }
    }
    assert!(killed > 0, "every export was over before it was killed");
    ring.json(&["ring", "export", "export.json"]);
    assert_eq!(imports(&ring, "export.json").code, 0);
}

#[test]
fn keys_that_are_made_on_first_use_are_set_up_and_taken_over() {
    let (ring, parent) = Ring::of_branches(&[]);
    let made = ring.json(&["ring", "provisioner-key", "provisioner.key"]);
    let public = text(&made["provisioner"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(ring.0.path("provisioner.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let said = ring.fails(8, &["ring", "provisioner-key", "provisioner.key"]);
    assert!(said.contains("never overwritten"), "{said}");
    let said = ring.fails(2, &["ring", "set", "--provision", "on-first-use"]);
    assert!(said.contains("provisioners"), "{said}");
    let said = ring.fails(
        2,
        &[
            "ring",
            "set",
            "--provisioner",
            &public,
            "--provision-parent",
            "tenant/x",
        ],
    );
    assert!(said.contains("parent scope"), "{said}");
    let set = ring.json(&[
        "ring",
        "set",
        "--provision",
        "on-first-use",
        "--provisioner",
        &public,
    ]);
    assert_eq!(
        set["settings"]["provision"],
        serde_json::json!({"when": "on-first-use", "parent": "/", "provisioners": [public]})
    );
    // Nobody makes keys who has no provisioner's key.
    let seal = |name: &str| {
        ring.run(&[
            "seal",
            "--ring",
            "ring.toml",
            "--context",
            "tenant=acme",
            "-o",
            name,
            "plain",
        ])
    };
    let run = seal("data/a.wax");
    assert_eq!(run.code, 4, "{}", run.stderr);
    let config = fs::read_to_string(ring.0.path("ring.toml")).unwrap();
    ring.0.write(
        "ring.toml",
        config.replace("schema = 1", "schema = 1\nprovisioner-key = \"provisioner.key\""),
    );
    let run = seal("data/a.wax");
    assert_eq!(run.code, 0, "{}", run.stderr);
    ring.0.write("ring.toml", &config);
    assert_eq!(ring.open("data/a.wax").stdout, b"alice");
    let check = ring.json(&["ring", "check"]);
    assert_eq!((&check["provisioned"], &check["good"]), (&1.into(), &true.into()));
    assert!(
        check["findings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|found| text(&found["what"]).contains("keys tick")),
        "{check}"
    );
    let list = ring.json(&["keys", "list", "--scope", "tenant/acme"]);
    assert_eq!(list["keys"][0]["branch"]["parent"], parent.as_str());

    let remove = ["ring", "set", "--remove-provisioner", &public];
    let said = ring.fails(8, &remove);
    assert!(said.contains("close that first"), "{said}");
    let set = ring.json(&["ring", "set", "--provision", "never"]);
    assert_eq!(set["settings"]["provision"]["when"], "never");
    let said = ring.fails(8, &remove);
    assert!(said.contains("take over"), "{said}");
    let tick = ring.json(&["keys", "tick"]);
    assert_eq!(tick["taken_over"], 1, "{tick}");
    assert_eq!(ring.json(&["ring", "check"])["provisioned"], 0);
    let set = ring.json(&remove);
    assert_eq!(set["settings"]["provision"], Value::Null);
    let said = ring.fails(2, &remove);
    assert!(said.contains("is no provisioner"), "{said}");
    assert_eq!(ring.open("data/a.wax").stdout, b"alice");
    let said = ring.fails(
        2,
        &[
            "keys", "create", "--scope", "tenant/b", "--kek", "local", "--parent", "/",
        ],
    );
    assert!(said.contains("--kek branch"), "{said}");
}

#[test]
fn a_job_that_is_killed_at_random_loses_no_tenant() {
    let (ring, _) = Ring::of_branches(&[]);
    let tenants: Vec<String> = (0..24).map(|number| format!("t{number}")).collect();
    for tenant in &tenants {
        ring.branch(&format!("tenant/{tenant}"));
        let context = format!("tenant={tenant}");
        let name = format!("data/{tenant}.wax");
        let run = ring.run(&[
            "seal",
            "--ring",
            "ring.toml",
            "--context",
            &context,
            "-o",
            &name,
            "plain",
        ]);
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    let all_open = || {
        for tenant in tenants.iter().step_by(5) {
            let (context, name) = (format!("tenant={tenant}"), format!("data/{tenant}.wax"));
            let run = ring.run(&["open", "--ring", "ring.toml", "--context", &context, &name]);
            assert_eq!(run.stdout, b"alice", "{}", run.stderr);
        }
    };
    let mut killed = 0;
    for turn in 0..8_u64 {
        ring.json(&["keys", "rotate", "--scope", "/", "--reason", "test"]);
        let command = ["ring", "rewrap-branches", "--at-once", "1", "--limit", "7"];
        let mut child = ring.0.command(&command).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20 + 37 * turn));
        killed += u64::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        all_open();
    }
    assert!(killed > 0, "every job was over before it was killed");
    // Those that wait under several former parents.
    let job = ring.json(&["ring", "rewrap-branches"]);
    assert_eq!((&job["left"], &job["failed"]), (&0.into(), &0.into()), "{job}");
    let status = ring.json(&["ring", "status"]);
    assert_eq!(status["branch_keys"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(status["branch_keys"][0]["keys"], 24);
    all_open();
    assert_eq!(ring.json(&["ring", "check"])["good"], true);
}
