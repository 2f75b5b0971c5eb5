//! A Kinesis server to read from, and a lake in memory to read into.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use pinflow::kinesis::KinesisAddress;
use pinflow::source::Kinesis;
use pinflow::source::{Chunk, Opening, Position, Read, Source, SourceError, position_key};
use tokio::runtime::Runtime;

use super::ferro::Ferro;
use super::kinesis_local::KinesisLocal;

/// What a test waits for comes within this, or not at all.
pub const WITHIN: Duration = Duration::from_secs(120);

pub const STREAMS: [&str; 3] = ["pin", "geo", "user"];

/// A server and a client of it.
pub struct Setting {
    pub runtime: Runtime,
    pub endpoint: String,
    pub client: Client,
}

impl Setting {
    pub fn new(endpoint: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let address: KinesisAddress = format!("kinesis://?endpoint={endpoint}")
            .parse()
            .expect("an address");
        let client = runtime.block_on(address.client()).expect("a client");
        Setting {
            runtime,
            endpoint: endpoint.to_owned(),
            client,
        }
    }

    pub fn create(&self, stream: &str, shards: i32) {
        self.runtime.block_on(async {
            self.client
                .create_stream()
                .stream_name(stream)
                .shard_count(shards)
                .send()
                .await
                .expect("it is created");
        });
        self.wait_active(stream);
    }

    pub fn is_active(&self, stream: &str) -> bool {
        let summary = self
            .client
            .describe_stream_summary()
            .stream_name(stream)
            .send();
        self.runtime.block_on(summary).is_ok_and(|answer| {
            let status = answer
                .stream_description_summary()
                .map(|summary| summary.stream_status().as_str().to_owned());
            status.as_deref() == Some("ACTIVE")
        })
    }

    pub fn wait_active(&self, stream: &str) {
        wait("the stream is active", || self.is_active(stream));
    }

    /// Puts records `(partition key, data)`, in order.
    pub fn put(&self, stream: &str, records: &[(String, Vec<u8>)]) {
        for part in records.chunks(500) {
            let entry = |(key, data): &(String, Vec<u8>)| {
                let entry = PutRecordsRequestEntry::builder()
                    .partition_key(key)
                    .data(Blob::new(data.clone()));
                entry.build().expect("key and data are there")
            };
            let entries = part.iter().map(entry).collect();
            let put = self
                .client
                .put_records()
                .stream_name(stream)
                .set_records(Some(entries))
                .send();
            let answer = self.runtime.block_on(put).expect("records are taken");
            assert_eq!(answer.failed_record_count().unwrap_or(0), 0, "{answer:?}");
        }
    }

    /// Opens `kinesis://<streams>` with these options.
    pub fn open(&self, streams: &str, options: &str, opening: Opening) -> Kinesis {
        let address = format!(
            "kinesis://{streams}?endpoint={}&poll_ms=10{options}",
            self.endpoint
        );
        let address: KinesisAddress = address.parse().expect("an address");
        Kinesis::open(address, opening, self.runtime.handle()).expect("it opens")
    }
}

/// Waits until something holds.
pub fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < WITHIN, "{what}: not within {WITHIN:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a lake has: positions, and the lines of each stream in the order in which they were
/// committed.
#[derive(Default)]
pub struct Lake {
    pub positions: BTreeMap<String, Position>,
    pub lines: BTreeMap<usize, Vec<String>>,
}

impl Lake {
    pub fn opening(&self, bounded: bool) -> Opening {
        let mut opening = Opening::whole(STREAMS.map(str::to_owned).to_vec());
        opening.bounded = bounded;
        opening.positions = self.positions.clone();
        opening
    }

    pub fn commit(&mut self, chunk: Chunk) {
        let key = position_key(STREAMS[chunk.stream], &chunk.partition);
        let position = self.positions.entry(key).or_default();
        assert_eq!(
            chunk.first_offset, position.offset,
            "chunks follow each other without gap: {chunk:?}"
        );
        assert_eq!(
            chunk.end.offset,
            chunk.first_offset + chunk.records,
            "{chunk:?}"
        );
        *position = chunk.end;
        let lines: Vec<_> = String::from_utf8_lossy(&chunk.bytes)
            .lines()
            .map(str::to_owned)
            .collect();
        assert_eq!(lines.len() as u64, chunk.records, "a record is a line");
        let kept = lines.into_iter().filter(|line| !line.is_empty());
        self.lines.entry(chunk.stream).or_default().extend(kept);
    }

    pub fn count(&self) -> usize {
        self.lines.values().map(Vec::len).sum()
    }

    /// Reads and commits until `enough`, or the end.
    pub fn read(
        &mut self,
        source: &mut Kinesis,
        mut enough: impl FnMut(&Lake) -> bool,
    ) -> Result<(), SourceError> {
        let begun = Instant::now();
        while !enough(self) {
            match source.read(1 << 20)? {
                Read::Chunk(chunk) => self.commit(chunk),
                Read::End => return Ok(()),
                Read::Idle => std::thread::sleep(Duration::from_millis(1)),
            }
            assert!(
                begun.elapsed() < WITHIN,
                "not within {WITHIN:?}: {:?}",
                self.positions
            );
        }
        Ok(())
    }

    pub fn read_to_end(&mut self, source: &mut Kinesis) -> Result<(), SourceError> {
        self.read(source, |_| false)
    }
}

pub fn numbered(keys: &[&str], count: usize) -> Vec<(String, Vec<u8>)> {
    let record = |n: usize| {
        let key = keys[n % keys.len()];
        (
            key.to_owned(),
            format!("{{\"key\":\"{key}\",\"n\":{n}}}").into_bytes(),
        )
    };
    (0..count).map(record).collect()
}

pub fn texts(records: &[(String, Vec<u8>)]) -> Vec<String> {
    records
        .iter()
        .map(|(_, data)| String::from_utf8(data.clone()).expect("UTF-8"))
        .collect()
}

pub fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Runs a test against both servers, and says which of them it used.
pub fn with_each_server(test: impl Fn(&Setting)) {
    let ferro = Ferro::start();
    eprintln!("against ferrokinesis");
    test(&Setting::new(&ferro.endpoint));
    let local =
        KinesisLocal::start().unwrap_or_else(|why| panic!("kinesis-local cannot be used: {why}"));
    eprintln!("against kinesis-local");
    test(&Setting::new(&local.endpoint));
}
