//! SQL to logical plans and expressions: what names mean, which functions there are, which rules
//! rewrite a plan.
//!
//! DataFusion's parser, planner and optimiser are used; its execution of queries is not, for the
//! plans are made into dataflows by `plan`. A [`Session`] holds the names of one dataflow file, or
//! no names at all where single expressions are evaluated.
//!
//! # Invariants
//! 1. A name means one relation for the life of a session.
//! 2. Nothing here depends on the time: `now()` stays a call and is refused by those who maintain
//!    answers.

mod casts;
pub mod constant_order;
mod nulls;
pub mod numbers;
pub mod precedence;
pub mod subquery;
mod times;
pub mod using;
pub mod using_names;
pub mod walk;
mod written_order;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{DFSchema, Result, TableReference, plan_err};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::planner::{ContextProvider, ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion_expr::{
    AggregateUDF, Expr, ExprSchemable, HigherOrderUDF, LogicalPlan, ScalarUDF,
    TableProviderFilterPushDown, TableSource, TableType, WindowUDF,
};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_optimizer::{Analyzer, Optimizer, OptimizerContext};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion_sql::parser::{DFParserBuilder, Statement};
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::BinaryOperator;
use datafusion_sql::sqlparser::dialect::GenericDialect;

use crate::expression::{catching, lazily};
use crate::nearest::nearest;

pub use casts::TEXT_OF_TIME;
pub(crate) use written_order::{fails_over, guarded};

/// What SQL text is understood against.
pub struct Session {
    options: Arc<ConfigOptions>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    scalars: HashMap<String, Arc<ScalarUDF>>,
    higher_order: HashMap<String, Arc<HigherOrderUDF>>,
    aggregates: HashMap<String, Arc<AggregateUDF>>,
    windows: HashMap<String, Arc<WindowUDF>>,
    relations: BTreeMap<String, Arc<dyn TableSource>>,
}

impl Default for Session {
    fn default() -> Self {
        Session::new()
    }
}

impl Session {
    /// A session with DataFusion's functions and ours, and no relations.
    pub fn new() -> Session {
        let scalars = datafusion_functions::all_default_functions()
            .into_iter()
            .chain(datafusion_functions_nested::all_default_nested_functions())
            .chain(crate::function::all().into_iter().map(Arc::new))
            .chain([
                Arc::new(crate::function::date_part::function()),
                Arc::new(crate::function::wide_time::date_trunc()),
                Arc::new(crate::function::wide_time::date_bin()),
            ])
            .map(crate::function::bounded);
        let aggregates = datafusion_functions_aggregate::all_default_aggregate_functions()
            .into_iter()
            .chain(crate::function::aggregates().into_iter().map(Arc::new));
        Session {
            options: Arc::new(options()),
            planners: vec![
                Arc::new(OwnFunctions),
                Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
                Arc::new(datafusion_functions_nested::planner::NestedFunctionPlanner),
                Arc::new(datafusion_functions_nested::planner::FieldAccessPlanner),
                Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
                Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
                Arc::new(datafusion_functions_aggregate::planner::AggregateFunctionPlanner),
                Arc::new(datafusion_functions_window::planner::WindowFunctionPlanner),
            ],
            scalars: by_name(scalars, |f| f.name(), |f| f.aliases()),
            higher_order: by_name(
                datafusion_functions_nested::all_default_higher_order_functions(),
                |f| f.name(),
                |f| f.aliases(),
            ),
            aggregates: by_name(aggregates, |f| f.name(), |f| f.aliases()),
            windows: by_name(
                datafusion_functions_window::all_default_window_functions(),
                |f| f.name(),
                |f| f.aliases(),
            ),
            relations: BTreeMap::new(),
        }
    }

    /// The relation that is called `name`, in any case of letters.
    pub fn called_like(&self, name: &str) -> Option<&str> {
        let mut names = self.relations.keys().map(String::as_str);
        names.find(|known| known.eq_ignore_ascii_case(name))
    }

    /// Lets `name` mean a relation of its own, with these columns.
    pub fn declare(&mut self, name: &str, schema: SchemaRef) {
        self.relations
            .insert(name.to_owned(), Arc::new(Relation(schema)));
    }

    /// Lets `name` stand for a query.
    pub fn declare_query(&mut self, name: &str, query: LogicalPlan) {
        self.relations
            .insert(name.to_owned(), Arc::new(NamedQuery(query)));
    }

    /// The plan of a statement as it was written, names resolved.
    pub fn plan(&self, statement: Statement) -> Result<LogicalPlan> {
        times::in_microseconds(self.planner().statement_to_plan(statement)?)
    }

    /// The plan after DataFusion's rules, with conditions in an order that guards what can fail
    /// (`sql/written_order.rs`).
    pub fn optimised(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        let context = OptimizerContext::new_with_config_options(Arc::clone(&self.options))
            .without_query_execution_start_time();
        // What folds constants evaluates them.
        catching(|| {
            let plan = Analyzer::new().execute_and_check(plan.clone(), &self.options, |_, _| {})?;
            let plan = casts::settled(plan)?;
            let rules = Optimizer::with_rules(written_order::rules());
            rules.optimize(written_order::settled(plan)?, &context, |_, _| {})
        })
    }

    /// The expression that `sql` is over the columns of `schema`.
    pub fn expression(&self, sql: &str, schema: &DFSchema) -> Result<Expr> {
        let mut expression = DFParserBuilder::new(sql)
            .with_dialect(&GenericDialect {})
            .build()?
            .parse_into_expr()?;
        precedence::restore(&mut expression.expr);
        let context = &mut PlannerContext::new();
        let expression = self
            .planner()
            .sql_to_expr_with_alias(expression, schema, context)?;
        Ok(times::in_expression(expression, schema)?.data)
    }

    /// The expression made ready for evaluation over rows of `schema`, its types coerced.
    pub fn physical(&self, expression: Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(schema.clone()))
            .with_config_options(Arc::clone(&self.options))
            .build();
        let expression = ExprSimplifier::new(context.clone()).coerce(expression, schema)?;
        let expression = casts::settled_in(expression, schema)?.data;
        let expression = spelled_out(expression, &context)?;
        let physical = physical(&expression, schema, &self.properties())?;
        lazily(&physical, schema.as_arrow())
    }

    /// What the evaluation of expressions depends on besides their arguments.
    pub fn properties(&self) -> ExecutionProps {
        let mut properties = ExecutionProps::new();
        properties.config_options = Some(Arc::clone(&self.options));
        properties
    }

    fn planner(&self) -> SqlToRel<'_, Self> {
        SqlToRel::new_with_options(self, ParserOptions::from(&self.options.sql_parser))
    }
}

/// The physical form of a coerced expression over rows of `schema`, with SQL's arithmetic.
pub fn physical(
    expression: &Expr,
    schema: &DFSchema,
    properties: &ExecutionProps,
) -> Result<Arc<dyn PhysicalExpr>> {
    let context = PhysicalPlanningContext::default();
    let physical = create_physical_expr(expression, schema, properties, &context)?;
    numbers::exact(physical, schema.as_arrow())
}

/// `expression` with CASE in the place of functions that DataFusion only evaluates as one.
fn spelled_out(expression: Expr, context: &SimplifyContext) -> Result<Expr> {
    const SHORT: [&str; 3] = ["coalesce", "nvl", "nvl2"];
    let spelled = expression.transform_up(|part| {
        let Expr::ScalarFunction(ScalarFunction { func, args }) = part else {
            return Ok(Transformed::no(part));
        };
        if !SHORT.contains(&func.name()) {
            let call = ScalarFunction { func, args };
            return Ok(Transformed::no(Expr::ScalarFunction(call)));
        }
        Ok(match func.simplify(args, context)? {
            ExprSimplifyResult::Simplified(case) => Transformed::yes(case),
            ExprSimplifyResult::Original(args) => {
                let call = ScalarFunction { func, args };
                Transformed::no(Expr::ScalarFunction(call))
            }
        })
    });
    spelled.data()
}

/// Plans what has a syntax of its own with our functions where there are two of a name.
#[derive(Debug)]
struct OwnFunctions;

impl ExprPlanner for OwnFunctions {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let is = |side: &Expr, is_it: fn(&DataType) -> bool| {
            side.get_type(schema).is_ok_and(|of| is_it(&of))
        };
        let is_interval = |side: &Expr| is(side, |of| matches!(of, DataType::Interval(_)));
        let is_number = |side: &Expr| is(side, DataType::is_integer);
        if expr.op != BinaryOperator::Multiply {
            return Ok(PlannerResult::Original(expr));
        }
        let args = if is_interval(&expr.left) && is_number(&expr.right) {
            vec![expr.left, expr.right]
        } else if is_number(&expr.left) && is_interval(&expr.right) {
            vec![expr.right, expr.left]
        } else {
            return Ok(PlannerResult::Original(expr));
        };
        let times = Arc::new(crate::function::interval_times::function());
        let call = ScalarFunction::new_udf(times, args);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        let part = Arc::new(crate::function::date_part::function());
        let call = ScalarFunction::new_udf(part, args);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

/// Functions by their names and other names.
fn by_name<F>(
    functions: impl IntoIterator<Item = Arc<F>>,
    name: impl Fn(&F) -> &str,
    aliases: impl Fn(&F) -> &[String],
) -> HashMap<String, Arc<F>> {
    let mut known = HashMap::new();
    for function in functions {
        for alias in aliases(&function) {
            known.insert(alias.clone(), Arc::clone(&function));
        }
        known.insert(name(&function).to_owned(), function);
    }
    known
}

fn options() -> ConfigOptions {
    let mut options = ConfigOptions::default();
    options.sql_parser.collect_spans = true;
    // Scalar subqueries become joins, which can be maintained.
    options
        .optimizer
        .enable_physical_uncorrelated_scalar_subquery = false;
    options
}

/// A stream, a table, or a maintained view.
struct Relation(SchemaRef);

impl TableSource for Relation {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0)
    }
}

/// A plain view. It is kept as it was written: an optimised plan would be optimised again where it
/// is read, and lose its LIMIT.
struct NamedQuery(LogicalPlan);

impl TableSource for NamedQuery {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.0.schema().inner())
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.0))
    }
}

impl ContextProvider for Session {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.relations.get(name.table()) {
            Some(relation) if name.schema().is_none() => Ok(Arc::clone(relation)),
            _ => {
                // In the form of the planner's own complaint about a column.
                let relations = || self.relations.keys().map(String::as_str);
                let hint = match nearest(name.table(), relations()) {
                    Some(near) => format!(" Did you mean '{near}'?"),
                    None if self.relations.is_empty() => String::new(),
                    None => {
                        let all = relations().collect::<Vec<_>>().join(", ");
                        format!("\nValid relations are {all}.")
                    }
                };
                plan_err!("No relation named {name}.{hint}")
            }
        }
    }

    /// Recursion is planned, so that it can be refused with its place.
    fn create_cte_work_table(
        &self,
        _name: &str,
        schema: SchemaRef,
    ) -> Result<Arc<dyn TableSource>> {
        Ok(Arc::new(Relation(schema)))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalars.get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.higher_order.get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregates.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.windows.get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.scalars.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.higher_order.keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.aggregates.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.windows.keys().cloned().collect()
    }
}
