//! DataFusion's optimised logical plans become our plan, or are refused.
//!
//! What cannot be maintained incrementally is refused here, when the file is loaded: the construct,
//! its line and column, and what to write instead. Nothing is ever quietly run in batch.
//!
//! ```text
//!  a table's query --> maps, one after the other                      map
//!  a view's query ---> nodes --> joins                                join (plan/keyed finds those on primary keys)
//!                       |------> GROUP BY, DISTINCT                   aggregate
//!                       |------> numbered rows, first rows            window, limit
//!                       '------> what rows come from                  rows
//! ```
//! Every statement is a [`Lowering`] of its own; the nodes are handed from one to the next, so that
//! a view finds the nodes of the views above it.

mod aggregate;
mod expr;
mod join;
mod limit;
mod map;
mod nodes;
mod rows;
mod window;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Fields, Schema, SchemaRef};
use datafusion_expr::LogicalPlan;
use datafusion_expr::execution_props::ExecutionProps;

use self::map::canonical_map;
use self::nodes::Nodes;
use self::window::Bounds;
use super::{Map, Node, NodeId, Op, Plan, Table, View};
use crate::definition::{Definition, DefinitionError, StatementText, node_name};

/// Makes the plan of a whole definition.
pub fn lower(definition: &Definition) -> Result<Plan, DefinitionError> {
    let mut tables = lower_tables(definition)?;
    let (views, nodes) = lower_views(definition, &tables)?;
    keep_what_is_read(&mut tables, &nodes);
    let groups = groups(tables.len(), &nodes);
    let streams = definition.streams.iter();
    Ok(Plan {
        streams: streams.map(|stream| stream.name.clone()).collect(),
        tables,
        groups,
        nodes,
        views,
    })
}

/// The tables, of which no column is kept yet.
fn lower_tables(definition: &Definition) -> Result<Vec<Table>, DefinitionError> {
    let mut tables = Vec::new();
    for table in &definition.tables {
        let lowering = Lowering {
            text: &table.text,
            tables: &[],
            roots: HashMap::new(),
            nodes: Nodes::default(),
            properties: definition.properties(),
        };
        let raw = definition.streams[table.stream].decoded();
        let returned = |clean: &[Map]| -> SchemaRef {
            Arc::clone(clean.last().map_or(&raw, |map| &map.schema))
        };
        let mut clean = Vec::new();
        lowering.clean(&table.query, &mut clean)?;
        clean.extend(canonical_map(&returned(&clean)));
        tables.push(Table {
            name: table.name.clone(),
            stream: table.stream,
            schema: returned(&clean),
            clean,
            key: table.key.clone(),
            kept: Vec::new(),
        });
    }
    Ok(tables)
}

/// The materialised views, and the nodes of all of them.
fn lower_views(
    definition: &Definition,
    tables: &[Table],
) -> Result<(Vec<View>, Vec<Node>), DefinitionError> {
    let mut nodes = Nodes::default();
    let mut roots = HashMap::new();
    let mut views = Vec::new();
    for view in definition.materialized() {
        let mut lowering = Lowering {
            text: &view.text,
            tables,
            roots: roots.clone(),
            nodes,
            properties: definition.properties(),
        };
        let mut node = lowering.node(&view.query)?;
        nodes = lowering.nodes;
        if let Some(map) = canonical_map(nodes.schema(node)) {
            node = nodes.map(node, map);
        }
        roots.insert(view.name.clone(), node);
        views.push(View {
            name: view.name.clone(),
            node,
            schema: named(nodes.schema(node), view.query.schema().fields()),
            key: nodes.key_of(node),
        });
    }
    Ok((views, nodes.into_list()))
}

/// The columns of `schema` under the names of `names`.
fn named(schema: &SchemaRef, names: &Fields) -> SchemaRef {
    let fields = schema.fields().iter().zip(names);
    let named = fields.map(|(field, named)| Field::clone(field).with_name(named.name()));
    Arc::new(Schema::new(named.collect::<Vec<_>>()))
}

/// Notes in each table the columns that some node reads.
fn keep_what_is_read(tables: &mut [Table], nodes: &[Node]) {
    for node in nodes {
        if let Op::Keyed { members, .. } = &node.op {
            for member in members {
                let kept = &mut tables[member.table].kept;
                kept.extend(&member.columns);
                kept.sort_unstable();
                kept.dedup();
            }
        }
    }
}

/// The sets of tables that occur together in a keyed node, transitively.
fn groups(tables: usize, nodes: &[Node]) -> Vec<Vec<usize>> {
    let mut group: Vec<usize> = (0..tables).collect();
    for node in nodes {
        if let Op::Keyed { members, .. } = &node.op {
            let target = group[members[0].table];
            for member in members {
                let from = group[member.table];
                group
                    .iter_mut()
                    .filter(|g| **g == from)
                    .for_each(|g| *g = target);
            }
        }
    }
    let mut sets: Vec<Vec<usize>> = vec![Vec::new(); tables];
    for (table, &group) in group.iter().enumerate() {
        sets[group].push(table);
    }
    sets.retain(|set| !set.is_empty());
    sets
}

/// The lowering of one statement.
struct Lowering<'a> {
    text: &'a StatementText,
    tables: &'a [Table],
    /// The nodes of the views above.
    roots: HashMap<String, NodeId>,
    nodes: Nodes,
    properties: ExecutionProps,
}

type Lowered = Result<NodeId, DefinitionError>;

impl Lowering<'_> {
    /// The node whose rows are those of `plan`.
    fn node(&mut self, plan: &LogicalPlan) -> Lowered {
        self.bounded(plan, Bounds::default())
    }

    /// The node whose rows are those of `plan`, of which only those within `bounds` are read.
    fn bounded(&mut self, plan: &LogicalPlan, bounds: Bounds) -> Lowered {
        if let Some(node) = self.keyed(plan) {
            return Ok(node);
        }
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.bounded(&alias.input, bounds),
            LogicalPlan::Projection(projection) => {
                let bounds = bounds.below(projection);
                let input = match projection.input.as_ref() {
                    LogicalPlan::Filter(filter) => {
                        self.bounded(&filter.input, bounds.within(filter))?
                    }
                    input => self.bounded(input, bounds)?,
                };
                let map = self.project(projection)?;
                Ok(self.nodes.map(input, map))
            }
            LogicalPlan::Filter(filter) => {
                let input = self.bounded(&filter.input, bounds.within(filter))?;
                let map = self.filter(filter)?;
                Ok(self.nodes.map(input, map))
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(distinct) => self.distinct(distinct),
            LogicalPlan::Window(window) => self.window(window, &bounds),
            LogicalPlan::Sort(sort) => match sort.fetch {
                Some(fetch) => self.first_rows(&sort.input, &sort.expr, 0, fetch as u64),
                // A view is a set of rows: an order without a limit says nothing about it.
                None => self.bounded(&sort.input, bounds),
            },
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::EmptyRelation(empty) => self.empty(empty),
            LogicalPlan::Values(values) => self.values(values),
            other => self.unsupported(other),
        }
    }

    fn unsupported<T>(&self, plan: &LogicalPlan) -> Result<T, DefinitionError> {
        let name = node_name(plan);
        self.refuse(
            &["RECURSIVE", "UNNEST", "LATERAL", "EXPLAIN"],
            format!("`{name}` cannot be maintained incrementally"),
            "views are made of SELECT, WHERE, joins on equality, GROUP BY, DISTINCT, UNION and top-k",
        )
    }

    /// Refuses the statement: at the first of `words` that it has, `what` is wrong, and what to
    /// write instead.
    fn refuse<T>(
        &self,
        words: &[&str],
        what: impl Into<String>,
        help: &str,
    ) -> Result<T, DefinitionError> {
        Err(self.text.error(words, what, Some(help)))
    }
}
