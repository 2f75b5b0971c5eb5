//! What is around the routes: keys, limits, browsers, TLS, counters, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{Gateway, JSON, send_over};
use crate::gateway::{ApiKeys, Cors, GatewayError, TlsFiles};

const ONE: &str = r#"{"records":[{"value":1}]}"#;

#[tokio::test]
async fn a_key_opens_both_doors_and_is_not_shown() {
    let gateway = Gateway::with(|config| config.keys = ApiKeys::new(["hunter2"])).await;
    for key in ["", "hunter", "hunter22"] {
        let headers = [("content-type", JSON), ("x-api-key", key)];
        let answer = gateway.send("POST", "/topics/pin", &headers, ONE).await;
        answer.is_error(403, 403, "x-api-key");
        assert!(!answer.body.contains("hunter"));
        let answer = gateway.send("GET", "/streams", &headers, "").await;
        assert_eq!(
            (answer.status, &answer.json()["__type"]),
            (403, &json!("ForbiddenException"))
        );
    }
    let headers = [("content-type", JSON), ("X-API-Key", "hunter2")];
    assert_eq!(
        gateway
            .send("POST", "/topics/pin", &headers, ONE)
            .await
            .status,
        200
    );
    assert_eq!(gateway.get("/healthz").await.status, 200);
    assert_eq!(gateway.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_told_or_not() {
    let gateway = Gateway::with(|config| config.limits.body_bytes = 64).await;
    let body = format!(r#"{{"records":[{{"value":"{}"}}]}}"#, "x".repeat(64));
    gateway
        .post("/topics/pin", JSON, &body)
        .await
        .is_error(413, 413, "larger than 64 bytes");
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let stream = TcpStream::connect(gateway.server.address()).await.unwrap();
    let answer = raw(stream, &format!("POST /topics/pin HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {JSON}\r\ntransfer-encoding: chunked\r\n\r\n{chunked}")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let answer = gateway.put("/streams/s/record", &body).await;
    assert_eq!(
        (answer.status, &answer.json()["__type"]),
        (413, &json!("SerializationException"))
    );
    assert_eq!(gateway.post("/topics/pin", JSON, ONE).await.status, 200);
}

#[tokio::test]
async fn a_client_that_sends_all_of_a_too_large_body_gets_the_answer() {
    let gateway = Gateway::with(|config| config.limits.body_bytes = 64).await;
    let body = "x".repeat(32 << 20);
    let length = body.len();
    for framed in [
        format!("content-length: {length}\r\n\r\n{body}"),
        format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"),
    ] {
        let stream = TcpStream::connect(gateway.server.address()).await.unwrap();
        let head = format!("POST /topics/pin HTTP/1.1\r\nhost: localhost\r\ncontent-type: {JSON}");
        let answer = raw(stream, &format!("{head}\r\nconnection: close\r\n{framed}")).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
}

async fn raw(mut stream: TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_string(&mut answer));
    let _ = read.await.expect("an answer within a minute");
    answer
}

#[tokio::test]
async fn a_body_that_does_not_come_times_out() {
    let gateway = Gateway::with(|config| config.limits.request = Duration::from_millis(50)).await;
    let stream = TcpStream::connect(gateway.server.address()).await.unwrap();
    let head = format!(
        "POST /topics/pin HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {JSON}\r\ncontent-length: 99\r\n\r\n{{"
    );
    let answer = raw(stream, &head).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains(r#""error_code":408"#), "{answer}");
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let gateway =
        Gateway::with(|config| config.limits.door.header = Duration::from_millis(50)).await;
    let stream = TcpStream::connect(gateway.server.address()).await.unwrap();
    let answer = raw(stream, "POST /topics/pin HTTP/1.1\r\nhost").await;
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn pages_of_browsers_may_post_where_that_is_configured() {
    let ask = [
        ("origin", "https://page.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let gateway = Gateway::with(|config| config.cors = Cors::Everybody).await;
    let answer = gateway.send("OPTIONS", "/topics/pin", &ask, "").await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, Some("*"))
    );
    let methods = answer.header("access-control-allow-methods").unwrap();
    for method in ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"] {
        assert!(methods.contains(method), "{methods}");
    }
    let answer = gateway
        .send(
            "POST",
            "/topics/pin",
            &[("origin", "https://page.example"), ("content-type", JSON)],
            ONE,
        )
        .await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, Some("*"))
    );
    let gateway = Gateway::with(|config| {
        config.cors = Cors::These(vec!["https://other.example".parse().unwrap()])
    })
    .await;
    assert_eq!(
        gateway
            .send("OPTIONS", "/topics/pin", &ask, "")
            .await
            .header("access-control-allow-origin"),
        None
    );
    let gateway = Gateway::start().await;
    assert_eq!(
        gateway
            .send("OPTIONS", "/topics/pin", &ask, "")
            .await
            .status,
        405
    );
}

#[tokio::test]
async fn a_door_of_this_machine_is_called_by_address_or_by_a_name_of_its_own() {
    let gateway = Gateway::with(|config| config.hosts = vec!["gateway.example".to_owned()]).await;
    let asked = async |host| {
        let headers = [("host", host), ("content-type", JSON)];
        gateway.send("POST", "/topics/pin", &headers, ONE).await
    };
    assert_eq!(asked("127.0.0.1:8082").await.status, 200);
    assert_eq!(asked("gateway.example:8082").await.status, 200);
    asked("rebound.example")
        .await
        .is_error(421, 421, "--allow-host rebound.example");
}

#[tokio::test]
async fn a_request_has_so_many_records_at_most_and_its_answer_is_small() {
    let gateway = Gateway::start().await;
    let body = |records: usize| format!(r#"{{"records":[{}]}}"#, vec!["{}"; records].join(","));
    let answer = gateway.post("/topics/pin", JSON, &body(200_000)).await;
    answer.is_error(422, 422, "at most 10000 records; send fewer at a time");
    assert!(answer.body.len() < 1000, "{}", answer.body.len());
    let answer = gateway.put("/streams/s/records", &body(10_001)).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("at most 10000 records"), "{answer:?}");
}

#[tokio::test]
async fn bodies_share_room_and_wait_for_it() {
    // Each body takes all the room there is, so that one after the other is read.
    let gateway = Gateway::with(|config| {
        config.limits.body_bytes = 4 << 10;
        config.limits.bodies_bytes = 1;
    })
    .await;
    let body = format!(r#"{{"records":[{{"value":"{}"}}]}}"#, "x".repeat(3 << 10));
    let posts = (0..20).map(|_| gateway.post("/topics/pin", JSON, &body));
    let answers = futures::future::join_all(posts).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_words_of_the_door() {
    let gateway = Gateway::start().await;
    gateway
        .get("/")
        .await
        .is_error(404, 404, "HTTP 404 Not Found");
    gateway
        .get("/brokers")
        .await
        .is_error(404, 404, "HTTP 404 Not Found");
    gateway
        .send("DELETE", "/topics/pin", &[], "")
        .await
        .is_error(405, 405, "HTTP 405 Method Not Allowed");
    let answer = gateway.send("POST", "/streams/s/record", &[], "").await;
    assert_eq!(
        (answer.status, &answer.json()["__type"]),
        (405, &json!("UnknownOperationException"))
    );
}

#[tokio::test]
async fn everything_is_counted_by_route() {
    let gateway = Gateway::start().await;
    gateway
        .post(
            "/dev/topics/pin",
            JSON,
            r#"{"records":[{"value":1},{"value":null}]}"#,
        )
        .await;
    gateway.post("/topics/pin", JSON, "{").await;
    let text = gateway.get("/metrics").await.body;
    let labels = r#"method="POST",route="/topics/{topic}""#;
    for line in [
        format!("pinflow_gateway_requests_total{{{labels},status=\"2xx\"}} 1"),
        format!("pinflow_gateway_requests_total{{{labels},status=\"4xx\"}} 1"),
        format!("pinflow_gateway_records_total{{{labels},outcome=\"kept\"}} 1"),
        format!("pinflow_gateway_records_total{{{labels},outcome=\"refused\"}} 1"),
        format!("pinflow_gateway_request_seconds_count{{{labels}}} 2"),
    ] {
        assert!(text.lines().any(|there| there == line), "{line}\n{text}");
    }
    let instance = "/consumers/g/instances/i/records";
    gateway.get(instance).await;
    let text = gateway.get("/metrics").await.body;
    assert!(
        text.contains(r#"route="/consumers/{group}/instances/{instance}/records",status="4xx"} 1"#),
        "{text}"
    );
}

#[tokio::test]
async fn requests_that_are_there_finish_when_it_stops() {
    let gateway = Gateway::start().await;
    let mut stream = TcpStream::connect(gateway.server.address()).await.unwrap();
    let head = format!(
        "POST /topics/pin HTTP/1.1\r\nhost: localhost\r\ncontent-type: {JSON}\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        ONE.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The gateway asks for the body once it handles the request.
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    let Gateway { server, lake } = gateway;
    let address = server.address();
    let stopping = tokio::spawn(server.stop());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let answer = raw(stream, ONE).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stopping.await.unwrap();
    let log = lake.path().join("_log");
    let file = log.join("topics/pin/partition=0/pin+0+0000000000.json");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "1\n");
    let server = super::serve(super::config(lake.path()), address)
        .await
        .unwrap();
    server.stop().await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_said_and_the_log_is_not_touched() {
    let gateway = Gateway::start().await;
    let other = tempfile::tempdir().unwrap();
    let error = super::serve(super::config(other.path()), gateway.server.address()).await;
    let error = error.err().unwrap();
    assert!(matches!(error, GatewayError::Listen { .. }));
    assert!(error.to_string().contains("choose another address"));
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn clients_come_through_tls() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["gateway.example".to_owned()]).unwrap();
    let files = TlsFiles {
        certificates: folder.path().join("certificate.pem"),
        key: folder.path().join("key.pem"),
    };
    std::fs::write(&files.certificates, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let wrong = TlsFiles {
        key: files.certificates.clone(),
        ..files.clone()
    };
    let gateway = Gateway::with(|config| config.tls = Some(files)).await;
    assert!(gateway.server.url().starts_with("https://"));
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(gateway.server.address()).await.unwrap();
    let name = ServerName::try_from("gateway.example").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(client))
        .connect(name, stream)
        .await
        .unwrap();
    let answer = send_over(
        stream,
        "POST",
        "/topics/pin",
        &[("content-type", JSON)],
        ONE,
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut config = super::config(folder.path());
    config.tls = Some(wrong);
    let error = super::serve(config, super::loopback())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.starts_with("TLS cannot be offered"), "{error}");
}

#[tokio::test]
async fn a_log_that_fails_takes_nothing_in_and_says_so_until_it_is_opened_again() {
    let gateway = Gateway::with(|config| config.log.wal_bytes = 1).await;
    // The next log of writes cannot be made.
    let in_the_way = gateway.lake.path().join("_log/_wal/0000000002.wal");
    std::fs::create_dir(&in_the_way).unwrap();
    assert_eq!(gateway.post("/topics/pin", JSON, ONE).await.status, 200);
    let refused = gateway.post("/topics/pin", JSON, ONE).await;
    refused.is_error(
        503,
        50003,
        "nothing is taken in until it can be opened again",
    );
    let health = gateway.get("/healthz").await;
    assert_eq!(health.status, 503);
    assert!(health.body.contains("the log failed"), "{}", health.body);
    let Gateway { server, lake } = gateway;
    server.stop().await;
    std::fs::remove_dir(&in_the_way).unwrap();
    let server = super::serve(super::config(lake.path()), super::loopback())
        .await
        .unwrap();
    let gateway = Gateway { server, lake };
    assert_eq!(gateway.get("/healthz").await.status, 200);
    let answer = gateway.post("/topics/pin", JSON, ONE).await;
    assert_eq!(answer.json()["offsets"][0]["offset"], 1);
}
