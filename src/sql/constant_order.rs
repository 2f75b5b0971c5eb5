//! A number in the ORDER BY of an aggregate is a constant, as it is in a window's.
//!
//! Only in the ORDER BY of a query does `1` mean the first column. The planner takes it for a
//! column in an aggregate too, and for one of the table that is read, which depends on how the
//! table was declared.

use datafusion_sql::sqlparser::ast::{Expr, FunctionArgumentClause, FunctionArguments, Query};

use super::walk::{Rewrite, walk};

/// Puts such numbers in parentheses, where the planner leaves them alone.
pub fn keep_constants(query: &mut Query) {
    walk(query, &mut Constants);
}

struct Constants;

impl Rewrite for Constants {
    fn post_expr(&mut self, expr: &mut Expr) {
        if let Expr::Function(call) = expr
            && let FunctionArguments::List(arguments) = &mut call.args
        {
            for clause in &mut arguments.clauses {
                if let FunctionArgumentClause::OrderBy(order) = clause {
                    for part in order {
                        if matches!(part.expr, Expr::Value(_)) {
                            part.expr = Expr::Nested(Box::new(part.expr.clone()));
                        }
                    }
                }
            }
        }
    }
}
