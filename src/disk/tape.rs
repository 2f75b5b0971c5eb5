//! What was done to the files below a folder, in order, for [`super::image`].
//!
//! A test records a folder of its own; other tests of the same process do not notice. It may also
//! have syncs fail there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// A file that is there was opened.
    Open {
        file: u64,
        path: PathBuf,
    },
    Write {
        file: u64,
        at: u64,
        bytes: Vec<u8>,
    },
    Cut {
        file: u64,
        length: u64,
    },
    Sync {
        file: u64,
        since: usize,
    },
    /// A sync failed: no later one says anything about what was written until now.
    SyncFailed {
        file: u64,
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
pub(crate) struct Tape(Arc<Recording>);

#[derive(Debug)]
struct Recording {
    root: PathBuf,
    ops: Mutex<Vec<Op>>,
    /// The next sync of such a path fails.
    failing: Mutex<Option<IsPath>>,
    /// How many syncs of a path have failed.
    failed: Mutex<BTreeMap<PathBuf, u64>>,
}

/// Tells paths.
type IsPath = fn(&Path) -> bool;

/// The recordings that are under way.
static TAPES: Mutex<Vec<Arc<Recording>>> = Mutex::new(Vec::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn recording(path: &Path) -> Option<Arc<Recording>> {
    let tapes = locked(&TAPES);
    let found = tapes.iter().find(|tape| path.starts_with(&tape.root));
    found.cloned()
}

/// Notes what was done at `path`, if that is being recorded.
pub(super) fn note(path: &Path, op: impl FnOnce() -> Op) {
    if let Some(tape) = recording(path) {
        locked(&tape.ops).push(op());
    }
}

/// How many syncs of `path` have failed: whoever opens it now will not hear of these.
pub(super) fn failures(path: &Path) -> u64 {
    let tape = recording(path);
    tape.map_or(0, |tape| {
        *locked(&tape.failed).entry(path.to_owned()).or_default()
    })
}

/// Begins a sync of `path`: answers how much has been noted by now, or the failure that the test
/// wants. As with a real disk, it is told once to each who had the file open, and the next sync
/// says yes. `heard` is of how many failures the caller knows.
pub(super) fn begin_sync(path: &Path, heard: &AtomicU64) -> io::Result<usize> {
    let Some(tape) = recording(path) else {
        return Ok(0);
    };
    let mut failed = locked(&tape.failed);
    let count = failed.entry(path.to_owned()).or_default();
    if locked(&tape.failing).take_if(|fails| fails(path)).is_some() {
        *count += 1;
    }
    if heard.swap(*count, Ordering::SeqCst) < *count {
        return Err(failure());
    }
    Ok(locked(&tape.ops).len())
}

/// Ends a sync: one of another who has the file open may have failed meanwhile.
pub(super) fn end_sync(path: &Path, heard: &AtomicU64) -> io::Result<()> {
    let count = failures(path);
    match heard.swap(count, Ordering::SeqCst) < count {
        true => Err(failure()),
        false => Ok(()),
    }
}

fn failure() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}

/// Notes that a file was opened or made, and gives it a number.
pub(super) fn opened(path: &Path, is_new: bool) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let file = NEXT.fetch_add(1, Ordering::Relaxed);
    note(path, || {
        let path = path.to_owned();
        match is_new {
            true => Op::Create { file, path },
            false => Op::Open { file, path },
        }
    });
    file
}

impl Tape {
    /// Records what is done below `root`.
    pub fn record(root: &Path) -> Tape {
        let tape = Arc::new(Recording {
            root: root.to_owned(),
            ops: Mutex::default(),
            failing: Mutex::default(),
            failed: Mutex::default(),
        });
        locked(&TAPES).push(Arc::clone(&tape));
        Tape(tape)
    }

    /// Lets the next sync fail of a file or folder whose path is one of these.
    pub fn fail_sync(&self, of: fn(&Path) -> bool) {
        *locked(&self.0.failing) = Some(of);
    }

    /// Says that `what` was promised to someone just now.
    pub fn promise(&self, what: u64) {
        locked(&self.0.ops).push(Op::Promise(what));
    }

    /// Everything so far; paths are below the root.
    pub fn ops(&self) -> Vec<Op> {
        let below = |path: &mut PathBuf| {
            let relative = path.strip_prefix(&self.0.root);
            *path = relative.expect("it was noted for this root").to_owned();
        };
        let mut ops = locked(&self.0.ops).clone();
        for op in &mut ops {
            match op {
                Op::MakeFolder(path) | Op::Create { path, .. } => below(path),
                Op::Open { path, .. } => below(path),
                Op::SyncFolder(path, _) | Op::Remove(path) => below(path),
                Op::Link(from, to) | Op::Rename(from, to) => {
                    below(from);
                    below(to);
                }
                Op::Write { .. } | Op::Cut { .. } => {}
                Op::Sync { .. } | Op::SyncFailed { .. } | Op::Promise(_) => {}
            }
        }
        ops
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        locked(&TAPES).retain(|tape| !Arc::ptr_eq(tape, &self.0));
    }
}
