//! Rows to the bytes of a Parquet file, and back.
//!
//! Writing Parquet is a large part of what the whole program costs, so the writer does as little as
//! the file needs:
//! * no compression where the lake is a local folder: the densest codec that is still fast costs
//!   five times the whole encoding (see [`ParquetOptions::for_lake`]);
//! * a dictionary only where values repeat: hashing a thousand distinct titles buys nothing;
//! * no Parquet statistics: the Delta log carries better ones per file ([`super::stats`]), and
//!   readers of a Delta table look there;
//! * pages are never copied together ([`super::pages`]).
//!
//! A file holds no Arrow schema: its Parquet types say all that a Delta reader may rely on.

use super::pages::Pages;
use super::schema::{file_schema, read_schema, relabel, row_schema};
use super::stats::FileStats;
use crate::lake::{Lake, LakeError};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use rustc_hash::FxHashSet;
use std::sync::Arc;

/// Values looked at per column to decide its encoding.
const SAMPLE: usize = 1000;
/// Rows decoded at once when a file is read back.
const READ_BATCH_ROWS: usize = 64 * 1024;
/// Levels and values are handed to the encoders in slices of this many rows.
const WRITE_BATCH_ROWS: usize = 8 * 1024;
/// A page ends after this many bytes, or rows. A page's buffer grows by doubling, which is cheapest
/// while it stays in the core's own cache.
const PAGE_BYTES: usize = 256 << 10;
const PAGE_ROWS: usize = 1 << 20;

/// How the pages of a file are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all.
    None,
    /// LZ4 in Parquet's own framing (`LZ4_RAW`).
    Lz4,
    Snappy,
    /// With a level of 1 to 22.
    Zstd(i32),
}

/// How files are written.
#[derive(Clone, Debug)]
pub struct ParquetOptions {
    pub codec: Codec,
    /// Rows in a row group at most. Readers parallelise by row group.
    pub row_group_rows: usize,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        ParquetOptions {
            codec: Codec::None,
            row_group_rows: 1 << 20,
        }
    }
}

impl ParquetOptions {
    /// What suits the lake. In a local folder plain pages: for a row of 500 bytes encoding takes
    /// about 0.25 µs of a core, with Zstandard 1.9 µs. Behind a network Zstandard all the same,
    /// since a third of the bytes leave the machine.
    pub fn for_lake(lake: &Lake) -> ParquetOptions {
        let codec = if lake.is_local() {
            Codec::None
        } else {
            Codec::Zstd(1)
        };
        ParquetOptions {
            codec,
            ..ParquetOptions::default()
        }
    }
}

/// A data file in memory, and what the Delta log says about it.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The file's bytes, in order.
    pub chunks: Vec<Bytes>,
    pub rows: u64,
    /// Delta statistics, a JSON text.
    pub stats: String,
}

impl Encoded {
    /// The size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.chunks.iter().map(|c| c.len() as u64).sum()
    }
}

/// A Parquet file in the making: takes batches as they come, keeps only their encoded form.
///
/// Give it each batch while it is still warm in the cache and let go of the batch: string columns
/// are views of the input's bytes, and would keep them all in memory until the file is done.
pub struct ParquetFile {
    /// As the rows come, and as they are stored.
    schema: SchemaRef,
    stored: SchemaRef,
    options: ParquetOptions,
    stats: FileStats,
    /// Made when the first rows have been seen, since they decide how columns are encoded.
    open: Option<Open>,
}

/// The writers of a file that has rows.
struct Open {
    pages: Pages,
    file: SerializedFileWriter<Pages>,
    factory: ArrowRowGroupWriterFactory,
    /// One for each column: ours have one leaf each, a primitive or the element of a list.
    columns: Vec<ArrowColumnWriter>,
    rows_in_group: usize,
}

impl ParquetFile {
    /// A file for rows of `schema`; refuses column types that a lake does not hold.
    pub fn new(schema: &SchemaRef, options: &ParquetOptions) -> Result<ParquetFile, LakeError> {
        let stored = file_schema(schema)?;
        let stats = FileStats::new(schema);
        Ok(ParquetFile {
            schema: schema.clone(),
            stored,
            options: options.clone(),
            stats,
            open: None,
        })
    }

    /// The schema of its rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many rows it has.
    pub fn rows(&self) -> u64 {
        self.stats.rows()
    }

    /// About how many bytes it has.
    pub fn size(&self) -> usize {
        let Some(open) = &self.open else { return 0 };
        let columns = open
            .columns
            .iter()
            .map(ArrowColumnWriter::get_estimated_total_bytes);
        open.file.bytes_written() + columns.sum::<usize>()
    }

    /// Appends rows, which must have the file's schema.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        self.write_rows(batch).map_err(write_error)?;
        self.stats.add(batch);
        Ok(())
    }

    /// The finished file.
    pub fn finish(mut self) -> Result<Encoded, LakeError> {
        let chunks = self.close().map_err(write_error)?;
        Ok(Encoded {
            chunks,
            rows: self.stats.rows(),
            stats: self.stats.to_json(),
        })
    }

    fn write_rows(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let mut from = 0;
        while from < batch.num_rows() {
            if self.open.is_none() {
                self.open = Some(Open::new(&self.stored, Some(batch), &self.options)?);
            }
            let open = self.open.as_mut().expect("it was just opened");
            let limit = self.options.row_group_rows.max(1);
            let rows = (limit - open.rows_in_group).min(batch.num_rows() - from);
            for (i, field) in self.stored.fields().iter().enumerate() {
                let values = relabel(&batch.column(i).slice(from, rows), field.data_type());
                for leaf in compute_leaves(field, &values)? {
                    open.columns[i].write(&leaf)?;
                }
            }
            open.rows_in_group += rows;
            from += rows;
            if open.rows_in_group == limit {
                open.end_group()?;
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<Vec<Bytes>, ParquetError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::new(&self.stored, None, &self.options)?,
        };
        if open.rows_in_group > 0 {
            open.end_group()?;
        }
        let Open { pages, file, .. } = open;
        file.close()?;
        Ok(pages.into_chunks())
    }
}

impl Open {
    fn new(
        stored: &SchemaRef,
        sample: Option<&RecordBatch>,
        options: &ParquetOptions,
    ) -> Result<Open, ParquetError> {
        let pages = Pages::default();
        let properties = Arc::new(properties(stored, sample, options)?);
        let parquet_schema = ArrowSchemaConverter::new().convert(stored)?;
        let file =
            SerializedFileWriter::new(pages.clone(), parquet_schema.root_schema_ptr(), properties)?;
        let factory = ArrowRowGroupWriterFactory::new(&file, stored.clone())
            .with_page_store_factory(Arc::new(pages.clone()));
        let columns = factory.create_column_writers(0)?;
        Ok(Open {
            pages,
            file,
            factory,
            columns,
            rows_in_group: 0,
        })
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.file.next_row_group()?;
        for column in self.columns.drain(..) {
            column.close()?.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.columns = self
            .factory
            .create_column_writers(self.file.flushed_row_groups().len())?;
        self.rows_in_group = 0;
        Ok(())
    }
}

fn write_error(e: ParquetError) -> LakeError {
    LakeError::Parquet {
        action: "write",
        of: "rows".to_string(),
        source: e.into(),
    }
}

/// Encodes `batches`, all of schema `schema`, as one Parquet file; for when all rows are at hand.
pub fn encode(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    options: &ParquetOptions,
) -> Result<Encoded, LakeError> {
    let mut file = ParquetFile::new(schema, options)?;
    for batch in batches {
        file.write(batch)?;
    }
    file.finish()
}

fn properties(
    stored: &Schema,
    sample: Option<&RecordBatch>,
    options: &ParquetOptions,
) -> Result<WriterProperties, ParquetError> {
    let compression = match options.codec {
        Codec::None => Compression::UNCOMPRESSED,
        Codec::Lz4 => Compression::LZ4_RAW,
        Codec::Snappy => Compression::SNAPPY,
        Codec::Zstd(level) => Compression::ZSTD(ZstdLevel::try_new(level)?),
    };
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("pinflow ", env!("CARGO_PKG_VERSION")).to_string())
        .set_compression(compression)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_write_batch_size(WRITE_BATCH_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_offset_index_disabled(true);
    for (field, column) in stored
        .fields()
        .iter()
        .zip(sample.map_or(&[][..], |s| s.columns()))
    {
        if repeats(column) {
            builder = builder
                .set_column_dictionary_enabled(ColumnPath::from(field.name().as_str()), true);
        }
    }
    Ok(builder.build())
}

/// Whether a dictionary pays for this column: a string whose first values hold at most half as many
/// distinct ones. Numbers are left plain: they cost eight bytes at most, and a look-up costs more
/// than writing those.
fn repeats(column: &ArrayRef) -> bool {
    let values: Box<dyn Iterator<Item = Option<&str>>> = match column.data_type() {
        DataType::Utf8View => Box::new(column.as_string_view().iter()),
        DataType::Utf8 => Box::new(column.as_string::<i32>().iter()),
        _ => return false,
    };
    let mut distinct: FxHashSet<&str> = FxHashSet::default();
    let mut seen = 0;
    for value in values.take(SAMPLE).flatten() {
        distinct.insert(value);
        seen += 1;
    }
    seen >= 16 && distinct.len() * 2 <= seen
}

/// The rows of a Parquet file, in the types of the dataflow (see [`super::schema`]); `columns` by
/// name in the file's order, or all of them. `of` names the file in errors.
pub fn decode(
    bytes: Bytes,
    columns: Option<&[String]>,
    of: &str,
) -> Result<Vec<RecordBatch>, LakeError> {
    read(bytes, columns).map_err(|e| LakeError::Parquet {
        action: "read",
        of: format!("`{of}`"),
        source: e.into(),
    })
}

fn read(bytes: Bytes, columns: Option<&[String]>) -> Result<Vec<RecordBatch>, ParquetError> {
    let found = ArrowReaderMetadata::load(
        &bytes,
        ArrowReaderOptions::new().with_skip_arrow_metadata(true),
    )?;
    let wanted = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        .with_schema(read_schema(found.schema()));
    let metadata = ArrowReaderMetadata::try_new(found.metadata().clone(), wanted)?;
    let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, metadata)
        .with_batch_size(READ_BATCH_ROWS);
    if let Some(columns) = columns {
        let schema = builder.schema();
        let roots = columns
            .iter()
            .map(|name| schema.index_of(name).map_err(ParquetError::from))
            .collect::<Result<Vec<usize>, _>>()?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        builder = builder.with_projection(mask);
    }
    let mut batches = Vec::new();
    for batch in builder.build()? {
        let batch = batch?;
        let schema = row_schema(&batch.schema());
        let columns: Vec<ArrayRef> = batch
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(c, f)| relabel(c, f.data_type()))
            .collect();
        batches.push(RecordBatch::try_new(schema, columns)?);
    }
    Ok(batches)
}
