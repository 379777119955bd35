//! Logging in, renewing, and logging in again.

use std::io::Write;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use waxseal::backend::vault_transit::{Auth, Config, JwtSource, Mode, TransitKey};
use waxseal::testing::FakeEnvironment;
use waxseal::{ErrorKind, key::Request};

use super::server::{Server, acme, policy_for, round_trip, server, unique};
use crate::fault_proxy::{Fault, FaultProxy, Seen};

/// An AppRole with the documented policy for a fresh key: the key, the role's id and secret.
async fn approle(server: &Server, more: Value) -> (String, String, String, String) {
    let name = server.key("approle", Mode::Encrypt).await;
    let policy = server.policy(&policy_for(&name)).await;
    let role = unique("role");
    let mut body = json!({"token_policies": [policy]});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let path = format!("auth/approle/role/{role}");
    server.post(&path, body).await;
    let (_, id) = server
        .raw(Method::GET, &format!("{path}/role-id"), Value::Null)
        .await;
    let secret = server.post(&format!("{path}/secret-id"), json!({})).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (
        name,
        role,
        text(&id["data"]["role_id"]),
        text(&secret["data"]["secret_id"]),
    )
}

fn keys_of(proxy: &FaultProxy, auth: Auth, name: &str) -> TransitKey {
    let client = super::connect(Config::new(proxy.url(), auth)).unwrap();
    client.key(name).unwrap()
}

/// The token of the last request.
fn token_of(seen: &[Seen]) -> String {
    let head = &seen.last().unwrap().head;
    let token = head
        .lines()
        .find_map(|line| line.split_once("Bearer "))
        .unwrap()
        .1;
    token.to_owned()
}

/// The paths of what came since the last time.
fn paths_of(proxy: &FaultProxy) -> Vec<String> {
    let path = |seen: &Seen| seen.path().trim_start_matches("/v1/").to_owned();
    proxy.seen().iter().map(path).collect()
}

fn count(paths: &[String], end: &str) -> usize {
    paths.iter().filter(|path| path.ends_with(end)).count()
}

/// Uses the key until what the server has seen since the last time is enough. Each use must succeed.
async fn used_until(keys: &TransitKey, proxy: &FaultProxy, enough: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
    let mut seen = Vec::new();
    for _ in 0..600 {
        round_trip(keys).await.unwrap();
        seen.extend(proxy.seen());
        if enough(&seen) {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it never came, only: {seen:?}");
}

fn requests(seen: &[Seen], end: &str) -> usize {
    seen.iter().filter(|seen| seen.path().ends_with(end)).count()
}

#[tokio::test]
async fn approle_logs_in_once_and_again_when_revoked() {
    let Some(server) = server().await else { return };
    let (name, role, id, secret) = approle(&server, json!({})).await;
    let proxy = FaultProxy::new(&server.address);
    let keys = keys_of(&proxy, Auth::approle(&id, secret.clone()), &name);
    round_trip(&keys).await.unwrap();
    round_trip(&keys).await.unwrap();
    let seen = proxy.seen();
    let logins: Vec<_> = seen.iter().filter(|seen| seen.head.contains("/auth/")).collect();
    assert_eq!(logins.len(), 1);
    for header in ["authorization", "x-vault-token"] {
        assert!(logins[0].header(header).is_none(), "{}", logins[0].head);
    }
    server
        .post("auth/token/revoke", json!({"token": token_of(&seen)}))
        .await;
    round_trip(&keys).await.unwrap();
    let seen = proxy.seen();
    assert_eq!(
        seen.iter().filter(|seen| seen.head.contains("/login ")).count(),
        1
    );

    // Denied, and not for want of a login: no login is made for it.
    let other = server.key("other", Mode::Encrypt).await;
    let denied = keys_of(&proxy, Auth::approle(&id, secret.clone()), &other);
    assert_eq!(round_trip(&denied).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(round_trip(&denied).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(count(&paths_of(&proxy), "/login"), 1);

    // Without a role there is no second login, and one attempt only.
    server
        .post("auth/token/revoke", json!({"token": token_of(&seen)}))
        .await;
    server
        .raw(Method::DELETE, &format!("auth/approle/role/{role}"), Value::Null)
        .await;
    let error = round_trip(&keys).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unauthenticated, false)
    );
    assert_eq!(count(&paths_of(&proxy), "/login"), 1);
    let wrong = keys_of(&proxy, Auth::approle(&id, "CANARY"), &name);
    let error = round_trip(&wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(!format!("{error} {error:?} {wrong:?}").contains("CANARY"));
    let elsewhere = keys_of(&proxy, Auth::approle(&id, secret).at("nowhere"), &name);
    assert_eq!(
        round_trip(&elsewhere).await.unwrap_err().kind(),
        ErrorKind::Unauthenticated
    );
}

#[tokio::test]
async fn a_token_is_renewed_at_two_thirds_of_its_time() {
    let Some(server) = server().await else { return };
    let (name, _, id, secret) = approle(&server, json!({"token_ttl": "3s", "token_max_ttl": "1h"})).await;
    let proxy = FaultProxy::new(&server.address);
    let keys = keys_of(&proxy, Auth::approle(&id, secret), &name);
    let start = std::time::Instant::now();
    let is_either = |seen: &[Seen]| requests(seen, "/renew-self") >= 1 || requests(seen, "/login") >= 2;
    let seen = used_until(&keys, &proxy, is_either).await;
    // If the machine was slow, the token was over before that, and a login came in the place of the renewal.
    let was_slow = start.elapsed() >= Duration::from_secs(3);
    assert!(was_slow || requests(&seen, "/login") == 1, "{seen:?}");
    // After the end of the token, as the server sees it.
    let token = token_of(&seen);
    for _ in 0..600 {
        let lookup = json!({"token": token});
        let (status, _) = server.raw(Method::POST, "auth/token/lookup", lookup).await;
        if status.is_client_error() {
            round_trip(&keys).await.unwrap();
            assert!(count(&paths_of(&proxy), "/login") >= 1);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the token does not end");
}

#[tokio::test]
async fn what_cannot_be_renewed_is_replaced() {
    let Some(server) = server().await else { return };
    // By a most that it may live, and by its kind.
    for more in [
        json!({"token_ttl": "3s", "token_max_ttl": "4s"}),
        json!({"token_ttl": "3s", "token_type": "batch"}),
    ] {
        let batch = more["token_type"] == "batch";
        let (name, _, id, secret) = approle(&server, more).await;
        let proxy = FaultProxy::new(&server.address);
        let keys = keys_of(&proxy, Auth::approle(&id, secret), &name);
        let seen = used_until(&keys, &proxy, |seen| requests(seen, "/login") >= 2).await;
        assert!(!batch || requests(&seen, "/renew-self") == 0, "{seen:?}");
    }
}

#[tokio::test]
async fn a_renewal_that_fails_is_no_failure_while_the_token_is_good() {
    let Some(server) = server().await else { return };
    let (name, _, id, secret) = approle(&server, json!({"token_ttl": "30s"})).await;
    let proxy = FaultProxy::new(&server.address);
    let keys = keys_of(&proxy, Auth::approle(&id, secret), &name);
    // Where there is no token yet, it is one.
    proxy.set_rule(|seen| {
        if seen.head.contains("renew-self") || seen.head.contains("/login") {
            Fault::Answer(503, "", String::new())
        } else {
            Fault::Forward
        }
    });
    assert_eq!(
        round_trip(&keys).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    proxy.set(Fault::Forward);
    let token = server.token(&policy_for(&name), json!({"ttl": "8s"})).await;
    let by_token = keys_of(&proxy, Auth::token(token), &name);
    round_trip(&by_token).await.unwrap();
    proxy.set_rule(|seen| {
        if seen.head.contains("renew-self") {
            Fault::Answer(503, "", String::new())
        } else {
            Fault::Forward
        }
    });
    proxy.seen();
    used_until(&by_token, &proxy, |seen| requests(seen, "/renew-self") >= 1).await;
}

#[tokio::test]
async fn several_calls_at_once_share_one_login() {
    let Some(server) = server().await else { return };
    let (name, _, id, secret) = approle(&server, json!({})).await;
    let proxy = FaultProxy::new(&server.address);
    let keys = keys_of(&proxy, Auth::approle(&id, secret), &name);
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let keys = keys.clone();
            tokio::spawn(async move { round_trip(&keys).await.unwrap() })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(count(&paths_of(&proxy), "/login"), 1);
}

/// The rule for every secret that is read as text: one line end at its end is not part of it, and everything else is.
#[tokio::test]
async fn one_line_end_is_no_part_of_a_jwt() {
    let proxy = FaultProxy::answering(Fault::Answer(403, "", r#"{"errors":[]}"#.to_owned()));
    let file = tempfile::NamedTempFile::new().unwrap();
    for (text, jwt) in [
        ("a.b.c", "a.b.c"),
        ("a.b.c\n", "a.b.c"),
        ("a.b.c\r\n", "a.b.c"),
        ("a.b.c\n\n", "a.b.c\n"),
        ("a.b.c\r", "a.b.c\r"),
        (" a.b.c \n", " a.b.c "),
    ] {
        std::fs::write(file.path(), text).unwrap();
        let address = proxy.url();
        let by_file = format!(
            "vault-transit:k?addr={address}&auth=jwt&role=app&jwt-file={}",
            file.path().display()
        );
        let by_variable = format!("vault-transit:k?addr={address}&auth=jwt&role=app");
        for uri in [by_file, by_variable] {
            let uri: waxseal::backend::kek_uri::KekUri = uri.parse().unwrap();
            let environment = FakeEnvironment::new().with("VAULT_JWT", text);
            let opened = uri.open(&environment).await.unwrap();
            proxy.seen();
            let context = acme();
            let error = opened.active.generate(&Request::new(&context)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
            let seen = proxy.seen();
            let body: Value = serde_json::from_str(&seen[0].body).unwrap();
            assert_eq!(body, json!({"role": "app", "jwt": jwt}), "{text:?}");
        }
    }
}

#[tokio::test]
async fn a_jwt_is_read_from_its_file_for_each_login() {
    let Some(server) = server().await else { return };
    let name = server.key("jwt", Mode::Encrypt).await;
    let proxy = FaultProxy::new(&server.address);
    let policy = policy_for(&name);
    let token = server.token(&policy, json!({})).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "first.jwt").unwrap();
    let source = JwtSource::File(file.path().to_owned());
    for (auth, path) in [
        (Auth::jwt("app", source.clone()), "auth/jwt/login"),
        (
            Auth::jwt("app", source.clone()).at("sso/jwt"),
            "auth/sso/jwt/login",
        ),
        (
            Auth::Kubernetes {
                mount: "kubernetes".into(),
                role: "app".into(),
                jwt: source.clone(),
            },
            "auth/kubernetes/login",
        ),
    ] {
        std::fs::write(file.path(), "first.jwt\n").unwrap();
        let granted =
            format!(r#"{{"auth":{{"client_token":"{token}","lease_duration":1,"renewable":false}}}}"#);
        proxy.set_rule(move |seen| {
            if seen.head.contains("/login") {
                Fault::Answer(200, "", granted.clone())
            } else {
                Fault::Forward
            }
        });
        let keys = keys_of(&proxy, auth, &name);
        round_trip(&keys).await.unwrap();
        let before = proxy.seen();
        std::fs::write(file.path(), "second.jwt").unwrap();
        let after = used_until(&keys, &proxy, |seen| requests(seen, "/login") >= 1).await;
        let logins: Vec<_> = before
            .into_iter()
            .chain(after)
            .filter(|seen| seen.head.contains("/login"))
            .collect();
        let body = |at: usize| -> Value { serde_json::from_str(&logins[at].body).unwrap() };
        assert_eq!(body(0), json!({"role": "app", "jwt": "first.jwt"}));
        assert_eq!(
            body(logins.len() - 1),
            json!({"role": "app", "jwt": "second.jwt"})
        );
        assert!(
            logins[0].head.starts_with(&format!("POST /v1/{path} ")),
            "{}",
            logins[0].head
        );
    }
    // A file that is not there, and a token that the server's own plugin does not take.
    let gone = keys_of(
        &proxy,
        Auth::jwt("app", JwtSource::File("/nowhere/token".into())),
        &name,
    );
    assert_eq!(
        round_trip(&gone).await.unwrap_err().kind(),
        ErrorKind::Configuration
    );
    proxy.set(Fault::Forward);
    let wrong = keys_of(&proxy, Auth::jwt("app", JwtSource::Fixed("CANARY".into())), &name);
    let error = round_trip(&wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(!format!("{error} {error:?} {wrong:?}").contains("CANARY"));
}

/// A token signed as the server's plugin checks it, and the public key in PEM.
fn signed(role: &str) -> (String, String) {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use base64ct::{Base64, Base64UrlUnpadded, Encoding};
    let pair = Ed25519KeyPair::generate().unwrap();
    // SubjectPublicKeyInfo (RFC 8410, section 4).
    let head = hex::decode("302a300506032b6570032100").unwrap();
    let spki = [head.as_slice(), pair.public_key().as_ref()].concat();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        Base64::encode_string(&spki)
    );
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims = json!({"sub": role, "aud": "waxseal", "iat": now, "nbf": now - 60, "exp": now + 600});
    let part = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
    let text = format!(
        "{}.{}",
        part(&json!({"alg": "EdDSA", "typ": "JWT"})),
        part(&claims)
    );
    let signature = Base64UrlUnpadded::encode_string(pair.sign(text.as_bytes()).as_ref());
    (format!("{text}.{signature}"), pem)
}

#[tokio::test]
async fn the_servers_own_plugin_takes_a_signed_token() {
    let Some(server) = server().await else { return };
    let name = server.key("signed", Mode::Encrypt).await;
    let policy = server.policy(&policy_for(&name)).await;
    // A Kubernetes login has the same body, so the plugin stands in for that one too.
    let mount = unique("sso");
    let (jwt, pem) = signed("app");
    server
        .post(&format!("sys/auth/{mount}"), json!({"type": "jwt"}))
        .await;
    let config = json!({"jwt_validation_pubkeys": [pem]});
    server.post(&format!("auth/{mount}/config"), config).await;
    let role = json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["waxseal"], "token_policies": [policy]});
    server.post(&format!("auth/{mount}/role/app"), role).await;
    let source = JwtSource::Fixed(jwt.into());
    let forged = JwtSource::Fixed(signed("app").0.into());
    for auth in [
        Auth::jwt("app", source.clone()).at(mount.as_str()),
        Auth::Kubernetes {
            mount: mount.clone(),
            role: "app".into(),
            jwt: source,
        },
    ] {
        let client = super::connect(server.config(auth)).unwrap();
        let keys = client.key(&name).unwrap();
        round_trip(&keys).await.unwrap();
    }
    let client = super::connect(server.config(Auth::jwt("app", forged).at(mount))).unwrap();
    let keys = client.key(&name).unwrap();
    let error = round_trip(&keys).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
}

/// A login that grants this much, and a call that is answered with this status. Nobody may look himself up.
fn granting(seconds: u64, status: u16) -> impl Fn(&Seen) -> Fault {
    move |seen| {
        if seen.head.contains("/login ") {
            let granted = format!(
                r#"{{"auth":{{"client_token":"token","lease_duration":{seconds},"renewable":true}}}}"#
            );
            Fault::Answer(200, "", granted)
        } else if seen.head.contains("lookup-self") {
            Fault::Answer(403, "", "{}".to_owned())
        } else {
            Fault::Answer(status, "", "{}".to_owned())
        }
    }
}

#[tokio::test]
async fn the_greatest_numbers_that_a_server_grants_overflow_nothing() {
    let proxy = FaultProxy::new("");
    for seconds in [u64::MAX, u64::MAX / 2 + 1] {
        proxy.set_rule(granting(seconds, 503));
        let keys = keys_of(&proxy, Auth::approle("role", "secret"), "key");
        assert_eq!(keys.check().await.unwrap_err().kind(), ErrorKind::Unavailable);
        let info = format!(r#"{{"data":{{"ttl":{seconds},"renewable":true}}}}"#);
        proxy.set_rule(move |seen| match seen.head.contains("lookup-self") {
            true => Fault::Answer(200, "", info.clone()),
            false => Fault::Answer(503, "", String::new()),
        });
        let keys = keys_of(&proxy, Auth::token("token"), "key");
        assert_eq!(keys.check().await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn a_denial_costs_one_more_login_where_the_token_may_not_look_itself_up() {
    let proxy = FaultProxy::new("");
    proxy.set_rule(granting(3600, 403));
    let keys = keys_of(&proxy, Auth::approle("role", "secret"), "secret-key");
    for _ in 0..3 {
        let error = keys.check().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        let shown = error.to_string();
        assert!(shown.contains("read on transit/keys/secret-key"), "{shown}");
    }
    assert_eq!(count(&paths_of(&proxy), "/login"), 2);
    // A token that nobody knows to be good.
    let keys = keys_of(&proxy, Auth::token("token"), "secret-key");
    let error = keys.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().contains("look itself up"), "{error}");
}

#[tokio::test]
async fn a_login_to_a_port_for_tls_says_so() {
    let proxy = FaultProxy::new("");
    let words = "Client sent an HTTP request to an HTTPS server.\n";
    proxy.set_rule(move |_| Fault::Answer(400, "", words.to_owned()));
    let keys = keys_of(&proxy, Auth::approle("role", "secret"), "key");
    let error = keys.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("https://"), "{error}");
    proxy.set_rule(|_| Fault::Answer(400, "", r#"{"errors":["invalid role or secret ID"]}"#.to_owned()));
    let error = keys.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn a_login_outlives_whoever_began_it() {
    let proxy = FaultProxy::new("");
    let begun = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen_by_server = std::sync::Arc::clone(&begun);
    let (has_left, somebody_left) = std::sync::mpsc::channel();
    let somebody_left = std::sync::Mutex::new(somebody_left);
    let granted = granting(3600, 503);
    proxy.set_rule(move |seen| {
        if seen.head.contains("/login ") {
            seen_by_server.store(true, std::sync::atomic::Ordering::SeqCst);
            // Longer than the caller that began it waits.
            let somebody_left = somebody_left.lock().unwrap();
            somebody_left.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        granted(seen)
    });
    let keys = keys_of(&proxy, Auth::approle("role", "secret"), "key");
    let mut gave_up = 0;
    let mut paths = Vec::new();
    for _ in 0..200 {
        match tokio::time::timeout(Duration::from_millis(100), keys.check()).await {
            Err(_) => {
                gave_up += 1;
                if begun.load(std::sync::atomic::Ordering::SeqCst) {
                    let _ = has_left.send(());
                }
            }
            Ok(answer) => {
                assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unavailable);
                paths = paths_of(&proxy);
                break;
            }
        }
    }
    assert!(gave_up > 0 && begun.load(std::sync::atomic::Ordering::SeqCst));
    assert_eq!(count(&paths, "/login"), 1, "{paths:?}");
    assert!(count(&paths, "/keys/key") >= 1, "{paths:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_no_file_of_a_token_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let long = dir.path().join("long");
    std::fs::write(&long, vec![b'a'; (64 << 10) + 1]).unwrap();
    let proxy = FaultProxy::new("");
    for (path, words) in [(pipe, "regular file"), (long, "too long")] {
        let keys = keys_of(&proxy, Auth::jwt("app", JwtSource::File(path.clone())), "key");
        let error = keys.check().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        let shown = error.to_string();
        assert!(
            shown.contains(words) && shown.contains(path.to_str().unwrap()),
            "{shown}"
        );
    }
    assert!(proxy.seen().is_empty());
}

#[tokio::test]
async fn versions_without_an_end_are_not_described() {
    use waxseal::key::KekAdmin;
    let proxy = FaultProxy::new("");
    let client = super::connect(Config::new(proxy.url(), Auth::token("token"))).unwrap();
    let most = u64::MAX;
    let key = format!(
        r#"{{"data":{{"type":"aes256-gcm96","derived":false,"latest_version":{most},"min_decryption_version":1}}}}"#
    );
    proxy.set_rule(move |seen| match seen.head.contains("lookup-self") {
        true => Fault::Answer(403, "", String::new()),
        false => Fault::Answer(200, "", key.clone()),
    });
    let kek = super::server::kek("key", "");
    let error = client.admin().describe_versions(&kek).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::OverLimit { .. }), "{error}");
    let kek = super::server::kek("key", &most.to_string());
    client.admin().enable(&kek).await.unwrap();
}
