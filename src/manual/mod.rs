//! Pages to read before trusting this crate with data.
