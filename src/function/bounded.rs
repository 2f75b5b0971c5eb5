//! Functions whose value can be much longer than their arguments, held to a bound.
//!
//! `repeat(t, n)` of a record that says `n = 9000000000` would ask for more memory than there is,
//! and a failed allocation ends the process. So the length is estimated before the call: a value
//! longer than [`VALUE_MAX`], and longer than the arguments together, is an error of its row. A
//! batch whose values would take more than [`BATCH_MAX`] together is [`TooMuch`], and is evaluated
//! in parts.
//!
//! # Invariants
//! 1. Whether a row is an error depends on its own arguments alone.
//! 2. [`TooMuch`] is never said of one row.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, FieldRef, Int64Type, IntervalUnit, TimeUnit};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DataFusionError, Result, ScalarValue};
use datafusion_expr::interval_arithmetic::Interval;
use datafusion_expr::preimage::PreimageResult;
use datafusion_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

/// The most bytes of a value (elements of a list count eight or more) unless its arguments have
/// more.
pub const VALUE_MAX: u64 = 1 << 20;

/// The most bytes of the values of one batch.
const BATCH_MAX: u64 = 256 << 20;

/// A value that would be too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{function}` would give a value of about {length} bytes; a value may have {VALUE_MAX}, or as many as the arguments of the call"
)]
pub struct TooLong {
    /// The SQL name of the function.
    pub function: String,
    /// How long the value would be, about.
    pub length: u64,
}

/// A batch whose values would take too much memory together, though each of them may be well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the values of a batch would take more than {BATCH_MAX} bytes")]
pub struct TooMuch;

impl TooMuch {
    /// Whether `error` is this one.
    pub fn is(error: &DataFusionError) -> bool {
        matches!(error.find_root(), DataFusionError::External(root) if root.is::<TooMuch>())
    }
}

/// `function`, held to the bound if it is one that can exceed it.
pub fn bounded(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    let length: Length = match function.name() {
        "repeat" => |row| row.size(0).saturating_mul(row.count(1)),
        "lpad" | "rpad" => |row| row.count(1),
        "array_repeat" => |row| row.count(1).saturating_mul(row.size(0).max(8)),
        "array_resize" => |row| row.count(1).saturating_mul(row.size(2).max(8)),
        "range" | "generate_series" => |row| row.steps().saturating_mul(8),
        "array_to_string" => |row| {
            let element = row.size(1).saturating_add(row.size(2).max(32));
            (row.count(0).saturating_mul(element)).saturating_add(row.size(0))
        },
        "array_replace" | "array_replace_n" | "array_replace_all" => |row| {
            let grown = row.count(0).saturating_mul(row.size(2));
            grown.saturating_add(row.size(0))
        },
        "replace" => |row| row.replaced(),
        "regexp_replace" => |row| row.replaced_by_pattern(),
        _ => return function,
    };
    Arc::new(ScalarUDF::new_from_impl(Bounded { function, length }))
}

/// How long the value of a row would be, about.
type Length = fn(&Row<'_>) -> u64;

/// The arguments of a call for one row.
struct Row<'a> {
    arguments: &'a [ColumnarValue],
    row: usize,
}

impl Row<'_> {
    /// The argument, and where in it the row is; `None` if there is no such argument, or it is
    /// null.
    fn argument<T>(&self, index: usize, read: impl Fn(&dyn Array, usize) -> T) -> Option<T> {
        match self.arguments.get(index)? {
            ColumnarValue::Array(array) => array.is_valid(self.row).then(|| read(array, self.row)),
            ColumnarValue::Scalar(value) if value.is_null() => None,
            ColumnarValue::Scalar(value) => Some(read(&value.to_array().ok()?, 0)),
        }
    }

    /// A number if it is one (nothing below zero); else how many bytes or elements there are.
    fn count(&self, index: usize) -> u64 {
        let count = self.argument(index, |array, row| match number(array, row) {
            Some(number) => u64::try_from(number.max(0)).unwrap_or(u64::MAX),
            None => elements(array, row).map_or_else(|| size(array, row), |e| e.len() as u64),
        });
        count.unwrap_or(0)
    }

    /// How many bytes there are.
    fn size(&self, index: usize) -> u64 {
        self.argument(index, size).unwrap_or(0)
    }

    fn text(&self, index: usize) -> Option<String> {
        self.argument(index, |array, row| {
            ScalarValue::try_from_array(array, row)
                .ok()?
                .try_as_str()?
                .map(str::to_owned)
        })?
    }

    /// How many values a series has.
    fn steps(&self) -> u64 {
        let value = |index| self.argument(index, number).flatten();
        let (from, to) = match self.arguments.len() {
            1 => (Some(0), value(0)),
            _ => (value(0), value(1)),
        };
        let step = value(2).unwrap_or(1).unsigned_abs();
        match (from, to) {
            (Some(from), Some(to)) if step > 0 => {
                u64::try_from(from.abs_diff(to) / step).unwrap_or(u64::MAX)
            }
            _ => 0,
        }
    }

    fn replaced(&self) -> u64 {
        let (text, by) = (self.size(0), self.size(2));
        let at_most = text.saturating_add(text.saturating_add(1).saturating_mul(by));
        if at_most <= VALUE_MAX {
            return at_most;
        }
        let (Some(text), Some(from)) = (self.text(0), self.text(1)) else {
            return 0;
        };
        let found = memchr::memmem::find_iter(text.as_bytes(), from.as_bytes()).count();
        (text.len() as u64).saturating_add((found as u64).saturating_mul(by))
    }

    fn replaced_by_pattern(&self) -> u64 {
        let (text, by) = (self.size(0), self.size(2));
        let groups = |references: u64| text.saturating_mul(references.saturating_add(1));
        let every = text.saturating_add(1).saturating_mul(by);
        let at_most = every.saturating_add(groups(by / 2));
        if at_most <= VALUE_MAX {
            return at_most;
        }
        let flags = self.text(3).unwrap_or_default();
        let found = match (self.text(0), self.text(1)) {
            _ if !flags.contains('g') => 1,
            (Some(text), Some(pattern)) => {
                let insensitive = if flags.contains('i') { "(?i)" } else { "" };
                let pattern = regex::Regex::new(&format!("{insensitive}{pattern}"));
                pattern.map_or(0, |pattern| pattern.find_iter(&text).count() as u64)
            }
            _ => 0,
        };
        let by_text = self.text(2).unwrap_or_default();
        let references = by_text.bytes().filter(|b| matches!(b, b'\\' | b'$'));
        let references = references.count() as u64;
        (found.saturating_mul(by)).saturating_add(groups(references))
    }
}

/// A number, or an instant or a duration in nanoseconds (a month has 28 days).
fn number(array: &dyn Array, row: usize) -> Option<i128> {
    use arrow::datatypes as t;
    const DAY: i128 = 86_400_000_000_000;
    let whole = |data_type: &DataType| {
        let cast = arrow::compute::cast(&array.slice(row, 1), data_type).ok()?;
        Some(i128::from(cast.as_primitive::<t::Int64Type>().value(0)))
    };
    match array.data_type() {
        data_type if data_type.is_integer() => whole(&DataType::Int64),
        DataType::Date32 => {
            Some(i128::from(array.as_primitive::<t::Date32Type>().value(row)) * DAY)
        }
        DataType::Timestamp(unit, _) => {
            let nanoseconds = match unit {
                TimeUnit::Second => 1_000_000_000,
                TimeUnit::Millisecond => 1_000_000,
                TimeUnit::Microsecond => 1_000,
                TimeUnit::Nanosecond => 1,
            };
            whole(&DataType::Int64).map(|value| value * nanoseconds)
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = array
                .as_primitive::<t::IntervalMonthDayNanoType>()
                .value(row);
            let days = i128::from(value.months) * 28 + i128::from(value.days);
            Some(days * DAY + i128::from(value.nanoseconds))
        }
        _ => None,
    }
}

/// The elements of a list.
fn elements(array: &dyn Array, row: usize) -> Option<arrow::array::ArrayRef> {
    match array.data_type() {
        DataType::List(_) => Some(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Some(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(_, _) => Some(array.as_fixed_size_list().value(row)),
        _ => None,
    }
}

/// How many bytes a value has, about.
pub fn size(array: &dyn Array, row: usize) -> u64 {
    let bytes = match array.data_type() {
        _ if array.is_null(row) => 0,
        DataType::Utf8 => array.as_string::<i32>().value(row).len(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).len(),
        DataType::Utf8View => array.as_string_view().value(row).len(),
        DataType::Binary => array.as_binary::<i32>().value(row).len(),
        DataType::BinaryView => array.as_binary_view().value(row).len(),
        _ => match elements(array, row) {
            None => return 16,
            Some(elements) => {
                let each = (0..elements.len()).map(|row| size(&elements, row).max(8));
                return each.sum();
            }
        },
    };
    bytes as u64
}

/// The lengths with 0 for those below it, for which DataFusion's padding panics: padded to no
/// length at all, a text is empty.
fn not_negative(lengths: &ColumnarValue) -> Result<ColumnarValue> {
    Ok(match lengths {
        ColumnarValue::Scalar(ScalarValue::Int64(Some(length))) => {
            ColumnarValue::Scalar(ScalarValue::Int64(Some((*length).max(0))))
        }
        ColumnarValue::Array(array) => match array.as_primitive_opt::<Int64Type>() {
            Some(lengths) => {
                let lengths = lengths.unary::<_, Int64Type>(|length| length.max(0));
                ColumnarValue::Array(Arc::new(lengths))
            }
            None => ColumnarValue::Array(Arc::clone(array)),
        },
        ColumnarValue::Scalar(other) => ColumnarValue::Scalar(other.clone()),
    })
}

/// A function with a look at the length of its values before they are made.
#[derive(Debug)]
struct Bounded {
    function: Arc<ScalarUDF>,
    length: Length,
}

impl Bounded {
    fn check(&self, given: &ScalarFunctionArgs) -> Result<()> {
        let constant = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        let rows = match given.args.iter().all(constant) {
            true => given.number_rows.min(1),
            false => given.number_rows,
        };
        let mut together: u64 = 0;
        for row in 0..rows {
            let arguments = &given.args;
            let row = Row { arguments, row };
            let length = (self.length)(&row);
            if length > VALUE_MAX
                && length > (0..arguments.len()).map(|index| row.size(index)).sum()
            {
                let function = self.function.name().to_owned();
                let error = TooLong { function, length };
                return Err(DataFusionError::External(Box::new(error)));
            }
            together = together.saturating_add(length);
        }
        if together > BATCH_MAX && rows > 1 {
            return Err(DataFusionError::External(Box::new(TooMuch)));
        }
        Ok(())
    }
}

impl PartialEq for Bounded {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function
    }
}

impl Eq for Bounded {}

impl Hash for Bounded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.hash(state);
    }
}

/// All but the call itself is the function's own.
impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.function.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.function.return_type(given)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.function.return_field_from_args(args)
    }

    fn is_strict(&self) -> bool {
        self.function.inner().is_strict()
    }

    fn invoke_with_args(&self, mut given: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.check(&given)?;
        if let ("lpad" | "rpad", Some(length)) = (self.name(), given.args.get_mut(1)) {
            *length = not_negative(length)?;
        }
        self.function.invoke_with_args(given)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let updated = self.function.inner().with_updated_config(config)?;
        Some(Arc::unwrap_or_clone(bounded(Arc::new(updated))))
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.function.simplify(args, info)
    }

    fn preimage(
        &self,
        args: &[Expr],
        literal: &Expr,
        info: &SimplifyContext,
    ) -> Result<PreimageResult> {
        self.function.inner().preimage(args, literal, info)
    }

    fn conditional_arguments<'a>(
        &self,
        args: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.function.conditional_arguments(args)
    }

    fn short_circuits(&self) -> bool {
        self.function.short_circuits()
    }

    fn evaluate_bounds(&self, input: &[&Interval]) -> Result<Interval> {
        self.function.evaluate_bounds(input)
    }

    fn propagate_constraints(
        &self,
        interval: &Interval,
        inputs: &[&Interval],
    ) -> Result<Option<Vec<Interval>>> {
        self.function.propagate_constraints(interval, inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.function.output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.function.preserves_lex_ordering(inputs)
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(given)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.documentation()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch, StringViewArray};
    use datafusion_common::DFSchema;

    use super::*;
    use crate::sql::Session;

    /// The error of `sql` over two rows of which the second is usual.
    fn error(sql: &str, n: i64) -> Option<String> {
        let t = Arc::new(StringViewArray::from(vec!["aaaa", "aaaa"])) as arrow::array::ArrayRef;
        let n = Arc::new(Int64Array::from(vec![n, 3]));
        let rows = RecordBatch::try_from_iter_with_nullable([("t", t, true), ("n", n, true)])
            .expect("columns of equal length");
        let schema = DFSchema::try_from(rows.schema()).expect("names are unique");
        let session = Session::new();
        let expr = session.expression(sql, &schema).expect(sql);
        let expr = session.physical(expr, &schema).expect(sql);
        expr.evaluate(&rows).err().map(|error| error.to_string())
    }

    #[test]
    fn values_without_bound_are_errors_before_they_are_made() {
        for sql in [
            "repeat(t, n)",
            "lpad(t, n)",
            "rpad(t, n, 'b')",
            "array_repeat(t, n)",
            "array_repeat(range(1000), n)",
            "array_resize([1], n)",
            "array_resize([1], n, 7)",
            "range(n)",
            "range(0, n, 2)",
            "generate_series(0, n)",
            "generate_series(n, 0, -1)",
            "array_to_string(range(100000), repeat(t, n / 1000000000))",
            "replace(repeat(t, 1000), 'a', repeat(t, n / 1000000000))",
            "regexp_replace(repeat(t, 1000), 'a', repeat(t, n / 1000000000), 'g')",
            "regexp_replace(repeat(t, 10000), '^(.*)$', repeat('\\1', n / 100000000))",
        ] {
            let error = error(sql, 1_000_000_000_000).expect(sql);
            assert!(
                error.contains("would give a value of about"),
                "{sql}: {error}"
            );
        }
    }

    #[test]
    fn usual_values_are_made() {
        for sql in [
            "repeat(t, n)",
            "lpad(t, n, '0')",
            "array_repeat(t, n)",
            "array_resize([1], n)",
            "range(n)",
            "generate_series(0, n)",
            "array_to_string(range(1000), repeat(t, n))",
            "replace(repeat(t, 100000), 'a', 'b')",
            "regexp_replace(repeat(t, 100000), 'a', 'b', 'g')",
            "regexp_replace(repeat(t, 1000), '^(.*)$', '<\\1>')",
        ] {
            assert_eq!(error(sql, 7), None, "{sql}");
        }
    }

    #[test]
    fn a_text_padded_to_less_than_nothing_is_empty() {
        for sql in ["lpad(t, n)", "rpad(t, n, 'b')", "lpad(t, n - 3)"] {
            assert_eq!(error(sql, i64::MIN + 3), None, "{sql}");
        }
    }

    #[test]
    fn a_batch_that_would_take_too_much_says_so() {
        let texts: StringViewArray = (0..1000).map(|_| Some("a")).collect();
        let rows = RecordBatch::try_from_iter([("t", Arc::new(texts) as arrow::array::ArrayRef)])
            .expect("one column");
        let schema = DFSchema::try_from(rows.schema()).expect("names are unique");
        let session = Session::new();
        let expr = session.expression("repeat(t, 1000000)", &schema);
        let expr = session
            .physical(expr.expect("it is SQL"), &schema)
            .expect("types fit");
        let error = expr.evaluate(&rows).expect_err("a gigabyte");
        assert!(TooMuch::is(&error), "{error}");
        assert!(expr.evaluate(&rows.slice(0, 1)).is_ok());
    }
}
