//! The views, and how a request comes to one.

mod due;
mod events;
mod health;
mod key;
mod keys;
mod left;
mod overview;

use std::sync::Arc;

use axum::Router;
use axum::extract::{OriginalUri, Request};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use maud::{Markup, html};

use crate::logs::Look;
use crate::markup::{Place, document, failure, freshness};
use crate::query::Query;
use crate::source::{Latest, Shown, Source};

const STYLE: &str = include_str!("../style.css");
const ICON: &str = include_str!("../icon.svg");

/// Nothing from elsewhere, no script, no frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What a view is made of.
pub(super) struct Asked<'a> {
    source: &'a Source,
    shown: &'a Shown,
    /// What is known of each log.
    looks: &'a [Look],
    /// Whether the ring cannot be read: what is shown was read before.
    has_failed: bool,
    query: &'a Query,
    place: &'a Place<'a>,
}

impl Asked<'_> {
    fn link(&self, view: &str, asked: &[(&str, &str)]) -> String {
        Query::link_to(&self.place.path(view), asked)
    }

    /// The path of this view.
    fn own(&self) -> String {
        self.place.path(self.place.view)
    }
}

/// A view: its title and what is in it.
pub(super) struct View {
    status: StatusCode,
    title: String,
    body: Markup,
}

impl View {
    fn new(title: &str, body: Markup) -> Self {
        Self {
            status: StatusCode::OK,
            title: title.to_owned(),
            body,
        }
    }

    fn unavailable(title: &str, body: Markup) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            ..Self::new(title, body)
        }
    }

    fn not_found(body: Markup) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            ..Self::new("Not found", body)
        }
    }
}

type Make = fn(&Asked<'_>) -> View;

pub(crate) fn router(source: &Arc<Source>) -> Router {
    let view = |make: Make| {
        let source = Arc::clone(source);
        get(move |uri: OriginalUri, request: Request| answer(Arc::clone(&source), uri, request, make))
    };
    Router::new()
        .route("/", view(overview::view))
        .route("/keys", view(keys::view))
        .route("/keys/{id}", view(key::view))
        .route("/due", view(due::view))
        .route("/left", view(left::view))
        .route("/events", view(events::view))
        .route("/health", view(health::view))
        .route(
            "/style.css",
            get(|| async { asset("text/css; charset=utf-8", STYLE) }),
        )
        .route("/icon.svg", get(|| async { asset("image/svg+xml", ICON) }))
        .fallback(view(|_| {
            View::not_found(html! { p { "There is no such view. The navigation has those that there are." } })
        }))
}

async fn answer(source: Arc<Source>, original: OriginalUri, request: Request, make: Make) -> Response {
    let made = tokio::task::spawn_blocking(move || {
        let (whole, view) = (original.path(), request.uri().path());
        // An application that mounts the page may ask without the last slash.
        let base = whole.strip_suffix(view).unwrap_or(whole).trim_end_matches('/');
        let place = Place { base, view };
        match Query::parse(request.uri().query()) {
            Some(query) => render(&source, &place, &query, make),
            None => too_long(&place),
        }
    });
    match made.await {
        Ok(response) => response,
        Err(error) => {
            let text = format!("the view could not be made: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

fn too_long(place: &Place<'_>) -> Response {
    let body = html! { p.problem role="alert" { "The query is longer than 8 KiB, so nothing was looked for. Ask for less." } };
    let page = document(place, "Too long", &body, &html! {});
    html_response(StatusCode::URI_TOO_LONG, page.into_string())
}

fn render(source: &Arc<Source>, place: &Place<'_>, query: &Query, make: Make) -> Response {
    let Latest { shown, looks, failed } = match source.latest() {
        Ok(latest) => latest,
        Err(text) => {
            let body = html! {
                p.problem role="alert" { (text) }
                p { "Nothing can be shown yet. Ask again in a moment." }
            };
            let page = document(place, "Not ready", &body, &html! {});
            let mut response = html_response(StatusCode::SERVICE_UNAVAILABLE, page.into_string());
            let headers = response.headers_mut();
            headers.insert("retry-after", HeaderValue::from_static("2"));
            headers.insert("refresh", HeaderValue::from_static("3"));
            return response;
        }
    };
    let asked = Asked {
        source,
        shown: &shown,
        looks: &looks,
        has_failed: failed.is_some(),
        query,
        place,
    };
    let view = make(&asked);
    let body = html! { (failure(failed.as_ref())) (view.body) };
    let page = document(place, &view.title, &body, &freshness(&shown));
    html_response(view.status, page.into_string())
}

fn html_response(status: StatusCode, page: String) -> Response {
    let mut response = (status, page).into_response();
    let headers = response.headers_mut();
    let own = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in own {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
