//! Names of objects, and their ids.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, UpdateVersion};
use waxseal::{Error, ErrorKind, Result};

/// The objects below a prefix.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl Place {
    pub(super) fn new(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { store, prefix }
    }

    /// What is listed below.
    pub(super) fn prefix(&self) -> Option<&Path> {
        Some(&self.prefix).filter(|prefix| !prefix.is_root())
    }

    /// The name of an object.
    pub(super) fn path(&self, id: &str) -> Result<Path> {
        let name = self.name(id);
        match Path::parse(&name) {
            Ok(path) if path.as_ref() == name && !id.is_empty() => Ok(path),
            _ => Err(Error::new(ErrorKind::InvalidArgument)
                .with_detail("no object can be asked for by this name: it has an empty part, `.`, `..` or a control character in it")),
        }
    }

    /// The name behind which to list: that of an id which ends with `/` is one that comes before it.
    pub(super) fn offset(&self, after: &str) -> Result<Path> {
        self.path(after.strip_suffix('/').unwrap_or(after))
    }

    fn name(&self, id: &str) -> String {
        match self.prefix.as_ref() {
            "" => id.to_owned(),
            prefix => format!("{prefix}/{id}"),
        }
    }

    /// The id of an object. `None` if it is not below the prefix, as an object is not that stands for the folder itself.
    pub(super) fn id<'p>(&self, path: &'p Path) -> Option<&'p str> {
        let id = match self.prefix.as_ref() {
            "" => path.as_ref(),
            prefix => path.as_ref().strip_prefix(prefix)?.strip_prefix('/')?,
        };
        Some(id).filter(|id| !id.is_empty())
    }
}

/// What an object is known again by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen(UpdateVersion);

impl Seen {
    pub(super) fn of(meta: &ObjectMeta) -> Self {
        Self(UpdateVersion {
            e_tag: meta.e_tag.clone(),
            version: meta.version.clone(),
        })
    }

    /// Both are headers, and no header has a line end in it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        format!("{}\n{}", text(&self.0.e_tag), text(&self.0.version)).into_bytes()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).ok();
        let (e_tag, version) = text
            .and_then(|text| text.split_once('\n'))
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument).with_detail("an item of another store"))?;
        let part = |part: &str| Some(part.to_owned()).filter(|part| !part.is_empty());
        let seen = UpdateVersion {
            e_tag: part(e_tag),
            version: part(version),
        };
        if seen.e_tag.is_none() && seen.version.is_none() {
            return Err(Error::new(ErrorKind::Configuration)
                .with_detail("the service says neither an ETag nor a version, so nothing can be replaced under a condition"));
        }
        Ok(Self(seen))
    }

    pub(super) fn e_tag(&self) -> Option<String> {
        self.0.e_tag.clone()
    }

    pub(super) fn into_version(self) -> UpdateVersion {
        self.0
    }
}
