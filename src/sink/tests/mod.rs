//! The commit protocol from outside: what a lake holds after commits, crashes, rivals and lost
//! answers.

use super::log::APP_ID;
use super::*;
use crate::checkpoint::{MadeBy, NewTable, Position, RemovedFile, StagedFile, TableCommit};
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

mod crash;
mod damage;
mod files;
mod gate;
mod lost_answers;
mod restart;
mod rivals;
mod twin;

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
        Field::new("raw", DataType::BinaryView, true),
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
        Arc::new(BinaryViewArray::from_iter(
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
        made_by: MadeBy::program("1.2.3", 3),
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

/// A committer that has committed the pins 0 to 9 as the first file of their table.
async fn begun(lake: &Lake, writer: &str) -> Committer {
    let (mut committer, _) = open(lake, writer).await;
    let pins = change(lake, PIN, 1, 0..10, true).await;
    committer.commit(changes(1, [(PIN, pins)])).await.unwrap();
    committer
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
