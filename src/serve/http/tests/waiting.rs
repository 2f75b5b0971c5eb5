//! Who asks again, and who waits for something new.

use super::{LATE, Running, SOON, delta};

#[test]
fn a_view_is_sent_again_only_when_it_changed() {
    let running = Running::start(SOON);
    let path = "/views/posts_by_category";
    let first = running.get(path, &[]);
    let etag = first.header("etag").unwrap().to_owned();
    let again = |etag: &str| running.get(path, &[("if-none-match", etag)]);
    running.store.publish(8, vec![]);
    let unchanged = again(&etag);
    assert_eq!(
        (unchanged.status, unchanged.header("x-pinflow-epoch")),
        (304, Some("8"))
    );
    assert_eq!(unchanged.header("etag"), Some(etag.as_str()));
    running
        .store
        .publish(9, vec![(0, delta(&[("art", 3, -1)]))]);
    assert_eq!(again(&etag).status, 200);
    assert_eq!(again("*").status, 304);
    running.stop();
}

#[test]
fn who_waits_is_answered_when_there_is_something_new() {
    let running = Running::start(LATE);
    std::thread::scope(|scope| {
        let epoch = scope.spawn(|| running.get("/views/top_category?wait=7", &[]));
        let list = scope.spawn(|| running.get("/views?wait=7", &[]));
        running
            .store
            .publish(8, vec![(0, delta(&[("art", 3, -1), ("art", 4, 1)]))]);
        for answer in [epoch, list].map(|thread| thread.join().unwrap()) {
            assert_eq!(
                (answer.status, answer.header("x-pinflow-epoch")),
                (200, Some("8"))
            );
        }
        let change = scope.spawn(|| running.get("/views/top_category?changed_after=7", &[]));
        running
            .store
            .publish(9, vec![(0, delta(&[("art", 4, -1)]))]);
        running
            .store
            .publish(10, vec![(1, delta(&[("art", 3, 1)]))]);
        let answer = change.join().unwrap();
        assert_eq!(
            (answer.status, answer.header("x-pinflow-epoch")),
            (200, Some("10"))
        );
    });
    running.stop();
}

#[test]
fn who_waits_too_long_is_sent_away() {
    let running = Running::start(SOON);
    for path in [
        "/views/top_category?wait=7",
        "/views/top_category?changed_after=7",
        "/views?wait=7",
    ] {
        let answer = running.get(path, &[]);
        assert_eq!(
            (answer.status, answer.header("x-pinflow-epoch")),
            (304, Some("7")),
            "{path}"
        );
    }
    running.stop();
}

#[test]
fn a_server_that_stops_does_not_wait_for_those_who_wait() {
    let running = Running::start(LATE);
    let address = running.server.address();
    std::thread::scope(|scope| {
        let (connected, is_connected) = std::sync::mpsc::channel();
        let waiter = scope.spawn(move || {
            use std::io::{Read, Write};
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream
                .write_all(b"GET /views?wait=7 HTTP/1.1\r\nhost: x\r\n\r\n")
                .unwrap();
            connected.send(()).unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
        });
        is_connected.recv().unwrap();
        let start = std::time::Instant::now();
        running.stop();
        assert!(start.elapsed() < LATE / 2);
        waiter.join().unwrap();
    });
    assert!(std::net::TcpStream::connect(address).is_err());
}
