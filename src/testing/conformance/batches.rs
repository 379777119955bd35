//! Batches are single calls, in order, each on its own.

use super::Subject;
use super::probe::{
    Finding, Outcome, Verdict, WRAPS_ONLY, context, fail, is_about_the_bytes, own, with_bytes,
};
use crate::envelope::{WrapRef, WrappedDek};
use crate::key::Request;
use crate::value::context::EncryptionContext;
use crate::value::secret::Dek;

/// How many items a batch has here: enough for a middle, and no more than the manager takes. One without
/// batches takes any number, one after the other.
fn size(subject: &Subject) -> usize {
    match subject.capabilities().batch {
        1 => 5,
        most => most.min(7),
    }
}

fn contexts(subject: &Subject) -> Finding<Vec<EncryptionContext>> {
    (0..size(subject))
        .map(|i| context(&format!("item {i}")))
        .collect()
}

fn count<T>(what: &str, results: &[T], expected: usize) -> Finding<()> {
    if results.len() == expected {
        Ok(())
    } else {
        fail(format!(
            "{what} of {expected} items gave {} results",
            results.len()
        ))
    }
}

/// Wraps one DEK for each request, in single calls.
async fn singly(subject: &Subject, requests: &[Request<'_>]) -> Finding<Vec<(Dek, WrappedDek)>> {
    let mut items = Vec::with_capacity(requests.len());
    for request in requests {
        items.push(subject.wrapped(request).await?);
    }
    Ok(items)
}

pub(super) async fn a_batch_wraps_as_single_calls_do(subject: &Subject) -> Outcome {
    let contexts = contexts(subject)?;
    let requests: Vec<_> = contexts.iter().map(Request::new).collect();
    let deks = requests
        .iter()
        .map(|_| Dek::generate().map_err(own))
        .collect::<Finding<Vec<_>>>()?;
    let items: Vec<_> = deks.iter().zip(&requests).collect();
    let results = subject.manager().wrap_batch(&items).await;
    count("wrapping a batch", &results, items.len())?;
    for ((dek, request), result) in items.into_iter().zip(results) {
        let wrapped = subject.good("wrapping in a batch", result)?;
        if subject.manager().recognizes(wrapped.as_wrap_ref()).is_no() {
            return fail("it does not recognize a wrap of a batch");
        }
        if let Some(opener) = subject.opener() {
            subject
                .opens(opener, "a wrap of a batch", &wrapped, request, dek)
                .await?;
        }
    }
    Ok(Verdict::Passed)
}

pub(super) async fn a_batch_unwraps_as_single_calls_do(subject: &Subject) -> Outcome {
    let Some(opener) = subject.opener() else {
        return Ok(Verdict::Skipped(WRAPS_ONLY));
    };
    let contexts = contexts(subject)?;
    let requests: Vec<_> = contexts.iter().map(Request::new).collect();
    let wrapped = singly(subject, &requests).await?;
    let middle = wrapped.len() / 2;
    let Some((_, in_the_middle)) = wrapped.get(middle) else {
        return fail("the suite made an empty batch");
    };
    let mut altered = in_the_middle.wrapped().to_vec();
    if let Some(last) = altered.last_mut() {
        *last ^= 1;
    }
    let mut foreign = in_the_middle.as_wrap_ref();
    foreign.provider = "conformance-nobody";
    for bad in [None, Some(with_bytes(in_the_middle, &altered)), Some(foreign)] {
        let items: Vec<(WrapRef<'_>, &Request<'_>)> = wrapped
            .iter()
            .zip(&requests)
            .enumerate()
            .map(|(i, ((_, wrapped), request))| match bad.filter(|_| i == middle) {
                Some(bad) => (bad, request),
                None => (wrapped.as_wrap_ref(), request),
            })
            .collect();
        let results = opener.unwrap_batch(&items).await;
        count("unwrapping a batch", &results, items.len())?;
        for (i, (result, (dek, _))) in results.into_iter().zip(&wrapped).enumerate() {
            if bad.is_some() && i == middle {
                subject.refused("a bad item of a batch", result, |kind| {
                    is_about_the_bytes(kind) || kind == crate::ErrorKind::NoUsableKey
                })?;
                continue;
            }
            let what = match bad {
                Some(_) => "unwrapping in a batch with a bad item",
                None => "unwrapping in a batch",
            };
            if !subject.good(what, result)?.dek.ct_eq(dek) {
                return fail(format!(
                    "{what}: item {i} is another DEK; are the results in order?"
                ));
            }
        }
    }
    Ok(Verdict::Passed)
}

pub(super) async fn a_batch_rewraps_as_single_calls_do(subject: &Subject) -> Outcome {
    let contexts = contexts(subject)?;
    let requests: Vec<_> = contexts.iter().map(Request::new).collect();
    let wrapped = singly(subject, &requests).await?;
    let mut items: Vec<(WrapRef<'_>, &Request<'_>)> = wrapped
        .iter()
        .zip(&requests)
        .map(|((_, wrapped), request)| (wrapped.as_wrap_ref(), request))
        .collect();
    let middle = items.len() / 2;
    let foreign = items.len() > 2;
    if let Some((stanza, _)) = items.get_mut(middle).filter(|_| foreign) {
        stanza.provider = "conformance-nobody";
    }
    let results = subject.manager().rewrap_batch(&items).await;
    count("re-wrapping a batch", &results, items.len())?;
    for (i, (result, ((dek, _), request))) in
        results.into_iter().zip(wrapped.iter().zip(&requests)).enumerate()
    {
        if foreign && i == middle {
            match result {
                Ok(Some(_)) => return fail("a batch re-wraps a stanza of another provider"),
                Ok(None) => {}
                Err(error) => subject.refused::<()>("re-wrapping a foreign stanza", Err(error), |_| true)?,
            }
            continue;
        }
        let new = subject.good("re-wrapping in a batch", result)?;
        match (new, subject.opener()) {
            (Some(_), _) if !subject.capabilities().rewraps => {
                return fail("a batch re-wraps, and its capabilities say that it does not");
            }
            (None, _) if subject.capabilities().rewraps => {
                return fail("a batch does not re-wrap what a single call does");
            }
            (Some(new), Some(opener)) => {
                subject
                    .opens(opener, "a wrap re-wrapped in a batch", &new, request, dek)
                    .await?;
            }
            _ => {}
        }
    }
    Ok(Verdict::Passed)
}

pub(super) async fn an_empty_batch_is_empty(subject: &Subject) -> Outcome {
    let manager = subject.manager();
    count("wrapping a batch", &manager.wrap_batch(&[]).await, 0)?;
    count("unwrapping a batch", &manager.unwrap_batch(&[]).await, 0)?;
    count("re-wrapping a batch", &manager.rewrap_batch(&[]).await, 0)?;
    Ok(Verdict::Passed)
}
