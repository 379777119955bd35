//! What needs no backend, a module for each subject.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

// The counts are those of the default AEAD.
#[cfg(feature = "aws-lc")]
mod allocations;
#[cfg(any(feature = "futures-io", feature = "tokio"))]
mod async_streams;
#[cfg(feature = "audit")]
mod audited;
mod batch;
mod buffered;
mod cache;
mod cache_model;
mod conformance;
mod conformance_liars;
mod facade;
mod facade_refuses;
mod facade_rewrap;
#[cfg(feature = "fleet")]
mod fleet;
mod forwarding;
mod fuzz_smoke;
mod joint;
#[cfg(feature = "resilience")]
mod layers;
mod leases;
mod manipulation;
mod misuse;
mod parallel;
mod parallel_streams;
#[cfg(feature = "ring")]
mod profiles;
mod properties;
mod ranges;
mod rewrap_keeps;
mod rewrapper;
#[cfg(feature = "ring")]
mod ring_rotation;
#[cfg(feature = "ring")]
mod ring_source;
#[cfg(feature = "ring")]
mod ring_tenants;
mod streams;
mod why_not;

// What outside code builds around key managers and sources.
#[allow(dead_code, reason = "its main is not called")]
#[path = "../../examples/audit.rs"]
mod audit;
#[path = "../fuzz_bodies/mod.rs"]
mod fuzz_bodies;
#[path = "../support/log.rs"]
mod log;
#[path = "../support/pools.rs"]
mod pools;
#[cfg(feature = "ring")]
#[path = "../support/ring.rs"]
mod ring_support;
#[path = "../support/mod.rs"]
mod support;
#[allow(dead_code, reason = "its main is not called")]
#[path = "../../examples/tenants.rs"]
mod tenants;
#[allow(dead_code, reason = "its main is not called")]
#[path = "../../examples/two_wraps.rs"]
mod two_wraps;
