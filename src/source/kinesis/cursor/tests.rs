//! What becomes of a shard's records.

use super::*;

const STREAMS: [&str; 2] = ["pin", "geo"];

fn shared() -> Routing {
    Routing::ByKey {
        names: STREAMS.map(str::to_owned).to_vec(),
        rest: super::super::route::Rest::DeadLetter,
    }
}

fn cursor(tokens: [(u64, &str); 2], default: Option<Place>) -> Cursor {
    let position = |index: usize| Position {
        offset: tokens[index].0,
        token: tokens[index].1.to_owned(),
    };
    Cursor::new(
        "s/shardId-0".to_owned(),
        shared(),
        None,
        position,
        default,
        1_000_000,
    )
    .expect("positions are good")
}

fn fresh() -> Cursor {
    cursor([(0, ""), (0, "")], Some(Place::Beginning))
}

/// Records `(sequence number, partition key)`; the data is `{}` and the number.
fn answer(cursor: &mut Cursor, records: &[(u32, &str)], now_ms: i64) -> Vec<String> {
    let texts: Vec<(String, String)> = records
        .iter()
        .map(|(number, _)| (number.to_string(), format!("{{\"n\":{number}}}")))
        .collect();
    let records: Vec<Record<'_>> = records
        .iter()
        .zip(&texts)
        .map(|((number, key), (sequence, data))| Record {
            sequence: Sequence::new(sequence).expect("digits"),
            partition_key: key,
            arrival_ms: Some(i64::from(*number) * 1000),
            data: data.as_bytes(),
        })
        .collect();
    short(cursor.take(&records, 7, now_ms))
}

/// Chunks in short: `pin 0+2 {"n":1} {"n":2} -> 2 2`.
fn short(chunks: Vec<Chunk>) -> Vec<String> {
    let text = |chunk: &Chunk| {
        let lines = String::from_utf8_lossy(&chunk.bytes)
            .replace("{\"n\":", "")
            .replace('}', "")
            .replace('\n', " ");
        let place = chunk
            .end
            .token
            .split(";seen")
            .next()
            .unwrap_or_default()
            .to_owned();
        let end = if chunk.end.token.ends_with(";end") {
            " end"
        } else {
            ""
        };
        format!(
            "{} {}+{} [{}] -> {} {place}{end}",
            STREAMS[chunk.stream],
            chunk.first_offset,
            chunk.records,
            lines.trim_end_matches(' '),
            chunk.end.offset
        )
    };
    chunks.iter().map(text).collect()
}

#[test]
fn streams_get_their_records_and_their_own_offsets() {
    let mut cursor = fresh();
    assert_eq!(
        short(cursor.begin()),
        ["pin 0+0 [] -> 0 -", "geo 0+0 [] -> 0 -"]
    );
    assert_eq!(
        answer(
            &mut cursor,
            &[(1, "a_pin"), (2, "a_geo"), (3, "a_pin")],
            1_000_000
        ),
        ["pin 0+2 [1 3] -> 2 3", "geo 0+1 [2] -> 1 3"]
    );
    assert_eq!(
        answer(&mut cursor, &[(4, "a_pin")], 1_000_100),
        ["pin 2+1 [4] -> 3 4"]
    );
    // After a second a stream without records is told where the shard is.
    assert_eq!(
        answer(&mut cursor, &[(5, "a_pin")], 1_002_000),
        ["pin 3+1 [5] -> 4 5", "geo 1+0 [] -> 1 5"]
    );
    assert_eq!(
        cursor.place(),
        Place::After(Sequence::new("5").expect("digits"))
    );
}

#[test]
fn what_the_server_repeats_is_dropped() {
    let mut cursor = fresh();
    answer(&mut cursor, &[(1, "pin"), (2, "pin")], 1_000_000);
    assert_eq!(
        answer(
            &mut cursor,
            &[(1, "pin"), (2, "pin"), (3, "pin")],
            1_000_000
        ),
        ["pin 2+1 [3] -> 3 3"]
    );
}

#[test]
fn after_a_partial_commit_each_stream_goes_on_at_its_own_position() {
    let mut cursor = cursor([(2, "3;seen=5"), (0, "-")], Some(Place::Beginning));
    assert_eq!(short(cursor.begin()), Vec::<String>::new());
    assert_eq!(cursor.place(), Place::Beginning);
    assert_eq!(
        answer(
            &mut cursor,
            &[(1, "pin"), (2, "geo"), (3, "pin")],
            1_000_000
        ),
        ["geo 0+1 [2] -> 1 3"]
    );
    assert_eq!(
        answer(&mut cursor, &[(4, "pin")], 1_000_000),
        ["pin 2+1 [4] -> 3 4"]
    );
}

#[test]
fn the_end_is_an_offset_without_record_and_holds_for_the_streams_that_had_it() {
    let mut both = fresh();
    answer(&mut both, &[(1, "pin")], 1_000_000);
    assert_eq!(
        short(both.end()),
        ["pin 1+1 [] -> 2 1 end", "geo 0+1 [] -> 1 1 end"]
    );
    let mut one = cursor([(2, "1;end"), (0, "-")], None);
    assert_eq!(
        answer(&mut one, &[(1, "pin")], 1_002_000),
        ["geo 0+0 [] -> 0 1"]
    );
    assert_eq!(short(one.end()), ["geo 0+1 [] -> 1 1 end"]);
}

#[test]
fn a_new_stream_begins_at_the_default_or_with_the_others() {
    assert_eq!(
        cursor([(2, "7"), (0, "")], Some(Place::Beginning)).place(),
        Place::Beginning
    );
    let mut joined = cursor([(2, "7"), (0, "")], None);
    assert_eq!(short(joined.begin()), ["geo 0+0 [] -> 0 7"]);
}

#[test]
fn what_arrived_before_the_start_is_dropped_until_the_first_that_did_not() {
    let mut cursor = cursor([(0, ""), (0, "")], Some(Place::Time(4_000)));
    assert_eq!(short(cursor.begin())[0], "pin 0+0 [] -> 0 @4000");
    assert_eq!(
        answer(
            &mut cursor,
            &[(1, "pin"), (2, "pin"), (4, "pin"), (5, "geo")],
            1_000_000
        ),
        ["pin 0+1 [4] -> 1 5", "geo 0+1 [5] -> 1 5"]
    );
}

#[test]
fn a_record_without_stream_becomes_a_dead_letter_of_the_first() {
    let mut cursor = fresh();
    assert_eq!(
        answer(&mut cursor, &[(1, "partition-1")], 1_000_000),
        [
            "pin 0+1 [Kinesis record whose partition key \"partition-1\" names no stream, sequence number 1: 1] -> 1 1"
        ]
    );
}

#[test]
fn an_idle_shard_is_marked_now_and_then() {
    let mut cursor = fresh();
    answer(&mut cursor, &[(1, "pin")], 1_000_000);
    assert_eq!(answer(&mut cursor, &[], 1_010_000), Vec::<String>::new());
    assert_eq!(
        answer(&mut cursor, &[], 1_000_000 + MARK_EVERY_MS),
        ["pin 1+1 [] -> 2 1", "geo 0+1 [] -> 1 1"]
    );
    assert_eq!(
        answer(&mut cursor, &[], 1_000_001 + MARK_EVERY_MS),
        Vec::<String>::new()
    );
}

#[test]
fn retention_that_passed_the_last_look_may_have_lost_records() {
    let mut cursor = cursor([(2, "7;seen=1000"), (0, "7;seen=2000")], None);
    assert_eq!(cursor.lost_since(1_500, 600), None);
    assert_eq!(cursor.lost_since(1_601, 600), Some(1_000));
    cursor.accept_loss(1_601);
    assert_eq!(cursor.lost_since(1_700, 600), None);
    // While running there is some slack; `behind_ms` is 7 here.
    answer(&mut cursor, &[], 10_000_007);
    assert_eq!(cursor.lost_since(10_060_600, 600), None);
    assert_eq!(cursor.lost_since(10_060_601, 600), Some(10_000_000));
}

#[test]
fn a_position_of_another_source_is_refused() {
    let position = |_| Position {
        offset: 1,
        token: "12:0:a.json".to_owned(),
    };
    let refused = Cursor::new("p".to_owned(), shared(), None, position, None, 0);
    assert!(refused.expect_err("it is no token").contains("12:0:a.json"));
}
