//! Several KEKs, any one of which opens.

use std::sync::Arc;

use async_trait::async_trait;

use crate::envelope::{BodyHead, WrapRef, WrapSection, WrapSet, WrappedDek};
use crate::key::{KeyManager, Request, Unwrapped};
use crate::source::DekSource;
use crate::source::lease::DekLease;
use crate::value::error::{Attempt, Error, ErrorKind, Operation, Result};
use crate::value::secret::Dek;

/// Wraps each DEK under every KEK of one list, and opens with any KEK of that list or another.
///
/// A rotation by hand: the new KEK wraps, the old one only opens, a re-wrap moves what is stored.
///
/// *Re-wrap* replaces the stanzas of every KEK that is configured here. Stanzas of KEKs that are not (another
/// recipient's) are kept as they are, so that nobody loses access; [`dropping_unknown`](Self::dropping_unknown)
/// leaves them out. A stanza whose KEK id is hidden counts as configured here only if a KEK of this list opens it.
#[derive(Clone, Debug, Default)]
pub struct AnyOf {
    wrap_with: Vec<Arc<dyn KeyManager>>,
    open_with: Vec<Arc<dyn KeyManager>>,
    hide_ids: bool,
    drop_unknown: bool,
}

impl AnyOf {
    /// Wraps under `key_manager`, and opens with it.
    #[must_use]
    pub fn new(key_manager: impl KeyManager + 'static) -> Self {
        Self::default().wrap_with(key_manager)
    }

    /// Wraps under this one too. If any wrap fails, sealing fails.
    #[must_use]
    pub fn wrap_with(mut self, key_manager: impl KeyManager + 'static) -> Self {
        self.wrap_with.push(Arc::new(key_manager));
        self
    }

    /// Opens with this one too, and never wraps under it.
    #[must_use]
    pub fn open_with(mut self, key_manager: impl KeyManager + 'static) -> Self {
        self.open_with.push(Arc::new(key_manager));
        self
    }

    /// Leaves KEK ids and versions out of what is written. Readers then try each KEK they have of the
    /// provider and algorithm, and an inspection does not tell which KEK wrapped.
    #[must_use]
    pub fn hiding_ids(mut self) -> Self {
        self.hide_ids = true;
        self
    }

    /// Re-wrap leaves out stanzas of KEKs that are not configured here: their holders lose access.
    #[must_use]
    pub fn dropping_unknown(mut self) -> Self {
        self.drop_unknown = true;
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.managers().next().is_none()
    }

    /// Whether nothing was configured at all.
    pub(crate) fn is_default(&self) -> bool {
        self.is_empty() && !self.hide_ids && !self.drop_unknown
    }

    /// How many KEKs wrap each DEK.
    pub(crate) fn wraps(&self) -> usize {
        self.wrap_with.len()
    }

    fn managers(&self) -> impl Iterator<Item = &Arc<dyn KeyManager>> {
        self.wrap_with.iter().chain(&self.open_with)
    }

    fn set_of(&self, mut wraps: Vec<WrappedDek>) -> Result<WrapSet> {
        if self.hide_ids {
            wraps = wraps.into_iter().map(WrappedDek::with_hidden_id).collect();
        }
        WrapSet::any_of(wraps)
    }

    /// Those who know the stanza and can unwrap. A public key knows its stanzas and cannot.
    fn unwrapping<'a>(&'a self, stanza: WrapRef<'a>) -> impl Iterator<Item = &'a Arc<dyn KeyManager>> {
        self.managers()
            .filter(move |manager| manager.capabilities().unwraps && manager.recognizes(stanza))
    }

    /// Whether a stanza that did not have to open is under a KEK of this list, so that a re-wrap replaces it.
    ///
    /// A hidden id matches every KEK of its provider and algorithm, another recipient's too; so may the name of a
    /// passphrase. Then only an
    /// unwrap tells.
    async fn owns(&self, stanza: WrapRef<'_>, dek: &Dek, request: &Request<'_>) -> Result<bool> {
        // The name of a passphrase is no fingerprint: two recipients may have chosen the same, and so may have left it
        // at `passphrase`.
        if !stanza.kek_id.is_empty() && !stanza.algorithm.is_passphrase() {
            return Ok(self.managers().any(|manager| manager.recognizes(stanza)));
        }
        if stanza.checked_wrapped().is_err() {
            return Ok(false);
        }
        for manager in self.unwrapping(stanza) {
            match manager.as_ref().unwrap(stanza, request).await {
                Ok(unwrapped) if unwrapped.dek.ct_eq(dek) => return Ok(true),
                // An outage must not turn into a wrap that should be gone and stays.
                Err(error) if error.is_retryable() => return Err(error),
                _ => {}
            }
        }
        Ok(false)
    }

    /// Unwraps one stanza with one manager, and holds the DEK against the body.
    async fn attempt(
        manager: &Arc<dyn KeyManager>,
        stanza: WrapRef<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<DekLease> {
        // Exact lengths are checked here and not when parsing: a broken stanza must not stop a good one.
        stanza.checked_wrapped()?;
        let Unwrapped { dek, kek } = manager.as_ref().unwrap(stanza, request).await?;
        DekLease::for_opening(dek, vec![kek], body, request.context())
    }

    async fn open(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<(usize, DekLease)> {
        if wraps.threshold() != 1 {
            return Err(Error::unsupported("an envelope that needs several keys to open"));
        }
        let mut failures = Failures::default();
        for (index, stanza) in wraps.stanzas().enumerate() {
            let mut known = false;
            for manager in self.unwrapping(stanza) {
                known = true;
                match Self::attempt(manager, stanza, body, request).await {
                    Ok(lease) => return Ok((index, lease)),
                    Err(error) => failures.add(stanza, error),
                }
            }
            if !known {
                failures.pass_over(stanza);
            }
        }
        Err(failures.into_error())
    }
}

#[async_trait]
impl DekSource for AnyOf {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        let (first, others) = self.wrap_with.split_first().ok_or_else(nothing_to_wrap_with)?;
        let (dek, wrapped) = first.as_ref().generate(request).await?;
        let wrapped = own(first, wrapped)?;
        let mut keks = Vec::with_capacity(self.wrap_with.len());
        let mut wraps = Vec::with_capacity(self.wrap_with.len());
        keks.push(wrapped.kek().clone());
        wraps.push(wrapped);
        for manager in others {
            let wrapped = own(manager, manager.as_ref().wrap(&dek, request).await?)?;
            keks.push(wrapped.kek().clone());
            wraps.push(wrapped);
        }
        Ok((
            Arc::new(DekLease::for_sealing(dek, keks, request.context())),
            self.set_of(wraps)?,
        ))
    }

    // Nothing is kept; one KEK in this process takes no asking. An error is left to those who ask.
    fn kept_for_sealing(&self, request: &Request<'_>) -> Option<(Arc<DekLease>, WrapSet)> {
        let [manager] = self.wrap_with.as_slice() else {
            return None;
        };
        let (dek, wrapped) = manager.generate_at_once(request)?.ok()?;
        let wrapped = own(manager, wrapped).ok()?;
        let lease = DekLease::for_sealing_under(dek, wrapped.kek().clone(), request.context());
        let wrapped = if self.hide_ids {
            wrapped.with_hidden_id()
        } else {
            wrapped
        };
        Some((Arc::new(lease), WrapSet::of_one(wrapped).ok()?))
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        let (_, lease) = self.open(wraps, body, request).await?;
        Ok(Arc::new(lease))
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<WrapSet> {
        if self.wrap_with.is_empty() {
            return Err(nothing_to_wrap_with());
        }
        // Where the only stanza is known, a KMS that can does it on its own side, and the DEK stays there.
        // With several stanzas one of them may be planted: only the commitment tells, and for that the DEK
        // has to come out.
        if wraps.count() == 1
            && wraps.threshold() == 1
            && let [destination] = self.wrap_with.as_slice()
        {
            for stanza in wraps.stanzas() {
                let known = self.managers().any(|manager| manager.recognizes(stanza));
                if known
                    && destination.capabilities().rewraps
                    && let Some(wrapped) = destination.as_ref().rewrap(stanza, request).await?
                {
                    return self.set_of(vec![own(destination, wrapped)?]);
                }
            }
        }
        let (opened, lease) = self.open(wraps, body, request).await?;
        let mut new = Vec::with_capacity(self.wrap_with.len());
        for manager in &self.wrap_with {
            new.push(own(manager, manager.as_ref().wrap(lease.dek(), request).await?)?);
        }
        let mut new = self.set_of(new)?.into_wraps();
        if !self.drop_unknown {
            for (index, stanza) in wraps.stanzas().enumerate() {
                if index != opened && !self.owns(stanza, lease.dek(), request).await? {
                    new.push(WrappedDek::from_ref(&stanza));
                }
            }
        }
        WrapSet::any_of(new)
    }
}

/// Refuses a wrap that its own maker does not recognise: under another name nobody would ever try it.
fn own(manager: &Arc<dyn KeyManager>, wrapped: WrappedDek) -> Result<WrappedDek> {
    if manager.recognizes(wrapped.as_wrap_ref()) && wrapped.as_wrap_ref().share_index == 0 {
        return Ok(wrapped);
    }
    Err(Error::new(ErrorKind::InvalidAnswer)
        .with_provider(manager.provider().to_owned())
        .with_detail("it does not recognise the wrap that it made"))
}

fn nothing_to_wrap_with() -> Error {
    Error::configuration("no key manager is configured to wrap with")
}

/// What was tried in vain.
#[derive(Default)]
struct Failures {
    attempts: Vec<Attempt>,
    worst: Option<Error>,
    retryable: bool,
}

impl Failures {
    fn pass_over(&mut self, stanza: WrapRef<'_>) {
        self.attempts.push(Attempt::new(
            stanza.provider,
            stanza.kek_id,
            stanza.kek_version,
            None,
        ));
    }

    fn add(&mut self, stanza: WrapRef<'_>, error: Error) {
        // A failed unwrap and a failed commitment are one and the same error, to the letter: a reader that is
        // fed altered wraps answers no guesses.
        let error = match error.kind() {
            ErrorKind::CannotOpen => Error::cannot_open(),
            _ => error,
        };
        let kind = error.kind();
        self.attempts.push(Attempt::new(
            stanza.provider,
            stanza.kek_id,
            stanza.kek_version,
            Some(kind),
        ));
        self.retryable |= error.is_retryable();
        if self
            .worst
            .as_ref()
            .is_none_or(|worst| weight(&error) > weight(worst))
        {
            self.worst = Some(error);
        }
    }

    fn into_error(self) -> Error {
        let Some(worst) = self.worst else {
            return Error::new(ErrorKind::NoUsableKey)
                .with_operation(Operation::Open)
                .with_detail("configure one of the keys it is wrapped under")
                .with_attempts(self.attempts);
        };
        worst.with_retryable(self.retryable).with_attempts(self.attempts)
    }
}

/// Which of several errors is the one to report: what may pass by itself, then what someone can mend, then
/// what does not open, then what is broken.
fn weight(error: &Error) -> u8 {
    match error.kind() {
        _ if error.is_retryable() => 3,
        ErrorKind::CannotOpen => 1,
        ErrorKind::Malformed { .. } | ErrorKind::OverLimit { .. } | ErrorKind::Unsupported { .. } => 0,
        _ => 2,
    }
}

#[cfg(test)]
mod tests;
