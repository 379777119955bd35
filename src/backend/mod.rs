//! The backends: one folder for each place where KEKs are kept.

pub mod local;
