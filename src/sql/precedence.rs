//! What `IS [NOT] DISTINCT FROM` is compared with ends at AND and OR.
//!
//! The parser takes all that follows for it: of `a IS DISTINCT FROM b AND c` it makes
//! `a IS DISTINCT FROM (b AND c)`, and where all are truth values nobody complains. What was
//! written in parentheses is marked as such, so the operators that are not can be put where they
//! belong.

use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr, Ident, UnaryOperator, VisitMut};

use super::walk::{Rewrite, walk};

/// Puts AND and OR above the comparisons, and OR above AND, wherever the parser did not.
pub fn restore(tree: &mut impl VisitMut) {
    walk(tree, &mut Precedence);
}

struct Precedence;

impl Rewrite for Precedence {
    fn post_expr(&mut self, expr: &mut Expr) {
        let written = std::mem::replace(expr, Expr::Identifier(Ident::new("")));
        *expr = restored(written);
    }
}

/// The same of one expression, whose parts are in order.
fn restored(expr: Expr) -> Expr {
    use BinaryOperator::{And, Or};
    match expr {
        Expr::IsDistinctFrom(left, right) => lifted(*right, &[And, Or], |right| {
            Expr::IsDistinctFrom(left, Box::new(right))
        }),
        Expr::IsNotDistinctFrom(left, right) => lifted(*right, &[And, Or], |right| {
            Expr::IsNotDistinctFrom(left, Box::new(right))
        }),
        Expr::UnaryOp {
            op: op @ UnaryOperator::Not,
            expr,
        } => lifted(*expr, &[And, Or], |expr| Expr::UnaryOp {
            op,
            expr: Box::new(expr),
        }),
        Expr::BinaryOp {
            left,
            op: And,
            right,
        } => lifted(*right, &[Or], |right| Expr::BinaryOp {
            left,
            op: And,
            right: Box::new(right),
        }),
        other => other,
    }
}

/// `made` of `right`, or of its left end if its operator is one of `above`, which then is above it.
fn lifted(right: Expr, above: &[BinaryOperator], made: impl FnOnce(Expr) -> Expr) -> Expr {
    match right {
        Expr::BinaryOp {
            left: inner,
            op,
            right,
        } if above.contains(&op) => Expr::BinaryOp {
            left: Box::new(restored(made(*inner))),
            op,
            right,
        },
        other => made(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion_sql::sqlparser::dialect::GenericDialect;
    use datafusion_sql::sqlparser::parser::Parser;

    /// `sql` as it is read, every operation in parentheses.
    fn read(sql: &str) -> String {
        let mut parser = Parser::new(&GenericDialect {}).try_with_sql(sql).unwrap();
        let mut expr = parser.parse_expr().unwrap();
        restore(&mut expr);
        shown(&expr)
    }

    fn shown(expr: &Expr) -> String {
        match expr {
            Expr::Nested(expr) => shown(expr),
            Expr::BinaryOp { left, op, right } => {
                format!("({} {op} {})", shown(left), shown(right))
            }
            Expr::UnaryOp { op, expr } => format!("({op} {})", shown(expr)),
            Expr::IsDistinctFrom(left, right) => format!("({} ≠ {})", shown(left), shown(right)),
            Expr::IsNotDistinctFrom(left, right) => format!("({} ≡ {})", shown(left), shown(right)),
            other => other.to_string(),
        }
    }

    #[test]
    fn and_and_or_are_above_is_distinct_from() {
        for (sql, meaning) in [
            ("a IS DISTINCT FROM b AND c", "((a ≠ b) AND c)"),
            ("a IS DISTINCT FROM b AND c OR d", "(((a ≠ b) AND c) OR d)"),
            ("a IS DISTINCT FROM b OR c AND d", "((a ≠ b) OR (c AND d))"),
            (
                "x AND a IS NOT DISTINCT FROM b OR c",
                "((x AND (a ≡ b)) OR c)",
            ),
            (
                "x OR a IS NOT DISTINCT FROM b AND c",
                "(x OR ((a ≡ b) AND c))",
            ),
            ("NOT a IS DISTINCT FROM b AND c", "((NOT (a ≠ b)) AND c)"),
            (
                "x AND NOT a IS DISTINCT FROM b OR c",
                "((x AND (NOT (a ≠ b))) OR c)",
            ),
            (
                "a IS DISTINCT FROM b AND c IS DISTINCT FROM d AND e",
                "((a ≠ b) AND ((c ≠ d) AND e))",
            ),
            ("a IS DISTINCT FROM (b AND c)", "(a ≠ (b AND c))"),
            (
                "x AND (a IS DISTINCT FROM b OR c)",
                "(x AND ((a ≠ b) OR c))",
            ),
            ("NOT (a AND b)", "(NOT (a AND b))"),
            ("a IS DISTINCT FROM b + 1 = c", "(a ≠ ((b + 1) = c))"),
        ] {
            assert_eq!(read(sql), meaning, "{sql}");
        }
    }
}
