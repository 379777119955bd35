//! Re-wraps of objects: in memory, on services that misbehave, and on emulators of S3 and Azure.

mod faults;
mod listing;
#[cfg(any(feature = "aws", feature = "azure"))]
mod live;
mod moves;
mod unruly;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, LazyLock};

use futures_util::StreamExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutOptions};
use pollster::block_on;
use tokio::runtime::Runtime;
use waxseal::envelope::{Envelope, Header};
use waxseal::fleet::{Report, RewrapJob};
use waxseal::testing::FakeKeyManager;
use waxseal::{EncryptionContext, Sealer};
use waxseal_object_store::Objects;

/// For what the tests themselves ask a service. Jobs run without it.
fn on_tokio<T>(asked: impl Future<Output = T>) -> T {
    static TOKIO: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    TOKIO.block_on(asked)
}

/// Objects under an old key, and what moves them to a new one.
#[derive(Clone)]
struct Bench {
    service: Arc<dyn ObjectStore>,
    prefix: String,
    old: FakeKeyManager,
    new: FakeKeyManager,
}

impl Bench {
    fn of(service: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self {
            service,
            prefix: prefix.to_owned(),
            old: FakeKeyManager::new("old"),
            new: FakeKeyManager::new("new"),
        }
    }

    fn in_memory() -> Self {
        Self::of(Arc::new(InMemory::new()), "tenants/documents")
    }

    fn path(&self, id: &str) -> Path {
        Path::parse(format!("{}/{id}", self.prefix)).unwrap()
    }

    fn seal(&self, id: &str, plaintext: &[u8], padding: usize) -> Vec<u8> {
        let sealer = Sealer::builder()
            .wrap_with(self.old.clone())
            .padding(padding)
            .build()
            .unwrap();
        block_on(sealer.seal(plaintext, &context(id))).unwrap()
    }

    fn put(&self, id: &str, bytes: impl Into<Vec<u8>>) {
        let options = PutOptions {
            attributes: attributes(),
            ..PutOptions::default()
        };
        on_tokio(
            self.service
                .put_opts(&self.path(id), bytes.into().into(), options),
        )
        .unwrap();
    }

    fn get(&self, id: &str) -> Option<Vec<u8>> {
        on_tokio(async {
            let found = self.service.get(&self.path(id)).await.ok()?;
            Some(found.bytes().await.unwrap().to_vec())
        })
    }

    /// Seals and puts so many objects, each with a plaintext of its own. Some have headers that are longer than what is read first.
    fn fill(&self, count: usize) -> BTreeMap<String, Vec<u8>> {
        let plaintext = |number: usize| {
            let text = format!("this is number {number}, and no other is; ");
            text.repeat(1 + number % 7 * 20).into_bytes()
        };
        let filled =
            (0..count).map(|number| (format!("{:02}/{number:05}.bin", number % 10), plaintext(number)));
        let filled: BTreeMap<String, Vec<u8>> = filled.collect();
        let puts = filled.iter().enumerate().map(|(number, (id, plaintext))| {
            let padding = if number % 50 == 0 { 6000 } else { 0 };
            let sealed = self.seal(id, plaintext, padding);
            let options = PutOptions {
                attributes: attributes(),
                ..PutOptions::default()
            };
            let (service, path) = (Arc::clone(&self.service), self.path(id));
            async move { service.put_opts(&path, sealed.into(), options).await.unwrap() }
        });
        on_tokio(
            futures_util::stream::iter(puts)
                .buffer_unordered(16)
                .collect::<Vec<_>>(),
        );
        filled
    }

    fn objects(&self) -> Objects {
        let objects = Objects::new(Arc::clone(&self.service), &self.prefix).unwrap();
        objects.sealed_by(|id| Ok(Some(context(id))))
    }

    fn sealer(&self) -> Sealer {
        let builder = Sealer::builder().wrap_with(self.new.clone());
        builder.open_with(self.old.clone()).build().unwrap()
    }

    fn job(&self, objects: Objects) -> RewrapJob {
        RewrapJob::new(self.sealer(), Arc::new(objects))
    }

    fn run(&self) -> Report {
        block_on(self.job(self.objects()).run()).unwrap()
    }

    /// The state of each object, as the service says it.
    fn listed(&self) -> BTreeMap<String, ObjectMeta> {
        let prefix = Path::parse(&self.prefix).unwrap();
        let listed = on_tokio(self.service.list(Some(&prefix)).collect::<Vec<_>>());
        let id = |meta: &ObjectMeta| meta.location.as_ref()[self.prefix.len() + 1..].to_owned();
        listed
            .into_iter()
            .map(Result::unwrap)
            .map(|meta| (id(&meta), meta))
            .collect()
    }

    /// The bodies of all objects, without the headers.
    fn bodies(&self, ids: impl Iterator<Item = String>) -> BTreeMap<String, Vec<u8>> {
        ids.map(|id| {
            let sealed = self.get(&id).unwrap();
            let body = sealed[Header::parse(&sealed).unwrap().body_offset()..].to_vec();
            (id, body)
        })
        .collect()
    }

    /// What the service itself keeps of the attributes of an object.
    fn kept(&self) -> Attributes {
        let beside = Path::from(format!("{}-attributes/x", self.prefix));
        let options = PutOptions {
            attributes: attributes(),
            ..PutOptions::default()
        };
        let kept = on_tokio(async {
            self.service.put_opts(&beside, "x".into(), options).await.unwrap();
            self.service.get(&beside).await.unwrap().attributes
        });
        for needed in [Attribute::ContentType, Attribute::Metadata("owner".into())] {
            assert_eq!(kept.get(&needed), attributes().get(&needed));
        }
        kept
    }

    /// Each object opens under the new key alone, and has its attributes.
    fn check_moved(&self, filled: &BTreeMap<String, Vec<u8>>) {
        let (sealer, kept) = (Sealer::new(self.new.clone()), self.kept());
        for (id, plaintext) in filled {
            let found = on_tokio(async {
                let found = self.service.get(&self.path(id)).await.unwrap();
                (found.attributes.clone(), found.bytes().await.unwrap())
            });
            let opened = block_on(sealer.open(&found.1, &context(id))).unwrap();
            assert_eq!(opened, *plaintext, "{id}");
            assert_eq!(found.0, kept, "{id}");
        }
        assert!(self.listed().keys().all(|id| !id.contains("waxseal")));
    }
}

fn context(id: &str) -> EncryptionContext {
    EncryptionContext::new([("document", id)]).unwrap()
}

fn attributes() -> Attributes {
    Attributes::from_iter([
        (Attribute::ContentType, "application/x-sealed".to_owned()),
        (Attribute::CacheControl, "no-store".to_owned()),
        (Attribute::ContentDisposition, "attachment".to_owned()),
        (Attribute::ContentLanguage, "de".to_owned()),
        (Attribute::Metadata("owner".into()), "7".to_owned()),
    ])
}

/// Everything that is envelope or not, and still is what it was.
fn moves_everything(bench: &Bench, count: usize) {
    let filled = bench.fill(count);
    for foreign in ["plain.txt", "00/plain.txt"] {
        bench.put(foreign, "no envelope");
    }
    bench.put("empty", "");
    let sealed = bench.seal("cut", b"x", 0);
    bench.put("cut", &sealed[..40]);
    assert!(Envelope::parse(&sealed).is_ok());
    let (bodies, before) = (bench.bodies(filled.keys().cloned()), bench.listed());

    let dry = block_on(bench.job(bench.objects()).dry_run().run()).unwrap();
    assert_eq!(bench.listed(), before);

    let run = block_on(
        bench
            .job(bench.objects())
            .verify(waxseal::fleet::Verify::None)
            .run(),
    )
    .unwrap();
    assert_eq!(dry.counts, run.counts);
    assert_eq!(dry.faults, run.faults);
    let counts = run.counts;
    assert_eq!(
        (
            counts.examined,
            counts.moved(),
            counts.foreign,
            counts.faults(),
            counts.gone
        ),
        (count as u64 + 4, count as u64, 3, 1, 0)
    );
    assert!(run.is_whole);
    assert_eq!(bench.bodies(filled.keys().cloned()), bodies);
    bench.check_moved(&filled);

    // A second run finds nothing to do, and writes nothing.
    let before = bench.listed();
    let again = bench.run();
    assert_eq!((again.counts.current, again.counts.moved()), (count as u64, 0));
    assert_eq!(bench.listed(), before);
}

/// Whoever writes while a job runs has the last word.
fn leaves_what_others_write(bench: &Bench, count: usize) {
    let mut filled = bench.fill(count);
    let ids: Vec<String> = filled.keys().cloned().collect();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let (report, written) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = BTreeMap::new();
            for number in 0_usize.. {
                if is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                // A program that knows the old key only, and puts what it has without looking.
                let id = &ids[number * 7919 % ids.len()];
                let plaintext = format!("written {number}").into_bytes();
                bench.put(id, bench.seal(id, &plaintext, 0));
                written.insert(id.clone(), plaintext);
            }
            written
        });
        let report = bench.run();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        (report, writer.join().unwrap())
    });
    assert!(report.is_whole && report.counts.faults() == 0, "{report:?}");
    assert!(!written.is_empty());
    println!("{} written, {} revisited", written.len(), report.counts.revisited);
    filled.extend(written);
    // What came after it was moved is moved by the next run.
    let again = bench.run();
    assert_eq!(again.counts.faults(), 0, "{again:?}");
    bench.check_moved(&filled);
}
