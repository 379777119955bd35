//! Logs before a judge that is not ours: the packages of Go's checksum database, in `tests/log-judge`.
//!
//! Needs Go; `WAXSEAL_GO` names a program other than `go`. Where there is none the tests say so and pass, except in CI
//! (`CI=true`), where they fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use base64ct::{Base64, Encoding};
use pollster::block_on;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use waxseal::audit::{Auditor, Checkpoint, Log, LogKey, LogReader, TileFolder, VerifierKey, publish};
use waxseal::testing::FakeKeyManager;
use waxseal::{EncryptionContext, Sealer};

const ORIGIN: &str = "log.example/judged";

/// The program, if it can be built.
fn judge() -> Option<&'static Path> {
    static JUDGE: OnceLock<Result<(TempDir, PathBuf), String>> = OnceLock::new();
    let built = JUDGE.get_or_init(|| {
        let go = std::env::var_os("WAXSEAL_GO").unwrap_or_else(|| "go".into());
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("log-judge");
        let build = Command::new(&go)
            .args(["build", "-buildvcs=false", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("log-judge"))
            .output();
        match build {
            Ok(output) if output.status.success() => Ok((folder, program)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(format!("{}: {error}", go.to_string_lossy())),
        }
    });
    match built {
        Ok((_, program)) => Some(program),
        Err(reason) => {
            assert!(
                std::env::var_os("CI").is_none_or(|ci| ci != "true"),
                "the judge cannot be built: {reason}"
            );
            println!("skipped: the judge cannot be built: {reason}");
            None
        }
    }
}

/// What the judge says: whether it accepts, and its line.
fn judged(arguments: &[&Path]) -> (bool, String) {
    let output = Command::new(judge().unwrap()).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

struct Court {
    folder: TempDir,
}

impl Court {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key() -> LogKey {
        LogKey::from_seed(ORIGIN, &[5; 32]).unwrap()
    }

    fn vkey() -> VerifierKey {
        Self::key().verifier()
    }

    /// Adds the events of so many seals to a log, and closes it.
    fn sealed(&self, name: &str, count: u64) -> PathBuf {
        let path = self.path(name);
        let log = Log::with_key(&path, Self::key()).unwrap();
        let auditor = Auditor::builder().required(log).build().unwrap();
        let builder = Sealer::builder().wrap_with(FakeKeyManager::new("kek"));
        let sealer = builder.audit(auditor.clone()).build().unwrap();
        let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..count / 8 {
                        block_on(sealer.seal(b"hello", &context)).unwrap();
                    }
                });
            }
        });
        block_on(auditor.close()).unwrap();
        path
    }

    fn note(&self, log: &str) -> PathBuf {
        let to = self.path(&format!("{log}.note"));
        fs::copy(self.path(log).join("checkpoint"), &to).unwrap();
        to
    }

    /// A copy of a log, changed.
    fn tampered(&self, log: &str, name: &str, tamper: impl FnOnce(&Path)) -> PathBuf {
        let to = self.path(name);
        copy(&self.path(log), &to);
        tamper(&to);
        to
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }
}

fn vkey() -> PathBuf {
    Court::vkey().to_string().into()
}

#[test]
fn the_judge_accepts_a_copy_that_has_grown_and_refuses_a_changed_one() {
    if judge().is_none() {
        return;
    }
    let court = Court::new();
    let copied = court.path("copy");
    let mut before: Option<PathBuf> = None;
    for count in [8, 264, 8] {
        let log = LogReader::open(court.sealed("log", count)).unwrap();
        let published = block_on(publish(&log, &Court::vkey(), &TileFolder::new(&copied))).unwrap();
        assert_eq!(published.added, count);
        let (accepts, said) = judged(&[&copied, &vkey()]);
        assert!(accepts && said.contains(&published.size.to_string()), "{said}");
        if let Some(before) = &before {
            let (accepts, said) = judged(&[&copied, &vkey(), Path::new("consistency"), before]);
            assert!(accepts, "{said}");
        }
        before = Some(court.note("copy"));
    }
    let changed = court.tampered("copy", "changed", |copy| {
        let entries = copy.join("tile/entries/000");
        let mut bytes = fs::read(&entries).unwrap();
        bytes[100] ^= 1;
        fs::write(entries, bytes).unwrap();
    });
    let (accepts, said) = judged(&[&changed, &vkey()]);
    assert!(!accepts && said.contains("record 0"), "{said}");
}

#[test]
fn the_judge_accepts_checkpoints_tiles_entries_and_proofs() {
    if judge().is_none() {
        return;
    }
    let court = Court::new();
    court.sealed("log", 200);
    let older = court.note("log");
    // It grows over the ends of tiles.
    let log = court.sealed("log", 408);
    let (accepts, said) = judged(&[&log, &vkey()]);
    assert!(accepts && said == "accepted 608 records\n", "{said}");
    let (accepts, said) = judged(&[&log, &vkey(), "consistency".as_ref(), &older]);
    assert!(accepts, "{said}");
    // The public key that the log names is one that the judge reads.
    assert_eq!(
        fs::read_to_string(log.join("vkey")).unwrap().trim(),
        Court::vkey().to_string()
    );
    let reader = LogReader::open(&log).unwrap();
    let proof = court.path("record.tlog-proof");
    for record in [0, 199, 255, 256, 511, 607] {
        fs::write(&proof, reader.prove(record).unwrap()).unwrap();
        let (accepts, said) = judged(&["proof".as_ref(), &vkey(), &proof]);
        let event = String::from_utf8(reader.record(record).unwrap()).unwrap();
        assert!(
            accepts && said == format!("accepted record {record}: {event}\n"),
            "{said}"
        );
    }
    let hashes = court.path("hashes");
    let text = |hashes: Vec<[u8; 32]>| {
        let lines = hashes.iter().map(|hash| Base64::encode_string(hash));
        lines.collect::<Vec<_>>().join("\n")
    };
    fs::write(&hashes, text(reader.prove_consistency(200).unwrap())).unwrap();
    let arguments = [
        "tree".as_ref(),
        vkey().as_path(),
        &older,
        &log.join("checkpoint"),
        &hashes,
    ]
    .map(PathBuf::from);
    let (accepts, said) = judged(&arguments.each_ref().map(PathBuf::as_path));
    assert!(accepts && said == "accepted 608 after 200\n", "{said}");
    fs::write(&hashes, text(reader.prove_consistency(199).unwrap())).unwrap();
    assert!(!judged(&arguments.each_ref().map(PathBuf::as_path)).0);
}

/// The records of a bundle.
fn bundle(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let (mut records, mut rest) = (Vec::new(), &bytes[..]);
    while !rest.is_empty() {
        let end = 2 + usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        records.push(rest[2..end].to_vec());
        rest = &rest[end..];
    }
    records
}

fn put(path: &Path, records: &[Vec<u8>]) {
    let mut bytes = Vec::new();
    for record in records {
        bytes.extend_from_slice(&u16::try_from(record.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(record);
    }
    fs::write(path, bytes).unwrap();
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from));
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn the_judge_refuses_every_tampering_that_we_refuse() {
    if judge().is_none() {
        return;
    }
    let court = Court::new();
    court.sealed("log", 400);
    let before = court.note("log");
    let short = court.tampered("log", "short", |_| {});
    court.sealed("log", 200);
    type Tamper = Box<dyn Fn(&Path)>;
    let of = |change: fn(&mut Vec<Vec<u8>>)| -> Tamper {
        Box::new(move |log| {
            let path = log.join("tile/entries/001");
            let mut records = bundle(&path);
            change(&mut records);
            put(&path, &records);
        })
    };
    let kinds: Vec<(&str, Tamper)> = vec![
        ("edit", of(|records| records[9][20] ^= 1)),
        ("drop", of(|records| drop(records.remove(9)))),
        ("swap", of(|records| records.swap(9, 10))),
        ("insertion", of(|records| records.insert(9, b"{}".to_vec()))),
        (
            "drop that keeps the number",
            of(|records| {
                records.remove(9);
                records.push(b"{}".to_vec());
            }),
        ),
        ("hash", Box::new(|log| flip(&log.join("tile/0/001"), 9))),
        ("hash above", Box::new(|log| flip(&log.join("tile/1/000.p/2"), 9))),
        (
            "record and its hash",
            Box::new(|log| {
                let path = log.join("tile/entries/001");
                let mut records = bundle(&path);
                records[9][20] ^= 1;
                put(&path, &records);
                let tile = log.join("tile/0/001");
                let mut hashes = fs::read(&tile).unwrap();
                let hash = Sha256::new_with_prefix([0]).chain_update(&records[9]).finalize();
                hashes[9 * 32..10 * 32].copy_from_slice(&hash);
                fs::write(tile, hashes).unwrap();
            }),
        ),
        (
            "missing bundle",
            Box::new(|log| fs::remove_file(log.join("tile/entries/001")).unwrap()),
        ),
        (
            "size",
            Box::new(|log| replace(&log.join("checkpoint"), "\n600\n", "\n599\n")),
        ),
        (
            "root",
            Box::new(|log| {
                let path = log.join("checkpoint");
                let note = fs::read_to_string(&path).unwrap();
                let root = note.lines().nth(2).unwrap().to_owned();
                replace(&path, &root, &Base64::encode_string(&[7; 32]));
            }),
        ),
        (
            "another key",
            Box::new(|log| {
                fs::remove_dir_all(log).unwrap();
                let stranger = LogKey::from_seed(ORIGIN, &[6; 32]).unwrap();
                Log::with_key(log, stranger).unwrap().checkpoint().unwrap();
            }),
        ),
    ];
    let key = Court::vkey();
    for (name, tamper) in kinds {
        let log = court.tampered("log", name, |log| tamper(log));
        let verdict = LogReader::open(&log).unwrap().verify(&key, None).unwrap();
        assert!(!verdict.is_sound(), "{name}");
        let (accepts, said) = judged(&[&log, &vkey()]);
        assert!(!accepts && said.starts_with("refused: "), "{name}: {said}");
    }
    // Which only a checkpoint that was kept elsewhere shows.
    let later = court.note("log");
    let cases = [
        ("truncation", short, &later),
        ("fork", court.sealed("fork", 608), &before),
    ];
    for (name, log, old) in cases {
        let (accepts, said) = judged(&[&log, &vkey()]);
        assert!(accepts, "{name}: {said}");
        let (accepts, said) = judged(&[&log, &vkey(), "consistency".as_ref(), old]);
        assert!(!accepts, "{name}: {said}");
        let old = Checkpoint::parse(&fs::read_to_string(old).unwrap()).unwrap();
        let verdict = LogReader::open(&log).unwrap().verify(&key, Some(&old)).unwrap();
        assert!(!verdict.is_sound(), "{name}");
    }
}
