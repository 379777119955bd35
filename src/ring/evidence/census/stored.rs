//! The items of a store, page by page.

use super::{Census, shorten};
use crate::fleet::brake::Brake;
use crate::fleet::{Range, Scanned, Store};
use crate::value::error::{Error, ErrorKind, Result};

/// How many items are read at once.
const BATCH: usize = 500;

impl Census<'_> {
    /// Counts each item of a store, from its first to its last, and reads fronts alone. What could not be read, or listed, has failed.
    ///
    /// If the census covers several places, say with [`scanning`](Self::scanning) before that it is the turn of this one. An item is named by the name of
    /// the store and its id.
    ///
    /// *Of an item that is no envelope* a store may return a few bytes only. So an envelope that is somewhere inside it is found if it begins there, and not if it begins
    /// behind what was returned.
    ///
    /// *What changes meanwhile.* An item that is there all the time is counted once. One that comes after its place was read is not counted: a key that wraps
    /// new values while a census runs has more of them than the receipt says, and so a receipt speaks for the time when it began.
    ///
    /// # Errors
    /// Those of [`Store::scan`], if the store is still away, or too busy, when it was asked again eight times in about a minute; `Store` if it returns an id twice.
    /// What was counted stays counted, and the receipt is not whole.
    ///
    /// # Cancel safety
    /// If the future is dropped, the census goes on without the rest of the store, and the receipt is not whole.
    pub async fn add_store(&mut self, store: &dyn Store) -> Result<()> {
        // Until it has ended well.
        self.broken_off.push(shorten(store.name()));
        let (brake, mut rest) = (Brake::default(), Range::all());
        loop {
            let page = brake
                .patiently(self.reader.runtime(), is_passing, || store.scan(&rest, BATCH))
                .await?;
            page.check(&rest)?;
            for scanned in page.found {
                rest = rest.from_after(scanned.id.as_str());
                self.add_scanned(store, &brake, scanned).await;
            }
            if page.is_last {
                break;
            }
        }
        self.broken_off.pop();
        Ok(())
    }

    async fn add_scanned(&mut self, store: &dyn Store, brake: &Brake, scanned: Scanned) {
        let name = format!("{}: {}", store.name(), scanned.id);
        let found = match scanned.item {
            Err(error) if is_passing(&error) && !scanned.hides_items => {
                brake
                    .patiently(self.reader.runtime(), is_passing, || store.front(&scanned.id))
                    .await
            }
            item => item.map(Some),
        };
        match found {
            Ok(Some(item)) => self.add(&name, item.front(), item.len()),
            // Gone meanwhile.
            Ok(None) => {}
            Err(error) => self.fail(&name, &error.to_string()),
        }
    }
}

/// Whether it is worth asking again.
fn is_passing(error: &Error) -> bool {
    Brake::is_for(error) || (error.kind() == ErrorKind::Conflict && error.is_retryable())
}
