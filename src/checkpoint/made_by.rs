//! By which statements the rows of a lake were made.
//!
//! Rows outlive the program that wrote them. Every checkpoint says by what they were made, and the
//! next run compares: a table that another statement made cannot go on, and a view is written anew.
//! Compared is what people wrote, and numbers of our own; never how a library prints or hashes
//! something, since an upgrade of the program must not make every lake foreign to it.
//!
//! # Invariants
//! 1. A relation is as it was only if its own statement is, and those of all relations that it
//!    reads, and so on.
//! 2. A view's rows lie where they lay only if the key and the rule that place them are as they
//!    were. Another version of the program writes views anew, because functions may mean something
//!    else in it; rows of tables it takes as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// How many words of a statement are shown before and after the first that differs.
const WORDS_SHOWN: (usize, usize) = (4, 6);

/// What the rows of a lake were made by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeBy {
    /// The version of the program.
    pub program: String,
    /// The rule that places rows of views in buckets, by its number.
    pub placement: u32,
    /// Streams, tables and views, by name.
    pub relations: BTreeMap<String, Relation>,
}

/// One stream, table or view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// Its statement, as words with one blank between any two.
    pub statement: String,
    /// The relations it reads, by name; of a view possibly too many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
    /// The columns that place a view's rows in buckets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
}

/// The first difference between what made a relation and what would make it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The relation whose statement differs: the one that was asked for, or one that it reads.
    pub relation: String,
    /// The statement then, around the first word that differs; empty if there was none.
    pub then: String,
    /// The same now.
    pub now: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            relation,
            then,
            now,
        } = self;
        if then.is_empty() {
            return write!(f, "there was no `{relation}`, and now there is `{now}`");
        }
        write!(f, "where `{relation}` has `{now}` now, it had `{then}`")
    }
}

impl MadeBy {
    /// By the program of this version, which places rows of views by the rule of this number; no
    /// relation yet.
    pub fn program(version: &str, placement: u32) -> MadeBy {
        MadeBy {
            program: version.to_owned(),
            placement,
            ..MadeBy::default()
        }
    }

    /// Adds a stream.
    pub fn stream(&mut self, name: &str, statement: &str) {
        self.add(name, statement, Vec::new(), Vec::new());
    }

    /// Adds a table over a stream.
    pub fn table(&mut self, name: &str, statement: &str, stream: &str) {
        self.add(name, statement, vec![stream.to_owned()], Vec::new());
    }

    /// Adds a view, after all tables and the views above it. It may read those whose names occur in
    /// its statement, though they may be names of columns there.
    pub fn view(&mut self, name: &str, statement: &str, key: Vec<String>) {
        let words: BTreeSet<_> = statement
            .split(' ')
            .map(|word| word.trim_matches('"'))
            .collect();
        let occurs = |relation: &&String| words.contains(relation.as_str());
        let reads = self.relations.keys().filter(occurs).cloned().collect();
        self.add(name, statement, reads, key);
    }

    fn add(&mut self, name: &str, statement: &str, reads: Vec<String>, key: Vec<String>) {
        let relation = Relation {
            statement: statement.to_owned(),
            reads,
            key,
        };
        self.relations.insert(name.to_owned(), relation);
    }

    /// What differs between the statements that made the relation called `name` and those of `now`,
    /// if anything does.
    pub fn difference(&self, now: &MadeBy, name: &str) -> Option<Difference> {
        let mut seen = BTreeSet::new();
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            let new = now.relations.get(name)?;
            let old = self.relations.get(name);
            if old.is_none_or(|old| old.statement != new.statement) {
                let (then, now) = excerpts(old.map_or("", |old| &old.statement), &new.statement);
                return Some(Difference {
                    relation: name.to_owned(),
                    then,
                    now,
                });
            }
            open.extend(
                new.reads
                    .iter()
                    .filter(|read| seen.insert(*read))
                    .map(String::as_str),
            );
        }
        None
    }

    /// Whether the files of the view called `name` are what a run by `now` would write.
    pub fn view_stays(&self, now: &MadeBy, name: &str) -> bool {
        let key = |made: &MadeBy| made.relations.get(name).map(|view| view.key.clone());
        self.program == now.program
            && self.placement == now.placement
            && key(self) == key(now)
            && self.difference(now, name).is_none()
    }
}

/// Two texts around the first word in which they differ.
fn excerpts(then: &str, now: &str) -> (String, String) {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (then, now) = (words(then), words(now));
    let same = then.iter().zip(&now).take_while(|(a, b)| a == b).count();
    let (before, after) = WORDS_SHOWN;
    let excerpt = |words: &[String]| {
        let from = same.saturating_sub(before);
        let until = (same + after).min(words.len());
        let begin = if from > 0 { ".. " } else { "" };
        let end = if until < words.len() { " .." } else { "" };
        format!("{begin}{}{end}", words[from..until].join(" "))
    };
    (excerpt(&then), excerpt(&now))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream, a table over it, and views; a name with a star is placed by another key.
    fn made(relations: &[(&str, &str)]) -> MadeBy {
        let mut made = MadeBy::program("1.0", 1);
        for (number, (name, statement)) in relations.iter().enumerate() {
            match number {
                0 => made.stream(name, statement),
                1 => made.table(name, statement, relations[0].0),
                _ => {
                    let key = name.ends_with('*').then(|| "key".to_owned());
                    made.view(
                        name.trim_end_matches('*'),
                        statement,
                        key.into_iter().collect(),
                    );
                }
            }
        }
        made
    }

    const STREAM: (&str, &str) = ("raw", "create external table raw ( a bigint )");
    const TABLE: (&str, &str) = ("t", "create table t as select a from \"raw\"");
    const VIEW: (&str, &str) = ("v", "create view v as select max ( a ) from t");

    #[test]
    fn what_nothing_changed_for_stays() {
        let then = made(&[STREAM, TABLE, VIEW]);
        let now = made(&[STREAM, TABLE, VIEW, ("w", "create view w as select 1")]);
        for name in ["raw", "t", "v"] {
            assert_eq!(then.difference(&now, name), None, "{name}");
        }
        assert!(then.view_stays(&now, "v"));
        assert!(!then.view_stays(&now, "w"));
    }

    #[test]
    fn a_changed_relation_is_told_by_all_that_read_it() {
        let then = made(&[STREAM, TABLE, VIEW]);
        let now = made(&[
            ("raw", "create external table raw ( a double )"),
            TABLE,
            VIEW,
        ]);
        for name in ["raw", "t", "v"] {
            let difference = then.difference(&now, name).unwrap();
            assert_eq!(
                difference.to_string(),
                "where `raw` has `.. table raw ( a double )` now, it had `.. table raw ( a bigint )`",
                "{name}"
            );
        }
        assert!(!then.view_stays(&now, "v"));
    }

    #[test]
    fn what_reads_a_changed_view_is_written_anew_and_its_neighbours_are_not() {
        let neighbour = ("w", "create view w as select min ( a ) from t");
        let reader = ("r", "create view r as select * from v");
        let then = made(&[STREAM, TABLE, VIEW, neighbour, reader]);
        let changed = ("v", "create view v as select sum ( a ) from t");
        let now = made(&[STREAM, TABLE, changed, neighbour, reader]);
        let stays = |name| then.view_stays(&now, name);
        assert_eq!((stays("v"), stays("r"), stays("w")), (false, false, true));
    }

    #[test]
    fn a_table_does_not_change_with_a_view_that_is_called_like_its_column() {
        let (before, after) = (
            ("a", "create view a as select 1"),
            ("a", "create view a as select 2"),
        );
        let (then, now) = (
            made(&[STREAM, TABLE, before]),
            made(&[STREAM, TABLE, after]),
        );
        assert_eq!(then.difference(&now, "t"), None);
    }

    #[test]
    fn rows_that_may_lie_elsewhere_or_be_others_are_written_anew() {
        let then = made(&[STREAM, TABLE, VIEW]);
        let other_key = made(&[STREAM, TABLE, ("v*", VIEW.1)]);
        assert!(!then.view_stays(&other_key, "v"));
        for (program, placement) in [("1.0", 2), ("1.1", 1)] {
            let other = MadeBy {
                program: program.to_owned(),
                placement,
                ..then.clone()
            };
            assert!(!then.view_stays(&other, "v"));
            assert_eq!(then.difference(&other, "v"), None);
        }
    }

    #[test]
    fn a_difference_shows_the_words_around_it() {
        let then = made(&[("t", "a b c d e f g h i j k l m")]);
        for (now, expect) in [
            (
                "a b c d e f X h i j k l m",
                "where `t` has `.. c d e f X h i j k l ..` now, it had `.. c d e f g h i j k l ..`",
            ),
            (
                "a b",
                "where `t` has `a b` now, it had `a b c d e f g h ..`",
            ),
            ("X", "where `t` has `X` now, it had `a b c d e f ..`"),
        ] {
            let now = made(&[("t", now)]);
            assert_eq!(then.difference(&now, "t").unwrap().to_string(), expect);
        }
        let difference = made(&[]).difference(&then, "t").unwrap();
        assert_eq!(
            difference.to_string(),
            "there was no `t`, and now there is `a b c d e f ..`"
        );
    }
}
