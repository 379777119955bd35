//! Who a stanza is under, and what has proven it.

use std::sync::Arc;

use super::AnyOf;
use super::open::{Opened, Tried};
use crate::envelope::{AlgorithmClass, KekRef, WrapRef, WrapSection};
use crate::key::{KeyManager, Recognition, Request, RewrapRules};
use crate::value::error::{Attempt, Error, ErrorKind, Result};
use crate::value::secret::Dek;

/// Who a stanza is under, and whether an unwrap has proven that.
pub(super) struct Owner<'a> {
    pub(super) manager: &'a Arc<dyn KeyManager>,
    pub(super) kek: KekRef,
    pub(super) is_proven: bool,
}

/// What unwrapping has shown about a stanza.
enum Proof<'a> {
    /// The stanza unwraps to the DEK.
    Ours(Owner<'a>),
    /// The stanza opens for nobody here, or to another DEK.
    Foreign,
    /// Nobody here can be asked.
    Unasked,
    /// A manager that may know has refused to tell, and no other has proven it.
    Refused(&'a Arc<dyn KeyManager>, Error),
}

impl AnyOf {
    /// Returns who a stanza that did not have to open is under, or `None` if it is not proven to be ours.
    ///
    /// An id that is not unique in the world may be another recipient's, so only an unwrap to the same DEK tells. If
    /// every manager that could tell refuses, that is an error: a stanza that is kept beside a new wrap of the same KEK
    /// would be one more with each re-wrap.
    pub(super) async fn owner(
        &self,
        index: usize,
        stanza: WrapRef<'_>,
        dek: &Dek,
        request: &Request<'_>,
    ) -> Result<Option<Owner<'_>>> {
        if let Some(manager) = self
            .managers()
            .find(|manager| manager.recognizes(stanza).is_mine())
        {
            return Ok(Some(Owner {
                manager,
                kek: claimed(stanza),
                is_proven: false,
            }));
        }
        let drops = request.rewrap_rules().drops_unknown();
        match self.prove(index, stanza, dek, request).await? {
            Proof::Ours(owner) => Ok(Some(owner)),
            // The stanza is dropped, and a new wrap of the manager that refused takes its place.
            Proof::Refused(manager, error)
                if drops
                    && is_permission(&error)
                    && self.wrap_with.iter().any(|to| Arc::ptr_eq(to, manager)) =>
            {
                Ok(None)
            }
            Proof::Refused(manager, error) => Err(unproven(manager, stanza, error)),
            Proof::Foreign | Proof::Unasked if drops => Ok(None),
            Proof::Foreign | Proof::Unasked => {
                let mut destinations = self.wrap_with.iter();
                let may_be_its = |manager: &&Arc<dyn KeyManager>| {
                    manager.recognizes(stanza) == Recognition::Perhaps && self.is_blind(manager)
                };
                match destinations.find(may_be_its) {
                    Some(manager) => Err(unproven(
                        manager,
                        stanza,
                        Error::new(ErrorKind::Configuration).with_provider(manager.provider().to_owned()),
                    )),
                    None => Ok(None),
                }
            }
        }
    }

    /// Refuses a new wrap of a weaker class than the wrap that opened, unless the envelope already has a wrap of ours
    /// that is as weak. An unwrap proves that. If the manager of a stanza that is certainly of its KEK may not or cannot
    /// unwrap it, the id is believed: the recipients then stay the same.
    pub(super) async fn check_class(
        &self,
        wraps: WrapSection<'_>,
        owners: &[Option<Owner<'_>>],
        opened: &Opened<'_>,
        request: &Request<'_>,
    ) -> Result<()> {
        if request.rewrap_rules().weakens() {
            return Ok(());
        }
        let floor = opened.manager.capabilities().class;
        for manager in &self.wrap_with {
            if !is_weaker(manager, floor) {
                continue;
            }
            let (mut is_there, mut refusal) = (false, None);
            for (index, (stanza, owner)) in wraps.stanzas().zip(owners).enumerate() {
                let Some(owner) = owner.as_ref() else { continue };
                if is_weaker(manager, owner.manager.capabilities().class) {
                    continue;
                }
                let is_its_own = manager.recognizes(stanza).is_mine()
                    && stanza.algorithm == manager.capabilities().algorithm;
                is_there = owner.is_proven
                    || match self.prove(index, stanza, opened.lease.dek(), request).await? {
                        Proof::Ours(_) => true,
                        Proof::Foreign => false,
                        Proof::Unasked => is_its_own,
                        Proof::Refused(..) if is_its_own => true,
                        Proof::Refused(who, error) => {
                            refusal = refusal.or(Some(unproven(who, stanza, error)));
                            false
                        }
                    };
                if is_there {
                    break;
                }
            }
            if !is_there {
                return Err(refusal.unwrap_or_else(|| weaker(manager)));
            }
        }
        Ok(())
    }

    /// Refuses fewer wraps if two keys have one name, so that their KEKs look like one: clusters of one mount and key
    /// name, tokens of one label. The names show every other loss.
    pub(super) fn check_count(
        &self,
        wraps: WrapSection<'_>,
        owners: &[Option<Owner<'_>>],
        rules: RewrapRules<'_>,
    ) -> Result<()> {
        let mut namesakes: Vec<String> = Vec::new();
        for (stanza, owner) in wraps.stanzas().zip(owners) {
            let Some(owner) = owner.as_ref().filter(|owner| owner.is_proven) else {
                continue;
            };
            if owner.manager.recognizes(stanza) == Recognition::Perhaps
                && let Some(identity) = owner.manager.identity()
                && !namesakes.contains(&identity)
            {
                namesakes.push(identity);
            }
        }
        if namesakes.len() > self.wrap_with.len() && !rules.leaves_fewer_wraps() {
            return Err(Error::new(ErrorKind::WouldWeaken {
                what: "fewer wraps than it found",
            })
            .with_detail(
                "several keys of one name open it now; wrap with as many keys, or allow fewer with RewrapRules::leaving_fewer_wraps",
            ));
        }
        Ok(())
    }

    /// Whether a stanza unwraps to the DEK.
    async fn prove(
        &self,
        index: usize,
        stanza: WrapRef<'_>,
        dek: &Dek,
        request: &Request<'_>,
    ) -> Result<Proof<'_>> {
        let mut candidates = Vec::new();
        self.candidates_of(index, stanza, &mut candidates);
        if candidates.is_empty() {
            return Ok(Proof::Unasked);
        }
        let (mut tried, mut refused) = (Tried::default(), None);
        for (at, candidate) in candidates.iter().enumerate() {
            let sharers = candidates.len() - at + self.wrap_with.len();
            match self.unwrap(candidate, request, sharers, &mut tried).await {
                Some(Ok(unwrapped)) if unwrapped.dek.ct_eq(dek) => {
                    return Ok(Proof::Ours(Owner {
                        manager: candidate.manager,
                        kek: unwrapped.kek,
                        is_proven: true,
                    }));
                }
                // An outage must not leave a wrap that should be gone.
                Some(Err(error)) if error.is_retryable() => return Err(error),
                Some(Err(error)) if !is_about_the_stanza(&error) => {
                    refused = refused.or(Some((candidate.manager, error)));
                }
                _ => {}
            }
        }
        Ok(refused.map_or(Proof::Foreign, |(manager, error)| Proof::Refused(manager, error)))
    }
}

/// Whether an error says that a stanza does not open under a KEK. Any other error says nothing about the stanza.
fn is_about_the_stanza(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::CannotOpen
            | ErrorKind::Malformed { .. }
            | ErrorKind::OverLimit { .. }
            | ErrorKind::Unsupported { .. }
            | ErrorKind::NoUsableKey
            // It opens for nobody anymore. The new wrap opens, so there is at most one of these.
            | ErrorKind::KeyDestroyed
            // A ring does not let it unwrap anymore.
            | ErrorKind::KeyRetired
            | ErrorKind::KeyRevoked
            // The key or version that the stanza names is not there, at a KMS where the destination has just wrapped.
            | ErrorKind::KeyNotFound
    )
}

/// Whether an error is the answer of a KMS that may answer somebody else in another way. A budget that planted stanzas
/// have used up is not such an error.
fn is_permission(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Denied | ErrorKind::Unauthenticated | ErrorKind::KeyDisabled
    )
}

fn unproven(manager: &Arc<dyn KeyManager>, stanza: WrapRef<'_>, error: Error) -> Error {
    if matches!(error.kind(), ErrorKind::BudgetExhausted { .. }) {
        return error;
    }
    let (kind, kek) = (error.kind(), claimed(stanza));
    error
        .with_detail(format!(
            "the wrap under {kek} may be of the configured {} key, and only an unwrap with that key tells: allow it to \
             unwrap, or let it be dropped with RewrapRules::dropping_unknown; nothing was changed",
            manager.provider()
        ))
        .with_attempts(vec![Attempt::new(
            stanza.provider,
            stanza.kek_id,
            stanza.kek_version,
            Some(kind),
        )])
}

pub(super) fn claimed(stanza: WrapRef<'_>) -> KekRef {
    KekRef::trusted(stanza.provider, stanza.kek_id, stanza.kek_version)
}

/// Whether a manager's wraps lack what a wrap of this class has. A class that is not known demands nothing. An unknown
/// class in the place of a known class counts as weaker.
pub(super) fn is_weaker(manager: &Arc<dyn KeyManager>, than: Option<AlgorithmClass>) -> bool {
    match (manager.capabilities().class, than) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(new), Some(old)) => new.is_weaker_than(old),
    }
}

fn weaker(manager: &Arc<dyn KeyManager>) -> Error {
    Error::new(ErrorKind::WouldWeaken {
        what: "a wrap of a weaker class than opened it",
    })
    .with_provider(manager.provider().to_owned())
    .with_detail("allow it with RewrapRules::weakening, or wrap under a key of the same class")
}
