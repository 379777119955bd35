//! What a manager may say of a stanza without asking, and what a re-wrap may do with what is not its own.

use super::Subject;
use super::probe::{Outcome, Verdict, WRAPS_ONLY, context, fail, with_bytes};
use crate::envelope::WrapRef;
use crate::key::{Purpose, Recognition, Request};

/// `Mine` is for an id that is unique in the world. A hidden id is nobody's, and that of a namesake is another's.
pub(super) async fn a_name_that_is_not_unique_is_not_claimed(subject: &Subject) -> Outcome {
    let context = context("recognition")?;
    let request = Request::new(&context);
    let (_, wrapped) = subject.wrapped(&request).await?;
    let hidden = wrapped.clone().with_hidden_id();
    for manager in std::iter::once(subject.manager()).chain(subject.opener()) {
        if manager.recognizes(hidden.as_wrap_ref()) == Recognition::Mine {
            return fail("it says Mine of a stanza with a hidden id, which may be anybody's");
        }
        if manager.recognizes(wrapped.as_wrap_ref()) != manager.recognizes(wrapped.as_wrap_ref()) {
            return fail("it says one thing of a stanza, and then another");
        }
        if manager.capabilities().class.is_none() {
            return fail("its capabilities say no class for its algorithm; see Capabilities::of_class");
        }
    }
    let Some(namesake) = &subject.namesake else {
        return Ok(Verdict::Passed);
    };
    let theirs = subject.good("generating with the namesake", namesake.generate(&request).await)?;
    let theirs = theirs.1;
    if theirs.kek().id() != wrapped.kek().id() {
        return fail("the namesake has another id than the subject");
    }
    if subject.manager().recognizes(theirs.as_wrap_ref()) == Recognition::Mine {
        return fail("it says Mine of a stanza of another KEK with the same id; a re-wrap would drop it");
    }
    if let Some(opener) = subject.opener() {
        let what = "a wrap of another KEK with the same id";
        subject
            .does_not_open(opener, what, theirs.as_wrap_ref(), &request)
            .await?;
    }
    Ok(Verdict::Passed)
}

/// An identity is that of one KEK at one place: two that share it would not both be asked. It is the same each time, and
/// tells no secret.
pub(super) async fn an_identity_is_of_one_kek(subject: &Subject) -> Outcome {
    let Some(identity) = subject.manager().identity() else {
        return Ok(Verdict::Skipped("the subject says no identity"));
    };
    let context = context("identity")?;
    let request = Request::new(&context);
    subject.wrapped(&request).await?;
    if subject.manager().identity().as_ref() != Some(&identity) {
        return fail("its identity is one thing, and another after a call");
    }
    subject.check_text("its identity", &identity)?;
    if subject.other().and_then(|other| other.identity()).as_ref() == Some(&identity) {
        return fail("another KEK has the same identity; only one of them would be asked");
    }
    let namesake = subject.namesake.as_ref();
    if namesake.and_then(|namesake| namesake.identity()).as_ref() == Some(&identity) {
        return fail("a KEK of the same id elsewhere has the same identity; only one of them would be asked");
    }
    Ok(Verdict::Passed)
}

/// Recognizing looks at names alone, and at any that an envelope may hold.
pub(super) async fn garbage_is_recognized_or_not_and_never_panics(subject: &Subject) -> Outcome {
    let context = context("garbage")?;
    let (_, wrapped) = subject.wrapped(&Request::new(&context)).await?;
    let own = wrapped.as_wrap_ref();
    let said = subject.manager().recognizes(own);
    for bytes in [&[][..], &[0], &[0xff; 16_384]] {
        if subject.manager().recognizes(with_bytes(&wrapped, bytes)) != said {
            return fail("whether it recognizes a stanza depends on the wrapped bytes");
        }
    }
    let long = "x".repeat(2_048);
    let texts = [
        "", ":", "/", "arn:::::", "https://", "\u{fffd}", "é", "a/../b", "%00", &long,
    ];
    for text in texts {
        let (mut id, mut version, mut provider): (WrapRef<'_>, _, _) = (own, own, own);
        id.kek_id = text;
        version.kek_version = text;
        provider.provider = text;
        // What it says is for other checks. That it says anything is this one's.
        for stanza in [id, version, provider] {
            let _ = subject.manager().recognizes(stanza);
        }
    }
    Ok(Verdict::Passed)
}

/// A destination that is shown another's wrap under a hidden id says `None`, or an error that is not retryable: then
/// the caller unwraps and wraps. What it does re-wrap holds the same DEK.
pub(super) async fn a_rewrap_of_a_foreign_wrap_leaves_the_way_to_unwrap_and_wrap(
    subject: &Subject,
) -> Outcome {
    let Some(other) = subject.other() else {
        return Ok(Verdict::Skipped(
            "the subject has no other KEK to be held against",
        ));
    };
    let Some(opener) = subject.opener() else {
        return Ok(Verdict::Skipped(WRAPS_ONLY));
    };
    let context = context("re-wrapping another's")?;
    let request = Request::new(&context).with_purpose(Purpose::Rewrap);
    let (dek, theirs) = subject.good("generating with the other", other.generate(&request).await)?;
    let hidden = theirs.with_hidden_id();
    match subject.manager().rewrap(hidden.as_wrap_ref(), &request).await {
        Ok(None) => {}
        Ok(Some(new)) => {
            let opened = opener.unwrap(new.as_wrap_ref(), &request).await;
            let opened = subject.good("unwrapping what it re-wrapped of another's", opened)?;
            if !opened.dek.ct_eq(&dek) {
                return fail("what it re-wrapped of another's holds another DEK");
            }
        }
        refused => subject.refused("re-wrapping another's wrap under a hidden id", refused, |_| true)?,
    }
    Ok(Verdict::Passed)
}
