//! What the cache's state machine locks and counts with. A test puts those of a model checker in this place.

pub(super) use std::sync::Mutex;
pub(super) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
