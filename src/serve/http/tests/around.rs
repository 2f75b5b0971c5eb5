//! What is around the views: health, status, and the address.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use expect_test::expect;

use super::{Running, SOON};
use crate::serve::http::{Served, serve};
use crate::serve::status::Health;
use crate::sql::Session;

#[test]
fn health_is_a_status_code_and_a_reason() {
    let running = Running::start(SOON);
    running.check(
        "/healthz",
        200,
        expect![[r#"
        ok
    "#]],
    );
    running
        .status
        .set_health(Health::Ailing("the lake is away".to_owned()));
    running.check(
        "/healthz",
        503,
        expect![[r#"
        the lake is away
    "#]],
    );
    running.status.set_health(Health::Healthy);
    running.now_ms.store(0x2000 + 3_600_000, Ordering::Relaxed);
    running.check(
        "/healthz",
        503,
        expect![[r#"
        no epoch has closed for 3604 s
    "#]],
    );
    running.stop();
}

#[test]
fn a_page_of_another_site_gets_no_answer() {
    let running = Running::start(SOON);
    let foreign = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "no-cors"),
    ];
    assert_eq!(running.get("/views", &foreign).status, 403);
    let followed = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
    ];
    assert_eq!(running.get("/views", &followed).status, 200);
    let rebound = running.get_from("rebound.example", "/views", &[]);
    assert_eq!(rebound.status, 421);
    let body = String::from_utf8(rebound.body).unwrap();
    assert!(body.contains("--allow-host rebound.example"), "{body}");
    running.stop();
}

#[test]
fn the_status_is_json() {
    let running = Running::start(SOON);
    running.status.read(0, 12, 1200);
    let answer = running.get("/status", &[]);
    let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(status["streams"][0]["records"], 12);
    assert_eq!(status["views"][0]["rows"], 3);
    assert_eq!(status["epoch"], 7);
    assert_eq!(status["uptime_ms"], 0x1000);
    running.stop();
}

#[test]
fn an_address_in_use_is_an_error_that_says_so() {
    let running = Running::start(SOON);
    let address = running.server.address();
    let served = Served {
        store: Arc::clone(&running.store),
        status: Arc::clone(&running.status),
        now_ms: Arc::new(|| 0),
        session: Arc::new(Session::new()),
        wait_at_most: SOON,
        hosts: Vec::new(),
    };
    let error = running
        .runtime
        .block_on(serve(served, address))
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(&format!(
            "cannot answer HTTP at {address}: Address already in use"
        )),
        "{text}"
    );
    assert!(
        text.ends_with("choose another address with --http"),
        "{text}"
    );
    running.stop();
}
