//! Queries with an expression that fails on some rows, without a guard.
//!
//! Such rows are left out, and said to be; all others are as if those were not there. DuckDB, which
//! knows no such thing, is told which rows they are.

use super::expression::Item;
use super::guard;
use super::print;
use super::schema::{Type, ident};
use super::scope::{Column, Query, Relation, Writer, under};
use super::select::{List, list};

/// An expression, and the condition under which it does not fail.
struct Failing {
    item: Item,
    succeeds: String,
}

/// A query over a table; what fails is a column, an aggregate or a part of it, or the condition.
pub fn query(writer: &mut Writer) -> Query {
    let table = writer.tape.one(writer.tables);
    let alias = writer.alias();
    let from = format!("{} AS {alias}", ident(&table.name));
    let scope = Relation {
        columns: under(&alias, table.columns()),
        from: from.clone(),
    };
    let fits = |column: &Column| column.of.is_whole();
    if let Some(column) = scope.pick(&mut writer.tape, fits)
        && writer.tape.rarely(5)
    {
        return sum(writer, &scope, &alias, &column.sql);
    }
    let Failing { item, succeeds } = failing(writer, &scope);
    let key: Item = scope.comparable(&mut writer.tape).into();
    let by = key.sql.clone();
    let form = writer.tape.below(4);
    // A condition beside one that fails may be evaluated before or behind it.
    let condition = match writer.tape.below(2) {
        1 if form != 3 => guard::condition(writer, &scope),
        _ => "true".to_owned(),
    };
    writer.failing = Some(format!(
        "SELECT 1 FROM {from} WHERE ({condition}) AND NOT ({succeeds})"
    ));
    let mut rest = format!(" FROM {from} WHERE ({condition})⟨ AND ({succeeds})⟩");
    let items = match form {
        0 | 1 => vec![key, item],
        2 => {
            rest.push_str(&format!(" GROUP BY {by}"));
            let function = *writer.tape.one(&["max", "min", "count"]);
            let call = format!("{function}({})", item.sql);
            let of = if function == "count" {
                Type::Bigint
            } else {
                item.of
            };
            vec![
                key,
                Item::new("count(*)", Type::Bigint),
                Item::new(call, of),
            ]
        }
        _ => {
            let bound = writer.tape.below(4);
            rest = format!(
                " FROM {from} WHERE ⟨CASE WHEN {succeeds} THEN ⟩{} > {bound}⟨ END⟩",
                item.sql
            );
            vec![key]
        }
    };
    let List { items, columns } = list(writer, items);
    Query {
        sql: format!("SELECT {}{rest}", items.join(", ")),
        columns,
    }
}

/// Sums of groups, some of which are beyond BIGINT. DuckDB has wider ones.
fn sum(writer: &mut Writer, scope: &Relation, alias: &str, number: &str) -> Query {
    // Eight of them are too much.
    let value = format!(
        "CASE WHEN {number} BETWEEN -7 AND 7 THEN {number} * {} END",
        1i64 << 60
    );
    let sum = format!("sum({value})");
    let fits = format!("{sum} BETWEEN {} AND {}", i64::MIN, i64::MAX);
    let key: Item = scope.comparable(&mut writer.tape).into();
    let by = key.sql.clone();
    let condition = guard::condition(writer, scope);
    let rest = format!(" FROM {} WHERE {condition} GROUP BY {by}", scope.from);
    writer.failing = Some(format!(
        "SELECT 1{rest}, {alias}.{} HAVING NOT ({fits})",
        print::EPOCH
    ));
    let items = vec![key, Item::new(sum.clone(), Type::Wide)];
    let List { items, columns } = list(writer, items);
    Query {
        sql: format!(
            "SELECT {}{rest}⟨ HAVING {fits} OR {sum} IS NULL⟩",
            items.join(", ")
        ),
        columns,
    }
}

fn failing(writer: &mut Writer, scope: &Relation) -> Failing {
    let tape = &mut writer.tape;
    let fits = |column: &Column| column.of.is_whole() || column.of == Type::Text;
    // Every table has a key of these types.
    let column = scope.pick(tape, fits).expect("a table has a key");
    let sql = column.sql;
    if column.of == Type::Text {
        return Failing {
            item: Item::new(format!("CAST(substr({sql}, 2) AS BIGINT)"), Type::Bigint),
            succeeds: format!("{sql} IS NULL OR regexp_like({sql}, '^.[0-9]+$')"),
        };
    }
    let (expression, of, succeeds) = match tape.below(8) {
        0 => (format!("60 ÷ {sql}"), Type::Bigint, format!("{sql} <> 0")),
        1 => (format!("7 % {sql}"), Type::Bigint, format!("{sql} <> 0")),
        2 => (
            format!("{sql} * 4611686018427387904"),
            Type::Wide,
            format!("{sql} BETWEEN -2 AND 1"),
        ),
        3 => (
            format!("{sql} + 9223372036854775806"),
            Type::Wide,
            format!("{sql} <= 1"),
        ),
        4 => (
            format!("-9223372036854775807 - {sql}"),
            Type::Wide,
            format!("{sql} <= 1"),
        ),
        5 => (
            format!("-(-9223372036854775807 - {sql})"),
            Type::Wide,
            format!("{sql} <= 0"),
        ),
        6 => (
            format!("CAST({sql} + 32766 AS SMALLINT)"),
            Type::Wide,
            format!("{sql} <= 1"),
        ),
        _ => (
            format!("CAST({sql} AS DECIMAL(3, 2))"),
            Type::Decimal,
            format!("abs({sql}) < 10"),
        ),
    };
    Failing {
        item: Item::new(expression, of),
        succeeds: format!("{sql} IS NULL OR {succeeds}"),
    }
}
