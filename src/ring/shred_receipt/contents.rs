//! What a receipt of a shredding says, made of what the ring knows.

use std::sync::Arc;

use super::{ParentCopy, ShredCount, ShredKey, ShredStage, Unreached};
use crate::ring::evidence::{NamedKek, VerifiedReceipt};
use crate::ring::record::{BRANCH, KeyRecord, Tombstone};
use crate::ring::view::View;
use crate::ring::{RecordId, Scope, State, Time};

/// The provider of local keys.
const LOCAL: &str = "local";

pub(super) fn key_of(view: &View, key: &KeyRecord, censuses: &[VerifiedReceipt<'_>]) -> ShredKey {
    let kek = &key.provenance;
    let destroyed = key.history.last().filter(|_| key.state == State::Destroyed);
    let counted = censuses.iter().map(|census| {
        let found = census.finds(key);
        ShredCount {
            census: census.receipt().digest().to_owned(),
            started: census.receipt().started(),
            items: found.items,
            sole: found.sole,
            unknown: found.unknown,
        }
    });
    ShredKey {
        key: key.id,
        slot: key.slot.clone(),
        kek: NamedKek::new(&kek.provider, &kek.id, &kek.version),
        protection: key.protection,
        state: key.state,
        taken_back: key.taken_back,
        told: key.destruction_told || key.destroyed.is_some(),
        destruction_due: key.destruction_due,
        destroyed: key.destroyed,
        how: destroyed.map(|made| format!("{}, by {}", made.reason, made.actor)),
        counted: counted.collect(),
        copies: copies_of(view, key),
    }
}

/// Under what copies of a branch key are in backups of the inventory.
fn copies_of(view: &View, key: &KeyRecord) -> Vec<ParentCopy> {
    let parents = key.branch.iter().flat_map(crate::ring::record::Branch::parents);
    let of_ring = parents.filter_map(|parent| view.key(parent.parent));
    let copy = |parent: &Arc<KeyRecord>| {
        let kek = &parent.provenance;
        ParentCopy {
            parent: parent.id,
            scope: parent.scope.clone(),
            kek: NamedKek::new(&kek.provider, &kek.id, &kek.version),
            state: parent.state,
            opens: parent.state != State::Destroyed,
        }
    };
    of_ring.map(copy).collect()
}

pub(super) fn stage_of(keys: &[ShredKey]) -> ShredStage {
    let is_gone = |key: &ShredKey| key.state == State::Destroyed;
    let is_begun = |key: &ShredKey| key.state == State::Destroying || is_gone(key) && !key.taken_back;
    match (keys.iter().all(is_gone), keys.iter().any(is_begun)) {
        (true, _) => ShredStage::Destroyed,
        (false, true) => ShredStage::Destroying,
        (false, false) => ShredStage::Pending,
    }
}

/// What is left, by what the ring knows.
pub(super) fn unreached(view: &View, tombstone: &Tombstone, keys: &[ShredKey]) -> Vec<Unreached> {
    let mut all = Vec::new();
    let mut add = |what: &str, keys: Vec<RecordId>, until: Option<Time>, detail: String| {
        all.push(Unreached {
            what: what.to_owned(),
            keys,
            until,
            detail,
        });
    };
    let ids = |is_meant: &dyn Fn(&ShredKey) -> bool| -> Vec<RecordId> {
        keys.iter()
            .filter(|key| is_meant(key))
            .map(|key| key.key)
            .collect()
    };
    let settings = view.settings();
    let stale = settings
        .max_stale_open
        .at_most()
        .saturating_add(settings.commit_time());
    let until = settings
        .quiet_after(tombstone.at, tombstone.in_ring_since)
        .max(tombstone.at.saturating_add(stale));
    add(
        "processes",
        Vec::new(),
        Some(until),
        format!(
            "a process that could not read the ring since {} may have gone on with data keys that it held, until {until} at the latest",
            tombstone.at
        ),
    );
    // Of a branch key, the parents say it.
    let kept = ids(&|key| key.state != State::Destroyed && key.kek.provider != BRANCH);
    if !kept.is_empty() {
        add(
            "inventory-backups",
            kept,
            None,
            "the KEKs of these keys are not known to be gone: whoever restores an inventory from before, or has the use of the KEK, opens what is under it"
                .to_owned(),
        );
    }
    for key in keys {
        let open: Vec<_> = key.copies.iter().filter(|copy| copy.opens).collect();
        for copy in &open {
            add(
                "inventory-backups",
                vec![key.key],
                None,
                format!(
                    "a backup of the inventory from before has a copy of this key under the key {} of scope {}, which is {}: whoever has such a backup and the \
                     use of {} has the key, until that one is destroyed",
                    copy.parent, copy.scope, copy.state, copy.kek
                ),
            );
        }
    }
    let files = ids(&|key| key.kek.provider == LOCAL);
    if !files.is_empty() {
        add(
            "key-files",
            files,
            None,
            "the ring does not erase key files, and knows nothing of copies and backups of them: whoever has one opens what is under it".to_owned(),
        );
    }
    let at_backends = ids(&|key| key.kek.provider != LOCAL && key.kek.provider != BRANCH && !key.taken_back);
    if !at_backends.is_empty() {
        let due = keys
            .iter()
            .filter(|key| key.told && key.state == State::Destroying);
        add(
            "backends",
            at_backends,
            due.filter_map(|key| key.destruction_due).max(),
            "until a backend has destroyed a KEK, whoever administers it can save it there; and the ring knows nothing of copies that a backend keeps by itself \
             (backups, exports, replicas)"
                .to_owned(),
        );
    }
    let untouched = ids(&|key| key.taken_back && key.kek.provider != BRANCH);
    if !untouched.is_empty() {
        add(
            "backends",
            untouched,
            None,
            "these keys never wrapped anything, and their KEKs were not touched: they are at their backends"
                .to_owned(),
        );
    }
    let is_shared = |key: &ShredKey| key.counted.iter().any(|count| count.items > count.sole);
    let shared = ids(&is_shared);
    if !shared.is_empty() {
        let items = keys.iter().flat_map(|key| &key.counted);
        let items = items.map(|count| count.items.saturating_sub(count.sole)).max();
        add(
            "other-wraps",
            shared,
            None,
            format!(
                "a census found up to {} envelopes under one of these keys that had another wrap, too: what another key opens, opens",
                items.unwrap_or(0)
            ),
        );
    }
    let wider: Vec<&str> = settings.otherwise.iter().map(Scope::as_str).collect();
    if !wider.is_empty() {
        add(
            "wider-scope",
            Vec::new(),
            None,
            format!(
                "the settings let the keys of a wider scope ({}) serve contexts whose own scope has no key yet: what was sealed so for this scope, before it had a \
                 key, is not under its keys, and whoever has the use of those keys opens it",
                wider.join(", ")
            ),
        );
    }
    add(
        "plaintext",
        Vec::new(),
        None,
        "whoever has opened something before may have kept it; so may logs, exports and caches of programs"
            .to_owned(),
    );
    all
}
