//! Where a view's rows come from if not from a table: other views, several inputs one after the
//! other, rows that are written in the query.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use datafusion_common::{DFSchema, DataFusionError, ScalarValue};
use datafusion_expr as logical;

use super::map::{casts, nullable, scanned};
use super::{Lowered, Lowering};
use crate::plan::Op;

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
        let failed = |error: DataFusionError| {
            self.text
                .error(&["VALUES"], error.find_root().to_string(), None)
        };
        let mut rows = Vec::with_capacity(values.values.len());
        for written in &values.values {
            let mut row = Vec::with_capacity(written.len());
            for (expr, field) in written.iter().zip(schema.fields()) {
                let value = self
                    .expr(expr, &DFSchema::empty())?
                    .evaluate(&one_row)
                    .and_then(|value| value.into_array(1))
                    .and_then(|array| ScalarValue::try_from_array(&array, 0))
                    .and_then(|value| value.cast_to(field.data_type()))
                    .map_err(failed)?;
                row.push(value);
            }
            rows.push(row);
        }
        Ok(self.nodes.add(Op::Constant { rows }, schema))
    }

    /// No row, or the one row of a SELECT without FROM.
    pub(super) fn empty(&mut self, empty: &logical::EmptyRelation) -> Lowered {
        let schema = nullable(empty.schema.as_arrow());
        let nulls = schema
            .fields()
            .iter()
            .map(|field| ScalarValue::try_from(field.data_type()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.text.error(&[], error.find_root().to_string(), None))?;
        let rows = if empty.produce_one_row {
            vec![nulls]
        } else {
            Vec::new()
        };
        Ok(self.nodes.add(Op::Constant { rows }, schema))
    }
}
