//! Two writers, and hands that are not ours.

use super::*;

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
    // Nothing to do with the tables that the first one changed: only the checkpoint stands between them.
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
    assert!(
        error.to_string().contains("held by the writer `first`"),
        "{error}"
    );
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
    assert!(
        error
            .to_string()
            .contains("`tables/pin` was changed by someone else at version 3 (by WRITE)"),
        "{error}"
    );
    assert!(!lake.exists(&paths::checkpoint(3)).await.unwrap());
    let error = Committer::open(lake.clone(), "second".into())
        .await
        .unwrap_err();
    assert!(
        matches!(error, LakeError::Foreign { version: 3, .. }),
        "{error}"
    );
}
