//! Who asks, in the terms of Microsoft's client; and for what a token may be asked.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::error::{Error as SdkError, ErrorKind as SdkKind};
use azure_core::http::{ClientOptions, RetryOptions, Transport, Url};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use futures_channel::oneshot;
use secrecy::ExposeSecret;

use super::config::{Auth, Config};
use super::transport::{NoToken, Peer, Transport as Ours, Ways, into_sdk};
use super::{PROVIDER, map, names};
use crate::backend::shared::door::Place;
use crate::runtime::{Runtime, with_timeout};
use crate::value::error::{Error, ErrorKind, Result};

/// Where Entra ID is, in the public cloud.
const AUTHORITY: &str = "https://login.microsoftonline.com";
/// How long one of several credentials may take, before the next is asked.
const EACH: Duration = Duration::from_secs(3);
/// How long before its end a token is not used anymore. Microsoft's client does the same.
const SPARE: Duration = Duration::from_secs(300);

/// Returns tokens for one vault and for nothing else. Asks anew when told that a token was refused.
pub(super) struct Guard {
    config: Config,
    ways: Ways,
    host: String,
    runtime: Place,
    inner: Arc<Mutex<Current>>,
    /// Held while a token is asked for, so that one call does it for all.
    asking: Arc<async_lock::Mutex<()>>,
}

struct Current {
    credential: Arc<dyn TokenCredential>,
    /// Counts how often it was made anew.
    generation: u64,
    /// The last token, and the scopes that it is for.
    kept: Option<(Vec<String>, AccessToken)>,
}

impl Guard {
    pub(super) fn new(config: Config, ways: Ways, vault: &Url, runtime: Place) -> Result<Self> {
        Ok(Self {
            inner: Arc::new(Mutex::new(Current {
                credential: credential(&config.auth, &config, &ways, &runtime)?,
                generation: 0,
                kept: None,
            })),
            asking: Arc::default(),
            config,
            ways,
            runtime,
            host: vault.host_str().unwrap_or_default().to_owned(),
        })
    }

    /// Returns the generation of the tokens that a call uses if it begins now.
    pub(super) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Forgets the tokens of that generation: Microsoft's client keeps each until it is about to expire. Of several calls
    /// that were refused with them, one makes it anew.
    pub(super) fn renew(&self, refused: u64) -> Result<()> {
        if self.lock().generation != refused {
            return Ok(());
        }
        let fresh = credential(&self.config.auth, &self.config, &self.ways, &self.runtime)?;
        let mut current = self.lock();
        if current.generation == refused {
            current.credential = fresh;
            current.generation += 1;
            current.kept = None;
        }
        Ok(())
    }

    /// Returns the last token, if it is for these scopes and valid for a while.
    fn kept(&self, scopes: &[&str]) -> Option<AccessToken> {
        let latest = self.runtime.wall_clock() + SPARE;
        let current = self.lock();
        let (of, token) = current.kept.as_ref()?;
        let is_good = of == scopes && SystemTime::from(token.expires_on) > latest;
        is_good.then(|| token.clone())
    }

    /// Returns how long one request for a token may take, for all callers that wait for it.
    fn limit(&self) -> Duration {
        let others = match &self.config.auth {
            Auth::FirstOf(all) => all.len().saturating_sub(1),
            _ => 0,
        };
        self.config.timeout + EACH.saturating_mul(u32::try_from(others).unwrap_or(u32::MAX))
    }

    /// Returns whether a token for this scope (`https://AUDIENCE/.default`) may be sent to the vault.
    fn may_ask(&self, scope: &str) -> bool {
        let is_unchecked = !self.config.verify_challenge && !names::is_azure(&self.host);
        if is_unchecked && names::is_loopback(&self.host) {
            return true;
        }
        let Some(audience) = Url::parse(scope)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned))
        else {
            return false;
        };
        // As Microsoft's own check, whose error cannot be told from others.
        if names::is_below(&self.host, &audience) {
            return true;
        }
        is_unchecked
            && (self.host.eq_ignore_ascii_case(&audience)
                || names::is_audience(&audience)
                || names::is_loopback(&audience))
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        // Nothing under it panics half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TokenCredential for Guard {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        if !scopes.iter().all(|scope| self.may_ask(scope)) {
            return Err(into_sdk(NoToken::Foreign));
        }
        if let Some(token) = self.kept(scopes) {
            return Ok(token);
        }
        let one = self.asking.lock_arc().await;
        // Another call has asked meanwhile.
        if let Some(token) = self.kept(scopes) {
            return Ok(token);
        }
        let (credential, generation) = {
            let current = self.lock();
            (Arc::clone(&current.credential), current.generation)
        };
        let (inner, runtime, limit) = (Arc::clone(&self.inner), self.runtime.clone(), self.limit());
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let (done, answer) = oneshot::channel();
        // The work goes on if the call that began it gives up: a token that takes longer than any caller waits would otherwise
        // never be had.
        self.runtime.spawn(Box::pin(async move {
            let _one = one;
            let wanted: Vec<&str> = scopes.iter().map(String::as_str).collect();
            let asked = async { Ok(credential.get_token(&wanted, None).await) };
            let token = match with_timeout(&runtime, Some(limit), asked).await {
                Ok(token) => token,
                Err(_) => Err(into_sdk(NoToken::TimedOut)),
            };
            if let Ok(token) = &token {
                let mut current = inner.lock().unwrap_or_else(PoisonError::into_inner);
                if current.generation == generation {
                    current.kept = Some((scopes, token.clone()));
                }
            }
            // If this fails, nobody waits anymore.
            let _ = done.send(token);
        }));
        answer.await.unwrap_or_else(|_| Err(into_sdk(NoToken::TimedOut)))
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("auth", &self.config.auth)
            .finish_non_exhaustive()
    }
}

/// How calls are made: by our transport, once.
pub(super) fn options(config: &Config, ways: &Ways, peer: Peer) -> Result<ClientOptions> {
    let mut cloud = CustomConfiguration::default();
    cloud.authority_host = config.authority.clone().unwrap_or_else(|| AUTHORITY.to_owned());
    Ok(ClientOptions {
        transport: Some(Transport::new(Arc::new(Ours::new(config, ways, peer)?))),
        retry: RetryOptions::none(),
        cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
        ..ClientOptions::default()
    })
}

fn credential(
    auth: &Auth,
    config: &Config,
    ways: &Ways,
    runtime: &Place,
) -> Result<Arc<dyn TokenCredential>> {
    let made: azure_core::Result<Arc<dyn TokenCredential>> = match auth {
        Auth::WorkloadIdentity {
            tenant_id,
            client_id,
            token_file,
        } => {
            // The client's error would not name the variable.
            if let Err(error) = std::fs::metadata(token_file) {
                return Err(Error::configuration(format!(
                    "the projected token {} cannot be read; see AZURE_FEDERATED_TOKEN_FILE",
                    token_file.display()
                ))
                .with_source(error));
            }
            let options = WorkloadIdentityCredentialOptions {
                credential_options: ClientAssertionCredentialOptions {
                    client_options: options(config, ways, Peer::Entra)?,
                },
                client_id: Some(client_id.clone()),
                tenant_id: Some(tenant_id.clone()),
                token_file_path: Some(token_file.clone()),
            };
            WorkloadIdentityCredential::new(Some(options)).map(|made| made as _)
        }
        Auth::ManagedIdentity { client_id } => {
            let options = ManagedIdentityCredentialOptions {
                user_assigned_id: client_id.clone().map(UserAssignedId::ClientId),
                client_options: options(config, ways, Peer::Machine)?,
            };
            let made = ManagedIdentityCredential::new(Some(options));
            if let Some(place) = made.as_ref().err().and_then(unsupported_place) {
                return Err(Error::configuration(format!(
                    "the managed identity of {place} is not supported by Microsoft's client; use workload identity, a client \
                     secret or developer tools"
                )));
            }
            made.map(|made| made as _)
        }
        Auth::ClientSecret {
            tenant_id,
            client_id,
            secret,
        } => {
            let options = ClientSecretCredentialOptions {
                client_options: options(config, ways, Peer::Entra)?,
            };
            let secret = Secret::new(secret.expose_secret().to_owned());
            ClientSecretCredential::new(tenant_id, client_id.clone(), secret, Some(options))
                .map(|made| made as _)
        }
        Auth::DeveloperTools => DeveloperToolsCredential::new(None).map(|made| made as _),
        Auth::FirstOf(all) => {
            let mut refused = None;
            let mut made = Vec::with_capacity(all.len());
            for auth in all {
                match credential(auth, config, ways, runtime) {
                    Ok(one) => made.push(one),
                    Err(error) => {
                        tracing::debug!(provider = PROVIDER, error = %error, "a credential cannot be made and is left out");
                        refused.get_or_insert(error);
                    }
                }
            }
            if let (true, Some(refused)) = (made.is_empty(), refused) {
                return Err(refused);
            }
            Ok(Arc::new(FirstOf {
                all: made,
                known: AtomicUsize::new(usize::MAX),
                runtime: runtime.clone(),
            }) as _)
        }
    };
    made.map_err(|_| {
        Error::configuration(
            "the credentials are incomplete or malformed: check the tenant id, the client id, the token file or secret, and \
             that AZURE_AUTHORITY_HOST, where set, is an https URL",
        )
    })
}

/// Where this runs, if Microsoft's client knows that place and has no managed identity for it.
fn unsupported_place(error: &SdkError) -> Option<&'static str> {
    // The error has no code. If the client's text changes, the error is the general error.
    let text = error.to_string();
    [
        ("Azure Arc", "Azure Arc"),
        ("Azure ML", "Azure ML"),
        ("CloudShell", "Cloud Shell"),
        ("Service Fabric", "Service Fabric"),
    ]
    .into_iter()
    .find(|(its, _)| text.starts_with(its))
    .map(|(_, ours)| ours)
}

/// Asks one credential after the other, and stays with the first that returns a token.
#[derive(Debug)]
struct FirstOf {
    all: Vec<Arc<dyn TokenCredential>>,
    known: AtomicUsize,
    runtime: Place,
}

#[async_trait]
impl TokenCredential for FirstOf {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        if let Some(known) = self.all.get(self.known.load(Ordering::Relaxed)) {
            return known.get_token(scopes, options).await;
        }
        let mut passing = None;
        for (index, one) in self.all.iter().enumerate() {
            // Microsoft's client asks a metadata service that is another's again and again.
            let limit = (index + 1 < self.all.len()).then_some(EACH);
            let options = options.clone();
            let mut refused = None;
            let asked = async {
                one.get_token(scopes, options).await.map_err(|error| {
                    refused = Some(error);
                    Error::new(ErrorKind::Unauthenticated)
                })
            };
            if let Ok(token) = with_timeout(&self.runtime, limit, asked).await {
                self.known.store(index, Ordering::Relaxed);
                return Ok(token);
            }
            // One that is there and has trouble is not one that is not there.
            let refused = refused.unwrap_or_else(|| into_sdk(NoToken::TimedOut));
            if passing.is_none() && map::may_pass(&refused) {
                passing = Some(refused);
            }
        }
        let nobody = "none of the credentials gave a token";
        Err(match passing {
            Some(passing) => SdkError::with_error(SdkKind::Credential, passing, nobody),
            None => SdkError::with_message(SdkKind::Credential, nobody),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        let door =
            crate::backend::shared::door::Door::new(None, Duration::from_secs(10), String::new()).unwrap();
        door.place().clone()
    }

    fn guard(vault: &str, verify: bool) -> Guard {
        let mut config = Config::new(vault, Auth::DeveloperTools);
        config.verify_challenge = verify;
        let (runtime, ways) = (place(), Ways::new(&config).unwrap());
        Guard::new(config, ways, &names::parse_vault(vault).unwrap(), runtime).unwrap()
    }

    #[test]
    fn a_token_is_asked_for_the_vault_alone() {
        let azure = "https://v.vault.azure.net";
        for (vault, verify, audience, may) in [
            (azure, true, "vault.azure.net", true),
            (azure, true, "azure.net", true),
            (azure, true, "management.azure.com", false),
            (azure, true, "managedhsm.azure.net", false),
            // A vault of Azure's own is always checked.
            (azure, false, "management.azure.com", false),
            (azure, false, "v.vault.azure.net.evil.com", false),
            (
                "https://h.managedhsm.azure.net",
                true,
                "managedhsm.azure.net",
                true,
            ),
            ("https://kms.corp.example", true, "vault.azure.net", false),
            ("https://kms.corp.example", false, "vault.azure.net", true),
            ("https://kms.corp.example", false, "kms.corp.example", true),
            ("https://kms.corp.example", false, "management.azure.com", false),
            ("https://127.0.0.1:8443", true, "vault.azure.net", false),
            ("https://127.0.0.1:8443", true, "127.0.0.1:8443", false),
            ("https://127.0.0.1:8443", false, "127.0.0.1:8443", true),
            ("https://127.0.0.1:8443", false, "vault.azure.net", true),
        ] {
            let scope = format!("https://{audience}/.default");
            assert_eq!(
                guard(vault, verify).may_ask(&scope),
                may,
                "{vault} {verify} {audience}"
            );
        }
        assert!(!guard(azure, true).may_ask("vault"));
    }

    /// Answers when it is let, and counts how often it was asked.
    #[derive(Debug)]
    struct Slow {
        gate: async_lock::Semaphore,
        asked: AtomicUsize,
    }

    #[async_trait]
    impl TokenCredential for Slow {
        async fn get_token(
            &self,
            _: &[&str],
            _: Option<TokenRequestOptions<'_>>,
        ) -> azure_core::Result<AccessToken> {
            let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            self.gate.acquire().await.forget();
            let end = SystemTime::now() + Duration::from_secs(3600);
            Ok(AccessToken::new(format!("token {asked}"), end.into()))
        }
    }

    fn slow() -> Arc<Slow> {
        Arc::new(Slow {
            gate: async_lock::Semaphore::new(0),
            asked: AtomicUsize::new(0),
        })
    }

    const SCOPE: &[&str] = &["https://vault.azure.net/.default"];

    /// Waits for a token for a moment that is too short.
    async fn hasty(guard: &Guard) {
        let asked = async { Ok(guard.get_token(SCOPE, None).await) };
        let answer = with_timeout(&guard.runtime, Some(Duration::from_millis(50)), asked).await;
        assert!(answer.is_err(), "the gate is closed");
    }

    #[test]
    fn a_hasty_caller_ends_nobody_elses_request_for_a_token() {
        let (slow, guard) = (slow(), guard("https://v.vault.azure.net", true));
        guard.lock().credential = Arc::clone(&slow) as _;
        pollster::block_on(async {
            hasty(&guard).await;
            hasty(&guard).await;
            slow.gate.add_permits(1);
            // What the first began is what the last gets.
            let token = guard.get_token(SCOPE, None).await.unwrap();
            assert_eq!(token.token.secret(), "token 1");
            assert_eq!(
                guard.get_token(SCOPE, None).await.unwrap().token.secret(),
                "token 1"
            );
            assert_eq!(slow.asked.load(Ordering::SeqCst), 1);
            // For another audience, and after a refusal, it is asked again.
            slow.gate.add_permits(2);
            let other = ["https://azure.net/.default"];
            assert_eq!(
                guard.get_token(&other, None).await.unwrap().token.secret(),
                "token 2"
            );
            guard.renew(0).unwrap();
            guard.lock().credential = Arc::clone(&slow) as _;
            assert_eq!(
                guard.get_token(&other, None).await.unwrap().token.secret(),
                "token 3"
            );
        });
    }

    /// Each of several gets its time, although no caller waits for so long.
    #[test]
    fn hasty_callers_do_not_keep_a_chain_at_its_first_credential() {
        let (never, slow) = (slow(), slow());
        let guard = guard("https://v.vault.azure.net", true);
        guard.lock().credential = Arc::new(FirstOf {
            all: vec![Arc::clone(&never) as _, Arc::clone(&slow) as _],
            known: AtomicUsize::new(usize::MAX),
            runtime: guard.runtime.clone(),
        });
        slow.gate.add_permits(1);
        pollster::block_on(async {
            // Until the second had its turn, at most for a minute.
            for _ in 0..1200 {
                hasty_or_not(&guard).await;
                if guard.kept(SCOPE).is_some() {
                    break;
                }
            }
            let token = guard.get_token(SCOPE, None).await.unwrap();
            assert_eq!(token.token.secret(), "token 1");
        });
        assert_eq!(never.asked.load(Ordering::SeqCst), 1);
    }

    async fn hasty_or_not(guard: &Guard) {
        let asked = async { Ok(guard.get_token(SCOPE, None).await) };
        drop(with_timeout(&guard.runtime, Some(Duration::from_millis(50)), asked).await);
    }

    #[test]
    fn of_several_the_ones_that_can_be_made_are_asked() {
        let missing = |file: &str| Auth::WorkloadIdentity {
            tenant_id: "t".to_owned(),
            client_id: "c".to_owned(),
            token_file: file.into(),
        };
        let runtime = place();
        let make = |all: Vec<Auth>| {
            let config = Config::new("https://v.vault.azure.net", Auth::FirstOf(all));
            credential(&config.auth, &config, &Ways::new(&config).unwrap(), &runtime)
        };
        assert!(make(vec![missing("/nowhere/a"), Auth::DeveloperTools]).is_ok());
        assert!(make(vec![Auth::DeveloperTools, missing("/nowhere/a")]).is_ok());
        let error = make(vec![missing("/nowhere/a"), missing("/nowhere/b")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("/nowhere/a"), "{error}");
    }
}
