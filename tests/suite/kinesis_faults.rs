//! Kinesis as a source: throttling, full queues, records that are gone, and what cannot be read.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pinflow::source::{Position, Read, Source};

use crate::support::ferro::Ferro;
use crate::support::kinesis::{Lake, Setting, WITHIN, numbered, texts};

#[test]
fn throttling_and_expired_iterators_pass_unnoticed() {
    let ferro = Ferro::with(|options| options.iterator_ttl_seconds = 1);
    let setting = Setting::new(&ferro.endpoint);
    setting.create("pin", 1);
    // More than the three tries of the client itself.
    ferro.desk.refuse_reads.store(5, Ordering::SeqCst);
    let mut lake = Lake::default();
    let mut source = setting.open("pin", "&poll_ms=1500", lake.opening(false));
    for round in 1..=3 {
        setting.put("pin", &numbered(&["a"], 10));
        lake.read(&mut source, |lake| lake.count() == round * 10)
            .expect("it is read");
    }
    assert_eq!(ferro.desk.refused.load(Ordering::SeqCst), 5);
    assert!(
        ferro.desk.iterators.load(Ordering::SeqCst) >= 3,
        "each iterator expires before it is used again"
    );
    assert_eq!(
        lake.lines[&0],
        texts(
            &[
                numbered(&["a"], 10),
                numbered(&["a"], 10),
                numbered(&["a"], 10)
            ]
            .concat()
        )
    );
}

#[test]
fn what_is_fetched_and_not_read_stays_within_the_budget() {
    let ferro = Ferro::start();
    let setting = Setting::new(&ferro.endpoint);
    setting.create("pin", 4);
    let record = |n: usize| {
        (
            format!("key-{n}"),
            format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(1000)).into_bytes(),
        )
    };
    setting.put("pin", &(0..8000).map(record).collect::<Vec<_>>());
    let mut lake = Lake::default();
    let mut opening = lake.opening(true);
    opening.budget_bytes = 1 << 20;
    let mut source = setting.open("pin", "", opening);
    let (mut handed, mut waiting_most) = (0u64, 0);
    let begun = Instant::now();
    loop {
        match source.read(1 << 20).expect("it is read") {
            Read::Chunk(chunk) => {
                handed += chunk.bytes.len() as u64;
                lake.commit(chunk);
            }
            Read::End => break,
            Read::Idle => std::thread::sleep(Duration::from_millis(1)),
        }
        // Answers are base64 in JSON: four bytes for three, and some around them.
        let fetched = ferro.desk.read_bytes.load(Ordering::SeqCst) * 2 / 3;
        waiting_most = waiting_most.max(fetched.saturating_sub(handed));
        assert!(begun.elapsed() < WITHIN, "not within {WITHIN:?}");
    }
    assert_eq!(lake.count(), 8000);
    eprintln!("at most {waiting_most} bytes waited");
    assert!(
        waiting_most < 2 << 20,
        "{waiting_most} bytes waited, with a budget of {}",
        1 << 20
    );
}

#[test]
fn records_that_retention_took_are_an_error_or_a_choice() {
    let ferro = Ferro::start();
    let setting = Setting::new(&ferro.endpoint);
    setting.create("pin", 1);
    setting.put("pin", &numbered(&["a"], 5));
    let mut lake = Lake::default();
    lake.read_to_end(&mut setting.open("pin", "", lake.opening(true)))
        .expect("it is read");
    // As if that had been in 2001.
    for position in lake.positions.values_mut() {
        let place = position
            .token
            .split(';')
            .next()
            .expect("a place")
            .to_owned();
        position.token = format!("{place};seen=1000000000000");
    }
    setting.put("pin", &numbered(&["b"], 5));
    let error = lake.read_to_end(&mut setting.open("pin", "", lake.opening(true)));
    let text = error.expect_err("records may be lost").to_string();
    for part in [
        "pin/shardId-000000000000",
        "1000000000000",
        "24 hours",
        "on_lost_records=earliest",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let mut source = setting.open("pin", "&on_lost_records=earliest", lake.opening(true));
    lake.read_to_end(&mut source).expect("it goes on");
    assert_eq!(
        lake.lines[&0],
        texts(&[numbered(&["a"], 5), numbered(&["b"], 5)].concat())
    );
}

#[test]
fn what_cannot_be_read_is_told() {
    let ferro = Ferro::start();
    let setting = Setting::new(&ferro.endpoint);
    setting.create("my-pin", 1);
    setting.create("my-other", 1);
    let refused = |streams: &str, options: &str, positions: &[(&str, &str)]| {
        let mut lake = Lake::default();
        for (key, token) in positions {
            let position = Position {
                offset: 1,
                token: (*token).to_owned(),
            };
            lake.positions.insert((*key).to_owned(), position);
        }
        let mut source = setting.open(streams, options, lake.opening(true));
        lake.read_to_end(&mut source)
            .expect_err("it is refused")
            .to_string()
    };
    let missing = refused("my-pins", "", &[]);
    assert!(
        missing.contains("there is no such Kinesis stream; there are my-other, my-pin"),
        "{missing}"
    );
    let nothing = refused("your-*", "", &[]);
    assert!(nothing.contains("no Kinesis stream fits"), "{nothing}");
    let silent = refused("my-o*", "", &[]);
    assert!(
        silent.contains("my-other") && silent.contains("pin, geo, user"),
        "{silent}"
    );
    let unknown = refused("x=my-pin", "", &[]);
    assert!(
        unknown.contains("the definition has no stream `x`"),
        "{unknown}"
    );
    let unrouted = refused("my-other", "&unrouted=x", &[]);
    assert!(
        unrouted.contains("the definition has no stream `x`"),
        "{unrouted}"
    );
    let gone = refused("my-pin", "", &[("pin/my-pin/shardId-000000000007", "5")]);
    assert!(
        gone.contains("my-pin/shardId-000000000007") && gone.contains("on_lost_records=earliest"),
        "{gone}"
    );
    let foreign = refused(
        "my-pin",
        "",
        &[("pin/my-pin/shardId-000000000000", "12:0:a.json")],
    );
    assert!(foreign.contains("12:0:a.json"), "{foreign}");
    let other = "49600000000000000000000000000000000000000000000000000002";
    let other = refused("my-pin", "", &[("pin/my-pin/shardId-000000000000", other)]);
    assert!(other.contains("is not what was read before"), "{other}");
    drop(ferro);
    let silent = refused("my-pin", "", &[]);
    assert!(silent.contains("failed at my-pin"), "{silent}");
}
