//! `AND` and `OR` that evaluate their right side only on the rows that their left side leaves
//! undecided.
//!
//! Of `b <> 0 AND 10 / b > 1` the right side fails for a row that the left side has decided
//! already. DataFusion guards such a row only if the left side decides every row of the batch, or
//! most of them; here it is guarded in every batch.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch};
use arrow::compute::{and_kleene, filter, filter_record_batch, or_kleene};
use arrow::datatypes::{DataType, Schema};
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{Result, internal_err};
use datafusion_expr::{ColumnarValue, Operator};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::BinaryExpr;

use super::{Expr, may_fail};

/// `expr` with every `AND` and `OR` whose right side can fail made lazy; `schema` is that of its
/// rows.
pub fn lazily(expr: &Expr, schema: &Schema) -> Result<Expr> {
    Arc::clone(expr)
        .transform_up(|node| {
            let Some(binary) = node.downcast_ref::<BinaryExpr>() else {
                return Ok(Transformed::no(node));
            };
            let stops_at = match binary.op() {
                Operator::And => false,
                Operator::Or => true,
                _ => return Ok(Transformed::no(node)),
            };
            if !may_fail(binary.right(), schema) {
                return Ok(Transformed::no(node));
            }
            let lazy: Expr = Arc::new(Lazy {
                left: Arc::clone(binary.left()),
                right: Arc::clone(binary.right()),
                stops_at,
            });
            Ok(Transformed::yes(lazy))
        })
        .data()
}

/// `left AND right`, or `left OR right`.
#[derive(Debug, Eq)]
pub(super) struct Lazy {
    left: Expr,
    right: Expr,
    /// The value of the left side that decides the row: false for AND, true for OR.
    stops_at: bool,
}

// Derived, it would move what cannot be moved.
impl PartialEq for Lazy {
    fn eq(&self, other: &Self) -> bool {
        self.left.eq(&other.left) && self.right.eq(&other.right) && self.stops_at == other.stops_at
    }
}

impl Hash for Lazy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.left, &self.right, self.stops_at).hash(state);
    }
}

impl Lazy {
    /// The value where the left side has decided, `of_undecided` where it has not.
    fn merged(&self, undecided: &BooleanArray, of_undecided: &BooleanArray) -> BooleanArray {
        let rows = undecided.len();
        let mut values = BooleanBufferBuilder::new(rows);
        let mut valid = BooleanBufferBuilder::new(rows);
        values.append_n(rows, self.stops_at);
        valid.append_n(rows, true);
        for (at, row) in undecided.values().set_indices().enumerate() {
            values.set_bit(row, of_undecided.value(at));
            valid.set_bit(row, of_undecided.is_valid(at));
        }
        BooleanArray::new(values.finish(), Some(valid.finish().into()))
    }
}

impl PhysicalExpr for Lazy {
    fn data_type(&self, _schema: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        Ok(self.left.nullable(schema)? || self.right.nullable(schema)?)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        let left = booleans(self.left.evaluate(batch)?, rows)?;
        // Null decides nothing: NULL AND false is false.
        let undecided = match (left.nulls(), self.stops_at) {
            (None, false) => left.values().clone(),
            (None, true) => !left.values(),
            (Some(nulls), false) => left.values() | &!nulls.inner(),
            (Some(nulls), true) => !&(left.values() & nulls.inner()),
        };
        let open = undecided.count_set_bits();
        if open == 0 {
            return Ok(ColumnarValue::Array(Arc::new(left)));
        }
        let combined = |left: &BooleanArray, right: &BooleanArray| match self.stops_at {
            false => and_kleene(left, right),
            true => or_kleene(left, right),
        };
        if open == rows {
            let right = booleans(self.right.evaluate(batch)?, rows)?;
            return Ok(ColumnarValue::Array(Arc::new(combined(&left, &right)?)));
        }
        let undecided = BooleanArray::new(undecided, None);
        let right = self
            .right
            .evaluate(&filter_record_batch(batch, &undecided)?)?;
        let left = filter(&left, &undecided)?;
        let of_undecided = combined(left.as_boolean(), &booleans(right, open)?)?;
        let merged = self.merged(&undecided, &of_undecided);
        Ok(ColumnarValue::Array(Arc::new(merged)))
    }

    fn children(&self) -> Vec<&Expr> {
        vec![&self.left, &self.right]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Expr>) -> Result<Expr> {
        match <[Expr; 2]>::try_from(children) {
            Ok([left, right]) => Ok(Arc::new(Lazy {
                left,
                right,
                stops_at: self.stops_at,
            })),
            Err(children) => internal_err!("AND and OR have two sides, not {}", children.len()),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Lazy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.stops_at { "OR" } else { "AND" };
        write!(f, "({} {word} {})", self.left, self.right)
    }
}

fn booleans(value: ColumnarValue, rows: usize) -> Result<BooleanArray> {
    let array = value.into_array(rows)?;
    match array.as_boolean_opt() {
        Some(booleans) => Ok(booleans.clone()),
        None if array.data_type().is_null() => Ok(BooleanArray::new_null(rows)),
        None => internal_err!("a side of AND or OR is {}", array.data_type()),
    }
}
