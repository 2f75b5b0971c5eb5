//! The rows of a view that only come: dead letters.
//!
//! Nothing takes such a row back, so nothing has to find it: it is kept as it came, in batches. To
//! encode it, hash it and put it into a table, as [`super::bucket`] does, would cost several times
//! what the rest of the program spends on a record that is bad. Rows are sorted when somebody reads
//! them.
//!
//! # Invariants
//! 1. A text that is a slice of a chunk of records keeps that chunk in memory only where the chunk
//!    is hardly anything else.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, take};
use arrow::datatypes::{DataType, SchemaRef};

use crate::delta::Epoch;

/// Batches of less than this many bytes become one with the next.
const SMALL: usize = 256 << 10;

/// Rows in the order in which they came. Copies share them.
#[derive(Clone, Debug)]
pub(super) struct Pile {
    schema: SchemaRef,
    batches: Arc<Vec<RecordBatch>>,
    rows: u64,
    /// The last epoch in which rows came.
    changed: Epoch,
}

impl Pile {
    /// No rows, of these columns.
    pub(super) fn empty(schema: &SchemaRef) -> Pile {
        Pile {
            schema: Arc::clone(schema),
            batches: Arc::default(),
            rows: 0,
            changed: 0,
        }
    }

    /// The last epoch in which rows came; 0 if none has.
    pub(super) fn changed(&self) -> Epoch {
        self.changed
    }

    /// The columns.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of memory taken.
    pub(super) fn memory(&self) -> usize {
        self.batches
            .iter()
            .map(RecordBatch::get_array_memory_size)
            .sum()
    }

    /// Adds rows that [`packed`] has made.
    pub(super) fn append(&mut self, epoch: Epoch, rows: RecordBatch) {
        self.changed = epoch;
        self.rows += rows.num_rows() as u64;
        let batches = Arc::make_mut(&mut self.batches);
        let mut last = rows;
        // Each row takes part in as many of these as the batch doubles its length.
        while let Some(before) = batches.pop_if(|before| {
            before.num_rows() <= last.num_rows() * 2
                && before.get_array_memory_size() + last.get_array_memory_size() < SMALL
        }) {
            let both = concat_batches(&self.schema, [&before, &last]);
            last = compacted(&both.expect("all rows have the columns of the view"));
        }
        batches.push(last);
    }

    /// The first `limit` rows, sorted by the columns in their order; nulls come first.
    pub(super) fn sorted(&self, limit: usize) -> RecordBatch {
        let all = concat_batches(&self.schema, self.batches.iter())
            .expect("all rows have the columns of the view");
        let options = Some(SortOptions {
            descending: false,
            nulls_first: true,
        });
        let columns: Vec<SortColumn> = all
            .columns()
            .iter()
            .map(|values| SortColumn {
                values: Arc::clone(values),
                options,
            })
            .collect();
        let order = lexsort_to_indices(&columns, Some(limit.min(all.num_rows())))
            .expect("columns of views can be compared");
        let columns = all
            .columns()
            .iter()
            .map(|column| take(column, &order, None).expect("rows are of the batch"));
        RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())
            .expect("rows of a view have its columns")
    }
}

/// `rows` as they are kept: without what they hold of a chunk that has more than them.
pub(super) fn packed(rows: &RecordBatch) -> RecordBatch {
    each_column(rows, |column| match column.data_type() {
        DataType::Utf8View => {
            let texts = column.as_string_view();
            let held: usize = texts.data_buffers().iter().map(|buffer| buffer.len()).sum();
            (texts.total_buffer_bytes_used() < held / 2).then(|| Arc::new(texts.gc()) as ArrayRef)
        }
        DataType::BinaryView => Some(Arc::new(column.as_binary_view().gc())),
        _ => None,
    })
}

/// `rows` with texts in one buffer a column.
fn compacted(rows: &RecordBatch) -> RecordBatch {
    each_column(rows, |column| match column.data_type() {
        DataType::Utf8View => Some(Arc::new(column.as_string_view().gc())),
        DataType::BinaryView => Some(Arc::new(column.as_binary_view().gc())),
        _ => None,
    })
}

fn each_column(rows: &RecordBatch, change: impl Fn(&ArrayRef) -> Option<ArrayRef>) -> RecordBatch {
    let columns = rows.columns().iter();
    let columns = columns.map(|column| change(column).unwrap_or_else(|| Arc::clone(column)));
    RecordBatch::try_new(rows.schema(), columns.collect()).expect("no column changes its type")
}

#[cfg(test)]
mod tests {
    use arrow::array::{BinaryViewArray, Int64Array, StringViewArray, StringViewBuilder};
    use arrow::buffer::Buffer;
    use arrow::datatypes::{Field, Int64Type, Schema};

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("text", DataType::Utf8View, true),
            Field::new("number", DataType::Int64, true),
            Field::new("bytes", DataType::BinaryView, true),
        ]))
    }

    fn rows(texts: StringViewArray, from: i64) -> RecordBatch {
        let count = texts.len();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(texts),
            Arc::new(Int64Array::from_iter_values((from..).take(count))),
            Arc::new(BinaryViewArray::from_iter_values(vec![b"x"; count])),
        ];
        RecordBatch::try_new(schema(), columns).unwrap()
    }

    fn numbers(rows: &RecordBatch) -> Vec<i64> {
        let numbers = rows["number"].as_primitive::<Int64Type>();
        numbers.values().to_vec()
    }

    #[test]
    fn rows_are_sorted_by_their_columns_however_they_came() {
        let mut pile = Pile::empty(&schema());
        assert_eq!(pile.sorted(usize::MAX).num_rows(), 0);
        let text = |text: Option<&str>| StringViewArray::from(vec![text]);
        for (number, of) in [Some("b"), Some("a"), None, Some("b")]
            .into_iter()
            .enumerate()
        {
            pile.append(7, packed(&rows(text(of), 10 - number as i64)));
        }
        assert_eq!(numbers(&pile.sorted(usize::MAX)), [8, 9, 7, 10]);
        assert_eq!(numbers(&pile.sorted(2)), [8, 9]);
        assert_eq!(pile.rows(), 4);
    }

    #[test]
    fn what_was_copied_before_a_row_came_does_not_have_it() {
        let mut pile = Pile::empty(&schema());
        pile.append(7, rows(StringViewArray::from(vec!["a"]), 1));
        let before = pile.clone();
        pile.append(7, rows(StringViewArray::from(vec!["b"]), 2));
        assert_eq!(numbers(&before.sorted(9)), [1]);
        assert_eq!(numbers(&pile.sorted(9)), [1, 2]);
    }

    #[test]
    fn few_rows_of_a_chunk_do_not_keep_it() {
        let chunk = Buffer::from(vec![b'x'; 1 << 20]);
        let mut texts = StringViewBuilder::new();
        let block = texts.append_block(chunk);
        for row in 0..3 {
            texts.try_append_view(block, row * 100, 100).unwrap();
        }
        let mut pile = Pile::empty(&schema());
        pile.append(7, packed(&rows(texts.finish(), 0)));
        assert!(pile.memory() < 10_000, "{} bytes", pile.memory());
    }

    #[test]
    fn many_small_batches_become_few() {
        let mut pile = Pile::empty(&schema());
        for number in 0..10_000 {
            let text = format!("a text that is longer than a view {number}");
            pile.append(7, packed(&rows(StringViewArray::from(vec![text]), number)));
        }
        assert!(pile.batches.len() < 20, "{} batches", pile.batches.len());
        let all: Vec<i64> = (0..10_000).collect();
        let mut found = numbers(&pile.sorted(usize::MAX));
        found.sort_unstable();
        assert_eq!(found, all);
    }
}
