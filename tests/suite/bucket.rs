//! A lake and a source in S3: a server of that protocol in this process, over a folder that tests can look into.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use hyper::server::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;

use super::program::{
    Http, Running, assert_same, files, finish, pinflow, rows, run, source, wait, world,
};

const KEY: &str = "tests";
const SECRET: &str = "a-secret-that-nobody-may-see";

/// A server of S3 with one bucket, `bucket`.
struct Bucket {
    root: TempDir,
    address: SocketAddr,
    server: Option<tokio::runtime::Runtime>,
}

impl Bucket {
    /// A bucket whose server does not run yet.
    fn absent() -> Bucket {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("bucket")).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        Bucket {
            root,
            address,
            server: None,
        }
    }

    fn serve(&mut self) {
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(self.root.path()).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let address = self.address;
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(address))
            .unwrap();
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let connection =
                    Builder::new().serve_connection(TokioIo::new(socket), service.clone());
                tokio::spawn(async move {
                    let _ = connection.await;
                });
            }
        });
        self.server = Some(runtime);
    }

    fn running() -> Bucket {
        let mut bucket = Bucket::absent();
        bucket.serve();
        bucket
    }

    /// Where an object or prefix is on disk.
    fn path(&self, key: &str) -> PathBuf {
        self.root.path().join("bucket").join(key)
    }

    /// The program, which reaches the bucket.
    fn pinflow(&self, arguments: &str) -> Command {
        let mut command = pinflow(arguments);
        command
            .env("AWS_ENDPOINT_URL", format!("http://{}", self.address))
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET);
        command
    }

    /// Puts a folder's files where a prefix has them.
    fn copy(&self, from: &Path, prefix: &str) {
        for (file, content) in files(from) {
            let to = self
                .path(prefix)
                .join(file.strip_prefix(from).expect("a file of the folder"));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, content).unwrap();
        }
    }
}

fn arguments(options: &str) -> String {
    format!(
        "run --http 127.0.0.1:0 --source dir:s3://bucket/world --lake s3://bucket/lake --tick 20 {options}"
    )
}

/// Runs to the end and returns what was written to stderr.
fn completed(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(!said.contains(SECRET), "a secret was told: {said}");
    said
}

#[test]
fn a_lake_and_a_source_in_s3_are_as_in_folders() {
    let bucket = Bucket::running();
    let world = world(
        300,
        "--layout topics --seed 31 --late 0.2 --updates 0.1 --broken 0.02 --partitions 2",
    );
    let local = world.path().join("lake");
    finish(&run(&source(&world), &local, "--bounded -w 2"));
    bucket.copy(&source(&world), "world");
    completed(bucket.pinflow(&arguments("--bounded -w 2")));
    let first = rows(&bucket.path("lake"));
    assert_same(&first, &rows(&local));
    // Again: nothing is new.
    completed(bucket.pinflow(&arguments("--bounded -w 2")));
    assert_same(&rows(&bucket.path("lake")), &first);
    for (file, content) in files(bucket.root.path()) {
        assert!(
            memchr::memmem::find(&content, SECRET.as_bytes()).is_none(),
            "{} holds a secret",
            file.display()
        );
    }
}

#[test]
fn a_run_on_s3_that_is_killed_ends_as_one_that_was_not() {
    let bucket = Bucket::running();
    let world = world(
        400,
        "--layout lines --seed 32 --late 0.2 --updates 0.1 --duplicates 0.2 --partitions 2",
    );
    let local = world.path().join("lake");
    finish(&run(&source(&world), &local, "--bounded -w 2"));
    bucket.copy(&source(&world), "world");
    for _ in 0..3 {
        let mut command = bucket.pinflow(&arguments("-w 2 --commit-every 0.1"));
        let mut running = Running(command.spawn().unwrap());
        let http = Http::of(&mut running);
        wait("the run is well and has committed", || {
            let checkpoints = fs::read_dir(bucket.path("lake/_checkpoints"));
            checkpoints.is_ok_and(|found| found.count() > 0) && http.get("/healthz", "*/*").0 == 200
        });
    }
    completed(bucket.pinflow(&arguments("--bounded -w 2")));
    assert_same(&rows(&bucket.path("lake")), &rows(&local));
}

#[test]
fn a_run_waits_for_a_lake_that_is_away() {
    let mut bucket = Bucket::absent();
    let world = world(50, "--layout lines --seed 33 --partitions 1");
    let mut command = bucket.pinflow(&format!(
        "run --http 127.0.0.1:0 --source dir:{} --lake s3://bucket/lake --tick 20 --bounded -w 1",
        source(&world).display()
    ));
    let mut process = Running(command.spawn().unwrap());
    let mut said = BufReader::new(process.0.stderr.take().unwrap()).lines();
    let waits = said.find(|line| {
        line.as_ref()
            .is_ok_and(|line| line.contains("trying again"))
    });
    assert!(waits.is_some(), "the run did not wait");
    bucket.serve();
    said.for_each(drop);
    assert!(process.0.wait().unwrap().success());
    assert_eq!(rows(&bucket.path("lake"))["tables/pin"].len(), 50);
}
