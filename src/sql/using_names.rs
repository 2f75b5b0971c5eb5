//! The name of a column that JOIN .. USING merges.
//!
//! The planner finds such a column in a SELECT list, but calls it ambiguous in WHERE, and behind a
//! second join. Where the first join of a FROM is one USING columns, their bare names are qualified
//! with the relation that it begins with, which has them; that this is the merged column then is
//! [`super::using`]'s business.

use datafusion_sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, Query, Select, SelectItem, TableFactor,
};

use super::walk::{Rewrite, walk};

/// Qualifies the merged columns of all SELECTs in `query`.
pub fn qualify(query: &mut Query) {
    walk(query, &mut EverySelect);
}

struct EverySelect;

impl Rewrite for EverySelect {
    fn pre_select(&mut self, select: &mut Select) {
        let Some(mut names) = Qualify::of(select) else {
            return;
        };
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                walk(expr, &mut names);
            }
        }
        walk(&mut select.selection, &mut names);
        walk(&mut select.having, &mut names);
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            walk(exprs, &mut names);
        }
    }
}

/// Puts a relation before the bare names of its columns.
struct Qualify {
    relation: Ident,
    columns: Vec<String>,
    /// How many queries inside the SELECT the visitor is in: their names are theirs.
    depth: usize,
}

impl Qualify {
    /// If the FROM of `select` begins with a join USING columns.
    fn of(select: &Select) -> Option<Qualify> {
        let [from] = select.from.as_slice() else {
            return None;
        };
        let relation = match &from.relation {
            TableFactor::Table { name, alias, .. } => match alias {
                Some(alias) => alias.name.clone(),
                None => name.0.last()?.as_ident()?.clone(),
            },
            TableFactor::Derived { alias, .. } => alias.as_ref()?.name.clone(),
            _ => return None,
        };
        let (JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)) = &from.joins.first()?.join_operator
        else {
            return None;
        };
        let JoinConstraint::Using(columns) = constraint else {
            return None;
        };
        let columns = columns
            .iter()
            .filter_map(|column| column.0.last()?.as_ident());
        Some(Qualify {
            relation,
            columns: columns.map(normal).collect(),
            depth: 0,
        })
    }
}

impl Rewrite for Qualify {
    fn pre_query(&mut self, _query: &mut Query) {
        self.depth += 1;
    }

    fn post_query(&mut self, _query: &mut Query) {
        self.depth -= 1;
    }

    fn post_expr(&mut self, expr: &mut Expr) {
        if let Expr::Identifier(name) = expr
            && self.depth == 0
            && self.columns.contains(&normal(name))
        {
            *expr = Expr::CompoundIdentifier(vec![self.relation.clone(), name.clone()]);
        }
    }
}

/// The name as it is compared: small letters, unless it is in quotes.
fn normal(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}
