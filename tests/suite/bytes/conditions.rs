//! `?where=` over every type of column: a condition keeps rows, or is refused with a sentence.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float64Array,
    Int32Array, Int64Array, ListArray, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Int64Type;
use pinflow::serve::filter::filter;
use pinflow::sql::Session;

use super::damage::{NUMBERS, damage, shown};
use super::{SERVER_STACK, each, no_sentence};
use crate::support::seed::Chance;

static SESSION: LazyLock<Session> = LazyLock::new(Session::new);
static ROWS: LazyLock<RecordBatch> = LazyLock::new(rows);

#[test]
fn any_condition_keeps_rows_or_is_refused_with_a_sentence() {
    let test = "suite::bytes::conditions::any_condition";
    let show = |condition: &String| shown(condition.as_bytes());
    each(test, 4000, SERVER_STACK, condition, show, |text| {
        check(text)
    });
}

fn check(condition: &str) -> Result<(), String> {
    match filter(&SESSION, &ROWS, condition, &|| true) {
        Ok(kept) if kept.num_rows() > ROWS.num_rows() => Err("there are more rows".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => no_sentence(&error.reason, "").map_or(Ok(()), Err),
    }
}

/// Rows with what is at the ends of types, and around them.
fn rows() -> RecordBatch {
    let whole = [
        Some(0),
        Some(-1),
        Some(i64::MAX),
        Some(i64::MIN),
        None,
        Some(7),
    ];
    let texts = [
        Some("x"),
        Some(""),
        Some("größe 🎨"),
        Some("12"),
        None,
        Some("2020-01-01"),
    ];
    let doubles = [
        Some(0.0),
        Some(-0.0),
        Some(f64::NAN),
        Some(f64::INFINITY),
        None,
        Some(-1e308),
    ];
    let lists = [
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![None]),
        None,
        None,
    ];
    let decimals = [
        Some(0),
        Some(-1),
        Some(999_999_999_999),
        None,
        Some(1),
        Some(150),
    ];
    let columns: [(&str, ArrayRef); 10] = [
        ("n", Arc::new(Int64Array::from_iter(whole))),
        (
            "i",
            Arc::new(Int32Array::from_iter([
                Some(i32::MIN),
                Some(i32::MAX),
                None,
                Some(0),
                Some(1),
                None,
            ])),
        ),
        ("t", Arc::new(StringViewArray::from_iter(texts))),
        ("d", Arc::new(Float64Array::from_iter(doubles))),
        (
            "b",
            Arc::new(BooleanArray::from_iter([
                Some(true),
                Some(false),
                None,
                None,
                Some(true),
                None,
            ])),
        ),
        (
            "day",
            Arc::new(Date32Array::from_iter([
                Some(0),
                Some(i32::MIN),
                Some(i32::MAX),
                None,
                Some(-719_162),
                Some(2_932_896),
            ])),
        ),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from_iter([
                Some(0),
                Some(i64::MIN),
                Some(i64::MAX),
                None,
                Some(-1),
                Some(253_402_300_799_999_999),
            ])),
        ),
        (
            "amount",
            Arc::new(
                Decimal128Array::from_iter(decimals)
                    .with_precision_and_scale(12, 2)
                    .expect("it fits"),
            ),
        ),
        (
            "bytes",
            Arc::new(BinaryViewArray::from_iter([
                Some(b"\xff\x00".as_slice()),
                Some(b""),
                None,
                Some(b"x"),
                None,
                None,
            ])),
        ),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
        ),
    ];
    let nullable = columns.map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(nullable).expect("the columns are of one length")
}

/// What conditions may call, and some of what they may not.
const FUNCTIONS: &str = "
    abs acos array_contains array_element array_has array_has_all array_has_any array_length
    array_max array_min array_ndims array_position arrow_typeof ascii asin atan atan2 bit_length
    btrim cardinality cbrt ceil char_length chr coalesce cos cot date_bin date_part date_trunc
    degrees empty ends_with exp factorial floor from_unixtime gcd get_field greatest instr isnan
    iszero lcm least left length ln log log10 log2 lower ltrim make_date md5 nanvl nullif nvl nvl2
    octet_length pi position pow power radians regexp_like reverse right round rtrim sha256 signum
    sin split_part sqrt starts_with strpos substr substring tan to_date to_timestamp
    to_timestamp_micros to_timestamp_millis to_timestamp_nanos to_timestamp_seconds to_unixtime trim
    trunc upper blank_to_null parse_count parse_timestamp clean_tags local_path coordinates full_name
    repeat lpad range array_repeat now random count max row_number concat to_char encode arrow_cast
    struct make_array digest
";

const TYPES: [&str; 18] = [
    "BIGINT",
    "INT",
    "SMALLINT",
    "TINYINT",
    "BIGINT UNSIGNED",
    "DOUBLE",
    "REAL",
    "TEXT",
    "BOOLEAN",
    "DATE",
    "TIMESTAMP",
    "BYTEA",
    "DECIMAL(38, 10)",
    "DECIMAL(3, 3)",
    "INTERVAL",
    "TIME",
    "BIGINT[]",
    "DECIMAL(76, 40)",
];

fn condition(chance: &mut Chance) -> String {
    if chance.rarely(16) {
        let length = chance.below(200);
        return String::from_utf8_lossy(&chance.bytes(length)).into_owned();
    }
    let depth = 1 + chance.below(4);
    let condition = truth(chance, depth);
    if chance.rarely(3) {
        let mut bytes = condition.into_bytes();
        damage(chance, &mut bytes);
        return String::from_utf8_lossy(&bytes).into_owned();
    }
    condition
}

fn truth(chance: &mut Chance, depth: usize) -> String {
    if depth == 0 {
        return (*chance.one(&["b", "true", "false", "NULL", "n > 0", "t LIKE '%x%'"])).to_owned();
    }
    let below = depth - 1;
    match chance.below(10) {
        0 => format!("({} AND {})", truth(chance, below), truth(chance, below)),
        1 => format!("({} OR {})", truth(chance, below), truth(chance, below)),
        2 => format!("NOT ({})", truth(chance, below)),
        3 => format!(
            "{} IS {}NULL",
            value(chance, below),
            chance.one(&["", "NOT "])
        ),
        4 => format!(
            "{} BETWEEN {} AND {}",
            value(chance, below),
            value(chance, below),
            value(chance, below)
        ),
        5 => format!(
            "{} IN ({}, {})",
            value(chance, below),
            value(chance, below),
            value(chance, below)
        ),
        6 => format!(
            "{} {} {}",
            value(chance, below),
            chance.one(&[
                "LIKE",
                "ILIKE",
                "SIMILAR TO",
                "~",
                "!~*",
                "NOT LIKE",
                "IS DISTINCT FROM"
            ]),
            value(chance, below)
        ),
        7 => value(chance, below),
        _ => format!(
            "{} {} {}",
            value(chance, below),
            chance.one(&["=", "<>", "<", ">=", "!=", "<=>", "@>", "&&"]),
            value(chance, below)
        ),
    }
}

fn value(chance: &mut Chance, depth: usize) -> String {
    let columns = [
        "n", "i", "t", "d", "b", "day", "at", "amount", "bytes", "list",
    ];
    if depth == 0 || chance.rarely(3) {
        return match chance.below(9) {
            0 => (*chance.one(&NUMBERS)).to_owned(),
            1 => literal(chance),
            2 => "NULL".to_owned(),
            _ => (*chance.one(&columns)).to_owned(),
        };
    }
    let below = depth - 1;
    match chance.below(12) {
        0..4 => call(chance, below),
        4 => format!("CAST({} AS {})", value(chance, below), chance.one(&TYPES)),
        5 => format!(
            "TRY_CAST({} AS {})",
            value(chance, below),
            chance.one(&TYPES)
        ),
        6 => format!(
            "CASE WHEN {} THEN {} ELSE {} END",
            truth(chance, below),
            value(chance, below),
            value(chance, below)
        ),
        7 => format!("list[{}]", value(chance, below)),
        8 => format!("-{}", value(chance, below)),
        9 => format!(
            "EXTRACT({} FROM {})",
            chance.one(&[
                "year",
                "epoch",
                "dow",
                "century",
                "nanosecond",
                "isodow",
                "x"
            ]),
            value(chance, below)
        ),
        _ => format!(
            "({} {} {})",
            value(chance, below),
            chance.one(&[
                "+", "-", "*", "/", "%", "||", "&", "|", "^", "<<", ">>", "#", "->", "//"
            ]),
            value(chance, below)
        ),
    }
}

fn call(chance: &mut Chance, depth: usize) -> String {
    let functions: Vec<&str> = FUNCTIONS.split_whitespace().collect();
    let arguments: Vec<String> = (0..chance.below(4)).map(|_| value(chance, depth)).collect();
    format!("{}({})", chance.one(&functions), arguments.join(", "))
}

fn literal(chance: &mut Chance) -> String {
    (*chance.one(&[
        "''",
        "'x'",
        "'O''Neil'",
        "'day'",
        "'%'",
        "'\\'",
        "'(((('",
        "'(a*)*b'",
        "'[[:alpha:]]{1000}'",
        "DATE '2020-01-01'",
        "DATE '0000-00-00'",
        "DATE '262143-12-31'",
        "TIMESTAMP '1969-12-31 23:59:59.999999'",
        "TIMESTAMP '294247-01-10 04:00:54.775807'",
        "TIMESTAMP '2020-01-01T00:00:00+14:00'",
        "INTERVAL '1 month'",
        "INTERVAL '9223372036854775807 years'",
        "INTERVAL '-1 nanosecond'",
        "TIME '25:00'",
        "X'ff'",
        "X'f'",
        "make_array(1, 2)",
        "[]",
        "{'a': 1}",
        "$1",
        "?",
        "@x",
        "'\u{0}'",
        "U&'\\d800'",
        "E'\\x'",
        "1.7976931348623157e308",
        "0.1::DECIMAL(38,38)",
        "(1, 2)",
        "*",
        "NaN",
        "current_date",
        "(SELECT 1)",
        "EXISTS (SELECT 1)",
        "x -> x + 1",
    ]))
    .to_owned()
}
