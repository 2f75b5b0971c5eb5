//! The forms of a query.

use std::collections::BTreeSet;

use super::aggregate;
use super::expression::{Item, item};
use super::failing;
use super::filter;
use super::naming;
use super::relation::relation;
use super::schema::{Type, ident};
use super::scope::{Column, Facts, Query, Relation, Writer, under};

const ORDERS: [&str; 4] = ["", " DESC", " NULLS FIRST", " DESC NULLS LAST"];

/// A query of any form.
pub fn query(writer: &mut Writer) -> Query {
    writer.depth += 1;
    let query = match writer.tape.below(18) {
        0 | 1 => plain(writer, ""),
        2 => plain(writer, "DISTINCT "),
        3..7 => grouped(writer),
        7 | 8 => total(writer),
        9 | 10 => ranked(writer),
        11 => limited(writer),
        12 => combined(writer),
        13 => with(writer),
        14 => star(writer),
        15 => qualified(writer),
        16 if writer.depth == 1 => failing::query(writer),
        _ => swapped(writer),
    };
    writer.depth -= 1;
    query
}

/// A SELECT list, in which each column gets a name of its own, and the columns it returns.
pub struct List {
    pub items: Vec<String>,
    pub columns: Vec<Column>,
}

pub fn list(writer: &mut Writer, items: Vec<Item>) -> List {
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut list = List {
        items: Vec::new(),
        columns: Vec::new(),
    };
    for (at, item) in items.into_iter().enumerate() {
        // Most columns keep their names. Letters count, whatever their case: not all engines tell
        // `A` from `a`.
        let own = item.column.as_ref().map(|column| column.name.clone());
        let own = own.filter(|name| !names.contains(&name.to_lowercase()));
        let name = match own {
            Some(name) if !writer.tape.rarely(4) => {
                list.items.push(item.sql);
                name
            }
            _ if item.column.is_none()
                && let Some(name) = naming::name(&item.sql)
                && !names.contains(&name.to_lowercase())
                && writer.tape.rarely(3) =>
            {
                list.items
                    .push(format!("{}⟨ AS {}⟩", item.sql, ident(&name)));
                name
            }
            _ => {
                let name = match writer.tape.below(5) {
                    4 => format!("Größe{at}"),
                    3 => format!("Total{at}"),
                    _ => format!("c{at}"),
                };
                let name = if names.contains(&name.to_lowercase()) {
                    format!("{name}_{at}")
                } else {
                    name
                };
                list.items.push(format!("{} AS {}", item.sql, ident(&name)));
                name
            }
        };
        names.insert(name.to_lowercase());
        list.columns.push(Column {
            sql: ident(&name),
            name,
            of: item.of,
            facts: item.facts,
        });
    }
    list
}

fn written(list: List, rest: String) -> Query {
    Query {
        sql: format!("SELECT {}{rest}", list.items.join(", ")),
        columns: list.columns,
    }
}

/// A column that can be compared, as an item: every query returns one.
fn first(writer: &mut Writer, scope: &Relation) -> Item {
    scope.comparable(&mut writer.tape).into()
}

fn plain(writer: &mut Writer, distinct: &str) -> Query {
    let scope = relation(writer);
    let mut items = vec![first(writer, &scope)];
    for _ in 0..writer.tape.below(4) {
        items.push(item(writer, &scope));
    }
    if writer.depth == 1 && writer.tape.rarely(5) {
        items.push(filter::scalar(writer, &scope));
    }
    let condition = filter::condition(writer, &scope);
    let list = list(writer, items);
    let rest = format!(" FROM {}{condition}", scope.from);
    let mut query = written(list, rest);
    query.sql = query
        .sql
        .replacen("SELECT ", &format!("SELECT {distinct}"), 1);
    query
}

/// Two columns under each other's names, and nothing else.
fn swapped(writer: &mut Writer) -> Query {
    let scope = relation(writer);
    let (one, other) = (first(writer, &scope), scope.comparable(&mut writer.tape));
    let name = |item: &Item| item.column.as_ref().map(|column| column.name.clone());
    let (Some(mine), Some(theirs)) = (name(&one), Some(other.name.clone())) else {
        return plain(writer, "");
    };
    if mine.to_lowercase() == theirs.to_lowercase() {
        return plain(writer, "");
    }
    let condition = filter::condition(writer, &scope);
    let columns = [(&one.sql, one.of, &theirs), (&other.sql, other.of, &mine)];
    Query {
        sql: format!(
            "SELECT {} FROM {}{condition}",
            columns
                .map(|(sql, _, name)| format!("{sql} AS {}", ident(name)))
                .join(", "),
            scope.from
        ),
        columns: columns
            .map(|(_, of, name)| Column {
                sql: ident(name),
                name: name.clone(),
                of,
                facts: Facts::default(),
            })
            .to_vec(),
    }
}

/// All columns of a relation, if no two have the same name.
fn star(writer: &mut Writer) -> Query {
    let scope = relation(writer);
    let lower: BTreeSet<String> = scope
        .columns
        .iter()
        .map(|c| c.name.to_lowercase())
        .collect();
    if lower.len() != scope.columns.len() {
        return plain(writer, "");
    }
    let condition = filter::condition(writer, &scope);
    let columns = scope.columns.iter().map(|column| Column {
        sql: ident(&column.name),
        ..column.clone()
    });
    let columns: Vec<Column> = columns.collect();
    let all = format!("SELECT * FROM {}{condition}", scope.from);
    // Where a merged column stands in a list of all, pinflow and PostgreSQL do not agree
    // (docs/sql.md).
    let merged = scope.from.contains(" USING ") || scope.from.contains(" NATURAL ");
    let sql = if merged {
        let names: Vec<&str> = columns.iter().map(|column| column.sql.as_str()).collect();
        format!(
            "SELECT {} FROM ({all}) AS {}",
            names.join(", "),
            writer.alias()
        )
    } else {
        all
    };
    Query { sql, columns }
}

fn grouped(writer: &mut Writer) -> Query {
    let scope = relation(writer);
    let mut items: Vec<Item> = Vec::new();
    for _ in 0..1 + writer.tape.below(2) {
        let key = match writer.tape.rarely(5) {
            true => item(writer, &scope),
            false => first(writer, &scope),
        };
        // A number would name a column by its place.
        let number = key.sql.parse::<i64>().is_ok();
        if !items.iter().any(|item| item.sql == key.sql) && !key.of.is_list() && !number {
            items.push(key);
        }
    }
    if items.is_empty() {
        items.push(first(writer, &scope));
    }
    let keys = items.len();
    let by: Vec<String> = match writer.tape.rarely(4) {
        true => (1..=keys).map(|at| at.to_string()).collect(),
        false => items.iter().map(|item| item.sql.clone()).collect(),
    };
    for _ in 0..1 + writer.tape.below(3) {
        items.push(aggregate::call(writer, &scope, true));
    }
    if let Some(whole) = scope.whole(&mut writer.tape)
        && writer.tape.rarely(6)
    {
        items.push(Item::new(
            format!("sum({}) ÷ count(*)", whole.sql),
            Type::Bigint,
        ));
    }
    let condition = filter::condition(writer, &scope);
    let having = having(writer, &scope);
    let list = list(writer, items);
    let rest = format!(
        " FROM {}{condition} GROUP BY {}{having}",
        scope.from,
        by.join(", ")
    );
    written(list, rest)
}

fn having(writer: &mut Writer, scope: &Relation) -> String {
    let whole = scope.whole(&mut writer.tape).map(|column| column.sql);
    match (writer.tape.below(8), whole) {
        (4, _) => " HAVING count(*) > 1".to_owned(),
        (5, Some(n)) => format!(" HAVING count({n}) <> 0 AND sum({n}) ÷ count({n}) > 1"),
        (6, Some(n)) => format!(" HAVING sum({n}) IS NULL OR sum({n}) = 0 OR 60 ÷ sum({n}) < 20"),
        (7, _) => " HAVING count(*) < 3".to_owned(),
        _ => String::new(),
    }
}

/// Aggregates of all rows.
fn total(writer: &mut Writer) -> Query {
    let scope = relation(writer);
    let mut items = vec![Item::new("count(*)", Type::Bigint)];
    for _ in 0..writer.tape.below(4) {
        items.push(aggregate::call(writer, &scope, false));
    }
    let condition = filter::condition(writer, &scope);
    let list = list(writer, items);
    let rest = format!(" FROM {}{condition}", scope.from);
    written(list, rest)
}

/// The first rows by one or two orders, each within its partition.
fn ranked(writer: &mut Writer) -> Query {
    let scope = relation(writer);
    let items = (0..2 + writer.tape.below(2))
        .map(|_| first(writer, &scope))
        .collect();
    let condition = filter::condition(writer, &scope);
    let List { mut items, columns } = list(writer, items);
    let sources: Vec<String> = items
        .iter()
        .map(|item| {
            item.rsplit_once(" AS ")
                .map_or(item.as_str(), |(sql, _)| sql)
                .to_owned()
        })
        .collect();
    let windows = 1 + usize::from(writer.tape.rarely(3));
    let mut bounds = Vec::new();
    for number in 0..windows {
        let direction = *writer.tape.one(&ORDERS);
        let function = *writer.tape.one(&["rank", "dense_rank", "row_number"]);
        let order = match function {
            // Numbers of equals are an engine's own choice, so there must be none but equal rows.
            "row_number" => sources
                .iter()
                .map(|sql| format!("{sql}{direction}"))
                .collect::<Vec<_>>()
                .join(", "),
            _ => format!("{}{direction}", writer.tape.one(&sources)),
        };
        let partition = match writer.tape.below(3) {
            0 => String::new(),
            _ => format!("PARTITION BY {} ", sources[0]),
        };
        items.push(format!(
            "{function}() OVER ({partition}ORDER BY {order}) AS place{number}"
        ));
        let bound = *writer.tape.one(&["<= 1", "= 1", "<= 2", "< 4"]);
        bounds.push(format!("place{number} {bound}"));
    }
    let alias = writer.alias();
    let mut columns = under(&alias, columns);
    let place = Item::new(format!("CAST({alias}.place0 AS BIGINT)"), Type::Bigint);
    let shown: Vec<String> = columns.iter().map(|column| column.sql.clone()).collect();
    let mut shown = shown.join(", ");
    let free = !columns.iter().any(|column| column.name == "place");
    if writer.tape.rarely(2) && free {
        shown = format!("{shown}, {} AS place", place.sql);
        columns.push(Column {
            sql: String::new(),
            name: "place".to_owned(),
            of: place.of,
            facts: Facts::default(),
        });
    }
    for column in &mut columns {
        column.sql = ident(&column.name);
    }
    Query {
        sql: format!(
            "SELECT {shown} FROM (SELECT {} FROM {}{condition}) AS {alias} WHERE {}",
            items.join(", "),
            scope.from,
            bounds.join(" AND ")
        ),
        columns,
    }
}

/// The first rows by an order that is not shown.
fn qualified(writer: &mut Writer) -> Query {
    let scope = relation(writer);
    let items: Vec<Item> = (0..2).map(|_| first(writer, &scope)).collect();
    let (one, other) = (items[0].sql.clone(), items[1].sql.clone());
    let condition = filter::condition(writer, &scope);
    let direction = *writer.tape.one(&ORDERS);
    let bound = *writer.tape.one(&["<= 1", "= 1", "<= 2", "< 4"]);
    let function = *writer.tape.one(&["rank", "dense_rank"]);
    let partition = match writer.tape.rarely(3) {
        true => String::new(),
        false => format!("PARTITION BY {one} "),
    };
    let list = list(writer, items);
    let rest = format!(
        " FROM {}{condition} QUALIFY {function}() OVER ({partition}ORDER BY {other}{direction}) {bound}",
        scope.from
    );
    written(list, rest)
}

/// The first rows of a query, ordered by all of its columns.
fn limited(writer: &mut Writer) -> Query {
    let inner = match writer.tape.rarely(2) {
        true => grouped(writer),
        false => plain(writer, ""),
    };
    if inner.columns.iter().any(|column| column.of.is_list()) {
        return inner;
    }
    let direction = *writer.tape.one(&ORDERS);
    let order: Vec<String> = inner
        .columns
        .iter()
        .map(|column| format!("{}{direction}", column.sql))
        .collect();
    let (limit, offset) = (
        1 + writer.tape.below(4),
        *writer.tape.one(&["", "", " OFFSET 1", " OFFSET 3"]),
    );
    let alias = writer.alias();
    let items: Vec<String> = inner
        .columns
        .iter()
        .map(|column| column.sql.clone())
        .collect();
    Query {
        sql: format!(
            "SELECT {} FROM ({}) AS {alias} ORDER BY {} LIMIT {limit}{offset}",
            items.join(", "),
            inner.sql,
            order.join(", ")
        ),
        columns: inner.columns,
    }
}

/// Queries of the same types, one under the other.
fn combined(writer: &mut Writer) -> Query {
    let first = relation(writer);
    let types: Vec<Column> = (0..1 + writer.tape.below(2))
        .map(|_| first.comparable(&mut writer.tape))
        .collect();
    let operator = *writer
        .tape
        .one(&["UNION ALL", "UNION", "EXCEPT", "INTERSECT"]);
    let items = types.iter().cloned().map(Item::from).collect();
    let List { items, mut columns } = list(writer, items);
    let condition = filter::condition(writer, &first);
    let mut sql = format!("SELECT {} FROM {}{condition}", items.join(", "), first.from);
    for _ in 0..1 + usize::from(writer.tape.rarely(3)) {
        let next = relation(writer);
        let condition = filter::condition(writer, &next);
        let items: Vec<String> = types
            .iter()
            .map(|column| super::expression::value(writer, &next, column.of, 1))
            .collect();
        sql = format!(
            "{sql} {operator} SELECT {} FROM {}{condition}",
            items.join(", "),
            next.from
        );
    }
    for column in &mut columns {
        column.facts = Facts::default();
        if column.of.is_whole() {
            column.of = Type::Bigint;
        }
    }
    Query { sql, columns }
}

/// A query that has a name in the one around it, which may read it twice.
fn with(writer: &mut Writer) -> Query {
    let inner = query(writer);
    let name = writer.alias().replace('r', "q");
    let scope = if writer.tape.rarely(3)
        && let Some(key) = inner.columns.iter().find(|column| column.of.joins())
    {
        let (one, other) = (writer.alias(), writer.alias());
        let key = ident(&key.name);
        Relation {
            from: format!("{name} AS {one} JOIN {name} AS {other} ON {one}.{key} = {other}.{key}"),
            columns: [
                under(&one, inner.columns.clone()),
                under(&other, inner.columns.clone()),
            ]
            .concat(),
        }
    } else {
        Relation {
            from: name.clone(),
            columns: under(&name, inner.columns.clone()),
        }
    };
    let key = first(writer, &scope);
    let by = key.sql.clone();
    let call = aggregate::call(writer, &scope, true);
    let condition = filter::condition(writer, &scope);
    let list = list(writer, vec![key, call]);
    let rest = format!(" FROM {}{condition} GROUP BY {by}", scope.from);
    let outer = written(list, rest);
    Query {
        sql: format!("WITH {name} AS ({}) {}", inner.sql, outer.sql),
        columns: outer.columns,
    }
}
