//! The views and the gateway in this process, asked over sockets of their own.
//!
//! A whole request has an answer: of success, or one that says what was wrong. After each request,
//! whatever it was, an ordinary one is answered. At the end the gateway's log holds every record
//! that was acknowledged, at its offset, as it was sent.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use pinflow::delta::Delta;
use pinflow::gateway::{self, GatewayConfig};
use pinflow::serve::http::{self, Served};
use pinflow::serve::status::{RunDescription, Status};
use pinflow::serve::store::{LiveStore, ViewSpec};
use pinflow::sql::Session;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::super::program::{PATIENCE, files};
use super::damage::shown;
use super::requests::{JSON, Request, to_gateway, to_views};
use super::{SERVER_STACK, each, no_sentence};

const VIEWS: [&str; 2] = ["posts_by_category", "top_category"];

#[test]
fn any_request_leaves_the_views_answering() {
    let (runtime, served) = (runtime(), views());
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = runtime
        .block_on(http::serve(served, address))
        .expect("a port is free");
    let to = server.address();
    let test = "suite::bytes::doors::any_request_leaves_the_views_answering";
    let show = |request: &Request| shown(&request.bytes);
    each(
        test,
        2000,
        SERVER_STACK,
        |chance| to_views(chance, &VIEWS),
        show,
        |request| {
            look(ask(to, request)?, request)?;
            let usual =
                b"GET /views/posts_by_category?where=posts%3E3 HTTP/1.1\r\nHost: localhost\r\n\r\n";
            match answer(to, usual)? {
                (200, _) => Ok(()),
                (status, body) => Err(format!("an ordinary request has {status}: {body}")),
            }
        },
    );
    runtime.block_on(server.stop());
}

#[test]
fn any_request_leaves_the_gateway_taking_records() {
    let (runtime, folder) = (runtime(), TempDir::new().expect("there is room"));
    let log = folder.path().join("log");
    let streams = ["pin", "geo", "user"].map(str::to_owned).to_vec();
    let mut config = GatewayConfig::embedded(log.clone(), streams, Arc::new(|| 1_700_000_000_000));
    config.limits.request = Duration::from_secs(10);
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = runtime
        .block_on(gateway::serve(config, address))
        .expect("a port is free");
    let to = server.address();
    let kept: Mutex<Vec<Kept>> = Mutex::default();
    let test = "suite::bytes::doors::any_request_leaves_the_gateway_taking_records";
    let show = |request: &Request| shown(&request.bytes);
    each(test, 2000, SERVER_STACK, to_gateway, show, |request| {
        let said = ask(to, request)?;
        if let (Some(records), Some((200, body))) = (&request.records, &said) {
            let answers = acknowledged(&records.topic, &records.values, body)?;
            kept.lock().expect("nobody panics with it").extend(answers);
        }
        look(said, request)?;
        let value = "{\"index\":7}";
        let body = format!("{{\"records\":[{{\"value\":{value}}}]}}");
        let usual = format!(
            "POST /topics/good.pin HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        match answer(to, usual.as_bytes())? {
            (200, body) => {
                let good = acknowledged("good.pin", &[Some(value.to_owned())], &body)?;
                kept.lock().expect("nobody panics with it").extend(good);
                Ok(())
            }
            (status, body) => Err(format!("an ordinary record is answered {status}: {body}")),
        }
    });
    runtime.block_on(server.stop());
    let kept = kept.into_inner().expect("nobody panicked with it");
    assert!(!kept.is_empty());
    let lines = lines(&log);
    for one in kept {
        let line = lines
            .get(&one.partition)
            .and_then(|lines| lines.get(one.offset));
        assert_eq!(line, Some(&one.line), "{} at {}", one.partition, one.offset);
    }
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build();
    runtime.expect("threads can be made")
}

/// Two views of categories with their posts.
fn views() -> Served {
    let schema = Arc::new(Schema::new(vec![
        Field::new("category", DataType::Utf8View, true),
        Field::new("posts", DataType::Int64, true),
    ]));
    let spec = |name: &str| ViewSpec {
        name: name.to_owned(),
        schema: Arc::clone(&schema),
        key: vec![0],
        appended: false,
    };
    let store = LiveStore::new(VIEWS.map(spec).to_vec()).expect("it holds such views");
    let columns: [ArrayRef; 2] = [
        Arc::new(StringViewArray::from_iter([
            Some("quotes"),
            None,
            Some("a,b \"ü\""),
            Some(""),
        ])),
        Arc::new(Int64Array::from_iter([
            Some(70),
            Some(3),
            None,
            Some(i64::MIN),
        ])),
    ];
    let rows = RecordBatch::try_new(schema, columns.to_vec()).expect("they are the columns");
    let changes = vec![(
        0,
        Delta {
            rows,
            diffs: vec![1; 4],
        },
    )];
    store.publish(7, changes);
    let run = RunDescription {
        source: "test:".to_owned(),
        lake: "lake".to_owned(),
        workers: 1,
        commit_every_ms: 10_000,
    };
    let status = Status::new(run, &["pin"], 0x1000);
    status.closed(7, 0x2000);
    Served {
        store: Arc::new(store),
        status: Arc::new(status),
        now_ms: Arc::new(|| 0x2000),
        session: Arc::new(Session::new()),
        wait_at_most: Duration::from_millis(2),
        hosts: Vec::new(),
    }
}

/// Status and body of an answer.
type Said = (u16, String);

/// Sends a request and reads its answer. One that is not whole may have none: the server waits for
/// the rest of it, and this does not.
pub fn ask(to: SocketAddr, request: &Request) -> Result<Option<Said>, String> {
    if request.whole {
        return answer(to, &request.bytes).map(Some);
    }
    let mut stream = TcpStream::connect(to).map_err(|error| format!("no connection: {error}"))?;
    let wait = Duration::from_millis(3);
    let times = [
        stream.set_read_timeout(Some(wait)),
        stream.set_write_timeout(Some(PATIENCE)),
    ];
    times
        .into_iter()
        .collect::<Result<Vec<()>, _>>()
        .map_err(|error| error.to_string())?;
    // The server may close the connection in the middle of it.
    let _ = stream.write_all(&request.bytes);
    let mut head = [0; 4096];
    match stream.read(&mut head) {
        // What speaks HTTP/2 understands no answer in HTTP/1.
        Ok(0) if !request.bytes.starts_with(b"PRI * ") => {
            Err("the connection was closed without a word".to_owned())
        }
        Ok(read) => match status(&head[..read]) {
            Some(500..) => Err(shown(&head[..read])),
            _ => Ok(None),
        },
        Err(_) => Ok(None),
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    let text = answer.get(9..12)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The answer to a request that is whole.
pub fn answer(to: SocketAddr, request: &[u8]) -> Result<Said, String> {
    let failed = |error: std::io::Error| format!("no answer: {error}");
    let mut stream = TcpStream::connect(to).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.write_all(request).map_err(failed)?;
    let is_head = request.starts_with(b"HEAD ");
    let mut answer = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        if let Some(said) = complete(&answer, is_head) {
            return Ok(said);
        }
        match stream.read(&mut piece) {
            Ok(0) => {
                return Err(format!(
                    "the connection was closed within the answer: {}",
                    shown(&answer)
                ));
            }
            Ok(read) => answer.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("no whole answer: {error}: {}", shown(&answer))),
        }
    }
}

/// Status and body, once all of an answer is there. Answers of both doors have a length.
fn complete(answer: &[u8], is_head: bool) -> Option<Said> {
    let end = memchr::memmem::find(answer, b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = status(answer)?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = match length {
        _ if is_head || [204, 304].contains(&status) => 0,
        Some(length) => length.trim().parse().ok()?,
        None => 0,
    };
    let body = answer.get(end..end + length)?;
    Some((status, String::from_utf8_lossy(body).into_owned()))
}

/// That a whole request was answered as it should be.
pub fn look(said: Option<Said>, request: &Request) -> Result<(), String> {
    let Some((status, body)) = said else {
        return Ok(());
    };
    if status < 400 || request.bytes.starts_with(b"HEAD ") {
        return Ok(());
    }
    // 501 is for what there is not behind this gateway.
    if status >= 500 && status != 501 {
        return Err(format!("it is answered {status}: {body}"));
    }
    let told: Value =
        serde_json::from_str(&body).map_err(|_| format!("{status} without words: {body}"))?;
    let sentence = told["message"]
        .as_str()
        .or(told["error"].as_str())
        .unwrap_or_default();
    no_sentence(sentence, &String::from_utf8_lossy(&request.bytes))
        .map_or(Ok(()), |why| Err(format!("{status}: {why}")))
}

/// A record that was acknowledged.
struct Kept {
    /// The folder of its topic and partition.
    partition: String,
    offset: usize,
    /// Its line in the log.
    line: String,
}

/// The records that an answer says are kept.
fn acknowledged(topic: &str, values: &[Option<String>], body: &str) -> Result<Vec<Kept>, String> {
    let answer: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let offsets = answer["offsets"].as_array().cloned().unwrap_or_default();
    if offsets.len() != values.len() {
        return Err(format!(
            "{} answers for {} records: {body}",
            offsets.len(),
            values.len()
        ));
    }
    let mut kept = Vec::new();
    for (value, answer) in values.iter().zip(offsets) {
        match (value, answer["offset"].as_u64()) {
            (Some(value), Some(offset)) => kept.push(Kept {
                partition: format!("{topic}/partition={}", answer["partition"]),
                offset: offset as usize,
                // What would be a deletion in the log is kept as a record.
                line: match value.starts_with("{\"__tombstone\"") {
                    true => format!(" {value}"),
                    false => value.clone(),
                },
            }),
            (None, Some(_)) => return Err(format!("a record without value was kept: {body}")),
            // Nesting beyond what JSON readers take is refused.
            (Some(value), None) if !value.starts_with("[[") => {
                return Err(format!("a good record was refused: {body}"));
            }
            (_, None) => {}
        }
    }
    Ok(kept)
}

/// The lines of a log, by the folders of topics and partitions.
fn lines(log: &Path) -> BTreeMap<String, Vec<String>> {
    let topics = log.join("topics");
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // In the order of their names, which is that of their offsets.
    for (path, content) in files(&topics) {
        let folder = path
            .parent()
            .and_then(|folder| folder.strip_prefix(&topics).ok());
        let folder = folder.expect("it is below").display().to_string();
        // What came as base64 need not be text.
        let text = String::from_utf8_lossy(&content);
        let lines = text.lines().map(str::to_owned);
        all.entry(folder).or_default().extend(lines);
    }
    all
}
