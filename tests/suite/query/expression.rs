//! Expressions of a given type over the columns of a relation.
//!
//! `÷` is the division of whole numbers, which `print` writes as each engine has it. Text is never
//! made of doubles, dates or times, nor whole numbers of doubles: engines format and round as they
//! please.

use super::guard;
use super::schema::Type;
use super::scope::{Column, Facts, Relation, Writer};

/// An item of a SELECT list.
pub struct Item {
    pub sql: String,
    pub of: Type,
    pub facts: Facts,
    /// The column, if it is one and nothing else.
    pub column: Option<Column>,
}

impl From<Column> for Item {
    fn from(column: Column) -> Self {
        Item {
            sql: column.sql.clone(),
            of: column.of,
            facts: column.facts,
            column: Some(column),
        }
    }
}

impl Item {
    pub fn new(sql: impl Into<String>, of: Type) -> Self {
        Item {
            sql: sql.into(),
            of,
            facts: Facts::default(),
            column: None,
        }
    }
}

/// A column mostly, else something that is computed.
pub fn item(writer: &mut Writer, scope: &Relation) -> Item {
    if !writer.tape.rarely(3) {
        return scope.any(&mut writer.tape).into();
    }
    let column = scope.any(&mut writer.tape);
    let of = match column.of {
        Type::Int | Type::Smallint => Type::Bigint,
        Type::Real => Type::Double,
        other => other,
    };
    match writer.tape.below(8) {
        0..5 => Item::new(value(writer, scope, of, 2), of),
        5 => Item::new(whole(writer, scope, 2), Type::Bigint),
        6 => Item::new(guard::condition(writer, scope), Type::Boolean),
        _ => Item::new(text(writer, scope, 2), Type::Text),
    }
}

/// An expression of the type; `depth` bounds how much is nested in it.
pub fn value(writer: &mut Writer, scope: &Relation, of: Type, depth: usize) -> String {
    match of {
        Type::Bigint | Type::Int | Type::Smallint => whole(writer, scope, depth),
        Type::Double | Type::Real => double(writer, scope, depth),
        Type::Text => text(writer, scope, depth),
        Type::Boolean => guard::condition(writer, scope),
        Type::Timestamp => time(writer, scope),
        other => typed(writer, scope, other),
    }
}

/// Forms that every type has, over a column of it.
fn typed(writer: &mut Writer, scope: &Relation, of: Type) -> String {
    let Some(column) = scope.of(&mut writer.tape, of) else {
        return literal(writer, of);
    };
    let other = scope.of(&mut writer.tape, of).unwrap_or(column.clone());
    let (column, other) = (column.sql, other.sql);
    match writer.tape.below(4) {
        0 => column,
        1 => format!("coalesce({column}, {other}, {})", literal(writer, of)),
        2 => {
            let when = guard::condition(writer, scope);
            format!("CASE WHEN {when} THEN {column} ELSE {other} END")
        }
        _ if of.is_list() => column,
        _ => format!("nullif({column}, {})", literal(writer, of)),
    }
}

/// A literal of the type.
pub fn literal(writer: &mut Writer, of: Type) -> String {
    let tape = &mut writer.tape;
    match of {
        Type::Bigint | Type::Int | Type::Smallint | Type::Wide => {
            (tape.below(6) as i64 - 1).to_string()
        }
        Type::Double | Type::Real => {
            let number = *tape.one(&["1.5", "0", "-0.25", "2", "-0.0", "NaN", "inf"]);
            match number.parse::<f64>() {
                Ok(finite) if finite.is_finite() => format!("CAST({number} AS DOUBLE)"),
                _ => format!("CAST('{number}' AS DOUBLE)"),
            }
        }
        Type::Decimal => format!(
            "CAST({} AS DECIMAL(12, 2))",
            tape.one(&["1.5", "0", "2.25"])
        ),
        Type::Boolean => (*tape.one(&["true", "false"])).to_owned(),
        Type::Text => (*tape.one(&[
            "'x'",
            "'y'",
            "''",
            "'O''Neil'",
            "'ü'",
            "'a longer text than twelve'",
        ]))
        .to_owned(),
        Type::Date => format!(
            "DATE '{}'",
            tape.one(&["2020-01-01", "2020-02-29", "1969-12-31"])
        ),
        Type::Timestamp => format!(
            "TIMESTAMP '{}'",
            tape.one(&[
                "2020-01-01 00:00:00",
                "2020-01-02 00:00:00",
                "1969-12-31 23:00:00"
            ])
        ),
        Type::Bytea => format!("digest('{}', 'md5')", tape.one(&["x", "y"])),
        Type::Numbers => "make_array(CAST(1 AS BIGINT), CAST(2 AS BIGINT))".to_owned(),
        Type::Texts => "make_array('x', 'y')".to_owned(),
    }
}

fn whole(writer: &mut Writer, scope: &Relation, depth: usize) -> String {
    let Some(column) = scope.whole(&mut writer.tape) else {
        return counted(writer, scope);
    };
    let column = column.sql;
    if depth == 0 {
        return column;
    }
    let below = depth - 1;
    match writer.tape.below(14) {
        0 | 1 => column,
        2 => format!("{column} * 2 + 1"),
        3 => format!("({} - {})", column, whole(writer, scope, below)),
        4 => format!("coalesce({column}, {})", whole(writer, scope, below)),
        5 => {
            let when = guard::condition(writer, scope);
            format!(
                "CASE WHEN {when} THEN {column} ELSE {} END",
                whole(writer, scope, below)
            )
        }
        6 => format!("nullif({column}, {})", writer.tape.below(4)),
        7 => format!("abs({column})"),
        8 => format!("greatest({column}, {}, 1)", whole(writer, scope, below)),
        9 => format!("{column} % 3"),
        10 => format!("{column} ÷ 2"),
        11 => match guard::guarded(writer, scope) {
            Some(guarded) => guarded.chosen(writer),
            None => column,
        },
        12 => counted(writer, scope),
        _ => format!("-{column}"),
    }
}

/// A whole number that is made of something else.
fn counted(writer: &mut Writer, scope: &Relation) -> String {
    let column = scope.comparable(&mut writer.tape);
    match column.of {
        Type::Text => match writer.tape.below(3) {
            0 => format!("CAST(length({}) AS BIGINT)", column.sql),
            1 => format!("CAST(strpos({}, 'n') AS BIGINT)", column.sql),
            _ => format!("CASE {} WHEN 'x' THEN 1 WHEN 'y' THEN 2 END", column.sql),
        },
        Type::Date | Type::Timestamp => {
            let part = *writer.tape.one(&["day", "year", "month"]);
            format!("CAST(date_part('{part}', {}) AS BIGINT)", column.sql)
        }
        Type::Boolean => format!("CASE WHEN {} THEN 1 ELSE 0 END", column.sql),
        of if of.is_whole() => column.sql,
        _ => format!("CASE WHEN {} IS NULL THEN 0 ELSE 1 END", column.sql),
    }
}

fn double(writer: &mut Writer, scope: &Relation, depth: usize) -> String {
    let fits = |column: &Column| matches!(column.of, Type::Double | Type::Real);
    let Some(column) = scope.pick(&mut writer.tape, fits) else {
        return match scope.whole(&mut writer.tape) {
            Some(column) => format!("CAST({} AS DOUBLE) / 4", column.sql),
            None => literal(writer, Type::Double),
        };
    };
    let column = column.sql;
    if depth == 0 {
        return column;
    }
    let below = depth - 1;
    match writer.tape.below(9) {
        0 => column,
        1 => format!("{column} * 2"),
        2 => format!("({column} + {})", double(writer, scope, below)),
        3 => format!("{column} / 2"),
        4 => format!("coalesce({column}, {})", double(writer, scope, below)),
        5 => {
            let when = guard::condition(writer, scope);
            format!(
                "CASE WHEN {when} THEN {column} ELSE {} END",
                double(writer, scope, below)
            )
        }
        6 => format!("abs({column})"),
        7 => format!("nullif({column}, {})", literal(writer, Type::Double)),
        _ => format!("floor({column})"),
    }
}

fn text(writer: &mut Writer, scope: &Relation, depth: usize) -> String {
    let Some(column) = scope.of(&mut writer.tape, Type::Text) else {
        return match scope.whole(&mut writer.tape) {
            Some(column) => format!("CAST({} AS TEXT)", column.sql),
            None => literal(writer, Type::Text),
        };
    };
    let column = column.sql;
    if depth == 0 {
        return column;
    }
    let below = depth - 1;
    match writer.tape.below(12) {
        0 => column,
        1 => format!("upper({column})"),
        2 => format!("({column} || '-' || {})", text(writer, scope, below)),
        3 => format!("concat({column}, {}, 'z')", text(writer, scope, below)),
        4 => format!("coalesce({column}, {})", text(writer, scope, below)),
        5 => format!("substr({column}, 2, 3)"),
        6 => format!("replace({column}, 'x', 'yy')"),
        7 => {
            let when = guard::condition(writer, scope);
            format!(
                "CASE WHEN {when} THEN {column} ELSE {} END",
                text(writer, scope, below)
            )
        }
        8 => format!("concat_ws('/', {column}, {})", text(writer, scope, below)),
        9 => format!("lpad({column}, 4, '*')"),
        10 => format!("nullif({column}, '')"),
        _ => match scope.of(&mut writer.tape, Type::Texts) {
            Some(list) => format!("array_to_string({}, '+')", list.sql),
            None => format!("trim({column})"),
        },
    }
}

fn time(writer: &mut Writer, scope: &Relation) -> String {
    let Some(column) = scope.of(&mut writer.tape, Type::Timestamp) else {
        return literal(writer, Type::Timestamp);
    };
    match writer.tape.below(4) {
        0 => column.sql,
        1 => format!(
            "date_trunc('{}', {})",
            writer.tape.one(&["day", "month", "hour"]),
            column.sql
        ),
        2 => format!("date_bin(INTERVAL '30 minutes', {})", column.sql),
        _ => typed(writer, scope, Type::Timestamp),
    }
}
