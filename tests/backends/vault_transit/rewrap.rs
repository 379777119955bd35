//! What a re-wrap keeps, and what it costs, at OpenBao.

use reqwest::Method;
use serde_json::json;
use waxseal::backend::vault_transit::Mode;

use super::server::{BINARY, Server, server};
use crate::own_server::{OwnServer, installed};
use crate::siblings::{
    hidden_or_not_to_the_same_or_another, move_and_move_again, the_other_recipient_keeps_access,
};

#[tokio::test]
async fn siblings_stay_siblings_and_a_second_run_changes_nothing() {
    let Some(server) = server().await else { return };
    for mode in [Mode::Encrypt, Mode::DataKey] {
        let [first, second] = [server.key("first", mode).await, server.key("second", mode).await];
        move_and_move_again(server.keys(&first, mode), server.keys(&second, mode)).await;
    }
}

#[tokio::test]
async fn a_hidden_id_moves_to_another_key() {
    let Some(server) = server().await else { return };
    for mode in [Mode::Encrypt, Mode::DataKey] {
        let [old, new] = [server.key("old", mode).await, server.key("new", mode).await];
        hidden_or_not_to_the_same_or_another(server.keys(&new, mode), server.keys(&old, mode)).await;
    }
}

/// Two clusters with the same mount and key: the id in a stanza is the same.
#[tokio::test]
async fn the_same_path_of_another_cluster_is_not_ours() {
    let Some(ours) = server().await else { return };
    let Some(program) = installed("openbao", BINARY) else {
        return;
    };
    let mut own = OwnServer::new(program, |port, _| {
        let listen = format!("-dev-listen-address=127.0.0.1:{port}");
        ["server", "-dev", "-dev-root-token-id=root", &listen]
            .map(str::to_owned)
            .to_vec()
    });
    own.start_until("/v1/sys/health");
    let theirs = Server::at(own.url(), "root".to_owned());
    theirs
        .raw(Method::POST, "sys/mounts/transit", json!({"type": "transit"}))
        .await;
    let name = ours.key("shared", Mode::Encrypt).await;
    theirs.post(&format!("transit/keys/{name}"), json!({})).await;
    the_other_recipient_keeps_access(ours.keys(&name, Mode::Encrypt), theirs.keys(&name, Mode::Encrypt))
        .await;
}
