//! The example of a web application with many tenants, against a server.

#[allow(dead_code, reason = "its main is not called")]
#[path = "../../examples/axum_tenants/main.rs"]
mod example;

#[tokio::test(flavor = "multi_thread")]
async fn rotates_and_shreds_under_load() {
    let Some(url) = crate::servers::address("postgres") else {
        return;
    };
    example::run(&url).await.unwrap();
}
