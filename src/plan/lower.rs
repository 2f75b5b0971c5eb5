//! DataFusion's optimised logical plans become our plan, or are refused.
//!
//! What cannot be maintained incrementally is refused here, when the file is loaded: the construct, its line and column, and what
//! to write instead. Nothing is ever quietly run in batch.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::{DFSchema, JoinType, NullEquality, ScalarValue};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::expr::{AggregateFunction, Sort as SortExpr};
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{self as logical, BinaryExpr, Expr as LogicalExpr, LogicalPlan, Operator};
use datafusion_physical_expr::create_physical_expr;
use datafusion_physical_expr::expressions::CastExpr;

use super::keyed::{Finder, as_column, column};
use super::{Aggregate, Expr, Function, JoinKind, Map, Node, NodeId, Op, Plan, Rank, Table, View};
use crate::definition::{Definition, DefinitionError, StatementText, canonical_type, node_name};

/// Makes the plan of a whole definition.
pub fn lower(definition: &Definition) -> Result<Plan, DefinitionError> {
    let mut tables = Vec::new();
    for table in &definition.tables {
        let lowering = Lowering::new(&table.text, &[], HashMap::new());
        let mut clean = Vec::new();
        lowering.clean(&table.query, &mut clean)?;
        let raw = &definition.streams[table.stream].schema;
        let schema = clean
            .last()
            .map_or_else(|| Arc::clone(raw), |map| Arc::clone(&map.schema));
        if let Some(map) = canonical_map(&schema) {
            clean.push(map);
        }
        let schema = clean
            .last()
            .map_or_else(|| Arc::clone(raw), |map| Arc::clone(&map.schema));
        tables.push(Table {
            name: table.name.clone(),
            stream: table.stream,
            clean,
            schema,
            key: table.key.clone(),
            kept: Vec::new(),
        });
    }
    let mut nodes = Nodes::default();
    let mut roots = HashMap::new();
    let mut views = Vec::new();
    for view in definition.materialized() {
        let mut lowering = Lowering::new(&view.text, &tables, roots.clone());
        lowering.nodes = std::mem::take(&mut nodes);
        let mut node = lowering.node(&view.query)?;
        let schema = Arc::clone(&lowering.nodes.list[node].schema);
        if let Some(map) = canonical_map(&schema) {
            node = lowering.nodes.add(
                Op::Map {
                    input: node,
                    map: map.clone(),
                },
                map.schema,
            );
        }
        let key = lowering.nodes.key_of(node);
        nodes = lowering.nodes;
        roots.insert(view.name.clone(), node);
        views.push(View {
            name: view.name.clone(),
            node,
            key,
        });
    }
    let nodes = nodes.list;
    for node in &nodes {
        if let Op::Keyed { members, .. } = &node.op {
            for member in members {
                let kept = &mut tables[member.table].kept;
                kept.extend(&member.columns);
                kept.sort_unstable();
                kept.dedup();
            }
        }
    }
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

/// The casts that bring `schema` to canonical types, if any are needed.
fn canonical_map(schema: &SchemaRef) -> Option<Map> {
    let wanted: Vec<DataType> = schema
        .fields()
        .iter()
        .map(|field| canonical_type(field.data_type()))
        .collect();
    if schema
        .fields()
        .iter()
        .zip(&wanted)
        .all(|(field, wanted)| field.data_type() == wanted)
    {
        return None;
    }
    let fields = schema
        .fields()
        .iter()
        .zip(&wanted)
        .map(|(f, wanted)| Field::new(f.name(), wanted.clone(), true));
    let project = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            cast_to(
                column(field.name(), index),
                field.data_type(),
                &wanted[index],
            )
        })
        .collect();
    Some(Map {
        filter: None,
        project: Some(project),
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
    })
}

fn cast_to(expr: Expr, from: &DataType, to: &DataType) -> Expr {
    if from == to {
        expr
    } else {
        Arc::new(CastExpr::new(expr, to.clone(), None))
    }
}

/// The nodes so far; equal nodes are one.
#[derive(Default)]
struct Nodes {
    list: Vec<Node>,
    known: HashMap<String, NodeId>,
}

impl Nodes {
    fn add(&mut self, op: Op, schema: SchemaRef) -> NodeId {
        let identity = format!("{op:?} {schema:?}");
        if let Some(&known) = self.known.get(&identity) {
            return known;
        }
        self.list.push(Node { op, schema });
        self.known.insert(identity, self.list.len() - 1);
        self.list.len() - 1
    }

    /// Columns that identify a row of `node`: group columns that are still there. All columns if the plan does not tell.
    fn key_of(&self, node: NodeId) -> Vec<usize> {
        let all = (0..self.list[node].schema.fields().len()).collect();
        self.group_columns(node)
            .filter(|key| !key.is_empty())
            .unwrap_or(all)
    }

    fn group_columns(&self, node: NodeId) -> Option<Vec<usize>> {
        match &self.list[node].op {
            Op::Aggregate { group, .. } => Some((0..group.len()).collect()),
            Op::TopK {
                input,
                distinct: true,
                ..
            } => Some((0..self.list[*input].schema.fields().len()).collect()),
            Op::TopK { input, .. } => self.group_columns(*input),
            Op::Map { input, map } => {
                let below = self.group_columns(*input)?;
                let Some(project) = &map.project else {
                    return Some(below);
                };
                below
                    .into_iter()
                    .map(|key| project.iter().position(|expr| as_column(expr) == Some(key)))
                    .collect()
            }
            _ => None,
        }
    }
}

/// The plan that `plan` is the distinct rows of, all columns in their order.
fn below_distinct(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => below_distinct(&alias.input),
        LogicalPlan::Distinct(logical::Distinct::All(input)) => Some(input),
        LogicalPlan::Aggregate(aggregate) if aggregate.aggr_expr.is_empty() => {
            let columns = aggregate.input.schema().columns();
            let all = columns.into_iter().map(LogicalExpr::Column);
            all.eq(aggregate.group_expr.iter().cloned())
                .then(|| aggregate.input.as_ref())
        }
        _ => None,
    }
}

/// The lowering of one statement.
struct Lowering<'a> {
    text: &'a StatementText,
    tables: &'a [Table],
    /// The nodes of the views above.
    roots: HashMap<String, NodeId>,
    nodes: Nodes,
    /// For window nodes (by address) the greatest row number that a filter above lets through.
    bounds: HashMap<usize, u64>,
    properties: ExecutionProps,
}

type Lowered = Result<NodeId, DefinitionError>;

impl<'a> Lowering<'a> {
    fn new(text: &'a StatementText, tables: &'a [Table], roots: HashMap<String, NodeId>) -> Self {
        Lowering {
            text,
            tables,
            roots,
            nodes: Nodes::default(),
            bounds: HashMap::new(),
            properties: ExecutionProps::new(),
        }
    }

    fn refuse<T>(
        &self,
        words: &[&str],
        what: impl Into<String>,
        help: &str,
    ) -> Result<T, DefinitionError> {
        Err(self.text.error(words, what, Some(help)))
    }

    /// The maps of a stateless query, innermost first.
    fn clean(&self, plan: &LogicalPlan, maps: &mut Vec<Map>) -> Result<(), DefinitionError> {
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
            LogicalPlan::TableScan(scan) => {
                if let Some(columns) = &scan.projection {
                    let schema = nullable(scan.projected_schema.as_arrow());
                    let project = columns
                        .iter()
                        .zip(schema.fields())
                        .map(|(&index, field)| column(field.name(), index))
                        .collect();
                    maps.push(Map {
                        filter: None,
                        project: Some(project),
                        schema,
                    });
                }
            }
            other => return self.unsupported(other),
        }
        Ok(())
    }

    /// The map of a projection, fused with a filter directly below it.
    fn project(&self, projection: &logical::Projection) -> Result<Map, DefinitionError> {
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

    fn filter(&self, filter: &logical::Filter) -> Result<Map, DefinitionError> {
        let schema = filter.input.schema();
        Ok(Map {
            filter: Some(self.expr(&filter.predicate, schema)?),
            project: None,
            schema: nullable(schema.as_arrow()),
        })
    }

    /// The physical form of `expr`.
    fn expr(&self, expr: &LogicalExpr, schema: &DFSchema) -> Result<Expr, DefinitionError> {
        use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
        let mut subquery = false;
        let _ = expr.apply(|part| {
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
            return self.refuse(
                &["EXISTS", "IN", "ANY", "ALL"],
                "this subquery cannot be turned into a join, so it cannot be maintained",
                "write it as a JOIN, or as a view of its own that is joined",
            );
        }
        create_physical_expr(
            expr,
            schema,
            &self.properties,
            &PhysicalPlanningContext::default(),
        )
        .map_err(|error| self.text.error(&[], error.find_root().to_string(), None))
    }

    fn unsupported<T>(&self, plan: &LogicalPlan) -> Result<T, DefinitionError> {
        let name = node_name(plan);
        self.refuse(
            &["RECURSIVE", "UNNEST", "LATERAL", "EXPLAIN"],
            format!("`{name}` cannot be maintained incrementally"),
            "views are made of SELECT, WHERE, joins on equality, GROUP BY, DISTINCT, UNION and top-k",
        )
    }

    fn node(&mut self, plan: &LogicalPlan) -> Lowered {
        if let Some(node) = self.keyed(plan) {
            return Ok(node);
        }
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.node(&alias.input),
            LogicalPlan::Projection(projection) => {
                let below = match projection.input.as_ref() {
                    LogicalPlan::Filter(filter) => {
                        self.note_bounds(filter);
                        &filter.input
                    }
                    _ => &projection.input,
                };
                let input = self.node(below)?;
                let map = self.project(projection)?;
                let schema = Arc::clone(&map.schema);
                Ok(self.nodes.add(Op::Map { input, map }, schema))
            }
            LogicalPlan::Filter(filter) => {
                self.note_bounds(filter);
                let input = self.node(&filter.input)?;
                let map = self.filter(filter)?;
                let schema = Arc::clone(&map.schema);
                Ok(self.nodes.add(Op::Map { input, map }, schema))
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(logical::Distinct::All(input)) => {
                let input = self.node(input)?;
                let schema = Arc::clone(&self.nodes.list[input].schema);
                let group = (0..schema.fields().len()).collect();
                Ok(self.nodes.add(Op::Aggregate { input, group, aggregates: Vec::new() }, schema))
            }
            LogicalPlan::Distinct(logical::Distinct::On(_)) => self.refuse(
                &["DISTINCT"],
                "DISTINCT ON is not maintained",
                "number the rows with ROW_NUMBER() OVER (PARTITION BY .. ORDER BY ..) and keep number 1",
            ),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Sort(sort) => match sort.fetch {
                Some(fetch) => self.first_rows(&sort.input, &sort.expr, 0, fetch as u64),
                // A view is a set of rows: an order without a limit says nothing about it.
                None => self.node(&sort.input),
            },
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::EmptyRelation(empty) => {
                let schema = nullable(empty.schema.as_arrow());
                let rows = if empty.produce_one_row {
                    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
                    let columns = schema.fields().iter().map(|f| arrow::array::new_null_array(f.data_type(), 1)).collect();
                    RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)
                        .expect("nulls of a field's own type fit its schema")
                } else {
                    RecordBatch::new_empty(Arc::clone(&schema))
                };
                Ok(self.nodes.add(Op::Constant { rows }, schema))
            }
            LogicalPlan::Values(values) => self.values(values),
            other => self.unsupported(other),
        }
    }

    fn keyed(&mut self, plan: &LogicalPlan) -> Option<NodeId> {
        let (op, op_schema, map) = {
            let physical =
                |expr: &LogicalExpr, input: &LogicalPlan| self.expr(expr, input.schema()).ok();
            let finder = Finder {
                tables: self.tables,
                physical: &physical,
            };
            let tree = finder.find(plan)?;
            finder.finish(tree, nullable(plan.schema().as_arrow()))?
        };
        let width = op_schema.fields().len();
        let input = self.nodes.add(op, op_schema);
        let identity = map.filter.is_none()
            && map.project.as_ref().is_some_and(|project| {
                project.len() == width
                    && project
                        .iter()
                        .enumerate()
                        .all(|(index, expr)| as_column(expr) == Some(index))
            });
        if identity {
            return Some(input);
        }
        let schema = Arc::clone(&map.schema);
        Some(self.nodes.add(Op::Map { input, map }, schema))
    }

    fn scan(&mut self, scan: &logical::TableScan) -> Lowered {
        let name = scan.table_name.table();
        let Some(&root) = self.roots.get(name) else {
            return self.refuse(
                &[name],
                format!("`{name}` is a stream: its records have no key, so a view cannot be kept over it"),
                "make a table of it with CREATE TABLE name (PRIMARY KEY (column)) AS SELECT ..",
            );
        };
        let Some(columns) = &scan.projection else {
            return Ok(root);
        };
        let schema = nullable(scan.projected_schema.as_arrow());
        let project = columns
            .iter()
            .zip(schema.fields())
            .map(|(&index, field)| column(field.name(), index))
            .collect();
        let map = Map {
            filter: None,
            project: Some(project),
            schema: Arc::clone(&schema),
        };
        Ok(self.nodes.add(Op::Map { input: root, map }, schema))
    }

    /// Puts `extra` expressions behind the columns of `input`, and tells where each of them stands then.
    fn extend(
        &mut self,
        input: NodeId,
        plan: &LogicalPlan,
        extra: &[&LogicalExpr],
    ) -> Result<(NodeId, Vec<usize>), DefinitionError> {
        let schema = plan.schema();
        let own = Arc::clone(&self.nodes.list[input].schema);
        let mut fields: Vec<Field> = Vec::new();
        let mut project: Vec<Expr> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut positions = Vec::new();
        for expr in extra {
            let physical = self.expr(expr, schema)?;
            let identity = format!("{physical:?}");
            let place = match places.get(&identity) {
                Some(&place) => place,
                None => {
                    let data_type = physical.data_type(&own).map_err(|error| {
                        self.text.error(&[], error.find_root().to_string(), None)
                    })?;
                    fields.push(Field::new(expr.schema_name().to_string(), data_type, true));
                    project.push(physical);
                    places.insert(identity, project.len() - 1);
                    project.len() - 1
                }
            };
            positions.push(place);
        }
        let identity = project.len() == own.fields().len()
            && project
                .iter()
                .enumerate()
                .all(|(index, expr)| as_column(expr) == Some(index));
        if identity {
            return Ok((input, positions));
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let map = Map {
            filter: None,
            project: Some(project),
            schema: Arc::clone(&schema),
        };
        Ok((self.nodes.add(Op::Map { input, map }, schema), positions))
    }

    fn aggregate(&mut self, aggregate: &logical::Aggregate) -> Lowered {
        if aggregate
            .group_expr
            .iter()
            .any(|expr| matches!(expr, LogicalExpr::GroupingSet(_)))
        {
            return self.refuse(
                &["ROLLUP", "CUBE", "GROUPING"],
                "ROLLUP, CUBE and GROUPING SETS are not maintained",
                "write one GROUP BY view for each set and UNION ALL them",
            );
        }
        let input = self.node(&aggregate.input)?;
        let calls = aggregate
            .aggr_expr
            .iter()
            .map(|expr| self.call(expr))
            .collect::<Result<Vec<_>, _>>()?;
        let mut extra: Vec<&LogicalExpr> = aggregate.group_expr.iter().collect();
        for call in &calls {
            extra.extend(call.argument.as_ref());
            extra.extend(call.filter.as_ref());
            extra.extend(call.order.iter().map(|sort| &sort.expr));
        }
        let (input, places) = self.extend(input, &aggregate.input, &extra)?;
        let mut places = places.into_iter();
        let mut next = || places.next().expect("one place for each expression");
        let group: Vec<usize> = aggregate.group_expr.iter().map(|_| next()).collect();
        let schema = nullable(aggregate.schema.as_arrow());
        let mut aggregates = Vec::new();
        for (index, call) in calls.into_iter().enumerate() {
            let argument = call.argument.as_ref().map(|_| next());
            let filter = call.filter.as_ref().map(|_| next());
            let order = call
                .order
                .iter()
                .map(|sort| (next(), options(sort)))
                .collect();
            aggregates.push(Aggregate {
                function: call.function,
                argument,
                filter,
                order,
                distinct: call.distinct,
                output: schema.field(group.len() + index).clone(),
            });
        }
        Ok(self.nodes.add(
            Op::Aggregate {
                input,
                group,
                aggregates,
            },
            schema,
        ))
    }

    fn call(&self, expr: &LogicalExpr) -> Result<Call, DefinitionError> {
        let LogicalExpr::AggregateFunction(AggregateFunction { func, params }) =
            expr.clone().unalias()
        else {
            return self.refuse(
                &["GROUP"],
                format!("`{expr}` is not an aggregate"),
                "aggregate columns with count, sum, ..",
            );
        };
        let name = func.name();
        let constant = |expr: &LogicalExpr| match expr {
            LogicalExpr::Literal(value, _) => Some(value.clone()),
            LogicalExpr::Cast(cast) => match cast.expr.as_ref() {
                LogicalExpr::Literal(value, _) => Some(value.clone()),
                _ => None,
            },
            _ => None,
        };
        let mut order = params.order_by;
        let mut argument = params.args.first().cloned();
        let function = match name {
            "count" => {
                if let Some(value) = argument
                    .as_ref()
                    .and_then(constant)
                    .filter(|_| !params.distinct)
                    && !value.is_null()
                {
                    argument = None;
                }
                Function::Count
            }
            "sum" => Function::Sum,
            "avg" => Function::Avg,
            "min" => Function::Min,
            "max" => Function::Max,
            "median" => Function::Median,
            "percentile_cont" | "percentile_disc" => {
                let fraction = params
                    .args
                    .iter()
                    .find_map(|arg| constant(arg).and_then(|value| number(&value)))
                    .filter(|fraction| (0.0..=1.0).contains(fraction));
                let Some(fraction) = fraction else {
                    return self.refuse(
                        &[name],
                        format!("{name} wants a constant fraction between 0 and 1"),
                        "write percentile_disc(0.5) WITHIN GROUP (ORDER BY column)",
                    );
                };
                let mut descending = false;
                if let Some(sort) = order.first() {
                    argument = Some(sort.expr.clone());
                    descending = !sort.asc;
                }
                order.clear();
                if name == "percentile_cont" {
                    Function::PercentileCont {
                        fraction,
                        descending,
                    }
                } else {
                    Function::PercentileDisc {
                        fraction,
                        descending,
                    }
                }
            }
            "bool_and" => Function::BoolAnd,
            "bool_or" => Function::BoolOr,
            "array_agg" => Function::ArrayAgg,
            "string_agg" => {
                let between = params
                    .args
                    .get(1)
                    .and_then(constant)
                    .and_then(|value| value.try_as_str().flatten().map(str::to_owned));
                let Some(between) = between else {
                    return self.refuse(
                        &[name],
                        "string_agg wants a constant text between the values",
                        "write string_agg(column, ', ' ORDER BY column)",
                    );
                };
                Function::StringAgg(between)
            }
            _ => {
                return self.refuse(
                    &[name],
                    format!("the aggregate `{name}` is not maintained"),
                    "use count, sum, avg, min, max, median, percentile_cont, percentile_disc, bool_and, bool_or, array_agg or string_agg",
                );
            }
        };
        if !matches!(function, Function::ArrayAgg | Function::StringAgg(_)) {
            order.clear();
        }
        if params
            .null_treatment
            .is_some_and(|t| format!("{t:?}").contains("Ignore"))
            && matches!(function, Function::ArrayAgg)
        {
            return self.refuse(
                &["IGNORE"],
                "IGNORE NULLS is not maintained",
                "write FILTER (WHERE column IS NOT NULL)",
            );
        }
        Ok(Call {
            function,
            argument,
            filter: params.filter.map(|filter| *filter),
            order,
            distinct: params.distinct,
        })
    }

    /// Remembers what a filter says about row numbers computed below it.
    fn note_bounds(&mut self, filter: &logical::Filter) {
        for part in logical::utils::split_conjunction(&filter.predicate) {
            let LogicalExpr::BinaryExpr(BinaryExpr { left, op, right }) = part else {
                continue;
            };
            let (name, value, op) = match (left.as_ref(), right.as_ref()) {
                (LogicalExpr::Column(name), LogicalExpr::Literal(value, _)) => (name, value, *op),
                (LogicalExpr::Literal(value, _), LogicalExpr::Column(name)) => match op.swap() {
                    Some(swapped) => (name, value, swapped),
                    None => continue,
                },
                _ => continue,
            };
            let Some(value) = number(value).filter(|value| *value >= 0.0) else {
                continue;
            };
            let most = match op {
                Operator::Eq | Operator::LtEq => value.floor() as u64,
                Operator::Lt => (value.ceil() as u64).saturating_sub(1),
                _ => continue,
            };
            let Ok(index) = filter.input.schema().index_of_column(name) else {
                continue;
            };
            if let Some(window) = window_of(&filter.input, index) {
                let bound = self.bounds.entry(window).or_insert(most);
                *bound = (*bound).min(most);
            }
        }
    }

    fn window(&mut self, window: &logical::Window) -> Lowered {
        const HELP: &str = "number the rows in a subquery and keep the first ones: SELECT .. FROM (SELECT .., RANK() OVER \
                            (PARTITION BY .. ORDER BY ..) AS place FROM ..) t WHERE place <= 10";
        let [expr] = window.window_expr.as_slice() else {
            return self.refuse(
                &["OVER"],
                "several window functions over one window are not maintained",
                HELP,
            );
        };
        let LogicalExpr::WindowFunction(call) = expr.clone().unalias() else {
            return self.refuse(
                &["OVER"],
                format!("`{expr}` is not a window function"),
                HELP,
            );
        };
        let name = call.fun.name().to_lowercase();
        let rank = match name.as_str() {
            "row_number" => Rank::RowNumber,
            "rank" => Rank::Rank,
            "dense_rank" => Rank::DenseRank,
            _ => {
                return self.refuse(
                    &[&name, "OVER"],
                    format!("the window function `{name}` is not maintained"),
                    HELP,
                );
            }
        };
        let Some(&limit) = self.bounds.get(&std::ptr::from_ref(window).addr()) else {
            return self.refuse(
                &[&name, "OVER"],
                format!("`{name}` without a bound would number every row, and one change could renumber all of them"),
                HELP,
            );
        };
        // Rows that are distinct only to be numbered need no operator of their own: the partitions count equal rows anyway. Without partitions they do,
        // since one worker would get them all.
        let mut by = call
            .params
            .partition_by
            .iter()
            .chain(call.params.order_by.iter().map(|sort| &sort.expr));
        let plain = by.all(|expr| matches!(expr, LogicalExpr::Column(_)));
        let repeated = (plain && !call.params.partition_by.is_empty())
            .then(|| below_distinct(&window.input))
            .flatten();
        let input = self.node(repeated.unwrap_or(&window.input))?;
        let width = window.input.schema().fields().len();
        let columns: Vec<LogicalExpr> = window
            .input
            .schema()
            .columns()
            .into_iter()
            .map(LogicalExpr::Column)
            .collect();
        let params = &call.params;
        let mut extra: Vec<&LogicalExpr> = columns.iter().collect();
        extra.extend(&params.partition_by);
        extra.extend(params.order_by.iter().map(|sort| &sort.expr));
        let (input, places) = self.extend(input, &window.input, &extra)?;
        let partition = places[width..width + params.partition_by.len()].to_vec();
        let order = params
            .order_by
            .iter()
            .zip(&places[width + params.partition_by.len()..])
            .map(|(sort, &place)| (place, options(sort)))
            .collect();
        let extended = Arc::clone(&self.nodes.list[input].schema);
        let number = Field::new(expr.schema_name().to_string(), DataType::UInt64, true);
        let fields: Vec<Field> = extended
            .fields()
            .iter()
            .map(|f| f.as_ref().clone())
            .chain([number.clone()])
            .collect();
        let top = self.nodes.add(
            Op::TopK {
                input,
                partition,
                order,
                rank,
                limit,
                skip: 0,
                emit_rank: true,
                distinct: repeated.is_some(),
            },
            Arc::new(Schema::new(fields)),
        );
        // Back to the window's own columns: the input's, then the number.
        let schema = nullable(window.schema.as_arrow());
        let project = places[..width]
            .iter()
            .map(|&place| column(extended.field(place).name(), place))
            .chain([column(number.name(), extended.fields().len())])
            .collect();
        let map = Map {
            filter: None,
            project: Some(project),
            schema: Arc::clone(&schema),
        };
        Ok(self.nodes.add(Op::Map { input: top, map }, schema))
    }

    fn limit(&mut self, limit: &logical::Limit) -> Lowered {
        let constant = |expr: &Option<Box<LogicalExpr>>| match expr.as_deref() {
            None => Some(None),
            Some(LogicalExpr::Literal(value, _)) => Some(number(value).map(|value| value as u64)),
            Some(_) => None,
        };
        let (Some(skip), Some(fetch)) = (constant(&limit.skip), constant(&limit.fetch)) else {
            return self.refuse(
                &["LIMIT", "OFFSET"],
                "LIMIT and OFFSET must be constants",
                "write a number",
            );
        };
        let mut below = limit.input.as_ref();
        // Projections between the limit and its order do not change which rows are first.
        let mut above = Vec::new();
        while let LogicalPlan::Projection(projection) = below {
            above.push(projection);
            below = projection.input.as_ref();
        }
        let LogicalPlan::Sort(sort) = below else {
            return self.refuse(
                &["LIMIT", "OFFSET"],
                "LIMIT without ORDER BY returns arbitrary rows",
                "add ORDER BY, so that the first rows are always the same",
            );
        };
        let skip = skip.unwrap_or(0);
        let Some(fetch) = fetch.or(sort.fetch.map(|fetch| (fetch as u64).saturating_sub(skip)))
        else {
            return self.refuse(
                &["OFFSET"],
                "OFFSET without LIMIT is not maintained",
                "add a LIMIT",
            );
        };
        let mut node = self.first_rows(&sort.input, &sort.expr, skip, fetch)?;
        for projection in above.into_iter().rev() {
            let map = self.project(projection)?;
            let schema = Arc::clone(&map.schema);
            node = self.nodes.add(Op::Map { input: node, map }, schema);
        }
        Ok(node)
    }

    fn first_rows(
        &mut self,
        plan: &LogicalPlan,
        by: &[SortExpr],
        skip: u64,
        fetch: u64,
    ) -> Lowered {
        let input = self.node(plan)?;
        let columns: Vec<LogicalExpr> = plan
            .schema()
            .columns()
            .into_iter()
            .map(LogicalExpr::Column)
            .collect();
        let width = columns.len();
        let mut extra: Vec<&LogicalExpr> = columns.iter().collect();
        extra.extend(by.iter().map(|sort| &sort.expr));
        let (input, places) = self.extend(input, plan, &extra)?;
        let order = by
            .iter()
            .zip(&places[width..])
            .map(|(sort, &place)| (place, options(sort)))
            .collect();
        let extended = Arc::clone(&self.nodes.list[input].schema);
        let top = self.nodes.add(
            Op::TopK {
                input,
                partition: Vec::new(),
                order,
                rank: Rank::RowNumber,
                limit: fetch,
                skip,
                emit_rank: false,
                distinct: false,
            },
            Arc::clone(&extended),
        );
        let identity = places[..width]
            .iter()
            .enumerate()
            .all(|(index, &place)| index == place);
        if identity && extended.fields().len() == width {
            return Ok(top);
        }
        let schema = nullable(plan.schema().as_arrow());
        let project = places[..width]
            .iter()
            .map(|&place| column(extended.field(place).name(), place))
            .collect();
        let map = Map {
            filter: None,
            project: Some(project),
            schema: Arc::clone(&schema),
        };
        Ok(self.nodes.add(Op::Map { input: top, map }, schema))
    }

    fn join(&mut self, join: &logical::Join) -> Lowered {
        use JoinType as T;
        let swap = matches!(join.join_type, T::Right | T::RightSemi | T::RightAnti);
        let kind = match join.join_type {
            T::Inner => JoinKind::Inner,
            T::Left | T::Right => JoinKind::Left,
            T::Full => JoinKind::Full,
            T::LeftSemi | T::RightSemi => JoinKind::Semi,
            T::LeftAnti | T::RightAnti if join.null_aware => {
                return self.refuse(
                    &["NOT"],
                    "NOT IN over a subquery that may return null is not maintained",
                    "write NOT EXISTS (SELECT .. WHERE a = b), or add WHERE column IS NOT NULL to the subquery",
                );
            }
            T::LeftAnti | T::RightAnti => JoinKind::Anti,
            _ => {
                return self.refuse(
                    &["EXISTS", "IN", "OR"],
                    "a subquery as one side of OR is not maintained",
                    "split the view in two and UNION them",
                );
            }
        };
        let (left_plan, right_plan) = if swap {
            (&join.right, &join.left)
        } else {
            (&join.left, &join.right)
        };
        let left = self.node(left_plan)?;
        let right = self.node(right_plan)?;
        let own = |columns: &LogicalPlan| -> Vec<LogicalExpr> {
            columns
                .schema()
                .columns()
                .into_iter()
                .map(LogicalExpr::Column)
                .collect()
        };
        let keys: Vec<(&LogicalExpr, &LogicalExpr)> = join
            .on
            .iter()
            .map(|(l, r)| if swap { (r, l) } else { (l, r) })
            .collect();
        let mut side = |input, plan: &LogicalPlan, keys: Vec<&LogicalExpr>| {
            let columns = own(plan);
            let extra: Vec<&LogicalExpr> = columns.iter().chain(keys).collect();
            self.extend(input, plan, &extra)
                .map(|(node, places)| (node, columns.len(), places))
        };
        let (left, left_width, left_places) =
            side(left, left_plan, keys.iter().map(|pair| pair.0).collect())?;
        let (right, right_width, right_places) =
            side(right, right_plan, keys.iter().map(|pair| pair.1).collect())?;
        let on = left_places[left_width..]
            .iter()
            .copied()
            .zip(right_places[right_width..].iter().copied())
            .collect();
        let fields = |node: NodeId| {
            self.nodes.list[node]
                .schema
                .fields()
                .iter()
                .map(|f| f.as_ref().clone())
                .collect::<Vec<_>>()
        };
        let left_fields = fields(left);
        let left_all = left_fields.len();
        let only_left = matches!(kind, JoinKind::Semi | JoinKind::Anti);
        let pair_fields: Vec<Field> = left_fields.iter().cloned().chain(fields(right)).collect();
        // The condition is written over the logical pair of rows; here the inputs may be swapped and extended by key columns.
        let residual = match &join.filter {
            None => None,
            Some(condition) => {
                let logical_pair =
                    join.left
                        .schema()
                        .join(join.right.schema())
                        .map_err(|error| {
                            self.text
                                .error(&["ON"], error.find_root().to_string(), None)
                        })?;
                let physical = self.expr(condition, &logical_pair)?;
                let left_columns = left_places[..left_width]
                    .iter()
                    .map(|&place| column("", place));
                let right_columns = right_places[..right_width]
                    .iter()
                    .map(|&place| column("", left_all + place));
                let columns: Vec<Expr> = if swap {
                    right_columns.chain(left_columns).collect()
                } else {
                    left_columns.chain(right_columns).collect()
                };
                super::keyed::over(&physical, &columns)
            }
        };
        let out_fields = if only_left { left_fields } else { pair_fields };
        let joined = self.nodes.add(
            Op::Join {
                left,
                right,
                on,
                kind,
                residual,
                null_equals_null: join.null_equality == NullEquality::NullEqualsNull,
            },
            Arc::new(Schema::new(out_fields.clone())),
        );
        let left_out = left_places[..left_width].iter().copied();
        let right_out = right_places[..right_width]
            .iter()
            .map(|&place| left_all + place);
        let order: Vec<usize> = match (only_left, swap) {
            (true, _) => left_out.collect(),
            (false, false) => left_out.chain(right_out).collect(),
            (false, true) => right_out.chain(left_out).collect(),
        };
        let schema = nullable(join.schema.as_arrow());
        if order.len() == out_fields.len()
            && order
                .iter()
                .enumerate()
                .all(|(index, &place)| index == place)
        {
            return Ok(joined);
        }
        let project = order
            .iter()
            .map(|&place| column(out_fields[place].name(), place))
            .collect();
        let map = Map {
            filter: None,
            project: Some(project),
            schema: Arc::clone(&schema),
        };
        Ok(self.nodes.add(Op::Map { input: joined, map }, schema))
    }

    fn union(&mut self, union: &logical::Union) -> Lowered {
        let schema = nullable(union.schema.as_arrow());
        let mut inputs = Vec::new();
        for plan in &union.inputs {
            let input = self.node(plan)?;
            let own = Arc::clone(&self.nodes.list[input].schema);
            let same = own
                .fields()
                .iter()
                .zip(schema.fields())
                .all(|(a, b)| a.data_type() == b.data_type());
            if same {
                inputs.push(input);
                continue;
            }
            let project = own
                .fields()
                .iter()
                .zip(schema.fields())
                .enumerate()
                .map(|(index, (from, to))| {
                    cast_to(column(from.name(), index), from.data_type(), to.data_type())
                })
                .collect();
            let map = Map {
                filter: None,
                project: Some(project),
                schema: Arc::clone(&schema),
            };
            inputs.push(self.nodes.add(Op::Map { input, map }, Arc::clone(&schema)));
        }
        Ok(self.nodes.add(Op::Union { inputs }, schema))
    }

    fn values(&mut self, values: &logical::Values) -> Lowered {
        let schema = nullable(values.schema.as_arrow());
        let one_row = RecordBatch::try_new_with_options(
            Arc::new(Schema::empty()),
            Vec::new(),
            &arrow::array::RecordBatchOptions::new().with_row_count(Some(1)),
        )
        .expect("a batch without columns fits the empty schema");
        let mut columns: Vec<Vec<ScalarValue>> = vec![Vec::new(); schema.fields().len()];
        let failed = |error: datafusion_common::DataFusionError| {
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
}

/// An aggregate call, its expressions still logical.
struct Call {
    function: Function,
    argument: Option<LogicalExpr>,
    filter: Option<LogicalExpr>,
    order: Vec<SortExpr>,
    distinct: bool,
}

/// The window node (by address) that computes column `index` of `plan`, if one does.
fn window_of(plan: &LogicalPlan, index: usize) -> Option<usize> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => window_of(&alias.input, index),
        LogicalPlan::Filter(filter) => window_of(&filter.input, index),
        LogicalPlan::Projection(projection) => match projection.expr[index].clone().unalias() {
            LogicalExpr::Column(name) => window_of(
                &projection.input,
                projection.input.schema().index_of_column(&name).ok()?,
            ),
            _ => None,
        },
        LogicalPlan::Window(window) => {
            if index >= window.input.schema().fields().len() {
                Some(std::ptr::from_ref(window).addr())
            } else {
                window_of(&window.input, index)
            }
        }
        _ => None,
    }
}

fn options(sort: &SortExpr) -> SortOptions {
    SortOptions {
        descending: !sort.asc,
        nulls_first: sort.nulls_first,
    }
}

/// A constant as a number.
fn number(value: &ScalarValue) -> Option<f64> {
    match value.cast_to(&DataType::Float64).ok()? {
        ScalarValue::Float64(number) => number,
        _ => None,
    }
}

fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema
        .fields()
        .iter()
        .map(|f| Field::new(f.name(), f.data_type().clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
