//! Where files are: a folder of this machine, or a bucket.
//!
//! A folder is listed and read by the file system's own calls: whether it changed at all is one
//! look at its time, and files are read into buffers that are used again. Names are paths in the
//! store, the same in both: parts joined by `/`.
//!
//! Only regular files are files, and links to them: what else is named like one is told, and never
//! opened.

mod local;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::layout::year;
use crate::lake::{Lake, LakeError};
use crate::operator::route::hash_bytes;
use crate::source::unread::Tally;
use crate::trouble::Troubles;
pub(super) use local::Look;

/// Times of file systems tick coarsely: a folder whose time is older than this has not changed
/// since.
pub(super) const SETTLED: Duration = Duration::from_millis(100);

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
    /// A hash of what the store tells of its content without reading it: of a bucket the entity tag
    /// (or time and size), of a folder inode, time and size. While it is the same, so is the file.
    pub id: Option<u64>,
}

/// Some files of a folder, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Where listing began: files before are not among the entries.
    pub from: String,
    /// The files from there on, up to the asked number.
    pub entries: Vec<Entry>,
    /// Whether there are more behind these.
    pub more: bool,
    /// What sorts before, where that was counted.
    pub before: Option<Before>,
    /// What is in the folder and was passed over, where all of it was seen.
    pub passed: Option<Passed>,
}

/// The files that sort before another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Before {
    /// How many.
    pub files: u64,
    /// Their bytes, where that was looked at.
    pub bytes: Option<u64>,
}

/// What is in a folder.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The names of its folders, sorted.
    pub folders: Vec<String>,
    /// Files that may hold records.
    pub files: Tally,
    /// Everything else.
    pub passed: Passed,
}

/// What is in a folder beside folders and files of records.
#[derive(Clone, Debug, Default)]
pub(super) struct Passed {
    /// Files with other names.
    pub others: Tally,
    /// Folders, where none are looked into.
    pub folders: Tally,
    /// What is named like a file of records and is no regular file.
    pub odd: Tally,
    /// Names that are not UTF-8.
    pub names: Tally,
}

/// What stopped an access.
pub(super) type StorageFailure = Box<dyn std::error::Error + Send + Sync>;

impl Storage {
    /// What `location` names: a folder, which need not be there yet, or `s3://bucket/prefix`. What
    /// is asked again is noted in `troubles`.
    pub fn at(location: &str, troubles: &Troubles) -> Result<Self, LakeError> {
        if !location.contains("://") {
            return Ok(Storage::Folder(PathBuf::from(location)));
        }
        Ok(Storage::Bucket(
            Lake::bucket(location, troubles)?,
            Path::default(),
        ))
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

    /// What is in `folder`. `wanted` tells which names may be files of records.
    pub(super) async fn contents(
        &self,
        folder: &str,
        wanted: fn(&str) -> bool,
    ) -> Result<Contents, StorageFailure> {
        match self {
            Storage::Folder(root) => {
                let place = root.join(folder);
                blocking(move || local::contents(&place, wanted)).await
            }
            Storage::Bucket(store, _) => {
                let found = store
                    .list_with_delimiter(Some(&Path::parse(folder)?))
                    .await?;
                let name = |path: &Path| path.filename().map(str::to_owned);
                let mut contents = Contents {
                    folders: found.common_prefixes.iter().filter_map(name).collect(),
                    ..Contents::default()
                };
                for name in found.objects.iter().filter_map(|meta| name(&meta.location)) {
                    if wanted(&name) {
                        contents.files.add(&name);
                    } else {
                        contents.passed.others.add(&name);
                    }
                }
                Ok(contents)
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

    /// Files right in `folder` that `wanted` says hold records, in order: from `from` on (all, if
    /// it is empty), up to `limit`.
    ///
    /// With `count` those before `from` are counted, which in a bucket means listing all of them. A
    /// folder counts them anyway.
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
                let (root, folder, from) = (root.clone(), folder.to_owned(), from.to_owned());
                blocking(move || local::files(&root, &folder, &from, limit, wanted)).await
            }
            Storage::Bucket(store, _) => {
                let prefix = Path::parse(folder)?;
                let mut found = match from.char_indices().next_back() {
                    // Listing begins behind its offset: a little before the file itself, so that it
                    // is listed too.
                    Some((end, _)) if !count && end > folder.len() + 1 => {
                        store.list_with_offset(Some(&prefix), &Path::parse(&from[..end])?)
                    }
                    _ => store.list(Some(&prefix)),
                };
                let mut listing = Listing {
                    from: from.to_owned(),
                    ..Listing::default()
                };
                let mut before = Before {
                    files: 0,
                    bytes: Some(0),
                };
                let mut passed = Passed::default();
                while let Some(meta) = found.try_next().await? {
                    let path = meta.location.to_string();
                    let name = path.strip_prefix(folder).unwrap_or(&path);
                    let name = name.trim_start_matches('/');
                    if let Some((within, _)) = name.split_once('/') {
                        // What is in folders of this folder may be much: listing goes on behind it.
                        let behind = format!("{}/\u{10ffff}", join(folder, within));
                        let behind = Path::parse(behind)?;
                        found = store.list_with_offset(Some(&prefix), &behind);
                        // What is below dates is read by others.
                        if year(within).is_none() {
                            passed.folders.add(within);
                        }
                        continue;
                    }
                    if !wanted(name) {
                        passed.others.add(name);
                        continue;
                    }
                    if path.as_str() < from {
                        before.files += 1;
                        before.bytes = before.bytes.map(|bytes| bytes + meta.size);
                    } else if listing.entries.len() == limit {
                        listing.more = true;
                        break;
                    } else {
                        listing.entries.push(entry(meta));
                    }
                }
                listing.before = count.then_some(before);
                listing.passed = (count || from.is_empty()).then_some(passed);
                Ok(listing)
            }
        }
    }

    /// All files below `folder`, at any depth, with size and time; for folders of a day.
    pub(super) async fn all_files(
        &self,
        folder: &str,
    ) -> Result<(Vec<Entry>, Passed), StorageFailure> {
        match self {
            Storage::Folder(root) => {
                let (root, folder) = (root.clone(), folder.to_owned());
                blocking(move || local::all_files(&root, folder)).await
            }
            Storage::Bucket(store, _) => {
                let found = store.list(Some(&Path::parse(folder)?));
                let entries = found.map_ok(entry).try_collect().await?;
                Ok((entries, Passed::default()))
            }
        }
    }

    /// What a file or folder of this machine looks like; `None` if it is not there.
    pub(super) async fn look(&self, path: &str) -> Result<Option<Look>, StorageFailure> {
        let looks = self.looks(vec![path.to_owned()]).await?;
        Ok(looks.into_iter().next().flatten())
    }

    /// What several look like.
    pub(super) async fn looks(
        &self,
        paths: Vec<String>,
    ) -> Result<Vec<Option<Look>>, StorageFailure> {
        let Storage::Folder(root) = self else {
            return Ok(vec![None; paths.len()]);
        };
        let root = root.clone();
        let look = move |path: &String| match fs::metadata(root.join(path)) {
            Ok(meta) => Ok(Some(Look::of(&meta))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        blocking(move || paths.iter().map(look).collect()).await
    }

    /// How many files of a folder of this machine sort before `from`, and their bytes.
    pub(super) async fn before(
        &self,
        folder: &str,
        from: &str,
        wanted: fn(&str) -> bool,
    ) -> Result<Option<Before>, StorageFailure> {
        let Storage::Folder(root) = self else {
            return Ok(None);
        };
        let (root, folder, from) = (root.clone(), folder.to_owned(), from.to_owned());
        blocking(move || local::before(&root, &folder, &from, wanted).map(Some)).await
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

/// An object as it was listed.
fn entry(meta: ObjectMeta) -> Entry {
    let modified = meta.last_modified.timestamp_millis();
    // Not every store tells tags.
    let tag = meta
        .e_tag
        .unwrap_or_else(|| format!("{modified} {}", meta.size));
    Entry {
        path: meta.location.to_string(),
        size: Some(meta.size),
        modified: Some(modified),
        id: Some(hash_bytes(tag.as_bytes())),
    }
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

/// Runs what blocks beside the runtime's workers.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StorageFailure> {
    Ok(tokio::task::spawn_blocking(work).await??)
}
