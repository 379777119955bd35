//! A job over files.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pollster::block_on;
use tempfile::TempDir;
use waxseal::fleet::{DirectoryStore, FaultClass, Page, Range, Report, RewrapJob, Store, Verify};
use waxseal::testing::FakeKeyManager;
use waxseal::{EncryptionContext, Sealer};

use super::context;

struct Files {
    folder: TempDir,
    old: FakeKeyManager,
    new: FakeKeyManager,
}

impl Files {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            old: FakeKeyManager::new("old"),
            new: FakeKeyManager::new("a key with a much longer name"),
        }
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.path().join(id)
    }

    fn put(&self, id: &str, padding: usize) -> Vec<u8> {
        let sealer = Sealer::builder()
            .wrap_with(self.old.clone())
            .padding(padding)
            .build()
            .unwrap();
        let sealed = block_on(sealer.seal(id.as_bytes(), &context())).unwrap();
        fs::create_dir_all(self.path(id).parent().unwrap()).unwrap();
        fs::write(self.path(id), &sealed).unwrap();
        sealed
    }

    fn store(&self) -> DirectoryStore {
        DirectoryStore::open(self.folder.path())
            .unwrap()
            .sealed_in(context())
    }

    fn run(&self) -> Report {
        let builder = Sealer::builder()
            .wrap_with(self.new.clone())
            .open_with(self.old.clone());
        let job = RewrapJob::new(builder.build().unwrap(), Arc::new(self.store()));
        block_on(job.verify(Verify::All).run()).unwrap()
    }

    fn check_moved(&self, id: &str) {
        let sealed = fs::read(self.path(id)).unwrap();
        let opened = block_on(Sealer::new(self.new.clone()).open(&sealed, &context())).unwrap();
        assert_eq!(opened, id.as_bytes());
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn all(store: &dyn Store, range: &Range, limit: usize) -> Vec<String> {
    let (mut rest, mut ids) = (range.clone(), Vec::new());
    loop {
        let page: Page = block_on(store.scan(&rest, limit)).unwrap();
        ids.extend(page.found.iter().map(|found| found.id.clone()));
        if let Some(last) = page.found.last() {
            rest = rest.from_after(&last.id);
        }
        if page.is_last {
            return ids;
        }
    }
}

#[test]
fn files_are_moved_where_they_are_or_anew_and_keep_what_they_are() {
    let files = Files::new();
    let roomy = files.put("a/roomy", 512);
    files.put("a/tight", 0);
    files.put("b", 0);
    fs::set_permissions(files.path("a/tight"), fs::Permissions::from_mode(0o640)).unwrap();
    let inode = |id: &str| fs::metadata(files.path(id)).unwrap().ino();
    let before = (inode("a/roomy"), inode("a/tight"));
    let report = files.run();
    assert_eq!(
        (
            report.counts.moved(),
            report.counts.faults(),
            report.counts.read_back
        ),
        (3, 0, 3)
    );
    for id in ["a/roomy", "a/tight", "b"] {
        files.check_moved(id);
    }
    assert_eq!(inode("a/roomy"), before.0);
    assert_eq!(
        fs::metadata(files.path("a/roomy")).unwrap().len(),
        roomy.len() as u64
    );
    assert_ne!(inode("a/tight"), before.1);
    assert_eq!(
        fs::metadata(files.path("a/tight")).unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert_eq!(files.names("a"), ["roomy", "tight"]);
    assert_eq!(
        report.store,
        format!(
            "files:{}",
            fs::canonicalize(files.folder.path()).unwrap().display()
        )
    );
}

#[test]
fn ids_are_in_order_whatever_stands_in_names_and_however_they_are_read() {
    let files = Files::new();
    let mut ids = [
        "a", "a.b", "a-b/c", "a/b", "a/b.c/d", "a/c", "ab", "b/c/d/e", "z", "ä/ö", "A",
    ]
    .map(str::to_owned);
    // A name is a file or a directory.
    for id in ids.iter().filter(|id| *id != "a") {
        files.put(id, 0);
    }
    ids.sort();
    let ids: Vec<_> = ids.into_iter().filter(|id| id != "a").collect();
    let store = files.store();
    for limit in 1..=ids.len() + 1 {
        assert_eq!(all(&store, &Range::all(), limit), ids, "{limit}");
    }
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(all(&store, &Range::all().from_after(id), 3), ids[number + 1..]);
        assert_eq!(all(&store, &Range::all().up_to(id), 3), ids[..=number]);
    }
    for parts in [1, 2, 3, 7, 100] {
        let ranges = block_on(store.split(&Range::all(), parts)).unwrap();
        assert!(ranges.len() <= parts, "{ranges:?}");
        let found: Vec<_> = ranges.iter().flat_map(|range| all(&store, range, 2)).collect();
        assert_eq!(found, ids, "{ranges:?}");
    }
    // Of a directory that is gone nothing is left.
    assert_eq!(
        all(&store, &Range::all().from_after("a/zzz").up_to("aa"), 3),
        Vec::<String>::new()
    );
}

#[test]
fn what_is_no_file_of_its_own_is_not_replaced() {
    let files = Files::new();
    let sealed = files.put("one", 0);
    fs::hard_link(files.path("one"), files.path("other")).unwrap();
    symlink(files.path("one"), files.path("link")).unwrap();
    symlink(files.folder.path(), files.path("round")).unwrap();
    let fifo = std::process::Command::new("mkfifo")
        .arg(files.path("pipe"))
        .status()
        .unwrap();
    assert!(fifo.success());
    let report = files.run();
    assert_eq!(
        (
            report.counts.examined,
            report.counts.moved(),
            report.counts.faults()
        ),
        (3, 0, 3)
    );
    assert_eq!(fs::read(files.path("one")).unwrap(), sealed);
    let hard = report.faults.iter().find(|fault| fault.id == "one").unwrap();
    assert!(hard.reason.contains("hard links"), "{hard:?}");
}

#[test]
fn a_name_that_is_not_text_is_a_fault_and_the_others_are_moved() {
    use std::os::unix::ffi::OsStrExt as _;
    let files = Files::new();
    let sealed = files.put("one", 0);
    fs::write(
        files.folder.path().join(std::ffi::OsStr::from_bytes(b"b\xff")),
        sealed,
    )
    .unwrap();
    let report = files.run();
    assert_eq!((report.counts.moved(), report.counts.faults()), (1, 1));
    assert!(report.faults[0].reason.contains("UTF-8"), "{:?}", report.faults);
}

#[test]
fn what_a_kill_has_left_beside_a_file_is_removed_or_shown() {
    let files = Files::new();
    let one = files.put("one", 0);
    files.put("two", 0);
    fs::write(files.path(".one.waxseal-new"), &one[..one.len() / 2]).unwrap();
    // The old file, after the two have exchanged their names.
    fs::write(files.path(".one.waxseal-swap"), &one).unwrap();
    // What somebody wrote just then.
    let other = files.put("three", 0);
    fs::rename(files.path("three"), files.path(".two.waxseal-swap")).unwrap();
    let report = files.run();
    assert_eq!((report.counts.moved(), report.counts.faults()), (1, 1));
    files.check_moved("one");
    assert_eq!(
        (report.faults[0].id.as_str(), report.faults[0].class),
        ("two", FaultClass::Unreadable)
    );
    assert!(
        report.faults[0].reason.contains(".two.waxseal-swap"),
        "{:?}",
        report.faults
    );
    assert_eq!(files.names(""), [".two.waxseal-swap", "one", "two"]);
    assert_eq!(fs::read(files.path(".two.waxseal-swap")).unwrap(), other);
    fs::remove_file(files.path(".two.waxseal-swap")).unwrap();
    assert_eq!(files.run().counts.faults(), 0);
    files.check_moved("two");
}

/// Another program replaces files by renames all the time.
#[test]
fn a_file_that_another_program_replaces_is_not_lost() {
    let files = Files::new();
    for number in 0..20 {
        files.put(&format!("{number:02}"), 0);
    }
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let sealer = Sealer::new(files.old.clone());
            let mut last = vec![0_u32; 20];
            let new = files.folder.path().with_extension("outside");
            for round in 1_u32.. {
                let number = round as usize % 20;
                let sealed = block_on(sealer.seal(&round.to_be_bytes(), &context())).unwrap();
                fs::write(&new, sealed).unwrap();
                fs::rename(&new, files.path(&format!("{number:02}"))).unwrap();
                last[number] = round;
                if is_over.load(std::sync::atomic::Ordering::Relaxed) && round > 40 {
                    return last;
                }
            }
            last
        });
        for _ in 0..10 {
            let report = files.run();
            let only_contended = report
                .faults
                .iter()
                .all(|fault| fault.class == FaultClass::Contended);
            assert!(only_contended, "{:?}", report.faults);
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap()
    });
    let builder = Sealer::builder()
        .wrap_with(files.new.clone())
        .open_with(files.old.clone());
    let sealer = builder.build().unwrap();
    for (number, last) in written.iter().enumerate() {
        let sealed = fs::read(files.path(&format!("{number:02}"))).unwrap();
        assert_eq!(
            block_on(sealer.open(&sealed, &context())).unwrap(),
            last.to_be_bytes()
        );
    }
    assert_eq!(files.names("").len(), 20);
}

#[test]
fn the_context_of_a_file_comes_from_its_path() {
    let files = Files::new();
    for tenant in ["acme", "globex"] {
        let context = EncryptionContext::new([("tenant", tenant)]).unwrap();
        let sealed = block_on(Sealer::new(files.old.clone()).seal(b"x", &context)).unwrap();
        fs::create_dir(files.path(tenant)).unwrap();
        fs::write(files.path(tenant).join("x"), sealed).unwrap();
    }
    let store = DirectoryStore::open(files.folder.path())
        .unwrap()
        .sealed_by(|id| {
            let tenant = Path::new(id)
                .iter()
                .next()
                .and_then(|tenant| tenant.to_str())
                .unwrap_or_default();
            EncryptionContext::new([("tenant", tenant)]).map(Some)
        });
    let builder = Sealer::builder()
        .wrap_with(files.new.clone())
        .open_with(files.old.clone());
    let report = block_on(RewrapJob::new(builder.build().unwrap(), Arc::new(store)).run()).unwrap();
    assert_eq!((report.counts.moved(), report.counts.faults()), (2, 0));
}
