//! `--otherwise`: tenants without keys, and those that get one.

use super::*;

const AS_ROOT: [&str; 2] = ["--otherwise", "/"];
const UMBRELLA: [&str; 2] = ["--context", "tenant=umbrella"];

impl Ring {
    fn of_tenants() -> Self {
        let ring = Self::none();
        ring.json(&["ring", "init", "--scope-template", "tenant/{tenant}"]);
        ring.json(&["keys", "create", "--scope", "/", "--kek", "local"]);
        ring.0.write("plain", "alice");
        ring
    }

    fn of_command(&self, command: &str, context: &[&str], more: &[&str]) -> Run {
        self.run(&[&[command, "--ring", "ring.toml"], context, more].concat())
    }

    fn key_of(&self, name: &str) -> String {
        let census = self.json(&["census", name, "--receipt", "receipt.json"]);
        let keys = census["keys"].as_array().unwrap();
        let found = keys.iter().find(|count| count["items"] == 1).unwrap();
        text(&found["key"])
    }
}

#[test]
fn a_tenant_is_served_until_it_has_a_key_and_takes_its_data_along() {
    let ring = Ring::of_tenants();
    let seal = |name: &str, more: &[&str]| {
        ring.of_command("seal", &CONTEXT, &[&["-o", name, "plain"], more].concat())
    };
    let run = seal("a.wax", &[]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(
        run.stderr.contains("no key of scope tenant/acme"),
        "{}",
        run.stderr
    );
    let run = seal("a.wax", &AS_ROOT);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("ring set --otherwise"), "{}", run.stderr);
    let set = ring.json(&["ring", "set", "--otherwise", "/"]);
    assert_eq!(set["settings"]["otherwise"], serde_json::json!(["/"]));
    // Allowed, and nobody asks for it.
    assert_eq!(seal("a.wax", &[]).code, 4);
    assert_eq!(seal("a.wax", &AS_ROOT).code, 0);
    let run = ring.of_command("open", &UMBRELLA, &[&AS_ROOT[..], &["a.wax"]].concat());
    assert_eq!(run.code, 3, "{}", run.stderr);
    // The configuration says it for each command.
    let config = fs::read_to_string(ring.0.path("ring.toml")).unwrap();
    ring.0.write(
        "ring.toml",
        config.replace("schema = 1", "schema = 1\notherwise = \"/\""),
    );
    assert_eq!(ring.open("a.wax").stdout, b"alice");
    let root = ring.key_of("a.wax");

    let made = ring.json(&["keys", "create", "--scope", "tenant/acme", "--kek", "local"]);
    let own = text(&made["moves"][0]["key"]);
    assert_eq!(ring.open("a.wax").stdout, b"alice");
    assert_eq!(seal("b.wax", &[]).code, 0);
    assert_eq!(ring.key_of("b.wax"), own);
    let rewrap = ring.of_command("rewrap", &CONTEXT, &["--quiet", "-o", "a.wax", "a.wax"]);
    assert_eq!(rewrap.code, 0, "{}", rewrap.stderr);
    assert_eq!(ring.key_of("a.wax"), own);
    assert_ne!(own, root);
    // The others go on.
    let run = ring.of_command("seal", &UMBRELLA, &["-o", "u.wax", "plain"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(ring.key_of("u.wax"), root);
    // When it is not allowed anymore, the configuration is what is wrong.
    let set = ring.json(&["ring", "set", "--otherwise", ""]);
    assert_eq!(set["settings"]["otherwise"], serde_json::json!([]));
    assert_eq!(ring.open("a.wax").code, 4);
    ring.0.write("ring.toml", &config);
    assert_eq!(ring.open("a.wax").stdout, b"alice");
}

#[test]
fn a_scope_that_cannot_serve_is_refused() {
    let ring = Ring::of_tenants();
    let said = ring.fails(2, &["ring", "set", "--otherwise", "tenant/acme"]);
    assert!(said.contains("the scope of some context itself"), "{said}");
    let said = ring.fails(2, &["ring", "set", "--otherwise", "//"]);
    assert!(said.contains("--otherwise"), "{said}");
    let run = ring.run(&[
        "seal",
        "--kek",
        "env:K",
        "--otherwise",
        "/",
        "--context",
        "a=b",
        "-o",
        "x",
        "plain",
    ]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(
        run.stderr.contains("--otherwise names a scope of a ring"),
        "{}",
        run.stderr
    );
    let config = fs::read_to_string(ring.0.path("ring.toml")).unwrap();
    ring.0.write(
        "ring.toml",
        config.replace("schema = 1", "schema = 1\notherwise = \"/x\""),
    );
    let said = ring.fails(4, &["ring", "status"]);
    assert!(
        said.contains("ring.toml:4:13") && said.contains("a scope is"),
        "{said}"
    );
}
