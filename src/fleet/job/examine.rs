//! What is to be done with one item.

use crate::envelope::{Envelope, Header};
use crate::fleet::brake::{Brake, TRIES};
use crate::fleet::report::{Counts, Fault, FaultClass};
use crate::fleet::store::{Change, Item};
use crate::sealer::NewWraps;
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, Result};

use super::Shared;

/// What is to be done with one item.
pub(super) enum Decided {
    /// It gets new wraps.
    Change(Box<Planned>),
    /// Nothing.
    Nothing,
    /// It cannot be decided.
    Fault(Fault),
}

/// New wraps for an item, and what is counted once it has them.
pub(super) struct Planned {
    pub(super) change: Change,
    pub(super) counts: Counts,
}

/// Looks at an item, and asks for its new wraps.
pub(super) async fn examine(shared: &Shared<'_>, item: Item, counts: &mut Counts) -> Decided {
    // What begins as an envelope and is none was one, so it is a fault.
    if !item.front().starts_with(&Envelope::MAGIC) {
        counts.foreign += 1;
        return Decided::Nothing;
    }
    let id = item.id().to_owned();
    let decided = match new_wraps(shared, &item).await {
        Ok((None, made)) => {
            counts.current += 1;
            counts.add(&made);
            return Decided::Nothing;
        }
        Ok((Some(new), made)) => Change::new(item, new).and_then(|change| {
            shared.job.store.check(&change)?;
            Ok((change, made))
        }),
        Err(error) => Err(error),
    };
    match decided {
        Ok((change, mut counts)) => {
            counts.written = change.front().len() as u64;
            counts.bytes = change.item().len();
            Decided::Change(Box::new(Planned { change, counts }))
        }
        Err(error) => Decided::Fault(fault(&id, &error)),
    }
}

pub(super) fn fault(id: &str, error: &Error) -> Fault {
    Fault::new(id, FaultClass::of(error), error.to_string())
}

/// The new wraps, and what the rewrapper has counted for them.
async fn new_wraps(shared: &Shared<'_>, item: &Item) -> Result<(Option<NewWraps>, Counts)> {
    let header = Header::parse(item.front())?;
    let stored;
    let context = match (item.context(), header.stored_context()) {
        (Some(context), _) => context,
        (None, Some(canonical)) => {
            stored = EncryptionContext::from_canonical(canonical)?;
            &stored
        }
        (None, None) => {
            return Err(Error::argument(
                "neither the store nor the envelope says in which context it is sealed: give the store a template",
            ));
        }
    };
    let section = item.front().get(..header.body_offset()).unwrap_or_default();
    let mut tries = 0;
    loop {
        shared.brake.wait(shared.runtime).await;
        let (result, made) = {
            let Some(shard) = shared.shards.of(section) else {
                return Err(Error::argument("a job without workers"));
            };
            let mut rewrapper = shard.lock().await;
            let before = rewrapper.counts();
            let result = rewrapper.rewrap(item.front(), context).await;
            (result, Counts::of_wraps(before, rewrapper.counts()))
        };
        let asked = made.rewrapped > 0 || result.is_err();
        match result {
            Err(error) if Brake::is_for(&error) && tries < TRIES => {
                tries += 1;
                shared.brake.hit(shared.runtime.now(), &error);
            }
            result => {
                if asked && result.is_ok() {
                    shared.brake.ease(shared.runtime.now());
                }
                return result.map(|new| (new, made));
            }
        }
    }
}
