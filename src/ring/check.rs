//! Looking at a whole ring for what is wrong with it.

use std::collections::{BTreeMap, HashSet};

use super::inventory::RecordKind;
use super::reader::Reader;
use super::record::{KeyRecord, Record};
use super::tree::Nodes;
use super::view::{Mark, View, is_about_records};
use super::{AuthorityKey, RecordId, Scope, State, tree};
use crate::value::error::{Error, ErrorKind, Result};

/// How many scopes are verified at once.
const AT_ONCE: usize = 200;
const PAGE: u32 = 200;
/// How often the whole is begun again because the ring was changed meanwhile.
const TRIES: usize = 16;

/// Something that is wrong with a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The scope, if it is known.
    pub scope: Option<Scope>,
    /// The record, if it is one alone.
    pub record: Option<RecordId>,
    /// What is wrong, and with which record.
    pub what: String,
    /// Whether what it is about cannot be used, rather than being worth a look.
    pub is_error: bool,
}

/// What a look at a whole ring has found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// The revision that was looked at.
    pub mark: Mark,
    /// The newest revision that was known before. `None` if none was: then an older dump of the inventory was not noticed.
    pub compared: Option<Mark>,
    /// The authority that has signed it.
    pub authority: AuthorityKey,
    /// The number of scopes.
    pub scopes: usize,
    /// How many of them have nothing but a key that a provisioner has made.
    pub provisioned: usize,
    /// The number of keys that were verified, by state in the order of the table.
    pub keys: [usize; 7],
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Check {
    /// Returns whether nothing is wrong that hinders use.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.findings.iter().any(|finding| finding.is_error)
    }
}

impl Check {
    fn note(&mut self, what: String) {
        self.findings.push(Finding {
            scope: None,
            record: None,
            what,
            is_error: false,
        });
    }
}

impl Reader {
    /// Looks at every record of the ring: signatures, digests, columns, what was deleted or added, and successors that do not
    /// fit. Goes on after each finding.
    ///
    /// # Errors
    /// If nothing at all can be believed: the kinds of [`Trust::read`](super::Trust::read) for the head and the settings;
    /// `Conflict` if the ring changes all the time.
    pub async fn check(&self) -> Result<Check> {
        let compared = self.trust().mark();
        let mut last = None;
        for _ in 0..TRIES {
            // The tree and what it is of, once: scopes are verified against it, page by page.
            let mut whole = self.inventory().read(&[], &tree::all_paths()).await?;
            let nodes = std::mem::take(&mut whole.nodes);
            let begun = self.trust().verify(whole, &[])?;
            let check = self.check_at(&begun, &nodes, compared).await?;
            let ended = self.scopes(&[]).await?;
            if let Some(check) = check.filter(|_| begun.mark() == ended.mark()) {
                return Ok(check);
            }
            last = Some(ended.mark().revision);
        }
        Err(Error::new(ErrorKind::Conflict).with_detail(format!(
            "the ring was changed during each of {TRIES} looks at it, the last time to revision {}",
            last.unwrap_or_default()
        )))
    }

    /// Looks at the revision of `begun`, whose tree is `nodes`. Returns `None` if there is a newer one meanwhile.
    async fn check_at(&self, begun: &View, nodes: &Nodes, compared: Option<Mark>) -> Result<Option<Check>> {
        let mut check = Check {
            mark: begun.mark(),
            compared,
            authority: begun.authority(),
            scopes: 0,
            provisioned: 0,
            keys: [0; 7],
            findings: Vec::new(),
        };
        if self.trust().authority() != begun.authority() {
            check.note(format!(
                "the configuration trusts {}, which {} has followed: put that in its place",
                self.trust().authority(),
                begun.authority()
            ));
        }
        if begun.settings().authorities().len() > 1 {
            check.note(
                "a succession of authorities is not finished: run `waxseal ring authority rotate` again"
                    .to_owned(),
            );
        }
        self.look_at_clocks(begun, &mut check).await?;
        let listed = self.listed().await?;
        let mut seen = Seen::default();
        for scopes in listed.chunks(AT_ONCE) {
            if !self
                .look_at_page(scopes, begun, nodes, &mut check, &mut seen)
                .await?
            {
                return Ok(None);
            }
        }
        let mut after = None;
        loop {
            let page = self.provisioned_after(after.as_ref(), PAGE).await?;
            let Some(last) = page.last().cloned() else { break };
            // Those that have records were looked at.
            let has_no_record = |scope: &&Scope| {
                let leaves = tree::leaves_of(nodes, &begun.root, scope);
                leaves.is_ok_and(|leaves| leaves.is_empty())
            };
            let page: Vec<Scope> = page.iter().filter(has_no_record).cloned().collect();
            if !self
                .look_at_page(&page, begun, nodes, &mut check, &mut seen)
                .await?
            {
                return Ok(None);
            }
            after = Some(last);
        }
        look_for_missing(begun, nodes, &seen.records, &mut check);
        look_at_counts(begun, &seen, &mut check);
        Ok(Some(check))
    }

    /// Names clocks that are apart: what waits for a time goes by them, and nothing is signed while they disagree.
    async fn look_at_clocks(&self, begun: &View, check: &mut Check) -> Result<()> {
        let now = match self.time(begun).await {
            Ok(now) => now,
            Err(error) if error.kind() == ErrorKind::ClocksDisagree => {
                let what = error.detail().unwrap_or("the clocks disagree");
                check.note(what.to_owned());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let ahead = begun.changed().since(now);
        if ahead > begun.settings().clock_tolerance.at_most() {
            check.note(format!(
                "the time of the ring is {}, and it is {now}: either this clock is behind, or a change was signed by a clock that was ahead. \
                 Compare this clock with others first. If it is behind, set it right, and correct nothing: a correction would let evidence count too \
                 early. If it is right, what waits for a time waits for that much longer, and no key is rotated: set the time of the ring back with \
                 `waxseal ring clock --correct`",
                begun.changed()
            ));
        }
        Ok(())
    }

    /// Looks at these scopes, and at each by itself if they do not all verify, or are more than one call reads. Returns false if
    /// there is a newer revision.
    async fn look_at_page(
        &self,
        scopes: &[Scope],
        begun: &View,
        nodes: &Nodes,
        check: &mut Check,
        seen: &mut Seen,
    ) -> Result<bool> {
        // Against the tree that was read before.
        let tree = Some((nodes, begun.revision()));
        let verified = self.trust().read_rows(&**self.inventory(), scopes, tree).await;
        match (verified, scopes) {
            (Ok((_, view)), _) => look_at(&view, check, seen),
            (Err(error), _) if error.kind() == ErrorKind::Conflict => return Ok(false),
            (Err(error), _) if !is_about_records(&error) => return Err(error),
            (Err(error), [scope]) => {
                check.scopes += 1;
                check.findings.push(Finding {
                    scope: Some(scope.clone()),
                    record: None,
                    what: error.detail().map_or_else(|| error.to_string(), str::to_owned),
                    is_error: true,
                });
                // So that they are not named twice.
                let leaves = tree::leaves_of(nodes, &begun.root, scope).unwrap_or_default();
                seen.records.extend(leaves.iter().map(|leaf| leaf.id));
                seen.is_partial = true;
            }
            (Err(_), scopes) => {
                for scope in scopes.chunks(1) {
                    if !Box::pin(self.look_at_page(scope, begun, nodes, check, seen)).await? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }
}

/// What was seen in all scopes.
#[derive(Default)]
struct Seen {
    records: HashSet<RecordId>,
    /// How many branch keys are under each parent.
    branches: BTreeMap<RecordId, u64>,
    /// Whether some scope could not be read.
    is_partial: bool,
}

/// Compares how many branch keys are under each parent with what the head says, and names what nobody has taken over yet.
fn look_at_counts(begun: &View, seen: &Seen, check: &mut Check) {
    let is_whole = !seen.is_partial && check.is_good();
    let mut parents: Vec<RecordId> = begun.branch_parents().map(|(parent, _)| parent).collect();
    parents.extend(seen.branches.keys());
    parents.sort_unstable();
    parents.dedup();
    for parent in parents.into_iter().filter(|_| is_whole) {
        let (counted, found) = (
            begun.branches_under(parent),
            seen.branches.get(&parent).copied().unwrap_or_default(),
        );
        if counted != found {
            check.findings.push(Finding {
                scope: None,
                record: Some(parent),
                what: format!(
                    "the head counts {counted} branch keys under the key {parent}, and the ring has {found}"
                ),
                is_error: true,
            });
        }
    }
    if check.provisioned > 0 {
        check.note(format!(
            "keys that only a provisioner has signed: {}. Until they are taken over, nobody notices if one is deleted: run `waxseal keys tick`",
            check.provisioned
        ));
    }
}

/// Names the records of scopes that the inventory does not list anymore.
fn look_for_missing(begun: &View, nodes: &Nodes, seen: &HashSet<RecordId>, check: &mut Check) {
    match tree::all_leaves(nodes, &begun.root) {
        Ok(leaves) => {
            for (_, leaf) in leaves.iter().filter(|(_, leaf)| !seen.contains(&leaf.id)) {
                check.findings.push(Finding {
                    scope: None,
                    record: Some(leaf.id),
                    what: format!(
                        "the {} {} is missing, with all of its scope: it was deleted",
                        leaf.kind.name(),
                        leaf.id
                    ),
                    is_error: true,
                });
            }
        }
        Err(error) => check.findings.push(Finding {
            scope: None,
            record: None,
            what: error
                .detail()
                .unwrap_or("the tree of digests does not verify")
                .to_owned(),
            is_error: true,
        }),
    }
}

/// Says of an active branch key that somebody else may have it.
fn needs_rotation(view: &View, key: &KeyRecord) -> Option<String> {
    let exposing = view.exposed_by(key);
    let parent = exposing.first().filter(|_| key.state == State::Active)?;
    let (what, so) = match key.is_branch_of(parent.id) {
        true => ("is wrapped under", "nothing is sealed or opened with it"),
        false => (
            "was wrapped under before",
            "it still seals, and whoever has that key and a backup has it",
        ),
    };
    Some(format!(
        "needs rotation: the branch key {} of scope {} {what} the key {} of scope {}, which was revoked: {so}; run `waxseal keys tick`",
        key.id, key.scope, parent.id, parent.scope
    ))
}

fn look_at(view: &View, check: &mut Check, seen: &mut Seen) {
    for (scope, records) in &view.scopes {
        check.scopes += 1;
        seen.records.extend(records.leaves.iter().map(|leaf| leaf.id));
        check.provisioned += usize::from(records.provisioned.is_some());
        for row in records.to_take.iter().filter(|_| records.provisioned.is_none()) {
            check.findings.push(Finding {
                scope: Some(scope.clone()),
                record: Some(*row),
                what: format!(
                    "the provisioned row {row} does not count, since scope {scope} has records: the next change of the scope deletes it"
                ),
                is_error: false,
            });
        }
        for key in view.keys(scope) {
            let parent = match key.state {
                State::Destroyed => Ok(None),
                _ => view.parent(key),
            };
            let wrong = match parent {
                Err(error) => Some(error.detail().map_or_else(|| error.to_string(), str::to_owned)),
                // A revocation is no fault of the ring.
                Ok(Some(parent)) if parent.state == State::Compromised => None,
                Ok(Some(parent)) if key.unwraps() && !parent.unwraps() => Some(format!(
                    "the branch key {} of scope {scope} is {}, and is wrapped under the key {} of scope {}, which is {}: what it has sealed does not \
                     open",
                    key.id, key.state, parent.id, parent.scope, parent.state
                )),
                Ok(_) => None,
            };
            if let Some(what) = needs_rotation(view, key) {
                check.findings.push(Finding {
                    scope: Some(scope.clone()),
                    record: Some(key.id),
                    what,
                    is_error: false,
                });
            }
            if let Some(what) = wrong {
                check.findings.push(Finding {
                    scope: Some(scope.clone()),
                    record: Some(key.id),
                    what,
                    is_error: true,
                });
            }
            if let Some(parent) = key.parent_key().filter(|_| records.provisioned.is_none()) {
                *seen.branches.entry(parent).or_default() += 1;
            }
            let index = super::STATES.iter().position(|row| row.state == key.state);
            if let Some(count) = index.and_then(|index| check.keys.get_mut(index)) {
                *count += 1;
            }
            let is_named = view.head.destroying.iter().any(|ending| ending.key == key.id);
            if is_named != key.ending().is_some() {
                check.findings.push(Finding {
                    scope: Some(scope.clone()),
                    record: Some(key.id),
                    what: format!(
                        "the key {} is {}, and the head {} it among those that are being destroyed",
                        key.id,
                        key.state,
                        if is_named { "names" } else { "does not name" }
                    ),
                    is_error: true,
                });
            }
            for (name, other) in [("predecessor", key.predecessor), ("successor", key.successor)] {
                if let Some(other) = other
                    && view.key(other).is_none()
                {
                    check.findings.push(Finding {
                        scope: Some(scope.clone()),
                        record: Some(key.id),
                        what: format!(
                            "the key {} names {other} as its {name}, and its scope has no such key",
                            key.id
                        ),
                        is_error: false,
                    });
                }
            }
        }
        if let Some(tombstone) = view.tombstone(scope) {
            // Whoever wrote it has not gone by the rules; no key of the scope is used all the same.
            for key in view.keys(scope).iter().filter(|key| key.is_in_use()) {
                check.findings.push(Finding {
                    scope: Some(scope.clone()),
                    record: Some(key.id),
                    what: format!("{}, and its key {} is {}", tombstone.words(), key.id, key.state),
                    is_error: true,
                });
            }
        }
        let slots: Vec<_> = view.keys(scope).iter().map(|key| &key.slot).collect();
        for slot in slots
            .iter()
            .enumerate()
            .filter(|(index, slot)| !slots[..*index].contains(slot))
            .map(|(_, slot)| slot)
        {
            let in_slot = || view.keys(scope).iter().filter(|key| key.slot == **slot);
            let waits = in_slot().any(|key| key.state == State::Deprecated);
            if waits && view.active(scope, slot).is_none() {
                check.findings.push(Finding {
                    scope: Some(scope.clone()),
                    record: None,
                    what: format!(
                        "scope {scope} has no active key in slot {slot}: nothing can be sealed there"
                    ),
                    is_error: false,
                });
            }
        }
        for intent in view.intents(scope) {
            if intent.lease_until < view.changed() {
                check.findings.push(Finding {
                    scope: Some(scope.clone()),
                    record: Some(intent.id),
                    what: format!(
                        "the {} {} was begun at {} and nobody works on it: the next tick finishes it",
                        RecordKind::Intent.name(),
                        intent.id,
                        intent.begun
                    ),
                    is_error: false,
                });
            }
        }
    }
}
