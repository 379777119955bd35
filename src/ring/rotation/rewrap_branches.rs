//! Branch keys are wrapped under the active key of their parent scope, after that one was rotated.
//!
//! What is done stands in the ring, so a job that was killed is begun again, and goes on with what is left. The bytes of a branch key stay the same, so
//! nothing that it has sealed changes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::RingAdmin;
use super::branch::{active_parent, is_active_parent};
use super::moves::{Said, linked, noted};
use super::take_over::by_bucket;
use crate::envelope::{AlgorithmClass, WrapAlgorithm};
use crate::key::{KeyManager, Protection, Purpose};
use crate::ring::record::{Branch, KeyRecord};
use crate::ring::tree;
use crate::ring::view::{View, is_about_records};
use crate::ring::witness::Operation;
use crate::ring::{RecordId, Scope, State};
use crate::runtime::BoxFuture;
use crate::runtime::join::join;
use crate::value::error::{Error, ErrorKind, Result};

/// How many scopes are listed at once.
const PAGE: u32 = 1000;
/// Names of more scopes are not kept: then one sixteenth of them at a time is.
const NAMES: usize = 65_536;
/// How many scopes are read, and at most how many of their keys are committed, at once.
const BATCH: usize = 64;
/// How often a batch is looked at again because somebody else changed it meanwhile.
const TURNS: usize = 4;
/// How many problems are named.
const PROBLEMS: usize = 100;
/// How many entries of a history are left for others: a re-wrap writes none then.
const ROOM: usize = 100;

/// What is to be wrapped anew, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BranchRewrap {
    /// Only branch keys whose parent is of this scope.
    pub parent: Option<Scope>,
    /// After so many, the job stops. It can be begun again.
    pub limit: Option<u64>,
    /// How many branch keys are unwrapped and wrapped at the same time. 8 by default, and at most 64.
    pub at_once: usize,
    /// Also under a parent that is worse protected, or of another class, than the branch key is known to be. It has no better of the two from then on.
    pub allow_weaker: bool,
}

impl Default for BranchRewrap {
    fn default() -> Self {
        Self {
            parent: None,
            limit: None,
            at_once: 8,
            allow_weaker: false,
        }
    }
}

/// How far a job has come.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct BranchesRewrapped {
    /// Branch keys that were wrapped anew.
    pub rewrapped: u64,
    /// How many of those only a provisioner had signed until then.
    pub taken_over: u64,
    /// Branch keys that were under the active key of their parent scope already.
    pub current: u64,
    /// Branch keys that could not be wrapped anew, and scopes that could not be read.
    pub failed: u64,
    /// Why: the first 100 of them.
    pub problems: Vec<(Scope, Error)>,
    /// How many branch keys of the signed tree are under a key that wraps no more, at the end.
    pub left: u64,
    /// Whether the job stopped at its limit.
    pub is_stopped: bool,
}

impl BranchesRewrapped {
    fn fail(&mut self, scope: &Scope, error: Error) {
        self.failed += 1;
        if self.problems.len() < PROBLEMS {
            self.problems.push((scope.clone(), error));
        }
    }
}

/// A branch key, the parent that it is under, and the one that it shall be under.
struct Todo {
    key: Arc<KeyRecord>,
    from: Arc<KeyRecord>,
    to: Arc<KeyRecord>,
}

/// One that was wrapped.
struct Wrapped {
    key: Arc<KeyRecord>,
    to: Arc<KeyRecord>,
    branch: Branch,
}

/// What a job keeps from batch to batch.
#[derive(Default)]
struct Job {
    /// Pinned to each parent.
    managers: BTreeMap<RecordId, Arc<dyn KeyManager>>,
    done: BranchesRewrapped,
}

impl RingAdmin {
    /// Wraps branch keys under the active key of their parent scope that are under another one, so that the other one can be retired. Each is
    /// unwrapped again before it is committed. Keys that only a provisioner has signed are taken over with that. `progress` is told after
    /// each batch.
    ///
    /// The job can be killed at any point, and begun again: it goes on with what is left. Several can run at once. The names of scopes are all that it
    /// keeps in memory, and of more than 65,536 only a sixteenth of them.
    ///
    /// A branch key is never better than the weakest parent that it was wrapped under: copies of that wrap may still be in backups. So its record keeps the
    /// weaker protection, and profiles look at the classes of all its wraps. Rotate a branch key to get one that is as good as its new parent. A new
    /// parent that is weaker (not in hardware, after one that was; a classical algorithm, after another class) is a problem, unless
    /// [`allow_weaker`](BranchRewrap::allow_weaker) says so.
    ///
    /// A branch key under a parent that was retired or revoked is not wrapped anew: [`problems`](BranchesRewrapped::problems) names it. Reinstate the
    /// parent if it was retired. If it was revoked, rotate the branch key; a [`tick`](Self::tick) does that.
    ///
    /// # Errors
    /// `InvalidArgument` if `at_once` is not 1 to 64; as the [type](Self) says; the first error of a backend that is worth a new try: what was done
    /// before stays done.
    ///
    /// # Cancel safety
    /// Dropping the future leaves each batch done or not.
    pub async fn rewrap_branches(
        &self,
        what: &BranchRewrap,
        progress: impl FnMut(&BranchesRewrapped) + Send,
    ) -> Result<BranchesRewrapped> {
        let deed = self.deed(Operation::RewrapBranches);
        self.witnessed(deed, self.do_rewrap_branches(what, progress))
            .await
    }

    pub(super) async fn do_rewrap_branches(
        &self,
        what: &BranchRewrap,
        mut progress: impl FnMut(&BranchesRewrapped) + Send,
    ) -> Result<BranchesRewrapped> {
        if !(1..=64).contains(&what.at_once) {
            return Err(Error::argument(format!(
                "branch keys are wrapped 1 to 64 at once, got {}",
                what.at_once
            )));
        }
        let mut job = Job::default();
        'all: for part in self.parts().await? {
            for batch in by_bucket(self.names(part).await?.0).chunks(BATCH) {
                self.rewrap_batch(batch, what, &mut job).await?;
                progress(&job.done);
                if job.done.is_stopped {
                    break 'all;
                }
            }
        }
        job.done.left = self.branches_left(what.parent.as_ref()).await?;
        Ok(job.done)
    }

    /// The parts of the tree whose scopes are named one after the other: one, or sixteen of many.
    pub(super) async fn parts(&self) -> Result<Vec<Option<char>>> {
        let (_, is_all) = self.names(None).await?;
        Ok(match is_all {
            true => vec![None],
            false => "0123456789abcdef".chars().map(Some).collect(),
        })
    }

    /// The scopes with records or provisioned rows, of one part of the tree, and whether these are all. Of the whole tree no more than fit.
    pub(super) async fn names(&self, part: Option<char>) -> Result<(Vec<Scope>, bool)> {
        let is_meant = |scope: &Scope| part.is_none_or(|part| tree::bucket_of(scope).starts_with(part));
        let mut names = BTreeSet::new();
        for provisioned in [false, true] {
            let mut after = None;
            loop {
                let page = match provisioned {
                    false => self.reader.page_after(after.as_ref(), PAGE).await?,
                    true => self.reader.provisioned_after(after.as_ref(), PAGE).await?,
                };
                let Some(last) = page.last().cloned() else { break };
                names.extend(page.into_iter().filter(is_meant));
                if part.is_none() && names.len() > NAMES {
                    return Ok((Vec::new(), false));
                }
                after = Some(last);
            }
        }
        Ok((names.into_iter().collect(), true))
    }

    async fn rewrap_batch(&self, batch: &[Scope], what: &BranchRewrap, job: &mut Job) -> Result<()> {
        let mut scopes = batch.to_vec();
        for turn in 0..TURNS {
            let is_first = turn == 0;
            let todo = self.to_rewrap(&scopes, what, is_first, job).await?;
            if todo.is_empty() {
                return Ok(());
            }
            let left = self.rewrap_all(todo, what, job).await?;
            if left.is_empty() || job.done.is_stopped {
                return Ok(());
            }
            scopes = left;
        }
        for scope in &scopes {
            job.done.fail(
                scope,
                Error::new(ErrorKind::Conflict).with_detail("somebody else changes it all the time"),
            );
        }
        Ok(())
    }

    /// What of these scopes is under another key than the one that wraps.
    async fn to_rewrap(
        &self,
        scopes: &[Scope],
        what: &BranchRewrap,
        is_first: bool,
        job: &mut Job,
    ) -> Result<Vec<Todo>> {
        let view = match self.read(scopes).await {
            Ok(view) => view,
            Err(error) if is_about_records(&error) && scopes.len() > 1 => {
                // One that was tampered with stops no other.
                let mut todo = Vec::new();
                for scope in scopes.chunks(1) {
                    todo.extend(Box::pin(self.to_rewrap(scope, what, is_first, job)).await?);
                }
                return Ok(todo);
            }
            Err(error) if is_about_records(&error) => {
                for scope in scopes {
                    job.done.fail(scope, error.copy());
                }
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let is_meant = |branch: &Branch| {
            let parent = what.parent.as_ref();
            parent.is_none_or(|parent| branch.parent_scope == *parent)
        };
        let branches = view.all_keys().filter(|key| {
            let branch = key.branch.as_ref().filter(|_| key.state != State::Destroyed);
            branch.is_some_and(is_meant)
        });
        let branches: Vec<_> = branches.cloned().collect();
        let parents: BTreeSet<Scope> = branches
            .iter()
            .filter_map(|key| Some(key.branch.as_ref()?.parent_scope.clone()))
            .collect();
        let parents: Vec<Scope> = parents.into_iter().collect();
        if parents.is_empty() {
            return Ok(Vec::new());
        }
        let of_parents = self.read(&parents).await?;
        let mut todo = Vec::new();
        for key in branches {
            match plan(&view, &of_parents, &key, what.allow_weaker) {
                Ok(Some(planned)) => todo.push(planned),
                Ok(None) => job.done.current += u64::from(is_first),
                Err(error) => job.done.fail(&key.scope, error),
            }
        }
        Ok(todo)
    }

    /// Wraps and commits them. Returns the scopes that somebody else has changed meanwhile.
    async fn rewrap_all(&self, todo: Vec<Todo>, what: &BranchRewrap, job: &mut Job) -> Result<Vec<Scope>> {
        let mut wrapped = Vec::new();
        let mut todo = todo.into_iter().peekable();
        while todo.peek().is_some() {
            let room = what.limit.map_or(u64::MAX, |limit| {
                limit.saturating_sub(job.done.rewrapped.saturating_add(wrapped.len() as u64))
            });
            if room == 0 {
                job.done.is_stopped = true;
                break;
            }
            let some = usize::try_from(room).unwrap_or(usize::MAX).min(what.at_once);
            let some: Vec<Todo> = todo.by_ref().take(some).collect();
            for todo in &some {
                for parent in [&todo.from, &todo.to] {
                    if let Entry::Vacant(place) = job.managers.entry(parent.id) {
                        place.insert(self.call(self.backends.key(&parent.provenance)).await?);
                    }
                }
            }
            let managers = &job.managers;
            let work = some
                .iter()
                .map(|todo| Box::pin(self.rewrap_one(todo, managers)) as BoxFuture<'_, Result<Branch>>);
            let branches = join(work).await;
            for (todo, branch) in some.into_iter().zip(branches) {
                match branch {
                    Ok(branch) => wrapped.push(Wrapped {
                        key: todo.key,
                        to: todo.to,
                        branch,
                    }),
                    // The backend is away: it makes no sense to go on.
                    Err(error) if error.is_retryable() => {
                        self.commit_wrapped(wrapped, job).await?;
                        return Err(error);
                    }
                    Err(error) => job.done.fail(&todo.key.scope, error),
                }
            }
        }
        self.commit_wrapped(wrapped, job).await
    }

    /// Two calls to unwrap, and one to wrap.
    async fn rewrap_one(
        &self,
        todo: &Todo,
        managers: &BTreeMap<RecordId, Arc<dyn KeyManager>>,
    ) -> Result<Branch> {
        let manager = |parent: &KeyRecord| {
            let missing = || Error::configuration(format!("the key {} was not opened", parent.id));
            managers.get(&parent.id).cloned().ok_or_else(missing)
        };
        let (from, to) = (manager(&todo.from)?, manager(&todo.to)?);
        let kek = self
            .unwrap_branch(&todo.key, &todo.from, &*from, Purpose::Rewrap)
            .await?;
        self.wrap_branch(&kek, (&todo.key.scope, todo.key.id), &todo.to, &*to)
            .await
    }

    async fn commit_wrapped(&self, wrapped: Vec<Wrapped>, job: &mut Job) -> Result<Vec<Scope>> {
        if wrapped.is_empty() {
            return Ok(Vec::new());
        }
        let scopes = wrapped.iter().map(|one| &one.key.scope);
        let scopes: BTreeSet<Scope> = scopes
            .chain(wrapped.iter().map(|one| &one.to.scope))
            .cloned()
            .collect();
        let scopes: Vec<Scope> = scopes.into_iter().collect();
        let (rewrapped, taken_over, left) = self
            .change(&scopes, |view, draft| {
                let (mut rewrapped, mut taken_over, mut left) = (0, 0, Vec::new());
                for Wrapped { key, to, branch } in &wrapped {
                    let now = view.key(key.id).filter(|now| ***now == **key);
                    let Some(now) = now.filter(|_| is_active_parent(view, branch)) else {
                        left.push(key.scope.clone());
                        continue;
                    };
                    taken_over += u64::from(view.is_provisioned(key.id));
                    let said = Said::new(
                        draft,
                        format!("wrapped under the key {} of scope {}", to.id, to.scope),
                    );
                    let mut next = match now.room() > ROOM {
                        true => noted(now, &said)?,
                        false => linked(now),
                    };
                    next.branch = Some(match &now.branch {
                        // Copies in backups are wrapped under that.
                        Some(older) => branch.clone().following(older),
                        None => branch.clone(),
                    });
                    // Copies of the former wrap are no better protected than before.
                    next.protection = now.protection.weaker(to.protection);
                    draft.put(&next)?;
                    rewrapped += 1;
                }
                Ok((rewrapped, taken_over, left))
            })
            .await?;
        job.done.rewrapped += rewrapped;
        job.done.taken_over += taken_over;
        Ok(left)
    }

    /// How many branch keys are under keys that are not the active one of their scope, by the head.
    async fn branches_left(&self, parent: Option<&Scope>) -> Result<u64> {
        let view = self.read(&[]).await?;
        let mut left: u64 = 0;
        for (id, branches) in view.branch_parents().collect::<Vec<_>>() {
            let is_left = match self.find(id).await {
                Ok((_, key)) => {
                    let is_meant = parent.is_none_or(|parent| key.scope == *parent);
                    is_meant && key.state != State::Active
                }
                // Nobody has that parent anymore: `ring check` names what hangs on it.
                Err(error) if error.kind() == ErrorKind::InvalidArgument => true,
                Err(error) => return Err(error),
            };
            if is_left {
                left = left.saturating_add(branches);
            }
        }
        Ok(left)
    }
}

/// Whether whoever keeps such a wrap today can open it with a quantum computer.
fn is_classical(algorithm: WrapAlgorithm) -> bool {
    algorithm.class() == Some(AlgorithmClass::Classical)
}

/// Why a branch key is not wrapped anew whose parent is out of use, and what to do instead.
fn stopped(key: &KeyRecord, parent: &KeyRecord) -> String {
    let what_then = match (parent.state, key.state) {
        (State::Retired, _) => format!("reinstate that one first (`waxseal keys reinstate {}`)", parent.id),
        (State::Compromised, State::Active) => {
            format!(
                "whoever has that one has the branch key, so rotate it (`waxseal keys tick`, or `waxseal keys rotate {}`)",
                key.id
            )
        }
        (State::Compromised, State::Pending) => format!("take it back (`waxseal keys take-back {}`)", key.id),
        (State::Destroying, _) => format!(
            "cancel the destruction of that one first (`waxseal keys destroy {} --cancel`)",
            parent.id
        ),
        (State::Destroyed, _) => "nothing opens with it anymore".to_owned(),
        _ => "it wraps nothing anymore, and stays where it is; what it has sealed can be re-wrapped with an approval (`waxseal ring approve`), and then the \
             branch key is destroyed (`waxseal keys destroy`)"
            .to_owned(),
    };
    format!(
        "the branch key {} is wrapped under the key {} of scope {}, which is {}: {what_then}",
        key.id, parent.id, parent.scope, parent.state
    )
}

/// Under which parent a branch key shall be. `None` if it is there.
fn plan(view: &View, of_parents: &View, key: &Arc<KeyRecord>, allow_weaker: bool) -> Result<Option<Todo>> {
    let Some(branch) = &key.branch else {
        return Ok(None);
    };
    let to = active_parent(of_parents, &branch.parent_scope)?;
    if to.id == branch.parent {
        return Ok(None);
    }
    let from = view.parent(key)?.cloned();
    let from = from.ok_or_else(|| super::refused(format!("the key {} has no parent", key.id)))?;
    if !from.unwraps() {
        return Err(super::refused(stopped(key, from.as_ref())));
    }
    let leaves_hardware = key.protection == Protection::Hardware && to.protection != Protection::Hardware;
    let becomes_classical =
        is_classical(to.wrap_algorithm()) && !is_classical(branch.wrapped.wrap_algorithm());
    if !allow_weaker && (leaves_hardware || becomes_classical) {
        return Err(super::refused(format!(
            "the key {} is weaker than what the branch key {} is wrapped under: allow it, or rotate the parent to a stronger key first",
            to.id, key.id
        )));
    }
    Ok(Some(Todo {
        key: Arc::clone(key),
        from,
        to: Arc::clone(to),
    }))
}
