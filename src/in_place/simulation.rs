//! A simulated disk: every step can fail, or be the last one before the process or the machine ends, and what was
//! not synced is then there in any part.

use super::journal::Journal;
use super::protocol::{Disk, recover, rewrite};
use super::{Recovery, journal};
use crate::backend::local::LocalKey;
use crate::sealer::NewWraps;
use crate::value::error::{Error, ErrorKind, Result};
use crate::{Builder, EncryptionContext, Envelope, Kek, Sealer, blocking, envelope::Header};

/// The smallest piece that is written as a whole. Less than a real sector, so that a front has many.
const SECTOR: usize = 16;

/// A small generator: the same numbers every time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The process ends; what it has written stays.
    Killed,
    /// The machine ends: what was not synced is there in part.
    PowerLost,
    /// As that, and a sector that was being written holds neither old nor new bytes.
    SectorLost,
}

#[derive(Clone)]
struct Simulated {
    file: Vec<u8>,
    on_disk: Vec<u8>,
    journal: Option<Vec<u8>>,
    journal_is_synced: bool,
    /// The journal whose name has reached the disk.
    named_on_disk: Option<Vec<u8>>,
    /// How many more steps there are; the one after them is done up to `torn` bytes and is the last.
    steps: usize,
    torn: usize,
    is_over: bool,
    /// A step that fails, once, and the process goes on.
    fails: Option<usize>,
    done: usize,
}

impl Simulated {
    fn new(file: &[u8]) -> Self {
        Self {
            file: file.to_vec(),
            on_disk: file.to_vec(),
            journal: None,
            journal_is_synced: false,
            named_on_disk: None,
            steps: usize::MAX,
            torn: 0,
            is_over: false,
            fails: None,
            done: 0,
        }
    }

    fn ending_after(mut self, steps: usize, torn: usize) -> Self {
        (self.steps, self.torn, self.is_over, self.done) = (steps, torn, false, 0);
        self
    }

    /// One step: how many of its bytes are done, and whether it succeeds.
    fn step(&mut self, bytes: usize) -> (usize, Result<()>) {
        let error = || Err(Error::io(std::io::ErrorKind::Other.into()));
        if self.is_over {
            return (0, error());
        }
        self.done += 1;
        if self.steps == 0 {
            self.is_over = true;
            return (self.torn.min(bytes), error());
        }
        self.steps -= 1;
        if self.fails == Some(self.done - 1) {
            return (bytes / 2, error());
        }
        (bytes, Ok(()))
    }

    /// What the next process finds.
    fn after(mut self, end: End, random: &mut Random) -> Self {
        if end != End::Killed {
            let pairs = self.on_disk.chunks_mut(SECTOR).zip(self.file.chunks(SECTOR));
            for (old, new) in pairs.filter(|(old, new)| *old != *new) {
                match random.below(4) {
                    0 => old.copy_from_slice(new),
                    1 => {
                        let part = random.below(new.len());
                        old[..part].copy_from_slice(&new[..part]);
                    }
                    2 if end == End::SectorLost => old.fill(0xee),
                    _ => {}
                }
            }
            self.file = self.on_disk.clone();
            let was_there = self.named_on_disk.take();
            let mut written = self.journal.take();
            let unsynced = |bytes: &&mut Vec<u8>| !self.journal_is_synced && !bytes.is_empty();
            if let Some(bytes) = written.as_mut().filter(unsynced) {
                match random.below(4) {
                    0 => bytes.truncate(random.below(bytes.len() + 1)),
                    1 => bytes.fill(0),
                    2 => {
                        let at = random.below(bytes.len());
                        bytes[at] ^= 0x40;
                    }
                    _ => {}
                }
            }
            self.journal = if random.below(2) == 0 { was_there } else { written };
            self.named_on_disk = self.journal.clone();
            self.journal_is_synced = true;
        }
        (self.steps, self.is_over, self.fails) = (usize::MAX, false, None);
        self
    }
}

impl Disk for Simulated {
    fn file_len(&self) -> Result<u64> {
        Ok(self.file.len() as u64)
    }

    fn front(&mut self, len: usize) -> Result<Vec<u8>> {
        Ok(self.file[..len.min(self.file.len())].to_vec())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let (done, result) = self.step(bytes.len());
        let at = usize::try_from(offset).unwrap();
        self.file[at..at + done].copy_from_slice(&bytes[..done]);
        result
    }

    fn sync_file(&mut self) -> Result<()> {
        let (_, result) = self.step(0);
        if result.is_ok() {
            self.on_disk = self.file.clone();
        }
        result
    }

    fn journal(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(self.journal.clone())
    }

    fn create_journal(&mut self, bytes: &[u8]) -> Result<()> {
        assert!(self.journal.is_none());
        let (done, result) = self.step(bytes.len());
        // Where the process goes on, it leaves none behind.
        if result.is_ok() || self.is_over && self.done > 0 {
            (self.journal, self.journal_is_synced) = (Some(bytes[..done].to_vec()), false);
        }
        result
    }

    fn sync_journal(&mut self) -> Result<()> {
        let (_, result) = self.step(0);
        self.journal_is_synced |= result.is_ok();
        result
    }

    fn remove_journal(&mut self) -> Result<()> {
        let (_, result) = self.step(0);
        if result.is_ok() {
            self.journal = None;
        }
        result
    }

    fn sync_directory(&mut self) -> Result<()> {
        let (_, result) = self.step(0);
        if result.is_ok() {
            self.named_on_disk = self.journal.clone();
        }
        result
    }
}

fn keys(fill: u8) -> LocalKey {
    LocalKey::new(&Kek::from_bytes(&[fill; 32]))
}

fn build(builder: Builder) -> blocking::Sealer {
    builder.build().unwrap().into()
}

/// An envelope, its new wraps, and the two fronts.
struct Case {
    sealed: Vec<u8>,
    wraps: NewWraps,
    new: Vec<u8>,
}

impl Case {
    fn new(padding: usize) -> Self {
        let context = EncryptionContext::new([("a", "b")]).unwrap();
        let roomy = Sealer::builder()
            .wrap_with(keys(1))
            .padding(padding)
            .store_context();
        let sealed = build(roomy).seal(b"the payload", &context).unwrap();
        let mover = build(Sealer::builder().wrap_with(keys(2)).open_with(keys(1)));
        let wraps = mover.rewrap(&sealed, &context).unwrap();
        let at = wraps.replaces();
        let new = [wraps.in_place().unwrap().as_slice(), &sealed[at..]].concat();
        Self { sealed, wraps, new }
    }

    /// The file is whole, under the old key or the new one.
    fn check(&self, disk: &Simulated, what: &str) {
        assert!(disk.file == self.sealed || disk.file == self.new, "{what}");
        assert_eq!(disk.journal, None, "{what}");
        // And stays so.
        assert!(disk.file == disk.on_disk, "{what}");
    }
}

/// Journal (3), mark, rest and magic with a sync each (6), and the end of the journal (2).
const STEPS: usize = 11;
const ENDS: [End; 3] = [End::Killed, End::PowerLost, End::SectorLost];

// spec: REWRAP-6
#[test]
fn whatever_ends_it_wherever_the_file_is_whole_after_recovery() {
    let case = Case::new(70);
    let steps = {
        let mut disk = Simulated::new(&case.sealed);
        rewrite(&mut disk, &case.wraps).unwrap();
        assert!(disk.file == case.new && disk.on_disk == case.new && disk.named_on_disk.is_none());
        disk.done
    };
    assert_eq!(steps, STEPS);
    let random = &mut Random(1);
    let (mut restored, mut removed, mut clean) = (0, 0, 0);
    for first in 0..=steps {
        for round in 0..200 {
            for end in ENDS {
                // Every length at which a write of the front can break off, and any for the journal.
                let torn = round * 2 % (case.wraps.replaces() + 1);
                let what = format!("{first} {torn} {end:?}");
                let mut disk = Simulated::new(&case.sealed).ending_after(first, torn);
                let result = rewrite(&mut disk, &case.wraps);
                // The last two steps are the journal's removal; what was said to be done is done.
                assert_eq!(result.is_ok(), first >= steps - 2, "{what}");
                let mut disk = disk.after(end, random);
                if result.is_ok() {
                    assert!(disk.file == case.new, "{what}");
                }
                // The recovery is ended, too, twice.
                for _ in 0..2 {
                    disk = disk.ending_after(random.below(10), random.below(case.wraps.replaces()));
                    let _ = recover(&mut disk);
                    disk = disk.after(end, random);
                }
                match recover(&mut disk).unwrap() {
                    Recovery::Clean => clean += 1,
                    Recovery::Removed => removed += 1,
                    Recovery::Restored => restored += 1,
                }
                case.check(&disk, &what);
                // A journal whose removal had not reached the disk may be back, and does no harm.
                let file = disk.file.clone();
                let mut again = disk.after(End::PowerLost, random);
                assert!(again.file == file, "{what}");
                recover(&mut again).unwrap();
                case.check(&again, &what);
                assert!(again.file == file, "{what}");
            }
        }
    }
    // All three were seen often, so that the test has seen what it is for.
    assert!(
        restored > 20 && removed > 20 && clean > 20,
        "{restored} {removed} {clean}"
    );
}

#[test]
fn a_step_that_fails_leaves_the_file_whole_or_recoverable() {
    let case = Case::new(70);
    for fails in 0..STEPS {
        for also_fails_later in [false, true] {
            let mut disk = Simulated::new(&case.sealed);
            disk.fails = Some(fails);
            if also_fails_later {
                // From there on nothing works any more.
                disk.steps = fails + 1;
            }
            let result = rewrite(&mut disk, &case.wraps);
            assert_eq!(result.is_ok(), fails >= STEPS - 2, "{fails}");
            if let Err(error) = result {
                assert_eq!(error.kind(), ErrorKind::Io);
            }
            if !also_fails_later {
                assert!(disk.file == case.sealed || disk.file == case.new, "{fails}");
            }
            let mut disk = disk.after(End::Killed, &mut Random(3));
            recover(&mut disk).unwrap();
            assert!(disk.file == case.sealed || disk.file == case.new, "{fails}");
            assert_eq!(disk.journal, None);
            rewrite(&mut disk, &case.wraps).map_or_else(
                |error| assert!(disk.file == case.new, "{error}"),
                |()| assert!(disk.file == case.new),
            );
        }
    }
}

#[test]
fn a_file_that_is_not_the_one_is_left_alone() {
    let case = Case::new(70);
    let body_at = case.wraps.replaces();
    for at in [0, 60, body_at, body_at + 25, body_at + 60, body_at + 70] {
        let mut other = case.sealed.clone();
        other[at] ^= 1;
        let mut disk = Simulated::new(&other);
        let error = rewrite(&mut disk, &case.wraps).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{at}");
        assert_eq!((disk.done, disk.file == other), (0, true));
    }
    let mut disk = Simulated::new(&case.sealed[..body_at]);
    assert!(rewrite(&mut disk, &case.wraps).is_err());
    // Already re-wrapped.
    let mut disk = Simulated::new(&case.new);
    assert_eq!(
        rewrite(&mut disk, &case.wraps).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let context = EncryptionContext::empty();
    let sealed = build(Sealer::builder().wrap_with(keys(1)))
        .seal(b"x", &context)
        .unwrap();
    let both = Sealer::builder()
        .wrap_with(keys(2))
        .wrap_with(keys(3))
        .open_with(keys(1));
    let wraps = build(both).rewrap(&sealed, &context).unwrap();
    let mut disk = Simulated::new(&sealed);
    let error = rewrite(&mut disk, &wraps).unwrap_err();
    let (needed, room) = (wraps.prefix().len() as u64, wraps.replaces() as u64);
    assert_eq!(error.kind(), ErrorKind::NoRoom { needed, room });
    assert!(needed > room);
    assert_eq!((disk.done, disk.file == sealed), (0, true));
}

/// A front that parses is never overwritten, whatever journal stands beside it and whatever file it is in.
#[test]
fn a_stale_journal_is_removed_and_changes_nothing() {
    let case = Case::new(70);
    let at = case.wraps.replaces();
    let file_len = case.sealed.len() as u64;
    let journal_of = |file_len| {
        let journal = Journal {
            file_len,
            body: &case.sealed[at..at + 64],
            old: &case.sealed[..at],
            new: &case.new[..at],
        };
        journal.encode().unwrap()
    };
    let find_with = |journal: Vec<u8>, file: &[u8]| {
        let mut disk = Simulated::new(file);
        disk.journal = Some(journal);
        let result = recover(&mut disk);
        (result, disk)
    };
    let find = |file: &[u8]| find_with(journal_of(file_len), file);
    // Other wraps of the same body: of the same length, and shorter. Another envelope, longer and shorter. Parts of both
    // fronts that parse, as somebody who copies single wraps may write them.
    let context = EncryptionContext::new([("a", "b")]).unwrap();
    let third = build(Sealer::builder().wrap_with(keys(3)).open_with(keys(1)));
    let third = third.rewrap(&case.sealed, &context).unwrap();
    let same_length = [third.in_place().unwrap().as_slice(), &case.sealed[at..]].concat();
    let shorter = third.splice(&case.sealed).unwrap();
    let mut mixed = case.new.clone();
    mixed[at - 90..at - 70].copy_from_slice(&case.sealed[at - 90..at - 70]);
    assert!(Header::parse(&mixed).is_ok());
    let elsewhere = [Case::new(70).sealed, Case::new(900).sealed, Case::new(0).sealed];
    for file in [&same_length, &shorter, &mixed, &case.sealed, &case.new]
        .into_iter()
        .chain(&elsewhere)
    {
        let (result, disk) = find(file);
        assert_eq!(result.unwrap(), Recovery::Removed);
        assert!(disk.file == *file && disk.journal.is_none());
    }
    // Torn, and cut off so that nobody knows whose it is; or no envelope at all; or longer than the file was.
    let mut torn = case.new.clone();
    torn[..40].copy_from_slice(&case.sealed[..40]);
    torn[..4].copy_from_slice(b"waxj");
    torn[40..at].fill(0xee);
    assert!(Header::parse(&torn).is_err());
    let malformed = ErrorKind::Malformed {
        field: "journal",
        offset: 0,
    };
    for file in [&torn[..at + 63], b"", &[0xee; 300]] {
        let (result, disk) = find(file);
        assert_eq!(result.unwrap_err().kind(), malformed);
        assert!(disk.file == file && disk.journal.is_some());
    }
    let (result, disk) = find_with(journal_of(file_len + 1), &torn);
    assert_eq!(result.unwrap_err().kind(), malformed);
    assert!(disk.file == torn && disk.journal.is_some());
    let (result, disk) = find(&torn);
    assert_eq!(result.unwrap(), Recovery::Restored);
    assert!(disk.file == case.sealed);
}

/// Whatever a write of ours leaves, it parses only if it is whole: that is what lets a recovery believe a front.
#[test]
fn no_part_of_a_write_parses() {
    let case = Case::new(70);
    let random = &mut Random(5);
    for steps in 3..9 {
        for round in 0..case.wraps.replaces() {
            for end in ENDS {
                let mut disk = Simulated::new(&case.sealed).ending_after(steps, round);
                rewrite(&mut disk, &case.wraps).unwrap_err();
                let file = disk.after(end, random).file;
                if file != case.sealed && file != case.new {
                    assert!(Header::parse(&file).is_err(), "{steps} {round} {end:?}");
                }
            }
        }
    }
}

#[test]
fn a_journal_that_was_never_finished_is_removed() {
    let case = Case::new(70);
    for bytes in [Vec::new(), b"WAXJ".to_vec(), vec![0; journal::len_max() + 1]] {
        let mut disk = Simulated::new(&case.sealed);
        disk.journal = Some(bytes);
        assert_eq!(recover(&mut disk).unwrap(), Recovery::Removed);
        assert!(disk.file == case.sealed && disk.journal.is_none());
        assert_eq!(recover(&mut disk).unwrap(), Recovery::Clean);
    }
}

/// What a reader meets between crash and recovery: an error or the payload, never another one.
#[test]
fn a_torn_front_never_opens_as_something_else() {
    let case = Case::new(0);
    let context = EncryptionContext::new([("a", "b")]).unwrap();
    let both = build(Sealer::builder().wrap_with(keys(2)).open_with(keys(1)));
    let mut refused = 0;
    for torn in 0..=case.wraps.replaces() {
        let file = [&case.new[..torn], &case.sealed[torn..]].concat();
        match both.open(&file, &context) {
            Ok(opened) => assert_eq!(opened, b"the payload"),
            Err(_) => refused += 1,
        }
        if file != case.sealed && file != case.new && Envelope::parse(&file).is_ok() {
            assert!(both.open(&file, &context).is_err(), "{torn}");
        }
    }
    assert!(refused > 50, "{refused}");
}
