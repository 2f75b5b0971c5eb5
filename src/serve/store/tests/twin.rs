//! Random histories: the store equals its slow, obvious twin at every epoch.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Change, delta, rows, spec};
use crate::delta::Diff;
use crate::serve::store::LiveStore;

/// The slow, obvious twin of a view.
#[derive(Default)]
struct Twin(BTreeMap<(Option<String>, i64), Diff>);

impl Twin {
    fn apply(&mut self, changes: &[(Option<String>, i64, Diff)]) {
        for (category, posts, diff) in changes {
            *self.0.entry((category.clone(), *posts)).or_default() += diff;
        }
        self.0.retain(|_, count| *count != 0);
    }

    fn rows(&self) -> Vec<(Option<String>, i64)> {
        let repeat = |(row, count): (&(Option<String>, i64), &Diff)| {
            std::iter::repeat_n(row.clone(), *count as usize)
        };
        self.0.iter().flat_map(repeat).collect()
    }
}

fn history() -> impl Strategy<Value = Vec<Vec<(Option<String>, i64, Diff)>>> {
    let category = prop_oneof![
        1 => Just(None),
        4 => "[a-c]{0,2}".prop_map(Some),
        1 => "[ -~é🧶]{0,40}".prop_map(Some),
    ];
    let change = (category, -2..3_i64, -3..4_i64);
    prop::collection::vec(prop::collection::vec(change, 0..40), 1..20)
}

/// Makes each epoch one that a view can have: no count is below zero at its end.
fn made_possible(
    twin: &Twin,
    mut changes: Vec<(Option<String>, i64, Diff)>,
) -> Vec<(Option<String>, i64, Diff)> {
    let mut after = Twin(twin.0.clone());
    after.apply(&changes);
    for ((category, posts), count) in &after.0 {
        if *count < 0 {
            changes.push((category.clone(), *posts, -count));
        }
    }
    changes
}

proptest! {
    #[test]
    fn the_store_equals_its_twin_at_every_epoch(history in history(), limit in 0..50_usize) {
        let specs = vec![spec("all", &[]), spec("by_category", &[0]), spec("whole", &[0, 1])];
        let store = LiveStore::new(specs).unwrap();
        let mut twin = Twin::default();
        let mut frozen = Vec::new();
        for (epoch, changes) in std::iter::zip(1.., history) {
            let changes = made_possible(&twin, changes);
            twin.apply(&changes);
            let (first, second) = changes.split_at(changes.len() / 2);
            let deltas = [first, second].map(|half| {
                let half: Vec<Change<'_>> =
                    half.iter().map(|(c, p, d)| (c.as_deref(), *p, *d)).collect();
                delta(&half)
            });
            let of_views = (0..3).flat_map(|view| deltas.clone().map(|delta| (view, delta)));
            store.publish(epoch, of_views.collect());
            let cut = store.cut();
            for view in &cut.views {
                prop_assert_eq!(view.row_count() as usize, twin.rows().len());
                prop_assert_eq!(rows(&view.rows()), twin.rows());
                let limit = limit.min(twin.rows().len());
                prop_assert_eq!(rows(&view.first_rows(limit)), &twin.rows()[..limit]);
            }
            frozen.push((cut, twin.rows()));
        }
        for (cut, expected) in frozen {
            prop_assert_eq!(rows(&cut.views[1].rows()), expected);
        }
        prop_assert_eq!(store.faults(), 0);
    }
}
