//! Entra ID's token endpoint, App Service's endpoint for managed identities, and who may do what.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::http::Seen;
use super::rest;
use super::state::{hex, now};

pub(crate) const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub(crate) const CLIENT_SECRET: &str = "CANARY-client-secret";
/// What Kubernetes projects.
pub(crate) const ASSERTION: &str = "CANARY-assertion.of.kubernetes";
pub(crate) const IDENTITY_HEADER: &str = "CANARY-identity-header";

struct Token {
    audience: String,
    ends: u64,
    client: String,
}

pub(crate) struct Tokens {
    own: String,
    audience: String,
    all: HashMap<String, Token>,
    pub(super) life: u64,
    pub(super) given: usize,
    /// What the challenge asks for, instead of the service's audience.
    pub(crate) challenge: Option<String>,
    /// Whether the endpoint for managed identities says when a token ends by a number, as some emulators do.
    pub(crate) ends_as_number: bool,
}

impl Tokens {
    pub(super) fn new(own: String, audience: String) -> Self {
        Self {
            own,
            audience,
            all: HashMap::new(),
            life: 3600,
            given: 0,
            challenge: None,
            ends_as_number: false,
        }
    }

    pub(super) fn end_all(&mut self) {
        for token in self.all.values_mut() {
            token.ends = 0;
        }
    }

    /// A token as Azure CLI would get it.
    pub(crate) fn give_away(&mut self, client: &str) -> String {
        self.give(&self.audience.clone(), client)
    }

    fn give(&mut self, audience: &str, client: &str) -> String {
        let text = format!("eyJ.CANARY-{}", hex(16));
        self.given += 1;
        let token = Token {
            audience: audience.trim_end_matches('/').to_owned(),
            ends: now() + self.life,
            client: client.to_owned(),
        };
        self.all.insert(text.clone(), token);
        text
    }

    /// Entra ID: a client secret, or an assertion.
    pub(super) fn entra(&mut self, seen: &Seen) -> (u16, Value) {
        let path = seen.target.split('?').next().unwrap_or_default();
        if path.ends_with("/.well-known/openid-configuration") {
            let (own, tenant) = (&self.own, TENANT);
            return (
                200,
                json!({
                    "token_endpoint": format!("{own}/{tenant}/oauth2/v2.0/token"),
                    "authorization_endpoint": format!("{own}/{tenant}/oauth2/v2.0/authorize"),
                    "issuer": format!("{own}/{tenant}/v2.0"),
                    "jwks_uri": format!("{own}/{tenant}/discovery/v2.0/keys"),
                }),
            );
        }
        let form = form(&seen.text);
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let by_secret = field("client_secret") == CLIENT_SECRET;
        let by_assertion = field("client_assertion") == ASSERTION
            && field("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let refused = |number: u32| {
            (
                401,
                json!({
                    "error": "invalid_client",
                    "error_description": "AADSTS: said by the fake, CANARY-BODY",
                    "error_codes": [number],
                }),
            )
        };
        if path != format!("/{TENANT}/oauth2/v2.0/token") {
            return (
                400,
                json!({"error": "invalid_request", "error_description": "CANARY-BODY", "error_codes": [90002]}),
            );
        }
        if field("grant_type") != "client_credentials" || !(by_secret || by_assertion) {
            return refused(7_000_215);
        }
        let scope = field("scope").split(' ').next().unwrap_or_default();
        let Some(audience) = scope.strip_suffix("/.default") else {
            return refused(70_011);
        };
        let token = self.give(audience, field("client_id"));
        (
            200,
            json!({"token_type": "Bearer", "expires_in": self.life, "ext_expires_in": self.life, "access_token": token}),
        )
    }

    /// App Service: the header, and the resource without `/.default`.
    pub(super) fn machine(&mut self, seen: &Seen) -> (u16, Value) {
        let query = form(seen.target.split_once('?').map_or("", |(_, query)| query));
        if seen.headers.get("x-identity-header").map(String::as_str) != Some(IDENTITY_HEADER) {
            return (401, json!({"statusCode": 401, "message": "CANARY-BODY"}));
        }
        let field = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        if field("api-version") != "2019-08-01" || field("resource").is_empty() {
            return (400, json!({"statusCode": 400, "message": "CANARY-BODY"}));
        }
        let token = self.give(field("resource"), field("client_id"));
        let ends = now() + self.life;
        let ends = match self.ends_as_number {
            true => json!(ends),
            false => json!(ends.to_string()),
        };
        let resource = field("resource");
        (
            200,
            json!({"access_token": token, "expires_on": ends, "resource": resource, "token_type": "Bearer"}),
        )
    }

    /// What the challenge says.
    pub(super) fn challenge(&self) -> String {
        let resource = self.challenge.as_deref().unwrap_or(&self.audience);
        let own = &self.own;
        format!("www-authenticate: Bearer authorization=\"{own}/{TENANT}\", resource=\"{resource}\"\r\n")
    }

    /// Refuses who has no token, one for something else, one that is over, or no right. A client id that begins with
    /// `denied` has none, one with `crypto-user` only those of an application, one with `no-read` not that of reading keys.
    pub(super) fn refusal(&self, seen: &Seen) -> Option<(u16, Value)> {
        let shown = seen
            .headers
            .get("authorization")
            .and_then(|shown| shown.strip_prefix("Bearer "));
        let token = shown.and_then(|shown| self.all.get(shown));
        let is_good = |token: &&Token| token.audience == self.audience && token.ends > now();
        let Some(token) = token.filter(is_good) else {
            return Some(rest::error(401, "Unauthorized", None));
        };
        let path = seen.target.split('?').next().unwrap_or_default();
        let is_wrapping = path.ends_with("/wrapkey") || path.ends_with("/unwrapkey");
        let client = token.client.as_str();
        let is_denied = client.starts_with("denied")
            || (client.starts_with("crypto-user") && !is_wrapping && seen.method != "GET")
            || (client.starts_with("no-read") && !is_wrapping);
        is_denied.then(|| rest::error(403, "Forbidden", Some("ForbiddenByRbac")))
    }
}

fn form(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex = [rest.next().unwrap_or_default(), rest.next().unwrap_or_default()];
                u8::from_str_radix(std::str::from_utf8(&hex).unwrap_or_default(), 16).unwrap_or_default()
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).unwrap_or_default()
}
