//! The store of a lake in a folder of this machine: what it has answered survives a power failure.
//!
//! Readers are served by the store library's own file store. What is written goes through
//! [`crate::disk`]: an object is complete and on disk before it gets its name, and its name is on
//! disk before the put is answered. deltalake-core writes its log checkpoints through here, too.
//! Data files are the exception: nothing leads to one until a checkpoint names it, so they are
//! brought to disk beside the work, and [`Local::settle`] waits for them all together.
//!
//! # Invariants
//! 1. A name leads to a whole object, except that of a data file no checkpoint names.
//! 2. A sync that failed is final: everything that needs that file, or a new name in that folder,
//!    fails from then on. The system reports such an error once, and a second sync says yes
//!    whatever happened.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, Shared};
use futures::stream::{BoxStream, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart,
};

use crate::disk::{self, Whole};

/// Files and folders that are brought to disk at once: the file system writes its journal for all
/// that wait.
const SYNCS_AT_ONCE: usize = 8;

/// A file that was being written is given up when nothing happened to it for so long.
const UNFINISHED_FOR: Duration = Duration::from_secs(60);

/// A file or folder that could not be brought to disk.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct SyncFailed {
    pub(super) place: PathBuf,
    pub(super) why: String,
}

/// Why files cannot be named by a checkpoint.
#[derive(Debug)]
pub(super) enum Unsettled {
    /// This one is not there any more.
    Gone(PathBuf),
    /// Whether this one is on disk is not known.
    Sync(SyncFailed),
}

/// A file that is being brought to disk.
type Syncing = Shared<BoxFuture<'static, std::result::Result<(), SyncFailed>>>;

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Local {
    files: LocalFileSystem,
    state: Arc<State>,
}

struct State {
    /// A folder that was there before the lake was.
    base: PathBuf,
    /// Folders whose own names are on disk.
    known: Mutex<HashSet<PathBuf>>,
    /// Data files that are being brought to disk, or could not be.
    syncing: Mutex<BTreeMap<PathBuf, Syncing>>,
    /// Folders that could not be.
    failed: Mutex<BTreeMap<PathBuf, SyncFailed>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Local {
    /// The file system's store; of the folders on the way to `lake`, those above `base` are there
    /// already.
    pub fn new(base: PathBuf) -> Local {
        let state = State {
            base,
            known: Mutex::default(),
            syncing: Mutex::default(),
            failed: Mutex::default(),
        };
        Local {
            files: LocalFileSystem::new(),
            state: Arc::new(state),
        }
    }

    /// Puts a data file. It is brought to disk beside what follows; [`Local::settle`] waits for
    /// that.
    pub async fn stage(&self, path: &Path, parts: Vec<Bytes>) -> Result<()> {
        let place = self.files.path_to_filesystem(path)?;
        let to = place.clone();
        let file = blocking(move || {
            let whole = Whole::write(&to, &parts).map_err(|e| failure(&to, e))?;
            whole.replace(&to).map_err(|e| failure(&to, e))
        })
        .await?;
        let at = place.clone();
        let sync = tokio::task::spawn_blocking(move || {
            file.sync().map_err(|error| SyncFailed {
                place: at,
                why: error.to_string(),
            })
        });
        let sync = sync.map(|done| done.expect("a sync neither panics nor is cancelled"));
        locked(&self.state.syncing).insert(place, sync.boxed().shared());
        Ok(())
    }

    /// Waits until the data files of these paths and their names are on disk.
    pub async fn settle(&self, paths: &[Path]) -> std::result::Result<(), Unsettled> {
        let mut folders = BTreeSet::new();
        for path in paths {
            let place = self.files.path_to_filesystem(path);
            let place = place.expect("it was staged under this path");
            let syncing = locked(&self.state.syncing).get(&place).cloned();
            if let Some(syncing) = syncing {
                syncing.await.map_err(Unsettled::Sync)?;
                locked(&self.state.syncing).remove(&place);
            }
            // One that another process staged was brought to disk by that process.
            if !place.exists() {
                return Err(Unsettled::Gone(place));
            }
            folders.extend(place.parent().map(FilePath::to_owned));
        }
        self.settle_folders(folders).await.map_err(Unsettled::Sync)
    }

    /// Brings the names in the folders of these paths to disk, which another run may have written
    /// last.
    pub async fn settle_names(
        &self,
        folders: impl IntoIterator<Item = Path>,
    ) -> std::result::Result<(), SyncFailed> {
        let places = folders.into_iter().filter_map(|folder| {
            let inside = self.files.path_to_filesystem(&folder.join("any")).ok()?;
            inside.parent().map(FilePath::to_owned)
        });
        let there = places.filter(|place| place.is_dir()).collect();
        self.settle_folders(there).await
    }

    async fn settle_folders(
        &self,
        folders: BTreeSet<PathBuf>,
    ) -> std::result::Result<(), SyncFailed> {
        let syncs = folders.into_iter().map(|folder| {
            let state = Arc::clone(&self.state);
            let sync = tokio::task::spawn_blocking(move || state.sync_folder(&folder));
            sync.map(|done| done.expect("a sync neither panics nor is cancelled"))
        });
        let mut syncs = futures::stream::iter(syncs).buffer_unordered(SYNCS_AT_ONCE);
        while let Some(done) = syncs.next().await {
            done?;
        }
        Ok(())
    }

    /// Removes what was being written in these folders when its writer ended.
    pub async fn sweep(&self, folders: Vec<Path>) -> Result<()> {
        let files = self.files.clone();
        blocking(move || {
            for folder in folders {
                let inside = files.path_to_filesystem(&folder.join("any"))?;
                // What cannot be removed does no harm.
                let _ = inside.parent().map(sweep);
            }
            Ok(())
        })
        .await
    }
}

/// Removes unfinished files that nobody writes any more.
fn sweep(folder: &FilePath) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_str().is_some_and(is_leftover) {
            continue;
        }
        let age = SystemTime::now().duration_since(entry.metadata()?.modified()?);
        if age.is_ok_and(|age| age > UNFINISHED_FOR) {
            disk::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether the file was being written: by us, or by the store library as pinflow once used it
/// (`<name>#1`).
fn is_leftover(name: &str) -> bool {
    let by_library = || {
        let (object, number) = name.rsplit_once('#')?;
        let ours = object.ends_with(".json")
            || object.ends_with(".parquet")
            || object == "_last_checkpoint";
        Some(ours && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    disk::is_unfinished(name) || by_library() == Some(true)
}

impl State {
    /// Returns when the names in a folder are on disk, and its own.
    fn sync_folder(&self, folder: &FilePath) -> std::result::Result<(), SyncFailed> {
        self.sync_one(folder)?;
        let mut at = folder;
        while at != self.base && !locked(&self.known).contains(at) {
            let Some(above) = at.parent() else { break };
            self.sync_one(above)?;
            locked(&self.known).insert(at.to_owned());
            at = above;
        }
        Ok(())
    }

    /// Refuses a folder in which names may be that are not on disk, and that look as if they were.
    fn check(&self, folder: &FilePath) -> std::result::Result<(), SyncFailed> {
        match locked(&self.failed).get(folder) {
            Some(failed) => Err(failed.clone()),
            None => Ok(()),
        }
    }

    fn sync_one(&self, folder: &FilePath) -> std::result::Result<(), SyncFailed> {
        self.check(folder)?;
        disk::sync_folder(folder).map_err(|error| {
            let failed = SyncFailed {
                place: folder.to_owned(),
                why: error.to_string(),
            };
            locked(&self.failed).insert(folder.to_owned(), failed.clone());
            failed
        })
    }

    /// Puts an object whole, and answers when it and its name are on disk.
    fn put(&self, place: &FilePath, parts: &[Bytes], mode: &PutMode) -> Result<PutResult> {
        let folder = place.parent().unwrap_or(FilePath::new("/"));
        let unsynced = |failed: SyncFailed| Error::Generic {
            store: "local",
            source: Box::new(failed),
        };
        self.check(folder).map_err(unsynced)?;
        let whole = Whole::write(place, parts).and_then(Whole::synced);
        let whole = whole.map_err(|error| failure(place, error))?;
        let named = match mode {
            PutMode::Create => whole.link(place),
            _ => whole.replace(place).map(|_| ()),
        };
        named.map_err(|error| failure(place, error))?;
        self.sync_folder(folder).map_err(unsynced)?;
        Ok(PutResult {
            e_tag: None,
            version: None,
        })
    }
}

fn failure(place: &FilePath, error: io::Error) -> Error {
    let path = place.display().to_string();
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists {
            path,
            source: Box::new(error),
        },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::PermissionDenied {
                path,
                source: Box::new(error),
            }
        }
        _ => Error::Generic {
            store: "local",
            source: format!("{path}: {error}").into(),
        },
    }
}

/// Runs what blocks beside the runtime's workers, if there is a runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await?,
        Err(_) => work(),
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&self.base).finish()
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Local {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if matches!(options.mode, PutMode::Update(_)) || !options.attributes.is_empty() {
            return Err(Error::NotImplemented {
                operation: "a put with a version or attributes".to_owned(),
                implementer: self.to_string(),
            });
        }
        let place = self.files.path_to_filesystem(path)?;
        let state = Arc::clone(&self.state);
        blocking(move || state.put(&place, payload.as_ref(), &options.mode)).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let _ = options;
        Ok(Box::new(Upload {
            store: self.clone(),
            path: path.clone(),
            parts: Vec::new(),
        }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(path, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let files = self.files.clone();
        paths
            .map(move |path| {
                let files = files.clone();
                blocking(move || {
                    let path = path?;
                    let place = files.path_to_filesystem(&path)?;
                    match disk::remove(&place) {
                        Ok(()) => Ok(path),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {
                            Err(Error::NotFound {
                                path: path.to_string(),
                                source: Box::new(error),
                            })
                        }
                        Err(error) => Err(failure(&place, error)),
                    }
                })
            })
            .buffered(SYNCS_AT_ONCE)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let _ = (from, to, options);
        Err(Error::NotImplemented {
            operation: "a copy".to_owned(),
            implementer: self.to_string(),
        })
    }
}

/// An object that comes in parts, and is put when the last one is there: a log checkpoint of a
/// large table.
#[derive(Debug)]
struct Upload {
    store: Local,
    path: Path,
    parts: Vec<Bytes>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        self.parts.extend(part);
        futures::future::ready(Ok(())).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let whole = std::mem::take(&mut self.parts).into_iter().collect();
        let replace = PutOptions::default();
        self.store.put_opts(&self.path, whole, replace).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}
