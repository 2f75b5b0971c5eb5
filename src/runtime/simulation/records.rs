//! What the sources hold: two streams of records, in partitions, from the beginning to the end.
//!
//! Records of a key are in one partition, as producers put them, so that "the latest" is a question
//! of offsets alone.

use std::time::Duration;

use super::chance::Chance;

/// The pipeline of the simulation.
pub(super) const SQL: &str = r#"
CREATE EXTERNAL TABLE item_raw (id BIGINT, shelf TEXT, n BIGINT) STORED AS JSON LOCATION 'item';
CREATE EXTERNAL TABLE price_raw (id BIGINT, price BIGINT) STORED AS JSON LOCATION 'price';
CREATE TABLE item (PRIMARY KEY (id)) AS SELECT id, shelf, n FROM item_raw;
CREATE TABLE price (PRIMARY KEY (id)) AS SELECT id, price FROM price_raw;
CREATE MATERIALIZED VIEW per_shelf AS
    SELECT shelf, count(*) AS items, sum(n) AS total, max(n) AS top FROM item GROUP BY shelf;
CREATE MATERIALIZED VIEW worth AS
    SELECT id, shelf, n * price AS worth FROM item JOIN price USING (id);
"#;

/// The streams, in the definition's order.
pub(super) const STREAMS: [&str; 2] = ["item", "price"];

/// Records that can become no row: cut short, no object, without a key or with one that is none.
const BROKEN: [&str; 6] = [
    "{\"id\": ",
    "[]",
    "{\"n\": 1}",
    "{\"id\": \"x\"}",
    "{\"id\": [1]}",
    "no JSON",
];

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The row of a key: shelf and number, or the price.
    Row { id: i64, shelf: u8, n: i64 },
    /// The deletion of a key.
    Delete { id: i64 },
    /// Nothing that could become a row.
    Broken(String),
}

/// A record of a partition, and since when it is there.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) said: Said,
    pub(super) since: Duration,
}

impl Record {
    /// Its bytes, or the key of a tombstone.
    pub(super) fn text(&self, stream: usize) -> Result<String, String> {
        match (&self.said, stream) {
            (Said::Row { id, shelf, n }, 0) => {
                let shelf = shelf_name(*shelf);
                Ok(format!(r#"{{"id": {id}, "shelf": "{shelf}", "n": {n}}}"#))
            }
            (Said::Row { id, n, .. }, _) => Ok(format!(r#"{{"id": {id}, "price": {n}}}"#)),
            (Said::Broken(text), _) => Ok(text.clone()),
            (Said::Delete { id }, _) => Err(id.to_string()),
        }
    }
}

pub(super) fn shelf_name(shelf: u8) -> String {
    format!("shelf {shelf}")
}

/// A partition of a stream.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub(super) stream: usize,
    pub(super) name: String,
    pub(super) records: Vec<Record>,
}

/// All partitions of all streams; `long` ones come in the course of many commits.
pub(super) fn partitions(chance: &mut Chance, long: bool) -> Vec<Partition> {
    let mut partitions = Vec::new();
    let keys = 2 + chance.below(12);
    // Long enough, now and then, for logs to be tidied and old checkpoints to go.
    let most = if long || chance.once_in(30) { 200 } else { 40 };
    for stream in 0..STREAMS.len() {
        let count = 1 + chance.small(3);
        for partition in 0..count {
            let records = match long {
                true => chance.below(most),
                false => chance.small(most),
            };
            // Some bring all at once, others a record now and then.
            let between = *one(chance, if long { &[5, 10, 30] } else { &[0, 5, 30] });
            let mut since = Duration::ZERO;
            let mut made: Vec<Record> = Vec::new();
            for _ in 0..records {
                since += chance.pause(between.max(1)) * u32::from(between > 0);
                let said = match chance.below(20) {
                    0 => Said::Broken(one(chance, &BROKEN).to_string()),
                    1..=3 => Said::Delete {
                        id: key(chance, keys, count, partition),
                    },
                    // A copy of something said before.
                    4..=6 if !made.is_empty() => one(chance, &made).said.clone(),
                    _ => Said::Row {
                        id: key(chance, keys, count, partition),
                        shelf: chance.below(3) as u8,
                        n: chance.below(7) as i64 - 2,
                    },
                };
                made.push(Record { said, since });
            }
            partitions.push(Partition {
                stream,
                name: partition.to_string(),
                records: made,
            });
        }
    }
    partitions
}

fn key(chance: &mut Chance, keys: u64, partitions: u64, partition: u64) -> i64 {
    (chance.below(keys) * partitions + partition) as i64
}

fn one<'a, T>(chance: &mut Chance, choices: &'a [T]) -> &'a T {
    &choices[chance.below(choices.len() as u64) as usize]
}
