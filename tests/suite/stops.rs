//! How the program ends while something does not answer, and what its health says until then.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use rdkafka::mocking::MockCluster;
use tempfile::TempDir;

use super::program::{Http, Running, pinflow, send, wait};
use crate::support::s3::{BUCKET, KEY, S3, SECRET};

/// A program that finds S3 at this endpoint.
fn with_s3(arguments: &str, endpoint: &str) -> Command {
    let mut command = pinflow(arguments);
    command
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET);
    command
}

/// A port at which connections are taken, and nothing is ever answered.
fn silent_port() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// A program that answers over HTTP, and what it writes.
struct Program {
    process: Running,
    http: Http,
    said: JoinHandle<String>,
}

impl Program {
    fn start(mut command: Command) -> Program {
        let mut process = Running(command.spawn().unwrap());
        let stderr = process.0.stderr.take().unwrap();
        let (tell, told) = channel();
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("answered at http://") {
                    let _ = tell.send(address.to_owned());
                }
                said += &line;
                said.push('\n');
            }
            said
        });
        let http = Http(told.recv().expect("it answers"));
        Program {
            process,
            http,
            said,
        }
    }

    fn health(&self) -> (u16, String) {
        let (status, body) = self.http.get("/healthz", "*/*");
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// Asks it to end; whether it ended well, and what it said.
    fn stop(mut self) -> (bool, String) {
        send(self.process.0.id(), "TERM");
        let mut said = String::new();
        let mut stdout = self.process.0.stdout.take().unwrap();
        stdout.read_to_string(&mut said).unwrap();
        let ended = self.process.0.wait().unwrap();
        (ended.success(), said + &self.said.join().unwrap())
    }
}

fn committed(http: &Http) -> bool {
    http.json("/status")["commit"]["number"].as_u64() > Some(0)
}

#[test]
fn a_lake_that_falls_silent_does_not_keep_the_program() {
    let s3 = S3::start();
    let arguments = format!(
        "run --http 127.0.0.1:0 --lake s3://{BUCKET}/lake -w 1 --commit-every 0.2 --tick 20"
    );
    let program = Program::start(with_s3(&arguments, &s3.endpoint()));
    wait("something is committed", || committed(&program.http));
    s3.fall_silent();
    let (well, said) = program.stop();
    assert!(!well, "{said}");
    assert!(
        said.contains("within 8 s after the run was asked to stop"),
        "{said}"
    );
}

#[test]
fn an_archive_that_falls_silent_does_not_keep_the_program() {
    let (s3, folder) = (S3::start(), TempDir::new().unwrap());
    let arguments = format!(
        "run --http 127.0.0.1:0 --lake {} --archive s3://{BUCKET}/archive -w 1 --commit-every 0.2 --tick 20",
        folder.path().join("lake").display()
    );
    let program = Program::start(with_s3(&arguments, &s3.endpoint()));
    wait("something is committed", || committed(&program.http));
    s3.fall_silent();
    let (well, said) = program.stop();
    assert!(!well, "{said}");
    let expected = "could not write the archive within 8 s after the run was asked to stop";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_source_that_never_answers_does_not_keep_the_program() {
    let (_listener, address) = silent_port();
    for source in [
        "dir:s3://bucket/streams",
        "kafka://",
        "kinesis://pins?region=us-east-1&endpoint=http://",
    ] {
        let folder = TempDir::new().unwrap();
        let source = match source.strip_suffix("//") {
            Some(_) => format!("{source}{address}"),
            None => source.to_owned(),
        };
        let arguments = format!(
            "run --http 127.0.0.1:0 --lake {} --source {source} -w 1",
            folder.path().join("lake").display()
        );
        let endpoint = format!("http://{address}");
        let (well, said) = Program::start(with_s3(&arguments, &endpoint)).stop();
        assert!(well, "{source}: {said}");
        assert!(
            said.contains("ended before anything was read")
                || said.contains("ended before there was anything to read"),
            "{source}: {said}"
        );
    }
}

#[test]
fn brokers_that_are_away_are_told_by_health_until_they_are_back() {
    let cluster = MockCluster::new(1).unwrap();
    for stream in ["pin", "geo", "user"] {
        cluster.create_topic(stream, 1, 1).unwrap();
    }
    let folder = TempDir::new().unwrap();
    let arguments = format!(
        "run --http 127.0.0.1:0 --lake {} --source kafka://{} -w 1 --tick 20",
        folder.path().join("lake").display(),
        cluster.bootstrap_servers()
    );
    let program = Program::start(pinflow(&arguments));
    wait("all is well", || program.health().0 == 200);
    cluster.broker_down(1).unwrap();
    wait("the brokers are missed", || {
        let (status, why) = program.health();
        status == 503 && why.starts_with("could not read kafka://")
    });
    let status = program.http.json("/status").to_string();
    assert!(status.contains("could not read kafka://"), "{status}");
    cluster.broker_up(1).unwrap();
    wait("all is well again", || program.health().0 == 200);
    let (well, said) = program.stop();
    assert!(well, "{said}");
}
