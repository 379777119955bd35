//! Envelopes that name a revoked key and open by another wrap.

use State::{Active, Compromised, Deprecated};
use pollster::block_on;

use super::*;
use crate::envelope::{BodyHead, WrapSection};
use crate::key::Request;
use crate::source::{DekLease, DekSource, Rewrapped};

/// Looks at each lease that is released for opening.
#[derive(Debug)]
struct Audits {
    inner: Arc<dyn DekSource>,
    seen: Arc<Mutex<Vec<Vec<String>>>>,
}

#[async_trait]
impl DekSource for Audits {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, crate::envelope::WrapSet)> {
        self.inner.seal_dek(request).await
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        let lease = self.inner.open_dek(wraps, body, request).await?;
        let exposed = lease.exposed_by().iter().map(|kek| kek.id().to_owned());
        self.seen.lock().unwrap().push(exposed.collect());
        Ok(lease)
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped> {
        self.inner.rewrap(wraps, body, request).await
    }
}

#[test]
fn what_a_revoked_key_could_open_too_is_counted_and_an_audit_sees_it_at_each_release() {
    let bench = Bench::new();
    let (old, fake) = bench.active("tenant/a", "old");
    let (_, new) = bench.active("tenant/b", "new");
    let new_key = bench.went(bench.key("tenant/a", &new), &[State::Pending]);
    let (mut old, mut new_key) = (old, new_key);
    bench.promote(&mut old, &mut new_key);
    let both = Sealer::builder().wrap_with(fake.clone()).wrap_with(new.clone());
    let both = seal(&both.build().unwrap(), "a");
    let alone = seal(&Sealer::new(new), "a");
    let ring = bench.open();
    let seen = Arc::default();
    let audits = {
        let seen = Arc::clone(&seen);
        move |inner| Audits {
            inner,
            seen: Arc::clone(&seen),
        }
    };
    let sealer = ring.sealer().layer(audits).build().unwrap();
    assert_eq!(open(&sealer, &both, "a").unwrap(), b"hello");
    assert_eq!(ring.status().unwrap().exposed_opens, 0);

    assert_eq!(old.state, Deprecated);
    bench.go(&mut old, Compromised);
    bench.put(&[&old]);
    block_on(ring.refresh()).unwrap();
    for _ in 0..3 {
        assert_eq!(open(&sealer, &both, "a").unwrap(), b"hello");
        assert_eq!(open(&sealer, &alone, "a").unwrap(), b"hello");
    }
    let exposed = || vec!["old".to_owned()];
    let none = Vec::new;
    assert_eq!(
        *seen.lock().unwrap(),
        [none(), exposed(), none(), exposed(), none(), exposed(), none()]
    );
    // The cache has answered twice.
    assert_eq!(ring.status().unwrap().exposed_opens, 1);
    assert_eq!(new_key.state, Active);
}

/// Keeps events.
#[cfg(feature = "audit")]
#[derive(Clone, Debug, Default)]
struct Events(Arc<Mutex<Vec<Arc<crate::audit::Event>>>>);

#[cfg(feature = "audit")]
#[async_trait]
impl crate::audit::Sink for Events {
    async fn keep(&self, events: &[Arc<crate::audit::Event>]) -> Result<()> {
        self.0.lock().unwrap().extend_from_slice(events);
        Ok(())
    }
}

#[cfg(feature = "audit")]
#[test]
fn an_event_names_the_revoked_keys_that_could_open_it_too() {
    let bench = Bench::new();
    let (mut old, fake) = bench.active("tenant/a", "old");
    let (_, new) = bench.active("tenant/b", "new");
    let mut next = bench.went(bench.key("tenant/a", &new), &[State::Pending]);
    bench.promote(&mut old, &mut next);
    let both = Sealer::builder().wrap_with(fake).wrap_with(new);
    let both = seal(&both.build().unwrap(), "a");
    bench.go(&mut old, Compromised);
    bench.put(&[&old]);
    let events = Events::default();
    let auditor = crate::audit::Auditor::builder()
        .required(events.clone())
        .runtime(Arc::new(bench.runtime.clone()));
    let sealer = bench.open().sealer().audit(auditor.build().unwrap());
    assert_eq!(open(&sealer.build().unwrap(), &both, "a").unwrap(), b"hello");
    let events = events.0.lock().unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].exposed(), [old.id.to_string()]);
    assert_eq!(events[0].keks()[0].keys, [next.id.to_string()]);
    assert_eq!(
        (events[0].scope(), events[0].scope_template()),
        (None, Some("tenant/{tenant}"))
    );
}
