//! The numbers of events, which tell where a log that was rewritten as a whole is off, and whether something is missing.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// What is off with the number of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misnumbered {
    /// The record is no event, or has no number.
    Unnumbered,
    /// Events are missing before it, and no gap tells of them.
    Hole {
        /// The process, by its `service.instance.id`.
        instance: String,
        /// The first number that may be missing.
        first: u64,
        /// How many are missing.
        missing: u64,
    },
    /// Its number, or a later one, was there already.
    Again {
        /// The process, by its `service.instance.id`.
        instance: String,
        /// The number.
        number: u64,
    },
}

/// Follows the numbers of the events of one log: the events of a process are numbered from 0 without holes. Keeps some bytes for each
/// process that it has seen.
///
/// ```
/// use waxseal::audit::{Misnumbered, Sequences};
///
/// let mut sequences = Sequences::new();
/// let event = |number: u64| format!(r#"{{"waxseal.sequence":{number},"service.instance.id":"a"}}"#);
/// assert_eq!(sequences.follow(event(0).as_bytes()), None);
/// let hole = sequences.follow(event(3).as_bytes());
/// assert!(matches!(hole, Some(Misnumbered::Hole { first: 1, missing: 2, .. })));
/// ```
#[derive(Debug, Default)]
pub struct Sequences {
    of: HashMap<String, Instance>,
}

#[derive(Debug, Default)]
struct Instance {
    next: u64,
    /// Numbers of gaps.
    gaps: HashSet<u64>,
    /// Events that a gap says were lost.
    lost: u64,
}

impl Sequences {
    /// Begins before the first record of a log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next record of the log, and returns what is off with its number.
    pub fn follow(&mut self, record: &[u8]) -> Option<Misnumbered> {
        self.look(record).0
    }

    /// Whether the record is the next one of its process, or might be. What is no event is not. A process may have begun before the log.
    pub(super) fn is_next(&mut self, record: &[u8]) -> bool {
        match self.look(record) {
            (None, _) => true,
            (Some(Misnumbered::Hole { .. }), is_first) => is_first,
            (Some(_), _) => false,
        }
    }

    /// What is off with the number of a record, and whether it is the first of its process.
    fn look(&mut self, record: &[u8]) -> (Option<Misnumbered>, bool) {
        let event = serde_json::from_slice::<Value>(record).unwrap_or_default();
        let number = event.get("waxseal.sequence").and_then(Value::as_u64);
        let instance = event.get("service.instance.id").and_then(Value::as_str);
        let (Some(number), Some(instance)) = (number, instance) else {
            return (Some(Misnumbered::Unnumbered), false);
        };
        let is_first = !self.of.contains_key(instance);
        let seen = self.of.entry(instance.to_owned()).or_default();
        if let Some(lost) = event.get("waxseal.lost").and_then(Value::as_u64) {
            seen.gaps.insert(number);
            seen.lost = seen.lost.saturating_add(lost);
            return (None, is_first);
        }
        let instance = instance.to_owned();
        let Some(hole) = number.checked_sub(seen.next) else {
            return (Some(Misnumbered::Again { instance, number }), is_first);
        };
        // Gaps have numbers, too.
        let before = seen.gaps.len();
        seen.gaps.retain(|gap| *gap >= number);
        let hole = hole.saturating_sub((before - seen.gaps.len()) as u64);
        let first = seen.next;
        seen.next = number.saturating_add(1);
        let missing = hole.saturating_sub(seen.lost);
        seen.lost = seen.lost.saturating_sub(hole);
        let hole = Misnumbered::Hole {
            instance,
            first,
            missing,
        };
        ((missing > 0).then_some(hole), is_first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(instance: &str, number: u64) -> Vec<u8> {
        format!(r#"{{"waxseal.sequence":{number},"service.instance.id":"{instance}"}}"#).into_bytes()
    }

    #[test]
    fn a_drop_a_swap_and_a_second_copy_show_and_a_gap_does_not() {
        let all = |events: &[Vec<u8>]| {
            let mut seen = Sequences::default();
            events.iter().position(|event| !seen.is_next(event))
        };
        let events = |numbers: &[u64]| {
            numbers
                .iter()
                .map(|number| event("a", *number))
                .collect::<Vec<_>>()
        };
        assert_eq!(all(&events(&[5, 6, 7])), None);
        assert_eq!(all(&events(&[5, 7, 8])), Some(1));
        assert_eq!(all(&events(&[5, 7, 6])), Some(1));
        assert_eq!(all(&events(&[5, 5, 6])), Some(1));
        let mut two = events(&[0, 1]);
        two.insert(1, event("b", 9));
        assert_eq!(all(&two), None);
        let gap = br#"{"waxseal.sequence":4,"service.instance.id":"a","waxseal.lost":2}"#;
        assert_eq!(
            all(&[event("a", 0), gap.to_vec(), event("a", 3), event("a", 5)]),
            None
        );
        assert_eq!(all(&[event("a", 0), b"{}".to_vec()]), Some(1));
    }

    #[test]
    fn what_is_missing_is_counted_from_0_and_without_what_a_gap_tells() {
        let mut seen = Sequences::new();
        let hole = |instance: &str, first, missing| {
            Some(Misnumbered::Hole {
                instance: instance.to_owned(),
                first,
                missing,
            })
        };
        assert_eq!(seen.follow(&event("a", 2)), hole("a", 0, 2));
        assert_eq!(seen.follow(&event("b", 0)), None);
        assert_eq!(seen.follow(&event("a", 3)), None);
        let gap = br#"{"waxseal.sequence":8,"service.instance.id":"a","waxseal.lost":2}"#;
        assert_eq!(seen.follow(gap), None);
        // 4 to 7 and the gap are missing; the gap tells of two.
        assert_eq!(seen.follow(&event("a", 9)), hole("a", 4, 2));
        let again = Misnumbered::Again {
            instance: "a".to_owned(),
            number: 9,
        };
        assert_eq!(seen.follow(&event("a", 9)), Some(again));
        assert_eq!(seen.follow(b"no event"), Some(Misnumbered::Unnumbered));
    }
}
