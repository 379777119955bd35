//! Wraps open in their context only.

use super::Subject;
use super::probe::{CANARY, Finding, Outcome, Verdict, WRAPS_ONLY, context, own};
use crate::key::Request;
use crate::value::context::EncryptionContext;
use crate::value::limits;

/// Contexts at the edges of what a context may be.
fn edges() -> Finding<Vec<(&'static str, EncryptionContext)>> {
    let most = usize::try_from(limits::CONTEXT_PAIRS.max).unwrap_or(64);
    let longest = usize::try_from(limits::CONTEXT.max).unwrap_or(8_192);
    // Count, and both lengths of the one pair, and its key.
    let longest_value = "v".repeat(longest - 2 - 4 - 1);
    Ok(vec![
        ("the empty context", EncryptionContext::empty()),
        (
            "a context of 64 pairs",
            EncryptionContext::new((0..most).map(|i| (format!("key {i}"), CANARY))).map_err(own)?,
        ),
        (
            "a context of 8,192 bytes",
            EncryptionContext::new([("k", longest_value)]).map_err(own)?,
        ),
        (
            "a context that is not ASCII",
            EncryptionContext::new([("mandant", "Größe 東京 🔑"), ("\u{7f}\n\"\\", "\0'{}=&,;/")])
                .map_err(own)?,
        ),
        (
            "a context with an empty value",
            EncryptionContext::new([("conformance", "")]).map_err(own)?,
        ),
    ])
}

pub(super) async fn every_context_opens(subject: &Subject) -> Outcome {
    for (what, context) in edges()? {
        let request = Request::new(&context);
        let (dek, wrapped) = subject.wrapped(&request).await?;
        if let Some(opener) = subject.opener() {
            subject
                .opens(opener, &format!("a wrap in {what}"), &wrapped, &request, &dek)
                .await?;
        }
    }
    Ok(Verdict::Passed)
}

/// Pairs of contexts that a careless encoding takes for one another.
fn look_alikes() -> Finding<Vec<[EncryptionContext; 2]>> {
    let of = |pairs: &[(&str, &str)]| EncryptionContext::new(pairs.iter().copied()).map_err(own);
    Ok(vec![
        [of(&[("a", CANARY)])?, EncryptionContext::empty()],
        [of(&[("a", "1")])?, of(&[("a", "2")])?],
        [of(&[("a", "b")])?, of(&[("b", "a")])?],
        [of(&[("ab", "c")])?, of(&[("a", "bc")])?],
        [of(&[("a", "1")])?, of(&[("A", "1")])?],
        [of(&[("a", "1")])?, of(&[("a", "1 ")])?],
        [of(&[("a", "1")])?, of(&[("a", "1"), ("b", "2")])?],
        [of(&[("a", "1"), ("b", "2")])?, of(&[("a", "2"), ("b", "1")])?],
        [of(&[("a", "1"), ("b", "2")])?, of(&[("a", "1,b=2")])?],
        // The same letter composed and decomposed: nothing is normalized.
        [of(&[("a", "\u{e9}")])?, of(&[("a", "e\u{301}")])?],
    ])
}

pub(super) async fn another_context_does_not_open(subject: &Subject) -> Outcome {
    let Some(opener) = subject.opener() else {
        return Ok(Verdict::Skipped(WRAPS_ONLY));
    };
    for contexts in look_alikes()? {
        let [one, two] = &contexts;
        for (here, there) in [(one, two), (two, one)] {
            let (_, wrapped) = subject.wrapped(&Request::new(here)).await?;
            let request = Request::new(there);
            subject
                .does_not_open(
                    opener,
                    "a wrap in another context",
                    wrapped.as_wrap_ref(),
                    &request,
                )
                .await?;
        }
    }
    Ok(Verdict::Passed)
}

/// A share of a DEK is bound to more than its context: to 32 bytes that the caller gives.
pub(super) async fn another_binding_does_not_open(subject: &Subject) -> Outcome {
    let Some(opener) = subject.opener() else {
        return Ok(Verdict::Skipped(WRAPS_ONLY));
    };
    let context = context("binding")?;
    let plain = Request::new(&context);
    let bound = Request::new(&context).with_binding([0xa5; 32]);
    if subject.cannot_wrap_for(&bound).await? {
        let (_, wrapped) = subject.wrapped(&plain).await?;
        let what = "a wrap under another binding";
        subject
            .does_not_open(opener, what, wrapped.as_wrap_ref(), &bound)
            .await?;
        return Ok(Verdict::Skipped("it says that it binds to contexts only"));
    }
    let (dek, wrapped) = subject.wrapped(&bound).await?;
    subject
        .opens(
            opener,
            "a wrap under a binding of its own",
            &wrapped,
            &bound,
            &dek,
        )
        .await?;
    let mut near = [0xa5; 32];
    near[31] ^= 1;
    let mut far = [0xa5; 32];
    far[0] ^= 0x80;
    for request in [
        plain.clone(),
        bound.clone().with_binding(near),
        bound.with_binding(far),
    ] {
        subject
            .does_not_open(
                opener,
                "a wrap under another binding",
                wrapped.as_wrap_ref(),
                &request,
            )
            .await?;
    }
    let (_, wrapped) = subject.wrapped(&plain).await?;
    let other = plain.with_binding([0xa5; 32]);
    subject
        .does_not_open(
            opener,
            "a wrap under another binding",
            wrapped.as_wrap_ref(),
            &other,
        )
        .await?;
    Ok(Verdict::Passed)
}

pub(super) async fn swapped_wraps_do_not_open(subject: &Subject) -> Outcome {
    let Some(opener) = subject.opener() else {
        return Ok(Verdict::Skipped(WRAPS_ONLY));
    };
    let (one, two) = (context("one")?, context("two")?);
    let (one, two) = (Request::new(&one), Request::new(&two));
    let (_, first) = subject.good("generating", subject.manager().generate(&one).await)?;
    let (_, second) = subject.good("generating", subject.manager().generate(&two).await)?;
    for (wrapped, request) in [(&first, &two), (&second, &one)] {
        subject
            .does_not_open(
                opener,
                "a generated wrap, swapped",
                wrapped.as_wrap_ref(),
                request,
            )
            .await?;
    }
    Ok(Verdict::Passed)
}
