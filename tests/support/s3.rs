//! An S3 server in this process: s3s over a temporary folder, reached through a real socket by the real client.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::server::conn::http1::Builder;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
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
    folder: TempDir,
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
        let requests = Arc::clone(&self.requests);
        self.runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (service, requests) = (service.clone(), Arc::clone(&requests));
                let service = service_fn(move |request| {
                    requests.fetch_add(1, Ordering::Relaxed);
                    Service::call(&service, request)
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

    /// How many requests were answered so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Where the bucket's objects are as files: the fast way to make many.
    pub fn bucket_folder(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }
}
