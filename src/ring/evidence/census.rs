//! The scan: the front of each item, and no key.

#[cfg(feature = "fleet")]
mod stored;

use std::io::{self, Read};
use std::path::Path;

use super::receipt::{self, Body, CensusReceipt, FailedItem};
use super::tally::Tally;
use super::{Covered, PlaceCount, look};
use crate::envelope::{Envelope, HeaderBuf, WrapSection, WrapsRef};
use crate::ring::view::hex;
use crate::ring::{Authority, Reader, State, Time, View};
use crate::runtime::Monotonic;
use crate::value::error::{Error, Result};

/// How many failed items a receipt names.
const MAX_FAILED: usize = 1000;
/// How many bytes of an item's name, and of a reason, a receipt has.
const MAX_TEXT: usize = 1024;
/// How much is read to see whether an item is an envelope at all.
const PROBE: usize = 8;

/// A census that is under way: counts envelopes by the keys that they name, reading only their fronts, with no key and no
/// network but the inventory.
///
/// *Places.* The receipt says how many envelopes were counted in each place that the census covers, and in each place below one of them that the
/// settings demand. If it covers several places that are no files, say with [`scanning`](Self::scanning) which one comes: what must be covered and has
/// not one envelope retires and destroys nothing.
///
/// *Branch keys.* If `covers` has [`Covered::BranchKeys`], the census counts the branch keys of the ring when it begins, under the keys that they are
/// wrapped under.
///
/// *What fails.* An item that begins as every envelope does, of whatever version, but cannot be read further has failed, and so
/// has one whose wraps are in a DEK store, and one that cannot be read at all: each may be an envelope that a key is needed for, so the
/// receipt is not whole. Of an item that begins otherwise, the first 4 KiB are looked at: if an envelope begins somewhere in them, as bytes, in
/// base64, in hexadecimal digits, as a list of numbers or with escapes, the item has failed, too. Else it is counted as *foreign*, as
/// an empty one is. A census sees what it is given: who stores envelopes inside something else (compressed, in an archive, as rows of
/// a database) must take them out first, or let a store do it (`add_store`, with the feature `fleet`).
///
/// ```
/// # use waxseal::ring::{Authority, Reader};
/// # use waxseal::ring::evidence::{Census, Covered};
/// # async fn run(ring: &Reader, key: &Authority) -> waxseal::Result<()> {
/// let covers = vec![Covered::Store("documents.body".into())];
/// let mut census = Census::begin(ring, key, "nightly census", covers).await?;
/// for (id, sealed) in [("1", b"WAX...".as_slice())] {
///     census.add(id, sealed, sealed.len() as u64);
/// }
/// let receipt = census.finish()?;
/// for count in receipt.keys() {
///     println!("{} {} items, {} of them only there", count.key, count.items, count.sole);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Census<'a> {
    reader: &'a Reader,
    signer: &'a Authority,
    view: View,
    actor: String,
    started: Time,
    begun: Monotonic,
    covers: Vec<PlaceCount>,
    /// Of those, the one whose items come now.
    current: Option<usize>,
    tally: Tally,
    items: u64,
    bytes: u64,
    foreign: u64,
    failed: Vec<FailedItem>,
    failed_items: u64,
    /// The stores that were not scanned to their ends.
    #[cfg(feature = "fleet")]
    broken_off: Vec<String>,
}

impl<'a> Census<'a> {
    /// Begins a census of this ring: reads all its keys. `signer` is the ring's authority or one of its census keys, `actor`
    /// the person or job that runs it, and `covers` what will be scanned.
    ///
    /// # Errors
    /// `Configuration` if the ring does not let `signer` sign receipts; `InvalidArgument` if the actor is empty, `covers` is, or it
    /// has a wrong name ([`Covered::check`]); `ClocksDisagree` if the inventory's clock is further from that of this machine than the settings
    /// allow; those of
    /// [`Trust::read`](crate::ring::Trust::read).
    pub async fn begin(
        reader: &'a Reader,
        signer: &'a Authority,
        actor: &str,
        covers: Vec<Covered>,
    ) -> Result<Self> {
        // Before everything that it will see.
        let (asked, begun) = (reader.ask().await?, reader.runtime().now());
        let view = reader.whole().await?;
        if !view
            .settings()
            .may_sign_receipts()
            .any(|key| key == signer.public())
        {
            return Err(Error::configuration(format!(
                "{} may not sign census receipts of this ring: it is neither its authority nor one of its census keys; list it with `waxseal ring \
                 set --census-key`",
                signer.public()
            )));
        }
        if actor.is_empty() || covers.is_empty() {
            return Err(Error::argument(
                "a census needs an actor, and names what it covers",
            ));
        }
        covers.iter().try_for_each(Covered::check)?;
        let current = (covers.len() == 1).then_some(0);
        // What is demanded has a count of its own.
        let demanded = view.settings().must_cover.iter();
        let below = demanded.filter(|place| covers.iter().any(|covered| covered.covers(place)));
        let mut places: Vec<Covered> = Vec::new();
        for place in covers.iter().chain(below) {
            if !places.contains(place) {
                places.push(place.clone());
            }
        }
        let covers = places
            .into_iter()
            .map(|place| PlaceCount::new(place, 0))
            .collect();
        let started = asked.agreed_by(view.settings())?.earliest;
        let mut census = Self {
            tally: Tally::new(&view)?,
            reader,
            signer,
            view,
            actor: shorten(actor),
            started,
            begun,
            covers,
            current,
            items: 0,
            bytes: 0,
            foreign: 0,
            failed: Vec::new(),
            failed_items: 0,
            #[cfg(feature = "fleet")]
            broken_off: Vec::new(),
        };
        census.count_branches();
        Ok(census)
    }

    /// Counts the branch keys of the ring, if it covers them: each is an item under the KEK that it is wrapped under, and opens with no other.
    fn count_branches(&mut self) {
        let place = self
            .covers
            .iter()
            .position(|covered| covered.place == Covered::BranchKeys);
        let Some(place) = place else { return };
        let keys: Vec<_> = self.view.all_keys().cloned().collect();
        for key in keys {
            let Some(branch) = key.branch.as_ref().filter(|_| key.state != State::Destroyed) else {
                continue;
            };
            let item = shorten(&format!("the branch key {} of scope {}", key.id, key.scope));
            let bytes = branch.wrapped.bytes.len() as u64;
            if let Err(error) = self.tally.count_branch(&item, branch, bytes) {
                self.fail(&item, &error.to_string());
                continue;
            }
            if let Some(covered) = self.covers.get_mut(place) {
                covered.items += 1;
            }
            self.items += 1;
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    /// Returns what the ring held when the census began.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Says of which place the items are that come next, if the census covers several. Files need no such word: they are counted for each place
    /// that their name, an absolute path, lies in.
    ///
    /// # Errors
    /// `InvalidArgument` if the census does not cover this place.
    pub fn scanning(&mut self, place: &Covered) -> Result<()> {
        let found = self.covers.iter().position(|covered| covered.place == *place);
        let Some(found) = found else {
            return Err(Error::argument(format!(
                "the census does not cover {place}: name the place when it begins"
            )));
        };
        self.current = Some(found);
        Ok(())
    }

    /// Counts each item of an iterator: its name, and its bytes or at least their front.
    pub fn add_all<N, B>(&mut self, items: impl IntoIterator<Item = (N, B)>)
    where
        N: AsRef<str>,
        B: AsRef<[u8]>,
    {
        for (name, bytes) in items {
            let bytes = bytes.as_ref();
            self.add(name.as_ref(), bytes, bytes.len() as u64);
        }
    }

    /// Counts one item. Reads its header and nothing more. `bytes` is the length of the whole item.
    pub fn add(&mut self, item: &str, mut front: impl Read, bytes: u64) {
        let mut probe = [0; PROBE];
        let probed = match read_some(&mut front, &mut probe) {
            Ok(count) => probe.get(..count).unwrap_or_default(),
            Err(error) => return self.fail(item, &format!("cannot be read: {}", error.kind())),
        };
        let magic = Envelope::MAGIC;
        if probed.is_empty() || !probed.iter().zip(&magic).all(|(byte, magic)| byte == magic) {
            return self.look(item, probed.chain(front));
        }
        let header = match HeaderBuf::read_from(&mut probed.chain(front)) {
            Ok(header) => header,
            Err(error) => return self.fail(item, &format!("begins as an envelope does, but: {error}")),
        };
        match header.header().map(|header| header.wraps()) {
            Ok(WrapsRef::Attached(section)) => self.count(item, &section, bytes),
            Ok(WrapsRef::Detached(_)) => {
                self.fail(item, "its wraps are in a DEK store, which is not a part of it");
            }
            Err(error) => self.fail(item, &error.to_string()),
        }
    }

    /// Counts an item that does not begin as an envelope does.
    fn look(&mut self, item: &str, mut bytes: impl Read) {
        let mut front = vec![0; look::LOOK];
        let front = match read_some(&mut bytes, &mut front) {
            Ok(count) => front.get(..count).unwrap_or_default(),
            Err(error) => return self.fail(item, &format!("cannot be read: {}", error.kind())),
        };
        match look::hidden(front) {
            None => self.foreign += 1,
            Some(how) => self.fail(
                item,
                &format!("seems to hold an envelope {how}: take it out before the census"),
            ),
        }
    }

    /// Counts the wrap section of a DEK store's entry, or whatever else has wraps without a body.
    pub fn add_section(&mut self, item: &str, section: &[u8], bytes: u64) {
        match WrapSection::parse(section) {
            Ok(section) => self.count(item, &section, bytes),
            Err(error) => self.fail(item, &error.to_string()),
        }
    }

    /// Records an item that the caller could not read. The receipt is not whole.
    pub fn fail(&mut self, item: &str, reason: &str) {
        self.failed_items += 1;
        if self.failed.len() < MAX_FAILED {
            self.failed.push(FailedItem {
                item: shorten(item),
                reason: shorten(reason),
            });
        }
    }

    /// Records an item that is surely no envelope.
    pub fn skip(&mut self) {
        self.foreign += 1;
    }

    fn count(&mut self, item: &str, section: &WrapSection<'_>, bytes: u64) {
        if let Err(error) = self.tally.count(&shorten(item), section, bytes) {
            return self.fail(item, &error.to_string());
        }
        for (index, covered) in self.covers.iter_mut().enumerate() {
            let is_in =
                |place: &Covered| matches!(place, Covered::Files(path) if Path::new(item).starts_with(path));
            covered.items += u64::from(Some(index) == self.current || is_in(&covered.place));
        }
        self.items += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Ends the census, and signs what it has found.
    ///
    /// # Errors
    /// `OverLimit` if the receipt is longer than [`MAX_RECEIPT`](super::MAX_RECEIPT).
    #[cfg_attr(
        not(feature = "fleet"),
        expect(unused_mut, reason = "only stores are broken off")
    )]
    pub fn finish(mut self) -> Result<CensusReceipt> {
        #[cfg(feature = "fleet")]
        for store in std::mem::take(&mut self.broken_off) {
            self.fail(&store, "was not scanned to its end");
        }
        let now = self.reader.runtime().now();
        // What it has found after hours is not lost because a clock was set meanwhile.
        let finished = self.started.saturating_add(now.0.saturating_sub(self.begun.0));
        let signer = self.signer;
        let body = self.into_body(finished);
        CensusReceipt::sign(body, signer)
    }

    pub(super) fn into_body(self, finished: Time) -> Body {
        let (keys, unknown) = self.tally.finish();
        Body {
            schema: receipt::SCHEMA,
            ring: self.view.ring(),
            revision: self.view.revision(),
            head: hex(&self.view.mark().head),
            actor: self.actor,
            whole: self.failed_items == 0,
            started: self.started,
            finished,
            items: self.items,
            bytes: self.bytes,
            foreign: self.foreign,
            not_covered: receipt::not_covered(&self.covers),
            covers: self.covers,
            keys,
            unknown,
            failed: self.failed,
            failed_items: self.failed_items,
        }
    }
}

impl std::fmt::Debug for Census<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Census")
            .field("started", &self.started)
            .field("items", &self.items)
            .field("failed_items", &self.failed_items)
            .finish_non_exhaustive()
    }
}

fn read_some(reader: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = out.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// A text that a receipt has room for.
fn shorten(text: &str) -> String {
    text.get(..text.floor_char_boundary(MAX_TEXT))
        .unwrap_or_default()
        .to_owned()
}
