//! What a ring tells of an envelope without any key.

use State::{Active, Compromised};

use super::*;
use crate::ring::profile::Explanation;

fn explain(bench: &Bench, demands: &Requirements, sealed: &[u8], context: &EncryptionContext) -> Explanation {
    let profiles = Profiles::new().define("strict", demands.clone()).unwrap();
    let ring = block_on(bench.builder().profiles(profiles).open()).unwrap();
    block_on(ring.explain(sealed, context, Some("strict"))).unwrap()
}

fn requirements(unmet: &[crate::source::Unmet]) -> Vec<&'static str> {
    unmet.iter().map(|unmet| unmet.requirement).collect()
}

#[test]
fn an_explanation_names_the_requirement_and_the_key_and_asks_nobody() {
    let bench = Bench::new();
    let (weak, rsa) = bench.made("rsa", CLASSICAL, &[Active]);
    let (strong, kms) = bench.made("kms", RECOVERY, &[Active]);
    let sealed = seal(&bench.plain(), "a");
    rsa.forget_calls();
    kms.forget_calls();
    let asked = bench.fakes.asked.lock().unwrap().len();
    let told = explain(&bench, &quantum_safe(), &sealed, &context("a"));
    let keys: Vec<_> = told.wraps.iter().map(|wrap| wrap.key).collect();
    assert_eq!(keys, [Some(weak.id), Some(strong.id)]);
    assert_eq!(requirements(&told.wraps[0].unmet), ["classes"]);
    assert!(
        told.wraps[0].unmet[0]
            .key
            .as_ref()
            .unwrap()
            .contains(&weak.id.to_string())
    );
    assert!(told.wraps[1].unmet.is_empty() && told.wraps[1].unwraps());
    // It opens, and neither is it as it should be, nor would another be.
    assert!(told.opening.is_empty() && !told.is_met());
    assert_eq!(requirements(&told.envelope), ["classes"]);
    assert_eq!(requirements(told.sealing.as_ref().unwrap()), ["classes"]);
    assert_eq!(told.requirements.names().collect::<Vec<_>>(), ["strict"]);
    // Hardware is there.
    assert!(explain(&bench, &Requirements::new().in_hardware(), &sealed, &context("a")).is_met());
    assert_eq!((rsa.total(), kms.total()), (0, 0));
    assert_eq!(
        bench.fakes.asked.lock().unwrap().len(),
        asked,
        "no backend was opened"
    );
}

#[test]
fn an_explanation_says_what_opening_says() {
    let bench = Bench::new();
    let (mut key, _) = bench.made("kek", SOFTWARE, &[Active]);
    let context = EncryptionContext::new([("tenant", "a"), ("note", "CANARY")]).unwrap();
    let sealed = block_on(bench.plain().seal(b"hello", &context)).unwrap();
    let demands = [
        Requirements::new(),
        quantum_safe(),
        Requirements::new().in_hardware(),
        Requirements::new().with_context_key("purpose"),
        Requirements::new().with_wraps(Wraps::at_least(2).unwrap()),
        Requirements::new().with_stored_context(crate::ring::profile::StoredContext::Required),
        Requirements::new().refusing_exposed(),
    ];
    let mut seen = Vec::new();
    for round in 0..2 {
        for demands in &demands {
            let told = explain(&bench, demands, &sealed, &context);
            let opened = block_on(bench.strict(demands).open(&sealed, &context));
            match opened.map_err(|error| error.kind()) {
                Ok(_) => assert!(told.opening.is_empty(), "{told:?}"),
                Err(ErrorKind::ProfileRefused { requirement }) => {
                    assert_eq!(told.opening[0].requirement, requirement);
                    seen.push(requirement);
                }
                // The profile lets it be, and its key does not open anymore.
                Err(kind) => assert!(round == 1 && kind == ErrorKind::KeyRevoked, "{kind:?}"),
            }
            assert!(!format!("{told:?}").contains("CANARY"));
        }
        bench.go(&mut key, Compromised);
        if round == 0 {
            bench.put(&[&key]);
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(
        seen,
        ["context", "hardware", "refuse-exposed", "stored-context", "wraps"]
    );
}

#[test]
fn a_strangers_envelope_is_explained_too() {
    let bench = Bench::new();
    bench.made("kek", GOOD, &[Active]);
    let stranger = FakeKeyManager::new("stranger").with_provider("elsewhere");
    let sealed = seal(&Sealer::new(stranger), "a");
    let told = explain(&bench, &quantum_safe(), &sealed, &context("a"));
    assert_eq!((told.wraps[0].key, told.wraps[0].unwraps()), (None, false));
    assert_eq!(requirements(&told.envelope), ["classes"]);
    assert!(told.sealing.unwrap().is_empty());
    // Without profiles nothing is demanded.
    let ring = bench.open();
    let told = block_on(ring.explain(&sealed, &context("a"), None)).unwrap();
    assert!(told.opening.is_empty() && told.envelope.is_empty());
    assert!(matches!(
        kind(block_on(ring.explain(b"no envelope", &context("a"), None))),
        ErrorKind::Malformed { .. }
    ));
}
