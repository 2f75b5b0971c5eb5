//! The plain twin of deltalake-core, which simulations read and tidy logs with, against the
//! original.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plain_twin_reads_what_deltalake_core_reads() {
    let (_dir, lake) = here();
    let mut committer = begun(&lake, "first").await;
    let mut last = None;
    for epoch in 2..=13 {
        let number = epoch as i64 * 10;
        let mut pins = change(&lake, PIN, epoch.into(), number..number + 10, false).await;
        // Some files stay, the others are replaced by the next.
        pins.removes
            .extend(last.take().map(|file| RemovedFile::from(&file)));
        last = pins.adds.first().cloned().filter(|_| epoch % 3 == 0);
        committer
            .commit(changes(epoch, [(PIN, pins)]))
            .await
            .unwrap();
    }
    let plain = lake.clone().with_plain_delta();
    let (_, original) = open(&lake, "second").await;
    let (_, twin) = open(&plain, "third").await;
    assert_eq!(twin, original);
    assert_eq!(files(&twin.unwrap(), PIN).len(), 9);

    log::maintain(&plain, PIN, i64::MAX / 2).await.unwrap();
    assert!(!lake.exists(&paths::log_entry(PIN, 11)).await.unwrap());
    let (_, tidied) = open(&plain, "fourth").await;
    assert_eq!(tidied, original);
}
