//! Reports, held against what somebody counts who shares no code with the command.

use super::evidence::python;
use super::*;

const COUNTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/interop/report_counts.py"
);
const CBOM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/cbom_check.py");

/// A ring with keys in several states, a census of it, and a tenant with an unpleasant name.
fn with_history() -> Ring {
    let (ring, _) = Ring::of_branches(&[]);
    for (tenant, name) in [
        ("a", "data/a.wax"),
        ("b", "data/b.wax"),
        ("<script>|x", "data/x.wax"),
    ] {
        ring.branch(&format!("tenant/{tenant}"));
        assert_eq!(ring.seal_for(tenant, name).code, 0);
    }
    assert_eq!(ring.seal_for("a", "data/another.wax").code, 0);
    ring.json(&["keys", "rotate", "--scope", "tenant/a", "--reason", "test"]);
    ring.json(&["keys", "rotate", "--scope", "tenant/b", "--reason", "test"]);
    let left =
        text(&ring.json(&["keys", "list", "--scope", "tenant/b", "--state", "deprecated"])["keys"][0]["id"]);
    ring.json(&["keys", "retire", &left, "--force", "--reason", "test", "--yes"]);
    ring.json(&[
        "census",
        "--ring",
        "ring.toml",
        "--receipt",
        "receipt.json",
        "data",
    ]);
    ring
}

#[test]
fn a_report_says_what_the_inventory_and_the_census_say() {
    let ring = with_history();
    let report = ring.json(&["ring", "report", "--receipt", "receipt.json"]);
    assert_eq!(
        (
            &report["states"]["active"],
            &report["states"]["deprecated"],
            &report["states"]["retired"]
        ),
        (&4.into(), &1.into(), &1.into())
    );
    assert_eq!(report["harvest"], serde_json::json!([]));
    let left = report["left"].as_array().unwrap();
    let left: Vec<_> = left
        .iter()
        .map(|one| (text(&one["state"]), one["objects"]["sole"].clone()))
        .collect();
    assert_eq!(
        left,
        [
            ("deprecated".to_owned(), 2.into()),
            ("retired".to_owned(), 1.into())
        ]
    );
    // Without a census nothing is known of what is stored, and nothing is said.
    let blind = ring.json(&["ring", "report"]);
    assert_eq!((&blind["left"], &blind["harvest"]), (&Value::Null, &Value::Null));
    assert_eq!(blind["keys"][0]["objects"], Value::Null);
    let said = ring.fails(
        2,
        &[
            "ring",
            "report",
            "--receipt",
            "receipt.json",
            "--receipt",
            "receipt.json",
        ],
    );
    assert!(said.contains("twice"), "{said}");
    let Some(python) = python() else { return };
    for (name, report, receipts) in [
        ("with.json", report, &["receipt.json"][..]),
        ("without.json", blind, &[]),
    ] {
        ring.0.write(name, report.to_string());
        let paths: Vec<_> = [&["ring.db", name], receipts].concat();
        let paths: Vec<_> = paths
            .iter()
            .map(|path| ring.0.path(path).to_str().unwrap().to_owned())
            .collect();
        let arguments: Vec<&str> = std::iter::once(COUNTS)
            .chain(paths.iter().map(String::as_str))
            .collect();
        let counted = python(&arguments, b"");
        assert_eq!(counted.code, 0, "{name}: {}", counted.stderr);
    }
}

#[test]
fn what_is_under_branch_keys_is_lost_with_their_parent() {
    let (ring, parent) = Ring::of_branches(&[]);
    let branch = ring.branch("tenant/a");
    for name in ["data/1.wax", "data/2.wax", "data/3.wax"] {
        assert_eq!(ring.seal_for("a", name).code, 0);
    }
    ring.json(&["census", "--receipt", "receipt.json", "data"]);
    let revoke = [
        "keys",
        "revoke",
        &parent,
        "--ticket",
        "INC-7",
        "--approver",
        "dave",
    ];
    ring.json(&[&revoke[..], &["--reason", "lost", "--yes"]].concat());
    let report = ring.json(&["ring", "report", "--receipt", "receipt.json"]);
    let of = |list: &str, member: &str, id: &str| {
        let mut all = report[list].as_array().unwrap().iter();
        all.find(|one| one[member] == id).cloned().unwrap_or_default()
    };
    let left = of("left", "key", &parent);
    assert_eq!(
        (&left["objects"]["items"], &left["objects"]["branches"]),
        (&0.into(), &1.into())
    );
    assert_eq!(left["through_branch_keys"]["sole"], 3);
    // The branch key is out of use with its parent.
    let stopped = of("left", "key", &branch);
    assert_eq!(
        (&stopped["state"], &stopped["objects"]["items"]),
        (&"compromised".into(), &3.into())
    );
    let key = of("keys", "id", &branch);
    assert_eq!(
        (&key["state"], &key["effective_state"]),
        (&"active".into(), &"compromised".into())
    );
    assert_eq!(
        report["states"],
        serde_json::json!({ "active": 1, "compromised": 2 })
    );
    assert_eq!(of("due", "key", &branch)["what"], "succession");
    let bom: Value = serde_json::from_slice(&ring.run(&["ring", "cbom"]).stdout).unwrap();
    let mut components = bom["components"].as_array().unwrap().iter();
    let key = components
        .find(|one| one["bom-ref"] == format!("key/{branch}"))
        .unwrap();
    let material = &key["cryptoProperties"]["relatedCryptoMaterialProperties"];
    assert_eq!(material["state"], "compromised");
    let run = ring.run(&["ring", "report", "--receipt", "receipt.json"]);
    let markdown = String::from_utf8(run.stdout).unwrap();
    assert!(
        markdown.contains("compromised by its parent, itself active"),
        "{markdown}"
    );
}

#[test]
fn a_report_is_markdown_in_which_names_are_text() {
    let ring = with_history();
    let run = ring.run(&["ring", "report", "--receipt", "receipt.json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let report = String::from_utf8(run.stdout).unwrap();
    assert!(
        !report.contains("<script>") && report.contains("tenant/&lt;script&gt;\\|x"),
        "{report}"
    );
    // Each row has as many cells as the head of its table.
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    let lines: Vec<&str> = report.lines().collect();
    for pair in lines
        .windows(2)
        .filter(|pair| pair.iter().all(|line| line.starts_with('|')))
    {
        assert_eq!(bars(pair[0]), bars(pair[1]), "{pair:?}");
    }
    for title in ["## Overdue", "## Due", "## Harvest now, decrypt later", "## Keys"] {
        assert!(lines.contains(&title), "{title}");
    }
}

#[test]
fn a_bill_of_materials_is_valid_by_the_official_schema() {
    let ring = with_history();
    let run = ring.run(&["ring", "cbom", "--receipt", "receipt.json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let bom: Value = serde_json::from_slice(&run.stdout).unwrap();
    let of_type = |kind: &str| {
        let components = bom["components"].as_array().unwrap().iter();
        components
            .filter(|one| one["cryptoProperties"]["assetType"] == kind)
            .count()
    };
    assert_eq!((of_type("algorithm"), of_type("related-crypto-material")), (1, 6));
    let Ok(python) = std::env::var("WAXSEAL_TEST_CYCLONEDX_PYTHON") else {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "WAXSEAL_TEST_CYCLONEDX_PYTHON is not set"
        );
        println!("skipped: WAXSEAL_TEST_CYCLONEDX_PYTHON is not set; run scripts/services up cyclonedx");
        return;
    };
    let check = |bom: &[u8]| {
        let child = std::process::Command::new(&python)
            .arg(CBOM)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        end(child, bom)
    };
    let run = check(&run.stdout);
    assert_eq!(run.code, 0, "{}", run.stderr);
    // The judge refuses what is wrong.
    let mut wrong = bom.clone();
    wrong["components"][1]["cryptoProperties"]["relatedCryptoMaterialProperties"]["state"] = "alive".into();
    assert_eq!(check(wrong.to_string().as_bytes()).code, 1);
    let mut dangling = bom;
    dangling["components"].as_array_mut().unwrap().remove(0);
    assert_eq!(check(dangling.to_string().as_bytes()).code, 1);
}
