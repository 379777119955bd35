//! Whether those who read a ring can use a key that is about to become active.

use std::collections::BTreeSet;
use std::time::Duration;

use super::RingAdmin;
use crate::ring::inventory::Heartbeat;
use crate::ring::record::{KeyRecord, Settings};
use crate::ring::view::View;
use crate::ring::{Reader, RecordId, Scope};
use crate::value::error::{Error, ErrorKind, Result};

/// For how long a heartbeat says something of its process: readers write one every 30 seconds.
const FRESH: Duration = Duration::from_secs(300);
/// The most readers that are named in a refusal, and rows that are named in a warning.
pub(super) const NAMED: usize = 5;

/// A heartbeat that is fresh, and why it says nothing, if so.
#[derive(Debug)]
pub(super) struct Heard {
    beat: Heartbeat,
    nothing: Option<String>,
}

impl Heard {
    /// What is wrong with a row that no reader has written.
    pub(super) fn malformed(&self) -> Option<Error> {
        let why = self.beat.malformed.as_ref()?;
        Some(Error::new(ErrorKind::InventoryInvalid).with_detail(format!(
            "a heartbeat of the reader {} counts as none: {why}",
            self.name()
        )))
    }

    fn name(&self) -> String {
        let printable = |text: &str| text.chars().flat_map(char::escape_debug).collect::<String>();
        format!(
            "{} (process {})",
            printable(&self.beat.reader),
            printable(&self.beat.process)
        )
    }

    fn has_probed(&self, key: RecordId) -> bool {
        self.nothing.is_none() && self.beat.probed.contains(&key)
    }
}

/// What readers have reported of a pending key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reports {
    /// Readers that hinder a promotion, and why.
    pub(super) hindering: Vec<String>,
    /// Readers that would, were they not skipped.
    pub(super) skipped: Vec<String>,
    /// What readers that nobody has listed say, where every listed one has a key: it hinders nothing.
    unlisted: Vec<String>,
}

impl Reports {
    /// What the readers of a ring say of a key, by heartbeats that are fresh.
    ///
    /// Readers that the settings name, and that serve its scope, must have probed it. No other process may have failed to, or not
    /// have read the ring since the key is in it; unless each listed reader has a key, and it is of another reader: any reader can write a
    /// row in whatever name.
    pub(super) fn of(
        key: &KeyRecord,
        settings: &Settings,
        heard: &[Heard],
        skipped: &BTreeSet<String>,
    ) -> Self {
        let mut reports = Self::default();
        let mut add = |reader: &str, what: String| {
            if !skipped.contains(reader) {
                reports.hindering.push(what);
            } else if !reports.skipped.iter().any(|there| there == reader) {
                reports.skipped.push(reader.to_owned());
            }
        };
        let named = |name: &str| settings.readers.iter().find(|reader| reader.name == name);
        for reader in settings.readers.iter().filter(|reader| reader.serves(&key.scope)) {
            let own = || heard.iter().filter(|heard| heard.beat.reader == reader.name);
            if own().any(|heard| heard.has_probed(key.id)) {
                continue;
            }
            let mut what = format!("the reader {} has not reported that it can use it", reader.name);
            if let Some(why) = own().find_map(|heard| heard.nothing.as_ref()) {
                what += &format!("; a report in its name does not count: {why}");
            }
            add(&reader.name, what);
        }
        let mut unlisted = Vec::new();
        let has_keys =
            !settings.readers.is_empty() && settings.readers.iter().all(|reader| reader.key.is_some());
        for heard in heard.iter().filter(|heard| heard.nothing.is_none()) {
            let beat = &heard.beat;
            let what = if beat.probed.contains(&key.id) {
                continue;
            } else if beat.failed.contains(&key.id) {
                "cannot use it"
            } else {
                match named(&beat.reader) {
                    Some(reader) if !reader.serves(&key.scope) => continue,
                    _ if beat.revision < key.in_ring_since => "does not know it yet",
                    Some(_) => "has not reported that it can use it",
                    // It does not use the scope.
                    None => continue,
                }
            };
            let what = format!("the reader {} {what}", heard.name());
            match has_keys && named(&beat.reader).is_none() {
                true => unlisted.push(what),
                false => add(&beat.reader, what),
            }
        }
        unlisted.truncate(NAMED);
        reports.unlisted = unlisted;
        reports
    }

    /// What hinders nothing, and somebody should know.
    pub(super) fn warnings(&self) -> Vec<Error> {
        let said = self.unlisted.iter().map(|what| {
            let detail = format!("{what}; it is not listed in the settings, and hindered nothing");
            Error::new(ErrorKind::InventoryInvalid).with_detail(detail)
        });
        said.collect()
    }

    /// Why a promotion must wait. `None` if it need not.
    pub(super) fn hindrance(&self) -> Option<String> {
        let named: Vec<_> = self.hindering.iter().take(NAMED).cloned().collect();
        let more = self.hindering.len().saturating_sub(NAMED);
        match (named.is_empty(), more) {
            (true, _) => None,
            (false, 0) => Some(named.join("; ")),
            (false, more) => Some(format!("{}; and {more} more", named.join("; "))),
        }
    }
}

impl RingAdmin {
    /// What readers have reported of a pending key.
    pub(super) async fn reports(&self, key: &KeyRecord, view: &View) -> Result<Reports> {
        let heard = self.fresh_beats(view).await?;
        Ok(Reports::of(key, view.settings(), &heard, &self.skipped))
    }

    /// The heartbeats that still say something of their processes.
    pub(super) async fn fresh_beats(&self, view: &View) -> Result<Vec<Heard>> {
        fresh_beats(&self.reader, view).await
    }
}

/// The heartbeats that still say something of their processes.
pub(super) async fn fresh_beats(reader: &Reader, view: &View) -> Result<Vec<Heard>> {
    let inventory = reader.inventory();
    let now = reader.time(view).await?;
    let since = now.saturating_sub(FRESH);
    let tolerance = view.settings().clock_tolerance.at_most();
    // Those that are listed by their names: whatever others write pushes none of them out.
    let readers = &view.settings().readers;
    let mut beats = Vec::new();
    for listed in readers {
        let mut own = inventory.heartbeats_of(&listed.name, since).await?;
        own.retain(|beat| beat.reader == listed.name);
        beats.extend(own);
    }
    let others = inventory.heartbeats(since).await?.into_iter();
    beats.extend(others.filter(|beat| !readers.iter().any(|reader| reader.name == beat.reader)));
    // One that claims to be of the future would be fresh for ever.
    let latest = now.saturating_add(tolerance);
    beats.retain(|beat| beat.at.is_none_or(|at| at <= latest));
    let heard = |beat: Heartbeat| {
        let named = readers.iter().find(|reader| reader.name == beat.reader);
        let key = named.and_then(|reader| reader.key);
        let unsigned = || {
            let verified = beat.verify(view.ring(), &key?, now, FRESH, tolerance);
            let why = verified.err()?.detail().unwrap_or("it is wrong").to_owned();
            Some(why)
        };
        let nothing = beat.malformed.clone().or_else(unsigned);
        Heard { beat, nothing }
    };
    Ok(beats.into_iter().map(heard).collect())
}

/// A process that reads the ring and has not read the newest revision, or a reader that is listed and has not reported.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaggingReader {
    /// The name of the reader.
    pub reader: String,
    /// The process. `None` if no process of a listed reader has reported.
    pub process: Option<String>,
    /// The revision that it uses, as it says.
    pub revision: Option<u64>,
    /// Why it is named, for people.
    pub why: String,
}

/// The readers of these scopes that have not reported, or use an older revision.
pub(super) fn lagging(view: &View, heard: &[Heard], scopes: &[&Scope]) -> Vec<LaggingReader> {
    let readers = &view.settings().readers;
    let serves = |name: &str| {
        let listed = readers.iter().find(|reader| reader.name == name);
        listed.is_none_or(|reader| scopes.iter().any(|scope| reader.serves(scope)))
    };
    let mut all = Vec::new();
    for listed in readers.iter().filter(|reader| serves(&reader.name)) {
        let own = || heard.iter().filter(|heard| heard.beat.reader == listed.name);
        if own().any(|heard| heard.nothing.is_none()) {
            continue;
        }
        let why = match own().find_map(|heard| heard.nothing.as_ref()) {
            Some(why) => format!("its report does not count: {why}"),
            None => format!(
                "it is listed, and has not reported in the last {} s",
                FRESH.as_secs()
            ),
        };
        all.push(LaggingReader {
            reader: listed.name.clone(),
            process: None,
            revision: None,
            why,
        });
    }
    let newest = view.revision();
    let is_behind = |heard: &&Heard| heard.nothing.is_none() && heard.beat.revision < newest;
    for heard in heard
        .iter()
        .filter(is_behind)
        .filter(|heard| serves(&heard.beat.reader))
    {
        let beat = &heard.beat;
        all.push(LaggingReader {
            reader: beat.reader.clone(),
            process: Some(beat.process.clone()),
            revision: Some(beat.revision),
            why: format!("it uses revision {}, and the ring is at {newest}", beat.revision),
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::KekRef;
    use crate::ring::{Authority, NamedReader, Protection, Provenance, Scope, Slot, Time};

    #[test]
    fn a_row_that_is_no_heartbeat_hinders_whom_it_names_and_nobody_else() {
        let now = Time::from_microseconds(0).unwrap();
        let id = RecordId::new(now).unwrap();
        let kek = KekRef::new("env", "k", "1").unwrap();
        let period = || "P1D".parse().unwrap();
        let mut key = KeyRecord::new(
            id,
            Scope::root(),
            Slot::default(),
            Provenance::new("env:k", &kek).unwrap(),
            crate::testing::FakeKeyManager::ALGORITHM,
            Protection::Software,
            (period(), period()),
            now,
        );
        key.in_ring_since = 5;
        let mut settings = Settings::new(id, Authority::generate().unwrap().public()).unwrap();
        let wrong = |reader: &str| {
            let beat = Heartbeat::malformed(reader.to_owned(), "p\n".to_owned(), "column x".to_owned());
            Heard {
                nothing: beat.malformed.clone(),
                beat,
            }
        };
        let good = |reader: &str| Heard {
            beat: Heartbeat::new(reader.to_owned(), "q".to_owned(), 5, vec![id]),
            nothing: None,
        };
        let heard = [wrong("some"), wrong("api"), good("batch")];
        let none = BTreeSet::new();
        let hindrance = |settings: &Settings| Reports::of(&key, settings, &heard, &none).hindrance();
        assert_eq!(hindrance(&settings), None);
        settings.readers = vec![NamedReader::new("batch")];
        assert_eq!(hindrance(&settings), None);
        settings.readers.push(NamedReader::new("api"));
        let said = hindrance(&settings).unwrap();
        assert!(
            said.contains("api") && said.contains("column x") && !said.contains("some"),
            "{said}"
        );
        let named = wrong("some").malformed().unwrap().to_string();
        assert!(
            named.contains("some (process p\\n)") && named.contains("column x"),
            "{named}"
        );
        assert!(good("some").malformed().is_none());
    }
}
