//! The states of a key, and the moves between them: one table.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::value::error::{Error, ErrorKind, Result};

/// The state of a key in a ring. [`State::row`] returns what it permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum State {
    /// Exists, and waits to become active.
    Pending,
    /// Wraps what is sealed in its scope and slot.
    Active,
    /// Another key wraps in its place. It opens what is under it.
    Deprecated,
    /// Nothing is known to be under it anymore. It can come back.
    Retired,
    /// Somebody else may have it.
    Compromised,
    /// The backend was told, or is about to be told, to destroy it.
    Destroying,
    /// It is gone.
    Destroyed,
}

/// Whether a key wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wraps {
    /// Never.
    No,
    /// For the contexts of its canary share.
    CanaryShare,
    /// Whatever is sealed in its scope and slot.
    Yes,
}

/// Whether a re-wrap may use a key to unwrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RewrappedFrom {
    /// Never.
    No,
    /// With a signed approval.
    WithApproval,
    /// Always.
    Yes,
}

/// A move to another state, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The state after it.
    pub to: State,
    /// What must hold, in words. Empty if nothing but an actor and a reason is needed.
    pub only: &'static str,
}

/// What a state permits.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StateRow {
    /// The state.
    pub state: State,
    /// The state in NIST SP 800-57 part 1 revision 5, section 7, that it corresponds to.
    pub nist: &'static str,
    /// The `state` of related cryptographic material in CycloneDX 1.6 that it corresponds to.
    pub cyclonedx: &'static str,
    /// Whether it wraps.
    pub wraps: Wraps,
    /// Whether it unwraps to open.
    pub unwraps: bool,
    /// Whether it unwraps for a re-wrap.
    pub rewrapped_from: RewrappedFrom,
    /// Where it can go.
    pub goes_to: &'static [Transition],
}

const fn to(state: State) -> Transition {
    Transition { to: state, only: "" }
}

const fn to_only(state: State, only: &'static str) -> Transition {
    Transition { to: state, only }
}

/// The table of states. [`State::row`] finds the row of one.
pub const STATES: [StateRow; 7] = [
    StateRow {
        state: State::Pending,
        nist: "pre-activation",
        cyclonedx: "pre-activation",
        wraps: Wraps::CanaryShare,
        unwraps: true,
        rewrapped_from: RewrappedFrom::Yes,
        goes_to: &[
            to(State::Active),
            to_only(State::Deprecated, "a canary that is rolled back"),
            to(State::Compromised),
            to_only(State::Destroyed, "if it never wrapped"),
        ],
    },
    StateRow {
        state: State::Active,
        nist: "active",
        cyclonedx: "active",
        wraps: Wraps::Yes,
        unwraps: true,
        rewrapped_from: RewrappedFrom::Yes,
        goes_to: &[
            to_only(
                State::Deprecated,
                "when another key of its scope and slot becomes active, in the same change",
            ),
            to_only(
                State::Retired,
                "if its scope is shredded or closed, with an authorization",
            ),
            to(State::Compromised),
        ],
    },
    StateRow {
        state: State::Deprecated,
        nist: "deactivated",
        cyclonedx: "deactivated",
        wraps: Wraps::No,
        unwraps: true,
        rewrapped_from: RewrappedFrom::Yes,
        goes_to: &[
            to_only(
                State::Retired,
                "with evidence, or after the overlap if the settings say so",
            ),
            to_only(
                State::Active,
                "a reinstatement; the active key becomes deprecated in the same change",
            ),
            to(State::Compromised),
        ],
    },
    StateRow {
        state: State::Retired,
        nist: "deactivated",
        cyclonedx: "deactivated",
        wraps: Wraps::No,
        unwraps: false,
        rewrapped_from: RewrappedFrom::WithApproval,
        goes_to: &[
            to_only(State::Deprecated, "a reinstatement"),
            to_only(
                State::Destroying,
                "with evidence, or because its scope was shredded",
            ),
            to(State::Compromised),
        ],
    },
    StateRow {
        state: State::Compromised,
        nist: "compromised",
        cyclonedx: "compromised",
        wraps: Wraps::No,
        unwraps: false,
        rewrapped_from: RewrappedFrom::WithApproval,
        goes_to: &[to_only(
            State::Destroying,
            "with evidence, or because its scope was shredded",
        )],
    },
    StateRow {
        state: State::Destroying,
        nist: "deactivated",
        cyclonedx: "deactivated",
        wraps: Wraps::No,
        unwraps: false,
        rewrapped_from: RewrappedFrom::No,
        goes_to: &[
            to_only(State::Retired, "cancelled, if it was retired"),
            to_only(State::Compromised, "cancelled, if it was compromised"),
            to_only(
                State::Destroyed,
                "when the backend says so, or an operator attests it",
            ),
        ],
    },
    StateRow {
        state: State::Destroyed,
        nist: "destroyed",
        cyclonedx: "destroyed",
        wraps: Wraps::No,
        unwraps: false,
        rewrapped_from: RewrappedFrom::No,
        goes_to: &[],
    },
];

impl State {
    /// Returns its name, as records, listings and the command write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Deprecated => "deprecated",
            Self::Retired => "retired",
            Self::Compromised => "compromised",
            Self::Destroying => "destroying",
            Self::Destroyed => "destroyed",
        }
    }

    /// Returns its row of the table.
    #[must_use]
    pub const fn row(self) -> &'static StateRow {
        match self {
            Self::Pending => &STATES[0],
            Self::Active => &STATES[1],
            Self::Deprecated => &STATES[2],
            Self::Retired => &STATES[3],
            Self::Compromised => &STATES[4],
            Self::Destroying => &STATES[5],
            Self::Destroyed => &STATES[6],
        }
    }

    /// Returns what a branch key in this state permits whose parent is in that state: a parent that does not unwrap stops what is under it.
    #[must_use]
    pub fn under(self, parent: Self) -> Self {
        match parent.row().unwraps {
            true => self,
            false => self.max(parent),
        }
    }

    /// Refuses a move that is not in the table.
    ///
    /// # Errors
    /// `LifecycleRefused`, with the states that a key can go to from here.
    pub fn check_move(self, next: Self) -> Result<()> {
        let row = self.row();
        if row.goes_to.iter().any(|transition| transition.to == next) {
            return Ok(());
        }
        let possible: Vec<_> = row
            .goes_to
            .iter()
            .map(|transition| transition.to.name())
            .collect();
        let possible = match possible.as_slice() {
            [] => "nowhere".to_owned(),
            possible => possible.join(", "),
        };
        Err(Error::new(ErrorKind::LifecycleRefused).with_detail(format!(
            "a key that is {self} does not become {next}; it can go to: {possible}"
        )))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for State {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        STATES
            .iter()
            .map(|row| row.state)
            .find(|state| state.name() == text)
            .ok_or_else(|| {
                let names: Vec<_> = STATES.iter().map(|row| row.state.name()).collect();
                Error::argument(format!("a state is one of {}", names.join(", ")))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_finds_its_own_row_and_name() {
        for row in &STATES {
            assert_eq!(row.state.row().state, row.state);
            assert_eq!(row.state.name().parse::<State>().unwrap(), row.state);
            assert_eq!(
                serde_json::to_string(&row.state).unwrap(),
                format!("\"{}\"", row.state)
            );
        }
    }

    /// The table as documentation has it.
    fn rendered() -> String {
        let mut text = String::from(
            "| state | NIST SP 800-57 | wraps | opens | re-wrapped from | goes to |\n|---|---|---|---|---|---|\n",
        );
        for row in &STATES {
            let wraps = match row.wraps {
                Wraps::No => "no",
                Wraps::CanaryShare => "its canary share",
                Wraps::Yes => "yes",
            };
            let from = match row.rewrapped_from {
                RewrappedFrom::No => "no",
                RewrappedFrom::WithApproval => "with an approval",
                RewrappedFrom::Yes => "yes",
            };
            let moves: Vec<String> = row
                .goes_to
                .iter()
                .map(|to| match to.only {
                    "" => to.to.to_string(),
                    only => format!("{} ({only})", to.to),
                })
                .collect();
            text += &format!(
                "| {} | {} | {wraps} | {} | {from} | {} |\n",
                row.state,
                row.nist,
                if row.unwraps { "yes" } else { "no" },
                moves.join("; ")
            );
        }
        text
    }

    #[test]
    fn the_manual_has_this_table() {
        let page = include_str!("../manual/key_ring.rs");
        let expected: String = rendered().lines().map(|line| format!("//! {line}\n")).collect();
        let (_, after) = page.split_once("<!-- states -->\n").unwrap();
        let (table, _) = after.split_once("//! <!-- /states -->").unwrap();
        assert_eq!(
            table.trim_start_matches("//!\n").trim_end_matches("//!\n"),
            expected,
            "put this there:\n{expected}"
        );
    }

    // Cell by cell, from the specification and not from the table: rows from, columns to.
    #[test]
    fn moves_are_those_of_the_specification() {
        use State::{Active, Compromised, Deprecated, Destroyed, Destroying, Pending, Retired};
        let all = [
            Pending,
            Active,
            Deprecated,
            Retired,
            Compromised,
            Destroying,
            Destroyed,
        ];
        let table = [
            (Pending, [false, true, true, false, true, false, true]),
            (Active, [false, false, true, true, true, false, false]),
            (Deprecated, [false, true, false, true, true, false, false]),
            (Retired, [false, false, true, false, true, true, false]),
            (Compromised, [false, false, false, false, false, true, false]),
            (Destroying, [false, false, false, true, true, false, true]),
            (Destroyed, [false; 7]),
        ];
        for (from, cells) in table {
            for (to, allowed) in all.into_iter().zip(cells) {
                assert_eq!(from.check_move(to).is_ok(), allowed, "{from} to {to}");
            }
        }
    }

    #[test]
    fn permissions_are_those_of_the_specification() {
        use RewrappedFrom as R;
        let permissions: Vec<_> = STATES
            .iter()
            .map(|row| (row.state.name(), row.wraps, row.unwraps, row.rewrapped_from))
            .collect();
        assert_eq!(
            permissions,
            [
                ("pending", Wraps::CanaryShare, true, R::Yes),
                ("active", Wraps::Yes, true, R::Yes),
                ("deprecated", Wraps::No, true, R::Yes),
                ("retired", Wraps::No, false, R::WithApproval),
                ("compromised", Wraps::No, false, R::WithApproval),
                ("destroying", Wraps::No, false, R::No),
                ("destroyed", Wraps::No, false, R::No),
            ]
        );
    }
}
