//! Which conditions are evaluated at all: a stranger may send them, and a GET needs no permission
//! of a browser.
//!
//! A condition is bounded before it is planned (bytes and tokens, hence depth) and may call only
//! functions whose value is no larger than their arguments, computed in time that is linear in
//! them. The memory of a condition is then bounded by the values of the rows it is evaluated on,
//! which are few where they are long, times the number of `||` in it.

use std::collections::HashSet;
use std::sync::LazyLock;

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{DataFusionError, Result, plan_err};
use datafusion_expr::{BinaryExpr, Expr, Operator};
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::tokenizer::{Token, Tokenizer};

/// The longest condition, in bytes.
const BYTES_MAX: usize = 16 << 10;
/// The most words, literals and operators. A chain of operators is a tree as deep as it is long.
const TOKENS_MAX: usize = 1000;
/// The most times that `||` makes a longer text of two: a value has at most so many times the bytes
/// of its row, and as many are copied for each.
const JOINS_MAX: usize = 16;

/// DataFusion's functions that conditions may call.
const FUNCTIONS: &str = "
    abs acos array_contains array_element array_has array_has_all array_has_any array_length
    array_max array_min array_ndims array_position arrow_typeof ascii asin atan atan2 bit_length
    btrim cardinality cbrt ceil char_length character_length chr coalesce cos cot date_bin
    date_part date_trunc degrees empty ends_with exp factorial floor from_unixtime gcd get_field
    greatest instr isnan iszero lcm least left length ln log log10 log2 lower ltrim make_date
    md5 nanvl nullif nvl nvl2 octet_length pi position pow power radians regexp_like reverse
    right round rtrim sha256 signum sin split_part sqrt starts_with strpos substr substring tan
    to_date to_timestamp to_timestamp_micros to_timestamp_millis to_timestamp_nanos
    to_timestamp_seconds to_unixtime trim trunc upper
";

static ALLOWED: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let ours = crate::function::all().into_iter();
    let ours = ours.map(|function| function.name().to_owned());
    let theirs = FUNCTIONS.split_whitespace().map(str::to_owned);
    ours.chain(theirs).collect()
});

/// Refuses text that is too long to be planned.
pub(super) fn text(condition: &str) -> Result<()> {
    if condition.len() > BYTES_MAX {
        let bytes = condition.len();
        return plan_err!("it has {bytes} bytes, and a condition has at most {BYTES_MAX}");
    }
    // What cannot be read as words is the parser's to complain about.
    let tokens = Tokenizer::new(&GenericDialect {}, condition)
        .tokenize()
        .unwrap_or_default();
    let words = tokens
        .iter()
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .count();
    if words > TOKENS_MAX {
        return plan_err!(
            "it has {words} words and operators, and a condition has at most {TOKENS_MAX}"
        );
    }
    Ok(())
}

/// Refuses what looks beyond its row, and functions that can make much of little.
pub(super) fn expression(expression: &Expr) -> Result<()> {
    let mut refusal: Option<DataFusionError> = None;
    expression.exists(|part| {
        refusal = part_of(part).err();
        Ok(refusal.is_some())
    })?;
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    let mut joins = 0;
    expression.apply(|part| {
        if let Expr::BinaryExpr(BinaryExpr { op, .. }) = part {
            joins += usize::from(*op == Operator::StringConcat);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if joins > JOINS_MAX {
        return plan_err!(
            "it joins texts {joins} times with `||`, and a condition may do so {JOINS_MAX} times"
        );
    }
    Ok(())
}

fn part_of(part: &Expr) -> Result<()> {
    match part {
        Expr::AggregateFunction(_)
        | Expr::WindowFunction(_)
        | Expr::ScalarSubquery(_)
        | Expr::InSubquery(_)
        | Expr::SetComparison(_)
        | Expr::Exists(_) => {
            plan_err!("it may look at one row at a time: no aggregate, window or subquery")
        }
        Expr::SimilarTo(_) => {
            plan_err!("it does not take SIMILAR TO: write LIKE, or a regular expression behind ~")
        }
        Expr::ScalarFunction(call) if !ALLOWED.contains(call.name()) => refused(call.name()),
        Expr::HigherOrderFunction(call) => refused(call.name()),
        _ => Ok(()),
    }
}

fn refused(name: &str) -> Result<()> {
    plan_err!(
        "`{name}` is not among the functions of conditions, whose values are never larger than \
         their arguments; compute it in a view instead"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Session;
    use datafusion_common::DFSchema;

    #[test]
    fn every_allowed_function_exists() {
        let session = Session::new();
        let unknown: Vec<&String> = ALLOWED
            .iter()
            .filter(|name| {
                let call = format!("{name}()");
                let error = session.expression(&call, &DFSchema::empty()).err();
                error.is_some_and(|error| error.to_string().contains("Invalid function"))
            })
            .collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
