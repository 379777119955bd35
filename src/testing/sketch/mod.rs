//! Sketches of what can stand on the joint: small, working, tested, and *not for production*.
//!
//! They show that [`KeyManager`](crate::KeyManager) and [`DekSource`](crate::DekSource) carry what
//! applications put around them, and how such a layer looks. Each leaves out what a real one needs (metrics,
//! sinks that last) and says so. They may change in any release.
//!
//! | sketch | is | shows |
//! |---|---|---|
//! | [`AuditedSource`], [`AuditedKeys`] | a source around a source, a key manager around a key manager | who did what to which KEK; refusing what cannot be recorded |
//! | [`ScopeRouter`] | a source over several | a KEK for each tenant, by the context |
//! | [`TwoWraps`] | a source over two key managers | a policy that holds on sealing and on opening |

mod audit;
mod scope;
mod two_wraps;

pub use audit::{AuditMode, AuditRecord, AuditSink, AuditedKeys, AuditedSource, MemorySink};
pub use scope::ScopeRouter;
pub use two_wraps::TwoWraps;
