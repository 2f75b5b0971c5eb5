//! Which records are read, from where on, and what is done about those that are gone.

use super::*;
use crate::source::Position;

#[test]
fn every_record_of_every_partition_is_read_and_then_it_ends() {
    let cluster = cluster(&[("a.pin", 3), ("a.geo", 1)]);
    for partition in 0..3 {
        send(&cluster, "a.pin", partition, numbered(partition, 0, 500));
    }
    let streams = vec!["geo".to_owned(), "pin".to_owned()];
    let address = address(&cluster, "topic_prefix=a.");
    let mut source = KafkaSource::open(&address, Opening::whole(streams)).unwrap();
    let chunks = read_all(&mut source);
    assert!(chunks.iter().all(|chunk| chunk.stream == 1));
    for partition in 0..3 {
        let name = format!("a.pin/partition={partition}");
        assert_eq!(records(&chunks, &name), expected(partition, 0, 500));
    }
    assert!(matches!(source.read(1), Ok(Read::End)));
}

#[test]
fn reading_goes_on_where_it_was_left() {
    let cluster = cluster(&[("pin", 2)]);
    send(&cluster, "pin", 0, numbered(0, 0, 100));
    send(&cluster, "pin", 1, numbered(1, 0, 100));
    let at = |offset| Position {
        offset,
        token: String::new(),
    };
    let mut opening = pin(true);
    opening
        .positions
        .insert("pin/pin/partition=0".to_owned(), at(60));
    opening
        .positions
        .insert("pin/pin/partition=1".to_owned(), at(100));
    let mut source = KafkaSource::open(&address(&cluster, ""), opening).unwrap();
    let chunks = read_all(&mut source);
    assert_eq!(records(&chunks, "pin/partition=0"), expected(0, 60, 100));
    assert_eq!(records(&chunks, "pin/partition=1"), []);
}

#[test]
fn a_topic_that_appears_later_is_read_from_its_beginning() {
    let cluster = cluster(&[("a.pin", 1)]);
    send(&cluster, "a.pin", 0, numbered(0, 0, 3));
    let mut source = KafkaSource::open(&address(&cluster, "start=latest"), pin(false)).unwrap();
    cluster.create_topic("b.pin", 2, 1).unwrap();
    send(&cluster, "b.pin", 1, numbered(1, 0, 10));
    let chunks = read_until(&mut source, |chunk| {
        chunk.partition == "b.pin/partition=1" && chunk.end.offset == 10
    });
    assert_eq!(records(&chunks, "b.pin/partition=1"), expected(1, 0, 10));
    assert_eq!(
        records(&chunks, "a.pin/partition=0"),
        [],
        "it began behind these"
    );
}

#[test]
fn starting_at_the_end_is_noted_in_the_position() {
    let cluster = cluster(&[("pin", 1)]);
    send(&cluster, "pin", 0, numbered(0, 0, 50));
    let address = address(&cluster, "start=latest");
    let mut source = KafkaSource::open(&address, pin(false)).unwrap();
    let first = read_until(&mut source, |_| true).remove(0);
    assert_eq!((first.first_offset, &first.bytes[..]), (49, &b"\n"[..]));
    drop(source);
    send(&cluster, "pin", 0, numbered(0, 50, 60));
    let mut opening = pin(true);
    opening
        .positions
        .insert("pin/pin/partition=0".to_owned(), first.end);
    let mut source = KafkaSource::open(&address, opening).unwrap();
    let chunks = read_all(&mut source);
    assert_eq!(records(&chunks, "pin/partition=0"), expected(0, 50, 60));
}

#[test]
fn tombstones_are_deletes() {
    let cluster = cluster(&[("pin", 1)]);
    let record = Some("{\"index\":7}".to_owned());
    send(
        &cluster,
        "pin",
        0,
        [
            (Some("7"), record.clone()),
            (Some("7"), None),
            (None, None),
            (None, record),
        ],
    );
    let mut source = KafkaSource::open(&address(&cluster, ""), pin(true)).unwrap();
    let chunks = read_all(&mut source);
    let bytes: Vec<u8> = chunks
        .iter()
        .flat_map(|chunk| chunk.bytes.to_vec())
        .collect();
    assert_eq!(bytes, b"{\"index\":7}\n\nnull\n{\"index\":7}\n");
    let deletes: Vec<_> = chunks
        .iter()
        .flat_map(|chunk| chunk.deletes.clone())
        .collect();
    assert_eq!(deletes.len(), 1);
    assert_eq!((deletes[0].offset, &deletes[0].key[..]), (1, &b"7"[..]));
}

#[test]
fn processes_share_the_partitions() {
    let cluster = cluster(&[("pin", 8)]);
    for partition in 0..8 {
        send(&cluster, "pin", partition, numbered(partition, 0, 10));
    }
    let mut seen = Vec::new();
    for process in 0..3 {
        let opening = Opening {
            process,
            processes: 3,
            ..pin(true)
        };
        let mut source = KafkaSource::open(&address(&cluster, ""), opening).unwrap();
        let mut mine: Vec<String> = read_all(&mut source)
            .into_iter()
            .map(|chunk| chunk.partition)
            .collect();
        mine.dedup();
        seen.extend(mine);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 8, "{seen:?}");
}

#[test]
fn a_position_behind_the_end_is_an_error_unless_decided() {
    let cluster = cluster(&[("pin", 1)]);
    send(&cluster, "pin", 0, numbered(0, 0, 10));
    let mut opening = pin(false);
    let position = Position {
        offset: 100,
        token: String::new(),
    };
    opening
        .positions
        .insert("pin/pin/partition=0".to_owned(), position);
    let mut source = KafkaSource::open(&address(&cluster, ""), opening.clone()).unwrap();
    let said = failure(&mut source);
    assert!(said.contains("pin/partition=0 at offset 100"), "{said}");
    assert!(said.contains("ends at offset 10"), "{said}");
    assert!(said.contains("--on-lost-offsets"), "{said}");

    let earliest = address(&cluster, "on_lost_offsets=earliest");
    let mut source = KafkaSource::open(&earliest, opening.clone()).unwrap();
    let chunks = read_until(&mut source, |chunk| chunk.end.offset == 10);
    assert_eq!(records(&chunks, "pin/partition=0"), expected(0, 0, 10));

    let latest = address(&cluster, "on_lost_offsets=latest");
    let mut source = KafkaSource::open(&latest, opening).unwrap();
    let noted = read_until(&mut source, |_| true);
    assert_eq!(
        noted[0].end.offset, 10,
        "the choice is part of the position"
    );
    send(&cluster, "pin", 0, numbered(0, 10, 12));
    let chunks = read_until(&mut source, |chunk| chunk.end.offset == 12);
    assert_eq!(records(&chunks, "pin/partition=0"), expected(0, 10, 12));
}

/// The mock keeps 100,000 batches or 5 MB of a partition.
#[test]
fn records_that_are_gone_are_counted() {
    let cluster = cluster(&[("pin", 1)]);
    let large = "x".repeat(1000);
    let records = (0..8000).map(|_| (None, Some(large.clone())));
    send(&cluster, "pin", 0, records);
    let mut opening = pin(true);
    let position = Position {
        offset: 5,
        token: String::new(),
    };
    opening
        .positions
        .insert("pin/pin/partition=0".to_owned(), position);
    let mut source = KafkaSource::open(&address(&cluster, ""), opening.clone()).unwrap();
    let said = failure(&mut source);
    let mut source = KafkaSource::open(&address(&cluster, ""), pin(true)).unwrap();
    let low = read_all(&mut source)[0].first_offset;
    assert!(low > 5);
    assert!(
        said.contains(&format!("{} records from offset 5 on are gone", low - 5)),
        "{said}"
    );
    let go_on = address(&cluster, "on_lost_offsets=earliest");
    let mut source = KafkaSource::open(&go_on, opening).unwrap();
    let chunks = read_all(&mut source);
    assert_eq!(
        super::records(&chunks, "pin/partition=0").len() as u64,
        8000 - low
    );
}
