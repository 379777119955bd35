#![cfg_attr(docsrs, feature(doc_cfg))]
//! A page that shows a [waxseal](https://docs.rs/waxseal) key ring and its audit logs to people.
//!
//! It shows which keys there are and in which state, what is due, what is still under keys that seal no more, what was done, and whether all of
//! it verifies. It changes nothing and needs no key: whoever serves it needs a role that reads the inventory, and may read the logs.
//!
//! ```no_run
//! use axum::Router;
//! use waxseal::ring::Reader;
//! use waxseal_page::Page;
//!
//! fn with_page(app: Router, reader: Reader) -> waxseal::Result<Router> {
//!     let page = Page::builder(reader).log("/var/log/app/audit").build()?;
//!     Ok(app.nest("/key-ring", page.router()))
//! }
//! ```
//!
//! # Who may see it
//! [`Page::router`] asks nobody who he is: an application that mounts it puts its own sign-in before it. Names of scopes may be names of tenants.
//! [`Page::guarded`] is the same behind an [`Access`], and [`serve`] serves it: beyond this machine only with a token.
//!
//! # What it costs
//! The ring is read in a thread of the page's own, and at most a tenth of the time: views show what was read last, and say when. Memory grows with
//! the number of keys, by some hundred bytes each. A view of events looks at 10,000 records of a log at most, and offers to go on.
//!
//! # What the browser gets
//! HTML without scripts, one style sheet, one icon; nothing from elsewhere, and a content-security policy that forbids it. Every text of a ring or a
//! log is escaped.
//!
//! axum is not 1.0 yet, so this crate's versions follow those of axum.

mod access;
mod logs;
mod markup;
mod query;
mod rows;
mod serve;
mod sorting;
mod source;
mod views;

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use waxseal::audit::{Checkpoint, VerifierKey};
use waxseal::ring::Reader;
use waxseal::ring::evidence::CensusReceipt;
use waxseal::{Error, Result};

pub use self::access::Access;
pub use self::serve::serve;

use self::logs::Log;
use self::source::Source;

/// The most logs, and the most receipts, that a page shows.
const MOST: usize = 64;

/// The page of one ring.
#[derive(Clone, Debug)]
pub struct Page(Arc<Source>);

/// What a page shows. [`Page::builder`] begins.
#[derive(Debug)]
pub struct Builder {
    reader: Reader,
    logs: Vec<Log>,
    receipts: Vec<CensusReceipt>,
}

impl Page {
    /// Shows the ring of this reader.
    #[must_use]
    pub fn builder(reader: Reader) -> Builder {
        Builder {
            reader,
            logs: Vec::new(),
            receipts: Vec::new(),
        }
    }

    /// Returns its routes, to nest wherever an application likes. Whoever can reach them sees everything: see the [crate](self).
    ///
    /// The handlers block on threads of [`tokio::task::spawn_blocking`].
    pub fn router(&self) -> Router {
        views::router(&self.0)
    }

    /// Returns its routes for those who may see it.
    pub fn guarded(&self, access: Access) -> Router {
        access.guard(self.router())
    }
}

impl Builder {
    /// Shows the audit log of a directory as well, with the key that the log names. May be repeated: each process has a log of its own.
    #[must_use]
    pub fn log(mut self, folder: impl AsRef<Path>) -> Self {
        self.logs.push(Log::new(folder.as_ref(), None, None));
        self
    }

    /// Shows the audit log of a directory, which must be signed with this key, and continue this checkpoint, if there is one.
    #[must_use]
    pub fn log_signed_by(
        mut self,
        folder: impl AsRef<Path>,
        key: VerifierKey,
        kept: Option<Checkpoint>,
    ) -> Self {
        self.logs.push(Log::new(folder.as_ref(), Some(key), kept));
        self
    }

    /// Shows what this census has counted. May be repeated, with censuses of other places.
    #[must_use]
    pub fn receipt(mut self, receipt: CensusReceipt) -> Self {
        self.receipts.push(receipt);
        self
    }

    /// Makes the page. Nothing is read yet.
    ///
    /// # Errors
    /// `InvalidArgument` if there are more than 64 logs or receipts, or two receipts have counted the same place.
    pub fn build(self) -> Result<Page> {
        let argument =
            |detail: &str| Error::new(waxseal::ErrorKind::InvalidArgument).with_detail(detail.to_owned());
        if self.logs.len() > MOST || self.receipts.len() > MOST {
            return Err(argument("a page shows at most 64 logs and 64 receipts"));
        }
        for (index, one) in self.receipts.iter().enumerate() {
            if self
                .receipts
                .iter()
                .skip(index + 1)
                .any(|other| one.overlaps(other))
            {
                return Err(argument(
                    "two of the censuses have counted the same place, and their sums would count it twice: give the newer one",
                ));
            }
        }
        Ok(Page(Source::new(self.reader, self.logs, self.receipts)))
    }
}
