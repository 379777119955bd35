//! Clients that write notes and read them again, as fast as they are answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use reqwest::Client;
use tokio::task::JoinHandle;

use super::Result;

/// How many notes each client has.
const NOTES: usize = 10;
/// Only to fail instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of the requests of all clients.
#[derive(Default)]
pub(crate) struct Seen {
    is_over: AtomicBool,
    good: AtomicUsize,
    gone: AtomicUsize,
    /// Every answer that should not be, and what it was an answer to.
    pub(crate) wrong: Mutex<Vec<String>>,
    /// By tenant.
    by_tenant: Mutex<BTreeMap<String, usize>>,
}

impl Seen {
    pub(crate) fn good(&self) -> usize {
        self.good.load(Ordering::Relaxed)
    }

    pub(crate) fn gone(&self) -> usize {
        self.gone.load(Ordering::Relaxed)
    }

    fn note(&self, tenant: &str) {
        self.good.fetch_add(1, Ordering::Relaxed);
        let mut tenants = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        *tenants.entry(tenant.to_owned()).or_default() += 1;
    }

    fn wrong(&self, what: String) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.push(what);
    }

    /// Waits until each of these tenants has had so many good answers more.
    pub(crate) async fn more(&self, tenants: &[&str], count: usize) -> Result<()> {
        let answers = |tenant: &str| {
            let seen = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
            seen.get(tenant).copied().unwrap_or_default()
        };
        let before: Vec<usize> = tenants.iter().map(|tenant| answers(tenant)).collect();
        let begun = Instant::now();
        while tenants
            .iter()
            .zip(&before)
            .any(|(tenant, before)| answers(tenant) < before + count)
        {
            if begun.elapsed() > PATIENCE {
                let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
                return Err(format!("a tenant gets no answers: {:?}", wrong.first()).into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// The clients, and what they have seen.
pub(crate) struct Load {
    addresses: Arc<Vec<String>>,
    http: Client,
    pub(crate) seen: Arc<Seen>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn on(addresses: Vec<String>) -> Result<Self> {
        Ok(Self {
            addresses: Arc::new(addresses),
            http: Client::builder().no_proxy().build()?,
            seen: Arc::default(),
            clients: Vec::new(),
        })
    }

    /// Lets a client of this tenant begin at each of the replicas.
    pub(crate) fn begin(&mut self, tenant: &str) {
        for home in 0..self.addresses.len() {
            let (addresses, http) = (Arc::clone(&self.addresses), self.http.clone());
            let (seen, tenant) = (Arc::clone(&self.seen), tenant.to_owned());
            self.clients.push(tokio::spawn(async move {
                for round in 0.. {
                    if seen.is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let id = format!("{home}-{}", round % NOTES);
                    let text = format!("{tenant}: {home} in round {round}");
                    let url = |turn: usize| {
                        let index = (home + turn) % addresses.len();
                        format!("{}/notes/{id}", addresses.get(index).map_or("", String::as_str))
                    };
                    let put = http.put(url(0)).bearer_auth(token_of(&tenant)).body(text.clone());
                    // What one replica has written, the other one reads.
                    let get = http.get(url(1)).bearer_auth(token_of(&tenant));
                    if !one(&seen, &tenant, put, None).await || !one(&seen, &tenant, get, Some(&text)).await {
                        break;
                    }
                }
            }));
        }
    }

    /// One request by hand.
    pub(crate) async fn get(&self, replica: usize, token: &str, id: &str) -> Result<(StatusCode, String)> {
        let address = self.addresses.get(replica).ok_or("there is no such replica")?;
        let get = self.http.get(format!("{address}/notes/{id}")).bearer_auth(token);
        let answer = get.send().await?;
        Ok((answer.status(), answer.text().await?))
    }

    /// Ends the clients.
    pub(crate) async fn end(&mut self) -> Result<()> {
        self.seen.is_over.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.await?;
        }
        Ok(())
    }
}

/// The token of a tenant. Real ones are not to be guessed.
pub(crate) fn token_of(tenant: &str) -> String {
    format!("token-of-{tenant}")
}

/// Makes one request. Returns whether this tenant goes on.
async fn one(seen: &Seen, tenant: &str, request: reqwest::RequestBuilder, text: Option<&str>) -> bool {
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => {
            seen.wrong(format!("{tenant}: {error}"));
            return false;
        }
    };
    let (status, url) = (answer.status(), answer.url().path().to_owned());
    if status == StatusCode::GONE {
        seen.gone.fetch_add(1, Ordering::Relaxed);
        return false;
    }
    let body = answer.text().await.unwrap_or_default();
    if status.is_success() && text.is_none_or(|text| text == body) {
        seen.note(tenant);
        return true;
    }
    seen.wrong(format!(
        "{tenant}: {url} is {status} with {body:?}, and not {text:?}"
    ));
    true
}
