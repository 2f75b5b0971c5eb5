//! Evaluation that goes on where a row fails, and says which rows failed and why.
//!
//! An expression is rewritten once: every operation that can fail becomes an [`Attempt`] at it,
//! over a column with the numbers of the rows beside its arguments. Where the operation fails for
//! some rows of a batch, the attempt finds out which, notes them, and gives null for them, so that
//! the rest of the expression is evaluated for all other rows at once:
//!
//! ```text
//! CAST(t AS BIGINT) / n    ->    attempt(/)( attempt(CAST)( t ), n )
//! ```
//!
//! The rows at fault are found by the operation's twin if it has one (`TRY_CAST`,
//! `try_parse_count`, a look for zeros), which is one more evaluation of the batch, or the only one
//! if the batch before had such rows; else by halving it. Why they fail is told for all of them
//! together where the operation is known well enough (`why.rs`); else each is tried alone, for its
//! own error.
//!
//! # Invariants
//! 1. A row is noted if and only if the expression fails for it alone, and the first error that is
//!    noted is the one it fails with: the attempts are made in the order in which the expression is
//!    evaluated.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions,
    UInt64Array, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{cast, concat, filter_record_batch, take};
use arrow::datatypes::{DataType, Field, Schema, UInt64Type};
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion_common::{DataFusionError, Result, internal_err};
use datafusion_expr::{ColumnarValue, Operator};
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, Column, TryCastExpr};
use datafusion_physical_expr::utils::collect_columns;
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use super::fallible::{fails_itself, only_chooses};
use super::lazy::Lazy;
use super::why::errors_of;
use super::{Expr, catching};
use crate::function::{TooMuch, lenient};
use crate::sql::numbers::is_settled;

/// Below this many rows each is tried alone instead of halving on.
const FEW: usize = 12;

/// A row for which an expression failed.
#[derive(Debug)]
pub struct Failure {
    /// The number of the row, as it was given.
    pub row: u64,
    /// Why.
    pub error: DataFusionError,
}

/// What the attempts of some expressions note.
#[derive(Clone, Debug, Default)]
struct Noted(Arc<Mutex<Vec<Failure>>>);

impl Noted {
    fn lock(&self) -> MutexGuard<'_, Vec<Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Expressions over rows of one schema, rewritten into attempts.
#[derive(Debug)]
pub struct Attempts {
    noted: Noted,
    schema: Arc<Schema>,
}

impl Attempts {
    /// For expressions over rows of `schema`.
    pub fn new(schema: &Schema) -> Self {
        let numbers = Field::new("row number", DataType::UInt64, false);
        let fields = schema.fields().iter().cloned();
        let fields = fields.chain([Arc::new(numbers)]);
        Attempts {
            noted: Noted::default(),
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        }
    }

    /// `expr` as attempts, for rows made by [`Attempts::numbered`].
    pub fn rewrite(&self, expr: &Expr) -> Result<Expr> {
        Arc::clone(expr)
            .transform_down_up(
                |node| {
                    // What evaluates its parts in a way of its own is one operation.
                    let known = node.is::<Lazy>()
                        || only_chooses(node.as_ref())
                        || node.is::<ScalarFunctionExpr>()
                        || !fails_itself(node.as_ref(), &self.schema)
                        || node.is::<CastExpr>()
                        || node.is::<BinaryExpr>()
                        || is_settled(node.as_ref());
                    if known {
                        return Ok(Transformed::no(node));
                    }
                    let whole = self.attempt_whole(&node)?;
                    Ok(Transformed::new(whole, true, TreeNodeRecursion::Jump))
                },
                |node| {
                    let settled = node.is::<Attempt>() || node.is::<Lazy>();
                    if settled || !fails_itself(node.as_ref(), &self.schema) {
                        return Ok(Transformed::no(node));
                    }
                    Ok(Transformed::yes(self.attempt(&node)?))
                },
            )
            .data()
    }

    /// `rows` with their numbers as a last column.
    pub fn numbered(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let numbers = UInt64Array::from_iter_values(0..rows.num_rows() as u64);
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(numbers));
        let fields = rows.schema_ref().fields().iter().cloned();
        let last = self.schema.fields().iter().next_back().cloned();
        let schema = Schema::new(fields.chain(last).collect::<Vec<_>>());
        Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
    }

    /// What failed since the last call: for each row its first failure, in the order of the rows.
    pub fn failures(&self) -> Vec<Failure> {
        let mut failures = std::mem::take(&mut *self.noted.lock());
        failures.sort_by_key(|failure| failure.row);
        failures.dedup_by_key(|failure| failure.row);
        failures
    }

    /// The operation at the root of `node`, whose parts are settled.
    fn attempt(&self, node: &Expr) -> Result<Expr> {
        let mut arguments: Vec<Expr> = Vec::new();
        let operands = node
            .children()
            .into_iter()
            .map(|part| {
                // A constant stays one: some functions insist.
                if collect_columns(part).is_empty() {
                    return Arc::clone(part);
                }
                arguments.push(Arc::clone(part));
                column(arguments.len() - 1)
            })
            .collect();
        let operation = Arc::clone(node).with_new_children(operands)?;
        self.over(node, operation, arguments)
    }

    /// All of `node` as one operation on the columns that it reads.
    fn attempt_whole(&self, node: &Expr) -> Result<Expr> {
        let mut read: Vec<usize> = collect_columns(node).iter().map(Column::index).collect();
        read.sort_unstable();
        let arguments = read
            .iter()
            .map(|&index| -> Expr { Arc::new(Column::new(self.schema.field(index).name(), index)) })
            .collect();
        let operation = Arc::clone(node)
            .transform_up(|part| {
                let index = part.downcast_ref::<Column>().map(Column::index);
                let place = index.and_then(|index| read.binary_search(&index).ok());
                Ok(match place {
                    Some(place) => Transformed::yes(column(place)),
                    None => Transformed::no(part),
                })
            })
            .data()?;
        self.over(node, operation, arguments)
    }

    fn over(&self, node: &Expr, operation: Expr, mut arguments: Vec<Expr>) -> Result<Expr> {
        let data_type = node.data_type(&self.schema)?;
        let numbers = self.schema.fields().len() - 1;
        let twin = twin(&operation);
        arguments.push(Arc::new(Column::new("row number", numbers)));
        Ok(Arc::new(Attempt {
            operation,
            twin,
            arguments,
            data_type,
            noted: self.noted.clone(),
            failing: AtomicBool::new(false),
        }))
    }
}

fn column(index: usize) -> Expr {
    Arc::new(Column::new("argument", index))
}

/// A way to see at once for which rows an operation may fail.
#[derive(Clone, Debug)]
enum Twin {
    /// Gives null where the operation fails, where an argument is null, and perhaps elsewhere.
    NullWhereFailing(Expr),
    /// The operation fails where this is zero, and hardly anywhere else.
    FailsAtZero(Expr),
}

fn twin(operation: &Expr) -> Option<Twin> {
    if let Some(cast) = operation.downcast_ref::<CastExpr>() {
        // Where an element of a list fails, the list is not null.
        if cast.cast_type().is_nested() {
            return None;
        }
        let attempt = TryCastExpr::new(Arc::clone(cast.expr()), cast.cast_type().clone());
        return Some(Twin::NullWhereFailing(Arc::new(attempt)));
    }
    if let Some(binary) = operation.downcast_ref::<BinaryExpr>() {
        return matches!(binary.op(), Operator::Divide | Operator::Modulo)
            .then(|| Twin::FailsAtZero(Arc::clone(binary.right())));
    }
    let call = operation.downcast_ref::<ScalarFunctionExpr>()?;
    let lenient = lenient(call.fun().name())?;
    let attempt = ScalarFunctionExpr::new(
        lenient.name(),
        Arc::clone(&lenient),
        call.args().to_vec(),
        call.return_field(&Schema::empty()).ok()?,
        Arc::new(call.config_options().clone()),
    );
    Some(Twin::NullWhereFailing(Arc::new(attempt)))
}

/// One operation that can fail, over its arguments and the numbers of the rows.
#[derive(Debug)]
struct Attempt {
    /// Over a batch that has the arguments as columns.
    operation: Expr,
    twin: Option<Twin>,
    /// The arguments; the last is the number of the row.
    arguments: Vec<Expr>,
    data_type: DataType,
    noted: Noted,
    /// Whether a row of the last batch failed: then one of the next probably does.
    failing: AtomicBool,
}

/// What a twin says of a batch.
struct Suspects {
    /// The rows that may fail.
    rows: BooleanBuffer,
    /// The values of the others, if the twin has them.
    value: Option<ArrayRef>,
}

impl Attempt {
    fn operate(&self, arguments: &RecordBatch) -> Result<ArrayRef> {
        catching(|| {
            let value = self.operation.evaluate(arguments)?;
            value.into_array(arguments.num_rows())
        })
    }

    /// Which rows may fail, as the twin has it; `None` if it cannot tell.
    fn suspects(&self, arguments: &RecordBatch) -> Option<Suspects> {
        let evaluated = |expr: &Expr| {
            let value = catching(|| expr.evaluate(arguments)?.into_array(arguments.num_rows()));
            value.ok()
        };
        match self.twin.as_ref()? {
            Twin::NullWhereFailing(twin) => {
                let value = evaluated(twin)?;
                let rows = match value.logical_nulls() {
                    None => BooleanBuffer::new_unset(value.len()),
                    // Null gives null, and that is no failure.
                    Some(nulls) => {
                        let given = arguments.columns().iter().filter_map(|a| a.logical_nulls());
                        given.fold(!nulls.inner(), |rows, given| &rows & given.inner())
                    }
                };
                let value = Some(value);
                Some(Suspects { rows, value })
            }
            Twin::FailsAtZero(divisor) => {
                let divisor = evaluated(divisor)?;
                let zero = cast(&Int64Array::from(vec![0]), divisor.data_type()).ok()?;
                let zeros = eq(&divisor, &arrow::array::Scalar::new(zero)).ok()?;
                let rows = match zeros.nulls() {
                    Some(nulls) => zeros.values() & nulls.inner(),
                    None => zeros.values().clone(),
                };
                (rows.count_set_bits() > 0).then_some(Suspects { rows, value: None })
            }
        }
    }

    /// Notes why each of `rows` fails; false if that cannot be told without trying each.
    fn note(&self, arguments: &RecordBatch, rows: &BooleanBuffer, numbers: &UInt64Array) -> bool {
        let try_one = |row: usize| self.operate(&arguments.slice(row, 1)).err();
        let Some(errors) = errors_of(&self.operation, arguments, rows, try_one) else {
            return false;
        };
        let failures = rows.set_indices().zip(errors).map(|(row, error)| Failure {
            row: numbers.value(row),
            error,
        });
        self.noted.lock().extend(failures);
        true
    }

    /// The values of rows that are not at fault, put together row by row.
    fn isolated(&self, arguments: &RecordBatch, numbers: &UInt64Array) -> Result<ArrayRef> {
        let rows = arguments.num_rows();
        let suspects = self.suspects(arguments);
        if let Some(Suspects {
            rows: failing,
            value: Some(value),
        }) = &suspects
        {
            let fail = failing.count_set_bits() > 0;
            self.failing.store(fail, Ordering::Relaxed);
            if !fail || self.note(arguments, failing, numbers) {
                return Ok(Arc::clone(value));
            }
        }
        let mut found = Found {
            attempt: self,
            numbers,
            places: vec![0; rows],
            // Place 0 is the null of rows at fault.
            values: vec![new_null_array(&self.data_type, 1)],
            count: 1,
        };
        match suspects.map(|suspects| suspects.rows) {
            None => found.halve(arguments, &(0..rows).collect::<Vec<_>>())?,
            Some(suspects) => {
                let others: Vec<usize> = (!&suspects).set_indices().collect();
                if !others.is_empty() {
                    let others_only = BooleanArray::new(!&suspects, None);
                    let rest = filter_record_batch(arguments, &others_only)?;
                    found.halve(&rest, &others)?;
                }
                for row in suspects.set_indices() {
                    found.halve(&arguments.slice(row, 1), &[row])?;
                }
            }
        }
        let values: Vec<&dyn Array> = found.values.iter().map(AsRef::as_ref).collect();
        let values = concat(&values)?;
        Ok(take(&values, &UInt64Array::from(found.places), None)?)
    }
}

/// The values that were found so far.
struct Found<'a> {
    attempt: &'a Attempt,
    numbers: &'a UInt64Array,
    /// For each row where in `values` its value is.
    places: Vec<u64>,
    values: Vec<ArrayRef>,
    count: u64,
}

impl Found<'_> {
    /// Evaluates `arguments`, those of the rows `of`, in parts as large as can be.
    fn halve(&mut self, arguments: &RecordBatch, of: &[usize]) -> Result<()> {
        match self.attempt.operate(arguments) {
            Ok(values) => {
                for (&row, place) in of.iter().zip(self.count..) {
                    self.places[row] = place;
                }
                self.count += of.len() as u64;
                self.values.push(values);
            }
            Err(error) if TooMuch::is(&error) => return Err(error),
            Err(error) if of.len() == 1 => {
                let row = self.numbers.value(of[0]);
                self.attempt.noted.lock().push(Failure { row, error });
            }
            Err(_) => {
                let step = if of.len() <= FEW {
                    1
                } else {
                    of.len().div_ceil(2)
                };
                for (part, of) in of.chunks(step).enumerate() {
                    self.halve(&arguments.slice(part * step, of.len()), of)?;
                }
            }
        }
        Ok(())
    }
}

impl PhysicalExpr for Attempt {
    fn data_type(&self, _schema: &Schema) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn nullable(&self, _schema: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        let mut arguments = self
            .arguments
            .iter()
            .map(|argument| argument.evaluate(batch)?.into_array(rows))
            .collect::<Result<Vec<_>>>()?;
        let Some(numbers) = arguments.pop() else {
            return internal_err!("an attempt has the numbers of its rows");
        };
        let fields = arguments
            .iter()
            .map(|argument| Field::new("argument", argument.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let arguments = RecordBatch::try_new_with_options(schema, arguments, &options)?;
        let numbers = numbers.as_primitive::<UInt64Type>();
        if self.failing.load(Ordering::Relaxed) && rows > 0 {
            return self.isolated(&arguments, numbers).map(ColumnarValue::Array);
        }
        let value = match self.operate(&arguments) {
            Ok(value) => value,
            Err(error) if TooMuch::is(&error) => return Err(error),
            Err(_) if rows == 0 => new_null_array(&self.data_type, 0),
            Err(_) => self.isolated(&arguments, numbers)?,
        };
        Ok(ColumnarValue::Array(value))
    }

    fn children(&self) -> Vec<&Expr> {
        self.arguments.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Expr>) -> Result<Expr> {
        Ok(Arc::new(Attempt {
            operation: Arc::clone(&self.operation),
            twin: self.twin.clone(),
            arguments: children,
            data_type: self.data_type.clone(),
            noted: self.noted.clone(),
            failing: AtomicBool::new(false),
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt at {}", self.operation)
    }
}

// Two attempts are the same if they attempt the same.
impl PartialEq for Attempt {
    fn eq(&self, other: &Self) -> bool {
        self.operation.eq(&other.operation) && self.arguments.eq(&other.arguments)
    }
}

impl Eq for Attempt {}

impl Hash for Attempt {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.operation.hash(state);
        self.arguments.hash(state);
    }
}
