//! Listening for HTTP within limits: what the views and the gateway have in common.
//!
//! ```text
//!  accept --> a place (of `connections`) --> TLS --> head within `header` --> request --> answer
//!                                                   (`visitor`: whose page?)  (`room`)   (`stall`)
//! ```
//!
//! # Invariants
//! 1. The number of connections is bounded, below the number of files that the process may open:
//!    peers that hold connections never keep the lake or a source from opening a file.
//! 2. No peer holds a connection by silence: heads, idle keep-alives and reads of answers have
//!    limits.
//! 3. The bytes of bodies that are in memory at once are bounded for all connections together
//!    ([`Room`]).
//! 4. Where all connections are taken, some more are kept for `/healthz` ([`reserve`]).

mod descriptors;
mod reserve;
mod room;
mod stall;
mod target;
mod visitor;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower::util::MapRequest;

pub use descriptors::raise_limit;
use reserve::{Taken, Taking};
pub use room::{Place, Room};
use stall::Stalling;
use target::First;
pub use visitor::{Refuse, Visitors, pass};

/// How long to wait when no connection can be accepted, for instance because too many files are
/// open.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// What connections may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many connections there may be; others wait a moment, and are turned away then.
    pub connections: usize,
    /// How long a client may take to send the head of a request, and a kept connection may be
    /// silent.
    pub header: Duration,
    /// How long a client may read nothing of an answer.
    pub stall: Duration,
    /// How long requests may keep the door from closing.
    pub stop: Duration,
}

/// A listener and what its connections get.
pub struct Door {
    /// Where connections come in.
    pub listener: TcpListener,
    /// TLS, if clients come through it.
    pub tls: Option<TlsAcceptor>,
    /// The routes.
    pub router: Router,
    /// What is done to a request before its route is looked for.
    pub prepare: fn(Request<Incoming>) -> Request<Incoming>,
    /// What connections may do.
    pub limits: Limits,
    /// Turns true when the door is to close.
    pub stopped: watch::Receiver<bool>,
}

impl Door {
    /// Serves until `stopped`; then requests that are under way have `limits.stop` to finish.
    pub async fn run(mut self) {
        let builder = |header| {
            let mut builder = Builder::new(TokioExecutor::new()).http1_only();
            builder
                .http1()
                .timer(TokioTimer::new())
                .header_read_timeout(header);
            Arc::new(builder)
        };
        let header = self.limits.header;
        let brief = header.min(reserve::HEADER);
        let ordinary = (builder(header), self.router.clone(), header);
        let reserved = (builder(brief), reserve::health_alone(self.router), brief);
        let mut places = Taking::of(descriptors::share(self.limits.connections));
        loop {
            let accepted = tokio::select! {
                // An error means that the sender is gone, which is as good as `stopped`.
                _ = self.stopped.wait_for(|stop| *stop) => break,
                accepted = accept(&self.listener, &mut places) => accepted,
            };
            let (stream, place) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("a connection could not be accepted: {error}");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            // Answers are small and whole; waiting for more to send would only delay them.
            let _ = stream.set_nodelay(true);
            let (builder, router, within) = match place.is_reserved {
                false => ordinary.clone(),
                true => reserved.clone(),
            };
            let connection = Connection {
                builder,
                router,
                prepare: self.prepare,
                stopped: self.stopped.clone(),
            };
            let (tls, stall) = (self.tls.clone(), self.limits.stall);
            let mut stopped = self.stopped.clone();
            tokio::spawn(async move {
                let _place = place;
                match tls {
                    None => {
                        let first = tokio::select! {
                            first = target::first(&stream, within) => first,
                            _ = stopped.wait_for(|stop| *stop) => First::Request,
                        };
                        match first {
                            First::Request => connection.serve(Stalling::new(stream, stall)).await,
                            First::Silence => {}
                            First::Unreadable(why) => {
                                // Who does not wait for the answer is not told.
                                let _ = target::refuse(stream, &why).await;
                            }
                        }
                    }
                    Some(tls) => {
                        let stream = Stalling::new(stream, stall);
                        if let Ok(Ok(stream)) =
                            tokio::time::timeout(within, tls.accept(stream)).await
                        {
                            connection.serve(stream).await;
                        }
                    }
                }
            });
        }
        drop(self.listener);
        let ended = places.all_free();
        if tokio::time::timeout(self.limits.stop, ended).await.is_err() {
            tracing::warn!("requests were cut off that did not finish in time");
        }
    }
}

async fn accept(listener: &TcpListener, places: &mut Taking) -> io::Result<(TcpStream, Taken)> {
    let place = places.take().await;
    let (stream, _) = listener.accept().await?;
    Ok((stream, places.better(place)))
}

/// Whether a listener at `address` can be reached from this machine only.
pub fn is_private(address: SocketAddr) -> bool {
    address.ip().is_loopback()
}

struct Connection {
    builder: Arc<Builder<TokioExecutor>>,
    router: Router,
    prepare: fn(Request<Incoming>) -> Request<Incoming>,
    stopped: watch::Receiver<bool>,
}

impl Connection {
    /// Serves until the client goes or the door closes: then the request that is there is the last
    /// one.
    async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = TowerToHyperService::new(MapRequest::new(self.router, self.prepare));
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            // Clients go away when they like; that is no error of ours.
            _ = connection.as_mut() => return,
            _ = self.stopped.wait_for(|stop| *stop) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}
