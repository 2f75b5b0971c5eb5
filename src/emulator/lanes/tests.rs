//! The books of lanes, on a clock and with chances of the test's.

use proptest::prelude::*;

use super::*;
use crate::emulator::random::Topic;

const LIMITS: Limits = Limits {
    records: 4,
    bytes: 1000,
    keys_once: true,
};

fn lanes(width: usize, retries: u32) -> Lanes {
    let backoff = Backoff {
        first: Duration::from_millis(100),
        longest: Duration::from_secs(1),
        retries,
    };
    Lanes::new(1, width, LIMITS, backoff, Random::new(1, Topic::Jitter, 0))
}

fn record(key: u64, body: &str) -> Outgoing {
    Outgoing {
        stream: Stream::Pin,
        key: Some(key),
        body: body.to_owned().into(),
        is_json: true,
    }
}

fn bodies(batch: &Batch) -> Vec<&str> {
    let text =
        |record: &Outgoing| std::str::from_utf8(&record.body).unwrap().to_owned().leak() as &str;
    batch.records.iter().map(text).collect()
}

#[test]
fn a_request_holds_a_key_once_and_the_rest_follows_in_order() {
    let mut lanes = lanes(1, 3);
    for (key, body) in [
        (1, "1a"),
        (2, "2a"),
        (1, "1b"),
        (3, "3a"),
        (2, "2b"),
        (4, "4a"),
    ] {
        lanes.push(0, record(key, body));
    }
    let batch = lanes.next(Duration::ZERO).unwrap();
    assert_eq!(bodies(&batch), ["1a", "2a", "3a", "4a"]);
    assert!(lanes.next(Duration::ZERO).is_none(), "one request a lane");
    lanes
        .settle(batch, Answer::all(4), Duration::ZERO, &mut Tally::default())
        .unwrap();
    assert_eq!(bodies(&lanes.next(Duration::ZERO).unwrap()), ["1b", "2b"]);
}

#[test]
fn only_what_failed_is_sent_again_after_a_pause() {
    let mut lanes = lanes(1, 3);
    for key in 0..3 {
        lanes.push(0, record(key, &format!("{key}")));
    }
    let mut tally = Tally::default();
    let batch = lanes.next(Duration::ZERO).unwrap();
    let answer = Answer::Each(vec![
        Outcome::Acknowledged,
        Outcome::Again("slow down".into()),
        Outcome::Acknowledged,
    ]);
    let now = Duration::from_secs(10);
    lanes.settle(batch, answer, now, &mut tally).unwrap();
    let moment = lanes.next_moment().unwrap();
    assert!(moment >= now && moment <= now + Duration::from_millis(100));
    assert_eq!(bodies(&lanes.next(moment).unwrap()), ["1"]);
    assert_eq!((tally.acknowledged[0], tally.repeated), (2, 1));
}

#[test]
fn a_target_that_asks_for_time_gets_it() {
    let mut lanes = lanes(1, 3);
    lanes.push(0, record(1, "a"));
    let batch = lanes.next(Duration::ZERO).unwrap();
    let answer = Answer::Again {
        why: "429".into(),
        after: Some(Duration::from_secs(7)),
    };
    lanes
        .settle(batch, answer, Duration::ZERO, &mut Tally::default())
        .unwrap();
    assert_eq!(lanes.next_moment(), Some(Duration::from_secs(7)));
    assert!(lanes.next(Duration::from_millis(6_999)).is_none());
}

#[test]
fn a_rejected_request_is_taken_apart_until_the_record_at_fault_is_alone() {
    let mut lanes = lanes(1, 3);
    for key in 0..6 {
        lanes.push(0, record(key, &format!("{key}")));
    }
    let mut tally = Tally::default();
    let mut sizes = Vec::new();
    while let Some(batch) = lanes.next(Duration::ZERO) {
        sizes.push(batch.records.len());
        let answer = if batch.records.iter().any(|record| record.key == Some(2)) {
            Answer::Rejected("422".into())
        } else {
            Answer::all(batch.records.len())
        };
        lanes
            .settle(batch, answer, Duration::ZERO, &mut tally)
            .unwrap();
    }
    assert_eq!(sizes, [4, 1, 1, 1, 1, 2]);
    assert_eq!((tally.acknowledged[0], tally.refused[0]), (5, 1));
}

#[test]
fn after_the_last_retry_or_a_fatal_answer_it_is_given_up_and_nothing_is_forgotten() {
    let mut lanes = lanes(1, 2);
    lanes.push(0, record(1, "a"));
    let mut tally = Tally::default();
    let mut now = Duration::ZERO;
    let mut tries = 0;
    let why = loop {
        let batch = lanes.next(now).unwrap();
        tries += 1;
        if let Err(GiveUp(why)) = lanes.settle(batch, Answer::again("refused"), now, &mut tally) {
            break why;
        }
        now = lanes.next_moment().unwrap();
    };
    assert_eq!(tries, 3);
    assert_eq!(why, "tried 3 times, at last: refused");
    assert_eq!(lanes.queued(), 1);
}

proptest! {
    /// Whatever fails, each record is acknowledged once and those of a key in their order.
    #[test]
    fn nothing_is_lost_repeated_or_overtaken(
        keys in prop::collection::vec(0u64..6, 1..80),
        width in 1usize..4,
        seed: u64,
    ) {
        let mut lanes = lanes(width, u32::MAX - 1);
        for (number, key) in keys.iter().enumerate() {
            lanes.push(0, record(*key, &format!("{number}")));
        }
        let mut tally = Tally::default();
        let mut random = Random::new(seed, Topic::Post, 0);
        let (mut arrived, mut now, mut under_way) = (Vec::new(), Duration::ZERO, Vec::new());
        while !lanes.is_empty() {
            while let Some(batch) = lanes.next(now) {
                under_way.push(batch);
            }
            if under_way.is_empty() {
                now = lanes.next_moment().unwrap();
                continue;
            }
            let batch = under_way.swap_remove(random.below(under_way.len() as u32) as usize);
            let answer = match random.below(4) {
                0 => Answer::again("no answer"),
                1 => Answer::Rejected("something is wrong".into()),
                _ => Answer::Each(batch.records.iter().map(|_| match random.below(3) {
                    0 => Outcome::Again("throttled".into()),
                    _ => Outcome::Acknowledged,
                }).collect()),
            };
            let alone = batch.records.len() == 1;
            let answer = match answer {
                Answer::Rejected(_) if alone => Answer::all(1),
                answer => answer,
            };
            if let Answer::Each(outcomes) = &answer {
                for (record, outcome) in batch.records.iter().zip(outcomes) {
                    if *outcome == Outcome::Acknowledged {
                        arrived.push((record.key.unwrap(), String::from_utf8(record.body.to_vec()).unwrap().parse::<usize>().unwrap()));
                    }
                }
            }
            lanes.settle(batch, answer, now, &mut tally).unwrap();
        }
        prop_assert_eq!(arrived.len(), keys.len());
        prop_assert_eq!(tally.acknowledged[0] as usize, keys.len());
        for key in 0..6 {
            let of_key: Vec<usize> = arrived.iter().filter(|(it, _)| *it == key).map(|(_, n)| *n).collect();
            prop_assert!(of_key.is_sorted());
        }
    }
}
