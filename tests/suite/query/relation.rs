//! What stands behind FROM: tables, views, joins of every kind, subqueries, lists of values.

use std::collections::BTreeSet;

use super::guard;
use super::schema::{Type, ident};
use super::scope::{Column, Facts, Relation, Writer, under};
use super::select;

const JOINS: [&str; 4] = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"];

/// Something to select from.
pub fn relation(writer: &mut Writer) -> Relation {
    let deep = writer.depth >= 2;
    match writer.tape.below(12) {
        0..3 => single(writer),
        _ if deep => single(writer),
        3..6 => joined(writer),
        6 | 7 => using(writer),
        8 => {
            let first = joined(writer);
            let next = single(writer);
            join(writer, first, next)
        }
        9 => filtered(writer),
        10 => subquery(writer),
        _ => values(writer),
    }
}

/// A table or an earlier view.
fn single(writer: &mut Writer) -> Relation {
    let (tables, earlier) = (writer.tables, writer.earlier);
    if !earlier.is_empty() && writer.tape.rarely(3) {
        let number = writer.tape.below(earlier.len());
        let view = &earlier[number];
        writer.reads.insert(number);
        return writer.named(&view.name, view.columns.clone());
    }
    let table = writer.tape.one(tables);
    writer.named(&table.name, table.columns())
}

/// Two relations, joined by a condition.
fn joined(writer: &mut Writer) -> Relation {
    let left = single(writer);
    let right = match writer.tape.below(6) {
        0..4 => single(writer),
        4 => subquery(writer),
        _ => values(writer),
    };
    join(writer, left, right)
}

fn join(writer: &mut Writer, left: Relation, right: Relation) -> Relation {
    let kind = *writer.tape.one(&JOINS);
    let both = Relation {
        from: String::new(),
        columns: [&left.columns[..], &right.columns[..]].concat(),
    };
    let equalities = equalities(writer, &left, &right);
    let on = match (equalities.is_empty(), writer.tape.below(6)) {
        // Everything with everything that is smaller.
        (true, _) | (_, 5) => match (left.whole(&mut writer.tape), right.whole(&mut writer.tape)) {
            (Some(one), Some(other)) => format!("{} < {}", one.sql, other.sql),
            _ => return cross(left, right),
        },
        (_, 0..3) => equalities.join(" AND "),
        (_, _) => format!(
            "{} AND {}",
            equalities.join(" AND "),
            guard::condition(writer, &both)
        ),
    };
    Relation {
        from: format!("{} {kind} {} ON {on}", left.from, right.from),
        columns: both.columns,
    }
}

fn cross(left: Relation, right: Relation) -> Relation {
    Relation {
        from: format!("{} CROSS JOIN {}", left.from, right.from),
        columns: [left.columns, right.columns].concat(),
    }
}

/// One or two equalities of columns of one type: of the keys, if they are called so, or of any.
fn equalities(writer: &mut Writer, left: &Relation, right: &Relation) -> Vec<String> {
    let mut found = BTreeSet::new();
    for _ in 0..1 + usize::from(writer.tape.rarely(4)) {
        let keys = writer.tape.below(3) > 0;
        let fits = |column: &Column| column.of.joins() && (!keys || column.name == "k");
        let Some(one) = left.pick(&mut writer.tape, fits) else {
            continue;
        };
        let whole = one.of.is_whole();
        let fits = |column: &Column| {
            (column.of == one.of || whole && column.of.is_whole()) && (!keys || column.name == "k")
        };
        if let Some(other) = right.pick(&mut writer.tape, fits) {
            found.insert(format!("{} = {}", one.sql, other.sql));
        }
    }
    found.into_iter().collect()
}

/// Two relations that are joined on columns of one name, which are one column then.
fn using(writer: &mut Writer) -> Relation {
    let (left, right) = (single(writer), single(writer));
    let unique = |relation: &Relation| relation.names().len() == relation.columns.len();
    let shared: Vec<Column> = left
        .columns
        .iter()
        .filter(|column| right.columns.iter().any(|other| other.name == column.name))
        .cloned()
        .collect();
    let same = |column: &Column| {
        right
            .columns
            .iter()
            .all(|other| other.name != column.name || other.of == column.of)
    };
    let fit: Vec<&Column> = shared
        .iter()
        .filter(|column| same(column) && column.of.joins())
        .collect();
    if fit.is_empty() || !unique(&left) || !unique(&right) {
        return join(writer, left, right);
    }
    let kind = *writer.tape.one(&JOINS);
    let natural = fit.len() == shared.len() && writer.tape.rarely(3);
    let merged: Vec<Column> = if natural {
        shared.clone()
    } else {
        let first = writer.tape.below(fit.len());
        let count = 1 + writer.tape.below(2).min(fit.len() - 1);
        (0..count)
            .map(|at| fit[(first + at) % fit.len()].clone())
            .collect()
    };
    let names: Vec<&str> = merged.iter().map(|column| column.name.as_str()).collect();
    let from = if natural {
        format!("{} NATURAL {kind} {}", left.from, right.from)
    } else {
        let names: Vec<String> = names.iter().map(|name| ident(name)).collect();
        format!(
            "{} {kind} {} USING ({})",
            left.from,
            right.from,
            names.join(", ")
        )
    };
    let rest = |relation: &Relation| -> Vec<Column> {
        let columns = relation.columns.iter();
        columns
            .filter(|column| !names.contains(&column.name.as_str()))
            .cloned()
            .collect()
    };
    let mut columns: Vec<Column> = merged
        .iter()
        .map(|column| Column {
            sql: ident(&column.name),
            // Values of both sides are in it.
            facts: Facts::default(),
            ..column.clone()
        })
        .collect();
    columns.extend(rest(&left));
    columns.extend(rest(&right));
    Relation { from, columns }
}

/// A relation of which a subquery keeps those rows for which expressions above it do not fail.
fn filtered(writer: &mut Writer) -> Relation {
    let inner = single(writer);
    if inner.names().len() != inner.columns.len() {
        return inner;
    }
    let Some((condition, columns)) = guard::established(writer, &inner) else {
        return inner;
    };
    let alias = writer.alias();
    let items: Vec<&str> = columns.iter().map(|column| column.sql.as_str()).collect();
    Relation {
        from: format!(
            "(SELECT {} FROM {} WHERE {condition}) AS {alias}",
            items.join(", "),
            inner.from
        ),
        columns: under(&alias, columns),
    }
}

fn subquery(writer: &mut Writer) -> Relation {
    let query = select::query(writer);
    let alias = writer.alias();
    Relation {
        from: format!("({}) AS {alias}", query.sql),
        columns: under(&alias, query.columns),
    }
}

/// A list of values, some of them long.
fn values(writer: &mut Writer) -> Relation {
    let alias = writer.alias();
    let rows = *writer.tape.one(&[2, 3, 5, 30]);
    let different = writer.tape.below(rows);
    let row = |at: usize| {
        let text = if at == different {
            "x".to_owned()
        } else {
            format!("v{}", at % 7)
        };
        let text = if at % 5 == 4 {
            "NULL".to_owned()
        } else {
            format!("'{text}'")
        };
        format!("({}, {text})", at as i64 - 1)
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    let column = |name: &str, of| Column {
        sql: format!("{alias}.{name}"),
        name: name.to_owned(),
        of,
        facts: Facts::default(),
    };
    Relation {
        from: format!("(VALUES {}) AS {alias}(k, label)", rows.join(", ")),
        columns: vec![column("k", Type::Bigint), column("label", Type::Text)],
    }
}
