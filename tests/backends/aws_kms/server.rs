//! The servers, and raw clients of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

pub(crate) use crate::live::unique;
use async_trait::async_trait;
use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region};
use waxseal::backend::aws_kms::{AwsKey, Client, Config};
use waxseal::{
    EncryptionContext, Error, ErrorKind, KeyManager, Result, envelope::KekRef, envelope::WrapAlgorithm,
    envelope::WrapRef, envelope::WrappedDek, key::Capabilities, key::Recognition, key::Request,
    key::Unwrapped, value::Dek,
};

pub(crate) const REGION: &str = "eu-central-1";
/// In no error and no log.
pub(crate) const SECRET: &str = "c4n4ry-s3cr3t-4cc355-k3y";

/// One server.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
}

pub(crate) fn moto() -> Option<Server> {
    server("moto")
}

pub(crate) fn ministack() -> Option<Server> {
    server("ministack")
}

pub(crate) fn server(name: &str) -> Option<Server> {
    crate::live::address(name).map(|url| Server { url })
}

impl Server {
    pub(crate) fn config(&self) -> Config {
        config(&self.url)
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.config()).await.unwrap()
    }

    /// A client that is none of ours.
    pub(crate) fn raw(&self) -> aws_sdk_kms::Client {
        self.raw_in(REGION)
    }

    pub(crate) fn raw_in(&self, region: &'static str) -> aws_sdk_kms::Client {
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(region))
            .endpoint_url(&self.url)
            .credentials_provider(Credentials::new("test", SECRET, None, None, "test"))
            .build();
        aws_sdk_kms::Client::from_conf(config)
    }

    /// The ARN of a new key.
    pub(crate) async fn key(&self) -> String {
        let created = self.raw().create_key().send().await.unwrap();
        created.key_metadata.unwrap().arn.unwrap()
    }

    /// A new alias of a key.
    pub(crate) async fn alias(&self, key: &str) -> String {
        let alias = format!("alias/{}", unique("test"));
        let raw = self.raw();
        raw.create_alias()
            .alias_name(&alias)
            .target_key_id(key)
            .send()
            .await
            .unwrap();
        alias
    }

    /// The key manager of a new key, and its ARN.
    pub(crate) async fn keys(&self) -> (AwsKey, String) {
        let arn = self.key().await;
        (self.client().await.key(&arn).unwrap(), arn)
    }
}

pub(crate) fn config(url: &str) -> Config {
    Config::new()
        .with_region(REGION)
        .with_endpoint(url)
        .with_credentials("test", SECRET.into(), None)
}

/// Mends two differences. moto denies access to a ciphertext that is under another key than was asked for, or under
/// none it knows, where AWS says IncorrectKeyException or InvalidCiphertextException. And it authenticates keys and
/// values without their lengths, so that `ab=c` opens what was wrapped for `a=bc`; AWS demands the same pairs.
#[derive(Debug)]
pub(crate) struct AsAws {
    keys: Arc<dyn KeyManager>,
    /// The contexts of what was wrapped, by the bytes of the wrap.
    wrapped: Arc<Mutex<HashMap<Vec<u8>, EncryptionContext>>>,
}

impl AsAws {
    pub(crate) fn new(keys: AwsKey) -> Self {
        Self {
            keys: Arc::new(keys),
            wrapped: Arc::default(),
        }
    }

    fn keep(&self, wrapped: &WrappedDek, request: &Request<'_>) {
        let context = request.context().clone();
        self.wrapped
            .lock()
            .unwrap()
            .insert(wrapped.wrapped().to_vec(), context);
    }

    /// Whether moto takes two contexts for one. Every other confusion is left for the suite to find.
    fn is_taken_for_another(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> bool {
        let joined = |context: &EncryptionContext| -> String {
            context
                .pairs()
                .flat_map(|(key, value)| [key.to_owned(), value.to_owned()])
                .collect()
        };
        let kept = self.wrapped.lock().unwrap();
        let context = kept.get(wrapped.wrapped);
        self.keys.capabilities().algorithm == WrapAlgorithm::AWS_KMS
            && context.is_some_and(|context| {
                context != request.context() && joined(context) == joined(request.context())
            })
    }
}

fn as_aws(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Denied => Error::new(ErrorKind::CannotOpen),
        _ => error,
    }
}

#[async_trait]
impl KeyManager for AsAws {
    fn provider(&self) -> &str {
        self.keys.provider()
    }

    fn capabilities(&self) -> Capabilities {
        self.keys.capabilities()
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        self.keys.recognizes(wrapped)
    }

    fn identity(&self) -> Option<String> {
        self.keys.identity()
    }

    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        Ok(Arc::new(Self {
            keys: self.keys.pinned_to(kek)?,
            wrapped: Arc::clone(&self.wrapped),
        }))
    }

    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        let (dek, wrapped) = self.keys.generate(request).await?;
        self.keep(&wrapped, request);
        Ok((dek, wrapped))
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let wrapped = self.keys.wrap(dek, request).await?;
        self.keep(&wrapped, request);
        Ok(wrapped)
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        let opened = self.keys.unwrap(wrapped, request).await.map_err(as_aws)?;
        if self.is_taken_for_another(wrapped, request) {
            return Err(Error::new(ErrorKind::CannotOpen));
        }
        Ok(opened)
    }

    async fn rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        self.keys.rewrap(wrapped, request).await.map_err(as_aws)
    }
}
