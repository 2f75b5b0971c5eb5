//! Calls of aggregates.
//!
//! Fractions are such that ranks are whole in both engines' arithmetic, and what is ordered is
//! ordered completely: where SQL leaves the answer to the engine, there is nothing to compare.

use super::expression::{Item, value};
use super::guard;
use super::schema::Type;
use super::scope::{Column, Facts, Relation, Writer};

const ORDERS: [&str; 4] = ["", " DESC", " NULLS FIRST", " DESC NULLS LAST"];

/// A call over the rows of `scope`. In a group there is at least one row.
pub fn call(writer: &mut Writer, scope: &Relation, grouped: bool) -> Item {
    let filtered = writer.tape.rarely(5);
    if filtered
        && writer.tape.rarely(2)
        && let Some(guarded) = guard::guarded(writer, scope)
    {
        let function = *writer.tape.one(&["sum", "max", "count"]);
        let (value, guard) = (guarded.value, guarded.guard);
        let call = format!("{function}({value}) FILTER (WHERE {guard})");
        return Item::new(call, Type::Bigint);
    }
    let mut item = unfiltered(writer, scope);
    if filtered && !item.sql.starts_with("round(") {
        let condition = guard::condition(writer, scope);
        item.sql = format!("{} FILTER (WHERE {condition})", item.sql);
    } else if item.sql == "count(*)" && grouped {
        item.facts = Facts {
            nonzero: true,
            ..Facts::default()
        };
    }
    item
}

fn unfiltered(writer: &mut Writer, scope: &Relation) -> Item {
    let column = scope.comparable(&mut writer.tape);
    let sql = column.sql.clone();
    let of = column.of;
    let distinct = if writer.tape.rarely(4) {
        "DISTINCT "
    } else {
        ""
    };
    let fraction = *writer.tape.one(&["0.5", "0", "0.25", "0.75", "1"]);
    let order = *writer.tape.one(&ORDERS);
    match writer.tape.below(15) {
        0 => Item::new("count(*)", Type::Bigint),
        1 => Item::new(format!("count({distinct}{sql})"), Type::Bigint),
        2 => Item::new(format!("count(DISTINCT {sql})"), Type::Bigint),
        3..6 => number(writer, scope, distinct),
        6 | 7 => {
            let function = *writer.tape.one(&["min", "max"]);
            Item::new(format!("{function}({sql})"), of)
        }
        8 => flag(writer, scope),
        9 if of != Type::Boolean && of != Type::Bytea => Item::new(
            format!("percentile_disc({fraction}) WITHIN GROUP (ORDER BY {sql})"),
            of,
        ),
        10 => match doubles(writer, scope) {
            Some(column) => {
                let sql = column.sql;
                let call = match writer.tape.rarely(3) {
                    true => format!("median({sql})"),
                    // Between two infinities PostgreSQL finds NaN, and others infinity.
                    false => format!(
                        "percentile_cont({fraction}) WITHIN GROUP \
                         (ORDER BY CASE WHEN abs({sql}) < CAST('inf' AS DOUBLE) THEN {sql} END)"
                    ),
                };
                Item::new(call, Type::Double)
            }
            None => Item::new(format!("count({sql})"), Type::Bigint),
        },
        11 => match scope.of(&mut writer.tape, Type::Bigint) {
            Some(column) => {
                let sql = column.sql;
                Item::new(
                    format!("array_agg({distinct}{sql} ORDER BY {sql}{order})"),
                    Type::Numbers,
                )
            }
            None => Item::new("count(NULL)", Type::Bigint),
        },
        12 | 13 => match scope.of(&mut writer.tape, Type::Text) {
            Some(column) => texts(writer, scope, &column.sql, distinct, order),
            None => Item::new(format!("max({sql})"), of),
        },
        _ => Item::new("count(*)", Type::Bigint),
    }
}

/// Texts in one, or in a list.
fn texts(writer: &mut Writer, scope: &Relation, text: &str, distinct: &str, order: &str) -> Item {
    let first = match scope.comparable(&mut writer.tape).sql {
        other if distinct.is_empty() && writer.tape.rarely(3) => format!("{other}, "),
        _ => String::new(),
    };
    if writer.tape.rarely(3) {
        let call = format!("array_agg({distinct}{text} ORDER BY {first}{text}{order})");
        return Item::new(call, Type::Texts);
    }
    let separator = *writer.tape.one(&[", ", "", "|"]);
    let call = format!("string_agg({distinct}{text}, '{separator}' ORDER BY {first}{text}{order})");
    Item::new(call, Type::Text)
}

/// A sum or mean.
fn number(writer: &mut Writer, scope: &Relation, distinct: &str) -> Item {
    let fits = |column: &Column| {
        column.of.is_whole() || matches!(column.of, Type::Double | Type::Real | Type::Decimal)
    };
    let Some(column) = scope.pick(&mut writer.tape, fits) else {
        return Item::new("count(*)", Type::Bigint);
    };
    let sql = match column.of {
        of if !of.is_whole() || !writer.tape.rarely(4) => column.sql,
        of => value(writer, scope, of, 1),
    };
    match (column.of, writer.tape.below(3)) {
        // The means have other types in other engines, and more digits.
        (Type::Decimal, 2) => {
            let call = format!("round(CAST(avg({sql}) AS DOUBLE), 4)");
            Item::new(call, Type::Double)
        }
        (Type::Decimal, _) => Item::new(format!("sum({distinct}{sql})"), Type::Decimal),
        (_, 2) => Item::new(format!("avg({sql})"), Type::Double),
        (Type::Double | Type::Real, _) => Item::new(format!("sum({distinct}{sql})"), Type::Double),
        _ => Item::new(format!("sum({distinct}{sql})"), Type::Bigint),
    }
}

fn flag(writer: &mut Writer, scope: &Relation) -> Item {
    let condition = match scope.of(&mut writer.tape, Type::Boolean) {
        Some(column) => column.sql,
        None => guard::condition(writer, scope),
    };
    let function = *writer.tape.one(&["bool_and", "bool_or"]);
    Item::new(format!("{function}({condition})"), Type::Boolean)
}

fn doubles(writer: &mut Writer, scope: &Relation) -> Option<Column> {
    let fits = |column: &Column| matches!(column.of, Type::Double | Type::Real);
    scope.pick(&mut writer.tape, fits)
}
