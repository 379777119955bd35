//! Sources of DEKs: who wraps, with how many keys.

mod any_of;

pub use any_of::AnyOf;
