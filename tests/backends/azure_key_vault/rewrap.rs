//! What a re-wrap keeps while the vault has not said its name.

use super::keys;
use crate::fake_azure_key_vault::{FakeKeyVault, Setup};
use crate::siblings::the_other_recipient_keeps_access;

#[tokio::test]
async fn a_key_name_on_a_host_that_has_not_answered_claims_nothing() {
    let (fake, other) = (
        FakeKeyVault::start(),
        FakeKeyVault::start_with(Setup {
            public: None,
            ..Setup::default()
        }),
    );
    let (ours, theirs) = (keys(&fake, &fake.key("k")), keys(&other, &other.key("k")));
    the_other_recipient_keeps_access(ours, theirs).await;
}
