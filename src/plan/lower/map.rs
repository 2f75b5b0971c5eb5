//! Maps: what is done to rows one by one. Filters, projections, and the casts that make types
//! canonical.
//!
//! A table's query is nothing but maps; a view's has them between the other nodes.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion_expr::{self as logical, LogicalPlan};
use datafusion_physical_expr::expressions::CastExpr;

use super::Lowering;
use crate::definition::{DefinitionError, canonical_schema};
use crate::plan::keyed::column;
use crate::plan::{Expr, Map};

impl Lowering<'_> {
    /// The maps of a stateless query, innermost first.
    pub(super) fn clean(
        &self,
        plan: &LogicalPlan,
        maps: &mut Vec<Map>,
    ) -> Result<(), DefinitionError> {
        match plan {
            LogicalPlan::Projection(projection) => {
                let input = match projection.input.as_ref() {
                    LogicalPlan::Filter(filter) => &filter.input,
                    _ => &projection.input,
                };
                self.clean(input, maps)?;
                maps.push(self.project(projection)?);
            }
            LogicalPlan::Filter(filter) => {
                self.clean(&filter.input, maps)?;
                maps.push(self.filter(filter)?);
            }
            LogicalPlan::SubqueryAlias(alias) => self.clean(&alias.input, maps)?,
            LogicalPlan::TableScan(scan) => maps.extend(scanned(scan)),
            other => return self.unsupported(other),
        }
        Ok(())
    }

    /// The map of a projection, fused with a filter directly below it.
    pub(super) fn project(&self, projection: &logical::Projection) -> Result<Map, DefinitionError> {
        let (filter, schema) = match projection.input.as_ref() {
            LogicalPlan::Filter(filter) => (
                Some(self.expr(&filter.predicate, filter.input.schema())?),
                filter.input.schema(),
            ),
            other => (None, other.schema()),
        };
        let project = projection
            .expr
            .iter()
            .map(|expr| self.expr(expr, schema))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Map {
            filter,
            project: Some(project),
            schema: nullable(projection.schema.as_arrow()),
        })
    }

    /// The map of a filter alone.
    pub(super) fn filter(&self, filter: &logical::Filter) -> Result<Map, DefinitionError> {
        let schema = filter.input.schema();
        Ok(Map {
            filter: Some(self.expr(&filter.predicate, schema)?),
            project: None,
            schema: nullable(schema.as_arrow()),
        })
    }
}

/// The map that keeps all rows and returns these columns.
pub(super) fn projection(project: Vec<Expr>, schema: SchemaRef) -> Map {
    Map {
        filter: None,
        project: Some(project),
        schema,
    }
}

/// The map of a scan, if it reads some of the columns only.
pub(super) fn scanned(scan: &logical::TableScan) -> Option<Map> {
    let columns = scan.projection.as_ref()?;
    let schema = nullable(scan.projected_schema.as_arrow());
    let project = columns
        .iter()
        .zip(schema.fields())
        .map(|(&index, field)| column(field.name(), index))
        .collect();
    Some(projection(project, schema))
}

/// The casts that bring `schema` to canonical types, if any are needed.
pub(super) fn canonical_map(schema: &SchemaRef) -> Option<Map> {
    casts(schema, &canonical_schema(schema.fields()))
}

/// The casts that bring the columns of `from` to the types of `to`, if any are needed.
pub(super) fn casts(from: &SchemaRef, to: &SchemaRef) -> Option<Map> {
    let pairs = || from.fields().iter().zip(to.fields());
    if pairs().all(|(from, to)| from.data_type() == to.data_type()) {
        return None;
    }
    let project = pairs().enumerate().map(|(index, (from, to))| {
        let column = column(from.name(), index);
        cast(column, from.data_type(), to.data_type())
    });
    Some(projection(project.collect(), Arc::clone(to)))
}

/// `expr`, which is a `from`, as a `to`. A duration becomes a number of microseconds, whatever it
/// counted.
fn cast(expr: Expr, from: &DataType, to: &DataType) -> Expr {
    let as_type = |expr: Expr, data_type: &DataType| -> Expr {
        Arc::new(CastExpr::new(expr, data_type.clone(), None))
    };
    if from == to {
        return expr;
    }
    if matches!(
        (from, to),
        (DataType::Decimal128(..), DataType::Duration(_))
    ) {
        return as_type(as_type(expr, &DataType::Int64), to);
    }
    let counted = in_microseconds(from);
    match counted == *from {
        true => as_type(expr, to),
        false => as_type(as_type(expr, &counted), to),
    }
}

/// The type with all durations in microseconds.
fn in_microseconds(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        DataType::List(item) => {
            let item_type = in_microseconds(item.data_type());
            DataType::List(Arc::new(item.as_ref().clone().with_data_type(item_type)))
        }
        other => other.clone(),
    }
}

/// The same columns, all nullable.
pub(super) fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema
        .fields()
        .iter()
        .map(|f| Field::new(f.name(), f.data_type().clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
