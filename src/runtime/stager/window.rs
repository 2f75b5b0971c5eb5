//! The newest rows of a table, before they are written.
//!
//! A record that is corrected is mostly corrected soon. So rows wait here until some thousands of
//! newer ones have come: a row that is replaced meanwhile is left out of its file, while one that
//! was written already costs a file its rewriting.
//!
//! # Invariants
//! 1. Rows leave in the order in which they came, and a file is complete when rows of a newer one
//!    have left.

use std::collections::{BTreeMap, VecDeque};

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;

use super::gone::{Gone, KeyBytes};
use crate::operator::keyed::FileId;

/// Rows that wait, at least, as long as the file goes on.
const WINDOW_ROWS: usize = 48 * 1024;

/// What happens to a table's files.
pub(super) enum Step {
    /// The file gets these rows.
    Rows(FileId, RecordBatch),
    /// The file is complete, and these rows in it are gone again.
    Complete(FileId, Option<Gone>),
}

/// The newest rows of one table.
pub(super) struct Window {
    /// None for a table without key, whose rows are never replaced.
    keys: Option<KeyBytes>,
    waiting: VecDeque<(FileId, RecordBatch)>,
    rows: usize,
    open: BTreeMap<FileId, Open>,
}

/// A file some of whose rows wait.
#[derive(Default)]
struct Open {
    /// Rows that came, and rows of these that left.
    came: usize,
    left: usize,
    gone: Gone,
}

impl Window {
    pub(super) fn new(keys: Option<KeyBytes>) -> Self {
        Window {
            keys,
            waiting: VecDeque::new(),
            rows: 0,
            open: BTreeMap::new(),
        }
    }

    /// How keys become bytes; only tables with a key have rows that are replaced.
    pub(super) fn key_bytes(&self) -> &KeyBytes {
        let keys = self.keys.as_ref();
        keys.expect("rows are replaced in tables with a key alone")
    }

    /// Takes rows in; older ones leave.
    pub(super) fn append(&mut self, file: FileId, rows: RecordBatch, step: impl FnMut(Step)) {
        self.rows += rows.num_rows();
        self.open.entry(file).or_default().came += rows.num_rows();
        self.waiting.push_back((file, rows));
        // Rows that nobody replaces need not wait; and a few of them may hold chunks of records.
        let keep = self.keys.as_ref().map_or(0, |_| WINDOW_ROWS);
        self.leave(keep, step);
    }

    /// Notes that keys whose rows are in `file` were replaced. Tells whether the file is open here;
    /// otherwise it was complete before.
    pub(super) fn replace(&mut self, file: FileId, keys: &RecordBatch) -> bool {
        match (&self.keys, self.open.get_mut(&file)) {
            (Some(bytes), Some(open)) => {
                open.gone.note(bytes, keys, open.came);
                true
            }
            _ => false,
        }
    }

    /// Lets all rows leave and completes all files.
    pub(super) fn end(&mut self, mut step: impl FnMut(Step)) {
        self.leave(0, &mut step);
        for (file, open) in std::mem::take(&mut self.open) {
            step(Step::Complete(file, open.gone.not_found()));
        }
    }

    fn leave(&mut self, keep: usize, mut step: impl FnMut(Step)) {
        while self.rows > keep
            && let Some((file, rows)) = self.waiting.pop_front()
        {
            self.rows -= rows.num_rows();
            while let Some(older) = self.open.first_entry()
                && *older.key() < file
            {
                let (file, open) = older.remove_entry();
                step(Step::Complete(file, open.gone.not_found()));
            }
            let open = self.open.entry(file).or_default();
            let position = open.left;
            open.left += rows.num_rows();
            let rows = match &self.keys {
                Some(bytes) if !open.gone.is_empty() => {
                    let stays = open.gone.stays(bytes, &rows, position);
                    filter_record_batch(&rows, &stays).expect("there is one answer a row")
                }
                _ => rows,
            };
            if rows.num_rows() > 0 {
                step(Step::Rows(file, rows));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    fn rows(values: impl IntoIterator<Item = (i64, i64)>) -> RecordBatch {
        let (keys, values): (Vec<i64>, Vec<i64>) = values.into_iter().unzip();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(keys)),
            Arc::new(Int64Array::from(values)),
        ];
        RecordBatch::try_new(schema(), columns).unwrap()
    }

    fn schema() -> Arc<Schema> {
        let field = |name| Field::new(name, DataType::Int64, true);
        Arc::new(Schema::new(vec![field("key"), field("value")]))
    }

    fn window() -> Window {
        Window::new(Some(KeyBytes::new(&schema(), &[0])))
    }

    /// The values each complete file holds, and how many rows of it are gone.
    #[derive(Default, Debug, PartialEq)]
    struct Files(BTreeMap<FileId, (Vec<i64>, Option<u32>)>);

    impl Files {
        fn take(&mut self, step: Step) {
            match step {
                Step::Rows(file, rows) => {
                    let values = rows.column(1).as_primitive::<Int64Type>().values();
                    self.0.entry(file).or_default().0.extend_from_slice(values);
                }
                Step::Complete(file, gone) => {
                    let count = gone.map_or(0, |gone| gone.keys_count());
                    self.0.entry(file).or_default().1 = Some(count);
                }
            }
        }
    }

    #[test]
    fn a_row_replaced_while_it_waits_is_left_out() {
        let (mut window, mut files) = (window(), Files::default());
        window.append(0, rows([(1, 10), (2, 20)]), |step| files.take(step));
        assert!(window.replace(0, &rows([(1, 0)]).project(&[0]).unwrap()));
        window.append(0, rows([(1, 11)]), |step| files.take(step));
        window.end(|step| files.take(step));
        assert_eq!(files.0[&0], (vec![20, 11], Some(0)));
    }

    #[test]
    fn a_row_replaced_in_the_next_file_is_left_out_while_it_waits() {
        let (mut window, mut files) = (window(), Files::default());
        window.append(0, rows([(1, 10), (2, 20)]), |step| files.take(step));
        assert!(window.replace(0, &rows([(2, 0)]).project(&[0]).unwrap()));
        window.append(1, rows([(2, 21)]), |step| files.take(step));
        window.end(|step| files.take(step));
        assert_eq!(files.0[&0], (vec![10], Some(0)));
        assert_eq!(files.0[&1], (vec![21], Some(0)));
    }

    #[test]
    fn a_row_replaced_after_it_left_is_told_when_its_file_is_complete() {
        let (mut window, mut files) = (window(), Files::default());
        let many = |from: i64| rows((from..).map(|n| (n, n)).take(WINDOW_ROWS));
        window.append(0, many(0), |step| files.take(step));
        window.append(0, many(1 << 20), |step| files.take(step));
        assert_eq!(files.0[&0].0.len(), WINDOW_ROWS, "the first rows have left");
        assert!(window.replace(0, &rows([(7, 0)]).project(&[0]).unwrap()));
        // Its successor is replaced too, which waits.
        window.append(0, rows([(7, -70)]), |step| files.take(step));
        assert!(window.replace(0, &rows([(7, 0)]).project(&[0]).unwrap()));
        window.append(0, rows([(7, -71)]), |step| files.take(step));
        window.end(|step| files.take(step));
        let (values, gone) = &files.0[&0];
        assert_eq!((values.last(), *gone), (Some(&-71), Some(1)));
        assert!(!values.contains(&-70));
    }

    #[test]
    fn rows_that_nobody_replaces_do_not_wait() {
        let (mut window, mut files) = (Window::new(None), Files::default());
        window.append(0, rows([(1, 10)]), |step| files.take(step));
        assert_eq!(files.0[&0], (vec![10], None));
    }

    #[test]
    fn a_file_that_is_complete_is_not_here() {
        let (mut window, mut files) = (window(), Files::default());
        window.append(0, rows([(1, 10)]), |step| files.take(step));
        window.end(|step| files.take(step));
        assert!(!window.replace(0, &rows([(1, 0)]).project(&[0]).unwrap()));
    }
}
