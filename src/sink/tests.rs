//! The commit protocol from outside: what a lake holds after commits, crashes, rivals and lost answers.

use super::log::APP_ID;
use super::*;
use crate::checkpoint::{NewTable, Position, RemovedFile, StagedFile, TableCommit};
use crate::lake::{Lake, LakeError, paths};
use arrow::array::*;
use arrow::compute::kernels::cmp::neq;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

const PIN: &str = "tables/pin";
const VIEW: &str = "views/posts";

fn pin_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ind", DataType::Int64, false),
        Field::new("title", DataType::Utf8View, true),
        Field::new(
            "coordinates",
            DataType::new_list(DataType::Float64, true),
            true,
        ),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("day", DataType::Date32, true),
        Field::new("video", DataType::Boolean, true),
        Field::new("raw", DataType::Binary, true),
    ]))
}

/// Rows whose values follow from their key; every fifth has nulls.
fn pins(keys: impl IntoIterator<Item = i64>) -> RecordBatch {
    let keys: Vec<i64> = keys.into_iter().collect();
    let some = |k: &i64| k % 5 != 0;
    let mut coordinates = ListBuilder::new(Float64Builder::new());
    for key in &keys {
        coordinates
            .values()
            .append_slice(&[*key as f64 / 2.0, -0.25]);
        coordinates.append(some(key));
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(keys.clone())),
        Arc::new(StringViewArray::from_iter(
            keys.iter()
                .map(|k| some(k).then(|| format!("title number {k} … é\n"))),
        )),
        Arc::new(coordinates.finish()),
        Arc::new(TimestampMicrosecondArray::from_iter(
            keys.iter().map(|k| some(k).then_some(k * 1_000_003)),
        )),
        Arc::new(Date32Array::from_iter(
            keys.iter().map(|k| some(k).then_some(*k as i32)),
        )),
        Arc::new(BooleanArray::from_iter(
            keys.iter().map(|k| some(k).then_some(k % 2 == 0)),
        )),
        Arc::new(BinaryArray::from_iter(
            keys.iter()
                .map(|k| some(k).then(|| k.to_be_bytes().to_vec())),
        )),
    ];
    RecordBatch::try_new(pin_schema(), columns).unwrap()
}

/// Stages the pins with these keys and makes a commit of it; `new` for the first of a table.
async fn change(
    lake: &Lake,
    table: &str,
    id: u128,
    keys: impl IntoIterator<Item = i64>,
    new: bool,
) -> TableCommit {
    let encoded = encode(&pin_schema(), &[pins(keys)], &ParquetOptions::default()).unwrap();
    let tags = BTreeMap::from([("bucket".to_string(), (id % 4).to_string())]);
    let file = lake
        .stage(
            table,
            encoded,
            FileFacts {
                id,
                now_ms: 1,
                tags,
            },
        )
        .await
        .unwrap();
    let metadata = new.then(|| NewTable::of(&pin_schema(), id).unwrap());
    TableCommit {
        metadata,
        adds: vec![file],
        removes: vec![],
    }
}

fn changes(epoch: u64, tables: impl IntoIterator<Item = (&'static str, TableCommit)>) -> Changes {
    Changes {
        epoch,
        time_ms: 1_700_000_000_000 + epoch as i64,
        definition: "definition".into(),
        positions: BTreeMap::from([(
            "pin/0".into(),
            Position {
                offset: epoch * 100,
                token: String::new(),
            },
        )]),
        tables: tables
            .into_iter()
            .map(|(t, c)| (t.to_string(), c))
            .collect(),
    }
}

async fn open(lake: &Lake, writer: &str) -> (Committer, Option<Recovered>) {
    Committer::open(lake.clone(), writer.into()).await.unwrap()
}

fn files<'a>(recovered: &'a Recovered, table: &str) -> &'a [StagedFile] {
    &recovered.tables[table].files
}

async fn keys_of(lake: &Lake, recovered: &Recovered, table: &str) -> Vec<i64> {
    let mut keys = Vec::new();
    for file in files(recovered, table) {
        for batch in lake
            .read_file(table, &file.path, Some(&["ind".into()]))
            .await
            .unwrap()
        {
            keys.extend(
                batch
                    .column(0)
                    .as_primitive::<arrow::datatypes::Int64Type>()
                    .values(),
            );
        }
    }
    keys.sort_unstable();
    keys
}

fn here() -> (tempfile::TempDir, Lake) {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(dir.path().join("a lake").to_str().unwrap()).unwrap();
    (dir, lake)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_there_after_a_restart() {
    let (_dir, lake) = here();
    let (mut committer, recovered) = open(&lake, "first").await;
    assert_eq!(recovered, None);
    for epoch in 1..=25 {
        let from = epoch as i64 * 10;
        let pin = change(&lake, PIN, epoch.into(), from..from + 10, epoch == 1).await;
        let mut tables = vec![(PIN, pin)];
        if epoch % 3 == 1 {
            tables.push((
                VIEW,
                change(&lake, VIEW, 1000 + u128::from(epoch), [from], epoch == 1).await,
            ));
        }
        assert_eq!(
            committer.commit(changes(epoch, tables)).await.unwrap(),
            epoch
        );
        committer.tidy().await.unwrap();
    }
    let (_, recovered) = open(&lake, "second").await;
    let recovered = recovered.unwrap();
    assert_eq!(
        (recovered.number, recovered.epoch, recovered.rolled_forward),
        (25, 25, 0)
    );
    assert_eq!(recovered.positions["pin/0"].offset, 2500);
    assert_eq!(recovered.definition, "definition");
    assert_eq!(
        recovered.tables[PIN].schema,
        delta_schema(&pin_schema()).unwrap()
    );
    assert_eq!(
        keys_of(&lake, &recovered, PIN).await,
        (10..260).collect::<Vec<_>>()
    );
    assert_eq!(
        keys_of(&lake, &recovered, VIEW).await,
        (1..=25).step_by(3).map(|e| e * 10).collect::<Vec<_>>()
    );
    // Also what went through a log checkpoint keeps its rows, statistics and tags.
    let mut buckets: Vec<&str> = files(&recovered, PIN)
        .iter()
        .map(|f| f.tags["bucket"].as_str())
        .collect();
    buckets.sort_unstable();
    assert_eq!(buckets.iter().filter(|b| **b == "1").count(), 7);
    assert!(
        files(&recovered, PIN)
            .iter()
            .all(|f| f.rows == 10 && f.stats.contains("\"numRecords\":10"))
    );

    let names = lake.list("tables/pin/_delta_log", None).await.unwrap();
    assert_eq!(
        names
            .iter()
            .filter(|n| n.ends_with(".checkpoint.parquet"))
            .count(),
        3,
        "{names:?}"
    );
    let kept = lake.list(paths::CHECKPOINTS, None).await.unwrap();
    assert_eq!(kept.len(), 10, "{kept:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_come_back_as_they_were() {
    let (_dir, lake) = here();
    for codec in [Codec::None, Codec::Lz4, Codec::Snappy, Codec::Zstd(1)] {
        let options = ParquetOptions {
            codec,
            row_group_rows: 300,
        };
        let batches = [pins(0..500), pins(500..500), pins(500..1000)];
        let encoded = encode(&pin_schema(), &batches, &options).unwrap();
        assert_eq!(encoded.rows, 1000);
        let facts = FileFacts {
            id: 1,
            now_ms: 0,
            tags: BTreeMap::new(),
        };
        let file = lake.stage(PIN, encoded, facts).await.unwrap();
        let read = lake.read_file(PIN, &file.path, None).await.unwrap();
        let read = arrow::compute::concat_batches(&pin_schema(), &read).unwrap();
        assert_eq!(read, pins(0..1000), "{codec:?}");

        let wanted = ["at".to_string(), "ind".to_string()];
        let some = lake
            .read_file(PIN, &file.path, Some(&wanted))
            .await
            .unwrap();
        let names: Vec<&str> = some[0]
            .schema_ref()
            .fields()
            .iter()
            .map(|f| f.name().as_str())
            .collect();
        assert_eq!(names, ["ind", "at"], "in the file's order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_rows_make_a_file_too() {
    let (_dir, lake) = here();
    let encoded = encode(&pin_schema(), &[], &ParquetOptions::default()).unwrap();
    let facts = FileFacts {
        id: 1,
        now_ms: 0,
        tags: BTreeMap::new(),
    };
    let file = lake.stage(PIN, encoded, facts).await.unwrap();
    assert_eq!(file.rows, 0);
    assert_eq!(lake.read_file(PIN, &file.path, None).await.unwrap(), vec![]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_after_the_checkpoint_is_rolled_forward_once() {
    let (_dir, lake) = here();
    let (mut committer, _) = open(&lake, "first").await;
    committer
        .commit(changes(
            1,
            [(PIN, change(&lake, PIN, 1, 0..10, true).await)],
        ))
        .await
        .unwrap();
    let tables = [
        (PIN, change(&lake, PIN, 2, 10..20, false).await),
        (VIEW, change(&lake, VIEW, 3, 0..1, true).await),
    ];
    committer.seal(changes(2, tables)).await.unwrap();
    drop(committer);

    for (writer, expected) in [("second", 2), ("third", 0)] {
        let (committer, recovered) = open(&lake, writer).await;
        let recovered = recovered.unwrap();
        assert_eq!(committer.number(), 2);
        assert_eq!(
            (recovered.number, recovered.rolled_forward),
            (2, expected),
            "{writer}"
        );
        assert_eq!(recovered.positions["pin/0"].offset, 200);
        assert_eq!(
            keys_of(&lake, &recovered, PIN).await,
            (0..20).collect::<Vec<_>>()
        );
        assert_eq!(keys_of(&lake, &recovered, VIEW).await, [0]);
        assert_eq!(
            lake.list("tables/pin/_delta_log", None)
                .await
                .unwrap()
                .len(),
            2
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_the_checkpoint_leaves_nothing_to_see() {
    let (_dir, lake) = here();
    let (mut committer, _) = open(&lake, "first").await;
    committer
        .commit(changes(
            1,
            [(PIN, change(&lake, PIN, 1, 0..10, true).await)],
        ))
        .await
        .unwrap();
    change(&lake, PIN, 2, 10..20, false).await;
    drop(committer);
    let (mut committer, recovered) = open(&lake, "second").await;
    let recovered = recovered.unwrap();
    assert_eq!((recovered.number, recovered.rolled_forward), (1, 0));
    assert_eq!(
        keys_of(&lake, &recovered, PIN).await,
        (0..10).collect::<Vec<_>>()
    );
    committer
        .commit(changes(
            2,
            [(PIN, change(&lake, PIN, 3, 10..20, false).await)],
        ))
        .await
        .unwrap();
    let recovered = open(&lake, "third").await.1.unwrap();
    assert_eq!(
        keys_of(&lake, &recovered, PIN).await,
        (0..20).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_a_power_failure_set_back_catch_up_over_several_checkpoints() {
    let (_dir, lake) = here();
    let (mut committer, _) = open(&lake, "first").await;
    for epoch in 1..=4 {
        let keys = [epoch as i64];
        let pin = change(&lake, PIN, epoch.into(), keys, epoch == 1).await;
        committer
            .commit(changes(epoch, [(PIN, pin)]))
            .await
            .unwrap();
    }
    for version in [2, 3] {
        lake.delete(&paths::log_entry(PIN, version)).await.unwrap();
    }
    let recovered = open(&lake, "second").await.1.unwrap();
    assert_eq!(recovered.rolled_forward, 2);
    assert_eq!(keys_of(&lake, &recovered, PIN).await, [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_writer_loses_and_is_told_who_holds_the_lake() {
    let (_dir, lake) = here();
    let (mut first, _) = open(&lake, "first").await;
    first
        .commit(changes(
            1,
            [(PIN, change(&lake, PIN, 1, 0..10, true).await)],
        ))
        .await
        .unwrap();
    let (mut second, _) = open(&lake, "second").await;
    first
        .commit(changes(
            2,
            [(VIEW, change(&lake, VIEW, 2, 0..1, true).await)],
        ))
        .await
        .unwrap();
    // Nothing to do with the tables that the first one changed: only the checkpoint stands between them.
    let lost = second
        .commit(changes(
            2,
            [(
                "views/other",
                change(&lake, "views/other", 3, 0..1, true).await,
            )],
        ))
        .await;
    let error = lost.unwrap_err();
    assert!(!error.is_retryable());
    assert!(
        matches!(&error, LakeError::Held { holder, number: 2, .. } if holder == "first"),
        "{error}"
    );
    assert!(
        error.to_string().contains("held by the writer `first`"),
        "{error}"
    );
    assert!(
        !lake
            .exists(&paths::log_entry("views/other", 0))
            .await
            .unwrap()
    );
    first.commit(changes(3, [])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_slept_through_the_pruning_of_its_place_loses_too() {
    let (_dir, lake) = here();
    let (mut sleeper, _) = open(&lake, "sleeper").await;
    let (mut first, _) = open(&lake, "first").await;
    for epoch in 1..=15 {
        first.commit(changes(epoch, [])).await.unwrap();
        first.tidy().await.unwrap();
    }
    assert!(!lake.exists(&paths::checkpoint(1)).await.unwrap());
    let error = sleeper.commit(changes(1, [])).await.unwrap_err();
    assert!(
        matches!(&error, LakeError::Held { holder, number: 15, .. } if holder == "first"),
        "{error}"
    );
    assert!(!lake.exists(&paths::checkpoint(1)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn someone_elses_hand_in_a_table_is_found_before_anything_is_promised() {
    let (_dir, lake) = here();
    let (mut committer, _) = open(&lake, "first").await;
    committer
        .commit(changes(
            1,
            [(PIN, change(&lake, PIN, 1, 0..10, true).await)],
        ))
        .await
        .unwrap();
    let vacuum = Bytes::from_static(br#"{"commitInfo":{"operation":"VACUUM END"}}"#);
    lake.put(&paths::log_entry(PIN, 1), vec![vacuum])
        .await
        .unwrap();
    committer
        .commit(changes(
            2,
            [(PIN, change(&lake, PIN, 2, 10..20, false).await)],
        ))
        .await
        .unwrap();
    assert!(
        lake.exists(&paths::log_entry(PIN, 2)).await.unwrap(),
        "a harmless entry is passed over"
    );

    let theirs = br#"{"commitInfo":{"operation":"WRITE"}}
{"remove":{"path":"part-00000000-0000-0000-0000-000000000001.parquet","dataChange":true}}"#;
    lake.put(&paths::log_entry(PIN, 3), vec![Bytes::from_static(theirs)])
        .await
        .unwrap();
    let error = committer
        .commit(changes(
            3,
            [(PIN, change(&lake, PIN, 3, 20..30, false).await)],
        ))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`tables/pin` was changed by someone else at version 3 (by WRITE)"),
        "{error}"
    );
    assert!(!lake.exists(&paths::checkpoint(3)).await.unwrap());
    let error = Committer::open(lake.clone(), "second".into())
        .await
        .unwrap_err();
    assert!(
        matches!(error, LakeError::Foreign { version: 3, .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrite_keeps_the_neighbours_and_leaves_no_empty_file() {
    let (_dir, lake) = here();
    let (mut committer, _) = open(&lake, "first").await;
    let first = change(&lake, PIN, 1, 0..10, true).await;
    let old = first.adds[0].clone();
    committer.commit(changes(1, [(PIN, first)])).await.unwrap();

    let facts = |id| FileFacts {
        id,
        now_ms: 2,
        tags: old.tags.clone(),
    };
    let without = |key: i64| {
        move |batch: &RecordBatch| neq(batch.column(0), &Int64Array::new_scalar(key)).unwrap()
    };
    let options = ParquetOptions::default();
    let new = lake
        .rewrite(PIN, &old.path, without(7), &options, facts(2))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(new.rows, 9);
    let rows = lake.read_file(PIN, &new.path, None).await.unwrap();
    assert_eq!(rows, [pins((0..10).filter(|k| *k != 7))]);
    let none = lake
        .rewrite(
            PIN,
            &old.path,
            |b| BooleanArray::from(vec![false; b.num_rows()]),
            &options,
            facts(3),
        )
        .await;
    assert_eq!(none.unwrap(), None);

    let replace = TableCommit {
        metadata: None,
        adds: vec![new],
        removes: vec![RemovedFile::from(&old)],
    };
    committer
        .commit(changes(2, [(PIN, replace)]))
        .await
        .unwrap();
    let recovered = open(&lake, "second").await.1.unwrap();
    assert_eq!(files(&recovered, PIN).len(), 1);
    assert_eq!(
        keys_of(&lake, &recovered, PIN).await,
        [0, 1, 2, 3, 4, 5, 6, 8, 9]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_schema_becomes_the_tables_schema() {
    let (_dir, lake) = here();
    let (mut committer, _) = open(&lake, "first").await;
    committer
        .commit(changes(
            1,
            [(PIN, change(&lake, PIN, 1, 0..10, true).await)],
        ))
        .await
        .unwrap();
    let wider = Schema::new(
        [
            pin_schema().fields().to_vec(),
            vec![Arc::new(Field::new("more", DataType::Int32, true))],
        ]
        .concat(),
    );
    let metadata = Some(NewTable::of(&wider, 1).unwrap());
    committer
        .commit(changes(
            2,
            [(
                PIN,
                TableCommit {
                    metadata,
                    ..TableCommit::default()
                },
            )],
        ))
        .await
        .unwrap();
    let recovered = open(&lake, "second").await.1.unwrap();
    assert_eq!(recovered.tables[PIN].schema, delta_schema(&wider).unwrap());
    assert_eq!(files(&recovered, PIN).len(), 1);
}

/// What becomes of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It is not done, and the answer says so.
    Refused,
    /// It is done, but the answer is lost.
    AnswerLost,
    /// It is done, the answer is lost, and so is that of the next read.
    AnswerLostAndBlind,
}

/// A store that does a planned wrong to the next put whose path contains a text.
#[derive(Debug, Default)]
struct Faulty {
    inner: object_store::memory::InMemory,
    plan: Mutex<Option<(&'static str, Fault)>>,
    blind: Mutex<bool>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a faulty store")
    }
}

fn away() -> object_store::Error {
    object_store::Error::Generic {
        store: "faulty",
        source: "connection reset".into(),
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let fault = self
            .plan
            .lock()
            .unwrap()
            .take_if(|(text, _)| path.as_ref().contains(*text))
            .map(|(_, fault)| fault);
        if fault == Some(Fault::Refused) {
            return Err(away());
        }
        let answer = self.inner.put_opts(path, payload, options).await;
        *self.blind.lock().unwrap() = fault == Some(Fault::AnswerLostAndBlind);
        if fault.is_some() { Err(away()) } else { answer }
    }
    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }
    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        if std::mem::take(&mut *self.blind.lock().unwrap()) {
            return Err(away());
        }
        self.inner.get_opts(path, options).await
    }
    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_repeated_after_any_lost_answer_counts_once() {
    for (place, name) in [
        ("_checkpoints/", "the checkpoint"),
        ("_delta_log/", "a log entry"),
    ] {
        for fault in [Fault::Refused, Fault::AnswerLost, Fault::AnswerLostAndBlind] {
            let store = Arc::new(Faulty::default());
            let lake = Lake::on(
                store.clone(),
                Path::from("lake"),
                url::Url::parse("memory:///lake/").unwrap(),
            );
            let (mut committer, _) = open(&lake, "first").await;
            committer
                .commit(changes(
                    1,
                    [(PIN, change(&lake, PIN, 1, 0..10, true).await)],
                ))
                .await
                .unwrap();

            *store.plan.lock().unwrap() = Some((place, fault));
            let second = changes(2, [(PIN, change(&lake, PIN, 2, 10..20, false).await)]);
            let answer = committer.commit(second.clone()).await;
            let case = format!("{fault:?} at {name}");
            assert_eq!(answer.is_ok(), fault == Fault::AnswerLost, "{case}");
            if let Err(error) = answer {
                assert!(error.is_retryable(), "{case}: {error}");
                // What was sealed is done; otherwise the same again.
                match committer.number() {
                    2 => committer.publish().await.unwrap(),
                    _ => assert_eq!(committer.commit(second).await.unwrap(), 2, "{case}"),
                }
            }
            committer
                .commit(changes(
                    3,
                    [(PIN, change(&lake, PIN, 3, 20..30, false).await)],
                ))
                .await
                .unwrap();
            let recovered = open(&lake, "second").await.1.unwrap();
            assert_eq!(
                (recovered.number, recovered.rolled_forward),
                (3, 0),
                "{case}"
            );
            assert_eq!(
                keys_of(&lake, &recovered, PIN).await,
                (0..30).collect::<Vec<_>>(),
                "{case}"
            );
            assert_eq!(
                lake.list("tables/pin/_delta_log", None)
                    .await
                    .unwrap()
                    .len(),
                3,
                "{case}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_commit_than_the_one_whose_outcome_is_open_is_refused() {
    let store = Arc::new(Faulty::default());
    let lake = Lake::on(
        store.clone(),
        Path::from("lake"),
        url::Url::parse("memory:///lake/").unwrap(),
    );
    let (mut committer, _) = open(&lake, "first").await;
    *store.plan.lock().unwrap() = Some(("_checkpoints/", Fault::AnswerLostAndBlind));
    let error = committer.commit(changes(1, [])).await.unwrap_err();
    assert!(matches!(error, LakeError::Unknown { .. }), "{error}");
    let error = committer.commit(changes(2, [])).await.unwrap_err();
    assert!(
        matches!(error, LakeError::Unfinished { number: 1 }),
        "{error}"
    );
    committer.commit(changes(1, [])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_a_schema_is_not_begun() {
    let (_dir, lake) = here();
    let (mut committer, _) = open(&lake, "first").await;
    let pin = change(&lake, PIN, 1, 0..10, false).await;
    let error = committer
        .commit(changes(1, [(PIN, pin)]))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, LakeError::NoSchema { table } if table == PIN),
        "{error}"
    );
    assert_eq!(open(&lake, "second").await.1, None);
}

#[test]
fn the_application_id_is_part_of_the_format() {
    assert_eq!(
        APP_ID, "pinflow",
        "a lake written under another id would be read as foreign"
    );
}
