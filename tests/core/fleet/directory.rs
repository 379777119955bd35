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

    fn job(&self) -> RewrapJob {
        let builder = Sealer::builder()
            .wrap_with(self.new.clone())
            .open_with(self.old.clone());
        RewrapJob::new(builder.build().unwrap(), Arc::new(self.store())).verify(Verify::All)
    }

    fn run(&self) -> Report {
        block_on(self.job().run()).unwrap()
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
fn what_only_looks_like_a_part_of_a_rewrap_stays() {
    let files = Files::new();
    let one = files.put("one", 0);
    // Somebody's own file, in the way of a new one, and an envelope like any other.
    files.put(".one.waxseal-new", 0);
    // A record without its file, and a journal without its file.
    fs::write(files.path(".gone.waxseal-move"), "waxseal-move-1\n").unwrap();
    fs::write(files.path("gone.waxseal-journal"), "x").unwrap();
    let report = files.run();
    assert_eq!((report.counts.moved(), report.counts.faults()), (1, 3));
    files.check_moved(".one.waxseal-new");
    assert_eq!(fs::read(files.path("one")).unwrap(), one);
    let reason = |id: &str| &report.faults.iter().find(|fault| fault.id == id).unwrap().reason;
    assert!(reason("one").contains(".one.waxseal-new"), "{:?}", report.faults);
    for id in [".gone.waxseal-move", "gone.waxseal-journal"] {
        assert!(reason(id).contains("is gone"), "{:?}", report.faults);
    }
    assert_eq!(files.names("").len(), 4);
}

/// As after a kill: a record whose exchange was not begun, and a journal whose front was not written to its end.
#[test]
fn what_was_cut_off_is_a_fault_of_a_dry_run_and_settled_by_a_run() {
    let files = Files::new();
    files.put("one", 0);
    let two = files.put("two", 512);
    fs::write(files.path(".one.waxseal-move"), "waxseal-m").unwrap();
    fs::write(files.path(".one.waxseal-new"), b"half of").unwrap();
    let names = files.names("");
    let dry = block_on(files.job().dry_run().run()).unwrap();
    assert_eq!((dry.counts.moved(), dry.counts.contended), (1, 1));
    assert!(dry.faults[0].reason.contains("dry run"), "{:?}", dry.faults);
    assert_eq!(files.names(""), names);
    assert_eq!(fs::read(files.path("two")).unwrap(), two);
    let report = files.run();
    assert_eq!((report.counts.moved(), report.counts.faults()), (2, 0));
    files.check_moved("one");
    assert_eq!(files.names(""), ["one", "two"]);
}

/// A process that was killed has its locks until it is gone.
#[test]
fn what_somebody_has_for_a_moment_is_waited_for() {
    let files = Files::new();
    files.put("one", 512);
    fs::write(files.path("one.waxseal-journal"), "x").unwrap();
    let file = fs::File::options().read(true).open(files.path("one")).unwrap();
    file.try_lock().unwrap();
    let report = std::thread::scope(|scope| {
        let run = scope.spawn(|| files.run());
        std::thread::sleep(std::time::Duration::from_millis(100));
        file.unlock().unwrap();
        run.join().unwrap()
    });
    assert_eq!(
        (report.counts.moved(), report.counts.faults()),
        (1, 0),
        "{:?}",
        report.faults
    );
    files.check_moved("one");
    assert_eq!(files.names(""), ["one"]);
}

#[test]
fn a_directory_that_cannot_be_listed_keeps_a_job_from_being_whole() {
    let files = Files::new();
    for id in ["a/x", "b/c/x", "b/x", "d"] {
        files.put(id, 0);
    }
    let closed = files.path("b/c");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&closed).is_ok() {
        println!("skipped: the superuser may list every directory");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        return;
    }
    let report = files.run();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let counts = report.counts;
    assert_eq!((counts.moved(), counts.unlisted, counts.unreadable), (3, 1, 1));
    assert!(!report.is_whole);
    assert_eq!(report.faults[0].id, "b/c/");
    assert!(files.run().is_whole);
    files.check_moved("b/c/x");
    // The directory itself.
    let store = files.store();
    let moved = files.folder.path().with_extension("moved");
    fs::rename(files.folder.path(), &moved).unwrap();
    let error = block_on(store.scan(&Range::all(), 10)).unwrap_err();
    fs::rename(&moved, files.folder.path()).unwrap();
    assert_eq!(error.kind(), waxseal::ErrorKind::Io);
}

#[test]
fn names_that_are_no_text_are_faults_each_of_its_own() {
    use std::os::unix::ffi::OsStrExt as _;
    let files = Files::new();
    let sealed = files.put("one", 0);
    for name in [&b"b\xff"[..], b"b\xfe", b"\xff\xff"] {
        fs::write(
            files.folder.path().join(std::ffi::OsStr::from_bytes(name)),
            &sealed,
        )
        .unwrap();
    }
    // What the others look like.
    files.put("b\u{fffd}", 0);
    let below = files.folder.path().join(std::ffi::OsStr::from_bytes(b"d\xff"));
    fs::create_dir(&below).unwrap();
    fs::write(below.join("x"), &sealed).unwrap();
    for batch in [1, 2, 100] {
        let job = files.job().dry_run().batch(batch.try_into().unwrap());
        let report = block_on(job.run()).unwrap();
        assert_eq!(
            (report.counts.moved(), report.counts.faults()),
            (2, 4),
            "{report:?}"
        );
        assert_eq!((report.counts.unlisted, report.is_whole), (1, false));
        assert!(report.faults.iter().all(|fault| fault.reason.contains("UTF-8")));
    }
}

#[test]
fn extended_attributes_are_kept() {
    let files = Files::new();
    files.put("one", 0);
    let set = std::process::Command::new("setfattr")
        .args(["-n", "user.origin", "-v", "upload"])
        .arg(files.path("one"))
        .status();
    if !set.is_ok_and(|status| status.success()) {
        println!("skipped: no setfattr, or no attributes on this file system");
        return;
    }
    assert_eq!(files.run().counts.moved(), 1);
    files.check_moved("one");
    let shown = std::process::Command::new("getfattr")
        .args(["--only-values", "-n", "user.origin"])
        .arg(files.path("one"))
        .output()
        .unwrap();
    assert_eq!(shown.stdout, b"upload");
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
