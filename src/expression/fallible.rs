//! Which expressions can fail for some row.
//!
//! The answer is on the safe side: what is not known here is taken to fail. An expression that is
//! wrongly believed to be safe is still evaluated rightly; only its neighbours are found more
//! slowly when it fails.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion_common::ScalarValue;
use datafusion_common::tree_node::TreeNode;
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr,
    Literal, NegativeExpr, NoOp, NotExpr, TryCastExpr,
};
use datafusion_physical_expr::utils::collect_columns;
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use super::Expr;
use crate::sql::TEXT_OF_TIME;
use crate::sql::numbers::is_settled;

/// Whether evaluating `expr` over rows of `schema` can fail.
pub fn may_fail(expr: &Expr, schema: &Schema) -> bool {
    expr.exists(|node| Ok(fails_itself(node.as_ref(), schema)))
        .unwrap_or(true)
}

/// Whether `expr` only chooses which of its parts are evaluated, and cannot fail itself.
pub(super) fn only_chooses(expr: &dyn PhysicalExpr) -> bool {
    expr.is::<CaseExpr>()
        || expr
            .downcast_ref::<BinaryExpr>()
            .is_some_and(|binary| matches!(binary.op(), Operator::And | Operator::Or))
}

/// Whether the operation at the root of `expr` can fail, given arguments that did not.
pub(super) fn fails_itself(expr: &dyn PhysicalExpr, schema: &Schema) -> bool {
    let is_safe = expr.is::<Column>()
        || expr.is::<Literal>()
        || expr.is::<NoOp>()
        || expr.is::<NotExpr>()
        || expr.is::<IsNullExpr>()
        || expr.is::<IsNotNullExpr>()
        || expr.is::<InListExpr>()
        || expr.is::<TryCastExpr>()
        || only_chooses(expr);
    if is_safe {
        return false;
    }
    let type_of = |part: &Expr| part.data_type(schema).ok();
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return !type_of(cast.expr()).is_some_and(|from| casts_always(&from, cast.cast_type()));
    }
    if let Some(negative) = expr.downcast_ref::<NegativeExpr>() {
        return !type_of(negative.arg()).is_some_and(|arg| is_machine_number(&arg));
    }
    if is_settled(expr) {
        return !expr.data_type(schema).is_ok_and(|of| of.is_floating());
    }
    if let Some(like) = expr.downcast_ref::<LikeExpr>() {
        return !is_constant(like.pattern());
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        return operation_fails(binary, type_of(binary.left()));
    }
    match expr.downcast_ref::<ScalarFunctionExpr>() {
        Some(call) => {
            let name = call.fun().name();
            name != TEXT_OF_TIME && !SAFE_FUNCTIONS.contains(&name)
        }
        None => true,
    }
}

/// Functions that have a value for every row.
const SAFE_FUNCTIONS: [&str; 46] = [
    "array_length",
    "array_has",
    "ascii",
    "ascii_only",
    "bit_length",
    "blank_to_null",
    "btrim",
    "cardinality",
    "character_length",
    "clean_tags",
    "coalesce",
    "concat",
    "contains",
    "coordinates",
    "date_part",
    "empty",
    "ends_with",
    "full_name",
    "get_field",
    "greatest",
    "initcap",
    "isnan",
    "iszero",
    "least",
    "local_path",
    "lower",
    "ltrim",
    "make_array",
    "md5",
    "named_struct",
    "nullif",
    "nvl",
    "nvl2",
    "octet_length",
    "reverse",
    "rtrim",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "starts_with",
    "strpos",
    "trim_blank",
    "try_parse_count",
    "try_parse_timestamp",
    "upper",
];

fn operation_fails(binary: &BinaryExpr, left: Option<DataType>) -> bool {
    use Operator as O;
    let literal = || binary.right().downcast_ref::<Literal>().map(Literal::value);
    match binary.op() {
        O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq => false,
        O::IsDistinctFrom | O::IsNotDistinctFrom | O::StringConcat => false,
        O::Plus | O::Minus | O::Multiply => match left {
            Some(left) if left.is_floating() => false,
            Some(left) if left.is_integer() => is_checked(binary),
            _ => true,
        },
        O::Divide | O::Modulo => match left {
            Some(left) if left.is_floating() => false,
            Some(left) if left.is_integer() => !literal().is_some_and(divides_always),
            _ => true,
        },
        // A constant pattern is wrong for every row or for none.
        O::RegexMatch | O::RegexIMatch | O::RegexNotMatch | O::RegexNotIMatch => {
            !is_constant(binary.right())
        }
        _ => true,
    }
}

/// Whether a whole number that overflows is an error, as `sql::numbers` has it, and does not wrap
/// around.
fn is_checked(binary: &BinaryExpr) -> bool {
    let (left, right) = (Arc::clone(binary.left()), Arc::clone(binary.right()));
    *binary != BinaryExpr::new(left, *binary.op(), right)
}

fn is_constant(expr: &Expr) -> bool {
    collect_columns(expr).is_empty()
}

/// Neither zero nor -1, by which the least number cannot be divided.
fn divides_always(divisor: &ScalarValue) -> bool {
    match divisor.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(Some(divisor))) => divisor != 0 && divisor != -1,
        _ => false,
    }
}

fn is_machine_number(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_floating()
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// Whether every value of `from` is one of `to`, or is rounded to one.
fn casts_always(from: &DataType, to: &DataType) -> bool {
    if from == to || from.is_null() {
        return true;
    }
    let written_plainly = is_machine_number(from) || is_text(from) || *from == DataType::Boolean;
    if is_text(to) {
        return written_plainly;
    }
    if to.is_floating() {
        return is_machine_number(from) || from.is_decimal();
    }
    if to.is_integer() && from.is_integer() {
        let wider = to.primitive_width() > from.primitive_width();
        let same_sign = to.is_signed_integer() == from.is_signed_integer();
        return wider && (same_sign || to.is_signed_integer());
    }
    match (from, to) {
        (DataType::Boolean, to) => to.is_integer(),
        (DataType::Timestamp(_, _), DataType::Date32) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow::datatypes::Field;
    use datafusion_common::DFSchema;
    use datafusion_expr::planner::ContextProvider;

    use super::*;
    use crate::sql::Session;

    fn fails(sql: &str) -> bool {
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("i", DataType::Int32, true),
            Field::new("d", DataType::Float64, true),
            Field::new("t", DataType::Utf8View, true),
        ]);
        let session = Session::new();
        let named = DFSchema::try_from(schema.clone()).expect("names are unique");
        let expr = session.expression(sql, &named).expect(sql);
        may_fail(&session.physical(expr, &named).expect(sql), &schema)
    }

    #[test]
    fn what_can_fail_is_known() {
        for sql in [
            "10 / n > 1",
            "n % n = 0",
            "n / -1 = 2",
            "CAST(t AS BIGINT) > 1",
            "CAST(n AS INT) = 1",
            "lpad(t, 3) = 'a'",
            "CASE WHEN n <> 0 THEN 10 / n END > 1",
            "n > 0 AND 10 / n > 1",
            "n + i > 3",
            "parse_count(t) > 1",
            "t ~ t",
        ] {
            assert!(fails(sql), "{sql}");
        }
    }

    #[test]
    fn what_cannot_fail_is_known() {
        for sql in [
            "n > 1 AND t LIKE 'a%' OR d IS NULL",
            "n / 2 > 1",
            "d / 0 > 1",
            "d + n > 3",
            "CAST(n AS TEXT) = '1'",
            "CAST(n AS DOUBLE) > d",
            "upper(trim_blank(t)) IN ('A', 'B')",
            "coalesce(n, i) BETWEEN 1 AND 2",
            "nullif(t, '') IS NOT NULL",
        ] {
            assert!(!fails(sql), "{sql}");
        }
    }

    #[test]
    fn every_safe_function_exists() {
        let session = Session::new();
        let missing: BTreeSet<_> = SAFE_FUNCTIONS
            .into_iter()
            .filter(|name| session.get_function_meta(name).is_none())
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
