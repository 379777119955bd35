//! Which scopes a change of the ring has left as they were, found by the tree of digests and not by their records.

use std::collections::{BTreeMap, BTreeSet};

use super::core::{Core, READ};
use super::state::Entry;
use crate::ring::inventory::NodePath;
use crate::ring::tree::{self, Digest};
use crate::ring::{Scope, View};
use crate::runtime::with_timeout;
use crate::value::error::{ErrorKind, Result};

/// So few scopes are read again at once.
const FEW: usize = 32;
/// How often it is begun anew because the ring was changed meanwhile.
const TRIES: usize = 3;

/// The digests of the nodes above loaded scopes, at one revision.
#[derive(Debug, Default)]
pub(super) struct Seen {
    revision: u64,
    digests: BTreeMap<NodePath, Digest>,
}

impl Seen {
    /// Everything that was seen of a node and of those below it.
    fn below(&self, path: &str) -> BTreeMap<NodePath, Digest> {
        let all = self.digests.range(path.to_owned()..);
        let below = all.take_while(|(below, _)| below.starts_with(path));
        below.map(|(path, digest)| (path.clone(), *digest)).collect()
    }
}

/// What a walk through the tree has shown.
struct Walked {
    digests: BTreeMap<NodePath, Digest>,
    /// Below these nothing has changed.
    same: BTreeSet<NodePath>,
}

impl Walked {
    /// Whether a bucket, or a node above it, is as it was.
    fn is_same(&self, bucket: &str) -> bool {
        let mut above = (0..=bucket.len()).filter_map(|len| bucket.get(..len));
        above.any(|path| self.same.contains(path))
    }
}

/// Whether a scope of interest is below a node.
fn is_above_any(path: &str, buckets: &BTreeSet<NodePath>) -> bool {
    let mut after = buckets.range(path.to_owned()..);
    after.next().is_some_and(|bucket| bucket.starts_with(path))
}

impl Core {
    /// Finds the scopes that are as they were, of those that were known at the revision before, so that a change of one
    /// scope of many thousands lets no other be read again.
    pub(super) async fn settle(&self, mut view: View) -> Result<()> {
        for _ in 0..TRIES {
            let scopes: Vec<(Scope, BTreeSet<NodePath>)> = {
                let mut state = self.lock();
                if state.scopes.len() <= FEW {
                    state.seen = Seen {
                        revision: view.revision(),
                        digests: BTreeMap::new(),
                    };
                    return Ok(());
                }
                let scopes = state.scopes.iter();
                // What a branch key is depends on its parent, too.
                let buckets = |(scope, entry): (&Scope, &Entry)| {
                    let parents = entry.keys.parents.iter();
                    let all = parents.chain([scope]).map(tree::bucket_of).collect();
                    (scope.clone(), all)
                };
                scopes.map(buckets).collect()
            };
            let buckets = scopes.iter().flat_map(|(_, buckets)| buckets.clone()).collect();
            match self.walk(&view, &buckets).await {
                Ok(walked) => {
                    self.take_over(&view, &scopes, walked);
                    return Ok(());
                }
                // Changed meanwhile, or tampered with: what is read below tells.
                Err(error) if error.kind() == ErrorKind::InventoryInvalid => {}
                Err(error) => return Err(error),
            }
            view = self.read(&[]).await?;
        }
        Ok(())
    }

    async fn walk(&self, view: &View, buckets: &BTreeSet<NodePath>) -> Result<Walked> {
        let mut walked = Walked {
            digests: BTreeMap::new(),
            same: BTreeSet::new(),
        };
        let mut open = vec![(String::new(), view.root)];
        for level in 0..=tree::DEPTH {
            let mut changed = Vec::new();
            {
                let state = self.lock();
                for (path, digest) in open {
                    if state.seen.digests.get(&path) == Some(&digest) {
                        walked.digests.extend(state.seen.below(&path));
                        walked.same.insert(path);
                    } else {
                        changed.push((path, digest));
                    }
                }
            }
            walked.digests.extend(changed.iter().cloned());
            if level == tree::DEPTH || changed.is_empty() {
                break;
            }
            let paths: Vec<NodePath> = changed.iter().map(|(path, _)| path.clone()).collect();
            let read = self.inventory.read(&[], &paths);
            let snapshot = with_timeout(&*self.runtime, Some(READ), read).await?;
            open = Vec::new();
            for (path, digest) in &changed {
                let children = tree::children(&snapshot.nodes, path, digest)?;
                let needed = children
                    .into_iter()
                    .filter(|(child, _)| is_above_any(child, buckets));
                open.extend(needed);
            }
        }
        Ok(walked)
    }

    fn take_over(&self, view: &View, scopes: &[(Scope, BTreeSet<NodePath>)], walked: Walked) {
        let mut state = self.lock();
        let before = state.seen.revision;
        for (scope, buckets) in scopes {
            let Some(entry) = state.scopes.peek_mut(scope) else {
                continue;
            };
            // One that was read at another revision may be of a state that came and went.
            let is_same = buckets.iter().all(|bucket| walked.is_same(bucket));
            if is_same && entry.bad.is_none() && entry.as_of == before {
                entry.as_of = view.revision();
            }
        }
        state.seen = Seen {
            revision: view.revision(),
            digests: walked.digests,
        };
    }
}
