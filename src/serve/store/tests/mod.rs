//! The store as its readers, the lake and a stopwatch see it.

mod lake;
mod measure;
mod readers;
mod twin;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use super::ViewSpec;
use crate::delta::{Delta, Diff};

/// `category` (nullable), `posts`.
fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("category", DataType::Utf8View, true),
        Field::new("posts", DataType::Int64, false),
    ]))
}

fn spec(name: &str, key: &[usize]) -> ViewSpec {
    ViewSpec {
        name: name.to_owned(),
        schema: schema(),
        key: key.to_vec(),
        appended: false,
    }
}

type Change<'a> = (Option<&'a str>, i64, Diff);

fn delta(changes: &[Change<'_>]) -> Delta {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(
            changes
                .iter()
                .map(|change| change.0)
                .collect::<StringViewArray>(),
        ),
        Arc::new(
            changes
                .iter()
                .map(|change| change.1)
                .collect::<Int64Array>(),
        ),
    ];
    Delta {
        rows: RecordBatch::try_new(schema(), columns).unwrap(),
        diffs: changes.iter().map(|change| change.2).collect(),
    }
}

fn rows(batch: &RecordBatch) -> Vec<(Option<String>, i64)> {
    let categories = batch.column(0).as_string_view();
    let posts = batch.column(1).as_primitive::<Int64Type>();
    (0..batch.num_rows())
        .map(|row| {
            let category = categories
                .is_valid(row)
                .then(|| categories.value(row).to_owned());
            (category, posts.value(row))
        })
        .collect()
}

fn row(category: &str, posts: i64) -> (Option<String>, i64) {
    (Some(category.to_owned()), posts)
}
