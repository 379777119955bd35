//! Counting events: by what they have to do with the key, action, outcome, actor and purpose.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde_json::{Value, json};

use super::event::Event;
use super::subject::Part;

/// Actors that a report names.
const ACTORS: usize = 1_000;
/// Actors that are told apart while a log is read.
const TOLD_APART: usize = 10_000;
/// Rows that are told apart while a log is read.
const ROWS: usize = 50_000;
/// Rows without actors.
const OTHERS: usize = 1_000;
/// The most bytes of a word that this crate writes. What is longer is from somebody else.
const WORD: usize = 64;

/// What events are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) actor: Option<String>,
    pub(super) part: &'static str,
    pub(super) action: String,
    pub(super) outcome: String,
    pub(super) purpose: Option<String>,
}

fn word(text: &str) -> String {
    match text.len() {
        ..=WORD => text.to_owned(),
        _ => "other".to_owned(),
    }
}

/// Counts. Of many actors, those with the most events have rows of their own.
#[derive(Default)]
pub(super) struct Tally {
    rows: BTreeMap<Row, u64>,
    actors: HashSet<Option<String>>,
    others: BTreeMap<Row, u64>,
}

impl Tally {
    pub(super) fn add(&mut self, part: Part, event: Event<'_>) {
        let row = Row {
            actor: event.actor().map(str::to_owned),
            part: part.name(),
            action: word(event.action()),
            outcome: word(event.outcome()),
            purpose: event.purpose().map(word),
        };
        if !self.actors.contains(&row.actor) && self.actors.len() >= TOLD_APART {
            return self.add_other(row, 1);
        }
        if let Some(count) = self.rows.get_mut(&row) {
            *count += 1;
        } else if self.rows.len() < ROWS {
            self.actors.insert(row.actor.clone());
            self.rows.insert(row, 1);
        } else {
            self.add_other(row, 1);
        }
    }

    fn add_other(&mut self, mut row: Row, count: u64) {
        row.actor = None;
        if self.others.len() >= OTHERS && !self.others.contains_key(&row) {
            row.action = "other".to_owned();
            row.outcome = "other".to_owned();
            row.purpose = None;
        }
        *self.others.entry(row).or_default() += count;
    }

    /// Ends counting: rows of the actors with the most events, the most first, and those of all others.
    pub(super) fn end(mut self) -> Counts {
        let mut of_actor: HashMap<Option<String>, u64> = HashMap::new();
        for (row, count) in &self.rows {
            *of_actor.entry(row.actor.clone()).or_default() += count;
        }
        let mut order: Vec<(Option<String>, u64)> = of_actor.into_iter().collect();
        order.sort_by(|one, other| (Reverse(one.1), &one.0).cmp(&(Reverse(other.1), &other.0)));
        let shown = order.iter().take(ACTORS).enumerate();
        let place: HashMap<Option<String>, usize> =
            shown.map(|(place, (actor, _))| (actor.clone(), place)).collect();
        let mut rows = Vec::new();
        for (row, count) in std::mem::take(&mut self.rows) {
            match place.get(&row.actor) {
                Some(place) => rows.push((*place, row, count)),
                None => self.add_other(row, count),
            }
        }
        rows.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        Counts {
            rows: rows.into_iter().map(|(_, row, count)| (row, count)).collect(),
            others: self.others.into_iter().collect(),
        }
    }
}

/// What was counted.
pub(super) struct Counts {
    pub(super) rows: Vec<(Row, u64)>,
    /// Of actors that have no rows of their own.
    pub(super) others: Vec<(Row, u64)>,
}

impl Counts {
    #[cfg(test)]
    pub(super) fn total(&self) -> u64 {
        self.rows.iter().chain(&self.others).map(|(_, count)| count).sum()
    }

    pub(super) fn rows_json(&self) -> Vec<Value> {
        self.rows
            .iter()
            .map(|(row, count)| row.to_json(*count, true))
            .collect()
    }

    pub(super) fn others_json(&self) -> Vec<Value> {
        let others = self.others.iter();
        others.map(|(row, count)| row.to_json(*count, false)).collect()
    }
}

impl Row {
    fn to_json(&self, events: u64, has_actor: bool) -> Value {
        let mut row = json!({
            "part": self.part,
            "action": self.action,
            "outcome": self.outcome,
            "purpose": self.purpose,
            "events": events,
        });
        if let (true, Some(row)) = (has_actor, row.as_object_mut()) {
            row.insert("actor".to_owned(), self.actor.clone().into());
        }
        row
    }
}

/// The first so many of a list, or the last, and how many more there are.
pub(super) struct Bounded<T> {
    pub(super) shown: VecDeque<T>,
    pub(super) more: u64,
    keeps_last: bool,
}

impl<T> Bounded<T> {
    /// How many are shown.
    const MOST: usize = 100;

    pub(super) fn first() -> Self {
        Self {
            shown: VecDeque::new(),
            more: 0,
            keeps_last: false,
        }
    }

    pub(super) fn last() -> Self {
        Self {
            keeps_last: true,
            ..Self::first()
        }
    }

    /// Adds one, which is made only if it is shown.
    pub(super) fn add(&mut self, make: impl FnOnce() -> T) {
        let is_full = self.shown.len() >= Self::MOST;
        self.more += u64::from(is_full);
        if is_full && !self.keeps_last {
            return;
        }
        if is_full {
            self.shown.pop_front();
        }
        self.shown.push_back(make());
    }

    pub(super) fn total(&self) -> u64 {
        self.more + self.shown.len() as u64
    }

    pub(super) fn to_json(&self, one: impl Fn(&T) -> Value) -> Value {
        json!({ "events": self.shown.iter().map(one).collect::<Vec<_>>(), "more": self.more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(tally: &mut Tally, actor: Option<&str>, action: &str, outcome: &str) {
        let event = json!({ "event.name": action, "waxseal.outcome": outcome, "user.id": actor });
        tally.add(Part::Used, Event(&event));
    }

    #[test]
    fn each_combination_has_a_row_of_its_own() {
        let mut tally = Tally::default();
        add(&mut tally, Some("alice"), "waxseal.unwrap", "success");
        add(&mut tally, Some("bob"), "waxseal.unwrap", "success");
        add(&mut tally, Some("bob"), "waxseal.unwrap", "success");
        add(&mut tally, Some("bob"), "waxseal.unwrap", "refused");
        add(&mut tally, None, "waxseal.generate", "success");
        let counts = tally.end();
        let rows: Vec<_> = counts
            .rows
            .iter()
            .map(|(row, count)| (row.actor.as_deref(), &*row.action, &*row.outcome, *count))
            .collect();
        assert_eq!(
            rows,
            [
                (Some("bob"), "unwrap", "refused", 1),
                (Some("bob"), "unwrap", "success", 2),
                (None, "generate", "success", 1),
                (Some("alice"), "unwrap", "success", 1),
            ]
        );
        assert_eq!((counts.total(), counts.others.len()), (5, 0));
    }

    #[test]
    fn the_actors_with_the_most_events_are_named_and_nothing_is_lost() {
        let mut tally = Tally::default();
        for actor in 0..TOLD_APART + 5 {
            add(
                &mut tally,
                Some(&format!("actor {actor}")),
                "waxseal.unwrap",
                "success",
            );
        }
        // One of the last that has a row yet.
        add(&mut tally, Some("actor 9999"), "waxseal.unwrap", "success");
        let counts = tally.end();
        assert_eq!(counts.rows.len(), ACTORS);
        assert_eq!(counts.rows[0].0.actor.as_deref(), Some("actor 9999"));
        assert_eq!(counts.rows[0].1, 2);
        assert_eq!(counts.others.len(), 1);
        assert_eq!(counts.total(), TOLD_APART as u64 + 6);
    }

    #[test]
    fn words_of_somebody_else_make_no_endless_list() {
        let mut tally = Tally::default();
        for number in 0..ROWS + OTHERS + 10 {
            add(&mut tally, Some("a"), &format!("waxseal.{number}"), "success");
        }
        add(&mut tally, Some("a"), &"x".repeat(WORD + 1), "success");
        let counts = tally.end();
        assert_eq!(counts.total(), (ROWS + OTHERS + 11) as u64);
        assert!(counts.rows.len() <= ROWS && counts.others.len() <= OTHERS + 1);
    }

    #[test]
    fn a_list_keeps_its_first_or_its_last() {
        let fill = |mut list: Bounded<u32>| {
            (0..103).for_each(|number| list.add(|| number));
            (
                list.shown.front().copied(),
                list.shown.back().copied(),
                list.more,
                list.total(),
            )
        };
        assert_eq!(fill(Bounded::first()), (Some(0), Some(99), 3, 103));
        assert_eq!(fill(Bounded::last()), (Some(3), Some(102), 3, 103));
    }
}
