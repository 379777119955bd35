//! Batches.

use reqwest::StatusCode;

use super::key::{Action, TransitKey};
use super::transit_key::data;
use super::wire::{self, Body, Ciphertext, Item, Items};
use crate::backend::shared::answer::invalid_answer;
use crate::envelope::{WrapRef, WrappedDek};
use crate::key::{KeyManager, Request, Unwrapped, not_recognized};
use crate::runtime::Monotonic;
use crate::value::error::{Error, Result};
use crate::value::secret::Dek;

impl TransitKey {
    pub(super) async fn try_wrap_batch(&self, items: &[(&Dek, &Request<'_>)]) -> Vec<Result<WrappedDek>> {
        let mut results = Vec::with_capacity(items.len());
        for part in items.chunks(self.0.batch()) {
            let bodies: Vec<Body> = part
                .iter()
                .map(|(dek, request)| self.encrypt_body(dek, request))
                .collect();
            let take = |_: usize, item: &Item<'_>| match item.failed() {
                true => Ok(None),
                false => self.wrapped_of(item).map(Some),
            };
            let requests = part.iter().map(|(_, request)| *request);
            let answers = self.run("encrypt", &bodies, requests, take).await;
            let refused = answers.iter().any(|answer| matches!(answer, Ok(None)));
            let deadline = self.earliest(part.iter().map(|(_, request)| *request));
            let info = match refused && self.0.pinned.is_some() {
                true => self.0.after_refusal(deadline).await.ok(),
                false => None,
            };
            results.extend(answers.into_iter().map(|answer| {
                match answer {
                    Ok(Some(wrapped)) => Ok(wrapped),
                    // The item has nothing from a caller that could be wrong.
                    Ok(None) => Err(info
                        .as_ref()
                        .and_then(|info| self.why_not_made(info))
                        .unwrap_or_else(|| invalid_answer("one item of a batch was refused"))),
                    Err(error) => Err(error),
                }
            }));
        }
        results
    }

    pub(super) async fn try_unwrap_batch(
        &self,
        items: &[(WrapRef<'_>, &Request<'_>)],
    ) -> Vec<Result<Unwrapped>> {
        self.stanzas(
            Action::Decrypt,
            items,
            |_| Err(None),
            |item, version, request| Ok(Unwrapped::new(self.dek_of(item, request)?, self.0.kek(version))),
        )
        .await
    }

    pub(super) async fn try_rewrap_batch(
        &self,
        items: &[(WrapRef<'_>, &Request<'_>)],
    ) -> Vec<Result<Option<WrappedDek>>> {
        self.stanzas(
            Action::Rewrap,
            items,
            |_| Ok(None),
            |item, version, _| self.rewrapped_of(item, version).map(Some),
        )
        .await
    }

    /// Decrypts or rewraps. Answers without a call for stanzas that are not recognized or not well formed.
    async fn stanzas<T>(
        &self,
        action: Action,
        items: &[(WrapRef<'_>, &Request<'_>)],
        foreign: impl Fn(&WrapRef<'_>) -> Result<T, Option<Error>>,
        take: impl Fn(&Item<'_>, u64, &Request<'_>) -> Result<T>,
    ) -> Vec<Result<T>> {
        let mut results: Vec<Option<Result<T>>> = Vec::with_capacity(items.len());
        let mut asked = Vec::with_capacity(items.len());
        for (index, (wrapped, request)) in items.iter().enumerate() {
            if self.recognizes(*wrapped).is_no() {
                let answer =
                    foreign(wrapped).map_err(|error| error.unwrap_or_else(|| not_recognized(wrapped)));
                results.push(Some(answer));
                continue;
            }
            match Ciphertext::of_stanza(wrapped, self.0.mode) {
                Ok(ciphertext) => {
                    results.push(None);
                    asked.push((index, ciphertext, *request));
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        for part in asked.chunks(self.0.batch()) {
            let bodies: Vec<Body> = part
                .iter()
                .map(|(_, ciphertext, request)| self.stanza_body(action, ciphertext, request))
                .collect();
            let answers = self
                .run(
                    action.path(),
                    &bodies,
                    part.iter().map(|(_, _, request)| *request),
                    |at, item| {
                        if item.failed() {
                            return Ok(None);
                        }
                        match part.get(at) {
                            Some((_, ciphertext, request)) => {
                                take(item, ciphertext.version, request).map(Some)
                            }
                            None => Err(invalid_answer("the batch has too many answers")),
                        }
                    },
                )
                .await;
            // One call finds out why they were refused.
            let refused = answers.iter().any(|answer| matches!(answer, Ok(None)));
            let deadline = self.earliest(part.iter().map(|(_, _, request)| *request));
            let info = if refused {
                Some(self.0.after_refusal(deadline).await)
            } else {
                None
            };
            for ((index, ciphertext, _), answer) in part.iter().zip(answers) {
                let answer = match (answer, &info) {
                    (Ok(Some(value)), _) => Ok(value),
                    (Ok(None), Some(Ok(info))) => Err(self.why(action, info, ciphertext.version)),
                    (Ok(None), Some(Err(error))) => Err(again(error)),
                    (Ok(None), None) => Err(Error::cannot_open()),
                    (Err(error), _) => Err(error),
                };
                if let Some(place) = results.get_mut(*index) {
                    *place = Some(answer);
                }
            }
        }
        let missing = || Err(invalid_answer("the batch has too few answers"));
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(missing))
            .collect()
    }

    /// Makes one call for `bodies`, at most as many as a batch may have, and returns one result for each.
    async fn run<'r, T>(
        &self,
        action: &str,
        bodies: &[Body],
        requests: impl Iterator<Item = &'r Request<'r>>,
        take: impl Fn(usize, &Item<'_>) -> Result<T>,
    ) -> Vec<Result<T>> {
        match self.call(action, bodies, self.earliest(requests), take).await {
            Ok(results) => results,
            Err(error) => {
                // The first item gets the whole error.
                let others: Vec<_> = bodies.iter().skip(1).map(|_| Err(again(&error))).collect();
                std::iter::once(Err(error)).chain(others).collect()
            }
        }
    }

    async fn call<T>(
        &self,
        action: &str,
        bodies: &[Body],
        deadline: Monotonic,
        take: impl Fn(usize, &Item<'_>) -> Result<T>,
    ) -> Result<Vec<Result<T>>> {
        self.0.check(deadline).await?;
        let mut answered = self.0.act(action, wire::batch(bodies), deadline).await?;
        // If an item is bad, the status is bad too, and the body still has the answers.
        let bad = answered.status == StatusCode::BAD_REQUEST;
        if bad {
            answered.status = StatusCode::OK;
        }
        let (items, warned) = match data::<Items<'_>>(&answered) {
            Ok(read) => read,
            Err(error) if bad => {
                // The error is not about one item, so it is about the key.
                let info = self.0.after_refusal(deadline).await?;
                return Err(self.why_not_made(&info).unwrap_or(error));
            }
            Err(error) => return Err(error),
        };
        self.heed(warned)?;
        if items.batch_results.len() != bodies.len() {
            return Err(invalid_answer(
                "a batch has another number of answers than of items",
            ));
        }
        let results = items.batch_results.iter().enumerate();
        Ok(results.map(|(at, item)| take(at, item)).collect())
    }

    fn earliest<'r>(&self, requests: impl Iterator<Item = &'r Request<'r>>) -> Monotonic {
        let none = self.0.client.deadline(None);
        requests
            .map(|request| self.0.client.deadline(Some(request)))
            .fold(none, Monotonic::min)
    }
}

/// Copies the error of a call, for each of its items.
fn again(error: &Error) -> Error {
    let copy = Error::new(error.kind()).with_retryable(error.is_retryable());
    match error.retry_after() {
        Some(after) => copy.with_retry_after(after),
        None => copy,
    }
    .with_detail("the whole batch failed")
}
