//! What views must hold: the same SQL, run in batch by DataFusion over the latest record of each key.
//!
//! The oracle shares with the engine the functions and the optimiser's rules, and nothing else: no operator, no state, no decoder.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::TableReference;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{SessionConfig, SessionContext};
use pinflow::definition::{Definition, canonical_field};
use pinflow::runtime::replay::{Input, Options, replay};

/// A value of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Double(f64),
    Text(String),
    Bool(bool),
}

/// A record of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub stream: &'static str,
    /// In the order of the declared columns; those of the key come first.
    pub values: Vec<Value>,
    /// Whether cleaning must refuse it.
    pub broken: bool,
    /// Whether it is a tombstone: only its key counts.
    pub deleted: bool,
}

/// Records by epoch; the first list is epoch 1.
pub type History = Vec<Vec<Record>>;

/// A history as people read it: the records of an epoch, a line each.
pub fn shown(definition: &Definition, history: &History) -> String {
    let mut text = String::new();
    for (epoch, records) in (1..).zip(history) {
        for record in records {
            let broken = match (record.deleted, record.broken) {
                (true, _) => " (deleted)",
                (_, true) => " (broken)",
                _ => "",
            };
            writeln!(
                text,
                "@{epoch} {} {}{broken}",
                record.stream,
                json(definition, record)
            )
            .expect("a string takes all text");
        }
    }
    text
}

/// Replays `history` and compares every materialised view at every epoch; the error says which differs and how.
pub fn check(definition: &Definition, history: &History, options: &Options) -> Result<(), String> {
    let mut input = Input::default();
    for (epoch, records) in (1..).zip(history) {
        for record in records {
            if record.deleted {
                let key = key_of(definition, record);
                input.delete(epoch, record.stream, key.to_string());
            } else {
                input.add(epoch, record.stream, json(definition, record));
            }
        }
    }
    let replayed = replay(definition, input, options).map_err(|error| error.to_string())?;
    if let Some(fault) = replayed.faults.first() {
        return Err(format!(
            "a row was left out of `{}`: {}",
            fault.relation, fault.reason
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut latest: Vec<BTreeMap<String, &Record>> =
        vec![BTreeMap::new(); definition.streams.len()];
    let mut dead = 0;
    for epoch in 0..=history.len() {
        for record in epoch
            .checked_sub(1)
            .map(|e| history[e].as_slice())
            .unwrap_or_default()
        {
            let stream = definition
                .streams
                .iter()
                .position(|s| s.name == record.stream)
                .expect("a known stream");
            let width = key_width(definition, stream);
            let key = &record.values[..width];
            if record.broken && !record.deleted || key.contains(&Value::Null) {
                dead += 1;
            } else if record.deleted {
                latest[stream].remove(&format!("{key:?}"));
            } else {
                latest[stream].insert(format!("{key:?}"), record);
            }
        }
        let expected = runtime
            .block_on(answers(definition, &latest))
            .map_err(|error| format!("oracle: {error}"))?;
        for (view, expected) in &expected {
            let found = replayed
                .at(view, epoch as u64)
                .map_err(|error| error.to_string())?;
            let (found, expected) = (rows(&found), rows(expected));
            if !same(&found, &expected) {
                return Err(format!(
                    "view `{view}` at epoch {epoch}\n-- expected\n{}-- found\n{}",
                    text(&expected),
                    text(&found)
                ));
            }
        }
        let letters = replayed
            .at("dead_letters", epoch as u64)
            .map_err(|error| error.to_string())?
            .num_rows();
        if letters != dead {
            return Err(format!(
                "{letters} dead letters at epoch {epoch}, and {dead} records are bad"
            ));
        }
    }
    Ok(())
}

/// How many of a stream's columns are the key: the first ones.
fn key_width(definition: &Definition, stream: usize) -> usize {
    let table = definition.tables.iter().find(|t| t.stream == stream);
    table.expect("every stream has a table").key.len()
}

fn json(definition: &Definition, record: &Record) -> String {
    object(definition, record, record.values.len()).to_string()
}

/// The key as a message key would have it: bare if it is one column.
fn key_of(definition: &Definition, record: &Record) -> serde_json::Value {
    let stream = definition
        .streams
        .iter()
        .position(|s| s.name == record.stream);
    let width = key_width(definition, stream.expect("a known stream"));
    let object = object(definition, record, width);
    match object.as_object() {
        Some(fields) if width == 1 => fields.values().next().cloned().unwrap_or_default(),
        _ => object,
    }
}

/// The first `width` columns of a record.
fn object(definition: &Definition, record: &Record, width: usize) -> serde_json::Value {
    let stream = definition
        .streams
        .iter()
        .find(|s| s.name == record.stream)
        .expect("a known stream");
    let fields = stream.schema.fields().iter().zip(&record.values);
    let object = fields.take(width).map(|(field, value)| {
        let value = match value {
            Value::Null => serde_json::Value::Null,
            Value::Int(number) => (*number).into(),
            Value::Double(number) => (*number).into(),
            Value::Text(text) => text.as_str().into(),
            Value::Bool(value) => (*value).into(),
        };
        (field.name().clone(), value)
    });
    serde_json::Value::Object(object.collect())
}

/// A session of DataFusion with pinflow's functions.
pub fn session() -> SessionContext {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    for function in pinflow::function::all() {
        context.register_udf(function);
    }
    for function in pinflow::function::aggregates() {
        context.register_udaf(function);
    }
    context
}

/// The rows of each materialised view, over the latest records.
async fn answers(
    definition: &Definition,
    latest: &[BTreeMap<String, &Record>],
) -> datafusion::error::Result<Vec<(String, RecordBatch)>> {
    let context = session();
    for (stream, records) in definition.streams.iter().zip(latest) {
        let columns = stream
            .schema
            .fields()
            .iter()
            .enumerate()
            .map(|(column, field)| {
                let values: Vec<&Value> = records
                    .values()
                    .map(|record| &record.values[column])
                    .collect();
                array(field, &values)
            });
        let batch = RecordBatch::try_new(Arc::clone(&stream.schema), columns.collect())?;
        register(&context, &stream.relation, batch)?;
    }
    for table in &definition.tables {
        let rows = collect(&context, &table.sql).await?;
        register(&context, &table.name, rows)?;
    }
    views_over(definition, &context).await
}

/// The rows of each materialised view, over the tables that `context` knows.
pub async fn views_over(
    definition: &Definition,
    context: &SessionContext,
) -> datafusion::error::Result<Vec<(String, RecordBatch)>> {
    let mut answers = Vec::new();
    for view in &definition.views {
        if view.materialized {
            let rows = collect(context, &view.sql).await?;
            register(context, &view.name, rows.clone())?;
            answers.push((view.name.clone(), rows));
        } else {
            let plain = context.sql(&view.sql).await?.into_view();
            context.register_table(TableReference::bare(view.name.clone()), plain)?;
        }
    }
    Ok(answers)
}

/// Rows without statistics. With those of a `MemTable`, DataFusion takes a column to be as free of nulls behind an outer join as before it,
/// and finds no rows for `b RIGHT JOIN c .. WHERE b.k IS NULL`.
#[derive(Debug)]
struct Rows(SchemaRef, RecordBatch);

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.0
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = futures::stream::iter([Ok(self.1.clone())]);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.0), rows))
    }
}

/// Makes `rows` a table.
pub fn register(
    context: &SessionContext,
    name: &str,
    rows: RecordBatch,
) -> datafusion::error::Result<()> {
    let table = StreamingTable::try_new(rows.schema(), vec![Arc::new(Rows(rows.schema(), rows))])?;
    context
        .register_table(TableReference::bare(name.to_owned()), Arc::new(table))
        .map(|_| ())
}

/// The answer in one batch of canonical types.
async fn collect(context: &SessionContext, sql: &str) -> datafusion::error::Result<RecordBatch> {
    let frame = context.sql(sql).await?;
    let own = Arc::new(frame.schema().as_arrow().clone());
    let batches = frame.collect().await?;
    let own = batches.first().map_or(own, RecordBatch::schema);
    let rows = arrow::compute::concat_batches(&own, &batches)?;
    let fields: Vec<Field> = own
        .fields()
        .iter()
        .map(|field| canonical_field(field))
        .collect();
    let columns = rows
        .columns()
        .iter()
        .zip(&fields)
        .map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

fn array(field: &Field, values: &[&Value]) -> ArrayRef {
    let wrong =
        |value: &Value| -> ! { panic!("{value:?} is no value of column `{}`", field.name()) };
    match field.data_type() {
        DataType::Int64 => Arc::new(Int64Array::from_iter(values.iter().map(
            |value| match value {
                Value::Null => None,
                Value::Int(number) => Some(*number),
                other => wrong(other),
            },
        ))),
        DataType::Float64 => Arc::new(Float64Array::from_iter(values.iter().map(
            |value| match value {
                Value::Null => None,
                Value::Double(number) => Some(*number),
                other => wrong(other),
            },
        ))),
        DataType::Boolean => Arc::new(BooleanArray::from_iter(values.iter().map(
            |value| match value {
                Value::Null => None,
                Value::Bool(value) => Some(*value),
                other => wrong(other),
            },
        ))),
        DataType::Utf8View => {
            Arc::new(StringViewArray::from_iter(values.iter().map(
                |value| match value {
                    Value::Null => None,
                    Value::Text(text) => Some(text.as_str()),
                    other => wrong(other),
                },
            )))
        }
        other => panic!("no test has a stream with a column of type {other}"),
    }
}

/// A row: its cells that are no doubles as text, and its doubles.
pub type Row = (Vec<String>, Vec<Option<f64>>);

/// The rows, sorted.
pub fn rows(batch: &RecordBatch) -> Vec<Row> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows: Vec<Row> = vec![Default::default(); batch.num_rows()];
    for column in batch.columns() {
        if let Some(doubles) = column.as_primitive_opt::<Float64Type>() {
            rows.iter_mut()
                .zip(doubles)
                .for_each(|(row, value)| row.1.push(value));
        } else {
            let cells = ArrayFormatter::try_new(column, &options).expect("every type can be shown");
            rows.iter_mut().enumerate().for_each(|(at, row)| {
                let cell = cells.value(at).to_string();
                row.0.push(if column.is_valid(at) {
                    cell
                } else {
                    "NULL".to_owned()
                });
            });
        }
    }
    rows.sort_by(|a, b| {
        a.0.cmp(&b.0)
            .then_with(|| a.1.partial_cmp(&b.1).unwrap_or(std::cmp::Ordering::Equal))
    });
    rows
}

/// Doubles may differ where only the order of additions does.
pub fn same(left: &[Row], right: &[Row]) -> bool {
    let near = |pair: (&Option<f64>, &Option<f64>)| match pair {
        (Some(l), Some(r)) => {
            l == r || (l - r).abs() <= 1e-9 * l.abs().max(r.abs()) || (l.is_nan() && r.is_nan())
        }
        (l, r) => l == r,
    };
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .all(|(l, r)| l.0 == r.0 && l.1.iter().zip(&r.1).all(near))
}

fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    for (cells, doubles) in rows {
        writeln!(text, "{cells:?} {doubles:?}").expect("a string takes all text");
    }
    text
}
