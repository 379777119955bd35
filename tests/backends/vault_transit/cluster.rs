//! Nodes of OpenBao whose storage lasts (raft), for tests that kill some of them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::server::{BINARY, Server, server};
use crate::own_server::{OwnServer, free_port, installed};

/// Nodes of one cluster, unsealed by one key.
pub(crate) struct Cluster {
    nodes: Vec<OwnServer>,
    unseal_key: String,
    root: String,
}

impl Cluster {
    /// The first node leads, the others stand by with a vote. `None` where there is no server and none is demanded.
    pub(crate) async fn start(nodes: usize) -> Option<Self> {
        // Says which version it is, and why it skips; those that are killed are others.
        server().await?;
        let program = installed("openbao", BINARY)?;
        let mut nodes: Vec<_> = (0..nodes)
            .map(|number| {
                let mut node = OwnServer::new(program.clone(), |port, dir| {
                    let config = dir.join("node.hcl");
                    std::fs::write(&config, configuration(number, port, dir)).unwrap();
                    vec!["server".into(), format!("-config={}", config.display())]
                });
                node.start();
                node
            })
            .collect();
        let first = Server::at(nodes[0].url(), String::new());
        nodes[0].wait("/v1/sys/health", |status| status == 501);
        let (_, made) = first
            .raw(
                Method::PUT,
                "sys/init",
                json!({"secret_shares": 1, "secret_threshold": 1}),
            )
            .await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut cluster = Self {
            unseal_key: text(&made["keys"][0]),
            root: text(&made["root_token"]),
            nodes,
        };
        cluster.unseal(0).await;
        cluster.nodes[0].wait("/v1/sys/health", |status| status == 200);
        cluster.join().await;
        cluster
            .server(0)
            .post("sys/mounts/transit", json!({"type": "transit"}))
            .await;
        Some(cluster)
    }

    async fn join(&mut self) {
        let leader = self.server(0);
        if self.nodes.len() == 1 {
            return;
        }
        let soon = json!({"server_stabilization_time": "100ms"});
        leader
            .post("sys/storage/raft/autopilot/configuration", soon)
            .await;
        for at in 1..self.nodes.len() {
            self.nodes[at].wait("/v1/sys/health", |status| status == 501);
            let join = json!({"leader_api_addr": leader.address});
            self.server(at).post("sys/storage/raft/join", join).await;
            self.unseal(at).await;
        }
        // One that joined has no vote in the beginning, and without votes nobody takes over.
        let path = "sys/storage/raft/configuration";
        self.until(0, path, |answer| {
            let servers = answer["data"]["config"]["servers"].as_array();
            servers.is_some_and(|all| {
                all.len() == self.nodes.len() && all.iter().all(|one| one["voter"] == true)
            })
        })
        .await;
    }

    /// Waits until this node answers so.
    pub(crate) async fn until(&self, at: usize, path: &str, is_so: impl Fn(&Value) -> bool) {
        let server = self.server(at);
        for _ in 0..600 {
            let (_, answer) = server.raw(Method::GET, path, Value::Null).await;
            if is_so(&answer) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{path} did not come to be so");
    }

    pub(crate) async fn unseal(&mut self, at: usize) {
        let key = json!({"key": self.unseal_key});
        let server = self.server(at);
        let (status, answer) = server.raw(Method::PUT, "sys/unseal", key).await;
        assert!(status.is_success(), "{answer}");
        // Leading, or standing by.
        self.nodes[at].wait("/v1/sys/health", |status| status == 200 || status == 429);
    }

    pub(crate) fn kill(&mut self, at: usize) {
        self.nodes[at].kill();
    }

    /// Starts a node that was killed. It is sealed then.
    pub(crate) fn start_sealed(&mut self, at: usize) {
        self.nodes[at].start();
        self.nodes[at].wait("/v1/sys/health", |status| status == 503);
    }

    pub(crate) fn server(&self, at: usize) -> Server {
        Server::at(self.nodes[at].url(), self.root.clone())
    }
}

fn configuration(number: usize, port: u16, dir: &std::path::Path) -> String {
    let (data, cluster) = (dir.join("data"), free_port());
    std::fs::create_dir(&data).unwrap();
    format!(
        r#"
storage "raft" {{
  path = "{}"
  node_id = "node-{number}"
  performance_multiplier = 1
  autopilot_reconcile_interval = "200ms"
  autopilot_update_interval = "200ms"
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_disable = true
}}
api_addr = "http://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
"#,
        data.display()
    )
}
