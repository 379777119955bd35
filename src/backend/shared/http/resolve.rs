//! The system's resolver, with an error that can be told from others.

use std::error::Error as StdError;
use std::fmt;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

#[derive(Debug)]
pub(super) struct System;

/// A host name that has no address.
#[derive(Debug)]
pub(super) struct NotResolved(Option<std::io::Error>);

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found: Vec<_> = found.map_err(|error| NotResolved(Some(error)))?.collect();
            if found.is_empty() {
                return Err(NotResolved(None).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

impl fmt::Display for NotResolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host name has no address")
    }
}

impl StdError for NotResolved {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.as_ref().map(|source| source as _)
    }
}
