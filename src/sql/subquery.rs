//! Subqueries in conditions, said with EXISTS alone.
//!
//! DataFusion makes joins of `EXISTS` and of `IN`, but knows three values in neither: a null on one
//! side of `NOT IN`, or of an `IN` whose own value is asked for, would give the wrong answer. Every
//! such condition can be said with `EXISTS`, which is never null, if one knows which of its values
//! matters. Where a filter asks whether a condition is true,
//!
//! ```text
//! x IN (S)              EXISTS (S WHERE y = x)
//! x NOT IN (S)          NOT EXISTS (S WHERE y = x) AND NOT EXISTS (S WHERE y IS NULL)
//!                       AND NOT EXISTS (S WHERE x IS NULL)
//! x > ALL (S)           NOT EXISTS (S WHERE (x > y) IS NOT TRUE)
//! (x IN (S)) IS NULL    (CASE WHEN x IN (S) THEN true WHEN x NOT IN (S) THEN false END) IS NULL
//! ```
//!
//! where `y` is the column of `S`. The optimiser makes no join of an EXISTS that is a column of the
//! answer: there its rows are counted. The parts of `NOT IN` that ask for nulls are left out where
//! a side has none, so between keys, or behind `IS NOT NULL`, it costs what `NOT EXISTS` costs.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, Result, ScalarValue};
use datafusion_expr::expr::{Case, Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::{
    BinaryExpr, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Subquery, lit,
    not,
};
use datafusion_functions_aggregate::expr_fn::{count, min};

use super::nulls::{conjunction_of, never_null};

/// `plan` with the subqueries of its filters said with EXISTS, and those of its columns with a
/// count.
pub fn with_exists_only(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut names = 0;
    let plan = plan.transform_up_with_subqueries(|node| {
        let preserver = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = preserver.save(&expr);
            let simple = expr.transform_up(of_one_row)?;
            Ok(simple.update_data(|expr| name.restore(expr)))
        })?;
        Ok(match node.data {
            LogicalPlan::Filter(filter) if compares_with_subquery(&filter.predicate) => {
                let mut rewrite = Rewrite {
                    input: &filter.input,
                    known: conjunction_of(&filter.predicate),
                    by_count: false,
                    names: &mut names,
                };
                let predicate = rewrite.holds(filter.predicate.clone(), true)?;
                let filter = Filter::try_new(predicate, filter.input)?;
                Transformed::yes(LogicalPlan::Filter(filter))
            }
            LogicalPlan::Projection(projection) if projection.expr.iter().any(has_subquery) => {
                let mut rewrite = Rewrite {
                    input: &projection.input,
                    known: Vec::new(),
                    by_count: true,
                    names: &mut names,
                };
                let preserver = NamePreserver::new_for_projection();
                let valued = projection.expr.iter().map(|expr| {
                    let name = preserver.save(expr);
                    Ok(name.restore(rewrite.valued(expr.clone())?))
                });
                let valued = valued.collect::<Result<Vec<_>>>()?;
                let projection = Projection::try_new(valued, projection.input)?;
                Transformed::yes(LogicalPlan::Projection(projection))
            }
            other => Transformed::new(other, node.transformed, node.tnr),
        })
    })?;
    Ok(plan.data)
}

/// Whether `plan` returns one row, whatever its tables hold: an aggregate without GROUP BY does.
pub fn always_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => always_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => always_one_row(&alias.input),
        LogicalPlan::Sort(sort) => always_one_row(&sort.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        _ => false,
    }
}

/// A subquery of one row as the value that it is, for as a join it would have no row where it finds
/// no partner.
fn of_one_row(expr: Expr) -> Result<Transformed<Expr>> {
    let compared = |left: Box<Expr>, op: Operator, subquery: Subquery| {
        let right = Box::new(Expr::ScalarSubquery(subquery));
        Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
    };
    Ok(match expr {
        Expr::Exists(Exists { subquery, negated }) if always_one_row(&subquery.subquery) => {
            Transformed::yes(lit(!negated))
        }
        Expr::InSubquery(InSubquery {
            expr,
            subquery,
            negated,
        }) if always_one_row(&subquery.subquery) => {
            let op = if negated {
                Operator::NotEq
            } else {
                Operator::Eq
            };
            compared(expr, op, subquery)
        }
        Expr::SetComparison(SetComparison {
            expr, subquery, op, ..
        }) if always_one_row(&subquery.subquery) => compared(expr, op, subquery),
        // The one row of a key is its own least value: the optimiser asks for an aggregate.
        Expr::ScalarSubquery(subquery)
            if !subquery.outer_ref_columns.is_empty() && !always_one_row(&subquery.subquery) =>
        {
            let value = Expr::Column(Column::from(subquery.subquery.schema().qualified_field(0)));
            let name = value.schema_name().to_string();
            let plan = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
                .aggregate(Vec::<Expr>::new(), [min(value)])?
                .build()?;
            let least = Expr::Column(Column::from(plan.schema().qualified_field(0)));
            let plan = LogicalPlanBuilder::from(plan)
                .project([least.alias(name)])?
                .build()?;
            Transformed::yes(Expr::ScalarSubquery(Subquery {
                subquery: Arc::new(plan),
                ..subquery
            }))
        }
        other => Transformed::no(other),
    })
}

/// Whether a subquery's values are compared with something in `expr`.
fn compares_with_subquery(expr: &Expr) -> bool {
    has(expr, |part| {
        matches!(part, Expr::InSubquery(_) | Expr::SetComparison(_))
    })
}

fn has_subquery(expr: &Expr) -> bool {
    has(expr, |part| {
        matches!(
            part,
            Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::Exists(_)
        )
    })
}

fn has(expr: &Expr, is: impl Fn(&Expr) -> bool) -> bool {
    expr.exists(|part| Ok(is(part)))
        .expect("the visitor does not fail")
}

/// The rewriting of one filter, or of the columns of one projection.
struct Rewrite<'a> {
    /// What is filtered or projected.
    input: &'a LogicalPlan,
    /// What holds for all rows that pass the filter.
    known: Vec<Expr>,
    /// Whether rows are counted instead of asked for.
    by_count: bool,
    /// How many subqueries have been named.
    names: &'a mut usize,
}

impl Rewrite<'_> {
    /// A condition that is true exactly where `expr` is `wanted`: true or false.
    fn holds(&mut self, expr: Expr, wanted: bool) -> Result<Expr> {
        if !has_subquery(&expr) {
            return Ok(if wanted { expr } else { not(expr) });
        }
        Ok(match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right })
                if matches!(op, Operator::And | Operator::Or) =>
            {
                let (left, right) = (self.holds(*left, wanted)?, self.holds(*right, wanted)?);
                match (op == Operator::And) == wanted {
                    true => left.and(right),
                    false => left.or(right),
                }
            }
            Expr::Not(inner) => self.holds(*inner, !wanted)?,
            Expr::Exists(Exists { subquery, negated }) => {
                self.some_row(subquery, negated == wanted)?
            }
            Expr::InSubquery(InSubquery {
                expr,
                subquery,
                negated,
            }) if self.can_name(&expr, &subquery) => match negated != wanted {
                true => self.equals_any(&expr, &subquery)?,
                false => self.equals_none(&expr, &subquery)?,
            },
            Expr::SetComparison(SetComparison {
                expr,
                subquery,
                op,
                quantifier,
            }) if self.can_name(&expr, &subquery) => match (op, quantifier, wanted) {
                (Operator::Eq, SetQuantifier::Any, true)
                | (Operator::NotEq, SetQuantifier::All, false) => {
                    self.equals_any(&expr, &subquery)?
                }
                (Operator::Eq, SetQuantifier::Any, false)
                | (Operator::NotEq, SetQuantifier::All, true) => {
                    self.equals_none(&expr, &subquery)?
                }
                (op, quantifier, wanted) => {
                    let is_some = (quantifier == SetQuantifier::Any) == wanted;
                    self.exists(&subquery, !is_some, |outer, value| {
                        let compared = Box::new(Expr::BinaryExpr(BinaryExpr {
                            left: Box::new(outer(&expr)?),
                            op,
                            right: Box::new(value),
                        }));
                        Ok(match (quantifier, wanted) {
                            (SetQuantifier::Any, true) => *compared,
                            (SetQuantifier::Any, false) => Expr::IsNotFalse(compared),
                            (SetQuantifier::All, true) => Expr::IsNotTrue(compared),
                            (SetQuantifier::All, false) => Expr::IsFalse(compared),
                        })
                    })?
                }
            },
            // As it is: the lowering refuses what the optimiser makes no join of that is right.
            other @ (Expr::InSubquery(_) | Expr::SetComparison(_)) if wanted => other,
            other @ (Expr::InSubquery(_) | Expr::SetComparison(_)) => not(other),
            other => {
                let valued = self.valued(other)?;
                if wanted { valued } else { not(valued) }
            }
        })
    }

    /// Whether `expr` can be compared within the subquery without being taken for one of its own
    /// columns.
    fn can_name(&self, expr: &Expr, subquery: &Subquery) -> bool {
        let own = subquery.subquery.schema().columns();
        let is_own = |column: &Column| own.iter().any(|own| own.relation == column.relation);
        !expr.contains_outer()
            && (subquery.outer_ref_columns.is_empty()
                || !expr.column_refs().iter().any(|column| is_own(column)))
    }

    /// `expr` with the value of each condition on a subquery instead of it.
    fn valued(&mut self, expr: Expr) -> Result<Expr> {
        let valued = expr.transform_down(|part| {
            if self.by_count && matches!(part, Expr::Exists(_)) {
                let exists = self.holds(part, true)?;
                return Ok(Transformed::new(exists, true, TreeNodeRecursion::Jump));
            }
            if !matches!(part, Expr::InSubquery(_) | Expr::SetComparison(_)) {
                return Ok(Transformed::no(part));
            }
            let case = Case {
                expr: None,
                when_then_expr: vec![
                    (
                        Box::new(self.holds(part.clone(), true)?),
                        Box::new(lit(true)),
                    ),
                    (Box::new(self.holds(part, false)?), Box::new(lit(false))),
                ],
                else_expr: Some(Box::new(Expr::Literal(ScalarValue::Boolean(None), None))),
            };
            Ok(Transformed::new(
                Expr::Case(case),
                true,
                TreeNodeRecursion::Jump,
            ))
        });
        valued.map(|valued| valued.data)
    }

    /// Some value of `subquery` equals `expr`.
    fn equals_any(&mut self, expr: &Expr, subquery: &Subquery) -> Result<Expr> {
        self.exists(subquery, false, |outer, value| Ok(value.eq(outer(expr)?)))
    }

    /// No value of `subquery` equals `expr`, nor could one if a null were known.
    fn equals_none(&mut self, expr: &Expr, subquery: &Subquery) -> Result<Expr> {
        let mut none = self.exists(subquery, true, |outer, value| Ok(value.eq(outer(expr)?)))?;
        if !never_null(&subquery.subquery, 0, &[]) {
            none = none.and(self.exists(subquery, true, |_, value| Ok(value.is_null()))?);
        }
        if !self.is_never_null(expr)? {
            // As a join, a condition on the row outside alone; a count cannot be joined by it.
            none = none.and(match self.by_count {
                true => not(expr
                    .clone()
                    .is_null()
                    .and(self.some_row(subquery.clone(), false)?)),
                false => self.exists(subquery, true, |outer, _| Ok(outer(expr)?.is_null()))?,
            });
        }
        Ok(none)
    }

    /// Whether `expr` over the input's rows has a value in all rows that pass.
    fn is_never_null(&self, expr: &Expr) -> Result<bool> {
        Ok(match expr {
            Expr::Column(column) => {
                let index = self.input.schema().index_of_column(column)?;
                never_null(self.input, index, &self.known)
            }
            Expr::Literal(value, _) => !value.is_null(),
            _ => false,
        })
    }

    /// EXISTS (`subquery` WHERE `condition`), or NOT EXISTS.
    ///
    /// The condition is given what makes an expression of the filter one of the subquery, and the
    /// subquery's column.
    fn exists(
        &mut self,
        subquery: &Subquery,
        negated: bool,
        condition: impl FnOnce(&dyn Fn(&Expr) -> Result<Expr>, Expr) -> Result<Expr>,
    ) -> Result<Expr> {
        let mut named = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
        // A name of its own: both queries may read the same table under the same name. One that
        // depends on the row outside cannot, and the optimiser loses its columns behind another
        // name.
        if subquery.outer_ref_columns.is_empty() {
            *self.names += 1;
            named = named.alias(format!("__in_{}", self.names))?;
        }
        let value = Expr::Column(Column::from(named.schema().qualified_field(0)));
        let schema: &DFSchema = self.input.schema();
        let outer = |expr: &Expr| outer_reference(expr, schema);
        let plan = named.filter(condition(&outer, value)?)?.build()?;
        let subquery = Subquery {
            outer_ref_columns: plan.all_out_ref_exprs(),
            subquery: Arc::new(plan),
            spans: subquery.spans.clone(),
        };
        self.some_row(subquery, negated)
    }

    /// Whether `subquery` has a row, or has none.
    fn some_row(&self, subquery: Subquery, negated: bool) -> Result<Expr> {
        if !self.by_count {
            return Ok(Expr::Exists(Exists { subquery, negated }));
        }
        let rows = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
            .aggregate(Vec::<Expr>::new(), [count(lit(1_i64))])?
            .build()?;
        let rows = Expr::ScalarSubquery(Subquery {
            subquery: Arc::new(rows),
            ..subquery
        });
        let none = lit(0_i64);
        Ok(if negated {
            rows.eq(none)
        } else {
            rows.gt(none)
        })
    }
}

/// `expr` over rows of `schema`, as a query inside refers to it.
fn outer_reference(expr: &Expr, schema: &DFSchema) -> Result<Expr> {
    let outer = expr.clone().transform(|part| {
        Ok(match part {
            Expr::Column(column) => {
                let (_, field) = schema.qualified_field_from_column(&column)?;
                Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), column))
            }
            other => Transformed::no(other),
        })
    });
    outer.map(|outer| outer.data)
}
