//! How much, how long, and what then.

use std::time::Duration;

/// How a [`Cached`](super::Cached) behaves. Change what should differ from the default:
///
/// ```
/// use std::time::Duration;
/// use waxseal::source::Caching;
///
/// let caching = Caching { open_age: Duration::from_secs(60), ..Caching::default() };
/// ```
///
/// If the `entries` or the `age` of a side are zero, it keeps nothing and asks the source each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caching {
    /// DEKs kept for opening. 1,000 by default: about 2 MB under short wraps, with the session keys
    /// of each; an entry also keeps its wraps, which may have 64 KiB.
    pub open_entries: usize,
    /// For how long a DEK may open, from when it was requested. A permission that was taken away is in use here for at most
    /// that long. (An answer that took nearly as long is used for a quarter of it.) 5 minutes by default, which is about the
    /// time until such a change has reached all of a cloud.
    pub open_age: Duration,
    /// DEKs kept for sealing: one for each context in use. 1,000 by default.
    pub seal_entries: usize,
    /// For how long a DEK seals. 5 minutes by default.
    pub seal_age: Duration,
    /// How many messages one-off seals make under one DEK before the cache asks for a new one. 2^20 by default: one session, so
    /// that nothing is derived twice. A [`DataKey`](crate::DataKey) that is handed out counts as one message, whatever it
    /// seals: it has its own bounds. 0 means 1.
    pub seal_messages: u64,
    /// How many plaintext bytes these messages have. 64 GiB by default, which bounds what one lost DEK can show. A single message
    /// may be longer.
    pub seal_bytes: u64,
    /// How long before its end the cache fetches an entry in use again, in the background, so that nobody waits and a
    /// permission that was taken away is noticed. The cache does it up to a quarter of that sooner, at random, so that entries of
    /// one age do not all ask at once. Zero means never; at most half the age counts. 1 minute by default.
    pub refresh_ahead: Duration,
    /// How long one request to the source may take, whoever waits for it. 30 seconds by default, which is longer than the
    /// retries of `Resilient` take.
    pub fetch: Duration,
    /// How long after its end an entry may still open if the key manager cannot be reached (`Unavailable`, `TimedOut`). Zero by
    /// default: not at all. A permission that was taken away may then be in use for `open_age` and this time, if somebody
    /// keeps the key manager from answering. Such an entry never seals.
    pub outage: Duration,
    /// How long after the end of its lease a stream that has begun may go on. 1 hour by default.
    pub stream_age: Duration,
    /// What happens to the leases that were handed out if the key manager refuses. They are revoked by default.
    pub on_denial: OnDenial,
    /// Whether requests of different actors share entries. By default they do not: a source may have a policy about actors.
    /// If none does, and a layer around the cache records who did what, sharing saves calls to the key manager.
    pub shares_actors: bool,
}

/// What happens to leases that were handed out if a refresh is refused because access was taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnDenial {
    /// They are revoked: handles and streams return `KeyRevoked` at their next call or chunk.
    #[default]
    Revoke,
    /// The cache drops the entry, and leases end when they would have ended: for jobs that should finish what they have begun.
    LetEnd,
}

impl Default for Caching {
    fn default() -> Self {
        Self {
            open_entries: 1000,
            open_age: Duration::from_secs(300),
            seal_entries: 1000,
            seal_age: Duration::from_secs(300),
            seal_messages: 1 << 20,
            seal_bytes: 1 << 36,
            refresh_ahead: Duration::from_secs(60),
            fetch: Duration::from_secs(30),
            outage: Duration::ZERO,
            stream_age: Duration::from_secs(3600),
            on_denial: OnDenial::Revoke,
            shares_actors: false,
        }
    }
}

/// An entry is handed out until this long before its lease ends, so that its caller can use it.
pub(super) fn margin(age: Duration) -> Duration {
    (age / 8).min(Duration::from_secs(1))
}
