//! What all handlers share, and what every request passes: key, time limit, counters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use super::answer::refuse;
use super::backend::Backend;
use super::body;
use super::config::{Cors, Limits};
use super::keys::ApiKeys;
use super::metrics::{Counted, Metrics};
use super::proxy::instances::Instances;
use super::{proxy, streams};
use crate::door::{Refuse, Room, Visitors, pass};

/// Where a request carries its key.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// What all handlers share.
pub struct App {
    /// Behind `/topics` and `/consumers`.
    pub topics: Arc<dyn Backend>,
    /// Behind `/streams`.
    pub streams: Arc<dyn Backend>,
    /// The consumers that clients have made.
    pub instances: Instances,
    /// What is counted.
    pub metrics: Metrics,
    /// What requests may be.
    pub limits: Limits,
    /// Room for the bodies of requests.
    pub bodies: Room,
    /// Who may come in.
    pub keys: ApiKeys,
    /// Whether clients come through TLS.
    pub tls: bool,
}

/// All routes, with everything around them but the stage.
pub fn router(app: &Arc<App>, cors: &Cors, visitors: Visitors) -> Router {
    let open_to_pages = *cors != Cors::Nobody;
    let refuse: Refuse = refuse;
    let router = Router::new()
        .merge(proxy::routes())
        .merge(streams::routes())
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(app), gate))
        .with_state(Arc::clone(app));
    let router = match layer(cors) {
        Some(layer) => router.layer(layer),
        None => router,
    };
    match open_to_pages {
        true => router,
        false => router.layer(from_fn_with_state((Arc::new(visitors), refuse), pass)),
    }
}

/// As API Gateway answers to browsers that ask beforehand.
fn layer(cors: &Cors) -> Option<CorsLayer> {
    let origins = match cors {
        Cors::Nobody => return None,
        Cors::Everybody => AllowOrigin::from(Any),
        Cors::These(origins) => AllowOrigin::list(origins.clone()),
    };
    let methods = [
        Method::DELETE,
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PATCH,
        Method::POST,
        Method::PUT,
    ];
    Some(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods(methods)
            .allow_headers(Any)
            .max_age(Duration::from_secs(3600)),
    )
}

/// Lets a request with a right key pass, for a limited time, and counts it.
async fn gate(
    State(app): State<Arc<App>>,
    path: Option<MatchedPath>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let target = request.uri().path().to_owned();
    let route = path.as_ref().map_or("", MatchedPath::as_str);
    let open = ["/healthz", "/metrics"].contains(&route);
    let key = request.headers().get(KEY_HEADER).map(HeaderValue::as_bytes);
    let response = if !open && !app.keys.admit(key) {
        let why = "Forbidden: the request needs a valid key in the header x-api-key";
        refuse(&target, StatusCode::FORBIDDEN, why)
    } else {
        let bytes = body::announced(&request, app.limits.body_bytes);
        let handled = async {
            let _place = app.bodies.take(bytes).await;
            next.run(request).await
        };
        match tokio::time::timeout(app.limits.request, handled).await {
            Ok(response) => response,
            Err(_) => {
                let why = "HTTP 408 Request Timeout: the records may or may not have been kept; send them again if copies do no harm";
                refuse(&target, StatusCode::REQUEST_TIMEOUT, why)
            }
        }
    };
    let counted = response.extensions().get::<Counted>().copied();
    app.metrics.count(
        method.as_str(),
        route,
        response.status().as_u16(),
        began.elapsed(),
        counted.unwrap_or_default(),
    );
    response
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    ([(CONTENT_TYPE, kind)], app.metrics.render()).into_response()
}

impl App {
    /// Why the backends cannot take records, if they cannot.
    pub async fn trouble(&self) -> Option<String> {
        for (door, backend) in [("topics", &self.topics), ("streams", &self.streams)] {
            if let Err(fault) = backend.health().await {
                return Some(format!("{door} go to {}: {fault}", backend.describe()));
            }
        }
        None
    }
}

/// 200 if the backends can take records, else 503 and why.
async fn healthz(State(app): State<Arc<App>>) -> Response {
    let (status, body) = match app.trouble().await {
        None => (StatusCode::OK, serde_json::json!({"healthy": true})),
        Some(why) => {
            let body = serde_json::json!({"healthy": false, "why": why});
            (StatusCode::SERVICE_UNAVAILABLE, body)
        }
    };
    let kind = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, kind)], body.to_string()).into_response()
}

async fn nothing_here(request: Request<Body>) -> Response {
    let why = "HTTP 404 Not Found";
    refuse(request.uri().path(), StatusCode::NOT_FOUND, why)
}

async fn wrong_method(request: Request<Body>) -> Response {
    let why = "HTTP 405 Method Not Allowed";
    refuse(request.uri().path(), StatusCode::METHOD_NOT_ALLOWED, why)
}
