//! A row-wise expression means for a row what it means for that row alone: random expressions that
//! fail on some rows, guarded and not, in tables and in views, over random histories, batches and
//! numbers of workers.
//!
//! The oracle is an interpreter of a few lines that looks at one row at a time and knows nothing of
//! DataFusion: AND, OR, CASE and coalesce stop where they are decided, conditions joined by AND
//! that cannot fail go first, and what fails leaves its row out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use pinflow::definition::Definition;
use pinflow::runtime::replay::{Input, Options, replay};
use proptest::prelude::*;

use super::tape::{Tape, cases, tapes};

/// A row: its key, what it is grouped and joined by, two numbers, a text.
#[derive(Clone, Debug)]
struct Row {
    k: i64,
    g: i64,
    n: Option<i64>,
    m: Option<i64>,
    t: Option<&'static str>,
}

/// What an expression has for a row; the error is a failure.
type Value<T> = Result<Option<T>, ()>;

#[derive(Clone, Debug)]
enum Number {
    N,
    M,
    Literal(i64),
    Divided(Box<Number>, Box<Number>),
    Cast,
    Case(Box<Truth>, Box<Number>, Option<Box<Number>>),
    Coalesce(Box<Number>, Box<Number>),
    NullIf(Box<Number>, Box<Number>),
}

#[derive(Clone, Debug)]
enum Truth {
    Compared(Number, &'static str, Number),
    IsNull(Number),
    Text(String),
    Longer(usize),
    Not(Box<Truth>),
    And(Box<Truth>, Box<Truth>),
    Or(Box<Truth>, Box<Truth>),
    Case(Box<Truth>, Box<Truth>, Option<Box<Truth>>),
}

impl Number {
    fn of(&self, row: &Row) -> Value<i64> {
        Ok(match self {
            Number::N => row.n,
            Number::M => row.m,
            Number::Literal(value) => Some(*value),
            Number::Divided(left, right) => match (left.of(row)?, right.of(row)?) {
                (Some(_), Some(0)) => return Err(()),
                (Some(left), Some(right)) => Some(left.wrapping_div(right)),
                _ => None,
            },
            Number::Cast => match row.t {
                Some(text) => Some(text.parse().map_err(|_| ())?),
                None => None,
            },
            Number::Case(when, then, otherwise) => match (when.of(row)?, otherwise) {
                (Some(true), _) => then.of(row)?,
                (_, Some(otherwise)) => otherwise.of(row)?,
                (_, None) => None,
            },
            Number::Coalesce(first, second) => match first.of(row)? {
                None => second.of(row)?,
                some => some,
            },
            Number::NullIf(first, second) => {
                let (first, second) = (first.of(row)?, second.of(row)?);
                first.filter(|_| first != second)
            }
        })
    }

    fn may_fail(&self) -> bool {
        match self {
            Number::N | Number::M | Number::Literal(_) => false,
            Number::Divided(_, right) if matches!(**right, Number::Literal(2)) => {
                let Number::Divided(left, _) = self else {
                    return true;
                };
                left.may_fail()
            }
            Number::Divided(..) | Number::Cast => true,
            Number::Case(when, then, otherwise) => {
                when.may_fail()
                    || then.may_fail()
                    || otherwise.as_ref().is_some_and(|other| other.may_fail())
            }
            Number::Coalesce(first, second) | Number::NullIf(first, second) => {
                first.may_fail() || second.may_fail()
            }
        }
    }

    /// As SQL, over columns `n`, `m` and `t` of these relations.
    fn sql(&self, of: &Names) -> String {
        match self {
            Number::N => of.n.to_owned(),
            Number::M => of.m.to_owned(),
            Number::Literal(value) => value.to_string(),
            Number::Divided(left, right) => format!("({} / {})", left.sql(of), right.sql(of)),
            Number::Cast => format!("CAST({} AS BIGINT)", of.t),
            Number::Case(when, then, otherwise) => {
                let mut sql = format!("CASE WHEN {} THEN {}", when.sql(of), then.sql(of));
                if let Some(otherwise) = otherwise {
                    write!(sql, " ELSE {}", otherwise.sql(of)).expect("a string takes all");
                }
                sql + " END"
            }
            Number::Coalesce(first, second) => {
                format!("coalesce({}, {})", first.sql(of), second.sql(of))
            }
            Number::NullIf(first, second) => {
                format!("nullif({}, {})", first.sql(of), second.sql(of))
            }
        }
    }
}

impl Truth {
    fn of(&self, row: &Row) -> Value<bool> {
        Ok(match self {
            Truth::Compared(left, operator, right) => match (left.of(row)?, right.of(row)?) {
                (Some(left), Some(right)) => Some(match *operator {
                    "<>" => left != right,
                    ">" => left > right,
                    _ => left < right,
                }),
                _ => None,
            },
            Truth::IsNull(number) => Some(number.of(row)?.is_none()),
            Truth::Text(text) => row.t.map(|given| given != text),
            Truth::Longer(length) => row.t.map(|given| given.len() > *length),
            Truth::Not(of) => of.of(row)?.map(|value| !value),
            Truth::And(left, right) => match left.of(row)? {
                Some(false) => Some(false),
                left => match (left, right.of(row)?) {
                    (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                },
            },
            Truth::Or(left, right) => match left.of(row)? {
                Some(true) => Some(true),
                left => match (left, right.of(row)?) {
                    (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                },
            },
            Truth::Case(when, then, otherwise) => match (when.of(row)?, otherwise) {
                (Some(true), _) => then.of(row)?,
                (_, Some(otherwise)) => otherwise.of(row)?,
                (_, None) => None,
            },
        })
    }

    fn may_fail(&self) -> bool {
        match self {
            Truth::Compared(left, _, right) => left.may_fail() || right.may_fail(),
            Truth::IsNull(number) => number.may_fail(),
            Truth::Text(_) | Truth::Longer(_) => false,
            Truth::Not(of) => of.may_fail(),
            Truth::And(left, right) | Truth::Or(left, right) => left.may_fail() || right.may_fail(),
            Truth::Case(when, then, otherwise) => {
                when.may_fail()
                    || then.may_fail()
                    || otherwise.as_ref().is_some_and(|other| other.may_fail())
            }
        }
    }

    fn sql(&self, of: &Names) -> String {
        match self {
            Truth::Compared(left, operator, right) => {
                format!("{} {operator} {}", left.sql(of), right.sql(of))
            }
            Truth::IsNull(number) => format!("{} IS NULL", number.sql(of)),
            Truth::Text(text) => format!("{} <> '{text}'", of.t),
            Truth::Longer(length) => format!("length({}) > {length}", of.t),
            Truth::Not(inner) => format!("NOT ({})", inner.sql(of)),
            Truth::And(left, right) => format!("({} AND {})", left.sql(of), right.sql(of)),
            Truth::Or(left, right) => format!("({} OR {})", left.sql(of), right.sql(of)),
            Truth::Case(when, then, otherwise) => {
                let mut sql = format!("CASE WHEN {} THEN {}", when.sql(of), then.sql(of));
                if let Some(otherwise) = otherwise {
                    write!(sql, " ELSE {}", otherwise.sql(of)).expect("a string takes all");
                }
                sql + " END"
            }
        }
    }

    /// The same with no condition twice: of `p OR q AND p` DataFusion proves that q does not
    /// matter, and does not evaluate it.
    fn distinct(self, seen: &mut BTreeSet<String>) -> Truth {
        let mut below = |of: Box<Truth>| Box::new(of.distinct(seen));
        match self {
            Truth::Not(of) => Truth::Not(below(of)),
            Truth::And(left, right) => Truth::And(below(left), below(right)),
            Truth::Or(left, right) => Truth::Or(below(left), below(right)),
            Truth::Case(when, then, otherwise) => {
                Truth::Case(below(when), below(then), otherwise.map(below))
            }
            leaf if seen.insert(leaf.sql(&PLAIN)) => leaf,
            _ => Truth::Text(format!("other {}", seen.len())).distinct(seen),
        }
    }

    /// Whether it reads the number that is the left one's in a pair.
    fn reads_left(&self) -> bool {
        self.sql(&PAIR).contains(PAIR.n)
    }

    /// The conditions that are joined by AND, as a WHERE evaluates them: what cannot fail first.
    fn conditions<'a>(&'a self, into: &mut Vec<&'a Truth>) {
        match self {
            Truth::And(left, right) => {
                left.conditions(into);
                right.conditions(into);
            }
            other => into.push(other),
        }
    }
}

/// Whether all of `conditions` are true for the row; the error is a failure of one that was
/// reached.
fn holds(conditions: &[&Truth], row: &Row) -> Result<bool, ()> {
    let mut parts = Vec::new();
    conditions.iter().for_each(|c| c.conditions(&mut parts));
    parts.sort_by_key(|part| part.may_fail());
    for part in parts {
        if part.of(row)? != Some(true) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the columns are called.
struct Names {
    n: &'static str,
    m: &'static str,
    t: &'static str,
}

const PLAIN: Names = Names {
    n: "n",
    m: "m",
    t: "t",
};
/// Of a pair of rows: a number of the left one, a number and the text of the right one.
const PAIR: Names = Names {
    n: "l.n",
    m: "r.m",
    t: "r.t",
};

fn number(tape: &mut Tape, depth: usize) -> Number {
    let below = |tape: &mut Tape| Box::new(number(tape, depth.saturating_sub(1)));
    let kinds = if depth == 0 { 3 } else { 9 };
    match tape.below(kinds) {
        0 => Number::N,
        1 => Number::M,
        2 => Number::Cast,
        3 | 4 => Number::Divided(Box::new(Number::Literal(10)), below(tape)),
        5 => Number::Divided(below(tape), Box::new(Number::Literal(2))),
        6 => {
            let otherwise = tape.rarely(2).then(|| below(tape));
            Number::Case(Box::new(truth(tape, depth - 1)), below(tape), otherwise)
        }
        7 => Number::Coalesce(below(tape), below(tape)),
        _ => Number::NullIf(below(tape), Box::new(Number::Literal(0))),
    }
}

fn truth(tape: &mut Tape, depth: usize) -> Truth {
    let below = |tape: &mut Tape| Box::new(truth(tape, depth.saturating_sub(1)));
    let kinds = if depth == 0 { 5 } else { 11 };
    match tape.below(kinds) {
        0 => Truth::Compared(Number::N, "<>", Number::Literal(0)),
        1 => Truth::Text((*tape.one(&["", "x"])).to_owned()),
        2 => Truth::Longer(0),
        3 => {
            let left = number(tape, depth);
            Truth::Compared(
                left,
                tape.one::<&str>(&["<>", ">", "<"]),
                Number::Literal(1),
            )
        }
        4 => Truth::IsNull(number(tape, depth)),
        5 => Truth::Not(below(tape)),
        6..=8 => Truth::And(below(tape), below(tape)),
        9 => Truth::Or(below(tape), below(tape)),
        _ => {
            let otherwise = tape.rarely(2).then(|| below(tape));
            Truth::Case(below(tape), below(tape), otherwise)
        }
    }
}

/// What happens in an epoch: rows that come, keys that are deleted.
type History = Vec<Vec<Result<Row, i64>>>;

fn history(tape: &mut Tape) -> History {
    let epochs = 1 + tape.below(4);
    let row = |tape: &mut Tape| Row {
        k: tape.below(12) as i64,
        g: tape.below(3) as i64,
        n: *tape.one(&[Some(0), Some(1), None, Some(3), Some(-7)]),
        m: *tape.one(&[Some(2), Some(0), None, Some(10)]),
        t: *tape.one(&[Some("5"), Some(""), Some("x"), None, Some("0"), Some("-2")]),
    };
    (0..epochs)
        .map(|_| {
            let count = tape.below(30);
            (0..count)
                .map(|_| match tape.rarely(9) {
                    true => Err(tape.below(12) as i64),
                    false => Ok(row(tape)),
                })
                .collect()
        })
        .collect()
}

fn json(row: &Row) -> String {
    serde_json::json!({"k": row.k, "g": row.g, "n": row.n, "m": row.m, "t": row.t}).to_string()
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "NULL".to_owned(), |value| value.to_string())
}

/// A random dataflow over one stream.
struct Case {
    /// Of the table `c`: the conditions of its rows and of a subquery below, a computed column.
    table: (Truth, Number),
    /// Of the view over rows.
    rows: (Truth, Number, Truth),
    /// Of the aggregation.
    groups: (Truth, Number, Truth),
    /// Of the joins.
    pairs: Truth,
}

impl Case {
    fn random(tape: &mut Tape) -> Case {
        let condition = |tape: &mut Tape, depth| truth(tape, depth).distinct(&mut BTreeSet::new());
        Case {
            table: (condition(tape, 3), number(tape, 2)),
            rows: (condition(tape, 3), number(tape, 2), condition(tape, 2)),
            groups: (condition(tape, 2), number(tape, 2), condition(tape, 2)),
            pairs: condition(tape, 3),
        }
    }

    fn sql(&self) -> String {
        let (table_where, table_column) = (self.table.0.sql(&PLAIN), self.table.1.sql(&PLAIN));
        let (inner, column, outer) = (
            self.rows.0.sql(&PLAIN),
            self.rows.1.sql(&PLAIN),
            self.rows.2.sql(&PLAIN),
        );
        let (kept, argument, filter) = (
            self.groups.0.sql(&PLAIN),
            self.groups.1.sql(&PLAIN),
            self.groups.2.sql(&PLAIN),
        );
        let on = self.pairs.sql(&PAIR);
        format!(
            "CREATE EXTERNAL TABLE raw (k BIGINT, g BIGINT, n BIGINT, m BIGINT, t TEXT) STORED AS JSON LOCATION 's';
CREATE TABLE a (PRIMARY KEY (k)) AS SELECT k, g, n, m, t FROM raw;
CREATE TABLE c (PRIMARY KEY (k)) AS SELECT k, {table_column} AS x FROM raw WHERE {table_where};
CREATE VIEW guarded AS SELECT k, n, m, t FROM a WHERE {inner};
CREATE MATERIALIZED VIEW cleaned AS SELECT k, x FROM c;
CREATE MATERIALIZED VIEW shown AS SELECT k, {column} AS x FROM a WHERE {inner};
CREATE MATERIALIZED VIEW twice AS SELECT k FROM guarded WHERE {outer};
CREATE MATERIALIZED VIEW grouped AS SELECT g, count(*) AS c, count({argument}) FILTER (WHERE {filter}) AS d, \
sum({argument}) FILTER (WHERE {filter}) AS s FROM a WHERE {kept} GROUP BY g;
CREATE MATERIALIZED VIEW joined AS SELECT l.k, r.k AS p FROM a l JOIN a r ON l.g = r.g AND {on};
CREATE MATERIALIZED VIEW outer_joined AS SELECT l.k, r.k AS p FROM a l LEFT JOIN a r ON l.g = r.g AND {on};
CREATE MATERIALIZED VIEW with_partner AS SELECT l.k FROM a l WHERE EXISTS (SELECT 1 FROM a r WHERE l.g = r.g AND {on});
CREATE MATERIALIZED VIEW without_partner AS SELECT l.k FROM a l WHERE NOT EXISTS (SELECT 1 FROM a r WHERE l.g = r.g AND {on});"
        )
    }

    /// The rows of every view, given those of the table `a`, and those of `c` for which its
    /// expression did not fail.
    fn answers(
        &self,
        a: &BTreeMap<i64, Row>,
        c: &BTreeMap<i64, Option<i64>>,
    ) -> Vec<(&'static str, Vec<String>)> {
        let cleaned = c.iter().map(|(k, x)| format!("{k} | {}", shown(*x)));
        let (inner, column, outer) = &self.rows;
        let shown_rows = a.values().filter_map(|row| {
            let kept = holds(&[inner], row).ok()?;
            let x = kept.then(|| column.of(row))?.ok()?;
            Some(format!("{} | {}", row.k, shown(x)))
        });
        let twice = a
            .values()
            .filter(|row| holds(&[inner, outer], row) == Ok(true));
        let (joined, alone, _) = self.pairs(a, false);
        let (_, without_partner, with_partner) = self.pairs(a, true);
        vec![
            ("cleaned", cleaned.collect()),
            ("shown", shown_rows.collect()),
            ("twice", twice.map(|row| row.k.to_string()).collect()),
            ("grouped", self.groups(a)),
            ("joined", joined.clone()),
            (
                "outer_joined",
                joined
                    .into_iter()
                    .chain(alone.iter().map(|k| format!("{k} | NULL")))
                    .collect(),
            ),
            ("with_partner", with_partner),
            ("without_partner", without_partner),
        ]
    }

    fn groups(&self, a: &BTreeMap<i64, Row>) -> Vec<String> {
        let (kept, argument, filter) = &self.groups;
        let mut groups: BTreeMap<i64, (i64, i64, Option<i64>)> = BTreeMap::new();
        for row in a.values().filter(|row| holds(&[kept], row) == Ok(true)) {
            let counted = match filter.of(row) {
                Err(()) => continue,
                Ok(Some(true)) => match argument.of(row) {
                    Err(()) => continue,
                    Ok(value) => value,
                },
                Ok(_) => None,
            };
            let group = groups.entry(row.g).or_insert((0, 0, None));
            group.0 += 1;
            if let Some(value) = counted {
                group.1 += 1;
                group.2 = Some(group.2.unwrap_or(0) + value);
            }
        }
        let lines = groups.iter();
        let lines = lines.map(|(g, (c, d, s))| format!("{g} | {c} | {d} | {}", shown(*s)));
        lines.collect()
    }

    /// The pairs; the left rows without a partner; those with one. In a subquery what is said of
    /// its rows alone is its own WHERE: rows that fail it are not in it.
    fn pairs(
        &self,
        a: &BTreeMap<i64, Row>,
        subquery: bool,
    ) -> (Vec<String>, Vec<String>, Vec<String>) {
        let mut conditions = Vec::new();
        self.pairs.conditions(&mut conditions);
        let (of_pair, of_right): (Vec<_>, Vec<_>) = conditions
            .into_iter()
            .partition(|part| !subquery || part.reads_left());
        let (mut joined, mut alone, mut partnered) = (Vec::new(), Vec::new(), Vec::new());
        for left in a.values() {
            let mut found = false;
            let mut possible = false;
            for right in a.values().filter(|right| right.g == left.g) {
                let pair = Row {
                    n: left.n,
                    ..right.clone()
                };
                if holds(&of_right, right) != Ok(true) {
                    continue;
                }
                match holds(&of_pair, &pair) {
                    Ok(true) => {
                        found = true;
                        joined.push(format!("{} | {}", left.k, right.k));
                    }
                    Ok(false) => {}
                    Err(()) => possible = true,
                }
            }
            if found {
                partnered.push(left.k.to_string());
            } else if !possible {
                alone.push(left.k.to_string());
            }
        }
        (joined, alone, partnered)
    }

    /// Where a replay differs from looking at each row alone.
    fn difference(&self, history: &History, options: &Options) -> Result<(), String> {
        let definition = match Definition::parse("guards.sql", &self.sql()) {
            Ok(definition) => definition,
            // A table whose conditions contradict each other.
            Err(error) if error.to_string().contains("emptyrelation") => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let mut input = Input::default();
        for (epoch, events) in (1..).zip(history) {
            for event in events {
                match event {
                    Ok(row) => input.add(epoch, "s", json(row)),
                    Err(key) => input.delete(epoch, "s", key.to_string()),
                }
            }
        }
        let replayed = replay(&definition, input, options).map_err(|error| error.to_string())?;
        let mut a: BTreeMap<i64, Row> = BTreeMap::new();
        let mut c: BTreeMap<i64, Option<i64>> = BTreeMap::new();
        let mut dead = 0;
        for (epoch, events) in (1..).zip(history) {
            for event in events {
                let row = match event {
                    Err(key) => {
                        a.remove(key);
                        c.remove(key);
                        continue;
                    }
                    Ok(row) => row,
                };
                a.insert(row.k, row.clone());
                let (kept, column) = &self.table;
                match holds(&[kept], row).and_then(|kept| match kept {
                    true => column.of(row).map(Some),
                    false => Ok(None),
                }) {
                    Err(()) => dead += 1,
                    Ok(None) => {}
                    Ok(Some(x)) => {
                        c.insert(row.k, x);
                    }
                }
            }
            for (view, mut expected) in self.answers(&a, &c) {
                let found = replayed
                    .rows(view, epoch)
                    .map_err(|error| error.to_string())?;
                let mut found = found.clone();
                expected.sort();
                found.sort();
                if found != expected {
                    return Err(format!(
                        "`{view}` at epoch {epoch}\nexpected {expected:?}\nfound    {found:?}"
                    ));
                }
            }
            let letters = replayed.at("dead_letters", epoch);
            let letters = letters.map_err(|error| error.to_string())?.num_rows();
            if letters != dead {
                return Err(format!(
                    "{letters} dead letters at epoch {epoch}, not {dead}"
                ));
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn a_row_means_what_it_means_alone(
        tape in tapes(900),
        workers in 1usize..=3,
        batch in 1usize..=40,
    ) {
        let mut tape = Tape::new(&tape);
        let case = Case::random(&mut tape);
        let history = history(&mut tape);
        let options = Options { workers, batch };
        if let Err(difference) = case.difference(&history, &options) {
            prop_assert!(false, "{difference}\n{}\n{history:#?}", case.sql());
        }
    }
}
