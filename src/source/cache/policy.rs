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
/// A side whose `entries` or `age` are zero keeps nothing, and asks the source each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caching {
    /// DEKs kept for opening. 1,000 by default: about 2 MB under short wraps, with the session keys
    /// of each; an entry also keeps its wraps, which may have 64 KiB.
    pub open_entries: usize,
    /// For how long each may open, from when it was asked for: the longest that a permission which was taken away is
    /// still in use here. (An answer that took nearly as long as that is used for a quarter of it.) 5 minutes by default,
    /// about what it takes for such a change to reach every corner of a cloud.
    pub open_age: Duration,
    /// DEKs kept for sealing: one for each context in use. 1,000 by default.
    pub seal_entries: usize,
    /// For how long each seals. 5 minutes by default.
    pub seal_age: Duration,
    /// Messages that one-off seals make under one DEK; then a new one is asked for. 2^20 by default: one session, so
    /// that nothing is derived twice. A [`DataKey`](crate::DataKey) that is handed out counts as one, whatever it
    /// seals: it has bounds of its own. At least 1 is let through.
    pub seal_messages: u64,
    /// Plaintext bytes of those messages. 64 GiB by default, which bounds what one lost DEK can show. One message may
    /// be longer.
    pub seal_bytes: u64,
    /// How long before its end an entry that is in use is fetched again, in the background, so that nobody waits and a
    /// permission that was taken away is noticed; up to a quarter of that sooner, at random, so that entries of one age
    /// do not all ask at once. Zero for never; no more than half the age. 1 minute by default.
    pub refresh_ahead: Duration,
    /// How long one request to the source may take, for whoever waits for it. 30 seconds by default, longer than
    /// any retries of `Resilient`.
    pub fetch: Duration,
    /// How long after its end an entry may still open where the key manager cannot be reached (`Unavailable`,
    /// `TimedOut`). Zero, by default, for not at all. With it, a permission that was taken away may be in use for
    /// `open_age` and this, if the key manager is kept from answering. Nothing is ever sealed so.
    pub outage: Duration,
    /// How long after the end of its lease a stream that was begun may go on. 1 hour by default.
    pub stream_age: Duration,
    /// What becomes of what was handed out when the key manager says no. Revoked, by default.
    pub on_denial: OnDenial,
    /// Whether requests of different actors share entries. Not, by default: a source may have a policy about actors.
    /// Where none does, and who did what is recorded by a layer around this one, sharing asks the key manager less.
    pub shares_actors: bool,
}

/// What becomes of leases that were handed out, when a refresh is told that access was taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnDenial {
    /// They are revoked: handles and streams stop with `KeyRevoked` at their next call or chunk.
    #[default]
    Revoke,
    /// The entry goes, and leases end when they would have: for jobs that should end what they have begun.
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

/// An entry is handed out until this long before its lease ends, so that who gets it can use it.
pub(super) fn margin(age: Duration) -> Duration {
    (age / 8).min(Duration::from_secs(1))
}
