//! New wraps for an old section: what is replaced, what is kept, and what is refused.

use std::sync::Arc;

use super::failures::Failures;
use super::open::Opened;
use super::owner::{Owner, claimed, is_weaker};
use super::{AnyOf, nothing_to_wrap_with, own};
use crate::envelope::{BodyHead, KekRef, WrapRef, WrapSection};
use crate::key::{Recognition, Request, RewrapRules};
use crate::source::{Currency, Fate, Rewrapped};
use crate::value::error::{ErrorKind, Result};

/// The result of a re-wrap at the KMS.
enum Shortcut {
    Done(Rewrapped),
    /// Not here, or not for this stanza. The general way follows, after these failures.
    Not(Failures),
}

impl AnyOf {
    pub(super) async fn rewrap_section(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped> {
        if self.wrap_with.is_empty() {
            return Err(nothing_to_wrap_with());
        }
        self.check_twice()?;
        let failures = match self.at_the_kms(wraps, request).await? {
            Shortcut::Done(rewrapped) => return Ok(rewrapped),
            Shortcut::Not(failures) => failures,
        };
        let opened = self.open_after(failures, wraps, body, request).await?;
        self.rewrap_opened(wraps, &opened, request).await
    }

    /// Re-wraps after the DEK was unwrapped and compared with the body.
    async fn rewrap_opened(
        &self,
        wraps: WrapSection<'_>,
        opened: &Opened<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped> {
        let rules = request.rewrap_rules();
        let dek = opened.lease.dek();
        let mut owners = Vec::with_capacity(wraps.count());
        for (index, stanza) in wraps.stanzas().enumerate() {
            owners.push(if index == opened.index {
                Some(Owner {
                    manager: opened.manager,
                    kek: opened.kek.clone(),
                    is_proven: true,
                })
            } else {
                self.owner(index, stanza, dek, request).await?
            });
        }
        if let Some(current) = rules.current()
            && self.is_as_made(wraps, &owners, current, rules)
        {
            return Ok(Rewrapped::unchanged(&wraps)?
                .wrapped_under(current.to_vec())
                .with_lease(Arc::clone(&opened.lease)));
        }
        // If the rules leave alone what is current, it is found out below whether it is. That weakens nothing.
        if rules.current().is_none() {
            self.check_class(wraps, &owners, opened, request).await?;
        }
        self.check_count(wraps, &owners, rules)?;
        let mut made = Vec::with_capacity(self.wrap_with.len());
        for manager in &self.wrap_with {
            made.push(own(manager, manager.as_ref().wrap(dek, request).await?)?);
        }
        let under: Vec<KekRef> = made.iter().map(|wrapped| wrapped.kek().clone()).collect();
        if rules.current().is_some() {
            if self.is_as_made(wraps, &owners, &under, rules) {
                return Ok(Rewrapped::unchanged(&wraps)?
                    .wrapped_under(under)
                    .with_lease(Arc::clone(&opened.lease)));
            }
            self.check_class(wraps, &owners, opened, request).await?;
        }
        let fates: Vec<Fate> = owners
            .iter()
            .map(|owner| match owner {
                Some(_) => Fate::Replaced,
                None if rules.drops_unknown() => Fate::Dropped,
                None => Fate::Kept,
            })
            .collect();
        let made = made.into_iter().map(|wrapped| self.shown(wrapped)).collect();
        let mut rewrapped = Rewrapped::new(&wraps, made, &fates)?
            .wrapped_under(under)
            .with_lease(Arc::clone(&opened.lease));
        for (index, owner) in owners.into_iter().enumerate() {
            if let Some(owner) = owner.filter(|owner| owner.is_proven) {
                rewrapped = rewrapped.unwrapped_by(index, owner.kek);
            }
        }
        Ok(rewrapped)
    }

    /// If there is one stanza and one KEK to wrap with, a KMS that can re-wraps on its own side, and the DEK stays there.
    /// Among several stanzas one may be planted. Only the commitment tells, and the DEK must come out for that.
    async fn at_the_kms(&self, wraps: WrapSection<'_>, request: &Request<'_>) -> Result<Shortcut> {
        let none = Ok(Shortcut::Not(Failures::default()));
        let mut stanzas = wraps.stanzas();
        let (Some(stanza), None, [destination]) = (stanzas.next(), stanzas.next(), self.wrap_with.as_slice())
        else {
            return none;
        };
        let known = self
            .managers()
            .find(|manager| !manager.recognizes(stanza).is_no());
        let Some(source) = known.filter(|_| wraps.threshold() == 1 && destination.capabilities().rewraps)
        else {
            return none;
        };
        let rules = request.rewrap_rules();
        let is_stale = |current: &[KekRef]| {
            !stanza.kek_id.is_empty() && current.first().is_some_and(|current| !is_named(stanza, current))
        };
        let is_untold = |current: &[KekRef]| !current.is_empty() && self.is_untold(current);
        // If the rules leave alone what is current, that comes first, if it can be found out.
        if rules
            .current()
            .is_some_and(|current| !is_stale(current) && !is_untold(current))
            || (!rules.weakens() && is_weaker(destination, source.capabilities().class))
        {
            return none;
        }
        // Half of the time, because there is another way.
        request.take_call()?;
        let made = self.shared(request, 2, |request| async move {
            destination.as_ref().rewrap(stanza, &request).await
        });
        let made = match made.await {
            Ok(Some(wrapped)) => own(destination, wrapped),
            Ok(None) => return none,
            Err(error) => Err(error),
        };
        match made {
            Ok(wrapped) => {
                let under = vec![wrapped.kek().clone()];
                let rewrapped = Rewrapped::new(&wraps, vec![self.shown(wrapped)], &[Fate::Replaced])?;
                Ok(Shortcut::Done(rewrapped.wrapped_under(under)))
            }
            // The time for this way is over, and half is left for the other way.
            Err(error) if error.kind() == ErrorKind::TimedOut && self.is_time_left(request) => {
                let mut failures = Failures::default();
                failures.add(0, stanza, error);
                Ok(Shortcut::Not(failures))
            }
            // An outage is reported: the general way would meet it again, and the caller tries later.
            Err(error) if error.is_retryable() => Err(error),
            // Any other error may be due to the stanza: it is under another KEK with a hidden id, or the key manager
            // allows only unwrapping.
            Err(error) => {
                let mut failures = Failures::default();
                failures.add(0, stanza, error);
                Ok(Shortcut::Not(failures))
            }
        }
    }

    /// Whether the stanzas that are ours are those that a re-wrap would make: each of `current` once, and no other.
    fn is_as_made(
        &self,
        wraps: WrapSection<'_>,
        owners: &[Option<Owner<'_>>],
        current: &[KekRef],
        rules: RewrapRules<'_>,
    ) -> bool {
        if self.is_untold(current) {
            return false;
        }
        let mut ours: Vec<(WrapRef<'_>, KekRef)> = Vec::new();
        for (stanza, owner) in wraps.stanzas().zip(owners) {
            match owner {
                Some(owner) => ours.push((stanza, with_version(&owner.kek, stanza))),
                None if rules.drops_unknown() => return false,
                None => {}
            }
        }
        self.matches(ours, current)
    }

    /// Whether nobody knows which version of a KEK wraps, although there are several.
    fn is_untold(&self, current: &[KekRef]) -> bool {
        let mut current = self.wrap_with.iter().zip(current);
        current.any(|(manager, kek)| manager.capabilities().hides_versions && kek.version().is_empty())
    }

    /// Whether these stanzas are under each of `current` once, as this source writes them.
    fn matches(&self, mut ours: Vec<(WrapRef<'_>, KekRef)>, current: &[KekRef]) -> bool {
        if current.len() != self.wrap_with.len() || ours.len() != current.len() {
            return false;
        }
        for (manager, current) in self.wrap_with.iter().zip(current) {
            let algorithm = manager.capabilities().algorithm;
            let at = ours.iter().position(|(stanza, kek)| {
                stanza.algorithm == algorithm
                    && stanza.kek_id.is_empty() == self.hide_ids
                    && is_current(kek, current)
            });
            match at {
                Some(at) => drop(ours.swap_remove(at)),
                None => return false,
            }
        }
        true
    }

    /// Returns what is known without a call.
    pub(super) fn currency(&self, wraps: WrapSection<'_>, rules: RewrapRules<'_>) -> Currency {
        if wraps.threshold() != 1 {
            return Currency::Unknown;
        }
        let (mut mine, mut ambiguous) = (Vec::new(), Vec::new());
        for stanza in wraps.stanzas() {
            let said = self.managers().map(|manager| manager.recognizes(stanza)).max();
            match said.unwrap_or(Recognition::No) {
                Recognition::No if rules.drops_unknown() => return Currency::Stale,
                Recognition::No => {}
                Recognition::Perhaps => ambiguous.push((stanza, claimed(stanza))),
                Recognition::Mine => mine.push((stanza, claimed(stanza))),
            }
        }
        let Some(current) = rules.current().filter(|current| !current.is_empty()) else {
            return Currency::Unknown;
        };
        if !ambiguous.is_empty() {
            // Only this is certain: a stanza that is ours and under another KEK or version has to go.
            let is_stale =
                |(_, kek): &(WrapRef<'_>, KekRef)| !current.iter().any(|current| is_current(kek, current));
            return if mine.iter().any(is_stale) {
                Currency::Stale
            } else {
                Currency::Unknown
            };
        }
        match self.matches(mine, current) {
            true if self.is_untold(current) => Currency::Unknown,
            true => Currency::Current,
            false => Currency::Stale,
        }
    }
}

/// Returns the KEK that unwrapped, with the version that the stanza claims if the backend does not tell the version.
fn with_version(kek: &KekRef, stanza: WrapRef<'_>) -> KekRef {
    if kek.version().is_empty() && !stanza.kek_version.is_empty() {
        KekRef::trusted(kek.provider(), kek.id(), stanza.kek_version)
    } else {
        kek.clone()
    }
}

/// Whether a stanza names this KEK and version. A version that nobody knows matches every version.
fn is_named(stanza: WrapRef<'_>, current: &KekRef) -> bool {
    is_current(&claimed(stanza), current)
}

fn is_current(kek: &KekRef, current: &KekRef) -> bool {
    kek.is_same_key(current) && (current.version().is_empty() || kek.version() == current.version())
}
