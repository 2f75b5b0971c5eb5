//! Where a view's rows come from if not from a table: other views, several inputs one after the other, rows that are written in the query.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::Schema;
use datafusion_common::{DFSchema, DataFusionError, ScalarValue};
use datafusion_expr as logical;

use super::map::{casts, nullable, scanned};
use super::{Lowered, Lowering};
use crate::plan::{NodeId, Op};

impl Lowering<'_> {
    /// A scan of a view above; scans of tables are keyed nodes.
    pub(super) fn scan(&mut self, scan: &logical::TableScan) -> Lowered {
        let name = scan.table_name.table();
        let Some(&root) = self.roots.get(name) else {
            return self.refuse(
                &[name],
                format!("`{name}` is a stream: its records have no key, so a view cannot be kept over it"),
                "make a table of it with CREATE TABLE name (PRIMARY KEY (column)) AS SELECT ..",
            );
        };
        Ok(match scanned(scan) {
            Some(map) => self.nodes.map(root, map),
            None => root,
        })
    }

    pub(super) fn union(&mut self, union: &logical::Union) -> Lowered {
        let schema = nullable(union.schema.as_arrow());
        let mut inputs = Vec::new();
        for plan in &union.inputs {
            let input = self.node(plan)?;
            let casts = casts(self.nodes.schema(input), &schema);
            inputs.push(match casts {
                Some(map) => self.nodes.map(input, map),
                None => input,
            });
        }
        Ok(self.nodes.add(Op::Union { inputs }, schema))
    }

    pub(super) fn values(&mut self, values: &logical::Values) -> Lowered {
        let schema = nullable(values.schema.as_arrow());
        let one_row = RecordBatch::try_new_with_options(
            Arc::new(Schema::empty()),
            Vec::new(),
            &RecordBatchOptions::new().with_row_count(Some(1)),
        )
        .expect("a batch without columns fits the empty schema");
        let mut columns: Vec<Vec<ScalarValue>> = vec![Vec::new(); schema.fields().len()];
        let failed = |error: DataFusionError| {
            self.text
                .error(&["VALUES"], error.find_root().to_string(), None)
        };
        for row in &values.values {
            for (column, expr) in columns.iter_mut().zip(row) {
                let value = self
                    .expr(expr, &DFSchema::empty())?
                    .evaluate(&one_row)
                    .and_then(|value| value.into_array(1))
                    .and_then(|array| ScalarValue::try_from_array(&array, 0))
                    .map_err(failed)?;
                column.push(value);
            }
        }
        let arrays = columns
            .into_iter()
            .map(ScalarValue::iter_to_array)
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let rows = RecordBatch::try_new(Arc::clone(&schema), arrays)
            .map_err(|error| failed(error.into()))?;
        Ok(self.nodes.add(Op::Constant { rows }, schema))
    }

    /// No row, or the one row of a SELECT without FROM.
    pub(super) fn empty(&mut self, empty: &logical::EmptyRelation) -> NodeId {
        let schema = nullable(empty.schema.as_arrow());
        let rows = if empty.produce_one_row {
            let options = RecordBatchOptions::new().with_row_count(Some(1));
            let columns = schema
                .fields()
                .iter()
                .map(|f| new_null_array(f.data_type(), 1))
                .collect();
            RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)
                .expect("nulls of a field's own type fit its schema")
        } else {
            RecordBatch::new_empty(Arc::clone(&schema))
        };
        self.nodes.add(Op::Constant { rows }, schema)
    }
}
