//! Lakes of which something is missing or torn: what is made whole, what is refused, and in which
//! words.

use super::*;
use expect_test::{Expect, expect};

/// A local lake with eleven commits, and the folder that it is in.
async fn eleven() -> (tempfile::TempDir, Lake) {
    let (dir, lake) = here();
    let mut committer = begun(&lake, "first").await;
    for epoch in 2..=11 {
        let keys = [epoch as i64 * 10];
        let pins = change(&lake, PIN, epoch.into(), keys, false).await;
        committer
            .commit(changes(epoch, [(PIN, pins)]))
            .await
            .unwrap();
        committer.tidy().await.unwrap();
    }
    (dir, lake)
}

async fn refused(lake: &Lake, expected: Expect) {
    let opened = Committer::open(lake.clone(), "second".into()).await;
    let error = opened.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    let text = error.to_string();
    let place = format!("{}/", lake.location());
    expected.assert_eq(&text.replace(&place, ""));
}

fn path(dir: &tempfile::TempDir, relative: &str) -> std::path::PathBuf {
    dir.path().join("a lake").join(relative)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_log_checkpoint_and_a_hint_that_leads_nowhere_go() {
    for what in ["torn", "empty", "gone", "hint"] {
        let (dir, lake) = eleven().await;
        let log = path(&dir, "tables/pin/_delta_log");
        let names = lake.list("tables/pin/_delta_log", None).await.unwrap();
        let checkpoint = names.iter().rfind(|n| n.ends_with(".checkpoint.parquet"));
        let checkpoint = log.join(checkpoint.unwrap());
        let bytes = std::fs::read(&checkpoint).unwrap();
        match what {
            "torn" => std::fs::write(&checkpoint, &bytes[..bytes.len() / 2]).unwrap(),
            "empty" => std::fs::write(&checkpoint, "").unwrap(),
            "gone" => std::fs::remove_file(&checkpoint).unwrap(),
            _ => std::fs::write(log.join("_last_checkpoint"), "{").unwrap(),
        }
        let (mut committer, recovered) = open(&lake, "second").await;
        let keys = keys_of(&lake, &recovered.unwrap(), PIN).await;
        assert_eq!(keys.len(), 20, "{what}");
        for epoch in 12..=22 {
            committer.commit(changes(epoch, [])).await.unwrap();
            committer.tidy().await.unwrap();
        }
        open(&lake, "third").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_newest_checkpoint_goes_unless_a_table_has_acted_on_it() {
    for bytes in ["", "{\"format\":2,", "\0\0\0\0"] {
        let (dir, lake) = eleven().await;
        std::fs::write(path(&dir, &paths::checkpoint(12)), bytes).unwrap();
        let (mut committer, recovered) = open(&lake, "second").await;
        assert_eq!(recovered.unwrap().number, 11);
        let pins = change(&lake, PIN, 12, [500], false).await;
        committer.commit(changes(12, [(PIN, pins)])).await.unwrap();

        std::fs::write(path(&dir, &paths::checkpoint(12)), bytes).unwrap();
        let error = Committer::open(lake.clone(), "third".into()).await;
        assert!(matches!(error, Err(LakeError::Malformed { .. })));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_first_checkpoint_leaves_a_new_lake() {
    let (dir, lake) = here();
    std::fs::create_dir_all(path(&dir, "_checkpoints")).unwrap();
    std::fs::write(path(&dir, &paths::checkpoint(1)), "").unwrap();
    assert_eq!(open(&lake, "first").await.1, None);
    drop(begun(&lake, "first").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_someone_removed_is_named() {
    let (dir, lake) = eleven().await;
    std::fs::remove_dir_all(path(&dir, "_checkpoints")).unwrap();
    refused(&lake, expect![[r#"the Delta table `tables/pin` holds checkpoint 11, and the last one in `_checkpoints` is none: that folder was removed or restored from an older copy, and only it says how far the sources were read; bring back its newest files, or read the sources again into a new lake with --lake"#]]).await;

    let (dir, lake) = eleven().await;
    for number in 8..=11 {
        std::fs::remove_file(path(&dir, &paths::checkpoint(number))).unwrap();
    }
    refused(&lake, expect![[r#"the Delta table `tables/pin` holds checkpoint 11, and the last one in `_checkpoints` is 7: that folder was removed or restored from an older copy, and only it says how far the sources were read; bring back its newest files, or read the sources again into a new lake with --lake"#]]).await;

    let (dir, lake) = eleven().await;
    std::fs::remove_dir_all(path(&dir, "tables/pin")).unwrap();
    refused(&lake, expect![[r#"the Delta table `tables/pin` should hold checkpoint 11, but holds none, and the checkpoints in between are gone; the table was removed or restored from an older copy: bring it back, or read the sources again into a new lake with --lake"#]]).await;

    // A young lake has all of its checkpoints still, but the rows are gone.
    let (dir, lake) = here();
    drop(begun(&lake, "first").await);
    std::fs::remove_dir_all(path(&dir, "tables/pin")).unwrap();
    refused(&lake, expect![[r#"checkpoint 1 made the data file `tables/pin/part-00000000-0000-0000-0000-000000000001.parquet` part of its table, and the file was removed before the table's log named it (by VACUUM without retention, a lifecycle rule, a script): bring it back from a backup or an older version of the object, or read the sources again into a new lake with --lake"#]]).await;
    assert!(!path(&dir, "tables/pin").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_staged_file_that_is_gone_ends_the_run_before_anything_is_promised() {
    let (dir, lake) = here();
    let in_memory = Arc::new(object_store::memory::InMemory::new());
    let url = url::Url::parse("memory:///lake/").unwrap();
    let remote = Lake::on(in_memory, Path::from("lake"), url);
    for lake in [&lake, &remote] {
        let mut committer = begun(lake, "first").await;
        let pins = change(lake, PIN, 2, 10..20, false).await;
        let gone = format!("{PIN}/{}", pins.adds[0].path);
        lake.delete(&gone).await.unwrap();
        let error = committer.commit(changes(2, [(PIN, pins)])).await;
        let error = error.unwrap_err();
        assert!(!error.is_retryable());
        assert!(
            matches!(&error, LakeError::Vanished { path } if path.ends_with(&gone)),
            "{error}"
        );
        assert!(!lake.exists(&paths::checkpoint(2)).await.unwrap());
        let recovered = open(lake, "second").await.1.unwrap();
        assert_eq!(keys_of(lake, &recovered, PIN).await.len(), 10);
    }
    drop(dir);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_that_is_removed_while_it_is_written_is_not_made_again() {
    let (dir, lake) = here();
    let mut committer = begun(&lake, "first").await;
    std::fs::remove_dir_all(path(&dir, "")).unwrap();
    let error = committer.commit(changes(2, [])).await.unwrap_err();
    assert!(
        matches!(error, LakeError::Uprooted { number: 1 }),
        "{error}"
    );
    assert_eq!(open(&lake, "second").await.1, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_being_written_is_swept_when_its_writer_is_long_gone() {
    let (dir, lake) = eleven().await;
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let leftovers = [
        "_checkpoints/00000000000000000012.json#1",
        "tables/pin/_delta_log/00000000000000000011.json#1",
        "tables/pin/.part-1.parquet.77-3.unfinished",
    ];
    let stay = [
        "tables/pin/notes.txt#1",
        "tables/pin/.part-2.parquet.77-4.unfinished",
    ];
    for name in leftovers.iter().chain(&stay) {
        let file = std::fs::File::create(path(&dir, name)).unwrap();
        if *name != stay[1] {
            file.set_modified(old).unwrap();
        }
    }
    open(&lake, "second").await;
    for name in leftovers {
        assert!(!path(&dir, name).exists(), "{name}");
    }
    for name in stay {
        assert!(path(&dir, name).exists(), "{name}");
    }
}
