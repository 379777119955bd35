//! The backends: one folder for each place where KEKs are kept.

#[cfg(feature = "aws-kms")]
pub mod aws_kms;
pub mod local;
