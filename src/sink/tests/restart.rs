//! What a restart finds: everything that was committed, and nothing else.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_there_after_a_restart() {
    let (_dir, lake) = here();
    let (mut committer, recovered) = open(&lake, "first").await;
    assert_eq!(recovered, None);
    for epoch in 1..=25 {
        let from = epoch as i64 * 10;
        let pin = change(&lake, PIN, epoch.into(), from..from + 10, epoch == 1).await;
        let mut tables = vec![(PIN, pin)];
        if epoch % 3 == 1 {
            tables.push((
                VIEW,
                change(&lake, VIEW, 1000 + u128::from(epoch), [from], epoch == 1).await,
            ));
        }
        assert_eq!(
            committer.commit(changes(epoch, tables)).await.unwrap(),
            epoch
        );
        committer.tidy().await.unwrap();
    }
    let (_, recovered) = open(&lake, "second").await;
    let recovered = recovered.unwrap();
    assert_eq!(
        (recovered.number, recovered.epoch, recovered.rolled_forward),
        (25, 25, 0)
    );
    assert_eq!(recovered.positions["pin/0"].offset, 2500);
    assert_eq!(recovered.made_by, MadeBy::program("1.2.3", 3));
    assert_eq!(
        recovered.tables[PIN].schema,
        delta_schema(&pin_schema()).unwrap()
    );
    assert_eq!(
        keys_of(&lake, &recovered, PIN).await,
        (10..260).collect::<Vec<_>>()
    );
    assert_eq!(
        keys_of(&lake, &recovered, VIEW).await,
        (1..=25).step_by(3).map(|e| e * 10).collect::<Vec<_>>()
    );
    // Also what went through a log checkpoint keeps its rows, statistics and tags.
    let mut buckets: Vec<&str> = files(&recovered, PIN)
        .iter()
        .map(|f| f.tags["bucket"].as_str())
        .collect();
    buckets.sort_unstable();
    assert_eq!(buckets.iter().filter(|b| **b == "1").count(), 7);
    assert!(
        files(&recovered, PIN)
            .iter()
            .all(|f| f.rows == 10 && f.stats.contains("\"numRecords\":10"))
    );

    let names = lake.list("tables/pin/_delta_log", None).await.unwrap();
    assert_eq!(
        names
            .iter()
            .filter(|n| n.ends_with(".checkpoint.parquet"))
            .count(),
        3,
        "{names:?}"
    );
    let kept = lake.list(paths::CHECKPOINTS, None).await.unwrap();
    assert_eq!(kept.len(), 10, "{kept:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_was_removed_is_made_again_and_a_table_is_not() {
    // With all checkpoints, and when those that made the tables are pruned.
    for commits in [2, 25] {
        let (dir, lake) = here();
        let (mut committer, _) = open(&lake, "first").await;
        for epoch in 1..=commits {
            let from = epoch as i64 * 10;
            let pin = change(&lake, PIN, epoch.into(), from..from + 10, epoch == 1).await;
            let view = 1000 + u128::from(epoch);
            let view = change(&lake, VIEW, view, [from], epoch == 1).await;
            let tables = [(PIN, pin), (VIEW, view)];
            committer.commit(changes(epoch, tables)).await.unwrap();
            committer.tidy().await.unwrap();
        }
        drop(committer);
        let folder = dir.path().join("a lake");
        std::fs::remove_dir_all(folder.join(VIEW)).unwrap();
        let (mut committer, recovered) = open(&lake, "second").await;
        let recovered = recovered.unwrap();
        assert_eq!(recovered.number, commits);
        assert_eq!(recovered.tables.keys().collect::<Vec<_>>(), [PIN]);
        let rows = keys_of(&lake, &recovered, PIN).await;
        assert_eq!(rows.len() as u64, 10 * commits);

        let view = change(&lake, VIEW, 5000, 0..3, true).await;
        let again = changes(commits + 1, [(VIEW, view)]);
        committer.commit(again).await.unwrap();
        drop(committer);
        let (_, recovered) = open(&lake, "third").await;
        let recovered = recovered.unwrap();
        assert_eq!(keys_of(&lake, &recovered, VIEW).await, [0, 1, 2]);

        std::fs::remove_dir_all(folder.join(PIN)).unwrap();
        let error = Committer::open(lake.clone(), "fourth".to_owned())
            .await
            .map(|_| ());
        let told = error.unwrap_err().to_string();
        assert!(told.contains(PIN) && told.contains("--lake"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_after_the_checkpoint_is_rolled_forward_once() {
    let (_dir, lake) = here();
    let mut committer = begun(&lake, "first").await;
    let tables = [
        (PIN, change(&lake, PIN, 2, 10..20, false).await),
        (VIEW, change(&lake, VIEW, 3, 0..1, true).await),
    ];
    committer.seal(changes(2, tables)).await.unwrap();
    drop(committer);

    for (writer, expected) in [("second", 2), ("third", 0)] {
        let (committer, recovered) = open(&lake, writer).await;
        let recovered = recovered.unwrap();
        assert_eq!(committer.number(), 2);
        assert_eq!(
            (recovered.number, recovered.rolled_forward),
            (2, expected),
            "{writer}"
        );
        assert_eq!(recovered.positions["pin/0"].offset, 200);
        assert_eq!(
            keys_of(&lake, &recovered, PIN).await,
            (0..20).collect::<Vec<_>>()
        );
        assert_eq!(keys_of(&lake, &recovered, VIEW).await, [0]);
        assert_eq!(
            lake.list("tables/pin/_delta_log", None)
                .await
                .unwrap()
                .len(),
            2
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_the_checkpoint_leaves_nothing_to_see() {
    let (_dir, lake) = here();
    let committer = begun(&lake, "first").await;
    change(&lake, PIN, 2, 10..20, false).await;
    drop(committer);
    let (mut committer, recovered) = open(&lake, "second").await;
    let recovered = recovered.unwrap();
    assert_eq!((recovered.number, recovered.rolled_forward), (1, 0));
    assert_eq!(
        keys_of(&lake, &recovered, PIN).await,
        (0..10).collect::<Vec<_>>()
    );
    committer
        .commit(changes(
            2,
            [(PIN, change(&lake, PIN, 3, 10..20, false).await)],
        ))
        .await
        .unwrap();
    let recovered = open(&lake, "third").await.1.unwrap();
    assert_eq!(
        keys_of(&lake, &recovered, PIN).await,
        (0..20).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_a_power_failure_set_back_catch_up_over_several_checkpoints() {
    let (_dir, lake) = here();
    let (mut committer, _) = open(&lake, "first").await;
    for epoch in 1..=4 {
        let keys = [epoch as i64];
        let pin = change(&lake, PIN, epoch.into(), keys, epoch == 1).await;
        committer
            .commit(changes(epoch, [(PIN, pin)]))
            .await
            .unwrap();
    }
    for version in [2, 3] {
        lake.delete(&paths::log_entry(PIN, version)).await.unwrap();
    }
    let recovered = open(&lake, "second").await.1.unwrap();
    assert_eq!(recovered.rolled_forward, 2);
    assert_eq!(keys_of(&lake, &recovered, PIN).await, [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_a_schema_is_not_begun() {
    let (_dir, lake) = here();
    let (mut committer, _) = open(&lake, "first").await;
    let pin = change(&lake, PIN, 1, 0..10, false).await;
    let error = committer
        .commit(changes(1, [(PIN, pin)]))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, LakeError::NoSchema { table } if table == PIN),
        "{error}"
    );
    assert_eq!(open(&lake, "second").await.1, None);
}

#[test]
fn the_application_id_is_part_of_the_format() {
    assert_eq!(
        APP_ID, "pinflow",
        "a lake written under another id would be read as foreign"
    );
}
