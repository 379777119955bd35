//! What profiles demand of a ring, when it seals, opens and re-wraps.

mod alone;
mod caching;
mod choice;
mod explained;
mod rewraps;

use pollster::block_on;

use super::*;
use crate::envelope::{AlgorithmClass, WrapAlgorithm};
use crate::ring::profile::{Profiles, Requirements, Wraps};

const SYMMETRIC: WrapAlgorithm = WrapAlgorithm::AWS_KMS;
const RSA: WrapAlgorithm = WrapAlgorithm::AZURE_RSA_OAEP_256;

/// How a key is, as the ring's record says.
#[derive(Clone, Copy)]
struct Kind {
    algorithm: WrapAlgorithm,
    protection: Protection,
    slot: &'static str,
}

const GOOD: Kind = Kind {
    algorithm: SYMMETRIC,
    protection: Protection::Hardware,
    slot: "default",
};
const CLASSICAL: Kind = Kind {
    algorithm: RSA,
    ..GOOD
};
const SOFTWARE: Kind = Kind {
    protection: Protection::Software,
    ..GOOD
};
const RECOVERY: Kind = Kind {
    slot: "recovery",
    ..GOOD
};

impl Bench {
    fn fake_of(&self, name: &str, kind: Kind) -> FakeKeyManager {
        let fake = FakeKeyManager::new(name)
            .with_runtime(Arc::new(self.runtime.clone()))
            .with_algorithm(kind.algorithm)
            .of_class(kind.algorithm.class().unwrap());
        self.reach(name, &fake);
        fake
    }

    fn record_of(&self, fake: &FakeKeyManager, kind: Kind) -> KeyRecord {
        KeyRecord {
            algorithm: kind.algorithm.to_string(),
            protection: kind.protection,
            slot: kind.slot.parse().unwrap(),
            ..self.key("tenant/a", fake)
        }
    }

    /// A key of the scope tenant/a that has gone through these states.
    fn made(&self, name: &str, kind: Kind, states: &[State]) -> (KeyRecord, FakeKeyManager) {
        let fake = self.fake_of(name, kind);
        let key = self.went(self.record_of(&fake, kind), states);
        self.put(&[&key]);
        (key, fake)
    }

    /// A sealer of the ring, to which these demands are the only profile, `strict`, which the caller names.
    fn strict(&self, demands: &Requirements) -> Sealer {
        self.strict_builder(demands).build().unwrap()
    }

    fn strict_builder(&self, demands: &Requirements) -> crate::Builder {
        let profiles = Profiles::new().define("strict", demands.clone()).unwrap();
        let ring = block_on(self.builder().profiles(profiles).open()).unwrap();
        without_cache(&ring).profile("strict")
    }

    /// The same without any profile.
    fn plain(&self) -> Sealer {
        without_cache(&self.open()).build().unwrap()
    }
}

fn without_cache(ring: &KeyRing) -> crate::Builder {
    let builder = Sealer::builder().source(ring.clone());
    builder
        .leases(ring.leases().clone())
        .runtime(Arc::clone(&ring.0.runtime))
}

fn rewrap(sealer: &Sealer, sealed: &[u8]) -> Result<Vec<u8>> {
    block_on(sealer.rewrap(sealed, &context("a")))?.splice(sealed)
}

/// The requirement that a profile has refused something for, and the whole text.
fn refused<T: std::fmt::Debug>(result: Result<T>) -> (&'static str, String) {
    let error = result.unwrap_err();
    let ErrorKind::ProfileRefused { requirement } = error.kind() else {
        panic!("{error:?}");
    };
    assert!(!error.is_retryable());
    (requirement, error.to_string())
}

fn try_seal(sealer: &Sealer) -> Result<Vec<u8>> {
    block_on(sealer.seal(b"hello", &context("a")))
}

fn quantum_safe() -> Requirements {
    Requirements::new().allowing([AlgorithmClass::Symmetric, AlgorithmClass::Hybrid])
}
