//! Two writers, and hands that are not ours.

use super::gate::Gate;
use super::*;
use expect_test::expect;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_writer_loses_and_is_told_who_holds_the_lake() {
    let (_dir, lake) = here();
    let mut first = begun(&lake, "first").await;
    let (mut second, _) = open(&lake, "second").await;
    first
        .commit(changes(
            2,
            [(VIEW, change(&lake, VIEW, 2, 0..1, true).await)],
        ))
        .await
        .unwrap();
    // Nothing to do with the tables that the first one changed: only the checkpoint stands between
    // them.
    let lost = second
        .commit(changes(
            2,
            [(
                "views/other",
                change(&lake, "views/other", 3, 0..1, true).await,
            )],
        ))
        .await;
    let error = lost.unwrap_err();
    assert!(!error.is_retryable());
    assert!(
        matches!(&error, LakeError::Held { holder, number: 2, .. } if holder == "first"),
        "{error}"
    );
    expect![[r#"the lake is held by the writer `first`, which committed checkpoint 2 at 2023-11-14T22:13:20.002Z; only one pinflow may write a lake: stop one of the two, then start again"#]]
        .assert_eq(&error.to_string());
    assert!(
        !lake
            .exists(&paths::log_entry("views/other", 0))
            .await
            .unwrap()
    );
    first.commit(changes(3, [])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_slept_through_the_pruning_of_its_place_loses_too() {
    let (_dir, lake) = here();
    let (mut sleeper, _) = open(&lake, "sleeper").await;
    let (mut first, _) = open(&lake, "first").await;
    for epoch in 1..=15 {
        first.commit(changes(epoch, [])).await.unwrap();
        first.tidy().await.unwrap();
    }
    assert!(!lake.exists(&paths::checkpoint(1)).await.unwrap());
    let error = sleeper.commit(changes(1, [])).await.unwrap_err();
    assert!(
        matches!(&error, LakeError::Held { holder, number: 15, .. } if holder == "first"),
        "{error}"
    );
    assert!(!lake.exists(&paths::checkpoint(1)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_checkpoint_loses_against_a_fence_and_a_fence_against_one_that_came_before() {
    let (_dir, lake) = here();
    let mut dead = begun(&lake, "dead").await;
    let (mut second, before) = open(&lake, "second").await;
    assert_eq!(second.fence(5).await.unwrap(), 2);
    let late = dead.commit(changes(2, [])).await.unwrap_err();
    assert!(
        matches!(&late, LakeError::Held { holder, number: 2, .. } if holder == "second"),
        "{late}"
    );

    let (mut third, after) = open(&lake, "third").await;
    let (before, after) = (before.unwrap(), after.unwrap());
    assert_eq!(
        after,
        Recovered {
            number: 2,
            ..before
        }
    );

    assert_eq!(second.commit(changes(2, [])).await.unwrap(), 3);
    let lost = third.fence(6).await.unwrap_err();
    assert!(matches!(lost, LakeError::Held { number: 3, .. }), "{lost}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_of_a_cluster_fence_the_lake_one_behind_the_other() {
    let (_dir, lake) = here();
    begun(&lake, "before").await;
    let (mut zero, _) = open(&lake, "zero").await;
    let (mut one, _) = open(&lake, "one").await;
    assert_eq!(one.fence(5).await.unwrap(), 2);
    assert_eq!(zero.fence(6).await.unwrap(), 3);
    let (mut two, _) = open(&lake, "two").await;
    let last = two.fence(7).await.unwrap();
    zero.pass(last);
    assert_eq!(zero.commit(changes(2, [])).await.unwrap(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_of_a_cluster_may_fence_the_lake_at_the_same_moment() {
    for is_new in [true, false] {
        let (gate, lake) = Gate::before_a_lake();
        let mut dead = match is_new {
            true => open(&lake, "dead").await.0,
            false => begun(&lake, "dead").await,
        };
        let (mut one, _) = open(&lake, "one").await;
        let (mut two, _) = open(&lake, "two").await;
        let (mut zero, _) = open(&lake, "zero").await;
        let before = one.number();
        // The first one has put its fence when the second one puts its own.
        gate.close();
        let (first, second) = futures::join!(one.fence(5), async {
            gate.waiting().await;
            let second = two.fence(6).await;
            gate.open();
            second
        });
        assert_eq!((first.unwrap(), second.unwrap()), (before + 1, before + 2));
        let late = dead.commit(changes(before + 1, [])).await.unwrap_err();
        assert!(matches!(late, LakeError::Held { .. }), "{late}");
        zero.pass(before + 2);
        assert_eq!(zero.commit(changes(9, [])).await.unwrap(), before + 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_stays_although_a_rival_went_on_from_it() {
    let (gate, lake) = Gate::before_a_lake();
    let mut dead = begun(&lake, "dead").await;
    let (mut slow, _) = open(&lake, "slow").await;
    gate.close();
    let (lost, ()) = futures::join!(slow.fence(5), async {
        gate.waiting().await;
        let (mut rival, found) = open(&lake, "rival").await;
        assert_eq!(found.unwrap().number, 2);
        rival.commit(changes(2, [])).await.unwrap();
        gate.open();
    });
    let lost = lost.unwrap_err();
    assert!(
        matches!(&lost, LakeError::Held { holder, number: 3, .. } if holder == "rival"),
        "{lost}"
    );
    let late = dead.commit(changes(2, [])).await.unwrap_err();
    assert!(matches!(late, LakeError::Held { number: 2, .. }), "{late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_that_was_only_fenced_is_begun_at_the_beginning() {
    let (_dir, lake) = here();
    let (mut first, _) = open(&lake, "first").await;
    assert_eq!(first.fence(5).await.unwrap(), 1);
    let (mut second, recovered) = open(&lake, "second").await;
    let recovered = recovered.unwrap();
    assert_eq!((recovered.number, recovered.epoch), (1, 0));
    assert!(recovered.tables.is_empty() && recovered.positions.is_empty());
    assert_eq!(second.commit(changes(1, [])).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn someone_elses_hand_in_a_table_is_found_before_anything_is_promised() {
    let (_dir, lake) = here();
    let mut committer = begun(&lake, "first").await;
    let vacuum = Bytes::from_static(br#"{"commitInfo":{"operation":"VACUUM END"}}"#);
    lake.put(&paths::log_entry(PIN, 1), vec![vacuum])
        .await
        .unwrap();
    committer
        .commit(changes(
            2,
            [(PIN, change(&lake, PIN, 2, 10..20, false).await)],
        ))
        .await
        .unwrap();
    assert!(
        lake.exists(&paths::log_entry(PIN, 2)).await.unwrap(),
        "a harmless entry is passed over"
    );

    let theirs = br#"{"commitInfo":{"operation":"WRITE"}}
{"remove":{"path":"part-00000000-0000-0000-0000-000000000001.parquet","dataChange":true}}"#;
    lake.put(&paths::log_entry(PIN, 3), vec![Bytes::from_static(theirs)])
        .await
        .unwrap();
    let error = committer
        .commit(changes(
            3,
            [(PIN, change(&lake, PIN, 3, 20..30, false).await)],
        ))
        .await
        .unwrap_err();
    expect![[r#"the Delta table `tables/pin` was changed by someone else at version 3 (by WRITE); pinflow must be the only writer of its tables, so it stops and changes nothing: every version before is whole. Leave the table's log as it is, since files that it no longer names may be gone already; read the sources again into a new lake with --lake, and keep other writers out of it"#]]
        .assert_eq(&error.to_string());
    assert!(!lake.exists(&paths::checkpoint(3)).await.unwrap());
    let error = Committer::open(lake.clone(), "second".into())
        .await
        .unwrap_err();
    assert!(
        matches!(error, LakeError::Foreign { version: 3, .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rival_that_changed_the_same_table_is_known_as_the_holder_of_the_lake() {
    let (_dir, lake) = here();
    let mut first = begun(&lake, "first").await;
    for torn in [false, true] {
        let (mut second, recovered) = open(&lake, "second").await;
        let at = recovered.unwrap().epoch + 1;
        let id = u128::from(at);
        let theirs = change(&lake, PIN, id, [100 + at as i64], false).await;
        let ours = change(&lake, PIN, 100 + id, [200 + at as i64], false).await;
        let theirs = changes(at, [(PIN, theirs)]);
        match torn {
            true => first.seal(theirs).await.unwrap(),
            false => first.commit(theirs).await.unwrap(),
        };
        let error = second.commit(changes(at, [(PIN, ours)])).await.unwrap_err();
        assert!(
            matches!(&error, LakeError::Held { holder, number, .. } if holder == "first" && *number == at),
            "{error}"
        );
        first.publish().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_is_opened_beside_a_run_that_commits() {
    let (_dir, lake) = here();
    let mut first = begun(&lake, "first").await;
    let done = AtomicBool::new(false);
    let commits = async {
        for epoch in 2..=40 {
            let keys = [epoch as i64 * 100];
            let pins = change(&lake, PIN, epoch.into(), keys, false).await;
            first.commit(changes(epoch, [(PIN, pins)])).await.unwrap();
            first.tidy().await.unwrap();
        }
        done.store(true, Ordering::SeqCst);
    };
    let opens = async {
        while !done.load(Ordering::SeqCst) {
            let recovered = open(&lake, "second").await.1.unwrap();
            let keys = 10 + recovered.number as usize - 1;
            assert_eq!(keys_of(&lake, &recovered, PIN).await.len(), keys);
        }
    };
    futures::join!(commits, opens);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_were_compacted_are_gone_on_with_after_a_restart() {
    let (_dir, lake) = here();
    let mut first = begun(&lake, "first").await;
    let again = change(&lake, PIN, 9, 0..10, false).await.adds.remove(0);
    let old = "part-00000000-0000-0000-0000-000000000001.parquet";
    let entry = format!(
        r#"{{"commitInfo":{{"operation":"OPTIMIZE","engineInfo":"delta-rs:1","timestamp":1700000000000}}}}
{{"remove":{{"path":"{old}","dataChange":false}}}}
{{"add":{{"path":"{}","size":{},"modificationTime":1,"dataChange":false,"partitionValues":{{}}}}}}"#,
        again.path, again.size
    );
    lake.put(&paths::log_entry(PIN, 1), vec![entry.into()])
        .await
        .unwrap();
    let pins = change(&lake, PIN, 2, 10..20, false).await;
    let error = first.commit(changes(2, [(PIN, pins)])).await.unwrap_err();
    expect![[r#"the files of the Delta table `tables/pin` were replaced by others with the same rows at version 1 (by OPTIMIZE of delta-rs:1, at 2023-11-14T22:13:20Z); nothing is lost: start again, which goes on with the new files"#]]
        .assert_eq(&error.to_string());

    let (mut second, recovered) = open(&lake, "second").await;
    let keys = keys_of(&lake, &recovered.unwrap(), PIN).await;
    assert_eq!(keys, (0..10).collect::<Vec<_>>());
    let pins = change(&lake, PIN, 3, 10..20, false).await;
    second.commit(changes(2, [(PIN, pins)])).await.unwrap();
    let recovered = open(&lake, "third").await.1.unwrap();
    let keys = keys_of(&lake, &recovered, PIN).await;
    assert_eq!(keys, (0..20).collect::<Vec<_>>());
}
