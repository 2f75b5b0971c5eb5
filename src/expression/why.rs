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

/// The errors with which `operation` fails for `rows` of `arguments`, in their order; `None` if they
/// are not known without trying each. `try_one` gives the error of a row by trying it.
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
