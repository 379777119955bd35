//! On emulators that nobody here wrote: moto and gofakes3 for S3, Azurite for Azure Blob Storage.

use std::sync::Arc;

use object_store::{ClientOptions, ObjectStore};

use super::listing::names_come_back;
use super::{Bench, leaves_what_others_write, moves_everything};
use crate::servers::{address, unique, variable};

/// How many objects there are. For every change there are few, since moto answers a hundred requests in a second.
fn count() -> usize {
    variable("WAXSEAL_TEST_OBJECTS").map_or(40, |count| count.parse().unwrap())
}

/// An emulator that takes a while to install: that is for .ci/nightly.
#[cfg(any(feature = "aws", feature = "azure"))]
fn chosen(service: &str) -> Option<String> {
    if variable(&format!("WAXSEAL_TEST_{}", service.to_uppercase())).is_none() {
        println!("skipped: {service} is for .ci/nightly, or scripts/services up {service}");
        return None;
    }
    address(service)
}

/// A client without connections that last: several runtimes come and go here.
fn client() -> ClientOptions {
    ClientOptions::new().with_pool_max_idle_per_host(0)
}

/// Everything that each service has to do.
fn works(service: &Arc<dyn ObjectStore>) {
    let bench = || Bench::of(Arc::clone(service), &unique("fleet"));
    pollster::block_on(bench().objects().check_conditions()).unwrap();
    names_come_back(&bench());
    moves_everything(&bench(), count());
    leaves_what_others_write(&bench(), count());
}

#[cfg(feature = "azure")]
#[test]
fn on_azurite() {
    if chosen("azurite").is_none() {
        return;
    }
    // Where it is, object_store reads from `AZURITE_BLOB_STORAGE_URL`.
    let builder = object_store::azure::MicrosoftAzureBuilder::new().with_use_emulator(true);
    let builder = builder.with_client_options(client().with_allow_http(true));
    let service = builder.with_container_name("waxseal-objects").build().unwrap();
    works(&(Arc::new(service) as Arc<dyn ObjectStore>));
}

#[cfg(feature = "aws")]
mod s3 {
    use std::fmt;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;
    use object_store::aws::AmazonS3Builder;
    use object_store::client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
        ReqwestConnector,
    };
    use object_store::{BackoffConfig, ObjectStoreExt as _, RetryConfig};
    use pollster::block_on;
    use waxseal::fleet::{Change, Range, Replaced, Store as _, Verify};

    use super::*;
    use crate::fleet::{context, on_tokio};

    const BUCKET: &str = "waxseal-objects";

    fn builder(url: &str, bucket: &str) -> AmazonS3Builder {
        AmazonS3Builder::new()
            .with_endpoint(url)
            .with_client_options(client().with_allow_http(true))
            .with_bucket_name(bucket)
            .with_region("us-east-1")
            .with_access_key_id("test")
            .with_secret_access_key("test")
    }

    /// moto, with a bucket that is there.
    fn server() -> Option<String> {
        let url = address("moto")?;
        crate::buckets::create_bucket(&url, BUCKET);
        Some(url)
    }

    fn service(url: &str) -> Arc<dyn ObjectStore> {
        Arc::new(builder(url, BUCKET).build().unwrap())
    }

    #[test]
    fn on_moto() {
        let Some(url) = server() else { return };
        works(&service(&url));
    }

    #[test]
    fn on_gofakes3() {
        let Some(url) = chosen("gofakes3") else { return };
        works(&service(&url));
    }

    /// What becomes of a request on its way.
    #[derive(Clone, Copy, Debug)]
    enum Way {
        /// An answer that the service has not given.
        Answer(u16),
        /// The service has done it, and the answer is another one.
        Instead(u16),
        /// The service has done it, and the connection is gone.
        Lost,
        /// Half of the answer.
        Half,
    }

    /// Every so many requests one of these.
    #[derive(Clone)]
    struct BadWay {
        ways: &'static [Way],
        every: u64,
        requests: Arc<AtomicU64>,
        inner: Option<HttpClient>,
    }

    impl fmt::Debug for BadWay {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("BadWay")
                .field("ways", &self.ways)
                .finish_non_exhaustive()
        }
    }

    impl HttpConnector for BadWay {
        fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
            Ok(HttpClient::new(Self {
                inner: Some(ReqwestConnector::default().connect(options)?),
                ..self.clone()
            }))
        }
    }

    #[async_trait]
    impl HttpService for BadWay {
        async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
            let inner = self.inner.as_ref().unwrap();
            // A listing is one of few, and no service refuses it for a condition.
            if self.every > 1
                && request
                    .uri()
                    .query()
                    .is_some_and(|query| query.contains("list-type"))
            {
                return inner.execute(request).await;
            }
            let number = self.requests.fetch_add(1, Ordering::Relaxed);
            if number % self.every != self.every - 1 {
                return inner.execute(request).await;
            }
            let way = self.ways[usize::try_from(number / self.every).unwrap() % self.ways.len()];
            let status = |status: u16| {
                let mut answer = HttpResponse::new(String::new().into());
                *answer.status_mut() = status.try_into().unwrap();
                answer
            };
            if let Way::Answer(code) = way {
                return Ok(status(code));
            }
            let answer = inner.execute(request).await?;
            match way {
                Way::Instead(code) => Ok(status(code)),
                Way::Half => {
                    let (parts, body) = answer.into_parts();
                    let body = body.bytes().await?;
                    let half = body.slice(..body.len() / 2);
                    Ok(HttpResponse::from_parts(parts, half.into()))
                }
                _ => Err(HttpError::new(
                    HttpErrorKind::Interrupted,
                    std::io::Error::from(std::io::ErrorKind::ConnectionReset),
                )),
            }
        }
    }

    /// A bench behind a bad way, and the same one behind a good one.
    fn bad_way(url: &str, ways: &'static [Way], every: u64) -> (Bench, Bench) {
        let way = BadWay {
            ways,
            every,
            requests: Arc::default(),
            inner: None,
        };
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(1),
            max_backoff: Duration::from_millis(5),
            base: 2.,
        };
        let retry = RetryConfig {
            backoff,
            max_retries: 3,
            retry_timeout: Duration::from_secs(10),
        };
        let bad = builder(url, BUCKET).with_http_connector(way).with_retry(retry);
        let good = Bench::of(service(url), &unique("fleet"));
        let bad = Bench {
            service: Arc::new(bad.build().unwrap()),
            ..good.clone()
        };
        (bad, good)
    }

    #[test]
    fn faults_on_the_way_lose_nothing_and_overwrite_nothing() {
        let Some(url) = server() else { return };
        for (ways, every) in [
            // What object_store tries again by itself.
            (
                &[
                    Way::Answer(429),
                    Way::Answer(500),
                    Way::Answer(503),
                    Way::Answer(409),
                ][..],
                7,
            ),
            // What it does not, or does not know to be done.
            (
                &[Way::Answer(412), Way::Instead(500), Way::Lost, Way::Half][..],
                31,
            ),
        ] {
            let (bad, good) = bad_way(&url, ways, every);
            let filled = good.fill(count());
            let bodies = good.bodies(filled.keys().cloned());
            let job = bad.job(bad.objects()).verify(Verify::All);
            let report = block_on(job.run()).unwrap();
            let counts = report.counts;
            assert_eq!(
                (counts.moved(), counts.faults()),
                (count() as u64, 0),
                "{report:?}"
            );
            good.check_moved(&filled);
            assert_eq!(good.bodies(filled.keys().cloned()), bodies);
        }
    }

    #[test]
    fn who_may_not_read_or_write_ends_the_job_or_gets_faults() {
        let Some(url) = server() else { return };
        let (bad, good) = bad_way(&url, &[Way::Answer(403)], 1);
        good.fill(2);
        let error = block_on(bad.objects().scan(&Range::all(), 10)).unwrap_err();
        assert_eq!(error.kind(), waxseal::ErrorKind::Denied, "{error}");
        let (_, missing) = bad_way(&url, &[], u64::MAX);
        let elsewhere = Bench {
            service: Arc::new(builder(&url, "waxseal-no-such-bucket").build().unwrap()),
            ..missing
        };
        let error = block_on(elsewhere.objects().scan(&Range::all(), 10)).unwrap_err();
        assert!(error.to_string().contains("no such bucket"), "{error}");
    }

    /// Asks the server itself, for what object_store does not ask.
    fn ask(url: &str, method: &str, path: &str, body: &[u8]) {
        let host = url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(host).unwrap();
        let authorization = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00";
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(" 200 "), "{answer}");
    }

    #[test]
    fn folders_are_left_out_and_what_is_in_one_is_a_fault() {
        let Some(url) = server() else { return };
        let bench = Bench::of(service(&url), &unique("fleet"));
        for id in ["a", "a-b", "a/1", "c/1"] {
            bench.put(id, bench.seal(id, b"x", 0));
        }
        let sealed = bench.seal("c/", b"x", 0);
        for (folder, bytes) in [("", &[][..]), ("a/", &[]), ("b/", &[]), ("c/", &sealed)] {
            ask(
                &url,
                "PUT",
                &format!("/{BUCKET}/{}/{folder}", bench.prefix),
                bytes,
            );
        }
        let report = bench.run();
        let counts = report.counts;
        // `b/`, which nobody can tell from an empty object, is no envelope.
        assert_eq!(
            (counts.moved(), counts.foreign, counts.faults(), counts.gone),
            (4, 1, 1, 0)
        );
        assert_eq!(report.faults[0].id, "c/");
        assert!(report.faults[0].reason.contains("another name"), "{report:?}");
    }

    #[test]
    fn a_name_that_is_no_path_ends_the_job_and_is_named() {
        let Some(url) = server() else { return };
        let bench = Bench::of(service(&url), &unique("fleet"));
        bench.put("a", bench.seal("a", b"x", 0));
        ask(&url, "PUT", &format!("/{BUCKET}/{}/b//c", bench.prefix), b"x");
        let error = block_on(bench.job(bench.objects()).run()).unwrap_err();
        assert_eq!(error.kind(), waxseal::ErrorKind::Configuration, "{error}");
        assert!(error.to_string().contains("b//c"), "{error}");
    }

    fn change(bench: &Bench, id: &str) -> Change {
        let item = block_on(bench.objects().front(id)).unwrap().unwrap();
        let mut rewrapper = bench.sealer().rewrapper();
        let wraps = block_on(rewrapper.rewrap(item.front(), &context(id))).unwrap();
        Change::new(item, wraps.unwrap()).unwrap()
    }

    fn replace(bench: &Bench, change: &Change) -> Replaced {
        let answers = block_on(bench.objects().replace(std::slice::from_ref(change)));
        *answers[0].as_ref().unwrap()
    }

    #[test]
    fn an_object_that_was_changed_and_changed_back_has_the_same_body() {
        let Some(url) = server() else { return };
        let bench = Bench::of(service(&url), &unique("fleet"));
        let sealed = bench.seal("a", b"1", 0);
        bench.put("a", sealed.clone());
        let stale = change(&bench, "a");
        bench.put("a", bench.seal("a", b"2", 0));
        assert_eq!(replace(&bench, &stale), Replaced::Changed);
        bench.put("a", sealed);
        // The ETag is that of before.
        assert_eq!(replace(&bench, &stale), Replaced::Done);
        bench.check_moved(&[("a".to_owned(), b"1".to_vec())].into());
    }

    #[test]
    fn a_versioned_bucket_tells_even_what_was_changed_back_and_keeps_the_old_version() {
        let Some(url) = server() else { return };
        let bucket = unique("versioned");
        crate::buckets::create_bucket(&url, &bucket);
        let enabled = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Enabled</Status></VersioningConfiguration>";
        ask(&url, "PUT", &format!("/{bucket}?versioning"), enabled.as_bytes());
        let bench = Bench::of(Arc::new(builder(&url, &bucket).build().unwrap()), "x");
        let sealed = bench.seal("a", b"1", 0);
        bench.put("a", sealed.clone());
        let stale = change(&bench, "a");
        bench.put("a", bench.seal("a", b"2", 0));
        bench.put("a", sealed);
        assert_eq!(replace(&bench, &stale), Replaced::Changed);
        let before = on_tokio(bench.service.head(&bench.path("a"))).unwrap();
        assert_eq!(bench.run().counts.moved(), 1);
        bench.check_moved(&[("a".to_owned(), b"1".to_vec())].into());
        let version = object_store::GetOptions {
            version: before.version,
            ..Default::default()
        };
        let old = on_tokio(async {
            let found = bench.service.get_opts(&bench.path("a"), version).await.unwrap();
            found.bytes().await.unwrap()
        });
        let sealer = waxseal::Sealer::new(bench.old.clone());
        assert_eq!(block_on(sealer.open(&old, &context("a"))).unwrap(), b"1");
    }
}
