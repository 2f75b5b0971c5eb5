//! Conditions, among them those that keep a neighbour from failing.
//!
//! People write `n <> 0 AND 10 / n > 1`. Every expression here that fails for some values stands
//! behind a condition that is false or null for them, so no row may be lost for it in any engine
//! that reads SQL as they mean it.

use super::expression::{literal, value};
use super::schema::Type;
use super::scope::{Column, Relation, Writer};

/// A whole number that cannot be computed where `guard` is false.
pub struct Guarded {
    pub guard: String,
    pub value: String,
}

impl Guarded {
    /// The value where it can be computed, as an expression.
    pub fn chosen(self, writer: &mut Writer) -> String {
        let Guarded { guard, value } = self;
        match writer.tape.below(2) {
            0 => format!("CASE WHEN {guard} THEN {value} END"),
            _ => format!("CASE WHEN NOT ({guard}) THEN 0 ELSE {value} END"),
        }
    }

    /// A comparison of the value, as a condition.
    fn compared(self, writer: &mut Writer) -> String {
        let Guarded { guard, value } = self;
        let bound = writer.tape.below(4);
        let operator = *writer.tape.one(&[">", "<=", "=", "<>"]);
        match writer.tape.below(4) {
            0 => format!("({guard} AND {value} {operator} {bound})"),
            1 => format!("(NOT ({guard}) OR {value} {operator} {bound})"),
            2 => format!("CASE WHEN {guard} THEN {value} {operator} {bound} ELSE false END"),
            _ => format!("({guard} AND {value} {operator} {bound} AND {value} IS NOT NULL)"),
        }
    }
}

/// An expression that fails for some values, with its guard, if there is a column for one.
pub fn guarded(writer: &mut Writer, scope: &Relation) -> Option<Guarded> {
    let tape = &mut writer.tape;
    let column = scope.pick(tape, |column| {
        column.of.is_whole() || column.of == Type::Text
    })?;
    let sql = &column.sql;
    if column.of == Type::Text {
        let guard = match column.facts {
            facts if facts.codes && tape.rarely(2) => format!("{sql} LIKE 'n%'"),
            facts if facts.codes => format!("substr({sql}, 1, 1) = 'n'"),
            _ => format!("regexp_like({sql}, '^n[0-9]+$')"),
        };
        return Some(Guarded {
            guard,
            value: format!("CAST(substr({sql}, 2) AS BIGINT)"),
        });
    }
    let guard = match tape.below(3) {
        0 => format!("{sql} <> 0"),
        1 => format!("{sql} > 0"),
        _ => format!("NOT {sql} = 0"),
    };
    let dividend = match scope.whole(tape) {
        Some(other) if tape.rarely(2) => other.sql,
        _ => "60".to_owned(),
    };
    let value = match tape.below(3) {
        0 | 1 => format!("{dividend} ÷ {sql}"),
        _ => format!("{dividend} % {sql}"),
    };
    Some(Guarded { guard, value })
}

/// What a filter that stands below makes true of the columns: the condition, and the columns with
/// what is known of them then.
pub fn established(writer: &mut Writer, scope: &Relation) -> Option<(String, Vec<Column>)> {
    let fits = |column: &Column| column.of.is_whole() || column.facts.codes;
    let chosen = scope.pick(&mut writer.tape, fits)?;
    let mut columns = scope.columns.clone();
    let known = columns.iter_mut().find(|column| column.sql == chosen.sql)?;
    let condition = if chosen.of.is_whole() {
        known.facts.nonzero = true;
        format!("{} <> 0", chosen.sql)
    } else {
        known.facts.code = true;
        format!("{} LIKE 'n%'", chosen.sql)
    };
    Some((condition, columns))
}

/// An expression that would fail, had not a filter below dropped the rows.
fn trusting(writer: &mut Writer, scope: &Relation) -> Option<String> {
    let known = |column: &Column| column.facts.nonzero || column.facts.code;
    let column = scope.pick(&mut writer.tape, known)?;
    Some(if column.facts.nonzero {
        format!("60 ÷ {}", column.sql)
    } else {
        format!("CAST(substr({}, 2) AS BIGINT)", column.sql)
    })
}

/// A condition without subqueries.
pub fn condition(writer: &mut Writer, scope: &Relation) -> String {
    match writer.tape.below(9) {
        0..4 => simple(writer, scope),
        4 => format!("({} AND {})", simple(writer, scope), simple(writer, scope)),
        5 => format!("({} OR {})", simple(writer, scope), simple(writer, scope)),
        6 => format!("NOT ({})", simple(writer, scope)),
        _ => match guarded(writer, scope) {
            Some(guarded) => guarded.compared(writer),
            None => simple(writer, scope),
        },
    }
}

fn simple(writer: &mut Writer, scope: &Relation) -> String {
    if let Some(value) = trusting(writer, scope) {
        return format!("{value} > 3");
    }
    let column = scope.any(&mut writer.tape);
    let sql = &column.sql;
    let not = *writer.tape.one(&["", "NOT "]);
    if column.of.is_list() {
        return format!("{sql} IS {not}NULL");
    }
    let bound = literal(writer, column.of);
    match (writer.tape.below(9), column.of) {
        (0, _) => format!("{sql} IS {not}NULL"),
        (1, Type::Boolean) => format!("{not}{sql}"),
        (1, Type::Text) => format!(
            "{sql} {not}LIKE '{}'",
            writer.tape.one(&["%x%", "n%", "_", "%"])
        ),
        (1 | 2, _) => {
            let operator = *writer.tape.one(&["=", "<", ">=", "<>"]);
            format!("{sql} {operator} {bound}")
        }
        (3, _) => format!("{sql} {not}IN ({bound}, {})", literal(writer, column.of)),
        (4, _) => format!("{sql} {not}IN ({bound}, NULL)"),
        (5, _) => {
            let fits = |other: &Column| other.of == column.of;
            let other = scope.pick(&mut writer.tape, fits).unwrap_or(column.clone());
            let operator =
                *writer
                    .tape
                    .one(&["=", "<", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"]);
            format!("({sql} {operator} {})", other.sql)
        }
        (6, of) if of != Type::Boolean => {
            format!("{sql} {not}BETWEEN {bound} AND {}", literal(writer, of))
        }
        // A value that is computed, and not compared with itself.
        (7, Type::Bigint | Type::Text) => {
            format!("{} = {bound}", value(writer, scope, column.of, 1))
        }
        _ => format!("({sql} IS DISTINCT FROM {bound})"),
    }
}
