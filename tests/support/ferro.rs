//! `ferrokinesis` in this process: a Kinesis server that tests can watch and disturb.
//!
//! It answers on a thread of its own, one request at a time: on several threads it can give a
//! record its number before, and store it after, a reader has passed the place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use ferrokinesis::store::StoreOptions;
use tokio::sync::oneshot;

/// A server that ends with its value.
pub struct Ferro {
    /// `http://127.0.0.1:<port>`.
    pub endpoint: String,
    /// What it is to do beside its duty, and what it did.
    pub desk: Arc<Desk>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// See [`Ferro`].
#[derive(Debug, Default)]
pub struct Desk {
    /// So many of the next GetRecords are refused: too much throughput.
    pub refuse_reads: AtomicUsize,
    /// How many were.
    pub refused: AtomicUsize,
    /// How many requests for iterators came.
    pub iterators: AtomicUsize,
    /// How many bytes the answers to GetRecords had.
    pub read_bytes: AtomicU64,
}

impl Ferro {
    /// A server with streams that change at once.
    pub fn start() -> Self {
        Ferro::with(|_| {})
    }

    /// A server with other options.
    pub fn with(change: impl FnOnce(&mut StoreOptions)) -> Self {
        let mut options = StoreOptions {
            create_stream_ms: 1,
            delete_stream_ms: 1,
            update_stream_ms: 20,
            shard_limit: 200,
            ..StoreOptions::default()
        };
        change(&mut options);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let desk = Arc::new(Desk::default());
        let (stop, stopped) = oneshot::channel();
        let at_desk = Arc::clone(&desk);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let (app, _store) = ferrokinesis::create_app(options);
                let app = app.layer(from_fn_with_state(at_desk, pass));
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                tokio::select! {
                    served = async { axum::serve(listener, app).await } => served.expect("it serves"),
                    _ = stopped => {}
                }
            });
        });
        Ferro {
            endpoint,
            desk,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Ferro {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn pass(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let target = request
        .headers()
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok());
    match target.and_then(|target| target.rsplit('.').next()) {
        Some("GetRecords") => {
            let left = desk
                .refuse_reads
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                });
            if left.is_ok() {
                desk.refused.fetch_add(1, Ordering::SeqCst);
                let body = r#"{"__type":"ProvisionedThroughputExceededException","message":"Rate exceeded for shard"}"#;
                return (
                    StatusCode::BAD_REQUEST,
                    [("content-type", "application/x-amz-json-1.1")],
                    body,
                )
                    .into_response();
            }
            let response = next.run(request).await;
            let (parts, body) = response.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX)
                .await
                .expect("a body");
            desk.read_bytes
                .fetch_add(body.len() as u64, Ordering::SeqCst);
            Response::from_parts(parts, body.into())
        }
        Some("GetShardIterator") => {
            desk.iterators.fetch_add(1, Ordering::SeqCst);
            next.run(request).await
        }
        _ => next.run(request).await,
    }
}
