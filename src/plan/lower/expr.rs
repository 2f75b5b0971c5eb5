//! Scalar expressions: from logical ones, which name their columns, to physical ones, which number
//! them and evaluate batches.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::expr::Sort as SortExpr;
use datafusion_expr::{Expr as LogicalExpr, LogicalPlan};

use super::Lowering;
use super::map::projection;
use crate::definition::DefinitionError;
use crate::plan::keyed::as_column;
use crate::plan::{Expr, NodeId};
use crate::sql::physical;

impl Lowering<'_> {
    /// The physical form of `expr`.
    pub(super) fn expr(
        &self,
        expr: &LogicalExpr,
        schema: &DFSchema,
    ) -> Result<Expr, DefinitionError> {
        let (mut subquery, mut value) = (false, false);
        let _ = expr.apply(|part| {
            value |= matches!(part, LogicalExpr::ScalarSubquery(_));
            subquery |= matches!(
                part,
                LogicalExpr::ScalarSubquery(_)
                    | LogicalExpr::Exists(_)
                    | LogicalExpr::InSubquery(_)
                    | LogicalExpr::SetComparison(_)
            );
            Ok(TreeNodeRecursion::Continue)
        });
        if subquery {
            let mut error = self.text.error(
                &["EXISTS", "IN", "ANY", "ALL"],
                "this subquery cannot be turned into a join, so it cannot be maintained",
                Some("write it as a JOIN, or as a view of its own that is joined"),
            );
            if value {
                error.place = self.text.find_value_subquery().or(error.place);
            }
            return Err(error);
        }
        physical(expr, schema, &self.properties)
            .map_err(|error| self.text.error(&[], error.find_root().to_string(), None))
    }

    /// A node whose columns are these expressions over the rows of `input` (those of `plan`), equal
    /// ones once; and where each of them stands.
    pub(super) fn compute(
        &mut self,
        input: NodeId,
        plan: &LogicalPlan,
        exprs: &[&LogicalExpr],
    ) -> Result<(NodeId, Vec<usize>), DefinitionError> {
        let own = Arc::clone(self.nodes.schema(input));
        let mut fields: Vec<Field> = Vec::new();
        let mut project: Vec<Expr> = Vec::new();
        let mut known: HashMap<Expr, usize> = HashMap::new();
        let mut places = Vec::new();
        for expr in exprs {
            let physical = self.expr(expr, plan.schema())?;
            let place = match known.get(&physical) {
                Some(&place) => place,
                None => {
                    let data_type = physical.data_type(&own).map_err(|error| {
                        self.text.error(&[], error.find_root().to_string(), None)
                    })?;
                    fields.push(Field::new(expr.schema_name().to_string(), data_type, true));
                    project.push(Arc::clone(&physical));
                    known.insert(physical, project.len() - 1);
                    project.len() - 1
                }
            };
            places.push(place);
        }
        let map = projection(project, Arc::new(Schema::new(fields)));
        Ok((self.nodes.map(input, map), places))
    }
}

/// Whether `project` returns all columns of an input of so many, in their order.
pub(super) fn is_identity(project: &[Expr], width: usize) -> bool {
    project.len() == width
        && project
            .iter()
            .enumerate()
            .all(|(index, expr)| as_column(expr) == Some(index))
}

/// The columns of `plan` as expressions over its rows.
pub(super) fn columns_of(plan: &LogicalPlan) -> Vec<LogicalExpr> {
    let columns = plan.schema().columns().into_iter();
    columns.map(LogicalExpr::Column).collect()
}

/// The direction of an ORDER BY, and where its nulls go.
pub(super) fn sort_options(sort: &SortExpr) -> SortOptions {
    SortOptions {
        descending: !sort.asc,
        nulls_first: sort.nulls_first,
    }
}

/// A constant as a count; `None` if it is none.
pub(super) fn whole_number(value: &ScalarValue) -> Option<u64> {
    match value.cast_to(&DataType::UInt64).ok()? {
        ScalarValue::UInt64(number) => number,
        _ => None,
    }
}

/// A constant as a number.
pub(super) fn number(value: &ScalarValue) -> Option<f64> {
    match value.cast_to(&DataType::Float64).ok()? {
        ScalarValue::Float64(number) => number,
        _ => None,
    }
}
