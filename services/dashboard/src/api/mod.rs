//! The REST API below `/api/v1`: a module for each resource. [`document`] describes it as OpenAPI.
//!
//! Reads are lists of the index and single records of the buckets; writes are [`crate::actions`]. Who asks is an [`Actor`], so
//! every handler takes one, and gives its scope on.

mod badge;
mod discoveries;
mod etag;
mod events;
mod export;
mod extract;
mod findings;
mod operations;
mod problem;
mod repositories;
mod requests;
mod rules;
mod schedules;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router, middleware};
use secretscan_bus::Stop;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, SecurityRequirement};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::index::queries::{Page, Total};
use crate::state::App;

pub use problem::Problem;

/// No body is larger, in bytes.
const MAX_BODY: usize = 256 << 10;

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub struct List<T: ToSchema> {
    /// The rows.
    items: Vec<T>,
    /// The parameter `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// How many there are on all pages, where that is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<Total>,
}

impl<T: ToSchema> List<T> {
    fn new(page: Page<T>, total: Option<Total>) -> axum::Json<Self> {
        axum::Json(Self { items: page.rows, next: page.next, total })
    }

    fn whole(items: Vec<T>) -> axum::Json<Self> {
        axum::Json(Self { items, next: None, total: None })
    }
}

/// The routes, and their description.
fn parts() -> (Router<Arc<App>>, OpenApi) {
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let info = InfoBuilder::new()
        .title("secretscan")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Everything that the pages and the commands do. Errors are problem+json (RFC 9457).",
        ))
        .build();
    let document = OpenApiBuilder::new()
        .info(info)
        .components(Some(ComponentsBuilder::new().security_scheme("token", scheme).build()))
        .security(Some([SecurityRequirement::new("token", [""; 0])]))
        .build();
    let api = OpenApiRouter::new()
        .routes(routes!(requests::list, requests::create))
        .routes(routes!(requests::get))
        .routes(routes!(requests::batches))
        .routes(routes!(requests::cancel))
        .routes(routes!(requests::retry))
        .routes(routes!(repositories::list))
        .routes(routes!(repositories::get))
        .routes(routes!(repositories::history))
        .routes(routes!(repositories::commit))
        .routes(routes!(repositories::forget))
        .routes(routes!(badge::badge))
        .routes(routes!(findings::list))
        .routes(routes!(findings::get))
        .routes(routes!(findings::shared))
        .routes(routes!(findings::decide))
        .routes(routes!(findings::decide_all))
        .routes(routes!(export::export))
        .routes(routes!(export::export_by_template))
        .routes(routes!(schedules::list, schedules::create))
        .routes(routes!(schedules::get, schedules::remove))
        .routes(routes!(schedules::change))
        .routes(routes!(discoveries::create))
        .routes(routes!(operations::agents))
        .routes(routes!(operations::queues))
        .routes(routes!(operations::dead_letters))
        .routes(routes!(operations::dead_letter, operations::drop_dead_letter))
        .routes(routes!(operations::retry_dead_letter))
        .routes(routes!(operations::alerts))
        .routes(routes!(operations::audit))
        .routes(routes!(operations::overview))
        .routes(routes!(events::stream))
        .routes(routes!(rules::list))
        .routes(routes!(rules::get));
    let (router, api) = OpenApiRouter::with_openapi(document).nest("/api/v1", api).split_for_parts();
    (router, api)
}

/// The OpenAPI document, as JSON.
pub fn document() -> String {
    parts().1.to_json().unwrap_or_default()
}

/// The routes, until stopped.
pub fn router(stop: &Stop) -> Router<Arc<App>> {
    let (router, document) = parts();
    let document = document.to_json().unwrap_or_default();
    let shown = move || {
        let document = document.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], document) }
    };
    let unknown = || async { Problem::not_found("the API has no such path; see /api/v1/openapi.json") };
    let other_method = || async { Problem::method_not_allowed() };
    router
        .route("/api/v1/openapi.json", get(shown))
        .route("/api/v1/{*path}", axum::routing::any(unknown))
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn(etag::answer))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(Extension(stop.clone()))
        .layer(middleware::map_response(protect))
}

/// Nothing of the API is a page: what a browser shows of it does nothing.
async fn protect(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}
