//! Random queries over random tables.

use pinflow::definition::Definition;
use pinflow::runtime::replay::Options;
use proptest::prelude::*;

use super::oracle::{History, check, shown};
use super::query;
use super::tape::{Tape, cases, tapes};

/// Few keys and few values: rows change, repeat, and meet.
fn history(tape: &mut Tape) -> History {
    (0..1 + tape.below(4))
        .map(|_| (0..tape.below(12)).map(|_| query::record(tape)).collect())
        .collect()
}

proptest! {
    #![proptest_config(cases(150))]

    /// Whatever the grammar can say is maintained, and at every epoch it is what a batch query answers.
    #[test]
    fn any_query_equals_its_batch_query(
        queries in tapes(240),
        records in tapes(300),
        workers in 1usize..=3,
        batch in 1usize..=20,
    ) {
        let views = query::views(&mut Tape::new(&queries), 4);
        let definition = match Definition::parse("random.sql", &format!("{}{views}", query::TABLES)) {
            Ok(definition) => definition,
            Err(error) => return Err(TestCaseError::fail(format!("{error}\n{views}"))),
        };
        let history = history(&mut Tape::new(&records));
        if let Err(difference) = check(&definition, &history, &Options { workers, batch }) {
            prop_assert!(false, "{difference}\n{views}\n{}", shown(&definition, &history));
        }
    }
}
