//! `--profile`, `--profiles` and `explain`.

use serde_json::Value;

use super::{KEY, Ring, text};

const PROFILES: &str = r#"
schema = 1
context-key = "classification"
otherwise = "internal"
[profile.restricted]
hardware = true
[profile.owned]
context = ["owner"]
[profile.internal]
"#;

fn requirements(unmet: &Value) -> Vec<String> {
    let all = unmet.as_array().unwrap().iter();
    all.map(|unmet| text(&unmet["requirement"])).collect()
}

/// A ring in whose configuration the profiles stand, with a sealed file.
fn ring() -> (Ring, String) {
    let (ring, id) = Ring::with_key();
    ring.0.write("profiles.toml", PROFILES);
    let config = std::fs::read_to_string(ring.0.path("ring.toml")).unwrap();
    let config = config.replacen("allow =", "profiles = \"profiles.toml\"\nallow =", 1);
    ring.0.write("ring.toml", config);
    ring.seal("a.wax", "hello");
    (ring, id)
}

const IN_RING: [&str; 4] = ["--ring", "ring.toml", "--context", "tenant=acme"];

#[test]
fn what_a_profile_refuses_is_not_done() {
    let (ring, id) = ring();
    let strict = [&IN_RING[..], &["--profile", "restricted"]].concat();
    for command in [
        &["seal", "-o", "b.wax", "plain"][..],
        &["open", "-o", "b.txt", "a.wax"],
        &["rewrap", "-o", "b.wax", "a.wax"],
    ] {
        let said = ring.fails(8, &[command, &strict].concat());
        assert!(
            said.contains("hardware") && said.contains(&id),
            "{command:?}: {said}"
        );
        assert!(!said.contains("acme"), "{said}");
    }
    assert!(!ring.0.path("b.wax").exists() && !ring.0.path("b.txt").exists());
    // A job does what it can, and reports the rest.
    let job = [&["rewrap", "--fall-short", "-o", "c.wax", "a.wax"], &strict[..]].concat();
    let done = ring.json(&job);
    assert_eq!(requirements(&done["unmet"]), ["hardware"]);
    let said = ring.run(&job).stderr;
    assert!(
        said.contains("still misses hardware") && said.contains(&id),
        "{said}"
    );
    assert_eq!(ring.open("c.wax").code, 0);
    // The context chooses, too, and so does nobody but for the rest.
    let classified = [&IN_RING[..], &["--context", "classification=restricted"]].concat();
    ring.fails(8, &[&["seal", "-o", "b.wax", "plain"], &classified[..]].concat());
    assert_eq!(ring.open("a.wax").code, 0);
    // A profile that is not there is a mistake on the command line.
    let unknown = [&IN_RING[..], &["--profile", "restrcited"]].concat();
    let said = ring.fails(2, &[&["open", "a.wax"], &unknown[..]].concat());
    assert!(said.contains("internal, owned, restricted"), "{said}");
}

#[test]
fn an_explanation_names_what_is_missed_without_any_key() {
    let (ring, id) = ring();
    // Nobody can use the keys.
    let keys = ring.0.path("ring.keys");
    std::fs::rename(&keys, ring.0.path("away")).unwrap();
    let explain = |arguments: &[&'static str]| [&["explain", "a.wax"], &IN_RING[..], arguments].concat();
    let (told, said) = ring.json_and(10, &explain(&["--profile", "restricted"]));
    assert_eq!(told["profiles"][0], "internal");
    assert_eq!(told["profiles"][1], "restricted");
    assert_eq!(
        (&told["met"], text(&told["wraps"][0]["key"])),
        (&Value::Bool(false), id.clone())
    );
    for part in ["opening", "envelope", "sealing"] {
        assert_eq!(requirements(&told[part]), ["hardware"], "{part}");
        assert_eq!(text(&told[part][0]["key"]), id, "{part}");
    }
    assert!(
        said.contains(&format!("hardware: key {id} is kept in software")),
        "{said}"
    );
    assert!(!told.to_string().contains("acme") && !said.contains("acme"));
    let told = ring.run(&explain(&["--profile", "restricted"]));
    let shown = String::from_utf8(told.stdout).unwrap();
    assert!(
        shown.contains("slot default") && shown.contains("refused: hardware"),
        "{shown}"
    );
    assert!(shown.contains(&id));
    let told = ring.json(&explain(&[]));
    assert_eq!(told["met"], true);
    ring.json_and(10, &explain(&["--profile", "owned"]));
    ring.json(&explain(&["--profile", "owned", "--context", "owner=me"]));
}

#[test]
fn a_ring_without_profiles_explains_the_wraps() {
    let (ring, id) = Ring::with_key();
    ring.seal("a.wax", "hello");
    let explain = [&["explain", "a.wax"], &IN_RING[..]].concat();
    let told = ring.json(&explain);
    assert_eq!(
        (&told["met"], text(&told["wraps"][0]["key"])),
        (&Value::Bool(true), id)
    );
    assert_eq!(told["profiles"].as_array().unwrap().len(), 0);
    let said = ring.fails(2, &[&explain[..], &["--profile", "restricted"]].concat());
    assert!(said.contains("--profiles"), "{said}");
}

#[test]
fn a_ring_by_template_says_how_its_first_key_is_made_and_whose_key_is_missing() {
    let ring = Ring::none();
    let run = ring.run(&["ring", "init", "--scope-template", "tenant/{tenant}"]);
    let shown = String::from_utf8(run.stdout).unwrap();
    assert!(
        shown.contains("keys create --scope 'tenant/<tenant>' --kek local"),
        "{shown}"
    );
    for scope in ["tenant/acme", "tenant/globex"] {
        ring.json(&["keys", "create", "--scope", scope, "--kek", "local"]);
    }
    ring.seal("a.wax", "hello");
    let said = ring.fails(
        4,
        &[
            "open",
            "--ring",
            "ring.toml",
            "--context",
            "tenant=globex",
            "a.wax",
        ],
    );
    assert!(said.contains("the scope of this --context"), "{said}");
}

#[test]
fn keys_alone_take_profiles_from_a_file() {
    let (ring, _) = ring();
    ring.0.write_private("key", KEY);
    ring.0.write(
        "by-class.toml",
        "schema = 1\n[profile.public]\nclasses = [\"hybrid\"]\n",
    );
    let seal = ["seal", "--kek", "file:key", "-o", "b.wax", "plain"];
    let strict = ["--profiles", "by-class.toml", "--profile", "public"];
    let said = ring.fails(8, &[&seal[..], &strict].concat());
    assert!(said.contains("classes"), "{said}");
    ring.fails(2, &[&seal[..], &["--profile", "public"]].concat());
    ring.0.write(
        "wrong.toml",
        "schema = 1\n[profile.public]\nclasses = [\"hybrd1\"]\n",
    );
    let wrong = ["--profiles", "wrong.toml", "--profile", "public"];
    let said = ring.fails(4, &[&seal[..], &wrong].concat());
    assert!(said.contains("wrong.toml:3:12"), "{said}");
}

#[test]
fn no_output_takes_the_place_of_the_profiles() {
    let (ring, _) = ring();
    let run = ring.run(&[&["seal", "-o", "profiles.toml", "plain"], &IN_RING[..]].concat());
    assert_ne!(run.code, 0);
    assert_eq!(
        std::fs::read_to_string(ring.0.path("profiles.toml")).unwrap(),
        PROFILES
    );
}
