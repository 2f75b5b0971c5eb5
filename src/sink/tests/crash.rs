//! Power failures: after one at any moment, the lake opens with every commit that was reported.

use super::*;
use crate::disk::cases::{in_memory, seeds};
use crate::disk::image::{Chance, Image, promised};
use crate::disk::tape::Tape;
use futures::FutureExt;
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

/// What the tables hold after commit `n`: pins 0 to 9, then two more with each commit; of those one
/// goes again with every third commit. The view is there from commit 2 on.
fn pins_after(n: u64) -> Vec<i64> {
    let more = (2..=n).flat_map(|n| [n as i64 * 10, n as i64 * 10 + 1]);
    let gone =
        |key: &i64| *key >= 20 && (key / 10 + 1) % 3 == 0 && key % 10 == 1 && key / 10 < n as i64;
    (0..10).chain(more).filter(|key| !gone(key)).collect()
}

fn view_after(n: u64) -> Option<Vec<i64>> {
    (n > 1).then(|| vec![n as i64])
}

/// The changes of commit `n`; `id` makes the names of its files its own.
async fn nth(lake: &Lake, n: u64, id: u128, state: &mut State) -> Changes {
    let keys: Vec<i64> = if n == 1 {
        (0..10).collect()
    } else {
        vec![n as i64 * 10, n as i64 * 10 + 1]
    };
    let mut pins = change(lake, PIN, id, keys, n == 1).await;
    if n > 2 && n.is_multiple_of(3) {
        // The last commit's file, without its second row.
        let old = state.last_pins.clone().unwrap();
        let keep = |batch: &RecordBatch| {
            let gone = Int64Array::new_scalar((n as i64 - 1) * 10 + 1);
            neq(batch.column(0), &gone).unwrap()
        };
        let facts = FileFacts {
            id: id + 1,
            now_ms: 1,
            tags: BTreeMap::new(),
        };
        let options = ParquetOptions::default();
        let rewritten = lake.rewrite(PIN, &old.path, keep, &options, facts).await;
        pins.adds.push(rewritten.unwrap().unwrap());
        pins.removes.push(RemovedFile::from(&old));
    }
    state.last_pins = Some(pins.adds[0].clone());
    let mut tables = vec![(PIN, pins)];
    if n > 1 {
        let mut view = change(lake, VIEW, id + 2, [n as i64], n == 2).await;
        view.removes
            .extend(state.view.iter().map(RemovedFile::from));
        state.view = Some(view.adds[0].clone());
        tables.push((VIEW, view));
    }
    changes(n, tables)
}

/// What the next commit must know of the tables.
#[derive(Default)]
struct State {
    last_pins: Option<StagedFile>,
    view: Option<StagedFile>,
}

/// Commits until checkpoint `last`, and tidies after each; `promise` hears of every commit that is
/// done.
async fn commit_until(lake: &Lake, writer: &str, last: u64, mut promise: impl FnMut(u64)) {
    let (mut committer, recovered) = open(lake, writer).await;
    let mut state = State::default();
    if let Some(recovered) = recovered {
        promise(recovered.number);
        let pins = files(&recovered, PIN).iter();
        state.last_pins = pins.max_by_key(|file| file.path.clone()).cloned();
        let view = recovered.tables.get(VIEW);
        state.view = view.map(|view| view.files[0].clone());
    }
    while committer.number() < last {
        let n = committer.number() + 1;
        let run = writer.bytes().map(u128::from).sum::<u128>();
        let changes = nth(lake, n, u128::from(n) << 64 | run << 8, &mut state).await;
        if n == last {
            // Killed before the tables follow.
            committer.seal(changes).await.unwrap();
            return;
        }
        committer.commit(changes).await.unwrap();
        promise(n);
        committer.tidy().await.unwrap();
    }
}

/// 24 commits by four runs, each of which is killed between its last checkpoint and the tables'
/// commits.
async fn history(lake: &Lake, tape: &Tape) {
    for (run, last) in [7, 14, 21, 24].into_iter().enumerate() {
        commit_until(lake, &format!("run {run}"), last, |n| tape.promise(n)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_power_failure_at_any_moment_a_lake_opens_with_every_commit_that_was_reported() {
    let root = in_memory();
    let tape = Tape::record(root.path());
    let place = root.path().join("lake");
    history(&Lake::open(place.to_str().unwrap()).unwrap(), &tape).await;
    let ops = tape.ops();
    drop(tape);

    let (mut seen, started) = (HashSet::new(), Instant::now());
    for case in seeds() {
        let mut chance = Chance::new(case);
        let until = chance.below(ops.len() + 1);
        let image = Image::default().after(&ops, until, &mut chance);
        if !seen.insert(image.clone()) {
            continue;
        }
        let promised = promised(&ops, until).unwrap_or(0);
        let opens = AssertUnwindSafe(opens_twice(&image, promised, &mut chance));
        let problem = opens.catch_unwind().await;
        assert!(
            matches!(problem, Ok(Ok(()))),
            "{:?}; PINFLOW_SEED={case} PINFLOW_CASES=1, call {until} of {}",
            problem.ok(),
            ops.len()
        );
    }
    println!(
        "{} power failures in a history of {} calls, {} different images, {:?}",
        seeds().count(),
        ops.len(),
        seen.len(),
        started.elapsed()
    );
}

/// Opens the lake of an image, in which `least` was promised, and goes on with it. Then the power
/// fails again, at some moment of that.
async fn opens_twice(image: &Image, least: u64, chance: &mut Chance) -> Opened<()> {
    let dir = in_memory();
    image.write(dir.path());
    let tape = Tape::record(dir.path());
    tape.promise(least);
    opens_whole(dir.path(), least, |number| tape.promise(number)).await?;
    let ops = tape.ops();
    let until = chance.below(ops.len() + 1);
    let again = image.after(&ops, until, chance);
    let dir = in_memory();
    again.write(dir.path());
    let least = promised(&ops, until).unwrap_or(least);
    let opened = opens_whole(dir.path(), least, |_| {}).await;
    opened.map_err(|problem| format!("after the second failure, at call {until}: {problem}"))
}

/// `Err` says what is wrong with a lake.
type Opened<T> = std::result::Result<T, String>;

/// Opens the lake in `dir`, in which `least` was promised, and goes on with it.
async fn opens_whole(
    dir: &std::path::Path,
    least: u64,
    mut promise: impl FnMut(u64),
) -> Opened<()> {
    let lake = Lake::open(dir.join("lake").to_str().unwrap()).unwrap();
    let opened = Committer::open(lake.clone(), "after".into()).await;
    let (_, recovered) = opened.map_err(|error| error.to_string())?;
    let number = recovered.as_ref().map_or(0, |recovered| recovered.number);
    if number < least {
        return Err(format!("it opens at {number}, and {least} was promised"));
    }
    if let Some(recovered) = &recovered {
        promise(number);
        check(&lake, recovered).await?;
    }
    let last = number + 2;
    commit_until(&lake, "after", last, &mut promise).await;
    let recovered = open(&lake, "last").await.1.unwrap();
    assert_eq!(recovered.number, last);
    promise(last);
    check(&lake, &recovered).await
}

async fn check(lake: &Lake, recovered: &Recovered) -> Opened<()> {
    let n = recovered.number;
    let pins = keys_of(lake, recovered, PIN).await;
    if pins != pins_after(n) {
        return Err(format!("after {n}: {pins:?}"));
    }
    let view = recovered.tables.contains_key(VIEW);
    let view = match view {
        true => Some(keys_of(lake, recovered, VIEW).await),
        false => None,
    };
    if view != view_after(n) {
        return Err(format!("after {n} the view is {view:?}"));
    }
    Ok(())
}

/// A lake with one commit, whose syncs are recorded from then on.
async fn recorded() -> (tempfile::TempDir, Lake, Committer, Tape) {
    let (dir, lake) = here();
    let committer = begun(&lake, "first").await;
    let tape = Tape::record(&dir.path().canonicalize().unwrap());
    (dir, lake, committer, tape)
}

fn assert_final(error: &LakeError) {
    assert!(matches!(error, LakeError::Sync { .. }), "{error}");
    assert!(!error.is_retryable(), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_file_that_could_not_be_synced_is_never_named() {
    let (_dir, lake, mut committer, tape) = recorded().await;
    tape.fail_sync(|path| path.parent().unwrap().ends_with(PIN));
    let pins = change(&lake, PIN, 2, 10..20, false).await;
    let second = changes(2, [(PIN, pins)]);
    for _ in 0..3 {
        assert_final(&committer.commit(second.clone()).await.unwrap_err());
    }
    assert_eq!(open(&lake, "second").await.1.unwrap().number, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_could_not_be_synced_is_not_taken_for_durable_when_it_is_found_again() {
    let (_dir, _, mut committer, tape) = recorded().await;
    tape.fail_sync(|path| path.ends_with(paths::CHECKPOINTS));
    for _ in 0..3 {
        assert_final(&committer.commit(changes(2, [])).await.unwrap_err());
    }

    let (_dir, lake, mut committer, tape) = recorded().await;
    tape.fail_sync(|path| path.ends_with("_delta_log"));
    let pins = change(&lake, PIN, 2, 10..20, false).await;
    let sealed = committer.seal(changes(2, [(PIN, pins)])).await;
    assert_eq!(sealed.unwrap(), 2);
    for _ in 0..3 {
        assert_final(&committer.publish().await.unwrap_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_has_no_name_yet_is_written_once_more_when_it_could_not_be_synced() {
    let (_dir, lake, mut committer, tape) = recorded().await;
    let pins = change(&lake, PIN, 2, 10..20, false).await;
    let second = changes(2, [(PIN, pins)]);
    tape.fail_sync(|path| path.parent().unwrap().ends_with(paths::CHECKPOINTS));
    let error = committer.commit(second.clone()).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(committer.commit(second).await.unwrap(), 2);
    let recovered = open(&lake, "second").await.1.unwrap();
    assert_eq!(keys_of(&lake, &recovered, PIN).await.len(), 20);
}
