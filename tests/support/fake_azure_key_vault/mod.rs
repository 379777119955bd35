//! A fake of Azure Key Vault and Managed HSM, of our own making, written from Microsoft's REST reference: keys with versions, states
//! and tags, wrapping by real RSA-OAEP-256 and A256KW, the challenge of the first request, tokens with audience and end,
//! Entra ID's token endpoint, App Service's endpoint for managed identities, the service's error bodies, and faults on
//! demand. TLS, by a CA made at the start. Not an emulator for anything but these tests.
#![allow(dead_code, reason = "no test program uses all of it")]

mod crypto;
mod http;
mod rest;
mod state;
mod tls;
mod tokens;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;

pub(crate) use crypto::Material;
pub(crate) use http::Seen;
use state::State;
pub(crate) use tls::Validity;
use tokens::Tokens;
#[allow(unused_imports, reason = "no test program uses all of it")]
pub(crate) use tokens::{ASSERTION, CLIENT_SECRET, IDENTITY_HEADER, TENANT};

/// What goes wrong.
#[derive(Clone, Default)]
pub(crate) enum Fault {
    #[default]
    None,
    /// The connection is closed without an answer.
    Close,
    /// No answer ever comes.
    Hang,
    /// The answer, less the end of it.
    Cut(usize),
    /// The answer, changed.
    Change(fn(&mut Value)),
    /// This status, these header lines and this body.
    Answer(u16, String, String),
}

type Rule = Box<dyn Fn(&Seen) -> Fault + Send>;

pub(crate) struct Shared {
    pub(crate) state: State,
    pub(crate) tokens: Tokens,
    rule: Rule,
    seen: Vec<Seen>,
    is_down: bool,
    is_over: bool,
}

/// How the fake is made.
pub(crate) struct Setup {
    /// The names and addresses of its certificate.
    pub(crate) names: Vec<String>,
    pub(crate) validity: Validity,
    /// A managed HSM, whose tokens have another audience.
    pub(crate) is_hsm: bool,
    /// What it calls itself in `kid`; else its address.
    pub(crate) public: Option<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            names: ["127.0.0.1", "localhost", "fake.vault.azure.net"]
                .map(str::to_owned)
                .into(),
            validity: Validity::Now,
            is_hsm: false,
            public: Some("https://fake.vault.azure.net".to_owned()),
        }
    }
}

/// The fake, listening on two free ports until it is dropped.
pub(crate) struct FakeKeyVault {
    address: SocketAddr,
    /// Where managed identities get tokens, without TLS.
    machine: SocketAddr,
    ca: String,
    shared: Arc<Mutex<Shared>>,
}

impl FakeKeyVault {
    pub(crate) fn start() -> Self {
        Self::start_with(Setup::default())
    }

    pub(crate) fn start_hsm() -> Self {
        Self::start_with(Setup {
            is_hsm: true,
            public: Some("https://fake.managedhsm.azure.net".to_owned()),
            ..Setup::default()
        })
    }

    pub(crate) fn start_with(setup: Setup) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let machine = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, machine_address) = (listener.local_addr().unwrap(), machine.local_addr().unwrap());
        let own = format!("https://{address}");
        let domain = if setup.is_hsm { "managedhsm" } else { "vault" };
        let shared = Arc::new(Mutex::new(Shared {
            state: State::new(setup.public.unwrap_or_else(|| own.clone()), setup.is_hsm),
            tokens: Tokens::new(own, format!("https://{domain}.azure.net")),
            rule: Box::new(|_| Fault::None),
            seen: Vec::new(),
            is_down: false,
            is_over: false,
        }));
        let (ca, config) = tls::make(&setup.names, setup.validity);
        let of_vault = Arc::clone(&shared);
        std::thread::spawn(move || http::listen(&listener, Some(&config), &of_vault));
        let of_machine = Arc::clone(&shared);
        std::thread::spawn(move || http::listen(&machine, None, &of_machine));
        Self {
            address,
            machine: machine_address,
            ca,
            shared,
        }
    }

    pub(crate) fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What `IDENTITY_ENDPOINT` is to be.
    pub(crate) fn identity_endpoint(&self) -> String {
        format!("http://{}/msi/token", self.machine)
    }

    /// The CA's certificate, PEM.
    pub(crate) fn ca(&self) -> &str {
        &self.ca
    }

    /// A key of one version: RSA, or symmetric in an HSM.
    pub(crate) fn key(&self, name: &str) -> String {
        let kty = if self.shared().state.is_hsm {
            "oct-HSM"
        } else {
            "RSA"
        };
        self.call(
            "POST",
            &format!("/keys/{name}/create"),
            &serde_json::json!({"kty": kty}),
        );
        name.to_owned()
    }

    /// The newest version of a key.
    pub(crate) fn version(&self, name: &str) -> String {
        let kid = self.call("GET", &format!("/keys/{name}/"), &Value::Null)["key"]["kid"].clone();
        kid.as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    }

    pub(crate) fn set_enabled(&self, name: &str, version: &str, enabled: bool) {
        let body = serde_json::json!({"attributes": {"enabled": enabled}});
        self.call("PATCH", &format!("/keys/{name}/{version}"), &body);
    }

    /// A call from beside, which must succeed.
    pub(crate) fn call(&self, method: &str, target: &str, body: &Value) -> Value {
        let (status, answer) = self.try_call(method, target, body);
        assert_eq!(status, 200, "{method} {target}: {answer}");
        answer
    }

    pub(crate) fn try_call(&self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        rest::answer(&mut self.shared().state, method, target, body)
    }

    /// The key material of a version, which no vault would give.
    pub(crate) fn material(&self, name: &str, version: &str) -> Material {
        self.shared().state.material(name, version)
    }

    /// Takes every token that was given for one that is over.
    pub(crate) fn end_tokens(&self) {
        self.shared().tokens.end_all();
    }

    /// How long tokens are from now on, as they say, in seconds.
    pub(crate) fn set_token_life(&self, seconds: u64) {
        self.shared().tokens.life = seconds;
    }

    /// How many tokens were given.
    pub(crate) fn tokens_given(&self) -> usize {
        self.shared().tokens.given
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.set_rule(move |seen| match seen.is_vault {
            true => fault.clone(),
            false => Fault::None,
        });
    }

    pub(crate) fn set_rule(&self, rule: impl Fn(&Seen) -> Fault + Send + 'static) {
        self.shared().rule = Box::new(rule);
    }

    /// Closes every connection at once, or no longer.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.shared().is_down = is_down;
    }

    /// What came to the vault since the last time.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let mut seen = std::mem::take(&mut self.shared().seen);
        seen.retain(|seen| seen.is_vault);
        seen
    }

    /// What came to whatever gives tokens since the last time.
    pub(crate) fn asked_for_tokens(&self) -> Vec<Seen> {
        let mut seen = std::mem::take(&mut self.shared().seen);
        seen.retain(|seen| !seen.is_vault);
        seen
    }
}

impl Drop for FakeKeyVault {
    fn drop(&mut self) {
        self.shared().is_over = true;
        // Wakes the listeners, which then end.
        drop(std::net::TcpStream::connect(self.address));
        drop(std::net::TcpStream::connect(self.machine));
    }
}
