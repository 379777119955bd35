//! The KMS behind fake key managers: KEKs, their versions, and what was asked.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::SystemTime;

use super::cipher::FakeKey;
use super::script::{Call, Fault, Method};
use crate::key::{KekDescription, KekState};
use crate::value::error::{Error, ErrorKind, Result};

#[derive(Default)]
pub(super) struct Kms {
    keks: BTreeMap<String, FakeKek>,
    pub(super) calls: Vec<Call>,
    pub(super) requests: Vec<Method>,
    pub(super) script: VecDeque<(Option<Method>, Fault)>,
    pub(super) always: Option<Fault>,
    /// Results by method and idempotency key.
    pub(super) done: HashMap<(Method, String), KekDescription>,
    counter: u128,
    /// What tells KEKs of one name in two KMS apart.
    place: String,
}

impl Kms {
    /// Adds a KEK, if there is none of that id.
    pub(super) fn add(&mut self, id: &str) {
        let secret = self.secret_of(id);
        let kek = || FakeKek::new(secret);
        self.keks.entry(id.to_owned()).or_insert_with(kek);
    }

    /// An empty KMS at this place.
    pub(super) fn at(place: &str) -> Self {
        Self {
            place: place.to_owned(),
            ..Self::default()
        }
    }

    /// What the bytes of a KEK come from.
    pub(super) fn secret_of(&self, id: &str) -> String {
        format!("{}{id}", self.place)
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.keks.contains_key(id)
    }

    pub(super) fn kek(&mut self, id: &str) -> Option<&mut FakeKek> {
        self.keks.get_mut(id)
    }

    /// A number that was not given before.
    pub(super) fn next(&mut self) -> u128 {
        self.counter += 1;
        self.counter
    }

    /// The fault that is due for a call of this method.
    pub(super) fn fault(&mut self, method: Method) -> Option<Fault> {
        let at = self
            .script
            .iter()
            .position(|(only, _)| only.is_none_or(|only| only == method));
        match at {
            Some(at) => self.script.remove(at).map(|(_, fault)| fault),
            None => self.always.clone(),
        }
    }
}

pub(super) struct FakeKek {
    /// What its bytes come from.
    secret: String,
    /// By number, from 1.
    versions: Vec<Version>,
    pub(super) created: Option<SystemTime>,
}

struct Version {
    state: KekState,
    destroyed_at: Option<SystemTime>,
}

impl Version {
    fn enabled() -> Self {
        Self {
            state: KekState::Enabled,
            destroyed_at: None,
        }
    }

    fn state(&self, now: SystemTime) -> KekState {
        match self.destroyed_at {
            Some(at) if now >= at => KekState::Destroyed,
            _ => self.state,
        }
    }
}

impl FakeKek {
    fn new(secret: String) -> Self {
        Self {
            secret,
            versions: vec![Version::enabled()],
            created: None,
        }
    }

    /// The number of the active version: the newest.
    pub(super) fn active(&self) -> u32 {
        u32::try_from(self.versions.len()).unwrap_or(u32::MAX)
    }

    /// Adds a version and gives its number.
    pub(super) fn rotate(&mut self) -> u32 {
        self.versions.push(Version::enabled());
        self.active()
    }

    fn version(&self, number: u32) -> Option<&Version> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.versions.get(index)
    }

    fn version_mut(&mut self, number: u32) -> Option<&mut Version> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.versions.get_mut(index)
    }

    pub(super) fn set_state(&mut self, number: u32, state: KekState) {
        if let Some(version) = self.version_mut(number) {
            version.state = state;
            version.destroyed_at = None;
        }
    }

    /// Plans the end of a version.
    pub(super) fn destroy_at(&mut self, number: u32, at: SystemTime) {
        if let Some(version) = self.version_mut(number) {
            version.state = KekState::PendingDestruction;
            version.destroyed_at = Some(at);
        }
    }

    /// The state of a version and when it ends. `None` where there is no such version.
    pub(super) fn state(&self, number: u32, now: SystemTime) -> Option<(KekState, Option<SystemTime>)> {
        self.version(number)
            .map(|version| (version.state(now), version.destroyed_at))
    }

    /// The key of a version, if it may be used.
    pub(super) fn key(&self, number: u32, now: SystemTime) -> Result<FakeKey> {
        let refused = match self.state(number, now) {
            Some((KekState::Enabled, _)) => return Ok(FakeKey::of(&self.secret, number)),
            Some((KekState::Destroyed, _)) => ErrorKind::KeyDestroyed,
            Some((KekState::PendingDestruction, _)) => ErrorKind::KeyPendingDestruction,
            Some(_) => ErrorKind::KeyDisabled,
            // Only a wrap that was altered, or of another KEK, names a version that never was.
            None => ErrorKind::CannotOpen,
        };
        Err(Error::new(refused))
    }
}
