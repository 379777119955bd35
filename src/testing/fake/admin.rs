//! The fake as a KMS that is administered.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::FakeKeyManager;
use super::kms::Kms;
use super::script::{Fault, Method};
use crate::envelope::KekRef;
use crate::key::{KekAdmin, KekDescription, KekState, KekTemplate};
use crate::value::error::{Error, ErrorKind, Operation, Result};

impl FakeKeyManager {
    /// Does `work` in the KMS, with the fault that is due. Administration has no deadline, so a fault that
    /// hangs counts as one that times out.
    fn administer<T>(&self, method: Method, work: impl FnOnce(&mut Kms) -> Result<T>) -> Result<T> {
        let mut kms = self.lock();
        kms.requests.push(method);
        let result = match kms.fault(method) {
            None => work(&mut kms),
            Some(Fault::Fails(kind)) => Err(Error::new(kind)),
            Some(Fault::LosesAnswer(kind)) => work(&mut kms).and(Err(Error::new(kind))),
            Some(Fault::Hangs(..)) => Err(Error::new(ErrorKind::TimedOut)),
            Some(_) => Err(Error::new(ErrorKind::InvalidAnswer)),
        };
        result.map_err(|error| {
            error
                .with_operation(Operation::Administer)
                .with_provider(self.provider.to_string())
        })
    }

    fn describe_in(&self, kms: &mut Kms, id: &str, version: u32) -> Result<KekDescription> {
        let kek = kms.kek(id).ok_or_else(not_found)?;
        let (state, destroyed_at) = kek
            .state(version, self.runtime.wall_clock())
            .ok_or_else(not_found)?;
        let name = KekRef::new(&self.provider, id, &version.to_string())?;
        let mut description =
            KekDescription::new(name, state, self.capabilities.algorithm).with_protection(self.protection);
        description.created = kek.created;
        description.destroyed_at = destroyed_at;
        Ok(description)
    }

    /// The versions that a reference names: one, or all where it names none.
    fn versions_in(&self, kms: &mut Kms, kek: &KekRef) -> Result<Vec<u32>> {
        let active = self.kek_in(kms, kek)?;
        if kek.version().is_empty() {
            return Ok((1..=active).collect());
        }
        let version = kek.version().parse().map_err(|_| not_found())?;
        if (1..=active).contains(&version) {
            Ok(vec![version])
        } else {
            Err(not_found())
        }
    }

    /// The active version of a KEK that this KMS has.
    fn kek_in(&self, kms: &mut Kms, kek: &KekRef) -> Result<u32> {
        if kek.provider() != &*self.provider {
            return Err(not_found());
        }
        kms.kek(kek.id()).map(|kek| kek.active()).ok_or_else(not_found)
    }
}

fn not_found() -> Error {
    Error::new(ErrorKind::KeyNotFound)
}

#[async_trait]
impl KekAdmin for FakeKeyManager {
    fn provider(&self) -> &str {
        &self.provider
    }

    /// A KEK whose id is the template's name; labels are not kept. A manager of it is its [`sibling`](FakeKeyManager::sibling).
    async fn create(&self, template: &KekTemplate, idempotency_key: &str) -> Result<KekDescription> {
        self.administer(Method::Create, |kms| {
            let once = (Method::Create, idempotency_key.to_owned());
            if let Some(first) = kms.done.get(&once) {
                return Ok(first.clone());
            }
            if kms.has(&template.name) {
                return Err(Error::argument("there is a KEK of this name"));
            }
            if template.hardware {
                return Err(Error::unsupported("a KEK in hardware"));
            }
            kms.add(&template.name);
            if let Some(kek) = kms.kek(&template.name) {
                kek.created = Some(self.runtime.wall_clock());
            }
            let description = self.describe_in(kms, &template.name, 1)?;
            kms.done.insert(once, description.clone());
            Ok(description)
        })
    }

    async fn describe(&self, kek: &KekRef) -> Result<KekDescription> {
        self.administer(Method::Describe, |kms| {
            let active = self.kek_in(kms, kek)?;
            let version = match kek.version() {
                "" => active,
                _ => self.versions_in(kms, kek)?.first().copied().unwrap_or(active),
            };
            self.describe_in(kms, kek.id(), version)
        })
    }

    async fn describe_versions(&self, kek: &KekRef) -> Result<Vec<KekDescription>> {
        self.administer(Method::Describe, |kms| {
            let versions = self.versions_in(kms, kek)?;
            let newest_first = versions.into_iter().rev();
            newest_first
                .map(|version| self.describe_in(kms, kek.id(), version))
                .collect()
        })
    }

    async fn rotate(&self, kek: &KekRef, idempotency_key: &str) -> Result<KekDescription> {
        self.administer(Method::Rotate, |kms| {
            let once = (Method::Rotate, format!("{} {idempotency_key}", kek.id()));
            if let Some(first) = kms.done.get(&once) {
                return Ok(first.clone());
            }
            self.kek_in(kms, kek)?;
            let version = kms.kek(kek.id()).ok_or_else(not_found)?.rotate();
            let description = self.describe_in(kms, kek.id(), version)?;
            kms.done.insert(once, description.clone());
            Ok(description)
        })
    }

    async fn disable(&self, kek: &KekRef) -> Result<()> {
        self.administer(Method::Disable, |kms| {
            let now = self.runtime.wall_clock();
            for version in self.versions_in(kms, kek)? {
                let kek = kms.kek(kek.id()).ok_or_else(not_found)?;
                if let Some((KekState::Enabled, _)) = kek.state(version, now) {
                    kek.set_state(version, KekState::Disabled);
                }
            }
            Ok(())
        })
    }

    async fn enable(&self, kek: &KekRef) -> Result<()> {
        self.administer(Method::Enable, |kms| {
            let now = self.runtime.wall_clock();
            for version in self.versions_in(kms, kek)? {
                let kek = kms.kek(kek.id()).ok_or_else(not_found)?;
                if let Some((KekState::Disabled, _)) = kek.state(version, now) {
                    kek.set_state(version, KekState::Enabled);
                }
            }
            Ok(())
        })
    }

    /// At least one day, as real ones have a least delay.
    async fn schedule_destroy(&self, kek: &KekRef, delay: Duration) -> Result<SystemTime> {
        self.administer(Method::ScheduleDestroy, |kms| {
            let at = self.runtime.wall_clock() + delay.max(Duration::from_secs(86_400));
            for version in self.versions_in(kms, kek)? {
                kms.kek(kek.id()).ok_or_else(not_found)?.destroy_at(version, at);
            }
            Ok(at)
        })
    }

    /// The KEK is disabled afterwards, as at AWS and at Google.
    async fn cancel_destroy(&self, kek: &KekRef) -> Result<()> {
        self.administer(Method::CancelDestroy, |kms| {
            let now = self.runtime.wall_clock();
            for version in self.versions_in(kms, kek)? {
                let kek = kms.kek(kek.id()).ok_or_else(not_found)?;
                match kek.state(version, now) {
                    Some((KekState::PendingDestruction, _)) => kek.set_state(version, KekState::Disabled),
                    Some((KekState::Destroyed, _)) => return Err(Error::new(ErrorKind::KeyDestroyed)),
                    _ => {}
                }
            }
            Ok(())
        })
    }
}
