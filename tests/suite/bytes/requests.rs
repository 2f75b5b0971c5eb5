//! HTTP requests: as clients send them, as careless ones do, and as nobody should.
//!
//! A request is *whole* if nothing was done to its bytes, whatever it asks for: then it has an
//! answer that says what is wrong with it, if anything is.

use super::damage::{NUMBERS, damage};
use crate::support::seed::Chance;

/// What is sent on a connection.
pub struct Request {
    pub bytes: Vec<u8>,
    pub whole: bool,
    /// What it brings, if it is whole and records are posted to a topic.
    pub records: Option<Records>,
}

/// Records on their way to a topic: the text of each value, or none if it must be refused.
pub struct Records {
    pub topic: String,
    pub values: Vec<Option<String>>,
}

pub const JSON: &str = "application/vnd.kafka.json.v2+json";
const BINARY: &str = "application/vnd.kafka.binary.v2+json";
const V2: &str = "application/vnd.kafka.v2+json";

/// A request before it is written.
struct Draft {
    method: String,
    target: String,
    kind: &'static str,
    body: Vec<u8>,
    records: Option<Records>,
}

/// A request for the gateway.
pub fn to_gateway(chance: &mut Chance) -> Request {
    if chance.rarely(20) {
        return noise(chance);
    }
    let draft = match chance.below(10) {
        0..4 => produce(chance),
        4..7 => consume(chance),
        _ => stream(chance),
    };
    written(chance, draft)
}

/// A request for the views, of which these are there.
pub fn to_views(chance: &mut Chance, views: &[&str]) -> Request {
    if chance.rarely(20) {
        return noise(chance);
    }
    let name = match chance.below(4) {
        0 => name(chance),
        _ => (*chance.one(views)).to_owned(),
    };
    let path = match chance.below(8) {
        0 => "/views".to_owned(),
        1 => (*chance.one(&["/", "/status", "/healthz", "/nothing", "//views", "/views/"]))
            .to_owned(),
        _ => format!("/views/{}", encoded(chance, &name)),
    };
    let mut target = path;
    for number in 0..chance.below(4) {
        target.push(if number == 0 { '?' } else { '&' });
        let value = match chance.below(6) {
            0 => {
                let word = *chance.one(&WORDS);
                encoded(chance, word)
            }
            1 => (*chance.one(&NUMBERS)).to_owned(),
            2 => (*chance.one(&["json", "csv", "arrow", "table", "xml"])).to_owned(),
            3 => encoded(chance, "category LIKE '%a%' AND posts > 3"),
            4 => encoded(chance, "posts / 0 = 1"),
            _ => "1".to_owned(),
        };
        let name = *chance.one(&[
            "format",
            "where",
            "where",
            "limit",
            "wait",
            "changed_after",
            "x",
        ]);
        target.push_str(&format!("{name}={value}"));
    }
    let method = method(chance, "GET");
    let kind = *chance.one(&["", "application/json"]);
    let draft = Draft {
        method,
        target,
        kind,
        body: Vec::new(),
        records: None,
    };
    written(chance, draft)
}

const WORDS: [&str; 8] = [
    "",
    "posts",
    "posts > 1",
    "(((",
    "'",
    "true",
    "posts > 1; DROP TABLE x",
    "größe",
];

/// Bytes that are no request, or hardly one.
fn noise(chance: &mut Chance) -> Request {
    let bytes = match chance.below(6) {
        0 => {
            let length = 1 + chance.below(300);
            chance.bytes(length)
        }
        1 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        2 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        3 => format!(
            "GET /{} HTTP/1.1\r\n\r\n",
            "a".repeat(*chance.one(&[9000, 70_000, 500_000]))
        )
        .into_bytes(),
        4 => {
            let header = "X-Flood: yes\r\n".repeat(*chance.one(&[99, 101, 5000]));
            format!("GET /topics HTTP/1.1\r\nHost: localhost\r\n{header}\r\n").into_bytes()
        }
        _ => format!(
            "GET / HTTP/{}\r\nHost: localhost\r\n\r\n",
            chance.one(&["0.9", "1.0", "2", "9.9", ""])
        )
        .into_bytes(),
    };
    Request {
        bytes,
        whole: false,
        records: None,
    }
}

fn method(chance: &mut Chance, usual: &str) -> String {
    let others = [
        "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "get", "X-Y",
    ];
    match chance.rarely(12) {
        true => (*chance.one(&others)).to_owned(),
        false => usual.to_owned(),
    }
}

/// A name of a topic, stream, group or instance.
fn name(chance: &mut Chance) -> String {
    match chance.below(14) {
        0 => "x".repeat(*chance.one(&[200, 201, 256, 5000])),
        1 => (*chance.one(&[
            "", ".", "..", "_wal", "a b", "a/b", "a\\b", "größe", "\u{1}", "%", "a+0",
        ]))
        .to_owned(),
        2 => "\u{10ffff}".repeat(1 + chance.below(100)),
        _ => (*chance.one(&["pin", "0ec6.pin", "geo", "shared", "one", "two", "students"]))
            .to_owned(),
    }
}

/// A text as a part of a path or query; some letters are encoded that need not be.
fn encoded(chance: &mut Chance, text: &str) -> String {
    let all = chance.rarely(8);
    let plain = |byte: &u8| !all && (byte.is_ascii_alphanumeric() || b"-._~".contains(byte));
    text.bytes()
        .map(|byte| match plain(&byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

fn produce(chance: &mut Chance) -> Draft {
    let topic = name(chance);
    let binary = chance.rarely(5);
    let mut entries = Vec::new();
    let mut values = Vec::new();
    let count = *chance.one(&[0, 1, 1, 1, 2, 5, 40]);
    for _ in 0..count {
        let (entry, value) = entry(chance, binary);
        entries.push(entry);
        values.push(value);
    }
    let body = match chance.below(16) {
        0 => (*chance.one(&[
            "",
            "null",
            "[]",
            "{}",
            "7",
            "{\"records\":{}}",
            "{\"records\":[[]]}",
        ]))
        .to_owned(),
        _ => format!("{{\"records\":[{}]}}", entries.join(",")),
    };
    let posts_them =
        body.starts_with("{\"records\":[") && body.len() > 20 && !body.contains("[[]]");
    let (path, partition) = match chance.below(8) {
        0 => (format!("/partitions/{}", chance.one(&NUMBERS)), true),
        _ => (String::new(), false),
    };
    let stage = *chance.one(&["", "", "", "/dev", "/a%2Fb", "/x/y"]);
    let method = method(chance, "POST");
    let kind = match chance.rarely(10) {
        true => *chance.one(&[
            "",
            "application/json",
            "text/plain",
            V2,
            "application/vnd.kafka.avro.v2+json",
        ]),
        false if binary => BINARY,
        false => JSON,
    };
    let plain = !partition && method == "POST" && kind == if binary { BINARY } else { JSON };
    Draft {
        target: format!("{stage}/topics/{}{path}", encoded(chance, &topic)),
        records: (plain && posts_them && stage.len() < 5).then_some(Records { topic, values }),
        method,
        kind,
        body: body.into_bytes(),
    }
}

/// A record of a request, and the text of its value if it can be kept.
fn entry(chance: &mut Chance, binary: bool) -> (String, Option<String>) {
    let deep = *chance.one(&[3, 40, 126, 127, 128, 400]);
    let value = match chance.below(12) {
        0 => format!("{}1{}", "[".repeat(deep), "]".repeat(deep)),
        1 => (*chance.one(&NUMBERS)).to_owned(),
        2 => "\"\\ud83d\\ude00 \\u0000\"".to_owned(),
        3 => format!("\"{}\"", "long ".repeat(1000)),
        4 => "{\"__tombstone\":\"75\"}".to_owned(),
        5 => "null".to_owned(),
        _ => format!("{{\"index\":{},\"category\":\"any\"}}", chance.below(1000)),
    };
    if binary {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(&value);
        return (format!("{{\"value\":\"{text}\"}}"), Some(value));
    }
    match chance.below(12) {
        0 => {
            let odd = *chance.one(&[
                "{}",
                "7",
                "{\"key\":1}",
                "{\"valeu\":1}",
                "{\"value\":1,\"partition\":-1}",
            ]);
            (odd.to_owned(), None)
        }
        1 => (format!("{{\"key\":\"k\",\"value\":{value}}}"), kept(value)),
        _ => (format!("{{\"value\":{value}}}"), kept(value)),
    }
}

/// The value, unless it is none.
fn kept(value: String) -> Option<String> {
    (value != "null").then_some(value)
}

fn consume(chance: &mut Chance) -> Draft {
    let (group, instance) = (name(chance), name(chance));
    let group = encoded(chance, &group);
    let at = format!(
        "/consumers/{group}/instances/{}",
        encoded(chance, &instance)
    );
    let many = match chance.rarely(30) {
        true => 2000,
        false => chance.below(3),
    };
    let places: Vec<String> = (0..many)
        .map(|_| {
            let (topic, number) = (name(chance), *chance.one(&NUMBERS));
            let number = if chance.rarely(2) { "0" } else { number };
            format!(
                "{{\"topic\":{},\"partition\":{number},\"offset\":{}}}",
                serde_json::json!(topic),
                chance.one(&NUMBERS)
            )
        })
        .collect();
    let places = places.join(",");
    let partitions = places.clone();
    let topics: Vec<String> = (0..many).map(|_| name(chance)).collect();
    let pattern = *chance.one(&[
        ".*",
        "(",
        "(a*)*b",
        "x{1000}",
        "(x{100}){100}",
        "[[:alpha:]]{500}",
        "\\p{L}{900}",
        "",
        "^$",
        "a)|(?:b",
        "\\",
        "(?i)pin",
        "(?:(?:(?:x{50}){50}){50})",
    ]);
    let format = *chance.one(&["json", "binary", "avro"]);
    let (usual, target, body) = match chance.below(12) {
        0 | 1 => (
            "POST",
            format!("/consumers/{group}"),
            format!(
                "{{\"name\":{},\"format\":\"{format}\",\"auto.offset.reset\":\"{}\",\"consumer.request.timeout.ms\":\"{}\"}}",
                serde_json::json!(instance),
                chance.one(&["earliest", "latest", "x"]),
                chance.one(&["1", "0", "-1"]),
            ),
        ),
        2 => (
            "POST",
            format!("{at}/subscription"),
            serde_json::json!({"topics": topics}).to_string(),
        ),
        3 => (
            "POST",
            format!("{at}/subscription"),
            serde_json::json!({"topic_pattern": pattern}).to_string(),
        ),
        4 => ("GET", format!("{at}/subscription"), String::new()),
        5 => (
            "POST",
            format!("{at}/assignments"),
            format!("{{\"partitions\":[{partitions}]}}"),
        ),
        6 | 7 => (
            "GET",
            format!(
                "{at}/records?timeout={}&max_bytes={}",
                chance.below(3),
                chance.one(&NUMBERS)
            ),
            String::new(),
        ),
        8 => (
            "POST",
            format!("{at}/offsets"),
            format!("{{\"offsets\":[{places}]}}"),
        ),
        9 => (
            "POST",
            format!("{at}/positions"),
            format!("{{\"offsets\":[{places}]}}"),
        ),
        10 => (
            "POST",
            format!("{at}/positions/{}", chance.one(&["beginning", "end"])),
            format!("{{\"partitions\":[{partitions}]}}"),
        ),
        _ => ("DELETE", at, String::new()),
    };
    Draft {
        method: method(chance, usual),
        target,
        kind: V2,
        body: body.into_bytes(),
        records: None,
    }
}

fn stream(chance: &mut Chance) -> Draft {
    let name = name(chance);
    let at = format!("/streams/{}", encoded(chance, &name));
    let (_, value) = entry(chance, false);
    let value = value.unwrap_or("null".to_owned());
    let key = *chance.one(&[
        "\"partition-1\"",
        "7",
        "null",
        "\"\\ud800\"",
        "\"x_pin\"",
        "{}",
    ]);
    let number = *chance.one(&NUMBERS);
    let kind = *chance.one(&[
        "TRIM_HORIZON",
        "LATEST",
        "AT_SEQUENCE_NUMBER",
        "AT_TIMESTAMP",
        "x",
    ]);
    let (usual, target, body) = match chance.below(10) {
        0 => (
            "GET",
            format!("/streams?Limit={number}&ExclusiveStartStreamName={name}")
                .replace([' ', '\u{1}'], "%20"),
            String::new(),
        ),
        1 => ("GET", at, String::new()),
        2 => ("POST", at, format!("{{\"ShardCount\":{number}}}")),
        3 => ("DELETE", at, String::new()),
        4 | 5 => (
            "PUT",
            format!("{at}/record"),
            format!("{{\"StreamName\":\"x\",\"Data\":{value},\"PartitionKey\":{key}}}"),
        ),
        6 | 7 => (
            "PUT",
            format!("{at}/records"),
            format!("{{\"records\":[{{\"data\":{value},\"partition-key\":{key}}},{{}}]}}"),
        ),
        8 => (
            "GET",
            format!(
                "{at}/sharditerator?shard-id=shardId-00000000000{}&iterator-type={kind}&sequence-number={number}&timestamp={number}",
                chance.below(10)
            ),
            String::new(),
        ),
        _ => ("GET", format!("{at}/records?Limit={number}"), String::new()),
    };
    Draft {
        method: method(chance, usual),
        target: target
            .chars()
            .map(|c| {
                if c.is_ascii() {
                    c.to_string()
                } else {
                    "%C3%BC".to_owned()
                }
            })
            .collect(),
        kind: "application/json",
        body: body.into_bytes(),
        records: None,
    }
}

/// Writes a request, with its body in one of the ways there are; then damages it, or not.
fn written(chance: &mut Chance, draft: Draft) -> Request {
    let Draft {
        method,
        target,
        kind,
        body,
        records,
    } = draft;
    let host = *chance.one(&[
        "localhost",
        "127.0.0.1:80",
        "[::1]",
        "localhost",
        "LOCALHOST:1",
    ]);
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    if !kind.is_empty() {
        head.push_str(&format!(
            "Content-Type: {kind}\r\nAccept: {}\r\n",
            chance.one(&[kind, "*/*"])
        ));
    }
    for _ in 0..chance.below(3) {
        let line = *chance.one(&[
            "X-Api-Key: wrong\r\n",
            "Shard-Iterator: AAAA\r\n",
            "Shard-Iterator: eyJzdHJlYW0iOiJzIiwic2hhcmQiOjQyOTQ5NjcyOTUsIm5leHQiOltdfQ\r\n",
            "If-None-Match: *\r\n",
            "Accept: application/vnd.apache.arrow.stream\r\n",
            "Accept-Encoding: gzip\r\n",
            "Origin: http://127.0.0.1\r\n",
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n",
            "X-Bytes: \x7e\u{80}\u{ff}\r\n",
        ]);
        head.push_str(line);
    }
    let mut whole = true;
    let mut content = Vec::new();
    if body.is_empty() && !["POST", "PUT"].contains(&method.as_str()) {
    } else if chance.rarely(4) {
        head.push_str("Transfer-Encoding: chunked\r\n");
        let mut rest = body.as_slice();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(1 + chance.below(rest.len()));
            content.extend(format!("{:x}{}\r\n", piece.len(), chance.one(&["", ";x=y"])).bytes());
            content.extend(piece);
            content.extend(b"\r\n");
            rest = behind;
        }
        content.extend(b"0\r\n");
        content.extend(chance.one(&["", "X-Trailer: 1\r\n"]).bytes());
        content.extend(b"\r\n");
    } else {
        let length = match chance.rarely(20) {
            true => {
                whole = false;
                (*chance.one(&NUMBERS)).to_owned()
            }
            false => body.len().to_string(),
        };
        head.push_str(&format!("Content-Length: {length}\r\n"));
        content = body;
    }
    if chance.rarely(40) {
        whole = false;
        let line = *chance.one(&[
            "Content-Length: 3\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Expect: 100-continue\r\n",
            "Upgrade: websocket\r\nConnection: upgrade\r\n",
        ]);
        head.push_str(line);
    }
    let mut bytes = head.into_bytes();
    bytes.extend(b"\r\n");
    bytes.extend(content);
    if chance.rarely(3) {
        whole = false;
        damage(chance, &mut bytes);
    } else if chance.rarely(12) {
        // Others behind it on the same connection.
        let again = bytes.clone();
        whole = false;
        bytes.extend(again.repeat(chance.below(20)));
    }
    Request {
        bytes,
        whole,
        records: records.filter(|_| whole),
    }
}
