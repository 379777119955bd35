//! What a re-wrap keeps, and what it costs, at moto.

use super::server::moto;
use crate::siblings::{
    hidden_or_not_to_the_same_or_another, move_and_move_again, the_other_recipient_keeps_access,
};

#[tokio::test]
async fn siblings_stay_siblings_and_a_second_run_changes_nothing() {
    let Some(moto) = moto() else { return };
    let ((first, _), (second, _)) = (moto.keys().await, moto.keys().await);
    move_and_move_again(first, second).await;
}

#[tokio::test]
async fn a_hidden_id_moves_to_another_key() {
    let Some(moto) = moto() else { return };
    let client = moto.client().await;
    let [old, new] = [moto.key().await, moto.key().await].map(|key| client.key(&key).unwrap());
    hidden_or_not_to_the_same_or_another(new, old).await;
}

/// An alias that is not resolved yet may be any key of the region.
#[tokio::test]
async fn an_alias_that_is_not_resolved_claims_nothing() {
    let Some(moto) = moto() else { return };
    let client = moto.client().await;
    let alias = moto.alias(&moto.key().await).await;
    let theirs = client.key(&moto.key().await).unwrap();
    the_other_recipient_keeps_access(client.key(&alias).unwrap(), theirs).await;
}
