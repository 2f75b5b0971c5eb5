//! WHERE, and subqueries inside of expressions.

use super::expression::Item;
use super::guard;
use super::schema::{Type, ident};
use super::scope::{Column, Relation, Writer};

/// A WHERE, or nothing.
pub fn condition(writer: &mut Writer, scope: &Relation) -> String {
    match writer.tape.below(8) {
        0..3 => String::new(),
        3..6 => format!(" WHERE {}", guard::condition(writer, scope)),
        6 => format!(" WHERE {}", subquery(writer, scope)),
        _ => format!(
            " WHERE {} AND {}",
            guard::condition(writer, scope),
            subquery(writer, scope)
        ),
    }
}

/// A table under an alias, a column of it, and one of `scope` that it can be compared with.
fn correlated(writer: &mut Writer, scope: &Relation) -> Option<(Relation, Column, Column)> {
    let table = writer.tape.one(writer.tables);
    let alias = writer.alias();
    let bare = table.columns();
    let columns = super::scope::under(&alias, table.columns());
    let inner = Relation {
        from: format!("{} AS {alias}", ident(&table.name)),
        columns,
    };
    // A bare name in the subquery is one of the inner table's, if it has a column of that name.
    let outer = scope.pick(&mut writer.tape, |column| {
        column.of.joins() && !bare.iter().any(|inner| inner.sql == column.sql)
    })?;
    let fits =
        |column: &Column| column.of == outer.of || column.of.is_whole() && outer.of.is_whole();
    let own = inner.pick(&mut writer.tape, fits)?;
    Some((inner, own, outer))
}

/// A condition with a subquery.
fn subquery(writer: &mut Writer, scope: &Relation) -> String {
    let Some((inner, own, outer)) = correlated(writer, scope) else {
        return guard::condition(writer, scope);
    };
    let not = *writer.tape.one(&["", "NOT "]);
    let (from, own, outer) = (inner.from.clone(), own.sql, outer.sql);
    match writer.tape.below(15) {
        0 => format!("{not}EXISTS (SELECT 1 FROM {from} WHERE {own} = {outer})"),
        1 => {
            let also = guard::condition(writer, &inner);
            format!("{not}EXISTS (SELECT 1 FROM {from} WHERE {own} = {outer} AND {also})")
        }
        2 => format!("{outer} IN (SELECT {own} FROM {from})"),
        3 => {
            let also = guard::condition(writer, &inner);
            format!("{outer} IN (SELECT {own} FROM {from} WHERE {also})")
        }
        4 => {
            format!("{outer} NOT IN (SELECT {own} FROM {from} WHERE {own} IS NOT NULL)")
        }
        5 => format!("{outer} >= (SELECT max({own}) FROM {from})"),
        6 => format!("(SELECT count(*) FROM {from} WHERE {own} = {outer}) > 1"),
        7 => {
            format!("{not}EXISTS (SELECT count(*) FROM {from} WHERE {own} = {outer})")
        }
        8 => format!("{outer} NOT IN (SELECT {own} FROM {from})"),
        9 => format!("({outer} IN (SELECT {own} FROM {from})) IS {not}NULL"),
        10 => {
            let other = guard::condition(writer, scope);
            format!("({other} OR {not}EXISTS (SELECT 1 FROM {from} WHERE {own} = {outer}))")
        }
        11 => {
            let other = guard::condition(writer, scope);
            format!("({outer} {not}IN (SELECT {own} FROM {from}) OR {other})")
        }
        12 => format!("{outer} = ANY (SELECT {own} FROM {from})"),
        13 => format!("{outer} > ALL (SELECT {own} FROM {from})"),
        _ => format!("{outer} <= (SELECT min({own}) FROM {from} WHERE {own} = {outer})"),
    }
}

/// A subquery as an item of a SELECT list.
pub fn scalar(writer: &mut Writer, scope: &Relation) -> Item {
    let Some((inner, own, outer)) = correlated(writer, scope) else {
        return Item::new("7", Type::Bigint);
    };
    let (from, of) = (inner.from, own.of);
    let (own, outer) = (own.sql, outer.sql);
    match writer.tape.below(7) {
        0 => Item::new(format!("(SELECT max({own}) FROM {from})"), of),
        1 => Item::new(
            format!("(SELECT count(*) FROM {from} WHERE {own} = {outer})"),
            Type::Bigint,
        ),
        2 => Item::new(
            format!("(SELECT min({own}) FROM {from} WHERE {own} = {outer})"),
            of,
        ),
        3 => Item::new(
            format!("EXISTS (SELECT 1 FROM {from} WHERE {own} = {outer})"),
            Type::Boolean,
        ),
        4 => Item::new(
            format!("{outer} IN (SELECT {own} FROM {from})"),
            Type::Boolean,
        ),
        5 => Item::new(
            format!("CASE WHEN {outer} NOT IN (SELECT {own} FROM {from}) THEN 1 ELSE 2 END"),
            Type::Bigint,
        ),
        _ => Item::new(
            format!("coalesce((SELECT count({own}) FROM {from} WHERE {own} = {outer}), -1)"),
            Type::Bigint,
        ),
    }
}
