//! The numbers of events, which tell where a log that was rewritten as a whole is off.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// What was seen of the processes that write.
#[derive(Default)]
pub(super) struct Sequences {
    of: HashMap<String, Instance>,
}

#[derive(Default)]
struct Instance {
    next: u64,
    /// Numbers of gaps.
    gaps: HashSet<u64>,
    /// Events that a gap says were lost.
    lost: u64,
}

impl Sequences {
    /// Whether the record is the next one of its process, or might be. What is no event is not.
    pub(super) fn is_next(&mut self, record: &[u8]) -> bool {
        let Ok(event) = serde_json::from_slice::<Value>(record) else {
            return false;
        };
        let number = event.get("waxseal.sequence").and_then(Value::as_u64);
        let instance = event.get("service.instance.id").and_then(Value::as_str);
        let (Some(number), Some(instance)) = (number, instance) else {
            return false;
        };
        let is_first = !self.of.contains_key(instance);
        let seen = self.of.entry(instance.to_owned()).or_default();
        if let Some(lost) = event.get("waxseal.lost").and_then(Value::as_u64) {
            seen.gaps.insert(number);
            seen.lost += lost;
            return true;
        }
        let Some(hole) = number.checked_sub(seen.next) else {
            return false;
        };
        // Gaps have numbers, too.
        let before = seen.gaps.len();
        seen.gaps.retain(|gap| *gap >= number);
        let hole = hole.saturating_sub((before - seen.gaps.len()) as u64);
        seen.next = number + 1;
        if is_first || hole == 0 {
            return true;
        }
        let is_told = hole <= seen.lost;
        seen.lost = seen.lost.saturating_sub(hole);
        is_told
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
}
