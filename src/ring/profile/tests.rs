//! The rules of properties and counts, and the file.

use super::check::{CLASSES, HARDWARE, WRAPS};
use super::*;
use crate::envelope::AlgorithmClass::{Classical, Hybrid, PostQuantum, Symmetric};
use crate::envelope::{AlgorithmClass, WrapAlgorithm};
use crate::key::Protection;
use crate::ring::Slot;
use crate::value::error::ErrorKind;

fn facts(kek: &str, class: AlgorithmClass, protection: Protection, slot: &str) -> Facts {
    Facts {
        name: kek.to_owned(),
        kek: Some(kek.to_owned()),
        class: Some(class),
        former_classes: Vec::new(),
        protection,
        slot: Some(slot.parse().unwrap()),
        was_compromised: Some(false),
    }
}

fn names(unmet: &[Unmet]) -> Vec<&'static str> {
    unmet.iter().map(|unmet| unmet.requirement).collect()
}

#[test]
fn a_section_has_a_property_if_fewer_than_k_of_its_shares_lack_it() {
    let good = || facts("g", Hybrid, Protection::Hardware, "default");
    let bad = || facts("b", Classical, Protection::Software, "default");
    let demands = Requirements::new().allowing([Symmetric, Hybrid]).in_hardware();
    // (k, good, bad, whether it holds)
    for (k, goods, bads, holds) in [
        (1, 1, 0, true),
        (1, 2, 1, false),
        (1, 0, 1, false),
        (2, 1, 1, true),
        (2, 2, 1, true),
        (2, 2, 2, false),
        (2, 0, 2, false),
        (3, 1, 2, true),
        (3, 0, 3, false),
    ] {
        let mut all: Vec<_> = std::iter::repeat_with(good).take(goods).collect();
        all.extend(std::iter::repeat_with(bad).take(bads));
        let unmet = demands.unmet_by_section(k, &all);
        assert_eq!(
            unmet.is_empty(),
            holds,
            "{k} of {goods} good and {bads} bad: {unmet:?}"
        );
        // The bad ones alone open it exactly if there are k of them; then nothing that has opened has it.
        let winning: Vec<_> = std::iter::repeat_with(bad).take(k.min(bads)).collect();
        if winning.len() == k {
            assert!(!demands.unmet_by_opening(&winning).is_empty());
        }
    }
    // Of the combination that has opened, one is enough for each property.
    let soft = facts("s", Symmetric, Protection::Software, "default");
    let hard = facts("h", Classical, Protection::Hardware, "default");
    assert!(demands.unmet_by_opening(&[soft.clone(), hard.clone()]).is_empty());
    assert_eq!(names(&demands.unmet_by_opening(&[soft])), [HARDWARE]);
    assert_eq!(names(&demands.unmet_by_opening(&[hard])), [CLASSES]);
}

#[test]
fn nothing_has_opened_has_no_property() {
    let demands = Requirements::new().in_hardware();
    let stranger = Facts::unknown(
        0,
        crate::envelope::WrapRef {
            algorithm: WrapAlgorithm::X_WING,
            share_index: 0,
            provider: "p",
            kek_id: "k",
            kek_version: "",
            wrapped: &[],
        },
        false,
    );
    // Whatever algorithm a stanza claims.
    let classes = Requirements::new().allowing([Hybrid]);
    assert_eq!(
        names(&classes.unmet_by_section(1, std::slice::from_ref(&stranger))),
        [CLASSES]
    );
    assert_eq!(names(&demands.unmet_by_section(1, &[stranger])), [HARDWARE]);
}

#[test]
fn wraps_of_one_key_count_once_and_those_of_strangers_do_not() {
    let at = |kek: &str, slot: &str| facts(kek, Symmetric, Protection::Hardware, slot);
    let two = Requirements::new().with_wraps(Wraps::at_least(2).unwrap());
    assert_eq!(
        names(&two.unmet_by_section(1, &[at("a", "x"), at("a", "y")])),
        [WRAPS]
    );
    assert!(two.unmet_by_section(1, &[at("a", "x"), at("b", "x")]).is_empty());
    let stranger = Facts {
        kek: None,
        slot: None,
        ..at("c", "x")
    };
    assert_eq!(
        names(&two.unmet_by_section(1, &[at("a", "x"), stranger])),
        [WRAPS]
    );
    let slots = ["x", "y", "z"].map(|slot| slot.parse::<Slot>().unwrap());
    let two_slots = Requirements::new().with_wraps(Wraps::in_slots(slots, 2).unwrap());
    assert_eq!(
        names(&two_slots.unmet_by_section(1, &[at("a", "x"), at("b", "x")])),
        [WRAPS]
    );
    assert_eq!(
        names(&two_slots.unmet_by_section(1, &[at("a", "x"), at("b", "w")])),
        [WRAPS]
    );
    // Whoever has to make the missing one is told where.
    let unmet = two_slots.unmet_by_section(1, &[at("a", "x"), at("b", "w")]);
    assert!(
        unmet[0].detail.ends_with("1 have: there is none in y, z"),
        "{unmet:?}"
    );
    assert!(
        two_slots
            .unmet_by_section(1, &[at("a", "x"), at("b", "z")])
            .is_empty()
    );
    for (count, slots) in [(0, 0), (17, 0), (2, 1)] {
        let slots = ["a"].into_iter().take(slots).map(|slot| slot.parse().unwrap());
        assert_eq!(
            Wraps::in_slots(slots, count).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    }
}

#[test]
fn keys_of_which_one_has_made_a_wrap_have_what_all_have() {
    let hard = || facts("a", Symmetric, Protection::Hardware, "x");
    let soft = || facts("b", Symmetric, Protection::Software, "x");
    let leaked = || Facts {
        was_compromised: Some(true),
        ..facts("c", Classical, Protection::Hardware, "x")
    };
    for all in [
        [hard(), soft(), leaked()],
        [leaked(), hard(), soft()],
        [soft(), leaked(), hard()],
    ] {
        let merged = Facts::merged(all).unwrap();
        assert!(!merged.is_hardware() && merged.class.is_none());
        assert_eq!(merged.was_compromised, Some(true));
    }
    assert!(Facts::merged([hard(), hard()]).unwrap().is_hardware());
    assert!(Facts::merged([]).is_none());
}

const WHOLE: &str = r#"
schema = 1
everywhere = "base"
context-key = "class"
otherwise = "base"
[[scope]]
scope = "hr/*"
profile = "high"
[profile.base]
[profile.high]
classes = ["hybrid", "post-quantum"]
hardware = true
slots = ["default", "recovery", "third"]
wraps = 2
context = ["purpose", "tenant"]
dek-age = "PT5M"
cache = false
stored-context = "required"
refuse-exposed = true
"#;

#[test]
fn a_file_says_all_that_a_program_can() {
    let slots = ["default", "recovery", "third"].map(|slot| slot.parse().unwrap());
    let high = Requirements::new()
        .allowing([PostQuantum, Hybrid])
        .in_hardware()
        .with_wraps(Wraps::in_slots(slots, 2).unwrap())
        .with_context_key("tenant")
        .with_context_key("purpose")
        .with_dek_age(std::time::Duration::from_secs(300))
        .without_cache()
        .with_stored_context(StoredContext::Required)
        .refusing_exposed();
    let by_hand = Profiles::new()
        .define("base", Requirements::new())
        .and_then(|profiles| profiles.define("high", high))
        .and_then(|profiles| profiles.everywhere("base"))
        .and_then(|profiles| profiles.for_scopes("hr/*".parse().unwrap(), "high"))
        .and_then(|profiles| profiles.by_context_key("class", Some("base")))
        .unwrap();
    assert_eq!(Profiles::parse(WHOLE, "f").unwrap(), by_hand);
    // All slots, if it does not say how many.
    let all = WHOLE.replace("wraps = 2\n", "");
    let all = Profiles::parse(&all, "f").unwrap();
    assert_eq!(all.get("high").unwrap().wraps().next().unwrap().count(), 3);
}

#[test]
fn an_error_in_a_file_names_line_and_column() {
    // (what is replaced, by what, where, what it says)
    for (old, new, at, says) in [
        ("schema = 1", "schema = 2", "2:10", "schema 1"),
        ("schema = 1\n", "", "1:1", "schema"),
        ("[profile.high]", "[profile.High]", "10:10", "a-z"),
        (
            "\"hybrid\"",
            "\"hybrd1\"",
            "11:12",
            "symmetric, classical, hybrid",
        ),
        ("[\"hybrid\", \"post-quantum\"]", "[]", "11:11", "at least one"),
        ("hardware = true", "hardware = \"yes\"", "12:12", "boolean"),
        ("\"third\"", "\"Third\"", "13:33", "a slot"),
        ("\"third\"", "\"default\"", "13:33", "twice"),
        ("wraps = 2", "wraps = 0", "14:9", "between 1 and 16"),
        ("wraps = 2", "wraps = 4", "14:9", "4 wraps"),
        ("wraps = 2", "wraps = -1", "14:9", ""),
        ("\"purpose\"", "\"\"", "15:12", "not empty"),
        ("PT5M", "5 apples", "16:11", "period"),
        ("PT5M", "PT0S", "16:11", "longer than nothing"),
        (
            "\"required\"",
            "\"yes\"",
            "18:18",
            "allowed, required or forbidden",
        ),
        ("refuse-exposed", "refuse_exposed", "19:1", "refuse_exposed"),
        (
            "everywhere = \"base\"",
            "everywhere = \"none\"",
            "3:14",
            "no profile none",
        ),
        (
            "otherwise = \"base\"",
            "otherwise = \"none\"",
            "5:13",
            "no profile none",
        ),
        ("context-key = \"class\"", "", "5:13", "needs a context-key"),
        (
            "context-key = \"class\"\notherwise = \"base\"",
            "context-key = \"\"",
            "4:15",
            "not empty",
        ),
        ("scope = \"hr/*\"", "scope = \"hr/*/x\"", "7:9", "for all below"),
        (
            "profile = \"high\"",
            "profile = \"height\"",
            "8:11",
            "no profile height",
        ),
    ] {
        assert!(WHOLE.contains(old), "{old}");
        let error = Profiles::parse(&WHOLE.replacen(old, new, 1), "f.toml").unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(
            text.contains(&format!("f.toml:{at}: ")) && text.contains(says),
            "{old} -> {new}: {text}"
        );
    }
    let long = format!("{WHOLE}#{}", "x".repeat(1 << 20));
    assert!(Profiles::parse(&long, "f").is_err());
}

#[test]
fn a_pattern_of_scopes_is_all_of_one_or_all_below_it() {
    for bad in ["", "**", "a*", "*/a", "a/*/b", "/*", "a//b", "/a"] {
        assert!(bad.parse::<ScopePattern>().is_err(), "{bad}");
    }
    for good in ["*", "/", "a", "a/b", "a/*", "a/b/*"] {
        assert_eq!(good.parse::<ScopePattern>().unwrap().to_string(), good);
    }
}
