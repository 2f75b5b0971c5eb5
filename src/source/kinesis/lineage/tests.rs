//! Which shards are read when, by example. Random histories are in `history`.

use super::*;

fn shard(id: &str, parents: &[&str], closed: bool) -> Shard {
    Shard {
        id: id.to_owned(),
        parents: parents.iter().map(|&parent| parent.to_owned()).collect(),
        closed,
    }
}

fn lineage(known: &[(&str, Known)], latest: bool) -> Lineage {
    Lineage::new(
        known
            .iter()
            .map(|(id, known)| ((*id).to_owned(), *known))
            .collect(),
        latest,
    )
}

/// Decisions in short: `0@Start`, `0@Start!` for a closed shard, `-0:Gone`.
fn short(decisions: Vec<Decision>) -> Vec<String> {
    let word = |decision| match decision {
        Decision::Begin {
            shard,
            from,
            closed,
        } => format!("{shard}@{from:?}{}", if closed { "!" } else { "" }),
        Decision::Lost {
            shard,
            loss: Loss::Gone,
        } => format!("-{shard}:Gone"),
        Decision::Lost {
            shard,
            loss: Loss::Parents(parents),
        } => format!("-{shard}:{}", parents.join("+")),
    };
    decisions.into_iter().map(word).collect()
}

/// 0 was split into 1 and 2, which were merged into 3.
fn diamond() -> [Shard; 4] {
    [
        shard("0", &[], true),
        shard("1", &["0"], true),
        shard("2", &["0"], true),
        shard("3", &["1", "2"], false),
    ]
}

#[test]
fn a_child_waits_for_all_its_parents() {
    let mut lineage = lineage(&[], false);
    assert_eq!(short(lineage.listed(&diamond())), ["0@Start!"]);
    assert_eq!(short(lineage.drained("0")), ["1@Start!", "2@Start!"]);
    assert_eq!(short(lineage.drained("2")), Vec::<String>::new());
    assert_eq!(short(lineage.drained("1")), ["3@Start"]);
    assert_eq!(short(lineage.listed(&diamond())), Vec::<String>::new());
    assert!(!lineage.finished());
    lineage.rested("3");
    assert!(lineage.finished());
}

#[test]
fn children_that_appear_while_running_are_begun_with_their_first_record() {
    for latest in [false, true] {
        let mut lineage = lineage(&[], latest);
        assert_eq!(
            short(lineage.listed(&[shard("0", &[], false)])),
            ["0@Start"]
        );
        assert_eq!(short(lineage.drained("0")), Vec::<String>::new());
        assert!(!lineage.finished(), "its children may not be listed yet");
        assert_eq!(
            short(lineage.listed(&[shard("0", &[], true), shard("1", &["0"], false)])),
            ["1@Beginning"]
        );
    }
}

#[test]
fn latest_leaves_closed_shards_out_and_a_restart_does_not_come_back_to_them() {
    let mut first = lineage(&[], true);
    assert_eq!(short(first.listed(&diamond())), ["3@Start"]);
    let mut again = lineage(&[("3", Known::Begun)], true);
    assert_eq!(short(again.listed(&diamond())), ["3@Position"]);
}

#[test]
fn a_restart_goes_on_where_positions_say() {
    let mut lineage = lineage(
        &[
            ("0", Known::Ended),
            ("1", Known::Ended),
            ("2", Known::Begun),
        ],
        false,
    );
    assert_eq!(short(lineage.listed(&diamond())), ["2@Position!"]);
    assert_eq!(short(lineage.drained("2")), ["3@Beginning"]);
}

#[test]
fn a_stream_new_to_the_dataflow_reads_ended_parents_first() {
    let known = [
        ("0", Known::EndedForSome),
        ("1", Known::Begun),
        ("2", Known::Begun),
    ];
    let mut with_parent = lineage(&known, false);
    assert_eq!(short(with_parent.listed(&diamond()[..3])), ["0@Position!"]);
    assert_eq!(
        short(with_parent.drained("0")),
        ["1@Position!", "2@Position!"]
    );
    // Retention took the parent: nothing that was read before is lost.
    let mut without = lineage(&known, false);
    assert_eq!(
        short(without.listed(&diamond()[1..3])),
        ["1@Position!", "2@Position!"]
    );
}

#[test]
fn expired_parents_are_no_loss_at_the_first_start_or_when_they_were_read() {
    assert_eq!(
        short(lineage(&[], false).listed(&diamond()[3..])),
        ["3@Start"]
    );
    let ended = [("1", Known::Ended), ("2", Known::Ended)];
    assert_eq!(
        short(lineage(&ended, false).listed(&diamond()[3..])),
        ["3@Beginning"]
    );
}

#[test]
fn what_expired_unread_is_told() {
    let known = [("1", Known::Begun), ("2", Known::Ended)];
    assert_eq!(
        short(lineage(&known, false).listed(&diamond()[3..])),
        ["-1:Gone", "3@Beginning"]
    );
    // 1 and 2 were born and deleted while nobody looked.
    assert_eq!(
        short(lineage(&[("0", Known::Ended)], false).listed(&diamond()[3..])),
        ["-3:1+2", "3@Beginning"]
    );
    let mut running = lineage(&[], false);
    assert_eq!(short(running.listed(&diamond())), ["0@Start!"]);
    assert_eq!(
        short(running.listed(&[diamond()[0].clone(), diamond()[3].clone()])),
        ["-1:Gone", "-2:Gone", "3@Start"]
    );
}
