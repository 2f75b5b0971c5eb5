//! What readers see: whole epochs, sorted, and nothing that moves while they look.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{delta, row, rows, spec};
use crate::delta::Epoch;
use crate::serve::store::{FrozenView, LiveStore};

#[test]
fn a_snapshot_is_sorted_and_holds_a_row_as_often_as_its_count() {
    let store = LiveStore::new(vec![spec("posts", &[0])]).unwrap();
    let changes = delta(&[
        (Some("b"), 1, 2),
        (Some("a"), 10, 1),
        (None, 5, 1),
        (Some("a"), -1, 1),
    ]);
    store.publish(7, vec![(0, changes)]);
    let snapshot = store.snapshot("posts").unwrap();
    assert_eq!(snapshot.epoch, 7);
    assert_eq!(
        rows(&snapshot.rows),
        [
            (None, 5),
            row("a", -1),
            row("a", 10),
            row("b", 1),
            row("b", 1)
        ]
    );
    let view = store.view("posts").unwrap();
    assert_eq!(view.row_count(), 5);
    assert_eq!(rows(&view.first_rows(4)), rows(&snapshot.rows)[..4]);
    assert_eq!(view.first_rows(0).num_rows(), 0);
}

#[test]
fn changes_of_one_epoch_cancel_in_whatever_order_and_delta_they_come() {
    let store = LiveStore::new(vec![spec("posts", &[0])]).unwrap();
    store.publish(1, vec![(0, delta(&[(Some("a"), 1, 1)]))]);
    store.publish(
        2,
        vec![
            (0, delta(&[(Some("a"), 2, -1), (Some("a"), 1, -1)])),
            (0, delta(&[(Some("a"), 3, 1), (Some("a"), 2, 1)])),
        ],
    );
    assert_eq!(rows(&store.snapshot("posts").unwrap().rows), [row("a", 3)]);
    assert_eq!(store.faults(), 0);
}

#[test]
#[cfg(not(debug_assertions))] // which make it a panic
fn a_retraction_of_what_is_not_there_is_dropped_and_counted() {
    let store = LiveStore::new(vec![spec("posts", &[0])]).unwrap();
    store.publish(
        1,
        vec![(0, delta(&[(Some("a"), 1, -1), (Some("b"), 2, 1)]))],
    );
    assert_eq!(rows(&store.snapshot("posts").unwrap().rows), [row("b", 2)]);
    assert_eq!(store.faults(), 1);
}

#[test]
fn an_epoch_without_changes_is_seen_and_changes_no_view() {
    let store = LiveStore::new(vec![spec("posts", &[]), spec("others", &[])]).unwrap();
    let epochs = store.subscribe();
    store.publish(3, vec![(1, delta(&[(None, 0, 1)]))]);
    store.publish(4, vec![]);
    assert!(epochs.has_changed().unwrap());
    assert_eq!(*epochs.borrow(), 4);
    let cut = store.cut();
    let seen: Vec<_> = cut
        .views
        .iter()
        .map(|view| (view.epoch, view.changed))
        .collect();
    assert_eq!((cut.epoch, seen), (4, vec![(4, 0), (4, 3)]));
}

#[test]
fn a_cut_does_not_move_when_the_store_does() {
    let store = LiveStore::new(vec![spec("posts", &[0])]).unwrap();
    store.publish(1, vec![(0, delta(&[(Some("a"), 1, 1)]))]);
    let cut = store.cut();
    store.publish(
        2,
        vec![(0, delta(&[(Some("a"), 1, -1), (Some("a"), 2, 1)]))],
    );
    assert_eq!(rows(&cut.view("posts").unwrap().rows()), [row("a", 1)]);
    assert_eq!(rows(&store.snapshot("posts").unwrap().rows), [row("a", 2)]);
}

#[test]
fn an_unknown_view_is_answered_with_the_nearest_name() {
    let store = LiveStore::new(vec![spec("users_joined_by_year", &[])]).unwrap();
    let error = store.snapshot("user_joined_by_year").unwrap_err();
    assert_eq!(error.nearest.as_deref(), Some("users_joined_by_year"));
    assert_eq!(error.to_string(), "there is no view `user_joined_by_year`");
}

#[test]
fn a_key_that_is_not_a_column_is_refused() {
    let error = LiveStore::new(vec![spec("posts", &[2])]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "view `posts` cannot be held by the live store: its key names column 2, which it does not have"
    );
}

#[test]
fn readers_never_see_two_views_at_different_epochs() {
    let store = LiveStore::new(vec![spec("one", &[0]), spec("other", &[1])]).unwrap();
    let done = AtomicBool::new(false);
    let sum = |view: &FrozenView| rows(&view.rows()).iter().map(|row| row.1).sum::<i64>();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut last = 0;
                    let mut seen = 0;
                    while !done.load(Ordering::Acquire) || seen == 0 {
                        let cut = store.cut();
                        assert!(cut.epoch >= last, "epochs do not go back");
                        last = cut.epoch;
                        let sums = (sum(&cut.views[0]), sum(&cut.views[1]));
                        assert_eq!(sums.0, sums.1, "at epoch {}", cut.epoch);
                        assert_eq!(sums.0, cut.epoch as i64);
                        seen += 1;
                    }
                })
            })
            .collect();
        for epoch in 1..=2_000_i64 {
            // One view counts in one row, the other has a row for each epoch.
            let one = delta(&[(Some("sum"), epoch - 1, -1), (Some("sum"), epoch, 1)]);
            let one = if epoch == 1 {
                delta(&[(Some("sum"), 1, 1)])
            } else {
                one
            };
            let name = format!("epoch {epoch}");
            let other = delta(&[(Some(&name), 1, 1)]);
            store.publish(epoch as Epoch, vec![(0, one), (1, other)]);
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}
