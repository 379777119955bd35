//! Scopes by what is in them.

use super::sample::{change, id, key, scope, scopes, time};
use super::{Outcome, PASSED, Subject, same};
use crate::envelope::KekRef;
use crate::ring::State;
use crate::testing::conformance::probe::own;

pub(super) async fn a_scope_is_found_by_id(subject: &Subject) -> Outcome {
    let (one, other) = subject.open().await?;
    let rows = vec![key(1, "a", State::Active)?, key(2, "b", State::Destroyed)?];
    subject.good("a change", one.commit(&change(0, rows)).await)?;
    for (number, expected) in [(1, Some("a")), (2, Some("b")), (3, None)] {
        let found = subject.good("scope_of", other.scope_of(id(number)?).await)?;
        same(
            "the scope of an id",
            &found.as_ref().map(crate::ring::Scope::as_str),
            &expected,
        )?;
    }
    PASSED
}

pub(super) async fn scopes_are_found_by_kek(subject: &Subject) -> Outcome {
    let (one, other) = subject.open().await?;
    let keks = [
        ("b", "aws-kms", "key/1", "1"),
        ("a", "aws-kms", "key/1", "2"),
        ("c", "aws-kms", "key/1", ""),
        ("d", "aws-kms", "key/10", "1"),
        ("e", "aws-kms", "KEY/1", "1"),
        ("f", "vault-transit", "key/1", "1"),
    ];
    let mut rows = Vec::new();
    for (number, (of, provider, id, version)) in (1..).zip(keks) {
        for (number, state) in [(10 * number, State::Active), (10 * number + 1, State::Deprecated)] {
            let mut row = key(number, of, state)?;
            row.kek = Some(KekRef::new(provider, id, version).map_err(own)?);
            rows.push(row);
        }
    }
    subject.good("a change", one.commit(&change(0, rows)).await)?;
    for (provider, kek, limit, expected) in [
        ("aws-kms", "key/1", 9, &["a", "b", "c"][..]),
        ("aws-kms", "key/1", 2, &["a", "b"]),
        ("aws-kms", "key/1", 0, &[]),
        ("aws-kms", "key/10", 9, &["d"]),
        ("vault-transit", "key/1", u32::MAX, &["f"]),
        ("vault", "key/1", 9, &[]),
        ("aws-kms", "key", 9, &[]),
    ] {
        let found = subject.good("scopes_of_kek", other.scopes_of_kek(provider, kek, limit).await)?;
        same(
            &format!("the scopes of {provider} {kek}"),
            &found,
            &scopes(expected)?,
        )?;
    }
    PASSED
}

pub(super) async fn scopes_are_listed_in_order(subject: &Subject) -> Outcome {
    let (one, other) = subject.open().await?;
    // In the order of their bytes, which is that of no language.
    let names = [
        "/", "A", "A/b", "B", "_", "a", "a b", "a!", "a-b", "a/b", "a/c", "a0", "aa", "b", "é", "🦀",
    ];
    let mut rows = Vec::new();
    for (number, name) in (1..).zip(names.iter().rev()) {
        rows.push(key(10 * number, name, State::Active)?);
        rows.push(key(10 * number + 1, name, State::Retired)?);
    }
    subject.good("a change", one.commit(&change(0, rows)).await)?;
    let expected = scopes(&names)?;
    let all = subject.good("scopes_after", other.scopes_after(None, 100).await)?;
    same("all scopes", &all, &expected)?;
    let mut paged = Vec::new();
    loop {
        let page = subject.good("scopes_after", other.scopes_after(paged.last(), 3).await)?;
        if page.is_empty() {
            break;
        }
        if page.len() > 3 || paged.len() > names.len() {
            return Err("scopes_after returns more than its limit, or what it returned before".to_owned());
        }
        paged.extend(page);
    }
    same("all scopes, three at a time", &paged, &expected)?;
    let after = subject.good("scopes_after", other.scopes_after(Some(&scope("a.")?), 2).await)?;
    same(
        "the scopes after one that does not exist",
        &after,
        &scopes(&["a/b", "a/c"])?,
    )?;
    PASSED
}

pub(super) async fn what_is_due_is_found(subject: &Subject) -> Outcome {
    let (one, other) = subject.open().await?;
    let mut rows = Vec::new();
    for (number, (of, due)) in (1..).zip([
        ("a", Some(300)),
        ("b", Some(100)),
        ("c", Some(200)),
        ("c", Some(50)),
        ("c", None),
        ("d", None),
        ("e", Some(-100)),
        ("f", Some(100)),
    ]) {
        let mut row = key(number, of, State::Retired)?;
        row.due = due.map(time).transpose()?;
        rows.push(row);
    }
    subject.good("a change", one.commit(&change(0, rows.clone())).await)?;
    for (by, limit, expected) in [
        (1_000, 9, &["e", "c", "b", "f", "a"][..]),
        (300, 9, &["e", "c", "b", "f", "a"]),
        (299, 9, &["e", "c", "b", "f"]),
        (100, 2, &["e", "c"]),
        (49, 9, &["e"]),
        (-101, 9, &[]),
    ] {
        let found = subject.good("scopes_due", other.scopes_due(time(by)?, limit).await)?;
        same(&format!("the scopes due by {by}"), &found, &scopes(expected)?)?;
    }
    let next = subject.good("next_due", other.next_due().await)?;
    same("what is due next", &next, &Some(time(-100)?))?;
    let settled = rows.into_iter().map(|mut row| {
        row.due = None;
        row
    });
    subject.good("a change", one.commit(&change(1, settled.collect())).await)?;
    same(
        "what is due next",
        &subject.good("next_due", other.next_due().await)?,
        &None,
    )?;
    let mut waiting = Vec::new();
    for (number, of) in (1..).zip(["a", "c", "e"]) {
        waiting.push(key(100 + number, of, State::Pending)?);
    }
    subject.good("a change", one.commit(&change(2, waiting)).await)?;
    for (after, limit, expected) in [
        (None, 9, &["a", "c", "e"][..]),
        (Some("a"), 1, &["c"]),
        (Some("e"), 9, &[]),
    ] {
        let after = after.map(scope).transpose()?;
        let found = subject.good(
            "scopes_pending",
            other.scopes_pending(after.as_ref(), limit).await,
        )?;
        same("the scopes with a pending key", &found, &scopes(expected)?)?;
    }
    PASSED
}
