//! `where=`: the rows of a view for which a condition is true.
//!
//! The condition is one SQL expression over the view's columns, with every scalar function that the dataflow may
//! use. It is not pasted into a statement but parsed alone, so it can be nothing else: no second statement, no
//! other table. It is evaluated on the rows of the snapshot, column by column.

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::DataType;
use datafusion_common::DataFusionError;
use datafusion_common::tree_node::TreeNode;
use datafusion_common::{DFSchema, plan_err};
use datafusion_expr::Expr;

use crate::sql::Session;

/// A condition that cannot be asked of a view.
#[derive(Debug, thiserror::Error)]
#[error("the condition `{condition}` cannot be evaluated: {reason}")]
pub struct BadCondition {
    /// The condition as it was given.
    pub condition: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The rows for which `condition` is true: neither those for which it is false nor those for which it is null.
/// `session` knows the scalar functions.
pub fn filter(
    session: &Session,
    rows: &RecordBatch,
    condition: &str,
) -> Result<RecordBatch, BadCondition> {
    let bad = |reason: String| BadCondition {
        condition: condition.to_owned(),
        reason,
    };
    let keep = evaluate(session, rows, condition).map_err(|error| bad(sentence(&error)))?;
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
) -> Result<Result<BooleanArray, DataType>, DataFusionError> {
    let schema = DFSchema::try_from(rows.schema())?;
    let expression = session.expression(condition, &schema)?;
    if expression.exists(|part| Ok(needs_other_rows(part)))? {
        return plan_err!("it may look at one row at a time: no aggregate, window or subquery");
    }
    let expression = session.physical(expression, &schema)?;
    let data_type = expression.data_type(&rows.schema())?;
    match data_type {
        DataType::Boolean => {
            let value = expression.evaluate(rows)?.into_array(rows.num_rows())?;
            Ok(Ok(value.as_boolean().clone()))
        }
        DataType::Null => Ok(Ok(BooleanArray::new_null(rows.num_rows()))),
        other => Ok(Err(other)),
    }
}

fn needs_other_rows(expression: &Expr) -> bool {
    matches!(
        expression,
        Expr::AggregateFunction(_)
            | Expr::WindowFunction(_)
            | Expr::ScalarSubquery(_)
            | Expr::InSubquery(_)
            | Expr::SetComparison(_)
            | Expr::Exists(_)
    )
}

/// What DataFusion says, without its names for kinds of errors.
fn sentence(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let mut text = text.as_str();
    for kind in [
        "Schema error: ",
        "SQL error: ",
        "Error during planning: ",
        "Arrow error: ",
    ] {
        text = text.strip_prefix(kind).unwrap_or(text);
    }
    let inner = text
        .strip_prefix("ParserError(\"")
        .and_then(|text| text.strip_suffix("\")"));
    inner
        .unwrap_or(text)
        .replace('\n', " ")
        .trim_end_matches('.')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringViewArray};
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
        let rows = filter(&Session::new(), &rows(), condition).unwrap();
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
        assert_eq!(kept("true"), [3, 70, 5]);
        assert_eq!(kept("NULL"), [0; 0]);
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
            "",
        ];
        let mut refusals = String::new();
        for condition in conditions {
            let error = filter(&Session::new(), &rows(), condition).unwrap_err();
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

                Expected: an expression, found: EOF
        "#]]
        .assert_eq(&refusals);
    }
}
