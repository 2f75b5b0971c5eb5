//! What was done to the files below a folder, in order, for [`super::image`].
//!
//! A test records a folder of its own; other tests of the same process do not notice.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One call to the operating system, after it succeeded. Files have numbers, since names change.
///
/// A sync holds for what was done before it began: `since` is the length of the tape at that
/// moment.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    MakeFolder(PathBuf),
    Create {
        file: u64,
        path: PathBuf,
    },
    Write {
        file: u64,
        at: u64,
        bytes: Vec<u8>,
    },
    Sync {
        file: u64,
        since: usize,
    },
    SyncFolder(PathBuf, usize),
    Link(PathBuf, PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    /// From here on, whatever this number means to the test must survive.
    Promise(u64),
}

/// A recording of one folder; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Tape {
    root: PathBuf,
    ops: Arc<Mutex<Vec<Op>>>,
}

/// The recordings that are under way.
static TAPES: Mutex<Vec<(PathBuf, Arc<Mutex<Vec<Op>>>)>> = Mutex::new(Vec::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tape_of(path: &Path) -> Option<Arc<Mutex<Vec<Op>>>> {
    let tapes = locked(&TAPES);
    let found = tapes.iter().find(|(root, _)| path.starts_with(root));
    found.map(|(_, ops)| Arc::clone(ops))
}

/// Notes what was done at `path`, if that is being recorded.
pub(super) fn note(path: &Path, op: impl FnOnce() -> Op) {
    if let Some(ops) = tape_of(path) {
        locked(&ops).push(op());
    }
}

/// How much has been noted by now.
pub(super) fn length(path: &Path) -> usize {
    tape_of(path).map_or(0, |ops| locked(&ops).len())
}

/// Notes that a file was made, and gives it a number.
pub(super) fn created(path: &Path) -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let file = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path_of = || path.to_owned();
    note(path, || Op::Create {
        file,
        path: path_of(),
    });
    file
}

impl Tape {
    /// Records what is done below `root`, a folder with nothing in it.
    pub fn record(root: &Path) -> Tape {
        let (root, ops) = (root.to_owned(), Arc::default());
        locked(&TAPES).push((root.clone(), Arc::clone(&ops)));
        Tape { root, ops }
    }

    /// Says that `what` was promised to someone just now.
    pub fn promise(&self, what: u64) {
        locked(&self.ops).push(Op::Promise(what));
    }

    /// Everything so far; paths are below the root.
    pub fn ops(&self) -> Vec<Op> {
        let below = |path: &mut PathBuf| {
            let relative = path.strip_prefix(&self.root);
            *path = relative.expect("it was noted for this root").to_owned();
        };
        let mut ops = locked(&self.ops).clone();
        for op in &mut ops {
            match op {
                Op::MakeFolder(path) | Op::Create { path, .. } => below(path),
                Op::SyncFolder(path, _) | Op::Remove(path) => below(path),
                Op::Link(from, to) | Op::Rename(from, to) => {
                    below(from);
                    below(to);
                }
                Op::Write { .. } | Op::Sync { .. } | Op::Promise(_) => {}
            }
        }
        ops
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        locked(&TAPES).retain(|(_, ops)| !Arc::ptr_eq(ops, &self.ops));
    }
}
