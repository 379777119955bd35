//! Versions: what answers prove, and a manager that is pinned to one.

use std::sync::Arc;

use super::Subject;
use super::probe::{Finding, Outcome, Verdict, context, fail, names, own};
use crate::envelope::{KekRef, WrappedDek};
use crate::key::{KeyManager, Purpose, Request, Versions};
use crate::value::context::EncryptionContext;
use crate::value::error::ErrorKind;
use crate::value::secret::Dek;

/// What the capabilities declare about versions holds for every answer, also if the stanza hides its id.
pub(super) async fn answers_name_versions_as_declared(subject: &Subject) -> Outcome {
    let context = context("versions")?;
    let request = Request::new(&context);
    let (_, wrapped) = subject.wrapped(&request).await?;
    let (_, generated) = subject.good("generating", subject.manager().generate(&request).await)?;
    let declared = subject.capabilities().versions;
    for wrapped in [wrapped, generated] {
        if declared == Versions::None && !wrapped.kek().version().is_empty() {
            return fail(
                "its wraps name a version, and its capabilities declare none; see Capabilities::with_versions",
            );
        }
        let Some(opener) = subject.opener() else { continue };
        let hidden = wrapped.clone().with_hidden_id();
        for (what, stanza) in [("a wrap", &wrapped), ("a wrap with a hidden id", &hidden)] {
            let opened = opener.unwrap(stanza.as_wrap_ref(), &request).await;
            let kek = subject.good(&format!("unwrapping {what}"), opened)?.kek;
            let is_as_declared = match declared {
                Versions::None => kek.version().is_empty(),
                Versions::Unproven => true,
                Versions::Proven => kek == *wrapped.kek(),
            };
            if !is_as_declared {
                return fail(format!(
                    "its capabilities declare {declared:?} of versions, and {what} under {} was unwrapped by {kek}",
                    wrapped.kek()
                ));
            }
        }
    }
    Ok(Verdict::Passed)
}

/// Pinned to the KEK that wraps now, it wraps as before in every way of wrapping, and names the same.
pub(super) async fn a_pinned_manager_wraps_as_pinned(subject: &Subject) -> Outcome {
    let context = context("pinned")?;
    let request = Request::new(&context);
    let (dek, wrapped) = subject.wrapped(&request).await?;
    let Some(pinned) = pinned(subject, wrapped.kek())? else {
        return Ok(Verdict::Skipped("it cannot be pinned"));
    };
    let (plain, own) = (subject.capabilities(), pinned.capabilities());
    if (own.versions, own.algorithm, own.binds, own.class)
        != (plain.versions, plain.algorithm, plain.binds, plain.class)
    {
        return fail("what is pinned has another algorithm, or declares something else about versions");
    }
    if pinned.recognizes(wrapped.as_wrap_ref()).is_no() || pinned.provider() != subject.manager().provider() {
        return fail("what is pinned does not recognize a wrap under the KEK that it is pinned to");
    }
    subject.check_text("the Debug of what is pinned", &format!("{pinned:?}"))?;
    wraps_under(subject, &*pinned, wrapped.kek(), &context).await?;
    if subject.capabilities().unwraps {
        let what = "a wrap of the manager that is not pinned, unwrapped by the pinned one";
        subject.opens(&*pinned, what, &wrapped, &request, &dek).await?;
    }
    Ok(Verdict::Passed)
}

/// Pinned to an older version, it wraps under that version alone. Without, it wraps under another, and says of each wrap which
/// version unwrapped it.
pub(super) async fn a_pinned_older_version_wraps_and_is_named(subject: &Subject) -> Outcome {
    let Some(older) = &subject.older else {
        return Ok(Verdict::Skipped(
            "the subject has no older version of its KEK at hand",
        ));
    };
    if subject.capabilities().versions != Versions::Proven {
        return fail(
            "an older version is at hand, and its capabilities do not declare that answers prove versions",
        );
    }
    let Some(pinned) = pinned(subject, older)? else {
        return fail("it cannot be pinned to an older version of its KEK");
    };
    let context = context("an older version")?;
    let request = Request::new(&context);
    let (dek, newer) = subject.wrapped(&request).await?;
    if newer.kek() == older {
        return fail("the older version is the one that wraps");
    }
    wraps_under(subject, &*pinned, older, &context).await?;
    let old = subject.good("wrapping while pinned", pinned.wrap(&dek, &request).await)?;
    let openers = [Some(&*pinned), subject.opener()];
    for opener in openers
        .into_iter()
        .flatten()
        .filter(|opener| opener.capabilities().unwraps)
    {
        for wrapped in [&old, &newer] {
            let opened = opener.unwrap(wrapped.as_wrap_ref(), &request).await;
            let opened = subject.good("unwrapping", opened)?;
            if opened.kek != *wrapped.kek() || !opened.dek.ct_eq(&dek) {
                return fail(format!(
                    "a wrap under {} was unwrapped by {}, or to another DEK",
                    wrapped.kek(),
                    opened.kek
                ));
            }
        }
    }
    // To an older version, too.
    let rewrapping = Request::new(&context).with_purpose(Purpose::Rewrap);
    let again = subject.good(
        "re-wrapping while pinned",
        pinned.rewrap(newer.as_wrap_ref(), &rewrapping).await,
    )?;
    if let Some(again) = again {
        named(older, &again)?;
    }
    let now = subject.wrap(&dek, &request).await?;
    if now.kek() != newer.kek() {
        return fail(
            "the manager that is not pinned wraps under another version after the pinned one has wrapped",
        );
    }
    Ok(Verdict::Passed)
}

/// A KEK of somebody else, or a version that there is not, is refused: it is never replaced by what there is.
pub(super) async fn nothing_but_its_own_kek_can_be_pinned(subject: &Subject) -> Outcome {
    let context = context("pinning another's")?;
    let request = Request::new(&context);
    let (dek, wrapped) = subject.wrapped(&request).await?;
    if pinned(subject, wrapped.kek())?.is_none() {
        return Ok(Verdict::Skipped("it cannot be pinned"));
    }
    let kek = wrapped.kek();
    let make = |provider: &str, id: &str, version: &str| KekRef::new(provider, id, version).map_err(own);
    let mut foreign = vec![
        make("conformance-nobody", kek.id(), kek.version())?,
        make(kek.provider(), &format!("{}x", kek.id()), kek.version())?,
        make(kek.provider(), "conformance-nobody", kek.version())?,
    ];
    if let Some(other) = subject.other() {
        let theirs = subject.good("generating with the other", other.generate(&request).await)?;
        foreign.push(theirs.1.kek().clone());
    }
    for kek in &foreign {
        let refused = subject.manager().pinned_to(kek).map(drop);
        subject.refused(&format!("pinning it to {kek}"), refused, |_| true)?;
    }
    if subject.capabilities().versions == Versions::Unproven {
        return Ok(Verdict::Passed);
    }
    for version in ["99999999", "ffffffffffffffff", "../1", "latest", " "] {
        let missing = make(kek.provider(), kek.id(), version)?;
        let what = format!("wrapping under the version {version:?}, which there is not,");
        let made = match subject.manager().pinned_to(&missing) {
            Ok(pinned) => {
                let generated = pinned.generate(&request).await.map(drop);
                subject.refused(&what, generated, |_| true)?;
                if let Ok(Some(_)) = pinned.rewrap(wrapped.as_wrap_ref(), &request).await {
                    return fail(format!(
                        "it re-wraps to the version {version:?}, which there is not"
                    ));
                }
                pinned.wrap(&dek, &request).await.map(drop)
            }
            Err(error) => Err(error),
        };
        subject.refused(&what, made, |_| true)?;
    }
    Ok(Verdict::Passed)
}

/// The subject, pinned; `None` if it declares no versions that are proven, and cannot be pinned.
fn pinned(subject: &Subject, kek: &KekRef) -> Finding<Option<Arc<dyn KeyManager>>> {
    match subject.manager().pinned_to(kek) {
        Err(error)
            if matches!(error.kind(), ErrorKind::Unsupported { .. })
                && subject.capabilities().versions != Versions::Proven =>
        {
            Ok(None)
        }
        pinned => subject.good("pinning it to its own KEK", pinned).map(Some),
    }
}

/// Wraps in every way, and looks at what is named.
async fn wraps_under(
    subject: &Subject,
    pinned: &dyn KeyManager,
    kek: &KekRef,
    context: &EncryptionContext,
) -> Finding<()> {
    let request = Request::new(context);
    let dek = Dek::generate().map_err(own)?;
    let (made, generated) = subject.good("generating while pinned", pinned.generate(&request).await)?;
    let wrapped = subject.good("wrapping while pinned", pinned.wrap(&dek, &request).await)?;
    let mut wraps = vec![(&made, generated), (&dek, wrapped)];
    for wrapped in pinned.wrap_batch(&[(&dek, &request), (&dek, &request)]).await {
        wraps.push((&dek, subject.good("wrapping a batch while pinned", wrapped)?));
    }
    let rewrapping = Request::new(context).with_purpose(Purpose::Rewrap);
    let plain = subject.wrap(&dek, &request).await?;
    let single = pinned.rewrap(plain.as_wrap_ref(), &rewrapping).await;
    let mut rewrapped = vec![single];
    rewrapped.extend(pinned.rewrap_batch(&[(plain.as_wrap_ref(), &rewrapping)]).await);
    for new in rewrapped {
        if let Some(new) = subject.good("re-wrapping while pinned", new)? {
            wraps.push((&dek, new));
        }
    }
    for (dek, wrapped) in &wraps {
        if subject.capabilities().versions == Versions::Unproven {
            if !names(
                &KekRef::new(kek.provider(), kek.id(), "").map_err(own)?,
                wrapped.kek(),
            ) {
                return fail(format!("pinned to {kek}, it wrapped under {}", wrapped.kek()));
            }
        } else {
            named(kek, wrapped)?;
        }
        if let Some(opener) = subject.opener() {
            subject
                .opens(opener, "a wrap of a pinned manager", wrapped, &request, dek)
                .await?;
        }
    }
    Ok(())
}

fn named(kek: &KekRef, wrapped: &WrappedDek) -> Finding<()> {
    if wrapped.kek() == kek {
        return Ok(());
    }
    fail(format!("pinned to {kek}, it wrapped under {}", wrapped.kek()))
}
