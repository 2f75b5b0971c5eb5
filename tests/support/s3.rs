//! An S3 server in this process: s3s over a temporary folder, reached through a real socket by the
//! real client.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service, service_fn};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s::stream::{ByteStream, DynByteStream, RemainingLength};
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

/// The only bucket there is.
pub const BUCKET: &str = "user-bucket";

/// Who may use it.
pub const KEY: &str = "tests";

/// The password of [`KEY`].
pub const SECRET: &str = "a-secret-that-nobody-may-see";

/// The server; it goes away with this.
pub struct S3 {
    /// What runs the server, and can run clients.
    pub runtime: Runtime,
    address: SocketAddr,
    /// Keeps the port while nobody is answered at it.
    port: Option<TcpSocket>,
    requests: Arc<AtomicU64>,
    faults: Arc<Faults>,
    folder: TempDir,
}

/// What goes wrong with answers.
#[derive(Default)]
struct Faults {
    /// Every n-th request is answered by 503, and as many reads by a body that breaks off; 0: none.
    one_in: AtomicU64,
    /// How many there were.
    done: AtomicU64,
    /// Whether requests are taken and never answered.
    silent: AtomicBool,
}

/// What becomes of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Refused,
    BreaksOff,
}

impl Faults {
    fn next(&self, request: u64) -> Fault {
        let one_in = self.one_in.load(Ordering::Relaxed);
        let fault = match one_in {
            0 => Fault::None,
            _ if request.is_multiple_of(one_in) => Fault::Refused,
            _ if request % one_in == one_in / 2 => Fault::BreaksOff,
            _ => Fault::None,
        };
        let done = u64::from(fault != Fault::None);
        self.done.fetch_add(done, Ordering::Relaxed);
        fault
    }
}

/// An answer that says how long it is and ends before.
async fn broken_off(answer: hyper::Response<s3s::Body>) -> hyper::Response<s3s::Body> {
    let (head, mut body) = answer.into_parts();
    let Ok(whole) = body.store_all_limited(usize::MAX).await else {
        return hyper::Response::from_parts(head, body);
    };
    let some = whole.slice(..whole.len() / 2);
    let parts = [Ok(some), Err("the line is cut".into())];
    let parts = Broken(whole.len(), futures::stream::iter(parts));
    let mut answer =
        hyper::Response::from_parts(head, s3s::Body::from(Box::pin(parts) as DynByteStream));
    let length = whole.len().into();
    answer
        .headers_mut()
        .insert(hyper::header::CONTENT_LENGTH, length);
    answer
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A body with a promised length.
struct Broken<S>(usize, S);

impl<S: Stream + Unpin> Stream for Broken<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        Pin::new(&mut self.1).poll_next(context)
    }
}

impl<S: Stream<Item = Result<Bytes, Failure>> + Unpin> ByteStream for Broken<S> {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::new_exact(self.0)
    }
}

impl S3 {
    /// Starts a server with an empty bucket.
    pub fn start() -> S3 {
        let mut server = S3::absent();
        server.serve();
        server
    }

    /// An empty bucket whose server is away: connections are refused.
    pub fn absent() -> S3 {
        let folder = TempDir::new().expect("a temporary folder can be made");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a bucket is a folder");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let port = TcpSocket::new_v4().expect("a socket");
        port.bind((Ipv4Addr::LOCALHOST, 0).into())
            .expect("a port is free");
        let address = port.local_addr().expect("the socket is bound");
        S3 {
            runtime,
            address,
            port: Some(port),
            requests: Arc::default(),
            faults: Arc::default(),
            folder,
        }
    }

    /// From now on it answers.
    pub fn serve(&mut self) {
        let files = s3s_fs::FileSystem::new(self.folder.path()).expect("s3s-fs serves a folder");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = builder.build();
        let _context = self.runtime.enter();
        let port = self.port.take().expect("it did not serve yet");
        let listener = port.listen(1024).expect("the port is ours");
        let (requests, faults) = (Arc::clone(&self.requests), Arc::clone(&self.faults));
        self.runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (service, requests) = (service.clone(), Arc::clone(&requests));
                let faults = Arc::clone(&faults);
                let service = service_fn(move |request: hyper::Request<Incoming>| {
                    let silent = faults.silent.load(Ordering::Relaxed);
                    let fault = faults.next(requests.fetch_add(1, Ordering::Relaxed) + 1);
                    let cuts = fault == Fault::BreaksOff && request.method() == Method::GET;
                    let answer =
                        (fault != Fault::Refused).then(|| Service::call(&service, request));
                    async move {
                        if silent {
                            std::future::pending::<()>().await;
                        }
                        let Some(answer) = answer else {
                            let mut answer = hyper::Response::new(s3s::Body::empty());
                            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                            return Ok(answer);
                        };
                        let answer = answer.await?;
                        Ok::<_, s3s::HttpError>(match cuts {
                            true => broken_off(answer).await,
                            false => answer,
                        })
                    }
                });
                tokio::spawn(async move {
                    let connection = Builder::new();
                    let _ = connection
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
    }

    /// Where it answers: `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client of the bucket.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        let store = AmazonS3Builder::new()
            .with_bucket_name(BUCKET)
            .with_region("us-east-1")
            .with_access_key_id(KEY)
            .with_secret_access_key(SECRET)
            .with_allow_http(true)
            .with_endpoint(self.endpoint())
            .build();
        Arc::new(store.expect("the client is configured"))
    }

    /// From now on every n-th request is answered by 503, and as many reads break off half-way.
    pub fn spoil(&self, one_in: u64) {
        self.faults.one_in.store(one_in, Ordering::Relaxed);
    }

    /// From now on it takes requests and answers none.
    pub fn fall_silent(&self) {
        self.faults.silent.store(true, Ordering::Relaxed);
    }

    /// How many answers were bad so far.
    pub fn spoiled(&self) -> u64 {
        self.faults.done.load(Ordering::Relaxed)
    }

    /// How many requests were answered so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Where the bucket's objects are as files: the fast way to make many.
    pub fn bucket_folder(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }
}
