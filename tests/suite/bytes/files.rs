//! Dataflow files with damage: `check` answers, or refuses with line and column, and what it
//! accepts starts a run.
//!
//! Damage is done to words, not to bytes: a file that is no SQL at all is refused at its first
//! wrong letter and tries nothing behind it.

use std::path::Path;
use std::sync::LazyLock;

use pinflow::definition::{Definition, DefinitionError, SHIPPED};
use pinflow::runtime::planned;
use pinflow::runtime::replay::{Input, Options, replay};

use super::super::query::case::Case;
use super::damage::{NUMBERS, damage};
use super::{MAIN_STACK, each, no_sentence};
use crate::support::seed::Chance;

#[test]
fn any_file_is_refused_at_its_place_or_starts_a_run() {
    let test = "suite::bytes::files::any_file";
    each(test, 300, MAIN_STACK, file, Clone::clone, |text| {
        check(text)
    });
}

static SHIPPED_TEXT: LazyLock<String> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(SHIPPED);
    std::fs::read_to_string(path).expect("the file is in the repository")
});

fn check(text: &str) -> Result<(), String> {
    let definition = match Definition::parse("random.sql", text) {
        Ok(definition) => definition,
        Err(error) => return refusal(&error, text),
    };
    if let Err(error) = planned(&definition) {
        return refusal(&error, text);
    }
    replay(&definition, Input::default(), &Options::default())
        .map(drop)
        .map_err(|error| format!("it was accepted, and does not start: {error}"))
}

/// That a refusal is a sentence, and about a place of the file.
fn refusal(error: &DefinitionError, text: &str) -> Result<(), String> {
    let words = format!(
        "{}\n{}",
        error.what,
        error.help.as_deref().unwrap_or_default()
    );
    if let Some(why) = no_sentence(&words, text) {
        return Err(why);
    }
    let Some(place) = error.place else {
        return match error.what.starts_with("the file defines no table") {
            true => Ok(()),
            false => Err(format!("it is refused at no place: {error}")),
        };
    };
    let line = text.split('\n').nth((place.line as usize).wrapping_sub(1));
    let columns = line.map(|line| line.chars().count() as u64 + 1);
    match columns {
        Some(columns) if (1..=columns).contains(&place.column) => Ok(()),
        _ => Err(format!("it is refused at a place that it has not: {error}")),
    }
}

/// A file: of the shipped one or of the generator of queries, and mostly with damage.
fn file(chance: &mut Chance) -> String {
    let text = match chance.rarely(2) {
        true => shipped(chance),
        false => Case::new(chance.next(), 1 + chance.below(3)).file(),
    };
    let mut words = words(&text);
    if !chance.rarely(12) {
        for _ in 0..1 + chance.below(3) {
            edit(chance, &mut words);
        }
    }
    let mut text = words.concat();
    if chance.rarely(12) {
        let mut bytes = text.into_bytes();
        damage(chance, &mut bytes);
        text = String::from_utf8_lossy(&bytes).into_owned();
    }
    text
}

/// Streams and tables of the shipped file, and one or two of its views.
fn shipped(chance: &mut Chance) -> String {
    let plain: Vec<&str> = SHIPPED_TEXT
        .split_inclusive('\n')
        .filter(|line| !line.trim_start().starts_with("--"))
        .collect();
    let plain = plain.concat();
    let statements: Vec<&str> = plain.split_inclusive(";\n").collect();
    let (views, rest): (Vec<&str>, Vec<&str>) = statements
        .iter()
        .partition(|one| one.contains("MATERIALIZED"));
    let mut text = rest.concat();
    for _ in 0..1 + chance.below(2) {
        let view = *chance.one(&views);
        text.push_str(view);
    }
    text
}

/// The words of a text, blanks and comments among them: together they are the text.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            '\'' | '"' => rest[1..].find(first).map(|end| end + 2),
            c if is_word(c) => rest.find(|c: char| !is_word(c)),
            c if c.is_whitespace() => rest.find(|c: char| !c.is_whitespace()),
            c => Some(c.len_utf8()),
        };
        let (word, behind) = rest.split_at(length.unwrap_or(rest.len()));
        words.push(word.to_owned());
        rest = behind;
    }
    words
}

const VOCABULARY: &str = "
    SELECT FROM WHERE GROUP BY HAVING ORDER LIMIT OFFSET DISTINCT ALL ANY SOME EXISTS IN NOT NULL AND OR
    CASE WHEN THEN ELSE END AS ON USING JOIN LEFT RIGHT FULL OUTER CROSS NATURAL LATERAL UNION EXCEPT
    INTERSECT VALUES WITH RECURSIVE MATERIALIZED VIEW TABLE EXTERNAL CREATE DROP INSERT UPDATE REPLACE IF
    PRIMARY KEY UNIQUE DEFAULT CHECK REFERENCES STORED LOCATION PARTITIONED JSON CSV OVER PARTITION ROWS
    RANGE BETWEEN UNBOUNDED PRECEDING FOLLOWING CURRENT FILTER WITHIN QUALIFY WINDOW FETCH FIRST TOP
    INTERVAL DATE TIMESTAMP TIME ZONE EXTRACT CAST TRY_CAST COLLATE SUBSTRING POSITION TRIM OVERLAY
    BIGINT INT SMALLINT TINYINT TEXT DOUBLE REAL BOOLEAN BYTEA DECIMAL NUMERIC STRUCT MAP ARRAY UUID
    count sum avg min max median rank dense_rank row_number lag ntile first_value array_agg string_agg
    percentile_cont percentile_disc bool_and stddev corr approx_distinct grouping now random uuid unnest
    range repeat lpad coalesce nullif greatest concat make_array struct named_struct get_field digest
    parse_count parse_timestamp blank_to_null date_trunc date_bin date_part to_timestamp arrow_cast
    true false NULL NaN ROLLUP CUBE SETS TABLESAMPLE PIVOT EXCLUDE EXPLAIN ILIKE SIMILAR ESCAPE IS
    * ( ) , ; . :: = <> < || + - / % [ ] { } -> => $1 ? @ # -- /* */ '' ' \" \"\" 'x' \"x\" 1.5 1e400
    '2020-01-01' INTERVAL'1day' (SELECT 1) (VALUES(1)) b''
";

fn edit(chance: &mut Chance, words: &mut Vec<String>) {
    if words.is_empty() {
        return;
    }
    let meaning = |word: &String| !word.trim().is_empty();
    let places: Vec<usize> = (0..words.len()).filter(|at| meaning(&words[*at])).collect();
    let Some(last) = places.len().checked_sub(1) else {
        return;
    };
    let from = chance.below(places.len());
    let to = (from + chance.below(12)).min(last);
    let (from, to) = (places[from], places[to] + 1);
    let other = words[places[chance.below(places.len())]].clone();
    match chance.below(14) {
        0 => drop(words.remove(from)),
        1 => drop(words.drain(from..to)),
        2 => {
            let piece: Vec<String> = words[from..to].to_vec();
            let at = *chance.one(&places);
            words.splice(at..at, piece);
        }
        3 | 4 => words[from] = other,
        5 => words.insert(from, format!(" {other} ")),
        6 => {
            let piece = words[from..to].concat();
            let times = *chance.one(&[1, 2, 3, 100]);
            words.insert(to, format!(" {piece}").repeat(times));
        }
        7 => words[from] = (*chance.one(&NUMBERS)).to_owned(),
        8 => {
            words.insert(to, ")".to_owned());
            words.insert(from, "(".to_owned());
        }
        9 => words[from] = blown_up(chance, &words[from]),
        10 if words[from].starts_with(['\'', '"']) => {
            let inner = *chance.one(&[
                "", "x", "ü", "a''b", "%", "\\", "day", "_", ".", "A b", "\u{0}",
            ]);
            let quote = words[from][..1].to_owned();
            words[from] = format!("{quote}{inner}{quote}");
        }
        _ => {
            let vocabulary: Vec<&str> = VOCABULARY.split_whitespace().collect();
            let word = format!(" {} ", chance.one(&vocabulary));
            match chance.rarely(2) {
                true => words[from] = word,
                false => words.insert(from, word),
            }
        }
    }
}

/// A word that became very deep or very long.
fn blown_up(chance: &mut Chance, word: &str) -> String {
    let times = *chance.one(&[30, 60, 300, 3000]);
    let chain = |operator: &str| vec![word; times].join(operator);
    match chance.below(12) {
        0 => format!("{}{word}{}", "(".repeat(times), ")".repeat(times)),
        1 => chain(" + "),
        2 => chain(" OR "),
        3 => chain(", "),
        4 => chain(" || "),
        5 => format!("{}{word}", "NOT ".repeat(times)),
        6 => format!("{}{word}", "- ".repeat(times)),
        7 => format!("{}{word}{}", "coalesce(".repeat(times), ")".repeat(times)),
        8 => format!(
            "{}{word}{}",
            "CASE WHEN true THEN ".repeat(times),
            " END".repeat(times)
        ),
        9 => format!("{word} IN ({})", chain(", ")),
        10 => format!("{}{word}{}", "(SELECT ".repeat(times), ")".repeat(times)),
        _ => word.repeat(times),
    }
}
