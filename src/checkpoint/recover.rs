//! From what a lake holds to what a restart must do: pure, so that its tests are a table.

use super::Checkpoint;
use crate::lake::LakeError;
use std::collections::BTreeMap;

/// What the lake held at start-up. Facts only.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The newest checkpoints, oldest first, without gaps; empty for a new lake.
    pub checkpoints: Vec<Checkpoint>,
    /// For every table that the newest checkpoint knows: the last checkpoint its Delta log holds
    /// (`txn`), or `None` if the table does not exist or has none.
    pub committed: BTreeMap<String, Option<u64>>,
}

/// What to do before reading sources again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// There is nothing: begin at the beginning.
    Start,
    /// Everything is in its place: go on from this checkpoint.
    Resume(Checkpoint),
    /// Go on from this checkpoint, once these tables have got these checkpoints, in this order.
    /// More than one checkpoint can be missing only where a power failure undid what the disk had
    /// promised.
    FinishCommit {
        checkpoint: Checkpoint,
        missing: Vec<(u64, String)>,
    },
}

/// Decides what a restart must do, or says why the lake cannot be trusted.
pub fn recover(found: &Found) -> Result<Recovery, LakeError> {
    let Some(last) = found.checkpoints.last() else {
        return Ok(Recovery::Start);
    };
    let mut missing = Vec::new();
    for (table, &expected) in &last.touched {
        let has = found.committed.get(table).copied().flatten();
        if has == Some(expected) {
            continue;
        }
        if let Some(has) = has
            && has > expected
        {
            return Err(LakeError::TableAhead {
                table: table.clone(),
                has,
                last: last.number,
            });
        }
        // What the kept checkpoints can still give the table, after what it has.
        let mut before = None;
        let mut steps = Vec::new();
        for checkpoint in &found.checkpoints {
            if !checkpoint.tables.contains_key(table) {
                continue;
            }
            if Some(checkpoint.number) <= has {
                before = Some(checkpoint.number);
            } else {
                steps.push(checkpoint);
            }
        }
        // The steps must join on to what the table has: directly, or from the table's making.
        let oldest_kept = found.checkpoints[0].number;
        let first = steps.first();
        let joins = match has {
            None => first.is_some_and(|step| step.tables[table].metadata.is_some()),
            Some(has) => {
                before == Some(has) || previous_touch(found, table, oldest_kept) == Some(has)
            }
        };
        if first.is_none() || !joins {
            return Err(LakeError::TableBehind {
                table: table.clone(),
                has,
                expected,
            });
        }
        missing.extend(steps.iter().map(|step| (step.number, table.clone())));
    }
    if missing.is_empty() {
        return Ok(Recovery::Resume(last.clone()));
    }
    missing.sort();
    Ok(Recovery::FinishCommit {
        checkpoint: last.clone(),
        missing,
    })
}

/// The last checkpoint that changed `table` before the first kept one that does, as far as can be
/// known: a kept checkpoint that does not change the table still knows who did.
fn previous_touch(found: &Found, table: &str, oldest_kept: u64) -> Option<u64> {
    let untouching = found
        .checkpoints
        .iter()
        .take_while(|c| !c.tables.contains_key(table))
        .last();
    match untouching {
        Some(checkpoint) => checkpoint.touched.get(table).copied(),
        // The oldest kept one changes the table: only the one right before it can be vouched for.
        None => oldest_kept.checked_sub(1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FORMAT, MadeBy, NewTable, TableCommit};
    use super::*;

    /// Checkpoint `number` that changes the tables of `changes`; `+t` makes the table `t`.
    fn checkpoint(number: u64, changes: &[&str], touched: &[(&str, u64)]) -> Checkpoint {
        let table = |name: &&str| {
            let metadata = name.starts_with('+').then(|| NewTable {
                id: "id".into(),
                schema: "{}".into(),
                configuration: BTreeMap::new(),
            });
            let change = TableCommit {
                metadata,
                ..TableCommit::default()
            };
            (name.trim_start_matches('+').to_string(), change)
        };
        Checkpoint {
            format: FORMAT,
            number,
            epoch: number * 10,
            time_ms: 0,
            writer: "w".into(),
            made_by: MadeBy::default(),
            positions: BTreeMap::new(),
            tables: changes.iter().map(table).collect(),
            touched: touched.iter().map(|(t, n)| (t.to_string(), *n)).collect(),
        }
    }

    /// The history that the table below speaks of: `a` changes in 1, 2 and 3, `b` in 1 and 3, `c`
    /// from 3 on, `old` in 1.
    fn history() -> Vec<Checkpoint> {
        vec![
            checkpoint(1, &["+a", "+b", "+old"], &[("a", 1), ("b", 1), ("old", 1)]),
            checkpoint(2, &["a"], &[("a", 2), ("b", 1), ("old", 1)]),
            checkpoint(
                3,
                &["a", "b", "+c"],
                &[("a", 3), ("b", 3), ("c", 3), ("old", 1)],
            ),
        ]
    }

    /// What to do when of `history` only the checkpoints from `kept` on are there, and tables have
    /// these `txn`s.
    fn decide(
        kept: u64,
        a: Option<u64>,
        b: Option<u64>,
        c: Option<u64>,
        old: Option<u64>,
    ) -> Result<Recovery, String> {
        let committed = [("a", a), ("b", b), ("c", c), ("old", old)];
        recover(&Found {
            checkpoints: history().into_iter().filter(|c| c.number >= kept).collect(),
            committed: committed
                .into_iter()
                .map(|(t, n)| (t.to_string(), n))
                .collect(),
        })
        .map_err(|e| e.to_string())
    }

    #[test]
    fn a_new_lake_starts() {
        assert_eq!(recover(&Found::default()).unwrap(), Recovery::Start);
    }

    #[test]
    fn a_whole_lake_resumes_and_a_torn_one_is_finished_first() {
        let one = Some(1);
        let (two, three) = (Some(2), Some(3));
        /// Kept from this checkpoint on; `txn` of a, b, c, old; still to do.
        type Case<'a> = (u64, [Option<u64>; 4], &'a [(u64, &'a str)]);
        let cases: [Case<'_>; 8] = [
            (1, [three, three, three, one], &[]),
            (3, [three, three, three, one], &[]),
            (1, [two, one, None, one], &[(3, "a"), (3, "b"), (3, "c")]),
            (1, [three, one, None, one], &[(3, "b"), (3, "c")]),
            (3, [two, three, three, one], &[(3, "a")]),
            // Power failures: more than the last is missing.
            (
                1,
                [one, one, None, one],
                &[(2, "a"), (3, "a"), (3, "b"), (3, "c")],
            ),
            (2, [three, one, three, one], &[(3, "b")]),
            (
                1,
                [None, three, three, None],
                &[(1, "a"), (1, "old"), (2, "a"), (3, "a")],
            ),
        ];
        for (kept, [a, b, c, old], todo) in cases {
            let last = history().pop().unwrap();
            let expected = if todo.is_empty() {
                Recovery::Resume(last)
            } else {
                let missing = todo.iter().map(|(n, t)| (*n, t.to_string())).collect();
                Recovery::FinishCommit {
                    checkpoint: last,
                    missing,
                }
            };
            assert_eq!(
                decide(kept, a, b, c, old),
                Ok(expected),
                "kept {kept}, a {a:?}, b {b:?}, c {c:?}, old {old:?}"
            );
        }
    }

    #[test]
    fn a_lake_that_cannot_be_trusted_is_refused() {
        let one = Some(1);
        let (two, three) = (Some(2), Some(3));
        let cases: [(u64, [Option<u64>; 4], &str); 5] = [
            (
                1,
                [Some(4), three, three, one],
                "`a` holds checkpoint 4, and the last one in `_checkpoints` is 3",
            ),
            (
                1,
                [three, three, three, two],
                "`old` holds checkpoint 2, and the last one in `_checkpoints` is 3",
            ),
            (
                3,
                [one, three, three, one],
                "`a` should hold checkpoint 3, but holds 1",
            ),
            (
                3,
                [None, three, three, one],
                "`a` should hold checkpoint 3, but holds none",
            ),
            (
                2,
                [three, three, three, None],
                "`old` should hold checkpoint 1, but holds none",
            ),
        ];
        for (kept, [a, b, c, old], expect) in cases {
            let error = decide(kept, a, b, c, old).unwrap_err();
            assert!(error.contains(expect), "{error}");
        }
    }
}
