//! A key leaks, and with it whatever somebody can have through it.

use super::*;

fn revoke(key: &str) -> [&str; 10] {
    [
        "keys",
        "revoke",
        key,
        "--ticket",
        "INC-7",
        "--approver",
        "dave",
        "--reason",
        "leaked",
        "--yes",
    ]
}

impl Ring {
    /// The exposed keys of a scope, by the status.
    fn exposed_in(&self, scope: &str) -> Vec<Value> {
        let status = self.json(&["ring", "status"]);
        let all = status["exposed"].as_array().unwrap().iter();
        all.filter(|one| one["scope"] == scope).cloned().collect()
    }

    /// What a tick did, also if it has refused to retire something.
    fn ticked(&self) -> Value {
        of_json(&self.tick().stdout)
    }

    fn status_text(&self) -> String {
        String::from_utf8(self.run(&["ring", "status"]).stdout).unwrap()
    }

    fn refusing_exposed(&self) {
        self.0.write(
            "profiles.toml",
            "schema = 1\ncontext-key = \"classification\"\notherwise = \"careful\"\n[profile.careful]\nrefuse-exposed = true\n",
        );
        let config = fs::read_to_string(self.0.path("ring.toml")).unwrap();
        let config = config.replacen("allow =", "profiles = \"profiles.toml\"\nallow =", 1);
        self.0.write("ring.toml", config);
    }
}

#[test]
fn a_branch_key_of_a_leaked_former_parent_is_exposed_until_a_tick_has_rotated_it() {
    let (ring, parent) = Ring::of_branches(&[]);
    let id = ring.branch("tenant/acme");
    ring.seal("a.wax", "alice");
    ring.json(&["keys", "rotate", "--scope", "/", "--reason", "y"]);
    ring.json(&["ring", "rewrap-branches"]);
    let simulated = ring.json(&["ring", "simulate", "--revoke", &parent]);
    assert_eq!(
        simulated["scopes"][1],
        serde_json::json!({"scope": "tenant/acme", "why": "former-branch", "keys": [id]})
    );
    let revoked = ring.json(&revoke(&parent));
    assert_eq!(
        revoked["branch_keys"],
        serde_json::json!({"exposed": 1, "active": 1, "stopped": 0, "unread": 0, "keys": [
            {"key": id, "scope": "tenant/acme", "state": "active", "is_parent": false}
        ]})
    );
    let again = String::from_utf8(ring.run(&revoke(&parent)).stdout).unwrap();
    assert!(
        again.contains(&format!(
            "{id} of scope tenant/acme, active, was wrapped under it"
        )) && again.contains("`keys tick` rotates"),
        "{again}"
    );
    let exposed = ring.exposed_in("tenant/acme");
    assert_eq!(
        (
            &exposed[0]["exposed_by"],
            &exposed[0]["needs_rotation"],
            &exposed[0]["stopped"]
        ),
        (
            &serde_json::json!({"key": parent, "scope": "/", "is_parent": false}),
            &true.into(),
            &false.into()
        )
    );
    let status = ring.status_text();
    assert!(
        status.contains(&format!("{id} of scope tenant/acme")) && status.contains("it still seals"),
        "{status}"
    );
    let list = ring.json(&["keys", "list", "--scope", "tenant/acme"]);
    assert_eq!(list["keys"][0]["exposed_by"], serde_json::json!([parent]));
    let list = String::from_utf8(ring.run(&["keys", "list"]).stdout).unwrap();
    assert!(list.contains("active, exposed"), "{list}");
    // The ring is good: backups go on.
    let check = ring.json(&["ring", "check"]);
    assert_eq!(check["good"], true);
    assert!(
        check["findings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|found| found["record"] == id.as_str() && text(&found["what"]).contains("needs rotation")),
        "{check}"
    );
    assert_eq!(ring.open("a.wax").stdout, b"alice");
    ring.refusing_exposed();
    let run = ring.open("a.wax");
    assert_eq!(run.code, 8, "{}", run.stderr);
    assert!(run.stderr.contains("refuse-exposed"), "{}", run.stderr);

    let tick = ring.ticked();
    assert_eq!(tick["exposed"], 1, "{tick}");
    assert_eq!(ring.state_of(&id), "deprecated");
    let exposed = ring.exposed_in("tenant/acme");
    assert_eq!(
        (
            exposed.len(),
            &exposed[0]["needs_rotation"],
            &exposed[0]["replaced"]
        ),
        (1, &false.into(), &true.into())
    );
    ring.seal("b.wax", "bob");
    assert_eq!(ring.open("b.wax").stdout, b"bob");
    let tick = ring.ticked();
    assert_eq!(
        (&tick["exposed"], &tick["done"]),
        (&0.into(), &serde_json::json!([]))
    );
}

#[test]
fn tenants_seal_again_after_a_tick_when_their_parent_has_leaked() {
    let (ring, parent) = Ring::of_branches(&[]);
    let id = ring.branch("tenant/acme");
    ring.seal("a.wax", "alice");
    let simulated = ring.json(&["ring", "simulate", "--revoke", &parent]);
    assert!(
        simulated["unreadable"]
            .to_string()
            .contains("nothing is sealed in those scopes"),
        "{simulated}"
    );
    let run = ring.run(&revoke(&parent));
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(
        said.contains("nothing is sealed in the scopes of 1 branch key") && said.contains("`keys tick`"),
        "{said}"
    );
    let exposed = ring.exposed_in("tenant/acme");
    assert_eq!(
        (&exposed[0]["stopped"], &exposed[0]["replaced"]),
        (&true.into(), &false.into())
    );
    let status = ring.status_text();
    assert!(
        status.contains("nothing is sealed there until it is rotated"),
        "{status}"
    );
    ring.0.write("plain", "bob");
    let seal = [
        &["seal", "--ring", "ring.toml"],
        &CONTEXT[..],
        &["-o", "b.wax", "plain"],
    ];
    let seal = seal.concat();
    let said = ring.fails(4, &seal);
    assert!(
        said.contains(&id) && said.contains(&parent) && said.contains("waxseal keys tick"),
        "{said}"
    );
    assert_eq!(ring.open("a.wax").code, 13);
    assert_eq!(ring.json(&["ring", "check"])["good"], true);
    let said = ring.run(&["ring", "rewrap-branches"]).stderr;
    assert!(
        said.contains(&format!("keys rotate {id}")) && !said.contains("reinstate"),
        "{said}"
    );
    ring.ticked();
    assert_eq!(ring.run(&seal).code, 0);
    assert_eq!(ring.open("b.wax").stdout, b"bob");
    let check = ring.json(&["ring", "check"]);
    assert!(
        !check["findings"].to_string().contains("needs rotation"),
        "{check}"
    );
}

#[test]
fn a_kek_that_has_leaked_is_registered_nowhere_and_shown_where_it_is_in_use() {
    let ring = Ring::none();
    ring.json(&["ring", "init", "--scope-template", "tenant/{tenant}"]);
    let made = ring.json(&["keys", "create", "--scope", "tenant/a", "--kek", "local"]);
    let first = text(&made["moves"][0]["key"]);
    let uri = text(&ring.json(&["keys", "show", &first])["key"]["uri"]);
    let made = ring.json(&["keys", "create", "--scope", "tenant/b", "--kek", &uri]);
    let shared = text(&made["moves"][0]["key"]);
    assert_eq!(ring.run(&revoke(&first)).code, 0);
    let said = ring.fails(8, &["keys", "create", "--scope", "parents/x", "--kek", &uri]);
    assert!(
        said.contains(&first) && said.contains("tenant/a") && said.contains("another KEK"),
        "{said}"
    );
    let exposed = ring.exposed_in("tenant/a");
    assert_eq!(exposed[0]["same_kek"], serde_json::json!([shared]));
    let status = ring.status_text();
    assert!(
        status.contains(&format!("its KEK is the key {shared} of scope tenant/b, too")),
        "{status}"
    );
    ring.json(&revoke(&shared));
    assert_eq!(ring.exposed_in("tenant/a")[0]["same_kek"], serde_json::json!([]));
}

/// The key that was lost is that of the wider scope, and the message says so.
#[test]
fn whoever_cannot_seal_is_told_which_key_was_lost() {
    let ring = Ring::none();
    ring.json(&["ring", "init", "--scope-template", "tenant/{tenant}"]);
    let made = ring.json(&["keys", "create", "--scope", "/", "--kek", "local"]);
    let first = text(&made["moves"][0]["key"]);
    ring.json(&["ring", "set", "--otherwise", "/"]);
    ring.json(&[&revoke(&first)[..], &["--no-successor"]].concat());
    ring.0.write("plain", "bob");
    let seal = [
        &["seal", "--ring", "ring.toml", "--otherwise", "/"],
        &CONTEXT[..],
        &["-o", "b.wax", "plain"],
    ];
    let seal = seal.concat();
    let said = ring.fails(4, &seal);
    for part in [
        "no key of scope / is active",
        "which serves scope tenant/acme",
        &format!("keys rotate {first}"),
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("close the slot"), "{said}");
    // Which is what helps.
    ring.json(&["keys", "rotate", &first, "--reason", "test"]);
    assert_eq!(ring.run(&seal).code, 0);
}

/// Branch keys leave a scope that is to be shredded as the refusal says.
#[test]
fn a_scope_with_branch_keys_under_it_says_how_they_leave_it() {
    let (ring, _) = Ring::of_branches(&["--cooling-off", "PT0S"]);
    let id = ring.branch("tenant/acme");
    let shred = [
        "keys",
        "shred",
        "--scope",
        "/",
        "--ticket",
        "T",
        "--approver",
        "A",
        "--reason",
        "x",
        "--yes",
    ];
    let said = ring.fails(8, &shred);
    assert!(said.contains("--kek branch --parent SCOPE"), "{said}");
    ring.json(&["keys", "create", "--scope", "system", "--kek", "local"]);
    let made = ring.json(&[
        "keys",
        "create",
        "--scope",
        "tenant/acme",
        "--kek",
        "branch",
        "--parent",
        "system",
    ]);
    let next = text(&made["moves"][0]["key"]);
    ring.json(&["keys", "promote", &next]);
    super::aged::age(ring.0.folder());
    ring.seal("data/a.wax", "alice");
    ring.retire(&id);
    ring.json(&["census", "data", "--receipt", "receipt.json"]);
    ring.json(&["keys", "destroy", &id, "--receipt", "receipt.json", "--yes"]);
    super::aged::age(ring.0.folder());
    ring.run(&["keys", "tick"]);
    assert_eq!(ring.state_of(&id), "destroyed");
    ring.json(&shred);
    assert_eq!(ring.open("data/a.wax").stdout, b"alice");
}
