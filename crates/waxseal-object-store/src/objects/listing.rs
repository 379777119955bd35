//! The names of a range, in order.

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::{Error as Fault, ObjectMeta, ObjectStoreExt as _};
use waxseal::fleet::Range;
use waxseal::{Error, ErrorKind, Result};

use super::place::Place;
use crate::fault::fault;

/// An entry of a listing.
pub(super) enum Listed {
    /// An object, and the id before it.
    Object {
        id: String,
        before: Option<String>,
        meta: ObjectMeta,
    },
    /// An object that is not empty, and whose name ends with `/`.
    Nameless(String),
}

/// The objects of a range. It is read inside the door.
pub(super) struct Listing {
    place: Place,
    stream: BoxStream<'static, object_store::Result<ObjectMeta>>,
    after: Option<String>,
    until: Option<String>,
    last: Option<String>,
    /// The one that comes next, so that it is known whether one does.
    ahead: Option<Listed>,
    has_begun: bool,
}

impl Listing {
    pub(super) fn of(place: &Place, range: &Range) -> Result<Self> {
        let prefix = place.prefix();
        let stream = match range.after() {
            Some(after) => place.store.list_with_offset(prefix, &place.offset(after)?),
            None => place.store.list(prefix),
        };
        Ok(Self {
            place: place.clone(),
            stream,
            after: range.after().map(str::to_owned),
            until: range.until().map(str::to_owned),
            last: range.after().map(str::to_owned),
            ahead: None,
            has_begun: false,
        })
    }

    /// Whether it is known that nothing more comes.
    pub(super) fn is_done(&self) -> bool {
        self.has_begun && self.ahead.is_none()
    }

    /// The next ones.
    pub(super) async fn take(&mut self, most: usize) -> Result<Vec<Listed>> {
        if !self.has_begun {
            self.ahead = self.next().await?;
            self.has_begun = true;
        }
        let mut taken = Vec::new();
        while taken.len() < most {
            let Some(listed) = self.ahead.take() else { break };
            taken.push(listed);
            self.ahead = self.next().await?;
        }
        Ok(taken)
    }

    async fn next(&mut self) -> Result<Option<Listed>> {
        while let Some(meta) = self.stream.next().await {
            let meta = match meta {
                Ok(meta) => meta,
                Err(error) => return Err(why(&self.place, error).await),
            };
            let Some(id) = self.place.id(&meta.location) else {
                continue;
            };
            if self.until.as_deref().is_some_and(|until| id > until) {
                return Ok(None);
            }
            let is_next = self.last.as_deref().is_none_or(|last| id > last);
            // A listing behind `a/` is one behind `a`.
            let is_before = |after: &str| after.ends_with('/') && id <= after;
            if self.after.as_deref().is_some_and(is_before) || (!is_next && meta.size == 0) {
                continue;
            }
            if is_next {
                let id = id.to_owned();
                let before = self.last.replace(id.clone());
                return Ok(Some(Listed::Object { id, before, meta }));
            }
            // The slash at its end, by which it comes here, is cut off.
            let id = format!("{id}/");
            if self.last.as_deref().is_some_and(|last| id.as_str() <= last) {
                return Err(Error::new(ErrorKind::Configuration).with_detail(
                    "the service does not list objects in the order of their names, or a name begins with `/`",
                ));
            }
            self.last = Some(id.clone());
            return Ok(Some(Listed::Nameless(id)));
        }
        Ok(None)
    }
}

/// Whether this very object is still the first one that is listed behind an id.
pub(super) async fn is_first(place: &Place, before: Option<&str>, meta: &ObjectMeta) -> Result<bool> {
    let mut range = Range::all();
    if let Some(before) = before {
        range = range.from_after(before);
    }
    let listed = Listing::of(place, &range)?.next().await?;
    Ok(matches!(listed, Some(Listed::Object { meta: first, .. }) if first == *meta))
}

/// Why nothing can be listed. Of a listing that is denied `object_store` says no more than that it failed; of an object it does.
async fn why(place: &Place, error: Fault) -> Error {
    let is_vague = matches!(error, Fault::Generic { .. });
    let Some(path) = place.path("waxseal").ok().filter(|_| is_vague) else {
        return fault(error);
    };
    match place.store.head(&path).await {
        Err(denied @ (Fault::PermissionDenied { .. } | Fault::Unauthenticated { .. })) => fault(denied),
        Err(Fault::NotFound { .. }) => fault(error).with_detail(
            "objects cannot be listed: the service fails, or there is no such bucket or container",
        ),
        _ => fault(error),
    }
}
