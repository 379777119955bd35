//! What a key manager answers, and what it says of itself.

use super::Subject;
use super::probe::{Finding, Outcome, Verdict, WRAPS_ONLY, context, fail, own};
use crate::envelope::{KekRef, WrapSection, WrapSet, WrappedDek, Wraps};
use crate::key::{Purpose, Request};
use crate::runtime::BoxFuture;
use crate::runtime::join::{join, poll_once_and_drop};
use crate::value::secret::Dek;

pub(super) async fn names_are_valid(subject: &Subject) -> Outcome {
    let manager = subject.manager();
    if let Err(error) = KekRef::new(manager.provider(), "", "") {
        return fail(format!("the provider name is not valid: {error}"));
    }
    let capabilities = manager.capabilities();
    if capabilities.batch == 0 {
        return fail("a batch of no item at all is what it can do; 1 says that it has no batches");
    }
    if capabilities.algorithm.id() == 0 {
        return fail("the wrap algorithm is 0, which the format does not use");
    }
    if capabilities != manager.capabilities() {
        return fail("its capabilities change from one call to the next");
    }
    if let Some(opener) = subject.opener()
        && (opener.provider() != manager.provider()
            || opener.capabilities().algorithm != capabilities.algorithm)
    {
        return fail("provider or algorithm of the opener is another");
    }
    Ok(Verdict::Passed)
}

pub(super) async fn a_wrap_says_what_it_is(subject: &Subject) -> Outcome {
    let context = context("names")?;
    let (_, wrapped) = subject.wrapped(&Request::new(&context)).await?;
    let manager = subject.manager();
    if wrapped.algorithm() != manager.capabilities().algorithm {
        return fail("a wrap has another algorithm than the capabilities say");
    }
    if wrapped.kek().provider() != manager.provider() {
        return fail("a wrap names another provider than the manager");
    }
    if wrapped.kek().id().is_empty() {
        return fail("a wrap does not name its KEK; whether to hide the id is the sealer's choice");
    }
    if manager.recognizes(wrapped.as_wrap_ref()).is_no() {
        return fail("it does not recognize its own wrap");
    }
    // As it comes back from an envelope.
    let set = WrapSet::any_of(vec![wrapped.clone()]).map_err(own)?;
    let front = Wraps::Attached(set).prefix(0).map_err(own)?;
    let section = WrapSection::parse(front.get(8..).unwrap_or_default());
    let section = subject.good("parsing a wrap section with its wrap", section)?;
    if section.stanzas().next() != Some(wrapped.as_wrap_ref()) {
        return fail("a wrap is another when it comes back from an envelope");
    }
    Ok(Verdict::Passed)
}

pub(super) async fn a_wrap_opens(subject: &Subject) -> Outcome {
    let context = context("round trip")?;
    let Some(opener) = subject.opener() else {
        return Ok(Verdict::Skipped(WRAPS_ONLY));
    };
    for purpose in [Purpose::Seal, Purpose::Open, Purpose::Rewrap, Purpose::Probe] {
        // Who asks and why is not what a wrap is bound to.
        let wrapping = Request::new(&context)
            .with_purpose(purpose)
            .with_actor("conformance");
        let (dek, wrapped) = subject.wrapped(&wrapping).await?;
        let request = Request::new(&context);
        subject.opens(opener, "a wrap", &wrapped, &request, &dek).await?;
        subject
            .opens(opener, "a wrap, again", &wrapped, &request, &dek)
            .await?;
        if subject.is_slow() {
            break;
        }
    }
    for bytes in [[0; 32], [0xff; 32]] {
        let dek = Dek::from_bytes(&bytes);
        let request = Request::new(&context);
        let wrapped = subject.wrap(&dek, &request).await?;
        subject
            .opens(opener, "a wrap of equal bytes", &wrapped, &request, &dek)
            .await?;
    }
    Ok(Verdict::Passed)
}

pub(super) async fn a_generated_dek_is_the_wrapped_one(subject: &Subject) -> Outcome {
    let Some(opener) = subject.opener() else {
        return Ok(Verdict::Skipped(WRAPS_ONLY));
    };
    let context = context("generate")?;
    let request = Request::new(&context);
    let (dek, wrapped) = subject.good("generating", subject.manager().generate(&request).await)?;
    if subject.manager().recognizes(wrapped.as_wrap_ref()).is_no() {
        return fail("it does not recognize the wrap that it generated");
    }
    subject
        .opens(opener, "a generated wrap", &wrapped, &request, &dek)
        .await?;
    Ok(Verdict::Passed)
}

pub(super) async fn generated_deks_are_unique(subject: &Subject) -> Outcome {
    let context = context("unique")?;
    let request = Request::new(&context);
    let mut seen: Vec<Dek> = vec![Dek::from_bytes(&[0; 32])];
    for _ in 0..subject.times(16, 3) {
        let (dek, _) = subject.good("generating", subject.manager().generate(&request).await)?;
        if seen.iter().any(|other| other.ct_eq(&dek)) {
            return fail("two generated DEKs are the same, or one is all zeros");
        }
        seen.push(dek);
    }
    Ok(Verdict::Passed)
}

pub(super) async fn wraps_are_randomized(subject: &Subject) -> Outcome {
    if subject.is_deterministic() {
        return Ok(Verdict::Skipped("the subject is declared to be deterministic"));
    }
    let context = context("randomized")?;
    let request = Request::new(&context);
    let dek = Dek::generate().map_err(own)?;
    let mut seen = Vec::new();
    for _ in 0..subject.times(8, 3) {
        let wrapped = subject.wrap(&dek, &request).await?;
        if seen.contains(&wrapped) {
            return fail("two wraps of one DEK are the same");
        }
        seen.push(wrapped);
    }
    Ok(Verdict::Passed)
}

pub(super) async fn no_wrap_shows_its_dek(subject: &Subject) -> Outcome {
    let context = context("hidden")?;
    let request = Request::new(&context);
    let (dek, wrapped) = subject.wrapped(&request).await?;
    let (made, generated) = subject.good("generating", subject.manager().generate(&request).await)?;
    for (dek, wrapped) in [(dek, wrapped), (made, generated)] {
        // A quarter of a DEK is enough to say that it is not by chance.
        let shows = |part: &[u8]| wrapped.wrapped().windows(part.len()).any(|bytes| bytes == part);
        if dek.expose_bytes().chunks(8).any(shows) {
            return fail("a wrap has bytes of its DEK in it");
        }
    }
    Ok(Verdict::Passed)
}

pub(super) async fn a_manager_that_only_wraps_refuses_to_unwrap(subject: &Subject) -> Outcome {
    if subject.capabilities().unwraps {
        return Ok(Verdict::Skipped("it unwraps"));
    }
    let context = context("wrap only")?;
    let request = Request::new(&context);
    let (_, wrapped) = subject.wrapped(&request).await?;
    let answer = subject.manager().unwrap(wrapped.as_wrap_ref(), &request).await;
    subject.refused("unwrapping with what only wraps", answer, |_| true)?;
    Ok(Verdict::Passed)
}

pub(super) async fn a_rewrap_keeps_dek_and_binding(subject: &Subject) -> Outcome {
    let Some(opener) = subject.opener() else {
        return Ok(Verdict::Skipped(WRAPS_ONLY));
    };
    let manager = subject.manager();
    let (here, elsewhere) = (context("rewrap")?, context("rewrap elsewhere")?);
    let request = Request::new(&here).with_purpose(Purpose::Rewrap);
    let (dek, wrapped) = subject.wrapped(&request).await?;
    let new = subject.good(
        "re-wrapping",
        manager.rewrap(wrapped.as_wrap_ref(), &request).await,
    )?;
    if !manager.capabilities().rewraps {
        return match new {
            None => Ok(Verdict::Skipped("it does not re-wrap")),
            Some(_) => fail("it re-wraps, and its capabilities say that it does not"),
        };
    }
    let Some(new) = new else {
        return fail("it does not re-wrap its own wrap, and its capabilities say that it does");
    };
    if manager.recognizes(new.as_wrap_ref()).is_no() {
        return fail("it does not recognize a wrap that it re-wrapped");
    }
    subject
        .opens(opener, "a re-wrapped wrap", &new, &request, &dek)
        .await?;
    subject
        .opens(opener, "a wrap after its re-wrap", &wrapped, &request, &dek)
        .await?;
    let moved = Request::new(&elsewhere).with_purpose(Purpose::Rewrap);
    subject
        .does_not_open(
            opener,
            "a re-wrapped wrap in another context",
            new.as_wrap_ref(),
            &moved,
        )
        .await?;
    // A backend that only looks at its own bytes may re-wrap here; what comes out still must not open.
    if let Ok(Some(stolen)) = manager.rewrap(wrapped.as_wrap_ref(), &moved).await {
        subject
            .does_not_open(
                opener,
                "a wrap re-wrapped in another context",
                stolen.as_wrap_ref(),
                &moved,
            )
            .await?;
    }
    let mut altered = wrapped.wrapped().to_vec();
    if let Some(last) = altered.last_mut() {
        *last ^= 1;
    }
    let altered = super::probe::with_bytes(&wrapped, &altered);
    if let Ok(Some(garbage)) = manager.rewrap(altered, &request).await {
        let answer = opener.unwrap(garbage.as_wrap_ref(), &request).await;
        subject.refused("an altered wrap that was re-wrapped", answer, |_| true)?;
    }
    let mut foreign = wrapped.as_wrap_ref();
    foreign.provider = "conformance-nobody";
    if let Ok(Some(_)) = manager.rewrap(foreign, &request).await {
        return fail("it re-wraps a stanza of another provider");
    }
    Ok(Verdict::Passed)
}

pub(super) async fn several_calls_at_once_do_not_mix(subject: &Subject) -> Outcome {
    let Some(opener) = subject.opener() else {
        return Ok(Verdict::Skipped(WRAPS_ONLY));
    };
    let count = subject.times(16, 4);
    let contexts = (0..count)
        .map(|i| context(&format!("at once {i}")))
        .collect::<Result<Vec<_>, _>>()?;
    let round_trips = contexts.iter().map(|context| {
        Box::pin(async move {
            let request = Request::new(context);
            let made = subject.manager().generate(&request).await;
            let (dek, wrapped) = subject.good("generating, several at once", made)?;
            subject
                .opens(opener, "one of several at once", &wrapped, &request, &dek)
                .await?;
            Ok(wrapped)
        }) as BoxFuture<'_, Finding<WrappedDek>>
    });
    let wraps: Vec<WrappedDek> = join(round_trips).await.into_iter().collect::<Finding<_>>()?;
    if wraps.len() != count {
        return fail("not every call at once was answered");
    }
    // Each is bound to its own context, and to nobody else's.
    for (wrapped, context) in wraps.iter().zip(contexts.iter().skip(1)) {
        let request = Request::new(context);
        subject
            .does_not_open(
                opener,
                "one of several, in another's context",
                wrapped.as_wrap_ref(),
                &request,
            )
            .await?;
    }
    Ok(Verdict::Passed)
}

pub(super) async fn a_call_may_be_dropped(subject: &Subject) -> Outcome {
    let context = context("dropped")?;
    let request = Request::new(&context);
    let (dek, wrapped) = subject.wrapped(&request).await?;
    let manager = subject.manager();
    for _ in 0..subject.times(4, 1) {
        poll_once_and_drop(manager.generate(&request));
        poll_once_and_drop(manager.wrap(&dek, &request));
        poll_once_and_drop(manager.rewrap(wrapped.as_wrap_ref(), &request));
        if let Some(opener) = subject.opener() {
            poll_once_and_drop(opener.unwrap(wrapped.as_wrap_ref(), &request));
        }
    }
    // Nothing is held that the next call needs, and after an error it is the same.
    let fresh = subject.wrap(&dek, &request).await?;
    let Some(opener) = subject.opener() else {
        return Ok(Verdict::Passed);
    };
    let foreign = Request::new(&context).with_binding([0x5a; 32]);
    subject
        .does_not_open(
            opener,
            "a wrap under another binding",
            fresh.as_wrap_ref(),
            &foreign,
        )
        .await?;
    subject
        .opens(opener, "a wrap after dropped calls", &fresh, &request, &dek)
        .await?;
    subject
        .opens(opener, "an earlier wrap", &wrapped, &request, &dek)
        .await?;
    Ok(Verdict::Passed)
}

pub(super) async fn nothing_printed_shows_secrets(subject: &Subject) -> Outcome {
    let context = context("printed")?;
    let request = Request::new(&context);
    let (dek, wrapped) = subject.good("generating", subject.manager().generate(&request).await)?;
    if let Some(opener) = subject.opener() {
        let opened = opener.unwrap(wrapped.as_wrap_ref(), &request).await;
        subject.good("unwrapping", opened)?;
    }
    for text in [
        format!("{:?}", subject.manager()),
        format!("{:#?}", subject.manager()),
    ] {
        subject.check_text("its Debug", &text)?;
        let digits: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
        let hex: String = dek
            .expose_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let decimal: String = dek.expose_bytes().iter().map(u8::to_string).collect();
        if digits.contains(&decimal) || digits.to_lowercase().contains(&hex) {
            return fail("its Debug shows a DEK that it was asked about");
        }
    }
    Ok(Verdict::Passed)
}
