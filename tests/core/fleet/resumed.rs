//! Ledgers in files: a job that one process after another goes on with.

use std::fs;
use std::num::NonZeroUsize;
use std::sync::Arc;

use pollster::block_on;
use waxseal::ErrorKind;
use waxseal::fleet::{FileLedger, Halt};

use super::Bench;

#[test]
fn a_job_goes_on_in_another_process_and_examines_nothing_twice() {
    let bench = Bench::of(10, 100);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.json");
    let mut runs = 0;
    loop {
        let ledger = Arc::new(FileLedger::open(&path).unwrap());
        let error = FileLedger::open(&path).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Io, true));
        let halt = Halt::new();
        let halted = halt.clone();
        let job = bench
            .job()
            .ledger(ledger)
            .batch(NonZeroUsize::new(20).unwrap())
            .halted_by(halt);
        let report = block_on(job.watch(move |_| halted.halt()).run()).unwrap();
        runs += 1;
        if report.is_whole {
            assert_eq!((report.counts.examined, report.counts.moved()), (1000, 1000));
            break;
        }
        assert!(runs < 200, "{report:?}");
    }
    assert!(runs > 5, "{runs}");
    bench.check_moved();
    // What is done stays done.
    let ledger = Arc::new(FileLedger::open(&path).unwrap());
    let report = block_on(bench.job().ledger(ledger).run()).unwrap();
    assert_eq!((report.is_whole, report.counts.examined), (true, 1000));
}

#[test]
fn a_file_that_is_no_ledger_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.json");
    for contents in [
        "",
        "{}",
        "[1]",
        r#"{"schema":"waxseal-job-9","plan":{"store":"x","is_dry_run":false},"parts":[],"counts":{},"faults":[]}"#,
    ] {
        fs::write(&path, contents).unwrap();
        let error = FileLedger::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{contents}");
        assert!(error.to_string().contains("job.json"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), contents);
    }
}

#[test]
fn a_ledger_that_cannot_be_written_ends_the_job_and_the_next_run_goes_on() {
    let bench = Bench::of(2, 50);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.json");
    let ledger = Arc::new(FileLedger::open(&path).unwrap());
    let job = bench.job().ledger(ledger).batch(NonZeroUsize::new(10).unwrap());
    // A directory stands where the next version is written.
    let new = folder.path().join("job.json.new");
    let halted = new.clone();
    let job = job.watch(move |_| {
        let _ = fs::create_dir(&halted);
    });
    let error = block_on(job.run()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    drop(job);
    fs::remove_dir(&new).unwrap();
    let ledger = Arc::new(FileLedger::open(&path).unwrap());
    let report = block_on(bench.job().ledger(ledger).run()).unwrap();
    assert!(report.is_whole);
    bench.check_moved();
}
