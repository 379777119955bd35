//! The application: notes of many tenants over HTTP. This is the part to copy.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::header::{AUTHORIZATION, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, serve};
use tokio::net::TcpListener;
use waxseal::{EncryptionContext, ErrorKind, Sealer};

use super::notes::Notes;

/// What each request has at hand. Clones are the same.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) sealer: Sealer,
    pub(crate) notes: Notes,
    /// Which tenant a bearer token is of.
    pub(crate) tokens: Arc<HashMap<String, String>>,
}

/// Serves until the task is ended.
pub(crate) async fn run(listener: TcpListener, app: App) -> std::io::Result<()> {
    let routes = Router::new().route("/notes/{id}", get(read).put(write));
    serve(listener, routes.with_state(app)).await
}

/// Whose data a note is. The KMS may see this, and it decides which key seals and opens.
pub(crate) fn context_of(tenant: &str) -> waxseal::Result<EncryptionContext> {
    EncryptionContext::new([("table", "notes"), ("tenant", tenant)])
}

async fn write(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    Path(id): Path<String>,
    text: Bytes,
) -> Result<StatusCode, Failure> {
    let context = context_of(&tenant)?;
    // The id is authenticated with the note: nobody can put one note in the place of another.
    let sealed = app.sealer.seal(&text, context.with_aad(id.as_bytes())).await?;
    app.notes.put(&tenant, &id, &sealed).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn read(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    Path(id): Path<String>,
) -> Result<Vec<u8>, Failure> {
    let Some(sealed) = app.notes.get(&tenant, &id).await? else {
        return Err(Failure::of(StatusCode::NOT_FOUND));
    };
    let context = context_of(&tenant)?;
    let opened = app.sealer.open(&sealed, context.with_aad(id.as_bytes())).await?;
    Ok(opened.to_vec())
}

/// The tenant that is authenticated. Nothing else that a client sends says whose data it wants.
struct Tenant(String);

impl FromRequestParts<App> for Tenant {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let header = parts.headers.get(AUTHORIZATION);
        let token = header.and_then(|header| header.to_str().ok()?.strip_prefix("Bearer "));
        let tenant = token.and_then(|token| app.tokens.get(token));
        tenant
            .map(|tenant| Self(tenant.clone()))
            .ok_or_else(|| Failure::of(StatusCode::UNAUTHORIZED))
    }
}

/// What a client is told when something goes wrong: a code, and nothing of the error itself.
pub(crate) struct Failure {
    status: StatusCode,
    headers: HeaderMap,
}

impl Failure {
    fn of(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
        }
    }
}

impl From<waxseal::Error> for Failure {
    fn from(error: waxseal::Error) -> Self {
        let mut failure = Self::of(match error.kind() {
            // The tenant was shredded, or its keys are retired: what is under them opens nowhere.
            ErrorKind::KeyDestroyed | ErrorKind::KeyRetired | ErrorKind::NoKeyForScope => StatusCode::GONE,
            // Somebody moves the data out of a key that has leaked.
            ErrorKind::KeyRevoked => StatusCode::LOCKED,
            ErrorKind::PolicyRefused | ErrorKind::ProfileRefused { .. } => StatusCode::FORBIDDEN,
            ErrorKind::OverLimit { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            // No database or no KMS for a moment.
            ErrorKind::InventoryStale | ErrorKind::LeaseExpired => StatusCode::SERVICE_UNAVAILABLE,
            _ if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
            // Data that does not open, a wrong configuration: a matter for the operators.
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        });
        if failure.status.is_server_error() {
            tracing::error!(%error, "a note could not be sealed or opened");
            let seconds = error.retry_after().map_or(1, |wait| wait.as_secs().max(1));
            failure.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        failure
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "the table of notes could not be used");
        Self::of(StatusCode::SERVICE_UNAVAILABLE)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, self.headers).into_response()
    }
}
