//! A cluster: what standbys answer, and what becomes of a client when the leader is killed. Three nodes, since of two the
//! one that is left has no majority.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use waxseal::backend::vault_transit::{Auth, Config, Mode};
use waxseal::layer::Failover;
use waxseal::testing::conformance::{Subject, run};
use waxseal::{EncryptionContext, ErrorKind, KeyManager, key::KekAdmin, key::Request};

use super::cluster::Cluster;
use super::server::{Server, kek, policy_for, round_trip};
use crate::fault_proxy::{Fault, FaultProxy};

/// What tells a standby not to ask the leader itself.
const NOT_FORWARDED: Fault = Fault::Adding("X-Vault-No-Request-Forwarding: true\r\n");

#[tokio::test]
async fn standbys_answer_redirect_and_take_over() {
    let Some(mut cluster) = Cluster::start(3).await else {
        return;
    };
    let (leader, standby) = (cluster.server(0), cluster.server(1));
    println!(
        "a leader at {}, standbys at {} and {}",
        leader.address,
        standby.address,
        cluster.server(2).address
    );
    let name = leader.key("clustered", Mode::Encrypt).await;
    let login = approle(&leader, &name).await;
    let other = leader.key("clustered", Mode::Encrypt).await;
    for at in [1, 2] {
        // A standby that has not caught up knows no mount and no key. This one is the last.
        cluster
            .until(at, &format!("transit/keys/{other}"), |answer| {
                answer["data"]["name"] == *other
            })
            .await;
    }

    // A standby answers, by itself or by asking the leader.
    let keys = standby.keys(&name, Mode::Encrypt);
    let subject = Subject::new(keys.clone()).against(standby.keys(&other, Mode::Encrypt));
    println!("OpenBao, a standby:\n{}", run(&subject).await.unwrap());
    let admin = standby.root().admin();
    assert_eq!(
        admin.rotate(&kek(&name, ""), "first").await.unwrap().kek,
        kek(&name, "2")
    );
    let old = round_trip(&keys).await.unwrap();

    redirects(&cluster, &name, &login).await;

    let first = leader.keys(&name, Mode::Encrypt);
    round_trip(&first).await.unwrap();
    cluster.kill(0);
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let request = Request::new(&context);
    for error in [
        first
            .unwrap(old.as_wrap_ref(), &request)
            .await
            .map(drop)
            .unwrap_err(),
        first.generate(&request).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Unavailable, true),
            "{error}"
        );
    }
    // The second address opens at once; it wraps only where that was asked for.
    let failover = Failover::new(first.clone()).or(keys.clone());
    soon(async || failover.unwrap(old.as_wrap_ref(), &request).await.map(drop)).await;
    assert_eq!(
        failover.generate(&request).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    let anywhere = Failover::new(first.clone()).or(keys.clone()).wrapping_anywhere();
    soon(async || anywhere.generate(&request).await.map(drop)).await;

    // One of the standbys leads before long: the clients that were made before go on, with what only a leader does, too.
    soon(async || admin.rotate(&kek(&name, ""), "second").await.map(drop)).await;
    soon(async || round_trip(&keys).await.map(drop)).await;
    let opened = keys.unwrap(old.as_wrap_ref(), &request).await.unwrap();
    assert_eq!(&opened.kek, old.kek());

    // The former leader comes back as a standby, for the client that was made when it led.
    cluster.start_sealed(0);
    cluster.unseal(0).await;
    soon(async || first.unwrap(old.as_wrap_ref(), &request).await.map(drop)).await;
}

/// The id and secret of a role that may use this key.
async fn approle(leader: &Server, name: &str) -> (String, String) {
    leader.post("sys/auth/approle", json!({"type": "approle"})).await;
    let policy = leader.policy(&policy_for(name)).await;
    let role = "auth/approle/role/app";
    leader.post(role, json!({"token_policies": [policy]})).await;
    let (_, id) = leader
        .raw(Method::GET, &format!("{role}/role-id"), Value::Null)
        .await;
    let secret = leader.post(&format!("{role}/secret-id"), json!({})).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&id["data"]["role_id"]), text(&secret["data"]["secret_id"]))
}

/// Where a standby sends to the leader instead of asking it, the token stays here.
async fn redirects(cluster: &Cluster, name: &str, login: &(String, String)) {
    let (leader, standby) = (cluster.server(0), cluster.server(1));
    let (id, secret) = login;
    let proxy = FaultProxy::new(&standby.address);
    let keys = |auth| {
        let client = super::connect(Config::new(proxy.url(), auth)).unwrap();
        client.key(name).unwrap()
    };
    let logging_in = keys(Auth::approle(id, secret.clone()));
    let root = super::connect(Config::new(proxy.url(), Auth::token(standby.root.clone()))).unwrap();
    let admin = root.admin();
    proxy.set(NOT_FORWARDED);
    // A login makes a token, and a rotation a version: both are the leader's alone.
    for error in [
        round_trip(&logging_in).await.map(drop).unwrap_err(),
        admin
            .rotate(&kek(name, ""), "redirected")
            .await
            .map(drop)
            .unwrap_err(),
    ] {
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Unavailable, true),
            "{error}"
        );
        assert!(
            error.to_string().contains("307") && error.to_string().contains("redirect"),
            "{error}"
        );
    }
    assert_eq!(
        leader.root().admin().describe(&kek(name, "")).await.unwrap().kek,
        kek(name, "2"),
        "a redirect was followed"
    );
    proxy.set(Fault::Forward);
    round_trip(&logging_in).await.unwrap();
}

/// Tries until it works. Every error until then must be one that may pass.
async fn soon(work: impl AsyncFn() -> waxseal::Result<()>) {
    for _ in 0..200 {
        match tokio::time::timeout(Duration::from_secs(60), work())
            .await
            .unwrap()
        {
            Ok(()) => return,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("it did not come back");
}
