//! The front doors over HTTP, as clients meet them.

mod around;
mod consumers;
mod kafka;
mod kafka_shards;
mod kinesis;
mod produce;
mod shards;
mod streams;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{GatewayConfig, Server, serve};

const JSON: &str = "application/vnd.kafka.json.v2+json";
const BINARY: &str = "application/vnd.kafka.binary.v2+json";
const V2: &str = "application/vnd.kafka.v2+json";

fn config(lake: &Path) -> GatewayConfig {
    let streams = ["pin", "geo", "user"].map(str::to_owned).to_vec();
    GatewayConfig::embedded(lake.join("_log"), streams, Arc::new(|| 1_700_000_000_000))
}

/// A gateway with its log in a folder that goes away.
struct Gateway {
    server: Server,
    lake: tempfile::TempDir,
}

impl Gateway {
    async fn start() -> Gateway {
        Gateway::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut GatewayConfig)) -> Gateway {
        let lake = tempfile::tempdir().unwrap();
        let mut config = config(lake.path());
        change(&mut config);
        let server = serve(config, loopback()).await.unwrap();
        Gateway { server, lake }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    async fn post(&self, path: &str, kind: &str, body: &str) -> Answer {
        self.send("POST", path, &[("content-type", kind)], body)
            .await
    }

    async fn put(&self, path: &str, body: &str) -> Answer {
        self.send("PUT", path, &[("content-type", "application/json")], body)
            .await
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        send(self.server.address(), method, path, headers, body).await
    }

    /// The lines of a topic's partition in the log.
    fn lines(&self, topic: &str, partition: u32) -> String {
        let file =
            format!("topics/{topic}/partition={partition}/{topic}+{partition}+0000000000.json");
        std::fs::read_to_string(self.lake.path().join("_log").join(file)).unwrap_or_default()
    }
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Status and body, as a test expects them.
    #[track_caller]
    fn is(&self, status: u16, body: Value) {
        assert_eq!((self.status, self.json()), (status, body));
    }

    /// The proxy's error, whose message begins as given.
    #[track_caller]
    fn is_error(&self, status: u16, code: u32, message: &str) {
        assert_eq!(
            (self.status, &self.json()["error_code"]),
            (status, &Value::from(code)),
            "{self:?}"
        );
        let said = self.json()["message"].as_str().unwrap().to_owned();
        assert!(said.contains(message), "{said}");
    }
}

async fn send(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let stream = TcpStream::connect(to).await.unwrap();
    send_over(stream, method, path, headers, body).await
}

async fn send_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let host = headers.iter().find(|(name, _)| *name == "host");
    let host = host.map_or("localhost", |(_, host)| *host);
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || ["POST", "PUT"].contains(&method) {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(60), read)
        .await
        .expect("an answer within a minute");
    // A peer that closes TLS without a word is no error here.
    let _ = read;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no head: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        unchunked(body)
    } else {
        body.to_owned()
    };
    Answer {
        status,
        head: head.to_owned(),
        body,
    }
}

fn unchunked(mut text: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body.push_str(&rest[..size]);
        text = rest.get(size + 2..).unwrap_or_default();
    }
    body
}
