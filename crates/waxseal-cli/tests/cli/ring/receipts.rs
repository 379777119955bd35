//! Several receipts for one move: two machines have counted.

use aws_lc_rs::digest::{SHA256, digest};

use super::aged::age;
use super::*;

/// A ring that demands two folders, and its first key, which was rotated two days ago. Each folder has one envelope under the second.
fn demanding() -> (Ring, String) {
    let ring = Ring::none();
    for folder in ["one", "other"] {
        fs::create_dir(ring.0.path(folder)).unwrap();
    }
    let must_cover = ["--must-cover", "files:one", "--must-cover", "files:other"];
    ring.json(
        &[
            &["ring", "init", "--overlap", "PT0S", "--cooling-off", "PT0S"],
            &must_cover[..],
        ]
        .concat(),
    );
    let made = ring.json(&["keys", "create", "--scope", "/", "--kek", "local"]);
    let first = text(&made["moves"][0]["key"]);
    ring.json(&["keys", "rotate", "--scope", "/", "--reason", "test"]);
    ring.seal("one/a.wax", "alice");
    ring.seal("other/b.wax", "bob");
    age(ring.0.folder());
    (ring, first)
}

fn digest_of(ring: &Ring, names: &[&str]) -> String {
    let hex = |bytes: &[u8]| hex::encode(digest(&SHA256, bytes));
    let mut digests: Vec<String> = names.iter().map(|name| hex(&ring.0.read(name))).collect();
    digests.sort();
    let lines: String = digests.iter().map(|digest| format!("{digest}\n")).collect();
    hex(format!("waxseal ring receipts v1\n{lines}").as_bytes())
}

#[test]
fn two_machines_count_and_one_key_is_retired_and_destroyed() {
    let (ring, first) = demanding();
    let count = |folder: &str| {
        let receipt = format!("{folder}.json");
        let census = ring.json(&["census", folder, "--receipt", &receipt]);
        let place = text(&census["covers"][0]["place"]);
        assert!(
            place.starts_with("files:/") && place.ends_with(folder),
            "{census}"
        );
        assert_eq!(census["covers"][0]["items"], 1, "{census}");
    };
    count("one");
    count("other");
    let both = ["--receipt", "one.json", "--receipt", "other.json"];
    let retire = ["keys", "retire", &first];
    let said = ring.fails(8, &[&retire[..], &both[..2]].concat());
    assert!(
        said.contains("has not scanned files:/") && said.contains("other"),
        "{said}"
    );
    let said = ring.fails(8, &[&retire[..], &both[..2], &both[..2]].concat());
    assert!(said.contains("has not scanned"), "{said}");
    // A dry run says the same as the tick.
    let (tick, dry) = (["keys", "tick"], ["keys", "tick", "--dry-run"]);
    assert_eq!(ring.run(&[&dry[..], &both[..2]].concat()).code, 8);
    assert_eq!(ring.run(&[&tick[..], &both[..2]].concat()).code, 8);
    assert_eq!(ring.run(&[&dry[..], &both[..]].concat()).code, 0);
    assert_eq!(ring.run(&[&tick[..], &both[..]].concat()).code, 0);
    assert_eq!(ring.state_of(&first), "retired");
    let history = ring.json(&["keys", "show", &first])["key"]["history"].clone();
    let last = history.as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        last["evidence"],
        digest_of(&ring, &["one.json", "other.json"]),
        "{last}"
    );

    // Destroying takes newer ones, both of them.
    let destroy = ["keys", "destroy", &first, "--yes"];
    count("one");
    let said = ring.fails(8, &[&destroy[..], &both[..]].concat());
    assert!(said.contains("was retired"), "{said}");
    count("other");
    assert_eq!(ring.run(&[&destroy[..], &both[..]].concat()).code, 0);
    assert_eq!(ring.state_of(&first), "destroying");
}

#[test]
fn one_receipt_that_is_not_believed_spoils_the_others() {
    let (ring, first) = demanding();
    ring.json(&["census", "one", "--receipt", "one.json"]);
    ring.json(&["census", "other", "--receipt", "other.json"]);
    let receipt = String::from_utf8(ring.0.read("other.json")).unwrap();
    ring.0
        .write("other.json", receipt.replace("\"items\":1", "\"items\":2"));
    let retire = [
        "keys",
        "retire",
        &first,
        "--receipt",
        "one.json",
        "--receipt",
        "other.json",
    ];
    let said = ring.fails(10, &retire);
    assert!(said.contains("was changed"), "{said}");
    fs::remove_file(ring.0.path("other.json")).unwrap();
    let said = ring.fails(9, &retire);
    assert!(said.contains("other.json"), "{said}");
    // One that was not whole.
    ring.seal("cut.wax", "carol");
    let cut = ring.0.read("cut.wax");
    ring.0.write("other/cut.wax", &cut[..20]);
    ring.json_and(10, &["census", "other", "--receipt", "other.json"]);
    let said = ring.fails(8, &retire);
    assert!(
        said.contains("did not scan everything") && said.contains("digest"),
        "{said}"
    );
    assert_eq!(ring.state_of(&first), "deprecated");
    let many: Vec<&str> = std::iter::repeat_n(["--receipt", "one.json"], 65)
        .flatten()
        .collect();
    let said = ring.fails(2, &[&["keys", "retire", &first], &many[..]].concat());
    assert!(said.contains("at most 64") && said.contains("got 65"), "{said}");
}
