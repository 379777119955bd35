//! The inventories against their contract, against each other's processes and against servers that misbehave.

#[cfg(feature = "sqlite")]
mod files;
#[cfg(feature = "postgres")]
mod postgres;
mod support;
