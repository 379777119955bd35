//! The page without an application.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::{Access, Page};

/// How long open requests may go on after the end.
const GRACE: Duration = Duration::from_secs(5);

/// Serves the page by HTTP until `end`, and what was asked until then. It bounds neither how many connections there are nor how slowly they ask: that, and TLS, is
/// for a proxy before it.
///
/// # Errors
/// `PermissionDenied` if the listener is not on loopback and the access is not by token; those of the operating system.
pub async fn serve(
    page: &Page,
    listener: TcpListener,
    access: Access,
    end: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let address: SocketAddr = listener.local_addr()?;
    if access.is_loopback() && !address.ip().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{address} can be reached from other machines: that takes a token"),
        ));
    }
    let (ended, mut seen) = tokio::sync::watch::channel(false);
    let end = async move {
        end.await;
        // Nobody waits for it if this fails.
        let _ = ended.send(true);
    };
    let served = axum::serve(listener, page.guarded(access)).with_graceful_shutdown(end);
    tokio::select! {
        served = served => served,
        () = async {
            // An error says that the other branch is done.
            let _ = seen.wait_for(|ended| *ended).await;
            tokio::time::sleep(GRACE).await;
        } => Ok(()),
    }
}
