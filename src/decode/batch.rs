//! The batch being filled: its columns, and which record each row came from.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::column::Column;
use super::fault::UnsupportedColumn;
use super::offsets::RowOffsets;

/// Rows so far, and slots for more.
pub(super) struct Batch {
    /// All columns are nullable: a row without a required value is none.
    pub schema: SchemaRef,
    pub columns: Vec<Column>,
    pub offsets: RowOffsets,
    /// How many slots the columns have.
    slots: usize,
    /// The columns that must hear of each row's end.
    lists: Vec<usize>,
    /// The columns that must not be null.
    required: Vec<usize>,
}

impl Batch {
    pub(super) fn new(schema: SchemaRef) -> Result<Batch, UnsupportedColumn> {
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let column = Column::new(field.data_type());
            columns.push(column.ok_or_else(|| UnsupportedColumn {
                column: field.name().clone(),
                data_type: field.data_type().clone(),
            })?);
        }
        let lists = (0..columns.len())
            .filter(|&index| columns[index].is_list())
            .collect();
        let required = (0..columns.len())
            .filter(|&index| !schema.field(index).is_nullable())
            .collect();
        let fields = schema.fields().iter();
        let nullable = fields.map(|field| Field::clone(field).with_nullable(true));
        Ok(Batch {
            schema: Arc::new(Schema::new(nullable.collect::<Vec<_>>())),
            columns,
            offsets: RowOffsets::default(),
            slots: 0,
            lists,
            required,
        })
    }

    /// How many rows there are; also the number of the row being read.
    #[inline(always)]
    pub(super) fn rows(&self) -> usize {
        self.offsets.len()
    }

    /// Makes sure that the next row has slots.
    #[inline(always)]
    pub(super) fn reserve(&mut self) {
        if self.rows() == self.slots {
            self.grow(self.slots + self.slots / 2 + 16);
        }
    }

    /// Gives every column `slots` slots, if it has fewer.
    #[inline(never)]
    pub(super) fn grow(&mut self, slots: usize) {
        if slots > self.slots {
            self.columns
                .iter_mut()
                .for_each(|column| column.grow(slots));
            self.slots = slots;
        }
    }

    /// The first column that must not be null but is, in the row being read.
    #[inline(always)]
    pub(super) fn missing(&self) -> Option<usize> {
        self.required
            .iter()
            .copied()
            .find(|&column| !self.columns[column].is_valid(self.rows()))
    }

    /// Makes the row being read a row.
    #[inline(always)]
    pub(super) fn push(&mut self, offset: u64) {
        for &list in &self.lists {
            self.columns[list].end_row(self.offsets.len());
        }
        self.offsets.push(offset);
    }

    /// Clears the row being read and takes back the rows from `rows` on.
    #[cold]
    #[inline(never)]
    pub(super) fn truncate(&mut self, rows: usize) {
        for row in (rows..=self.rows()).rev() {
            if row < self.slots {
                self.columns.iter_mut().for_each(|column| column.clear(row));
            }
        }
        self.offsets.truncate(rows);
    }

    /// Hands over the rows and starts anew. `buffers` are the text buffers that views name by
    /// number.
    pub(super) fn finish(&mut self, buffers: Arc<[Buffer]>) -> (RecordBatch, RowOffsets) {
        let rows = self.rows();
        let mut empty = Vec::with_capacity(self.columns.len());
        for field in self.schema.fields() {
            empty.push(
                Column::new(field.data_type())
                    .expect("the type was supported when the decoder was made"),
            );
        }
        let columns = std::mem::replace(&mut self.columns, empty);
        let arrays = columns
            .into_iter()
            .map(|column| column.finish(rows, &buffers))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .expect("the columns were made for the schema, and have equal lengths");
        self.slots = 0;
        (batch, std::mem::take(&mut self.offsets))
    }
}
