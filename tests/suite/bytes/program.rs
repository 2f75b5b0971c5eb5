//! The program itself: only there an abort, the death of a worker, and the memory of all are seen.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;

use super::super::program::{Http, Running, interrupt, pinflow, wait};
use super::damage::shown;
use super::doors::{answer, ask, look};
use super::requests::{JSON, to_gateway, to_views};
use crate::support::seed::{Cases, Chance, again};

/// What the process may have had in memory at most, in kB.
const MEMORY_KB: u64 = 1 << 20;

#[test]
fn any_requests_leave_the_program_running_and_every_good_record_arrives() {
    let test = "suite::bytes::program::any_requests";
    let folder = TempDir::new().expect("there is room");
    let said = folder.path().join("said");
    let arguments = format!(
        "run --gateway 127.0.0.1:0 --http 127.0.0.1:0 --lake {} --tick 20 --commit-every 0.2 -w 2",
        folder.path().join("lake").display()
    );
    let mut command = pinflow(&arguments);
    command
        .stdout(Stdio::null())
        .stderr(File::create(&said).expect("there is room"));
    let mut process = Running(command.spawn().expect("it starts"));
    let [gateway, views] = addresses(&said);
    let http = Http(views.to_string());
    // While it starts, every view is answered 503, which `look` takes for a failure.
    let _ = http.json("/views/dead_letters");
    let cases = Cases::or(400);
    for seed in cases.seeds() {
        let mut chance = Chance::new(seed);
        for (to, request) in [
            (gateway, to_gateway(&mut chance)),
            (
                views,
                to_views(&mut chance, &["posts_by_year_category", "dead_letters"]),
            ),
        ] {
            // It would wait for an epoch that is far away.
            if memchr::memmem::find(&request.bytes, b"wait=").is_some()
                || memchr::memmem::find(&request.bytes, b"changed_after=").is_some()
            {
                continue;
            }
            let told = || format!("{}\n{}", again(test, seed), shown(&request.bytes));
            let said = ask(to, &request).unwrap_or_else(|why| panic!("{}\n{why}", told()));
            look(said, &request).unwrap_or_else(|why| panic!("{}\n{why}", told()));
        }
        let key = 700_000_000_000 + seed;
        let body = format!(
            "{{\"records\":[{{\"value\":{{\"index\":{key},\"category\":\"good ones\"}}}}]}}"
        );
        let usual = format!(
            "POST /topics/good.pin HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, body) =
            answer(gateway, usual.as_bytes()).expect("an ordinary record is answered");
        assert_eq!(status, 200, "{}: {body}", again(test, seed));
    }
    wait("every good record is counted", || {
        let view =
            http.json("/views/follower_errors_by_category?where=category%3D%27good%20ones%27");
        view["rows"][0]["posts"].as_u64() == Some(cases.count)
    });
    let memory = memory_kb(process.0.id());
    assert!(memory < MEMORY_KB, "the program had {memory} kB in memory");
    interrupt(&process);
    assert!(process.0.wait().expect("it is ours").success());
    let said = fs::read_to_string(&said).expect("it is there");
    assert!(!said.contains("panicked"), "{said}");
}

/// The addresses of gateway and views, once the program has told them.
fn addresses(said: &Path) -> [SocketAddr; 2] {
    let mut found: Vec<SocketAddr> = Vec::new();
    wait("the program tells its addresses", || {
        let text = fs::read_to_string(said).unwrap_or_default();
        let urls = text.split("http://").skip(1);
        found = urls
            .filter_map(|url| {
                url.split(|c: char| !c.is_ascii_digit() && !".:".contains(c))
                    .next()?
                    .parse()
                    .ok()
            })
            .collect();
        found.len() >= 2
    });
    [found[0], found[1]]
}

/// The most that a process has had in memory.
fn memory_kb(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kb.expect("the system tells it")
}
