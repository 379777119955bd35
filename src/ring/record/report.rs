//! What a reader signs of a heartbeat, and which readers the settings name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BASE, READER, invalid, needs_newer, of_body, to_body};
use crate::ring::authority::{Authority, AuthorityKey};
use crate::ring::inventory::{Heartbeat, check_reader};
use crate::ring::{RecordId, Scope, Time};
use crate::value::error::{Error, Result};

/// The kind of what is signed.
const HEARTBEAT: &str = "heartbeat";

/// A reader that has to report before a promotion: a name, the public key with which it signs its reports, and which scopes it
/// serves. As text `NAME[=PUBLIC-KEY][,SCOPE]…`.
///
/// Without a key, anybody who may write heartbeats can report in its name: that is a net for mistakes, and not for malice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NamedReader {
    /// The name in its heartbeats, without `=` and `,`.
    pub name: String,
    /// The key that signs its heartbeats. One that it has not signed does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<AuthorityKey>,
    /// The scopes that it serves, with those below them. Empty: all. It need not report on a key of another scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Scope>,
}

impl NamedReader {
    /// A reader of all scopes, which signs nothing.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            key: None,
            scopes: Vec::new(),
        }
    }

    /// Counts only what this key has signed.
    #[must_use]
    pub fn with_key(mut self, key: AuthorityKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Waits for it only with keys of these scopes, and of those below them.
    #[must_use]
    pub fn with_scopes(mut self, scopes: impl IntoIterator<Item = Scope>) -> Self {
        self.scopes = scopes.into_iter().collect();
        self
    }

    /// Returns whether it serves a scope.
    #[must_use]
    pub fn serves(&self, scope: &Scope) -> bool {
        self.scopes.is_empty() || self.scopes.iter().any(|own| own.covers(scope))
    }

    pub(crate) fn is_good(&self) -> bool {
        check_reader(&self.name).is_ok() && !self.name.contains(['=', ','])
    }
}

impl FromStr for NamedReader {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default();
        let (name, key) = match first.split_once('=') {
            Some((name, key)) => (name, Some(key.parse()?)),
            None => (first, None),
        };
        let reader = Self {
            name: name.to_owned(),
            key,
            scopes: parts.map(str::parse).collect::<Result<_>>()?,
        };
        match reader.is_good() {
            true => Ok(reader),
            false => Err(Error::argument(
                "a reader is NAME[=PUBLIC-KEY][,SCOPE]…, its name of 1 to 255 bytes without control characters",
            )),
        }
    }
}

impl fmt::Display for NamedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(key) = self.key {
            write!(f, "={key}")?;
        }
        self.scopes.iter().try_for_each(|scope| write!(f, ",{scope}"))
    }
}

/// A heartbeat, as the key of a reader signs it.
#[derive(Serialize, Deserialize)]
struct Report {
    min_reader: u32,
    ring: RecordId,
    reader: String,
    process: String,
    revision: u64,
    probed: Vec<RecordId>,
    failed: Vec<RecordId>,
    /// When, by the clock of the reader's machine: an inventory cannot move it.
    at: Time,
}

impl Heartbeat {
    /// Signs it for this ring, at this time.
    pub(crate) fn sign(self, ring: RecordId, key: &Authority, at: Time) -> Result<Self> {
        let report = Report {
            min_reader: BASE,
            ring,
            reader: self.reader.clone(),
            process: self.process.clone(),
            revision: self.revision,
            probed: self.probed.clone(),
            failed: self.failed.clone(),
            at,
        };
        let signed = key.sign(ring, HEARTBEAT, to_body(&report)?)?;
        Ok(self.with_signed(Some(signed)))
    }

    /// Refuses what this key has not signed for this ring no longer than `fresh` before `now`, by clocks that may be `tolerance` apart.
    pub(crate) fn verify(
        &self,
        ring: RecordId,
        key: &AuthorityKey,
        now: Time,
        fresh: Duration,
        tolerance: Duration,
    ) -> Result<()> {
        let signed = self
            .signed
            .as_ref()
            .ok_or_else(|| invalid("it is not signed by the reader's key"))?;
        key.verify(ring, HEARTBEAT, signed)
            .map_err(|_| invalid("it is not signed by the reader's key"))?;
        let report: Report = of_body(&signed.body)?;
        if report.min_reader > READER {
            return Err(needs_newer(report.min_reader));
        }
        let columns = (&self.reader, &self.process, self.revision);
        let lists = (&self.probed, &self.failed);
        if report.ring != ring
            || (&report.reader, &report.process, report.revision) != columns
            || (&report.probed, &report.failed) != lists
        {
            return Err(invalid("a column is not a copy of what was signed"));
        }
        if now.since(report.at) > fresh.saturating_add(tolerance) || report.at.since(now) > tolerance {
            return Err(invalid(format!(
                "it was signed at {}, and it is {now}: it is old, or a clock is wrong",
                report.at
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::error::ErrorKind;

    const FRESH: Duration = Duration::from_secs(300);
    const TOLERANCE: Duration = Duration::from_secs(60);

    fn time(text: &str) -> Time {
        text.parse().unwrap()
    }

    #[test]
    fn only_what_the_readers_key_signed_of_this_ring_and_time_counts() {
        let now = time("2026-01-01T00:00:00Z");
        let (ring, id) = (RecordId::new(now).unwrap(), RecordId::new(now).unwrap());
        let (key, other) = (Authority::generate().unwrap(), Authority::generate().unwrap());
        let plain = Heartbeat::new("web".to_owned(), "1".to_owned(), 7, vec![id]);
        let good = plain.clone().sign(ring, &key, now).unwrap();
        good.check().unwrap();
        let verify = |beat: &Heartbeat, now| beat.verify(ring, &key.public(), now, FRESH, TOLERANCE);
        verify(&good, now).unwrap();
        for edge in ["2026-01-01T00:06:00Z", "2025-12-31T23:59:00Z"] {
            verify(&good, time(edge)).unwrap();
        }
        let changed = |change: fn(&mut Heartbeat)| {
            let mut beat = good.clone();
            change(&mut beat);
            beat
        };
        let more = {
            let mut beat = good.clone();
            beat.probed.push(RecordId::new(now).unwrap());
            beat
        };
        let bad = [
            plain.clone(),
            plain.clone().sign(ring, &other, now).unwrap(),
            plain.clone().sign(id, &key, now).unwrap(),
            changed(|beat| beat.reader.push('x')),
            changed(|beat| beat.process.push('x')),
            changed(|beat| beat.revision += 1),
            changed(|beat| beat.probed.clear()),
            changed(|beat| beat.failed = beat.probed.clone()),
            changed(|beat| beat.signed.as_mut().unwrap().body.push(b' ')),
            changed(|beat| beat.signed.as_mut().unwrap().signature[9] ^= 1),
            more,
        ];
        for beat in bad {
            let error = verify(&beat, now).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InventoryInvalid, "{beat:?}");
        }
        for old in ["2026-01-01T00:06:01Z", "2025-12-31T23:58:59Z"] {
            let error = verify(&good, time(old)).unwrap_err();
            assert!(error.to_string().contains("clock"), "{error}");
        }
    }

    #[test]
    fn a_named_reader_has_one_text() {
        let key = Authority::from_seed(&[7; 32]).public();
        let all = format!("web={key},tenant/a,/");
        for text in ["web", "a b", "web,tenant", &format!("web={key}"), &all] {
            let reader: NamedReader = text.parse().unwrap();
            assert_eq!(reader.to_string(), text);
        }
        for bad in [
            "",
            "=",
            ",/",
            "web=",
            "web=x",
            "web,",
            "web,a//b",
            "a\nb",
            &"x".repeat(256),
        ] {
            assert!(bad.parse::<NamedReader>().is_err(), "{bad}");
        }
        let reader: NamedReader = "web,tenant/a".parse().unwrap();
        let serves = |scope: &str| reader.serves(&scope.parse().unwrap());
        assert!(serves("tenant/a") && serves("tenant/a/prod"));
        assert!(!serves("tenant/ab") && !serves("tenant") && !serves("/"));
        assert!(NamedReader::new("web").serves(&Scope::root()));
        assert!(
            "web,/"
                .parse::<NamedReader>()
                .unwrap()
                .serves(&"x".parse().unwrap())
        );
    }
}
