//! What views must hold: the same SQL, run in batch by DataFusion over the latest record of each
//! key.
//!
//! The oracle shares with the engine the functions, the planner, and the few of the optimiser's
//! rules that it needs: no operator, no state, no decoder.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::physical_optimizer::ensure_requirements::EnsureRequirements;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{SessionConfig, SessionContext};
use pinflow::definition::{Definition, StreamDef, canonical_field};
use pinflow::runtime::replay::{Input, Options, replay};

use super::answer::Answer;

/// A value of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Double(f64),
    Text(String),
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

/// Replays `history` and compares every materialised view at every epoch; the error says which
/// differs and how.
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
    let mut batch = Batch::new(1);
    for stream in &definition.streams {
        batch.give(&stream.relation, &stream.schema);
    }
    runtime.block_on(async {
        for table in &definition.tables {
            batch.add(&table.name, &table.sql).await;
        }
        batch.add_views(definition).await;
    });
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
        let streams = definition.streams.iter().zip(&latest);
        let given: Vec<RecordBatch> = streams.map(|(stream, rows)| sent(stream, rows)).collect();
        let expected = runtime.block_on(batch.answers(&given));
        for (view, expected) in expected.into_iter().skip(definition.tables.len()) {
            let expected = expected.map_err(|error| format!("oracle: {view}: {error}"))?;
            let found = replayed
                .at(view, epoch as u64)
                .map_err(|error| error.to_string())?;
            if let Some(difference) = Answer::new(&expected).difference(&Answer::new(&found)) {
                return Err(format!("view `{view}` at epoch {epoch}\n{difference}"));
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
        };
        (field.name().clone(), value)
    });
    serde_json::Value::Object(object.collect())
}

/// A session of DataFusion with pinflow's functions. Operators hand on at most `batch` rows
/// together: with one, a condition guards the expressions behind it for each row alone, as SQL has
/// it.
///
/// Of the rules there are only those without which a plan cannot be executed: the others take most
/// of the time, and the mistakes in them would be those of pinflow too, which has them all.
pub fn session(batch: usize) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(1);
    let state = SessionStateBuilder::new_with_default_features()
        .with_config(config.with_batch_size(batch))
        .with_optimizer_rules(vec![
            Arc::new(RewriteSetComparison::new()),
            Arc::new(SimplifyExpressions::new()),
            Arc::new(ReplaceDistinctWithAggregate::new()),
            Arc::new(DecorrelatePredicateSubquery::new()),
            Arc::new(ScalarSubqueryToJoin::new()),
            Arc::new(ExtractEquijoinPredicate::new()),
        ])
        .with_physical_optimizer_rules(vec![Arc::new(EnsureRequirements::new())]);
    let context = SessionContext::new_with_state(state.build());
    for function in pinflow::function::all() {
        context.register_udf(function);
    }
    for function in pinflow::function::aggregates() {
        context.register_udaf(function);
    }
    context
}

/// Queries over relations whose rows are given, planned once and answered as often as there are
/// rows.
pub struct Batch {
    context: SessionContext,
    given: Vec<Held>,
    queries: Vec<Query>,
}

struct Query {
    name: String,
    plan: Result<Arc<dyn ExecutionPlan>, String>,
    rows: Held,
}

/// The rows that a relation has at the moment.
type Held = Arc<Mutex<RecordBatch>>;

impl Batch {
    pub fn new(batch: usize) -> Batch {
        Batch {
            context: session(batch),
            given: Vec::new(),
            queries: Vec::new(),
        }
    }

    /// Adds a relation whose rows are given.
    pub fn give(&mut self, name: &str, schema: &SchemaRef) {
        let rows = self.hold(name, schema);
        self.given.push(rows);
    }

    /// Adds a query, which those after it can name.
    pub async fn add(&mut self, name: &str, sql: &str) {
        let planned = async {
            let frame = self.context.sql(sql).await?;
            let schema = canonical(frame.schema().as_arrow().fields());
            Ok((frame.create_physical_plan().await?, schema))
        };
        let (plan, schema) = match planned.await {
            Ok((plan, schema)) => (Ok(plan), schema),
            Err::<_, DataFusionError>(error) => (Err(error.to_string()), Arc::new(Schema::empty())),
        };
        let rows = self.hold(name, &schema);
        self.queries.push(Query {
            name: name.to_owned(),
            plan,
            rows,
        });
    }

    /// Adds the views of a definition.
    pub async fn add_views(&mut self, definition: &Definition) {
        for view in &definition.views {
            if view.materialized {
                self.add(&view.name, &view.sql).await;
            } else if let Ok(plain) = self.context.sql(&view.sql).await {
                let name = TableReference::bare(view.name.clone());
                let registered = self.context.register_table(name, plain.into_view());
                registered.expect("the name is free");
            }
        }
    }

    fn hold(&mut self, name: &str, schema: &SchemaRef) -> Held {
        let rows = Arc::new(Mutex::new(RecordBatch::new_empty(Arc::clone(schema))));
        let stream = Rows(Arc::clone(schema), Arc::clone(&rows));
        let table = StreamingTable::try_new(Arc::clone(schema), vec![Arc::new(stream)]);
        let table = Arc::new(table.expect("both have one schema"));
        let registered = self
            .context
            .register_table(TableReference::bare(name.to_owned()), table);
        registered.expect("the name is free");
        rows
    }

    /// The answers of all queries over these rows of the given relations, in the types in which
    /// pinflow keeps values.
    pub async fn answers(&self, given: &[RecordBatch]) -> Vec<(&str, Result<RecordBatch, String>)> {
        for (held, rows) in self.given.iter().zip(given) {
            *held.lock().expect("nobody panics with it") = rows.clone();
        }
        let mut answers = Vec::new();
        for query in &self.queries {
            let answer = match &query.plan {
                Ok(plan) => self.answer(plan).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.clone()),
            };
            if let Ok(rows) = &answer {
                *query.rows.lock().expect("nobody panics with it") = rows.clone();
            }
            answers.push((query.name.as_str(), answer));
        }
        answers
    }

    async fn answer(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
    ) -> datafusion::error::Result<RecordBatch> {
        // Joins remember what they have read.
        let plan = reset_plan_states(Arc::clone(plan))?;
        let own = plan.schema();
        let batches = datafusion::physical_plan::collect(plan, self.context.task_ctx()).await?;
        let rows = arrow::compute::concat_batches(&own, &batches)?;
        let schema = canonical(own.fields());
        let columns = rows.columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()));
        Ok(RecordBatch::try_new(
            Arc::clone(&schema),
            columns.collect::<Result<_, _>>()?,
        )?)
    }
}

/// The columns in the types in which pinflow keeps values.
pub fn canonical(fields: &Fields) -> SchemaRef {
    let fields = fields.iter().map(|field| canonical_field(field));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Rows without statistics, each in a batch of its own. With those of a `MemTable`, DataFusion
/// takes a column to be as free of nulls behind an outer join as before it, and finds no rows for
/// `b RIGHT JOIN c .. WHERE b.k IS NULL`.
#[derive(Debug)]
struct Rows(SchemaRef, Held);

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.0
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.1.lock().expect("nobody panics with it").clone();
        let size = context.session_config().batch_size();
        let batches = (0..rows.num_rows())
            .step_by(size)
            .map(move |at| Ok(rows.slice(at, size.min(rows.num_rows() - at))));
        let batches = futures::stream::iter(batches);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.0), batches))
    }
}

/// The records of a stream as a batch.
fn sent(stream: &StreamDef, records: &BTreeMap<String, &Record>) -> RecordBatch {
    let fields = stream.schema.fields().iter().enumerate();
    let columns = fields.map(|(column, field)| {
        let values = records.values().map(|record| &record.values[column]);
        array(field, &values.collect::<Vec<_>>())
    });
    RecordBatch::try_new(Arc::clone(&stream.schema), columns.collect())
        .expect("records have the columns of their stream")
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
