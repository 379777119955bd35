//! Who is told of what is done to a ring, and of the KEKs that the ring asks by itself. The room `audit` is such a witness; nothing here knows it.
#![cfg_attr(
    not(feature = "audit"),
    allow(dead_code, reason = "nothing else is a witness")
)]

use std::fmt::{self, Debug};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use tracing::{Instrument as _, Span};

use super::branch::BranchKek;
use super::inventory::{Change, RecordKind, Row};
use super::record::{KeyRecord, of_body};
use super::rotation::{
    BranchesRewrapped, DroppedRows, Moved, RemovedProvisioners, Revoked, Rotated, Rotation, Shredded,
    TakenOver, Tick,
};
use super::view::View;
use super::{
    Approval, Branch, Corrected, Exported, Reader, RecordId, Scope, ScopeTemplate, Settings, ShredReceipt,
    State, Trust,
};
use crate::envelope::{KekRef, WrapAlgorithm};
use crate::key::Purpose;
use crate::runtime::Monotonic;
use crate::value::error::{Error, ErrorKind, Result};

/// The most records of a change that an event names.
const MOVES: usize = 64;
/// The most keys of an operation that an event names.
const KEYS: usize = 64;

/// What somebody does to a ring, or signs for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// A change of the ring: what its authority signs, in one revision.
    Change,
    /// Settings.
    Set,
    /// Another authority follows the one before.
    RotateAuthority,
    /// The time of the ring is set back.
    CorrectClock,
    /// A key is made or registered.
    Create,
    /// A KEK that wraps data already is registered.
    Adopt,
    /// What another process has begun is gone on with.
    Recover,
    /// A pending key becomes active.
    Promote,
    /// A pending key wraps for a share of the contexts.
    Canary,
    /// A pending key is taken back.
    TakeBack,
    /// A deprecated or retired key is used again.
    Reinstate,
    /// Keys are rotated.
    Rotate,
    /// An event is reported that makes a rotation due.
    Report,
    /// A key is retired.
    Retire,
    /// A key is revoked.
    Revoke,
    /// The destruction of a key begins, or goes on.
    Destroy,
    /// Somebody answers for it that a KEK is gone.
    AttestDestroyed,
    /// A destruction is called off.
    CancelDestroy,
    /// A scope is shredded, or that goes on.
    Shred,
    /// A shredding is called off.
    CancelShred,
    /// Keys of provisioners are taken over by the authority.
    TakeOver,
    /// Rows of provisioners that nobody believes are deleted.
    DropUnbelieved,
    /// Keys of provisioners are taken out of the settings.
    RemoveProvisioners,
    /// Branch keys are wrapped under another parent.
    RewrapBranches,
    /// An export is remembered.
    RememberExport,
    /// A rotation that was begun is given up.
    Abandon,
    /// What is due is done.
    Tick,
    /// An approval is issued.
    Approve,
    /// A receipt of a shredding is issued.
    ShredReceipt,
    /// Envelopes are counted.
    Census,
    /// Stored envelopes are re-wrapped.
    RewrapJob,
    /// A ring is made: the first change of an empty inventory.
    Init,
    /// An empty inventory is filled with an export.
    Import,
}

impl Operation {
    /// Returns its name: `"retire"`. The names are stable.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Set => "set",
            Self::RotateAuthority => "rotate_authority",
            Self::CorrectClock => "correct_clock",
            Self::Create => "create",
            Self::Adopt => "adopt",
            Self::Recover => "recover",
            Self::Promote => "promote",
            Self::Canary => "canary",
            Self::TakeBack => "take_back",
            Self::Reinstate => "reinstate",
            Self::Rotate => "rotate",
            Self::Report => "report",
            Self::Retire => "retire",
            Self::Revoke => "revoke",
            Self::Destroy => "destroy",
            Self::AttestDestroyed => "attest_destroyed",
            Self::CancelDestroy => "cancel_destroy",
            Self::Shred => "shred",
            Self::CancelShred => "cancel_shred",
            Self::TakeOver => "take_over",
            Self::DropUnbelieved => "drop_unbelieved",
            Self::RemoveProvisioners => "remove_provisioners",
            Self::RewrapBranches => "rewrap_branches",
            Self::RememberExport => "remember_export",
            Self::Abandon => "abandon",
            Self::Tick => "tick",
            Self::Approve => "approve",
            Self::ShredReceipt => "shred_receipt",
            Self::Census => "census",
            Self::RewrapJob => "rewrap_job",
            Self::Init => "init",
            Self::Import => "import",
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Operation(Operation),
    /// A KEK has wrapped a branch key.
    Wrap(Purpose),
    /// A KEK has unwrapped a branch key.
    Unwrap(Purpose),
    /// A KEK has wrapped and unwrapped a DEK that nobody uses.
    Probe,
}

/// How it stands with what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is about to be done.
    NotYet,
    Done,
    Failed(ErrorKind),
    /// Not all of it was done.
    Incomplete,
    /// Nobody waited for the end.
    Abandoned,
}

impl Ended {
    pub(crate) fn of<T: Touches>(result: &Result<T>) -> Self {
        match result {
            Ok(done) => done.failed().map_or(Self::Done, Self::Failed),
            Err(error) => Self::Failed(error.kind()),
        }
    }
}

/// One record of a change.
#[derive(Clone, Debug)]
pub(crate) struct RecordMove {
    pub(crate) kind: RecordKind,
    pub(crate) id: RecordId,
    pub(crate) scope: Scope,
    pub(crate) from: Option<State>,
    /// `None` for what is no key, and for what is deleted.
    pub(crate) to: Option<State>,
    pub(crate) ticket: Option<String>,
    pub(crate) approver: Option<String>,
    /// The digest of the evidence.
    pub(crate) evidence: Option<String>,
}

/// What is done, as a witness hears of it. It has no place for a secret.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    pub(crate) act: Act,
    /// `None` for a job that asks no ring.
    pub(crate) ring: Option<RecordId>,
    /// The revision that the change makes, or by which an access was decided, or else the newest one that was seen.
    pub(crate) revision: Option<u64>,
    /// SHA-256 of the head that the change signs.
    pub(crate) head: Option<[u8; 32]>,
    pub(crate) scope: Option<Scope>,
    pub(crate) template: Option<ScopeTemplate>,
    pub(crate) keys: Vec<RecordId>,
    pub(crate) kek: Option<KekRef>,
    /// The branch key that was wrapped or unwrapped.
    pub(crate) branch: Option<RecordId>,
    pub(crate) actor: Option<String>,
    pub(crate) ticket: Option<String>,
    pub(crate) approver: Option<String>,
    /// `evidence`, `overlap_end`, `force`, or whom a promotion did not wait for.
    pub(crate) grounds: Option<String>,
    pub(crate) moves: Vec<RecordMove>,
    /// How many moves there are beside those.
    pub(crate) more: usize,
    /// Whether the change replaces the settings, and the authority.
    pub(crate) changes: (bool, bool),
    pub(crate) begun: Monotonic,
    /// In which it is done.
    pub(crate) span: Span,
}

impl Deed {
    pub(crate) fn new(act: Act, ring: impl Into<Option<RecordId>>, begun: Monotonic) -> Self {
        Self {
            act,
            ring: ring.into(),
            revision: None,
            head: None,
            scope: None,
            template: None,
            keys: Vec::new(),
            kek: None,
            branch: None,
            actor: None,
            ticket: None,
            approver: None,
            grounds: None,
            moves: Vec::new(),
            more: 0,
            changes: (false, false),
            begun,
            span: Span::none(),
        }
    }

    /// Begins its span.
    pub(crate) fn within(mut self, witness: &dyn Witness) -> Self {
        self.span = witness.span(self.act);
        self
    }

    pub(crate) fn of_key(mut self, key: RecordId) -> Self {
        if self.keys.len() < KEYS && !self.keys.contains(&key) {
            self.keys.push(key);
        }
        self
    }

    pub(crate) fn in_scope(mut self, scope: &Scope) -> Self {
        self.scope = Some(scope.clone());
        self
    }

    pub(crate) fn authorized(mut self, ticket: &str, approver: Option<&str>) -> Self {
        self.ticket = Some(ticket.to_owned());
        self.approver = approver.map(str::to_owned);
        self
    }

    pub(crate) fn on_grounds(mut self, grounds: impl Into<String>) -> Self {
        self.grounds = Some(grounds.into());
        self
    }

    /// What the KEK of a key does for the ring itself.
    pub(crate) fn by_kek(self, key: &KeyRecord) -> Self {
        Self {
            kek: key.provenance.kek().ok(),
            ..self.of_key(key.id)
        }
    }

    /// By which revision it was decided.
    pub(crate) fn at(self, revision: Option<u64>) -> Self {
        Self { revision, ..self }
    }

    pub(crate) fn of_branch(self, branch: RecordId, scope: &Scope) -> Self {
        Self {
            branch: Some(branch),
            ..self.in_scope(scope)
        }
    }

    /// The first change of a ring, which has no record yet.
    pub(crate) fn of_first(settings: &Settings, change: &Change, actor: &str, begun: Monotonic) -> Self {
        let mut deed = Self::new(Act::Operation(Operation::Change), settings.ring, begun);
        deed.revision = Some(1);
        deed.head = Some(Sha256::digest(&change.head.body).into());
        deed.actor = Some(actor.to_owned());
        deed.template = Some(settings.scope_template.clone());
        deed.changes = (true, false);
        deed
    }

    /// What a change is about to do.
    fn of_change(view: &View, change: &Change, actor: &str, begun: Monotonic) -> Self {
        let mut deed = Self::new(Act::Operation(Operation::Change), view.ring(), begun);
        deed.revision = Some(view.revision() + 1);
        deed.head = Some(Sha256::digest(&change.head.body).into());
        deed.actor = Some(actor.to_owned());
        deed.template = Some(view.settings().scope_template.clone());
        deed.changes = (change.settings.is_some(), change.succession.is_some());
        let deleted = change.delete.iter().filter_map(|id| deleted(view, *id));
        let put = change.put.iter().map(|row| put(view, row));
        let mut moves = put.chain(deleted);
        deed.moves = moves.by_ref().take(MOVES).collect();
        deed.more = moves.count();
        deed
    }
}

fn put(view: &View, row: &Row) -> RecordMove {
    let made = match row.kind {
        RecordKind::Key => of_body::<KeyRecord>(&row.signed.body).ok(),
        _ => None,
    };
    let last = made.as_ref().and_then(|key| key.history.last());
    // A record that is signed anew has made no move.
    let is_new = last.is_some_and(|last| last.revision == view.revision() + 1);
    let last = last.filter(|_| is_new);
    RecordMove {
        kind: row.kind,
        id: row.id,
        scope: row.scope.clone(),
        from: view.key(row.id).map(|key| key.state),
        to: row.state,
        ticket: last.and_then(|last| last.ticket.clone()),
        approver: last.and_then(|last| last.approver.clone()),
        evidence: last.and_then(|last| last.evidence.clone()),
    }
}

fn deleted(view: &View, id: RecordId) -> Option<RecordMove> {
    let (scope, kind) = view.scopes.iter().find_map(|(scope, records)| {
        let leaf = records.leaves.iter().find(|leaf| leaf.id == id)?;
        Some((scope, leaf.kind))
    })?;
    Some(RecordMove {
        kind,
        id,
        scope: scope.clone(),
        from: view.key(id).map(|key| key.state),
        to: None,
        ticket: None,
        approver: None,
        evidence: None,
    })
}

/// Is told of deeds.
#[async_trait]
pub(crate) trait Witness: Debug + Send + Sync {
    /// Keeps what was done or is about to be, and returns when it is kept.
    ///
    /// # Errors
    /// `Audit` if it must be kept and cannot.
    async fn keep(&self, deed: Deed, ended: Ended) -> Result<()>;

    /// The same, and nobody waits.
    fn note(&self, deed: Deed, ended: Ended);

    /// The clock by which a deed begins.
    fn now(&self) -> Monotonic;

    /// The span in which something is done. The witness records there how it ended.
    fn span(&self, act: Act) -> Span;
}

/// A witness, and what was seen of the ring that helps to describe deeds.
pub(crate) struct Witnessed {
    witness: Arc<dyn Witness>,
    template: Mutex<Option<ScopeTemplate>>,
    /// The newest revision that was made.
    made: AtomicU64,
    /// The newest revision by which anything is decided. 0 before the first.
    seen: AtomicU64,
}

impl Debug for Witnessed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.witness.fmt(f)
    }
}

impl Witnessed {
    pub(crate) fn by(witness: Arc<dyn Witness>) -> Self {
        Self {
            witness,
            template: Mutex::default(),
            made: AtomicU64::new(0),
            seen: AtomicU64::new(0),
        }
    }

    /// Remembers what scopes are made of, and by which revision anything is decided from now on.
    pub(crate) fn saw(&self, view: &View) {
        self.knows(&view.settings().scope_template);
        self.decides_by(view.revision());
    }

    /// Remembers by which revision anything is decided from now on.
    pub(crate) fn decides_by(&self, revision: u64) {
        self.seen.fetch_max(revision, Ordering::Relaxed);
    }

    /// The revision by which is decided what is done now.
    pub(crate) fn decided_by(&self) -> Option<u64> {
        Some(self.seen.load(Ordering::Relaxed)).filter(|seen| *seen > 0)
    }

    /// The same, if the template is known.
    pub(crate) fn knows(&self, template: &ScopeTemplate) {
        let mut known = self.template.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() != Some(template) {
            *known = Some(template.clone());
        }
    }

    pub(crate) fn template(&self) -> Option<ScopeTemplate> {
        self.template
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Says how a change has ended. Whoever called the operation waits for its own end, which comes after this one.
    pub(crate) fn ended(&self, deed: Deed, made: &Result<()>) {
        if let (Ok(()), Some(revision)) = (made, deed.revision) {
            self.made.fetch_max(revision, Ordering::Relaxed);
        }
        let span = deed.span.clone();
        span.in_scope(|| self.witness.note(deed, Ended::of(made)));
    }

    /// Says that a change is about to be made. Who must keep that and cannot lets nothing be changed.
    pub(crate) async fn intends(&self, view: &View, change: &Change, actor: &str) -> Result<Deed> {
        self.intend(Deed::of_change(view, change, actor, self.witness.now()))
            .await
    }

    /// The same for the first change of a ring.
    pub(crate) async fn intends_first(
        &self,
        settings: &Settings,
        change: &Change,
        actor: &str,
    ) -> Result<Deed> {
        self.intend(Deed::of_first(settings, change, actor, self.witness.now()))
            .await
    }

    async fn intend(&self, deed: Deed) -> Result<Deed> {
        let deed = deed.within(&*self.witness);
        let intended = self.witness.keep(deed.clone(), Ended::NotYet);
        intended.instrument(deed.span.clone()).await?;
        Ok(deed)
    }
}

/// What is under way. If it is dropped, it was abandoned.
struct UnderWay<'w> {
    witnessed: &'w Witnessed,
    deed: Option<Deed>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(deed) = self.deed.take() {
            let span = deed.span.clone();
            span.in_scope(|| self.witnessed.witness.note(deed, Ended::Abandoned));
        }
    }
}

/// Does something, and says how it ended before anybody gets the result. `seen` says which revision was seen last.
///
/// # Errors
/// Those of the work; `Audit` if the end must be kept and cannot: what was done stays done.
pub(crate) async fn witnessed<T: Touches>(
    witnessed: Option<&Witnessed>,
    deed: impl FnOnce(Monotonic) -> Deed,
    work: impl Future<Output = Result<T>>,
    seen: impl Fn() -> Option<u64>,
) -> Result<T> {
    let Some(witnessed) = witnessed else {
        return work.await;
    };
    let deed = deed(witnessed.witness.now()).within(&*witnessed.witness);
    let span = deed.span.clone();
    let mut under_way = UnderWay {
        witnessed,
        deed: Some(deed),
    };
    let result = work.instrument(span.clone()).await;
    let Some(mut deed) = under_way.deed.take() else {
        return result;
    };
    if let Ok(done) = &result {
        for key in done.touched() {
            deed = deed.of_key(key);
        }
        deed.kek = deed.kek.or_else(|| done.kek());
    }
    let made = Some(witnessed.made.load(Ordering::Relaxed)).filter(|made| *made > 0);
    deed.revision = deed.revision.or_else(|| made.max(seen()));
    deed.template = deed.template.or_else(|| witnessed.template());
    let ended = Ended::of(&result);
    match witnessed.witness.keep(deed, ended).instrument(span).await {
        Ok(()) => result,
        Err(unkept) => Err(not_kept(unkept, result.err())),
    }
}

/// The same for what somebody does to the ring as a whole.
///
/// # Errors
/// As [`witnessed`].
pub(crate) async fn told<T: Touches>(
    reader: &Reader,
    operation: Operation,
    actor: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let deed = |begun| {
        let mut deed = Deed::new(Act::Operation(operation), reader.trust().ring(), begun);
        deed.actor = Some(actor.to_owned());
        deed
    };
    let seen = || reader.trust().mark().map(|mark| mark.revision);
    witnessed(reader.witness(), deed, work, seen).await
}

/// The error of something whose end could not be written down.
fn not_kept(unkept: Error, failed: Option<Error>) -> Error {
    let why = unkept.detail().unwrap_or_default().to_owned();
    match failed {
        Some(failed) => {
            let detail = format!("it failed ({failed}), and that cannot be written down: {why}");
            Error::new(ErrorKind::Audit).with_detail(detail).with_source(failed)
        }
        None => Error::new(ErrorKind::Audit)
            .with_detail(format!(
                "it was done, and stays done, and that cannot be written down: {why}; the log has what was intended"
            ))
            .with_source(unkept),
    }
}

/// What was done names keys.
pub(crate) trait Touches {
    fn touched(&self) -> Vec<RecordId> {
        Vec::new()
    }

    /// The KEK that did it, if that comes to light with the result.
    fn kek(&self) -> Option<KekRef> {
        None
    }

    /// What went wrong all the same.
    fn failed(&self) -> Option<ErrorKind> {
        None
    }
}

macro_rules! names_none {
    ($($done:ty,)*) => {$( impl Touches for $done {} )*};
}

names_none! {
    (),
    Tick,
    TakenOver,
    DroppedRows,
    RemovedProvisioners,
    BranchesRewrapped,
    Exported,
    Corrected,
    Approval,
    BranchKek,
    (BranchKek, Branch),
    Branch,
    Trust,
}

impl Touches for Moved {
    fn touched(&self) -> Vec<RecordId> {
        vec![self.key]
    }
}

impl<T: Touches> Touches for Vec<T> {
    fn touched(&self) -> Vec<RecordId> {
        self.iter().flat_map(Touches::touched).collect()
    }
}

impl Touches for RecordId {
    fn touched(&self) -> Vec<RecordId> {
        vec![*self]
    }
}

impl Touches for Arc<KeyRecord> {
    fn touched(&self) -> Vec<RecordId> {
        vec![self.id]
    }
}

impl Touches for (KekRef, WrapAlgorithm) {
    fn kek(&self) -> Option<KekRef> {
        Some(self.0.clone())
    }
}

impl Touches for Revoked {
    fn touched(&self) -> Vec<RecordId> {
        std::iter::once(self.moved.key).chain(self.successor).collect()
    }
}

impl Touches for Rotated {
    fn touched(&self) -> Vec<RecordId> {
        vec![self.predecessor, self.key]
    }
}

impl Touches for Rotation {
    fn touched(&self) -> Vec<RecordId> {
        let unfinished = self.unfinished.iter().map(|unfinished| unfinished.predecessor);
        self.rotated.touched().into_iter().chain(unfinished).collect()
    }

    fn failed(&self) -> Option<ErrorKind> {
        self.unfinished.first().map(|unfinished| unfinished.error.kind())
    }
}

impl Touches for Shredded {
    fn touched(&self) -> Vec<RecordId> {
        self.moved.touched()
    }
}

impl Touches for ShredReceipt {
    fn touched(&self) -> Vec<RecordId> {
        self.keys().iter().map(|key| key.key).collect()
    }
}
