//! Keys that provisioners have made: the authority takes them over.

use std::collections::BTreeMap;

use super::RingAdmin;
use crate::ring::Scope;
use crate::ring::inventory::NodePath;
use crate::ring::tree::{self, Digest, Nodes};
use crate::ring::view::is_about_records;
use crate::ring::witness::Operation;
use crate::value::error::{Error, ErrorKind, Result};

/// How many scopes are listed at once.
const PAGE: u32 = 1000;
/// How many keys are taken over in one change.
const BATCH: usize = 100;
/// How many records a bucket of the tree has at most, of the 3,236 that it holds, for another key to be taken over.
const BESIDE: usize = 3_000;
/// How many scopes are named that could not be read or changed.
const PROBLEMS: usize = 100;

/// Keys of provisioners that were taken over.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct TakenOver {
    /// How many.
    pub keys: usize,
    /// Scopes that could not be read or changed, and why: the first 100.
    pub problems: Vec<(Scope, Error)>,
}

impl RingAdmin {
    /// Takes over keys that provisioners have made, at most `limit`: from then on they stand in the signed tree, and whoever deletes one is
    /// noticed. Those that do not count, because their scope has records, are deleted.
    ///
    /// Nothing changes for those who use the keys. A [`tick`](Self::tick) does this, too.
    ///
    /// # Errors
    /// As the [type](Self) says. What was taken over before stays so.
    ///
    /// # Cancel safety
    /// Dropping the future leaves each batch taken over or not.
    pub async fn take_over_provisioned(&self, limit: usize) -> Result<TakenOver> {
        let deed = self.deed(Operation::TakeOver);
        self.witnessed(deed, self.do_take_over_provisioned(limit)).await
    }

    pub(super) async fn do_take_over_provisioned(&self, limit: usize) -> Result<TakenOver> {
        let (mut done, mut after) = (TakenOver::default(), None);
        while done.keys < limit {
            let page = self.reader.provisioned_after(after.as_ref(), PAGE).await?;
            let Some(last) = page.last().cloned() else { break };
            let scopes = by_bucket(page);
            for batch in scopes.chunks(BATCH) {
                let room = limit.saturating_sub(done.keys);
                let batch = batch.get(..batch.len().min(room)).unwrap_or_default();
                self.take_over_batch(batch, &mut done).await?;
            }
            after = Some(last);
        }
        Ok(done)
    }

    /// Takes over the keys of these scopes.
    pub(super) async fn take_over_named(&self, scopes: Vec<Scope>) -> Result<TakenOver> {
        let mut done = TakenOver::default();
        for batch in scopes.chunks(BATCH) {
            self.take_over_batch(batch, &mut done).await?;
        }
        Ok(done)
    }

    /// If they do not all verify, each by itself: one that was tampered with stops no other.
    async fn take_over_batch(&self, batch: &[Scope], done: &mut TakenOver) -> Result<()> {
        match self.take_over_scopes(batch).await {
            Ok(taken) => done.keys += taken,
            Err(error) if !is_about_records(&error) => return Err(error),
            Err(_) => {
                for scope in batch {
                    match self.take_over_scopes(std::slice::from_ref(scope)).await {
                        Ok(taken) => done.keys += taken,
                        Err(error) if !is_about_records(&error) => return Err(error),
                        Err(error) if done.problems.len() < PROBLEMS => {
                            done.problems.push((scope.clone(), error));
                        }
                        Err(_) => {}
                    }
                }
            }
        }
        Ok(())
    }

    async fn take_over_scopes(&self, scopes: &[Scope]) -> Result<usize> {
        if scopes.is_empty() {
            return Ok(0);
        }
        self.change(scopes, |view, draft| {
            let mut taken = 0;
            for scope in scopes {
                draft.drop_provisioned(scope);
                for key in view.keys(scope).iter().filter(|key| view.is_provisioned(key.id)) {
                    check_room(&view.nodes, &view.root, scope)?;
                    let own = draft.taken_over(key)?;
                    draft.put(&own)?;
                    taken += 1;
                }
            }
            Ok(taken)
        })
        .await
    }
}

/// Leaves room in a bucket for what the authority does itself: whoever names scopes may choose names that are all of one.
///
/// # Errors
/// `OverLimit`.
fn check_room(nodes: &Nodes, root: &Digest, scope: &Scope) -> Result<()> {
    if tree::count_beside(nodes, root, scope)? < BESIDE {
        return Ok(());
    }
    let limit = "the number of records in one bucket of the ring's tree, for a key to be taken over";
    let max = BESIDE as u64;
    Err(Error::new(ErrorKind::OverLimit { limit, max }).with_detail(format!(
        "the first key of scope {scope} stays as its provisioner has made it; if nobody knows this scope, revoke the key"
    )))
}

/// Scopes of one bucket change one node of the tree together.
pub(super) fn by_bucket(scopes: Vec<Scope>) -> Vec<Scope> {
    let mut buckets: BTreeMap<NodePath, Vec<Scope>> = BTreeMap::new();
    for scope in scopes {
        buckets.entry(tree::bucket_of(&scope)).or_default().push(scope);
    }
    buckets.into_values().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::inventory::RecordKind;
    use crate::ring::tree::{ABSENT, Leaf};
    use crate::ring::{RecordId, Time};

    #[test]
    fn a_bucket_keeps_room_for_what_the_authority_does_itself() {
        let scope = |number: u32| -> Scope { format!("tenant/{number}").parse().unwrap() };
        let full = scope(0);
        // As whoever chooses the names of tenants can find it.
        let is_beside = |other: &Scope| tree::bucket_of(other) == tree::bucket_of(&full);
        let beside = (1..).map(scope).find(is_beside).unwrap();
        let elsewhere = (1..).map(scope).find(|other| !is_beside(other)).unwrap();
        let leaf = || {
            let id = RecordId::new(Time::from_microseconds(0).unwrap()).unwrap();
            Leaf::new(id, RecordKind::Key, b"")
        };
        let mut leaves: Vec<Leaf> = (1..BESIDE).map(|_| leaf()).collect();
        let (mut nodes, mut written) = (Nodes::new(), Nodes::new());
        let root = tree::set(&mut nodes, &mut written, &ABSENT, &full, &leaves).unwrap();
        check_room(&nodes, &root, &beside).unwrap();
        leaves.push(leaf());
        let root = tree::set(&mut nodes, &mut written, &root, &full, &leaves).unwrap();
        let error = check_room(&nodes, &root, &beside).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::OverLimit { max: 3_000, .. }));
        assert!(error.to_string().contains("revoke"), "{error}");
        check_room(&nodes, &root, &elsewhere).unwrap();
    }
}
