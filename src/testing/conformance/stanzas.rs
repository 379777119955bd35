//! What a stanza says of itself is a claim.

use super::Subject;
use super::probe::{Outcome, Verdict, WRAPS_ONLY, context, fail, names};
use crate::envelope::{WrapAlgorithm, WrapRef};
use crate::key::Request;
use crate::value::error::ErrorKind;

/// Names that nobody's KEK has. Some look like addresses, which are not to be visited.
const FOREIGN_IDS: [&str; 5] = [
    "conformance-nobody",
    "https://conformance.invalid/keys/1",
    "arn:aws:kms:eu-west-1:000000000000:key/00000000-0000-0000-0000-000000000000",
    "../conformance",
    "*",
];

/// Algorithm, provider or id of another: no work is done for such a stanza.
pub(super) async fn foreign_stanzas_are_not_recognized(subject: &Subject) -> Outcome {
    let context = context("foreign")?;
    let request = Request::new(&context);
    let (_, wrapped) = subject.wrapped(&request).await?;
    let own = wrapped.as_wrap_ref();
    let longer_id = format!("{}x", own.kek_id);
    let shorter_id = own
        .kek_id
        .char_indices()
        .next_back()
        .map(|(at, _)| own.kek_id.split_at(at).0);
    let longer_provider: String = format!("x{}", own.provider).chars().take(32).collect();

    let mut foreign: Vec<(&str, WrapRef<'_>)> = Vec::new();
    for id in (0..=255)
        .map(WrapAlgorithm::from_id)
        .filter(|id| *id != own.algorithm)
    {
        let mut stanza = own;
        stanza.algorithm = id;
        foreign.push(("another algorithm", stanza));
        // With the id hidden, the algorithm alone has to tell.
        stanza.kek_id = "";
        foreign.push(("another algorithm and a hidden id", stanza));
    }
    for provider in ["conformance-nobody", &longer_provider] {
        let mut stanza = own;
        stanza.provider = provider;
        foreign.push(("another provider", stanza));
        stanza.kek_id = "";
        foreign.push(("another provider and a hidden id", stanza));
    }
    let ids = FOREIGN_IDS.into_iter().chain([longer_id.as_str()]);
    // An id of one character has none before it: that would be a hidden id.
    for id in ids.chain(shorter_id.filter(|id| !id.is_empty())) {
        let mut stanza = own;
        stanza.kek_id = id;
        foreign.push(("another KEK id", stanza));
    }
    let managers = std::iter::once(subject.manager()).chain(subject.opener());
    for manager in managers {
        for (what, stanza) in &foreign {
            if !manager.recognizes(*stanza).is_no() {
                return fail(format!("it recognizes a stanza with {what}: {stanza:?}"));
            }
            if manager.capabilities().unwraps {
                let answer = manager.unwrap(*stanza, &request).await;
                let what = format!("unwrapping a stanza with {what}");
                subject.refused(&what, answer, |kind| kind == ErrorKind::NoUsableKey)?;
            }
        }
    }
    Ok(Verdict::Passed)
}

/// Version and share index may be wrong. They may make it refuse, and never give another DEK.
pub(super) async fn names_in_a_stanza_are_not_followed(subject: &Subject) -> Outcome {
    let Some(opener) = subject.opener() else {
        return Ok(Verdict::Skipped(WRAPS_ONLY));
    };
    let context = context("claims")?;
    let request = Request::new(&context);
    let (dek, wrapped) = subject.wrapped(&request).await?;
    let own = wrapped.as_wrap_ref();
    let versions = [
        "",
        "0",
        "1",
        "2",
        "99999999999999999999",
        "https://conformance.invalid/",
    ];
    let mut claims: Vec<WrapRef<'_>> = Vec::new();
    for version in versions {
        let mut stanza = own;
        stanza.kek_version = version;
        claims.push(stanza);
    }
    for share_index in [1, 255] {
        let mut stanza = own;
        stanza.share_index = share_index;
        claims.push(stanza);
    }
    for stanza in claims {
        if let Ok(opened) = opener.unwrap(stanza, &request).await
            && (!opened.dek.ct_eq(&dek) || !names(&opened.kek, wrapped.kek()))
        {
            return fail(format!(
                "a stanza that claims something else gave another DEK, or named another KEK: {stanza:?}"
            ));
        }
    }
    subject
        .opens(opener, "the stanza as it was", &wrapped, &request, &dek)
        .await?;
    Ok(Verdict::Passed)
}

pub(super) async fn a_hidden_id_opens(subject: &Subject) -> Outcome {
    let context = context("hidden id")?;
    let request = Request::new(&context);
    let (dek, wrapped) = subject.wrapped(&request).await?;
    let hidden = wrapped.with_hidden_id();
    if subject.manager().recognizes(hidden.as_wrap_ref()).is_no() {
        return fail("it does not recognize its own wrap without the id");
    }
    if let Some(opener) = subject.opener() {
        subject
            .opens(opener, "a wrap without the id", &hidden, &request, &dek)
            .await?;
    }
    Ok(Verdict::Passed)
}

/// Two KEKs of one provider: neither opens what the other has wrapped, whatever the stanza says.
pub(super) async fn another_kek_does_not_open(subject: &Subject) -> Outcome {
    let Some(other) = subject.other() else {
        return Ok(Verdict::Skipped(
            "the subject has no other KEK to be held against",
        ));
    };
    let Some(opener) = subject.opener() else {
        return Ok(Verdict::Skipped(WRAPS_ONLY));
    };
    let context = context("other KEK")?;
    let request = Request::new(&context);
    let (_, mine) = subject.wrapped(&request).await?;
    let (_, theirs) = subject.good("generating with the other", other.generate(&request).await)?;
    if mine.kek().id() == theirs.kek().id() {
        return fail("the other KEK has the same id, so a stanza does not tell which it is under");
    }
    for (manager, foreign, own) in [(opener, &theirs, &mine), (other, &mine, &theirs)] {
        if !manager.capabilities().unwraps {
            continue;
        }
        let stanza = foreign.as_wrap_ref();
        if !manager.recognizes(stanza).is_no() {
            return fail("it recognizes a stanza of the other KEK");
        }
        let answer = manager.unwrap(stanza, &request).await;
        subject.refused("a stanza of the other KEK", answer, |kind| {
            kind == ErrorKind::NoUsableKey
        })?;
        if foreign.algorithm() != own.algorithm() || foreign.kek().provider() != own.kek().provider() {
            continue;
        }
        let mut claimed = stanza;
        claimed.kek_id = own.kek().id();
        claimed.kek_version = own.kek().version();
        let mut hidden = stanza;
        hidden.kek_id = "";
        hidden.kek_version = "";
        for (what, stanza) in [
            ("a wrap of the other KEK that claims to be its own", claimed),
            ("a wrap of the other KEK with a hidden id", hidden),
        ] {
            subject.does_not_open(manager, what, stanza, &request).await?;
        }
    }
    Ok(Verdict::Passed)
}
