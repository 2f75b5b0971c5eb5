//! What is around the views: health, status, and the address.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use expect_test::expect;

use super::{Running, SOON};
use crate::serve::http::{Served, serve};
use crate::serve::status::Complaint;
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
    running.now_ms.store(0x2000 + 3_600_000, Ordering::Relaxed);
    running.check(
        "/healthz",
        503,
        expect![[r#"
        no epoch has closed for 3600 s
    "#]],
    );
    let away = Complaint::Ailing("the lake is away".to_owned());
    running.status.check(move || Some(away.clone()));
    running.check(
        "/healthz",
        503,
        expect![[r#"
        the lake is away
    "#]],
    );
    running.stop();
}

#[test]
fn while_the_state_is_loaded_views_are_not_answered_as_if_they_were_empty() {
    let running = Running::loading(SOON);
    running.status.to_load(2, 5000);
    running.status.loaded(1500);
    for path in [
        "/views",
        "/views?wait=0",
        "/views/top_category",
        "/views/top_category?changed_after=0",
    ] {
        let answer = running.get(path, &[]);
        let body = String::from_utf8(answer.body.clone()).unwrap();
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, Some("1"))
        );
        assert!(body.contains("1,500 of 5,000 rows are loaded"), "{body}");
    }
    assert_eq!(running.get("/views/nothing", &[]).status, 404);
    assert_eq!(running.get("/healthz", &[]).status, 503);
    assert_eq!(running.get("/status", &[]).status, 200);
    running.status.closed(7, 0x2000);
    assert_eq!(running.get("/views/top_category", &[]).status, 200);
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
    running.status.read(0, 12, 1200, 0);
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
