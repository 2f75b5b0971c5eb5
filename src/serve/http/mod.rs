//! The views and the status over HTTP.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | what there is, as text |
//! | `GET /views` | the views: name, columns, rows, epoch |
//! | `GET /views/<name>` | the rows of one view |
//! | `GET /status` | the numbers of the run, as JSON |
//! | `GET /healthz` | 200 if all is well, else 503 and why |
//!
//! Rows come as JSON, CSV, Arrow IPC or a table, by `?format=` or the `Accept` header. `?where=`
//! keeps the rows for which an SQL condition is true, `?limit=` the first so many. `?wait=<epoch>`
//! answers once there is a later epoch than that, `?changed_after=<epoch>` once the view changed
//! after it; if that takes too long the answer is 304, and the request may simply be made again.
//!
//! While a restart loads what the lake holds, views are answered with 503 and how far it is. Every
//! answer from views names its epoch in `x-pinflow-epoch`. What cannot be answered is an error that
//! says why and what to do.

mod answers;
mod asked;
mod failure;
#[cfg(test)]
pub(super) mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderName;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use self::failure::Failure;
use super::status::{NowMs, Status};
use super::store::{Cut, LiveStore};
use crate::delta::Epoch;
use crate::door::{Door, Limits, Refuse, Room, Visitors, is_private, pass};
use crate::sql::Session;

/// The epoch that an answer is at.
pub const EPOCH_HEADER: HeaderName = HeaderName::from_static("x-pinflow-epoch");
/// How many rows match, of which the answer may hold the first.
pub const ROW_COUNT_HEADER: HeaderName = HeaderName::from_static("x-pinflow-row-count");

/// How many views may be decoded and written at once: that is done in memory.
const RENDERED_AT_ONCE: usize = 4;
/// How many bytes of answers may wait to be read by their clients.
const ANSWER_BYTES: usize = 256 << 20;
/// How long a condition may be evaluated.
const CONDITION_WITHIN: Duration = Duration::from_secs(2);
/// What connections may do.
const LIMITS: Limits = Limits {
    connections: 1024,
    header: Duration::from_secs(30),
    stall: Duration::from_secs(30),
    stop: Duration::from_secs(2),
};

/// What is served.
#[derive(Clone)]
pub struct Served {
    /// The views.
    pub store: Arc<LiveStore>,
    /// The numbers.
    pub status: Arc<Status>,
    /// The time.
    pub now_ms: NowMs,
    /// Has the scalar functions that `?where=` may use.
    pub session: Arc<Session>,
    /// How long a request may wait for an epoch before the answer is 304; 30 seconds are usual.
    pub wait_at_most: Duration,
    /// Names that clients of this machine may call the server by, beside its addresses.
    pub hosts: Vec<String>,
}

/// The address that was given cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot answer HTTP at {address}: {cause}; choose another address with --http")]
pub struct CannotListen {
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub cause: io::Error,
}

/// A running server. It stops by [`Server::stop`], or with its runtime.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// The address it listens on; its port is a real one even if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests and answers those that are there. Requests that wait for an epoch are
    /// answered 304; clients that read very slowly are cut off.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // The only failure is a runtime that is gone.
        let _ = self.task.await;
    }
}

/// Listens at `address` and answers from now on, on the current runtime.
pub async fn serve(served: Served, address: SocketAddr) -> Result<Server, CannotListen> {
    let cannot = |cause| CannotListen { address, cause };
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let (stop, stopped) = watch::channel(false);
    let visitors = match is_private(address) {
        true => Visitors::OfThisMachine(served.hosts.clone()),
        false => Visitors::All,
    };
    let refuse: Refuse = failure::refuse;
    let app = Arc::new(App {
        served,
        rendering: Arc::new(Semaphore::new(RENDERED_AT_ONCE)),
        answers: Room::new(ANSWER_BYTES),
        stopped: stopped.clone(),
    });
    let router = Router::new()
        .route("/", get(answers::index))
        .route("/views", get(answers::views))
        .route("/views/{view}", get(answers::view))
        .route("/status", get(answers::status))
        .route("/healthz", get(answers::healthz))
        .fallback(failure::nothing_here)
        .method_not_allowed_fallback(failure::only_get)
        .layer(from_fn_with_state((Arc::new(visitors), refuse), pass))
        .with_state(app);
    let door = Door {
        listener,
        tls: None,
        router,
        prepare: |request| request,
        limits: LIMITS,
        stopped,
    };
    let task = tokio::spawn(door.run());
    Ok(Server {
        address,
        stop,
        task,
    })
}

async fn until_true(mut flag: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is as good as `stop`.
    let _ = flag.wait_for(|stop| *stop).await;
}

/// What is served, and what its requests share.
struct App {
    served: Served,
    /// Permits to decode and write a view.
    rendering: Arc<Semaphore>,
    /// Room for answers that are written and not yet read.
    answers: Room,
    stopped: watch::Receiver<bool>,
}

impl App {
    /// The store's lock is held for as long as an epoch takes to apply: not to be waited for on the
    /// threads that serve connections.
    async fn cut(&self) -> Cut {
        let store = Arc::clone(&self.served.store);
        spawn_blocking(move || store.cut())
            .await
            .expect("taking a cut does not panic")
    }

    /// Until its state is loaded, a run cannot answer for views: they would be empty, and not be
    /// what the lake holds.
    fn loaded(&self) -> Result<(), Failure> {
        let status = &self.served.status;
        match status.is_loaded() {
            true => Ok(()),
            false => Err(Failure::too_early(status.loading())),
        }
    }

    /// Waits until the condition holds after some epoch; false if that took too long, or the server
    /// stops.
    async fn wait(&self, condition: impl Fn(Epoch) -> bool) -> bool {
        let mut epochs = self.served.store.subscribe();
        tokio::select! {
            seen = epochs.wait_for(|epoch| condition(*epoch)) => seen.is_ok(),
            () = tokio::time::sleep(self.served.wait_at_most) => false,
            () = until_true(self.stopped.clone()) => false,
        }
    }
}
