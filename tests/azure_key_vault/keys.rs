//! What it does, and what the service saw of it.

use waxseal::testing::conformance::{Subject, run};

use crate::fake_azure_key_vault::FakeKeyVault;
use crate::keys;

const NOT_REWRAPPING: [&str; 2] = [
    "a_manager_that_only_wraps_refuses_to_unwrap",
    "a_rewrap_keeps_dek_and_binding",
];

#[tokio::test]
async fn the_suite_passes_with_rsa_oaep_256_against_our_fake() {
    let fake = FakeKeyVault::start();
    println!("a fake of our own at {}", fake.url());
    let subject = Subject::new(keys(&fake, &fake.key("own")))
        .against(keys(&fake, &fake.key("other")))
        .with_canary("CANARY");
    let report = run(&subject).await.unwrap_or_else(|failure| panic!("{failure}"));
    let skipped: Vec<_> = report.skipped().into_iter().map(|(name, _)| name).collect();
    assert_eq!(skipped, NOT_REWRAPPING, "{report}");
}

#[tokio::test]
async fn the_suite_passes_with_a256kw_against_our_fake() {
    let fake = FakeKeyVault::start_hsm();
    println!("a fake of our own at {}", fake.url());
    let subject = Subject::new(keys(&fake, &fake.key("own")))
        .against(keys(&fake, &fake.key("other")))
        .wrapping_deterministically()
        .with_canary("CANARY");
    let report = run(&subject).await.unwrap_or_else(|failure| panic!("{failure}"));
    for name in report.skipped().into_iter().map(|(name, _)| name) {
        assert!(
            NOT_REWRAPPING.contains(&name) || name == "wraps_are_randomised",
            "{report}"
        );
    }
}
