//! No stream is read twice: whoever came second would find nothing, and seal nothing.

use std::fs::{self, Metadata};

use super::Place;
use super::identity::{Identity, is_used_up};
use crate::failure::{Failure, Result};

/// Something that a command will read.
pub(crate) struct Source {
    /// What it is read for, as the command line has it.
    pub(crate) what: String,
    pub(crate) place: Place,
}

impl Source {
    pub(crate) fn new(what: impl Into<String>, place: Place) -> Self {
        Self {
            what: what.into(),
            place,
        }
    }

    /// Refuses a descriptor that this process was not started with.
    pub(crate) fn check_open(&self) -> Result<()> {
        #[cfg(unix)]
        if let Place::Descriptor(number, name) = &self.place {
            super::descriptors::duplicate(*number).map_err(|error| {
                Failure::of_descriptor("read", format_args!("{} ({name})", self.what), error)
            })?;
        }
        Ok(())
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        Identity::of(&self.metadata()?)
    }

    fn metadata(&self) -> Option<Metadata> {
        match &self.place {
            #[cfg(unix)]
            Place::Descriptor(number, _) => super::descriptors::duplicate(*number).ok()?.metadata().ok(),
            #[cfg(not(unix))]
            Place::Descriptor(..) => None,
            // That does not open it: opening a pipe can wait for ever.
            Place::Foreign(path) | Place::Path(path) => fs::metadata(path).ok(),
        }
    }
}

/// Refuses two sources that are one stream, before anything is read. A file that is named twice is no stream, and each
/// reads all of it.
pub(crate) fn check_once(sources: &[Source]) -> Result<()> {
    let looked: Vec<_> = sources.iter().map(|source| (source, source.metadata())).collect();
    for (index, (second, metadata)) in looked.iter().enumerate() {
        let before = looked.get(..index).unwrap_or_default();
        if let Some((first, _)) = before
            .iter()
            .find(|(first, other)| is_one_stream((first, other.as_ref()), (second, metadata.as_ref())))
        {
            return Err(Failure::usage(format!(
                "{} and {} would both read {}; give one of them a file or a descriptor of its own",
                first.what,
                second.what,
                second.place.name()
            )));
        }
    }
    Ok(())
}

fn is_one_stream(a: (&Source, Option<&Metadata>), b: (&Source, Option<&Metadata>)) -> bool {
    let (a, of_a) = a;
    let (b, of_b) = b;
    if let (Place::Descriptor(a, _), Place::Descriptor(b, _)) = (&a.place, &b.place)
        && a == b
    {
        return of_a.is_none_or(|metadata| metadata.is_file() || is_used_up(metadata));
    }
    let (Some(of_a), Some(of_b)) = (of_a, of_b) else {
        return false;
    };
    if Identity::of(of_a).is_none() || Identity::of(of_a) != Identity::of(of_b) {
        return false;
    }
    let by_descriptor = |source: &Source| matches!(source.place, Place::Descriptor(..));
    is_used_up(of_a) || of_a.is_file() && by_descriptor(a) && by_descriptor(b)
}
