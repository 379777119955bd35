#![cfg_attr(docsrs, feature(doc_cfg))]
//! Amazon S3, Google Cloud Storage and Azure Blob Storage for [waxseal](https://docs.rs/waxseal): where copies of audit logs are kept, and sealed objects are
//! re-wrapped.
//!
#![cfg_attr(
    feature = "fleet",
    doc = "[`Objects`] is a [`Store`](waxseal::fleet::Store) of `waxseal::fleet` (feature `fleet`): a re-wrap of all objects below a prefix."
)]
//!
//! [`ObjectTiles`] is a [`TileStore`]: give it to [`waxseal::audit::publish`], and the objects are a transparency log in the layout of C2SP
//! tlog-tiles that anybody can read over HTTP.
//!
//! # Calls
//! Every call is bounded (30 seconds by default), and may come from any runtime, or from a thread without one: the I/O is done on a thread of the
//! store's own. Requests that a service refuses for a while are made again within that time.
//!
//! # Conditions
//! The checkpoint is put in the place of the one that was read, and of no other: by ETag on S3 and Azure, by generation on Google Cloud Storage. A service
//! that ignores conditions can be made to forget a newer checkpoint by two that publish at once; the next run puts it there again.

mod fault;
#[cfg(feature = "fleet")]
mod objects;
mod tiles;
mod url;

#[cfg(feature = "fleet")]
pub use objects::Objects;
pub use tiles::ObjectTiles;

#[cfg(all(doctest, feature = "fleet"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[expect(unused_imports, reason = "for the documentation")]
use waxseal::audit::TileStore;
