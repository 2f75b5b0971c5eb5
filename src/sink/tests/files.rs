//! Rows that become files and come back.

use super::*;

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
    let mut committer = begun(&lake, "first").await;
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
