//! The conformance suite finds key managers that break the contract, each by the check that is for it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use pollster::block_on;
use waxseal::testing::FakeKeyManager;
use waxseal::testing::conformance::{Subject, run};
use waxseal::{
    EncryptionContext, Error, ErrorKind, KeyManager, Result, envelope::KekRef, envelope::WrapAlgorithm,
    envelope::WrapRef, envelope::WrappedDek, key::Capabilities, key::Recognition, key::Request,
    key::Unwrapped, key::Versions, value::Dek,
};

/// What is wrong with a manager that does everything else right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    IgnoresContext,
    IgnoresBinding,
    BindsOnlyTheFirstPair,
    RecognizesEverything,
    RecognizesOtherAlgorithms,
    DeniesItsOwn,
    RefusesHiddenIds,
    UnwrapsUnrecognized,
    TrustsTheStanzasId,
    NamesTheClaimedKek,
    WrapsTheSameWay,
    SameDekAgain,
    GeneratesAnotherDek,
    WrapsInTheClear,
    NamesNoKek,
    ClaimsAnotherAlgorithm,
    IgnoresTheLastByte,
    IgnoresWhatFollows,
    GivesWrongDekOnTamper,
    SaysTamperingIsRetryable,
    SaysTamperingIsDenied,
    PutsTheContextInErrors,
    PutsDeksInDebug,
    ReversesBatches,
    LosesTheTail,
    SpoilsTheBatch,
    AnswersAnEmptyBatch,
    RewrapsAnotherDek,
    RewrapsFreely,
    RewrapsInAnyContext,
    NeverRewraps,
    MixesCallsAtOnce,
    HoldsALockWhenDropped,
    ClaimsHiddenIds,
    ClaimsItsNamesake,
    Hangs,
    HangsPastTheDeadline,
    CallsADeadlineAnOutage,
    BreaksAfterHastyCalls,
    Panics,
    PanicsOnOddNames,
    UnwrapsAnotherDek,
    NamesAnotherProvider,
    UnwrapsOnce,
    RefusesStrangersForNow,
    SharesAnIdentity,
    SharesItsNamesakesIdentity,
    ChangesItsIdentity,
    TellsASecretIdentity,
    DeclaresNoVersions,
    ProvesNoVersion,
    IgnoresThePin,
    PinsAnybodysKek,
    FallsBackToTheNewest,
    CannotBePinned,
}

struct Liar {
    inner: FakeKeyManager,
    lie: Lie,
    last: Mutex<Option<[u8; 32]>>,
    busy: Mutex<bool>,
    request: Mutex<Option<EncryptionContext>>,
    seen: Mutex<Vec<Vec<u8>>>,
    hasty: AtomicUsize,
    namesake: OnceLock<FakeKeyManager>,
}

impl fmt::Debug for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.last.lock().unwrap() {
            Some(dek) if self.lie == Lie::PutsDeksInDebug => write!(f, "Liar({dek:?})"),
            _ => f.write_str("Liar"),
        }
    }
}

/// Pending once, so that calls at once take turns.
async fn turn() {
    let mut waited = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

impl Liar {
    fn new(id: &str, lie: Lie) -> Self {
        Self {
            inner: FakeKeyManager::new(id).generating().rewrapping().batching(5),
            lie,
            last: Mutex::new(None),
            busy: Mutex::new(false),
            request: Mutex::new(None),
            seen: Mutex::default(),
            hasty: AtomicUsize::new(0),
            namesake: OnceLock::new(),
        }
    }

    /// What goes wrong before anything is done.
    async fn wait(&self, asked: &Request<'_>) -> Result<()> {
        let hasty = asked.deadline().is_some();
        match self.lie {
            Lie::Hangs => std::future::pending().await,
            Lie::HangsPastTheDeadline if hasty => std::future::pending().await,
            Lie::CallsADeadlineAnOutage if hasty => return Err(Error::new(ErrorKind::Unavailable)),
            Lie::BreaksAfterHastyCalls if hasty => {
                self.hasty.fetch_add(1, Ordering::Relaxed);
                return Err(Error::new(ErrorKind::TimedOut));
            }
            // Five of them are an outage for everybody.
            Lie::BreaksAfterHastyCalls if self.hasty.load(Ordering::Relaxed) > 5 => {
                return Err(Error::new(ErrorKind::Unavailable));
            }
            Lie::Panics => panic!("the manager has an index out of bounds"),
            _ => {}
        }
        Ok(())
    }

    fn is(&self, lie: Lie) -> bool {
        self.lie == lie
    }

    /// The context and binding that this manager minds.
    fn minded(&self, request: &Request<'_>) -> (EncryptionContext, Option<[u8; 32]>) {
        let empty = EncryptionContext::empty();
        let binding = *request.binding();
        let shared = (binding != *request.context().digest()).then_some(binding);
        match self.lie {
            Lie::IgnoresContext => (empty, shared),
            Lie::IgnoresBinding => (request.context().clone(), None),
            Lie::BindsOnlyTheFirstPair => {
                let first = request.context().pairs().next();
                let first = first.map(|pair| EncryptionContext::new([pair]).unwrap());
                (first.unwrap_or(empty), shared)
            }
            _ => (request.context().clone(), shared),
        }
    }

    fn tampered(&self, request: &Request<'_>, error: Error) -> Result<Unwrapped> {
        if error.kind() != ErrorKind::CannotOpen {
            return Err(error);
        }
        match self.lie {
            Lie::GivesWrongDekOnTamper => {
                let kek = KekRef::new("fake", "a", "1")?;
                Ok(Unwrapped::new(Dek::from_bytes(&[3; 32]), kek))
            }
            Lie::SaysTamperingIsRetryable => Err(error.with_retryable(true)),
            Lie::SaysTamperingIsDenied => Err(Error::new(ErrorKind::Denied)),
            Lie::PutsTheContextInErrors => {
                let pairs: Vec<_> = request.context().pairs().collect();
                Err(error.with_source(format!("access denied in {pairs:?}")))
            }
            _ => Err(error),
        }
    }
}

fn request<'a>(context: &'a EncryptionContext, binding: Option<[u8; 32]>) -> Request<'a> {
    let request = Request::new(context);
    match binding {
        Some(binding) => request.with_binding(binding),
        None => request,
    }
}

#[async_trait]
impl KeyManager for Liar {
    fn provider(&self) -> &str {
        self.inner.provider()
    }

    fn capabilities(&self) -> Capabilities {
        let capabilities = self.inner.capabilities();
        match self.lie {
            Lie::DeclaresNoVersions => capabilities.with_versions(Versions::None),
            _ => capabilities,
        }
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        let mut stanza = wrapped;
        match self.lie {
            Lie::ClaimsHiddenIds | Lie::ClaimsItsNamesake => {
                let certain = self.inner.recognizes(wrapped);
                let claims = self.is(Lie::ClaimsHiddenIds) || !wrapped.kek_id.is_empty();
                return if certain.is_no() || !claims {
                    certain
                } else {
                    Recognition::Mine
                };
            }
            Lie::PanicsOnOddNames => {
                // Cuts an ARN where there is none.
                let _ = &wrapped.provider[wrapped.provider.find('a').unwrap()..];
            }
            Lie::RecognizesEverything => return Recognition::Mine,
            Lie::DeniesItsOwn => return Recognition::No,
            Lie::RefusesHiddenIds if wrapped.kek_id.is_empty() => return Recognition::No,
            Lie::RecognizesOtherAlgorithms => stanza.algorithm = FakeKeyManager::ALGORITHM,
            _ => {}
        }
        self.inner.recognizes(stanza)
    }

    fn identity(&self) -> Option<String> {
        match self.lie {
            Lie::SharesAnIdentity => self.inner.sibling("b").identity(),
            Lie::SharesItsNamesakesIdentity => self.namesake.get().and_then(KeyManager::identity),
            Lie::ChangesItsIdentity => Some(self.inner.calls().len().to_string()),
            Lie::TellsASecretIdentity => Some("at https://user:t0ken@kms".to_owned()),
            _ => self.inner.identity(),
        }
    }

    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        let is_own = kek.id() == self.inner.kek().id();
        let exists = kek.version().parse().is_ok_and(|version: u32| version < 3);
        match self.lie {
            Lie::IgnoresThePin if is_own => Ok(Arc::new(self.inner.clone())),
            Lie::PinsAnybodysKek => Ok(Arc::new(self.inner.clone())),
            Lie::FallsBackToTheNewest if is_own && !exists => Ok(Arc::new(self.inner.clone())),
            Lie::CannotBePinned => Err(Error::new(ErrorKind::Unsupported { feature: "pinning" })),
            _ => self.inner.pinned_to(kek),
        }
    }

    async fn generate(&self, asked: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        self.wait(asked).await?;
        if self.is(Lie::MixesCallsAtOnce) {
            *self.request.lock().unwrap() = Some(asked.context().clone());
            turn().await;
            let context = self.request.lock().unwrap().clone().unwrap();
            return self.inner.generate(&Request::new(&context)).await;
        }
        let (mut dek, mut wrapped) = {
            let (context, binding) = self.minded(asked);
            self.inner.generate(&request(&context, binding)).await?
        };
        if matches!(self.lie, Lie::WrapsInTheClear | Lie::IgnoresTheLastByte) {
            wrapped = self.wrap(&dek, asked).await?;
        }
        if self.is(Lie::SameDekAgain) {
            dek = Dek::from_bytes(&[5; 32]);
            wrapped = self.inner.wrap(&dek, asked).await?;
        }
        if self.is(Lie::GeneratesAnotherDek) {
            dek = Dek::generate()?;
        }
        *self.last.lock().unwrap() = Some(*dek.expose_bytes());
        Ok((dek, wrapped))
    }

    async fn wrap(&self, dek: &Dek, asked: &Request<'_>) -> Result<WrappedDek> {
        self.wait(asked).await?;
        if self.is(Lie::HoldsALockWhenDropped) {
            if std::mem::replace(&mut *self.busy.lock().unwrap(), true) {
                return Err(Error::new(ErrorKind::Unavailable));
            }
            turn().await;
            *self.busy.lock().unwrap() = false;
        }
        let (context, binding) = self.minded(asked);
        let asked = request(&context, binding);
        if self.is(Lie::WrapsTheSameWay) {
            return FakeKeyManager::new(self.inner.kek().id()).wrap(dek, &asked).await;
        }
        let wrapped = self.inner.wrap(dek, &asked).await?;
        let (algorithm, kek) = (wrapped.algorithm(), wrapped.kek().clone());
        let bytes = wrapped.wrapped();
        match self.lie {
            Lie::WrapsInTheClear => {
                WrappedDek::new(algorithm, kek, [bytes, dek.expose_bytes().as_slice()].concat())
            }
            Lie::NamesNoKek => WrappedDek::new(algorithm, KekRef::new("fake", "", "")?, bytes.to_vec()),
            Lie::ClaimsAnotherAlgorithm => WrappedDek::new(WrapAlgorithm::from_id(225), kek, bytes.to_vec()),
            Lie::IgnoresTheLastByte => WrappedDek::new(algorithm, kek, [bytes, &[0]].concat()),
            _ => Ok(wrapped),
        }
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, asked: &Request<'_>) -> Result<Unwrapped> {
        self.wait(asked).await?;
        if self.is(Lie::UnwrapsOnce) {
            let mut seen = self.seen.lock().unwrap();
            if seen.iter().any(|seen| seen == wrapped.wrapped) {
                return Err(Error::new(ErrorKind::CannotOpen));
            }
            seen.push(wrapped.wrapped.to_vec());
        }
        let (context, binding) = self.minded(asked);
        let minded = request(&context, binding);
        let mut stanza = wrapped;
        if self.is(Lie::UnwrapsUnrecognized) {
            stanza.algorithm = FakeKeyManager::ALGORITHM;
        }
        let len = stanza.wrapped.len();
        match self.lie {
            Lie::WrapsInTheClear if len > 32 => stanza.wrapped = &stanza.wrapped[..len - 32],
            Lie::IgnoresTheLastByte if len > 1 => stanza.wrapped = &stanza.wrapped[..len - 1],
            Lie::IgnoresWhatFollows => stanza.wrapped = &stanza.wrapped[..len.min(84)],
            Lie::TrustsTheStanzasId => {
                // Asks the KMS for whatever key the envelope names.
                return self.inner.sibling(wrapped.kek_id).unwrap(wrapped, &minded).await;
            }
            _ => {}
        }
        let mut opened = self.inner.unwrap(stanza, &minded).await;
        if self.is(Lie::NamesTheClaimedKek)
            && let Ok(opened) = &mut opened
        {
            opened.kek = KekRef::new(wrapped.provider, wrapped.kek_id, wrapped.kek_version)?;
        }
        if let Ok(opened) = &mut opened {
            match self.lie {
                Lie::UnwrapsAnotherDek => opened.dek = Dek::generate()?,
                Lie::ProvesNoVersion => opened.kek = KekRef::new("fake", opened.kek.id(), "")?,
                Lie::NamesAnotherProvider => opened.kek = KekRef::new("other", opened.kek.id(), "")?,
                _ => {}
            }
        }
        opened.or_else(|error| self.tampered(asked, error))
    }

    async fn rewrap(&self, wrapped: WrapRef<'_>, asked: &Request<'_>) -> Result<Option<WrappedDek>> {
        match self.lie {
            Lie::NeverRewraps => Ok(None),
            Lie::RefusesStrangersForNow => {
                let refused = |error: Error| error.with_retryable(true);
                self.inner.rewrap(wrapped, asked).await.map_err(refused)
            }
            Lie::RewrapsAnotherDek => self.inner.wrap(&Dek::generate()?, asked).await.map(Some),
            Lie::RewrapsFreely => {
                let mut stanza = wrapped;
                stanza.provider = "fake";
                self.inner.rewrap(stanza, asked).await
            }
            Lie::RewrapsInAnyContext => {
                // The context that the suite wrapped in, which a careless backend would not even ask for.
                let made = self.inner.calls();
                for call in made.iter().rev() {
                    if let Ok(dek) = self.inner.unwrap(wrapped, &Request::new(&call.context)).await {
                        return self.inner.wrap(&dek.dek, asked).await.map(Some);
                    }
                }
                Ok(None)
            }
            _ => self.inner.rewrap(wrapped, asked).await,
        }
    }

    async fn wrap_batch(&self, items: &[(&Dek, &Request<'_>)]) -> Vec<Result<WrappedDek>> {
        let mut results = Vec::new();
        for (dek, request) in items {
            results.push(self.wrap(dek, request).await);
        }
        if self.is(Lie::AnswersAnEmptyBatch) && items.is_empty() {
            results.push(Err(Error::new(ErrorKind::InvalidArgument)));
        }
        results
    }

    async fn unwrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Unwrapped>> {
        let mut results = Vec::new();
        for (wrapped, request) in items {
            results.push(self.unwrap(*wrapped, request).await);
        }
        match self.lie {
            Lie::ReversesBatches => results.reverse(),
            Lie::LosesTheTail => drop(results.pop()),
            Lie::SpoilsTheBatch if results.iter().any(Result::is_err) => {
                let spoilt = |_| Err(Error::new(ErrorKind::CannotOpen));
                results = results.into_iter().map(spoilt).collect();
            }
            _ => {}
        }
        results
    }
}

/// The checks that a lie fails; none if all pass.
fn found_by(lie: Lie) -> Vec<&'static str> {
    let mut inner = Liar::new("a", lie);
    inner.inner = inner.inner.with_ambiguous_id();
    let (other, namesake) = (inner.inner.sibling("b"), inner.inner.elsewhere("there"));
    inner.namesake.set(namesake.clone()).unwrap();
    inner.inner.rotate_now();
    let mut subject = Subject::new(inner)
        .with_older_version(KekRef::new("fake", "a", "1").unwrap())
        .against(other)
        .against_namesake(namesake)
        .with_canary("t0ken");
    if matches!(lie, Lie::Hangs | Lie::HangsPastTheDeadline) {
        subject = subject.within(Duration::from_secs(3));
    }
    let Err(failed) = block_on(run(&subject)) else {
        return Vec::new();
    };
    assert!(!failed.to_string().contains("c4n4ry"));
    assert!(failed.failures().iter().all(|failure| !failure.why().is_empty()));
    failed.checks()
}

#[test]
fn an_honest_manager_passes() {
    assert_eq!(found_by(Lie::None), [""; 0]);
}

// spec: ALG-15
#[test]
fn every_liar_is_found_by_the_check_for_it() {
    for (lie, check) in [
        (Lie::IgnoresContext, "another_context_does_not_open"),
        (Lie::BindsOnlyTheFirstPair, "another_context_does_not_open"),
        (Lie::IgnoresBinding, "another_binding_does_not_open"),
        (Lie::RecognizesEverything, "foreign_stanzas_are_not_recognized"),
        (
            Lie::RecognizesOtherAlgorithms,
            "foreign_stanzas_are_not_recognized",
        ),
        (Lie::UnwrapsUnrecognized, "foreign_stanzas_are_not_recognized"),
        (Lie::DeniesItsOwn, "a_wrap_says_what_it_is"),
        (Lie::NamesNoKek, "a_wrap_says_what_it_is"),
        (Lie::ClaimsAnotherAlgorithm, "a_wrap_says_what_it_is"),
        (Lie::RefusesHiddenIds, "a_hidden_id_opens"),
        (Lie::TrustsTheStanzasId, "foreign_stanzas_are_not_recognized"),
        (Lie::NamesTheClaimedKek, "names_in_a_stanza_are_not_followed"),
        (Lie::WrapsTheSameWay, "wraps_are_randomized"),
        (Lie::SameDekAgain, "generated_deks_are_unique"),
        (Lie::GeneratesAnotherDek, "a_generated_dek_is_the_wrapped_one"),
        (Lie::WrapsInTheClear, "no_wrap_shows_its_dek"),
        (Lie::IgnoresTheLastByte, "no_altered_byte_opens"),
        (Lie::IgnoresWhatFollows, "no_other_length_opens"),
        (Lie::GivesWrongDekOnTamper, "another_context_does_not_open"),
        (Lie::SaysTamperingIsRetryable, "another_context_does_not_open"),
        (Lie::SaysTamperingIsDenied, "another_context_does_not_open"),
        (Lie::PutsTheContextInErrors, "another_context_does_not_open"),
        (Lie::PutsDeksInDebug, "nothing_printed_shows_secrets"),
        (Lie::ReversesBatches, "a_batch_unwraps_as_single_calls_do"),
        (Lie::LosesTheTail, "a_batch_unwraps_as_single_calls_do"),
        (Lie::SpoilsTheBatch, "a_batch_unwraps_as_single_calls_do"),
        (Lie::AnswersAnEmptyBatch, "an_empty_batch_is_empty"),
        (Lie::RewrapsAnotherDek, "a_batch_rewraps_as_single_calls_do"),
        (Lie::RewrapsFreely, "a_batch_rewraps_as_single_calls_do"),
        (Lie::NeverRewraps, "a_batch_rewraps_as_single_calls_do"),
        (Lie::RewrapsInAnyContext, "a_rewrap_keeps_dek_and_binding"),
        (Lie::MixesCallsAtOnce, "several_calls_at_once_do_not_mix"),
        (Lie::HoldsALockWhenDropped, "a_call_may_be_dropped"),
        (Lie::DeclaresNoVersions, "answers_name_versions_as_declared"),
        (Lie::ProvesNoVersion, "answers_name_versions_as_declared"),
        (Lie::IgnoresThePin, "a_pinned_older_version_wraps_and_is_named"),
        (Lie::PinsAnybodysKek, "nothing_but_its_own_kek_can_be_pinned"),
        (Lie::FallsBackToTheNewest, "nothing_but_its_own_kek_can_be_pinned"),
        (Lie::CannotBePinned, "a_pinned_manager_wraps_as_pinned"),
    ] {
        let found = found_by(lie);
        assert!(found.contains(&check), "{lie:?}: {found:?}");
    }
}

/// What an author of a backend elsewhere gets wrong, kind by kind: each is named, whatever else fails with it, and the
/// suite goes on to the end.
#[test]
fn every_kind_of_mistake_is_named() {
    for (lie, check) in [
        (Lie::IgnoresBinding, "another_binding_does_not_open"),
        (Lie::IgnoresTheLastByte, "no_altered_byte_opens"),
        (Lie::GivesWrongDekOnTamper, "no_altered_byte_opens"),
        (
            Lie::RecognizesEverything,
            "a_name_that_is_not_unique_is_not_claimed",
        ),
        (Lie::RecognizesEverything, "foreign_stanzas_are_not_recognized"),
        (Lie::ClaimsHiddenIds, "a_name_that_is_not_unique_is_not_claimed"),
        (Lie::ClaimsItsNamesake, "a_name_that_is_not_unique_is_not_claimed"),
        (Lie::DeniesItsOwn, "a_hidden_id_opens"),
        (Lie::UnwrapsAnotherDek, "a_wrap_opens"),
        (Lie::NamesAnotherProvider, "a_wrap_opens"),
        (Lie::UnwrapsOnce, "a_wrap_opens"),
        (Lie::ReversesBatches, "a_batch_unwraps_as_single_calls_do"),
        (Lie::LosesTheTail, "a_batch_unwraps_as_single_calls_do"),
        (Lie::RewrapsAnotherDek, "a_rewrap_keeps_dek_and_binding"),
        (
            Lie::RefusesStrangersForNow,
            "a_rewrap_of_a_foreign_wrap_leaves_the_way_to_unwrap_and_wrap",
        ),
        (Lie::SharesAnIdentity, "an_identity_is_of_one_kek"),
        (Lie::SharesItsNamesakesIdentity, "an_identity_is_of_one_kek"),
        (Lie::ChangesItsIdentity, "an_identity_is_of_one_kek"),
        (Lie::TellsASecretIdentity, "an_identity_is_of_one_kek"),
        (Lie::Panics, "a_wrap_opens"),
        (
            Lie::PanicsOnOddNames,
            "garbage_is_recognized_or_not_and_never_panics",
        ),
        (Lie::Hangs, "a_wrap_says_what_it_is"),
        (Lie::HangsPastTheDeadline, "a_deadline_that_is_over_ends_the_call"),
        (
            Lie::CallsADeadlineAnOutage,
            "a_deadline_that_is_over_ends_the_call",
        ),
        (Lie::BreaksAfterHastyCalls, "hasty_callers_harm_nobody_else"),
    ] {
        let found = found_by(lie);
        assert!(found.contains(&check), "{lie:?}: {found:?}");
        // What has nothing to do with it was tried all the same, and passed.
        if matches!(lie, Lie::HangsPastTheDeadline | Lie::PanicsOnOddNames) {
            assert!(!found.contains(&"no_altered_byte_opens"), "{lie:?}: {found:?}");
        }
    }
}

/// A manager whose Debug prints its credentials.
#[derive(Debug)]
struct Chatty(
    #[allow(dead_code, reason = "for Debug")] &'static str,
    FakeKeyManager,
);

#[async_trait]
impl KeyManager for Chatty {
    fn provider(&self) -> &str {
        self.1.provider()
    }

    fn capabilities(&self) -> Capabilities {
        self.1.capabilities()
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        self.1.recognizes(wrapped)
    }

    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        self.1.pinned_to(kek)
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        self.1.wrap(dek, request).await
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        self.1.unwrap(wrapped, request).await
    }
}

#[test]
fn a_credential_in_debug_is_found() {
    let chatty = || Subject::new(Chatty("token-12345", FakeKeyManager::new("a")));
    assert!(block_on(run(&chatty())).is_ok());
    let failure = block_on(run(&chatty().with_canary("token-12345"))).unwrap_err();
    assert_eq!(failure.checks(), ["nothing_printed_shows_secrets"]);
    assert!(!failure.to_string().contains("token-12345"));
}
