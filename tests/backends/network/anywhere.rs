//! A blocking call works from any context, however often, and whatever became of the runtime that the client was made in.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use waxseal::backend::{aws_kms, azure_key_vault, gcp_kms, vault_transit};
use waxseal::key::{KekAdmin, KekTemplate};
use waxseal::{EncryptionContext, ErrorKind, Result, blocking};

use super::{BOUND, Manager};
use crate::fake_azure_key_vault::{CLIENT_SECRET, FakeKeyVault, TENANT};
use crate::fake_gcp_kms::FakeGcpKms;
use crate::live::{address, unique, variable};

/// More calls than a task of tokio may make before it yields.
const OFTEN: usize = 150;

/// A server of each backend, with a key.
struct Servers {
    azure: (FakeKeyVault, String),
    gcp: (FakeGcpKms, String),
    vault: Option<(String, String, String)>,
    aws: Option<(String, String)>,
}

type Handle = Option<tokio::runtime::Handle>;

impl Servers {
    async fn start() -> Self {
        let (azure, gcp) = (FakeKeyVault::start(), FakeGcpKms::start());
        let keys = (azure.key("anywhere"), gcp.key("anywhere"));
        let mut servers = Self {
            azure: (azure, keys.0),
            gcp: (gcp, keys.1),
            vault: None,
            aws: None,
        };
        if let (Some(url), Some(token)) = (address("openbao"), variable("WAXSEAL_TEST_OPENBAO_TOKEN")) {
            servers.vault = Some((url, token, unique("anywhere")));
            let (_, _, key) = servers.vault.as_ref().unwrap();
            let admin = servers.vault(None).await.unwrap().admin();
            admin.create(&KekTemplate::new(key), key).await.unwrap();
        }
        if let Some(url) = address("moto") {
            servers.aws = Some((url, unique("anywhere")));
            let (_, key) = servers.aws.as_ref().unwrap();
            let admin = servers.aws(None).await.unwrap().admin();
            admin.create(&KekTemplate::new(key), key).await.unwrap();
        }
        servers
    }

    async fn vault(&self, handle: Handle) -> Result<vault_transit::Client> {
        let (url, token, _) = self.vault.as_ref().unwrap();
        let mut config = vault_transit::Config::new(url, vault_transit::Auth::token(token.clone()));
        if let Some(handle) = handle {
            config = config.with_handle(handle);
        }
        vault_transit::Client::connect(config.with_timeout(BOUND)).await
    }

    async fn aws(&self, handle: Handle) -> Result<aws_kms::Client> {
        let (url, _) = self.aws.as_ref().unwrap();
        let mut config = aws_kms::Config::new()
            .with_region("eu-central-1")
            .with_endpoint(url)
            .with_operation_timeout(BOUND)
            .with_credentials("test", "test".into(), None);
        if let Some(handle) = handle {
            config = config.with_handle(handle);
        }
        aws_kms::Client::connect(config).await
    }

    /// A key of each backend, made in the context that this is called in.
    async fn keys(&self, handle: Handle) -> Vec<(&'static str, Manager)> {
        let mut keys: Vec<(&'static str, Manager)> = Vec::new();
        let auth = azure_key_vault::Auth::ClientSecret {
            tenant_id: TENANT.to_owned(),
            client_id: "app".to_owned(),
            secret: CLIENT_SECRET.into(),
        };
        let mut config = azure_key_vault::Config::new(self.azure.0.url(), auth)
            .with_authority_host(self.azure.0.url())
            .with_ca_pem(self.azure.0.ca())
            .with_timeout(BOUND)
            .without_challenge_check();
        if let Some(handle) = handle.clone() {
            config = config.with_handle(handle);
        }
        let client = azure_key_vault::Client::connect(config).await.unwrap();
        keys.push(("azure", Arc::new(client.key(&self.azure.1).unwrap())));
        let mut config = gcp_kms::Config::new()
            .with_endpoint(self.gcp.0.endpoint())
            .with_timeout(BOUND)
            .with_auth(gcp_kms::Auth::AccessToken("token".into()));
        if let Some(handle) = handle.clone() {
            config = config.with_handle(handle);
        }
        let client = gcp_kms::Client::connect(config).await.unwrap();
        keys.push(("gcp", Arc::new(client.key(&self.gcp.1).unwrap())));
        if let Some((_, _, key)) = &self.vault {
            let client = self.vault(handle.clone()).await.unwrap();
            keys.push(("vault", Arc::new(client.key(key).unwrap())));
        }
        if let Some((_, key)) = &self.aws {
            // Reading the configuration needs the given runtime, too, so it is made where that is driven.
            let client = self.aws(handle).await.unwrap();
            keys.push(("aws", Arc::new(client.key(&format!("alias/{key}")).unwrap())));
        }
        keys
    }
}

fn sealer(manager: &Manager) -> blocking::Sealer {
    let sealer = waxseal::Sealer::builder().wrap_with(Arc::clone(manager)).build();
    sealer.unwrap().into()
}

fn round_trip(sealer: &blocking::Sealer) -> Result<()> {
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let sealed = sealer.seal(b"x", &context)?;
    assert_eq!(sealer.open(&sealed, &context)?, b"x");
    Ok(())
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_blocking_call_works_from_everywhere() {
    let servers = pollster::block_on(Servers::start());
    for (name, manager) in pollster::block_on(servers.keys(None)) {
        let sealer = sealer(&manager);
        round_trip(&sealer).unwrap_or_else(|error| panic!("{name}, a thread: {error}"));
        let single = current_thread();
        single.block_on(async { round_trip(&sealer) }).unwrap();
        let several = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        several.block_on(async { round_trip(&sealer) }).unwrap();
        let often = sealer.clone();
        let task = several.spawn(async move {
            for _ in 0..OFTEN {
                round_trip(&often)?;
            }
            waxseal::Result::<()>::Ok(())
        });
        several
            .block_on(task)
            .unwrap()
            .unwrap_or_else(|error| panic!("{name}, a task: {error}"));
        let local = tokio::task::LocalSet::new();
        single
            .block_on(local.run_until(async { round_trip(&sealer) }))
            .unwrap();
    }
}

#[test]
fn a_client_outlives_the_runtime_that_it_was_made_in() {
    let servers = pollster::block_on(Servers::start());
    let runtime = current_thread();
    let keys = runtime.block_on(async {
        let keys = servers.keys(None).await;
        for (_, manager) in &keys {
            // With a connection that is open.
            let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
            waxseal::Sealer::builder()
                .wrap_with(Arc::clone(manager))
                .build()
                .unwrap()
                .seal(b"x", &context)
                .await
                .unwrap();
        }
        keys
    });
    drop(runtime);
    for (name, manager) in keys {
        round_trip(&sealer(&manager)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn a_given_runtime_that_the_caller_blocks_is_refused_and_one_that_is_gone_is_said_to_be() {
    let servers = pollster::block_on(Servers::start());
    let given = current_thread();
    let handle = given.handle().clone();
    given.block_on(async {
        for (name, manager) in servers.keys(Some(handle.clone())).await {
            let error = round_trip(&sealer(&manager)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{name}: {error}");
            assert!(error.to_string().contains("with_handle"), "{name}: {error}");
        }
    });
    let keys = given.block_on(servers.keys(Some(handle)));
    drop(given);
    for (name, manager) in keys {
        let error = round_trip(&sealer(&manager)).unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Configuration, false),
            "{name}: {error}"
        );
        assert!(error.to_string().contains("shut down"), "{name}: {error}");
    }
}
