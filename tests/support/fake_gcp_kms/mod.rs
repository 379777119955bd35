//! A fake of Google Cloud KMS, of our own making, written from the REST reference: symmetric keys with versions, states and a
//! primary one, AAD bound by AES-256-GCM, checksums both ways, Google's error bodies, and faults on demand. It knows
//! no permissions beyond one token. Not an emulator for anything but these tests.
#![allow(dead_code, reason = "no test program uses all of it")]

mod http;
mod rest;
mod state;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;

pub(crate) use http::Seen;
use state::State;

/// What goes wrong in the service itself; what goes wrong on the way, a proxy does.
#[derive(Clone, Default)]
pub(crate) enum Fault {
    #[default]
    None,
    /// The answer, changed.
    Change(fn(&mut Value)),
    /// The request is changed before the service sees it.
    ChangeRequest(fn(&mut Value)),
}

type Rule = Box<dyn Fn(&Seen) -> Fault + Send>;

struct Shared {
    state: State,
    rule: Rule,
    seen: Vec<Seen>,
    token: Option<String>,
    is_over: bool,
}

/// The fake, listening on a free port until it is dropped.
pub(crate) struct FakeGcpKms {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

impl FakeGcpKms {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared {
            state: State::default(),
            rule: Box::new(|_| Fault::None),
            seen: Vec::new(),
            token: None,
            is_over: false,
        }));
        let own = Arc::clone(&shared);
        std::thread::spawn(move || http::listen(&listener, &own));
        Self { address, shared }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A key of one version, in the ring `projects/p/locations/global/keyRings/r`.
    pub(crate) fn key(&self, id: &str) -> String {
        let ring = "projects/p/locations/global/keyRings/r";
        let body = serde_json::json!({"purpose": "ENCRYPT_DECRYPT"});
        self.post(&format!("{ring}/cryptoKeys?cryptoKeyId={id}"), &body);
        format!("{ring}/cryptoKeys/{id}")
    }

    /// A call from beside, which must succeed.
    pub(crate) fn post(&self, target: &str, body: &Value) -> Value {
        self.call("POST", target, body)
    }

    pub(crate) fn get(&self, target: &str) -> Value {
        self.call("GET", target, &Value::Null)
    }

    pub(crate) fn patch(&self, target: &str, body: &Value) -> Value {
        self.call("PATCH", target, body)
    }

    fn call(&self, method: &str, target: &str, body: &Value) -> Value {
        let (status, answer) = rest::answer(&mut self.shared().state, method, &format!("/v1/{target}"), body);
        assert_eq!(status, 200, "{method} {target}: {answer}");
        answer
    }

    /// Makes the times of all scheduled destructions come.
    pub(crate) fn finish_destruction(&self) {
        self.shared().state.finish_destruction();
    }

    /// Says in the error's details why a version cannot be used, too.
    pub(crate) fn explain_preconditions(&self) {
        self.shared().state.explains = true;
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.set_rule(move |_| fault.clone());
    }

    pub(crate) fn set_rule(&self, rule: impl Fn(&Seen) -> Fault + Send + 'static) {
        self.shared().rule = Box::new(rule);
    }

    /// Answers those only who have this token: others are not known, and one that begins with `denied` has no rights.
    pub(crate) fn demand_token(&self, token: &str) {
        self.shared().token = Some(token.to_owned());
    }

    /// What came since the last time.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared().seen)
    }
}

impl Drop for FakeGcpKms {
    fn drop(&mut self) {
        self.shared().is_over = true;
        // Wakes the listener, which then ends.
        drop(std::net::TcpStream::connect(self.address));
    }
}
