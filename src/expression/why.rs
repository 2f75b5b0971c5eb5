//! Why an operation fails for each of many rows, told for all of them together.
//!
//! To try each row alone costs some microseconds, which an input of nothing but bad values cannot
//! afford. The functions of ours say for any value what is wrong with it, and so does a cast of
//! text, whose sentence differs in the value alone.

use arrow::array::{AsArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion_common::{DataFusionError, Result};
use datafusion_physical_expr::ScalarFunctionExpr;
use datafusion_physical_expr::expressions::{CastExpr, Column};

use super::Expr;
use crate::function::refusals;

/// What the sentence of a failed cast of text has before the value.
const BEFORE: &str = "Cannot cast string '";

/// The errors with which `operation` fails for `rows` of `arguments`, in their order; `None` if
/// they are not known without trying each. `try_one` gives the error of a row by trying it.
pub(super) fn errors_of(
    operation: &Expr,
    arguments: &RecordBatch,
    rows: &BooleanBuffer,
    try_one: impl Fn(usize) -> Option<DataFusionError>,
) -> Option<Vec<DataFusionError>> {
    if let Some(call) = operation.downcast_ref::<ScalarFunctionExpr>() {
        let values = call.args().iter().map(|value| value.evaluate(arguments));
        let values = values.collect::<Result<Vec<_>>>().ok()?;
        let errors = refusals(call.fun(), values, rows)?.into_iter();
        let errors = errors.map(|error| DataFusionError::External(Box::new(error)));
        return Some(errors.collect());
    }
    cast_errors(operation.downcast_ref()?, arguments, rows, try_one)
}

/// The errors of casts of text to numbers and dates.
fn cast_errors(
    cast: &CastExpr,
    arguments: &RecordBatch,
    rows: &BooleanBuffer,
    try_one: impl Fn(usize) -> Option<DataFusionError>,
) -> Option<Vec<DataFusionError>> {
    let to = cast.cast_type();
    if !(to.is_integer() || to.is_floating() || matches!(to, DataType::Date32)) {
        return None;
    }
    let column = cast.expr().downcast_ref::<Column>()?;
    let texts = arguments.column(column.index()).as_string_view_opt()?;
    // What the sentence is, is taken from one that was made.
    let first = rows.set_indices().next()?;
    let sentence = sentence(&try_one(first)?)?;
    let after = sentence.strip_prefix(BEFORE)?;
    let after = after.strip_prefix(texts.value(first))?;
    let after = after.strip_prefix('\'').map(|_| after)?;
    let error = |row: usize| {
        let sentence = [BEFORE, texts.value(row), after].concat();
        DataFusionError::ArrowError(Box::new(ArrowError::CastError(sentence)), None)
    };
    Some(rows.set_indices().map(error).collect())
}

/// What a cast says that failed.
fn sentence(error: &DataFusionError) -> Option<String> {
    match error.find_root() {
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::CastError(sentence) => Some(sentence.clone()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringViewArray};
    use datafusion_expr::ScalarUDF;
    use datafusion_physical_expr::expressions::cast;

    use super::*;
    use crate::function;

    /// Texts of which each operation below reads some, and refuses the others.
    fn texts() -> RecordBatch {
        let texts = [
            "7",
            "",
            "x",
            "'",
            "string",
            "Cannot cast string '",
            "2020-01-01",
            "12k",
            "-1",
            "1e400",
            "a text that is longer than the views of texts hold by themselves, and no number",
        ];
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
        RecordBatch::try_from_iter_with_nullable([("t", texts, true)]).unwrap()
    }

    fn operations(rows: &RecordBatch) -> Vec<Expr> {
        let schema = rows.schema();
        let column = || Arc::new(Column::new("t", 0)) as Expr;
        let casts = [DataType::Int64, DataType::Float64, DataType::Date32];
        let casts = casts.map(|to| cast(column(), &schema, to).unwrap());
        let called = |function: ScalarUDF| {
            let options = Arc::default();
            let call =
                ScalarFunctionExpr::try_new(Arc::new(function), vec![column()], &schema, options);
            Arc::new(call.unwrap()) as Expr
        };
        let parsers = function::all().into_iter();
        let parsers = parsers
            .filter(|f| f.name().starts_with("parse_"))
            .map(called);
        casts.into_iter().chain(parsers).collect()
    }

    #[test]
    fn what_is_said_of_many_rows_is_what_is_said_of_each_alone() {
        let rows = texts();
        for operation in operations(&rows) {
            let alone = |row: usize| operation.evaluate(&rows.slice(row, 1)).err();
            let failing: BooleanBuffer = (0..rows.num_rows())
                .map(|row| alone(row).is_some())
                .collect();
            assert!(failing.count_set_bits() > 3, "{operation}");
            let errors = errors_of(&operation, &rows, &failing, alone);
            let errors = errors.unwrap_or_else(|| panic!("{operation} says nothing"));
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let each = failing.set_indices().filter_map(alone);
            let each: Vec<String> = each.map(|error| error.to_string()).collect();
            assert_eq!(errors, each, "{operation}");
        }
    }
}
