//! Calls of functions that mean something else here than in PostgreSQL, or nothing for any row.
//!
//! What a call makes of a word or a pattern is only seen when it is evaluated, so it is tried at
//! load, over a value that every row could have: what fails then would leave out every row.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{Expr, Volatility, lit};

use super::{Definition, DefinitionError, StatementText};
use crate::function::literals_from;

/// Functions of a time, and of a word or a format.
const OF_TIME: [&str; 3] = ["date_part", "date_trunc", "to_char"];
/// Functions of a text and a pattern.
const OF_TEXT: [&str; 5] = [
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
];

/// Refuses a call that has no meaning in a view, or another than it seems to have.
pub(super) fn refuse_call(
    definition: &Definition,
    text: &StatementText,
    call: &ScalarFunction,
) -> Result<(), DefinitionError> {
    volatile(text, call)?;
    literals(text, call)?;
    format(text, call)?;
    tried(definition, text, call)
}

fn volatile(text: &StatementText, call: &ScalarFunction) -> Result<(), DefinitionError> {
    if call.func.signature().volatility == Volatility::Immutable {
        return Ok(());
    }
    let name = call.name();
    Err(text.error(
        &[name],
        format!(
            "`{name}` is not a function of the row: its answer changes while the data does not"
        ),
        Some("use a column, such as an event time, instead of the clock or chance"),
    ))
}

/// What is wrong with a call of a function of ours that takes a literal and is given something
/// else.
fn literals(text: &StatementText, call: &ScalarFunction) -> Result<(), DefinitionError> {
    let Some(from) = literals_from(&call.func) else {
        return Ok(());
    };
    let mut others = call.args.iter().enumerate().skip(from);
    let Some((place, _)) = others.find(|(_, argument)| !matches!(argument, Expr::Literal(_, _)))
    else {
        return Ok(());
    };
    let name = call.name();
    Err(text.error(
        &[name],
        format!(
            "argument {} of `{name}` must be a text in quotes",
            place + 1
        ),
        Some("write CASE WHEN to compare with columns"),
    ))
}

/// A format of dates in PostgreSQL's letters: here it would stand for itself.
fn format(text: &StatementText, call: &ScalarFunction) -> Result<(), DefinitionError> {
    let name = call.name();
    if name != "to_char" && name != "to_date" && !name.starts_with("to_timestamp") {
        return Ok(());
    }
    let formats = call.args.iter().skip(1).filter_map(|arg| match arg {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    });
    for format in formats {
        if format.contains('%') {
            continue;
        }
        let help = match percents(format) {
            Some(format) => format!("write '{format}'"),
            None => "write %Y for the year, %m the month, %d the day, %H:%M:%S the time".to_owned(),
        };
        return Err(text.error(
            &[name, "date_format"],
            format!("the format '{format}' has no letters behind %: it would stand for itself"),
            Some(&help),
        ));
    }
    Ok(())
}

/// A format in PostgreSQL's letters as one in strftime's, if all of them are known.
fn percents(format: &str) -> Option<String> {
    const LETTERS: [(&str, &str); 19] = [
        ("YYYY", "%Y"),
        ("YY", "%y"),
        ("Month", "%B"),
        ("Mon", "%b"),
        ("MM", "%m"),
        ("MI", "%M"),
        ("DDD", "%j"),
        ("DD", "%d"),
        ("Day", "%A"),
        ("Dy", "%a"),
        ("HH24", "%H"),
        ("HH12", "%I"),
        ("HH", "%I"),
        ("SS", "%S"),
        ("MS", "%3f"),
        ("US", "%6f"),
        ("AM", "%p"),
        ("IYYY", "%G"),
        ("IW", "%V"),
    ];
    let mut written = String::new();
    let mut rest = format;
    while let Some(next) = rest.chars().next() {
        let known = LETTERS
            .iter()
            .find_map(|(letters, percent)| Some((rest.strip_prefix(letters)?, percent)));
        match known {
            Some((behind, percent)) => {
                written.push_str(percent);
                rest = behind;
            }
            None if next.is_alphanumeric() => return None,
            None => {
                written.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    Some(written)
}

/// A call that fails whatever the row holds: no such part of a date, or a pattern that is none.
fn tried(
    definition: &Definition,
    text: &StatementText,
    call: &ScalarFunction,
) -> Result<(), DefinitionError> {
    let name = call.name();
    let sample = match name {
        _ if OF_TIME.contains(&name) => lit(ScalarValue::TimestampMicrosecond(
            Some(951_782_400_000_000),
            None,
        )),
        _ if OF_TEXT.contains(&name) => lit(""),
        _ => return Ok(()),
    };
    let mut call = call.clone();
    for arg in &mut call.args {
        if !matches!(arg, Expr::Literal(..)) {
            *arg = sample.clone();
        }
    }
    let physical = definition
        .session
        .physical(Expr::ScalarFunction(call), &DFSchema::empty());
    // What does not go together with the sample is for others to judge.
    let Ok(physical) = physical else {
        return Ok(());
    };
    // Without columns it returns one value for any batch.
    let value = physical.evaluate(&RecordBatch::new_empty(Arc::new(Schema::empty())));
    let Err(error) = value else {
        return Ok(());
    };
    let error = error.find_root().to_string();
    let what = error
        .rsplit_once("error: ")
        .map_or(&*error, |(_, what)| what);
    let help = match OF_TIME.contains(&name) {
        true => {
            "there are year, quarter, month, week, day, dow, doy, hour, minute, second and epoch"
        }
        false => "patterns are regular expressions: a bracket as such is written \\(",
    };
    let names = [name, "EXTRACT", "date_part"];
    Err(text.error(
        &names,
        format!("`{name}` fails for every row: {what}"),
        Some(help),
    ))
}
