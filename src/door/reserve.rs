//! Places for connections, and some more for a client that asks how the process is.
//!
//! Peers that read slowly may hold all connections for as long as they are allowed to, and that is
//! when somebody wants to know why nothing else is answered. So a few more connections are
//! accepted then. They get an answer from `/healthz`, and anything else a 503; each is for one
//! request, which must come soon.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CONNECTION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections are kept for `/healthz`.
const RESERVED: usize = 4;
/// After so long without a place all of them are taken, and not in use for a moment only.
const FULL_AFTER: Duration = Duration::from_millis(200);
/// How long the head of a request on such a connection may take.
pub(super) const HEADER: Duration = Duration::from_secs(2);

/// What is answered there to any other request.
const FULL: &str = "all connections of this door are in use, and only /healthz is answered until \
                    one of them is free; try again\n";

/// The place of a connection, held until it ends.
pub(super) struct Taken {
    _held: OwnedSemaphorePermit,
    /// Whether it is one of those for `/healthz`.
    pub is_reserved: bool,
}

/// Gives places to connections.
pub(super) struct Taking {
    count: usize,
    ordinary: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
    /// Whether there was no place the last time.
    full: bool,
}

impl Taking {
    /// So many, beside those for `/healthz`.
    pub(super) fn of(count: usize) -> Taking {
        Taking {
            count,
            ordinary: Arc::new(Semaphore::new(count)),
            reserved: Arc::new(Semaphore::new(RESERVED)),
            full: false,
        }
    }

    /// The next place there is.
    pub(super) async fn take(&mut self) -> Taken {
        let reserved = async {
            if !self.full {
                tokio::time::sleep(FULL_AFTER).await;
            }
            Arc::clone(&self.reserved).acquire_owned().await
        };
        // Where all places are taken, the first that becomes free is given away, whichever it is.
        let (place, is_reserved) = tokio::select! {
            biased;
            place = Arc::clone(&self.ordinary).acquire_owned() => (place, false),
            place = reserved => (place, true),
        };
        self.full = is_reserved;
        Taken {
            _held: place.expect("places are never closed"),
            is_reserved,
        }
    }

    /// An ordinary place instead of a reserved one, if one has become free meanwhile.
    pub(super) fn better(&self, taken: Taken) -> Taken {
        match Arc::clone(&self.ordinary).try_acquire_owned() {
            Ok(place) if taken.is_reserved => Taken {
                _held: place,
                is_reserved: false,
            },
            _ => taken,
        }
    }

    /// Returns when all connections have ended.
    pub(super) async fn all_free(&self) {
        let all = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let _ = self.ordinary.acquire_many(all(self.count)).await;
        let _ = self.reserved.acquire_many(all(RESERVED)).await;
    }
}

/// `router` on a reserved connection.
pub(super) fn health_alone(router: Router) -> Router {
    async fn one_request(request: Request, next: Next) -> Response {
        let mut answer = match request.uri().path() {
            "/healthz" => next.run(request).await,
            _ => {
                let after = [(RETRY_AFTER, "1")];
                (StatusCode::SERVICE_UNAVAILABLE, after, FULL).into_response()
            }
        };
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
        answer
    }
    router.layer(from_fn(one_request))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;

    use super::super::{Door, Limits};
    use super::*;

    /// A connection on which half of a request came.
    async fn holds(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /other HTTP/1.1\r\n").await.unwrap();
        stream
    }

    async fn answer(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn an_ordinary_place_that_becomes_free_is_given_while_the_reserved_ones_are_taken() {
        let mut places = Taking::of(1);
        let ordinary = places.take().await;
        let mut reserved = Vec::new();
        for _ in 0..RESERVED {
            reserved.push(places.take().await);
        }
        assert!(!ordinary.is_reserved && reserved.iter().all(|place| place.is_reserved));
        let mut next = std::pin::pin!(places.take());
        assert!(futures::poll!(next.as_mut()).is_pending());
        drop(ordinary);
        assert!(!next.await.is_reserved);
    }

    #[tokio::test]
    async fn health_is_told_while_all_connections_are_held() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let minute = Duration::from_secs(60);
        let door = Door {
            listener,
            tls: None,
            router: Router::new()
                .route("/healthz", get(|| async { "ok" }))
                .route("/other", get(|| async { "other" })),
            prepare: |request| request,
            limits: Limits {
                connections: 2,
                header: minute,
                stall: minute,
                stop: Duration::ZERO,
            },
            stopped,
        };
        let door = tokio::spawn(door.run());
        let (first, _second) = (holds(address).await, holds(address).await);
        // More often than there are places kept.
        for _ in 0..3 * RESERVED {
            let health = answer(address, "/healthz").await;
            assert!(health.starts_with("HTTP/1.1 200"), "{health}");
            let other = answer(address, "/other").await;
            assert!(other.starts_with("HTTP/1.1 503"), "{other}");
            assert!(other.ends_with(FULL), "{other}");
        }
        drop(first);
        while !answer(address, "/other").await.ends_with("other") {}
        stop.send_replace(true);
        door.await.unwrap();
    }
}
