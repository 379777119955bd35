//! The fake as a key manager.

use std::sync::Arc;

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::cipher::version_of;
use super::script::{Call, Fault, Method};
use super::{FakeKeyManager, cipher::FakeKey};
use crate::envelope::{KekRef, WrapRef, WrappedDek};
use crate::key::{
    Binds, Capabilities, KeyManager, Recognition, Request, Unwrapped, Versions, not_recognized, not_this_kek,
};
use crate::value::error::{Error, ErrorKind, Operation, Result};
use crate::value::secret::{Dek, KEY_LEN};

/// What is left of a fault once the call goes on.
#[derive(Default)]
struct Twist {
    wrong_dek: bool,
    garbage: bool,
    other_kek: Option<String>,
    lost: Option<ErrorKind>,
}

impl Twist {
    /// The answer as it arrives.
    fn answer<T>(&self, result: Result<T>) -> Result<T> {
        match self.lost {
            Some(kind) => Err(Error::new(kind)),
            None => result,
        }
    }
}

impl FakeKeyManager {
    /// Records an item and meets the fault that is due for it.
    async fn arrive(&self, method: Method, request: &Request<'_>, kek: KekRef) -> Result<Twist> {
        let fault = {
            let mut kms = self.lock();
            kms.calls.push(Call::new(method, request, kek));
            kms.fault(method)
        };
        let mut twist = Twist::default();
        match fault {
            None => {}
            Some(Fault::Fails(kind)) => return Err(Error::new(kind)),
            Some(Fault::LosesAnswer(kind)) => twist.lost = Some(kind),
            Some(Fault::WrongDek) => twist.wrong_dek = true,
            Some(Fault::GarbageWrap) => twist.garbage = true,
            Some(Fault::OtherKek(id)) => twist.other_kek = Some(id),
            Some(Fault::Hangs(runtime, time)) => {
                let left = request
                    .deadline()
                    .map(|deadline| deadline.0.saturating_sub(runtime.now().0));
                match left.filter(|left| *left < time) {
                    Some(left) => {
                        runtime.sleep(left).await;
                        return Err(Error::new(ErrorKind::TimedOut));
                    }
                    None => runtime.sleep(time).await,
                }
            }
            Some(Fault::Panics) => {
                // The one way to panic that needs no exception from the lints: it is asked for by a test.
                std::panic::resume_unwind(Box::new("the fake key manager was told to panic"));
            }
        }
        Ok(twist)
    }

    fn stanza_kek(wrapped: &WrapRef<'_>) -> KekRef {
        KekRef::trusted(wrapped.provider, wrapped.kek_id, wrapped.kek_version)
    }

    /// Something that looks like a DEK and is none that anybody has.
    fn stray_dek(&self) -> Result<Dek> {
        let (number, secret) = {
            let mut kms = self.lock();
            (kms.next(), kms.secret_of(&self.id))
        };
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        FakeKey::of(&secret, 0).derive(b"stray", &number.to_be_bytes(), bytes.as_mut_slice())?;
        Ok(Dek::from_bytes(&bytes))
    }

    fn new_dek(&self) -> Result<Dek> {
        if !self.capabilities.generates {
            return Dek::generate();
        }
        let (number, secret) = {
            let mut kms = self.lock();
            (kms.next(), kms.secret_of(&self.id))
        };
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        FakeKey::of(&secret, 0).derive(b"DEK", &number.to_be_bytes(), bytes.as_mut_slice())?;
        Ok(Dek::from_bytes(&bytes))
    }

    /// Wraps under the pinned or the active version.
    fn seal(&self, dek: &Dek, request: &Request<'_>, twist: &Twist) -> Result<WrappedDek> {
        let stray = if twist.wrong_dek {
            Some(self.stray_dek()?)
        } else {
            None
        };
        let dek = stray.as_ref().unwrap_or(dek);
        let (version, key, nonce) = {
            let now = self.runtime.wall_clock();
            let mut kms = self.lock();
            let nonce = kms.next();
            let kek = kms.kek(&self.id);
            let kek = kek.ok_or_else(|| Error::new(ErrorKind::KeyNotFound))?;
            let version = self.pinned.unwrap_or_else(|| kek.active());
            if kek.state(version, now).is_none() {
                return Err(Error::new(ErrorKind::KeyNotFound));
            }
            (version, kek.key(version, now)?, nonce)
        };
        let mut wrapped = match self.capabilities.binds {
            Binds::Aad => key.wrap(version, nonce, &request.wrap_aad(), dek.expose_bytes())?,
            Binds::Embedded => key.wrap(version, nonce, &[], request.embed(dek).as_slice())?,
        };
        if twist.garbage {
            key.derive(b"garbage", &nonce.to_be_bytes(), &mut wrapped)?;
        }
        let id = twist.other_kek.as_deref().unwrap_or(&self.id);
        let kek = KekRef::new(&self.provider, id, &self.told(version))?;
        WrappedDek::new(self.capabilities.algorithm, kek, wrapped)
    }

    /// What an answer says of a version.
    fn told(&self, version: u32) -> String {
        if self.capabilities.hides_versions {
            String::new()
        } else {
            version.to_string()
        }
    }

    /// Unwraps with the version that the backend's own bytes name. `id` comes from configuration.
    fn open(&self, id: &str, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        let version = version_of(wrapped.wrapped).ok_or_else(Error::cannot_open)?;
        let key = {
            let now = self.runtime.wall_clock();
            let mut kms = self.lock();
            let kek = kms.kek(id);
            kek.ok_or_else(|| Error::new(ErrorKind::KeyNotFound))?
                .key(version, now)?
        };
        let dek = match self.capabilities.binds {
            Binds::Aad => Dek::from_slice(&key.unwrap(&request.wrap_aad(), wrapped.wrapped)?)?,
            Binds::Embedded => request.extract(&key.unwrap(&[], wrapped.wrapped)?)?,
        };
        Ok(Unwrapped::new(
            dek,
            KekRef::new(&self.provider, id, &self.told(version))?,
        ))
    }

    async fn generate_one(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        let twist = self.arrive(Method::Generate, request, self.kek()).await?;
        let dek = self.new_dek()?;
        let wrapped = self.seal(&dek, request, &twist)?;
        twist.answer(Ok((dek, wrapped)))
    }

    async fn wrap_one(&self, method: Method, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let twist = self.arrive(method, request, self.kek()).await?;
        twist.answer(self.seal(dek, request, &twist))
    }

    async fn unwrap_one(
        &self,
        method: Method,
        wrapped: WrapRef<'_>,
        request: &Request<'_>,
    ) -> Result<Unwrapped> {
        if !self.capabilities.unwraps {
            return Err(Error::unsupported("unwrapping with a key that only wraps"));
        }
        let kek = Self::stanza_kek(&wrapped);
        let twist = self.arrive(method, request, kek).await?;
        let mut unwrapped = self.open(&self.id, wrapped, request)?;
        if twist.wrong_dek {
            unwrapped.dek = self.stray_dek()?;
        }
        twist.answer(Ok(unwrapped))
    }

    /// The KEK of this KMS that a stanza is under, of those that this manager may re-wrap from.
    fn source_of(&self, wrapped: &WrapRef<'_>) -> Option<&str> {
        std::iter::once(&self.id)
            .chain(&self.sources)
            .map(|id| &**id)
            .find(|id| wrapped.is_under(self.capabilities.algorithm, &self.provider, id))
    }

    async fn rewrap_one(
        &self,
        method: Method,
        wrapped: WrapRef<'_>,
        request: &Request<'_>,
    ) -> Result<Option<WrappedDek>> {
        let source = self.source_of(&wrapped).filter(|_| self.capabilities.rewraps);
        let Some(source) = source else { return Ok(None) };
        let kek = Self::stanza_kek(&wrapped);
        let twist = self.arrive(method, request, kek).await?;
        let unwrapped = self.open(source, wrapped, request)?;
        twist.answer(self.seal(&unwrapped.dek, request, &twist).map(Some))
    }

    fn begin(&self, method: Method) {
        self.lock().requests.push(method);
    }

    fn error(&self, operation: Operation) -> impl Fn(Error) -> Error + '_ {
        move |error| {
            error
                .with_operation(operation)
                .with_provider(self.provider.to_string())
        }
    }
}

#[async_trait]
impl KeyManager for FakeKeyManager {
    fn provider(&self) -> &str {
        &self.provider
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        let by_id = Recognition::by_id(wrapped, self.capabilities.algorithm, &self.provider, &self.id);
        by_id.min(self.certainty)
    }

    fn identity(&self) -> Option<String> {
        let kms = Arc::as_ptr(&self.kms);
        let algorithm = self.capabilities.algorithm;
        Some(format!("{} {algorithm} {kms:p} {}", self.provider, self.id))
    }

    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        let refused = || not_this_kek(&self.provider);
        if (kek.provider(), kek.id()) != (&*self.provider, &*self.id) {
            return Err(refused());
        }
        let pinned = match self.capabilities.versions {
            Versions::Proven => Some(kek.version().parse().map_err(|_| refused())?),
            _ => None,
        };
        Ok(Arc::new(Self {
            pinned,
            ..self.clone()
        }))
    }

    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        self.begin(Method::Generate);
        let result = self.generate_one(request).await;
        result.map_err(self.error(Operation::Generate))
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        self.begin(Method::Wrap);
        let result = self.wrap_one(Method::Wrap, dek, request).await;
        result.map_err(self.error(Operation::Wrap))
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        if self.recognizes(wrapped).is_no() {
            return Err(not_recognized(&wrapped).with_operation(Operation::Unwrap));
        }
        self.begin(Method::Unwrap);
        let result = self.unwrap_one(Method::Unwrap, wrapped, request).await;
        result.map_err(self.error(Operation::Unwrap))
    }

    async fn rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        self.begin(Method::Rewrap);
        let result = self.rewrap_one(Method::Rewrap, wrapped, request).await;
        result.map_err(self.error(Operation::Rewrap))
    }

    async fn wrap_batch(&self, items: &[(&Dek, &Request<'_>)]) -> Vec<Result<WrappedDek>> {
        self.begin(Method::WrapBatch);
        let mut results = Vec::with_capacity(items.len());
        for (dek, request) in items {
            let result = self.wrap_one(Method::WrapBatch, dek, request).await;
            results.push(result.map_err(self.error(Operation::Wrap)));
        }
        results
    }

    async fn unwrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Unwrapped>> {
        self.begin(Method::UnwrapBatch);
        let mut results = Vec::with_capacity(items.len());
        for (wrapped, request) in items {
            let result = if !self.recognizes(*wrapped).is_no() {
                self.unwrap_one(Method::UnwrapBatch, *wrapped, request).await
            } else {
                Err(not_recognized(wrapped))
            };
            results.push(result.map_err(self.error(Operation::Unwrap)));
        }
        results
    }

    async fn rewrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Option<WrappedDek>>> {
        self.begin(Method::RewrapBatch);
        let mut results = Vec::with_capacity(items.len());
        for (wrapped, request) in items {
            let result = self.rewrap_one(Method::RewrapBatch, *wrapped, request).await;
            results.push(result.map_err(self.error(Operation::Rewrap)));
        }
        results
    }
}
