//! An S3 server in this process: s3s over a temporary folder, reached through a real socket by the real client.

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
use tokio::runtime::Runtime;

/// The server; it goes away with this.
pub struct S3 {
    /// What runs the server, and can run clients.
    pub runtime: Runtime,
    address: std::net::SocketAddr,
    requests: Arc<AtomicU64>,
    folder: TempDir,
}

/// The only bucket there is.
pub const BUCKET: &str = "user-bucket";

impl S3 {
    /// Starts a server with an empty bucket.
    pub fn start() -> S3 {
        let folder = TempDir::new().expect("a temporary folder can be made");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a bucket is a folder");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let files = s3s_fs::FileSystem::new(folder.path()).expect("s3s-fs serves a folder");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single("key", "secret"));
        let service = builder.build();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a port is free");
        let address = listener.local_addr().expect("the listener is bound");
        let requests = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&requests);
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (service, counted) = (service.clone(), Arc::clone(&counted));
                let service = service_fn(move |request| {
                    counted.fetch_add(1, Ordering::Relaxed);
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
        S3 {
            runtime,
            address,
            requests,
            folder,
        }
    }

    /// A client of the bucket.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        let store = AmazonS3Builder::new()
            .with_bucket_name(BUCKET)
            .with_region("us-east-1")
            .with_access_key_id("key")
            .with_secret_access_key("secret")
            .with_allow_http(true)
            .with_endpoint(format!("http://{}", self.address))
            .build();
        Arc::new(store.expect("the client is configured"))
    }

    /// How many requests were answered so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Where the bucket's objects are as files: the fast way to make many.
    pub fn bucket_folder(&self) -> std::path::PathBuf {
        self.folder.path().join(BUCKET)
    }
}
