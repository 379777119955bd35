//! Pages to read before trusting this crate with data.
//!
//! | page | for |
//! |---|---|
//! | [`threat_model`] | what is promised, against whom, and what is not |
//! | [`errors`] | what each kind of error means, who is to blame, and what to do |
//! | [`operating`] | contexts, data keys, rotation, streams, what to log |
//! | [`key_manager`] | bringing a KMS or HSM of your own |
//!
//! The bytes are specified in `docs/spec/envelope-v1.md` of the repository, and `docs/DESIGN.md` says why things
//! are the way they are.

pub mod errors;
pub mod key_manager;
pub mod operating;
pub mod threat_model;
