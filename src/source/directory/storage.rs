//! Where files are: a folder of this machine, or a bucket.
//!
//! A folder is listed and read by the file system's own calls: whether it changed at all is one look at its time, and files are read into buffers that
//! are used again. Names are paths in the store, the same in both: parts joined by `/`.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::lake::{Lake, LakeError};

/// Where a source's files are.
#[derive(Clone)]
pub enum Storage {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A bucket, or any other store, from a path on.
    Bucket(Arc<dyn ObjectStore>, Path),
}

/// A file that was listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Its path in the store.
    pub path: String,
    /// Its size, where listing tells.
    pub size: Option<u64>,
    /// When it was modified, in milliseconds since 1970, where listing tells.
    pub modified: Option<i64>,
}

/// Some files of a folder, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The files from the asked one on, up to the asked number.
    pub entries: Vec<Entry>,
    /// Whether there are more behind these.
    pub more: bool,
    /// How many sort before the asked one, where that was counted.
    pub before: Option<u64>,
}

/// What stopped an access.
pub(super) type StorageFailure = Box<dyn std::error::Error + Send + Sync>;

impl Storage {
    /// What `location` names: a folder, which need not be there yet, or `s3://bucket/prefix`.
    pub fn at(location: &str) -> Result<Self, LakeError> {
        if !location.contains("://") {
            return Ok(Storage::Folder(PathBuf::from(location)));
        }
        Ok(Storage::Bucket(Lake::bucket(location)?, Path::default()))
    }

    /// Whether objects appear whole and never change by themselves.
    pub(super) fn is_bucket(&self) -> bool {
        matches!(self, Storage::Bucket(..))
    }

    /// The path in the store of `relative`, a path below the root.
    pub(super) fn path(&self, relative: &str) -> String {
        match self {
            Storage::Bucket(_, root) if !root.as_ref().is_empty() && !relative.is_empty() => {
                format!("{root}/{relative}")
            }
            Storage::Bucket(_, root) if relative.is_empty() => root.to_string(),
            _ => relative.to_owned(),
        }
    }

    /// The place in the file system of a path in the store; only of a folder.
    pub(super) fn local(&self, path: &str) -> Option<PathBuf> {
        match self {
            Storage::Folder(root) => Some(root.join(path)),
            Storage::Bucket(..) => None,
        }
    }

    /// The names of the folders in `folder`, sorted.
    pub(super) async fn subfolders(&self, folder: &str) -> Result<Vec<String>, StorageFailure> {
        match self {
            Storage::Folder(root) => {
                let place = root.join(folder);
                blocking(move || {
                    let mut names = Vec::new();
                    for entry in read_dir(&place)? {
                        let entry = entry?;
                        let kind = entry.file_type()?;
                        let is_folder = kind.is_dir()
                            || kind.is_symlink()
                                && fs::metadata(entry.path()).is_ok_and(|at| at.is_dir());
                        if let (true, Ok(name)) = (is_folder, entry.file_name().into_string()) {
                            names.push(name);
                        }
                    }
                    names.sort();
                    Ok(names)
                })
                .await
            }
            Storage::Bucket(store, _) => {
                let found = store
                    .list_with_delimiter(Some(&Path::parse(folder)?))
                    .await?;
                let name = |path: &Path| path.filename().map(str::to_owned);
                Ok(found.common_prefixes.iter().filter_map(name).collect())
            }
        }
    }

    /// The first object of a bucket's folder whose path sorts behind `offset`.
    pub(super) async fn first_behind(
        &self,
        folder: &str,
        offset: &str,
    ) -> Result<Option<String>, StorageFailure> {
        let Storage::Bucket(store, _) = self else {
            return Ok(None);
        };
        let prefix = Path::parse(folder)?;
        let mut found = store.list_with_offset(Some(&prefix), &Path::parse(offset)?);
        Ok(found
            .try_next()
            .await?
            .map(|meta| meta.location.to_string()))
    }

    /// Files right in `folder` that `wanted` says hold records, in order: from `from` on (all, if it is empty), up to `limit`.
    ///
    /// With `count` those before `from` are counted, which in a bucket means listing all of them. A folder counts them anyway.
    pub(super) async fn files(
        &self,
        folder: &str,
        from: &str,
        limit: usize,
        count: bool,
        wanted: fn(&str) -> bool,
    ) -> Result<Listing, StorageFailure> {
        match self {
            Storage::Folder(root) => {
                let (place, folder, from) = (root.join(folder), folder.to_owned(), from.to_owned());
                blocking(move || {
                    let mut listing = Listing::default();
                    let mut before = 0;
                    for entry in read_dir(&place)? {
                        let Ok(name) = entry?.file_name().into_string() else {
                            continue;
                        };
                        if !wanted(&name) {
                            continue;
                        }
                        let path = join(&folder, &name);
                        if path < from {
                            before += 1;
                            continue;
                        }
                        listing.entries.push(Entry {
                            path,
                            size: None,
                            modified: None,
                        });
                        if listing.entries.len() >= limit.saturating_mul(2) {
                            listing.keep(limit);
                        }
                    }
                    listing.keep(limit);
                    listing.entries.sort();
                    listing.before = Some(before);
                    Ok(listing)
                })
                .await
            }
            Storage::Bucket(store, _) => {
                let prefix = Path::parse(folder)?;
                let mut found = match from.char_indices().next_back() {
                    // Listing begins behind its offset: a little before the file itself, so that it is listed too.
                    Some((end, _)) if !count && end > folder.len() + 1 => {
                        store.list_with_offset(Some(&prefix), &Path::parse(&from[..end])?)
                    }
                    _ => store.list(Some(&prefix)),
                };
                let mut listing = Listing::default();
                let mut before = 0;
                while let Some(meta) = found.try_next().await? {
                    let path = meta.location.to_string();
                    let name = path.strip_prefix(folder).unwrap_or(&path);
                    let name = name.trim_start_matches('/');
                    if let Some((within, _)) = name.split_once('/') {
                        // What is in folders of this folder may be much: listing goes on behind it.
                        let behind = format!("{}/\u{10ffff}", join(folder, within));
                        let behind = Path::parse(behind)?;
                        found = store.list_with_offset(Some(&prefix), &behind);
                        continue;
                    }
                    if !wanted(name) {
                        continue;
                    }
                    if path.as_str() < from {
                        before += 1;
                    } else if listing.entries.len() == limit {
                        listing.more = true;
                        break;
                    } else {
                        listing.entries.push(Entry {
                            path,
                            size: Some(meta.size),
                            modified: Some(meta.last_modified.timestamp_millis()),
                        });
                    }
                }
                listing.before = count.then_some(before);
                Ok(listing)
            }
        }
    }

    /// All files below `folder`, at any depth, with size and time; for folders of a day.
    pub(super) async fn all_files(&self, folder: &str) -> Result<Vec<Entry>, StorageFailure> {
        match self {
            Storage::Folder(root) => {
                let (root, folder) = (root.clone(), folder.to_owned());
                blocking(move || {
                    let mut found = Vec::new();
                    let mut folders = vec![folder];
                    while let Some(folder) = folders.pop() {
                        for entry in read_dir(&root.join(&folder))? {
                            let entry = entry?;
                            let Ok(name) = entry.file_name().into_string() else {
                                continue;
                            };
                            let path = join(&folder, &name);
                            let meta = fs::metadata(root.join(&path))?;
                            if meta.is_dir() {
                                folders.push(path);
                            } else {
                                found.push(Entry {
                                    path,
                                    size: Some(meta.len()),
                                    modified: meta.modified().ok().map(millis),
                                });
                            }
                        }
                    }
                    Ok(found)
                })
                .await
            }
            Storage::Bucket(store, _) => Ok(store
                .list(Some(&Path::parse(folder)?))
                .map_ok(|meta| Entry {
                    path: meta.location.to_string(),
                    size: Some(meta.size),
                    modified: Some(meta.last_modified.timestamp_millis()),
                })
                .try_collect()
                .await?),
        }
    }

    /// Size and time of a file or folder of this machine.
    pub(super) async fn look(&self, path: &str) -> Result<Option<Look>, StorageFailure> {
        let Some(place) = self.local(path) else {
            return Ok(None);
        };
        blocking(move || match fs::metadata(place) {
            Ok(meta) => Ok(Some(Look {
                size: meta.len(),
                modified: meta.modified().unwrap_or(UNIX_EPOCH),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    /// Bytes of an object of a bucket.
    pub(super) async fn range(
        &self,
        path: &str,
        range: std::ops::Range<u64>,
    ) -> Result<Bytes, StorageFailure> {
        match self {
            Storage::Bucket(..) if range.is_empty() => Ok(Bytes::new()),
            Storage::Bucket(store, _) => Ok(store.get_range(&Path::parse(path)?, range).await?),
            Storage::Folder(_) => Err("a folder is not read by ranges".into()),
        }
    }
}

/// What a file or folder looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Its size in bytes.
    pub size: u64,
    /// When it was modified: of a folder, when a name in it came or went.
    pub modified: SystemTime,
}

impl Listing {
    fn keep(&mut self, limit: usize) {
        if self.entries.len() > limit {
            self.entries.select_nth_unstable(limit);
            self.entries.truncate(limit);
            self.more = true;
        }
    }
}

/// Milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    }
}

/// The path of `name` in `folder`.
pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// The folder's names; none if it is gone by now.
fn read_dir(place: &std::path::Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(place) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

/// Runs what blocks beside the runtime's workers.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StorageFailure> {
    Ok(tokio::task::spawn_blocking(work).await??)
}
