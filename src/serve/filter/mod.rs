//! `where=`: the rows of a view for which a condition is true.
//!
//! The condition is one SQL expression over the view's columns. It is not pasted into a statement
//! but parsed alone, so it can be nothing else: no second statement, no other table. It is
//! evaluated on the rows of the snapshot, column by column, some rows at a time.
//!
//! # Invariants
//! 1. Size, depth and functions of a condition are bounded before it is planned and evaluated
//!    ([`allowed`]), so that no condition exhausts the stack or the memory of the process.
//! 2. Its time is bounded: between slices of rows the caller is asked whether to go on.
//! 3. A library that panics over a condition refuses it.

mod allowed;

use arrow::array::{Array, AsArray, BooleanArray, BooleanBuilder, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::DataType;
use datafusion_common::{DFSchema, DataFusionError, exec_err};

use crate::definition::in_words;
use crate::expression::catching;
use crate::function::value_bytes;
use crate::serve::format::shortened;
use crate::sql::Session;

/// Rows that are evaluated together: what a condition computes for them is in memory at once.
const SLICE_ROWS: usize = 1024;
/// Bytes of the values that a condition reads in rows that are evaluated together, unless one row
/// has more.
const SLICE_BYTES: u64 = 4 << 20;

/// Characters of a condition, and of what is wrong with it, that an error repeats: both may hold
/// texts of any length.
const CONDITION_CHARS: usize = 200;
const REASON_CHARS: usize = 1000;

/// A condition that cannot be asked of a view.
#[derive(Debug, thiserror::Error)]
#[error("the condition `{condition}` cannot be evaluated: {reason}")]
pub struct BadCondition {
    /// The condition as it was given.
    pub condition: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The rows for which `condition` is true: neither those for which it is false nor those for which
/// it is null. `session` knows the scalar functions; `go_on` is asked before each slice of rows,
/// and the evaluation ends with an error when it says no.
pub fn filter(
    session: &Session,
    rows: &RecordBatch,
    condition: &str,
    go_on: &dyn Fn() -> bool,
) -> Result<RecordBatch, BadCondition> {
    let bad = |reason: String| BadCondition {
        condition: shortened(condition, CONDITION_CHARS),
        reason: shortened(&reason, REASON_CHARS),
    };
    let keep = catching(|| evaluate(session, rows, condition, go_on));
    let keep = keep.map_err(|error| bad(in_words(&error)))?;
    let keep = keep.map_err(|data_type| {
        bad(format!(
            "it is of type {}, not true or false",
            super::format::sql_type(&data_type)
        ))
    })?;
    filter_record_batch(rows, &keep).map_err(|error| bad(error.to_string()))
}

/// The condition's value for each row, or its type if it is not a condition.
fn evaluate(
    session: &Session,
    rows: &RecordBatch,
    condition: &str,
    go_on: &dyn Fn() -> bool,
) -> Result<Result<BooleanArray, DataType>, DataFusionError> {
    allowed::text(condition)?;
    let schema = DFSchema::try_from(rows.schema())?;
    let expression = session.expression(condition, &schema)?;
    allowed::expression(&expression)?;
    let read = expression.column_refs();
    let read = read
        .iter()
        .filter_map(|column| rows.column_by_name(column.name()));
    let read: Vec<&dyn Array> = read.map(AsRef::as_ref).collect();
    let expression = session.physical(expression, &schema)?;
    match expression.data_type(&rows.schema())? {
        DataType::Boolean => {}
        DataType::Null => return Ok(Ok(BooleanArray::new_null(rows.num_rows()))),
        other => return Ok(Err(other)),
    }
    let mut keep = BooleanBuilder::with_capacity(rows.num_rows());
    let mut start = 0;
    while start < rows.num_rows() {
        if !go_on() {
            return exec_err!(
                "it takes too long: it was given up after {start} of {} rows",
                rows.num_rows()
            );
        }
        let slice = rows.slice(start, slice_rows(&read, start, rows.num_rows()));
        start += slice.num_rows();
        let value = expression.evaluate(&slice)?.into_array(slice.num_rows())?;
        for row in value.as_boolean() {
            keep.append_option(row);
        }
    }
    Ok(Ok(keep.finish()))
}

/// How many rows from `start` on are evaluated together: at least one.
fn slice_rows(read: &[&dyn Array], start: usize, rows: usize) -> usize {
    let end = rows.min(start + SLICE_ROWS);
    let mut bytes = 0;
    let full = (start..end).find(|row| {
        bytes += read
            .iter()
            .map(|array| value_bytes(*array, *row))
            .sum::<u64>();
        bytes > SLICE_BYTES
    });
    full.unwrap_or(end).max(start + 1) - start
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringViewArray, TimestampMicrosecondArray};
    use arrow::datatypes::TimestampMicrosecondType;
    use expect_test::expect;

    use super::*;

    fn rows() -> RecordBatch {
        let columns: [(&str, ArrayRef); 2] = [
            (
                "category",
                Arc::new(StringViewArray::from(vec![
                    Some("art"),
                    Some("quotes"),
                    None,
                ])),
            ),
            ("posts", Arc::new(Int64Array::from(vec![3, 70, 5]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    fn kept(condition: &str) -> Vec<i64> {
        let rows = filter(&Session::new(), &rows(), condition, &|| true).unwrap();
        rows.column(1)
            .as_primitive::<arrow::datatypes::Int64Type>()
            .values()
            .to_vec()
    }

    #[test]
    fn rows_are_kept_where_the_condition_is_true() {
        assert_eq!(kept("posts > 4"), [70, 5]);
        assert_eq!(kept("posts > 4 AND category LIKE 'q%'"), [70]);
        assert_eq!(kept("category <> 'art'"), [70], "null is not true");
        assert_eq!(kept("category IS NULL"), [5]);
        assert_eq!(kept("upper(category) IN ('ART')"), [3]);
        assert_eq!(kept("coalesce(category, 'none') = 'none'"), [5]);
        assert_eq!(kept("nvl2(category, posts, 0) > 5"), [70]);
        assert_eq!(kept("true"), [3, 70, 5]);
        assert_eq!(kept("NULL"), [0; 0]);
    }

    #[test]
    fn times_beyond_what_nanoseconds_hold_are_compared_like_others() {
        // 3000-01-01 12:00:00 and 1500-06-15 12:34:56.
        let times = vec![32_503_723_200_000_000, -14_817_468_304_000_000];
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times));
        let rows = RecordBatch::try_from_iter([("at", times)]).unwrap();
        let years = |condition: &str| {
            let rows = filter(&Session::new(), &rows, condition, &|| true);
            let rows = rows.unwrap_or_else(|error| panic!("{error}"));
            let times = rows.column(0).as_primitive::<TimestampMicrosecondType>();
            let year = |time: &i64| if *time > 0 { 3000 } else { 1500 };
            times.values().iter().map(year).collect::<Vec<_>>()
        };
        for (condition, expected) in [
            ("at > TIMESTAMP '2900-01-01'", [3000].as_slice()),
            ("at = TIMESTAMP '3000-01-01 12:00:00'", &[3000]),
            ("at < '1600-01-01'", &[1500]),
            ("at > DATE '2999-12-31'", &[3000]),
            ("at BETWEEN '0001-01-01' AND '1600-01-01'", &[1500]),
            ("at IN ('3000-01-01 12:00:00', '1970-01-01')", &[3000]),
            ("at <> '1500-06-15 12:34:56'", &[3000]),
            ("date_trunc('year', at) = TIMESTAMP '3000-01-01'", &[3000]),
            ("EXTRACT(year FROM at) = 1500", &[1500]),
            ("at + INTERVAL '1 day' > TIMESTAMP '3000-01-02'", &[3000]),
            ("coalesce(at, '9999-12-31') < '9999-12-31'", &[3000, 1500]),
            ("at < CAST('9999-12-31' AS TIMESTAMP)", &[3000, 1500]),
        ] {
            assert_eq!(years(condition), expected, "{condition}");
        }
    }

    #[test]
    fn what_is_not_a_condition_is_refused() {
        let conditions = [
            "posts + 1",
            "likes > 1",
            "posts >",
            "posts > 1; DROP TABLE pin",
            "posts > (SELECT 1)",
            "posts > max(posts)",
            "posts / 0 = 1",
            "category > DATE '2020-13-01'",
            "repeat('x', 1000000000) = category",
            "length(lpad(category, posts + 9223372036854775000)) > 0",
            "array_length(range(0, 1000000000)) = 1",
            "",
        ];
        let mut refusals = String::new();
        for condition in conditions {
            let error = filter(&Session::new(), &rows(), condition, &|| true).unwrap_err();
            assert_eq!(error.condition, condition);
            refusals += &format!("{condition}\n    {}\n", error.reason);
        }
        expect![[r#"
            posts + 1
                it is of type BIGINT, not true or false
            likes > 1
                No field named likes. Valid fields are category, posts
            posts >
                Expected: an expression, found: EOF
            posts > 1; DROP TABLE pin
                Expected: end of expression, found: ; at Line: 1, Column: 10
            posts > (SELECT 1)
                it may look at one row at a time: no aggregate, window or subquery
            posts > max(posts)
                it may look at one row at a time: no aggregate, window or subquery
            posts / 0 = 1
                Divide by zero error
            category > DATE '2020-13-01'
                Cast error: Cannot cast string 'art' to value of Date32 type
            repeat('x', 1000000000) = category
                `repeat` is not among the functions of conditions, whose values are never larger than their arguments; compute it in a view instead
            length(lpad(category, posts + 9223372036854775000)) > 0
                `lpad` is not among the functions of conditions, whose values are never larger than their arguments; compute it in a view instead
            array_length(range(0, 1000000000)) = 1
                `range` is not among the functions of conditions, whose values are never larger than their arguments; compute it in a view instead

                Expected: an expression, found: EOF
        "#]]
        .assert_eq(&refusals);
    }

    #[test]
    fn a_refusal_is_short_whatever_it_is_about() {
        for text in ["x".repeat(5000), "\"".repeat(5000)] {
            let condition = format!("posts = CAST('{text}' AS BIGINT) OR DATE '{text}' IS NULL");
            let error = filter(&Session::new(), &rows(), &condition, &|| true).unwrap_err();
            assert!(error.to_string().chars().count() < 1300, "{error}");
        }
    }

    #[test]
    fn a_condition_is_bounded_in_length_and_depth() {
        let chain = |term: &str, times: usize| vec![term; times].join(" OR ");
        let chain_of_joins = |times: usize| "category || ".repeat(times) + "category = ''";
        assert_eq!(kept(&chain_of_joins(16)), [0; 0]);
        assert_eq!(kept(&chain("posts > 4", 240)), [70, 5]);
        for (condition, why) in [
            (chain("posts>1", 500), "words and operators"),
            (vec!["posts"; 9000].join("="), "bytes"),
            ("cast(".repeat(2000), "words and operators"),
            ("(".repeat(999), "nested"),
            ("NOT ".repeat(999), "NOT"),
            (chain_of_joins(400), "joins texts 400 times"),
        ] {
            let error = filter(&Session::new(), &rows(), &condition, &|| true).unwrap_err();
            assert!(error.reason.contains(why), "{}", error.reason);
            assert!(error.to_string().len() < 1000, "{error}");
        }
    }

    #[test]
    fn rows_with_long_values_are_evaluated_a_few_at_a_time() {
        let text: ArrayRef = Arc::new(StringViewArray::from(vec!["x".repeat(1 << 20); 40]));
        let number: ArrayRef = Arc::new(Int64Array::from(vec![1; 40]));
        let rows = RecordBatch::try_from_iter([("text", text), ("number", number)]).unwrap();
        let slices = |condition: &str| {
            let count = std::cell::Cell::new(0);
            let go_on = || {
                count.set(count.get() + 1);
                true
            };
            let kept = filter(&Session::new(), &rows, condition, &go_on).unwrap();
            (kept.num_rows(), count.get())
        };
        assert_eq!(slices("text || text <> text"), (40, 10));
        assert_eq!(slices("number = 1"), (40, 1));
    }

    #[test]
    fn a_condition_that_takes_too_long_is_given_up() {
        let error = filter(&Session::new(), &rows(), "posts > 4", &|| false).unwrap_err();
        assert_eq!(
            error.reason,
            "it takes too long: it was given up after 0 of 3 rows"
        );
    }
}
