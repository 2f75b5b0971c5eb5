//! Writing objects so that they are there, or not: never in part, not lost once written, and never
//! in place of what someone else wrote meanwhile.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::{
    Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion,
};

use super::ArchiveError;
use crate::disk::{self, Whole};
use crate::host::Host;
use crate::source::Storage;
use crate::trouble::{Troubles, Trying};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// For how long a put whose answer was bad is repeated; the pauses grow from the first to the last.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Where an archive is.
#[derive(Clone)]
pub(super) struct Target {
    storage: Storage,
    name: String,
    host: Arc<dyn Host>,
    /// Notes which puts are tried again.
    pub(super) troubles: Troubles,
}

/// Which version of an object in a bucket was seen last; `None` if there was none. In a folder the
/// lock takes its place.
pub(super) type Version = Option<UpdateVersion>;

/// While this is held, no other process of this machine writes the objects of a folder.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "it is held")] Option<fs::File>);

impl Target {
    pub(super) fn new(storage: Storage, name: String, host: Arc<dyn Host>) -> Self {
        Target {
            storage,
            name,
            host,
            troubles: Troubles::default(),
        }
    }

    pub(super) fn is_bucket(&self) -> bool {
        matches!(self.storage, Storage::Bucket(..))
    }

    /// Sees to it that no other process of this machine writes in `folder`, which is there then.
    pub(super) async fn lock(&self, folder: &str) -> Result<Lock, ArchiveError> {
        let Storage::Folder(root) = &self.storage else {
            return Ok(Lock(None));
        };
        let place = root.join(folder);
        let locked = blocking(move || lock_folder(&place)).await;
        match locked.map_err(|error| self.failed("lock", folder, error))? {
            Some(lock) => Ok(lock),
            None => Err(ArchiveError::Locked {
                archive: self.name.clone(),
                path: folder.to_owned(),
            }),
        }
    }

    /// Writes an object, in place of `version` or of an object that it goes on with. In a folder it
    /// is on disk when this returns.
    pub(super) async fn put(
        &self,
        path: &str,
        text: Vec<Bytes>,
        version: &mut Version,
    ) -> Result<(), ArchiveError> {
        self.write(path, text, version, starts_with).await
    }

    /// The same for an object that is cut: in place of `version` only.
    pub(super) async fn replace(
        &self,
        path: &str,
        text: Vec<Bytes>,
        version: &mut Version,
    ) -> Result<(), ArchiveError> {
        self.write(path, text, version, |_, _| false).await
    }

    async fn write(
        &self,
        path: &str,
        text: Vec<Bytes>,
        version: &mut Version,
        goes_on: fn(&[Bytes], &[u8]) -> bool,
    ) -> Result<(), ArchiveError> {
        let written: Result<(), Failure> = match &self.storage {
            Storage::Folder(root) => {
                let place = root.join(path);
                blocking(move || put_file(&place, &text)).await
            }
            Storage::Bucket(store, _) => match self.at(path) {
                Ok(at) => {
                    let what = format!("write `{path}` in the archive {}", self.name);
                    let trying = self.troubles.trying(what);
                    let store = store.as_ref();
                    self.put_version(store, &at, text, version, goes_on, trying)
                        .await
                }
                Err(error) => Err(error),
            },
        };
        written.map_err(|error| self.failed("write", path, error))
    }

    /// An object's bytes and version; `None` if it is not there.
    pub(super) async fn get(&self, path: &str) -> Result<Option<(Bytes, Version)>, ArchiveError> {
        let read: Result<Option<(Bytes, Version)>, Failure> = match &self.storage {
            Storage::Folder(root) => {
                let place = root.join(path);
                blocking(move || match fs::read(place) {
                    Ok(bytes) => Ok(Some((bytes.into(), None))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(error),
                })
                .await
            }
            Storage::Bucket(store, _) => match self.at(path) {
                Ok(at) => get_version(store.as_ref(), &at).await.map_err(Into::into),
                Err(error) => Err(error),
            },
        };
        read.map_err(|error| self.failed("read", path, error))
    }

    /// Deletes an object, if it is there.
    pub(super) async fn delete(&self, path: &str) -> Result<(), ArchiveError> {
        let deleted: Result<(), Failure> = match &self.storage {
            Storage::Folder(root) => {
                let place = root.join(path);
                blocking(move || match disk::remove(&place) {
                    Ok(()) => place.parent().map_or(Ok(()), disk::sync_folder),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    Err(error) => Err(error),
                })
                .await
            }
            Storage::Bucket(store, _) => {
                async {
                    match store.delete(&self.at(path)?).await {
                        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                        Err(error) => Err(error.into()),
                    }
                }
                .await
            }
        };
        deleted.map_err(|error| self.failed("delete", path, error))
    }

    /// The paths of the objects in `folder`, at any depth, that sort at or behind `from`, in order.
    pub(super) async fn list(&self, folder: &str, from: &str) -> Result<Vec<String>, ArchiveError> {
        let listed: Result<Vec<String>, Failure> = match &self.storage {
            Storage::Folder(root) => {
                let (place, folder, from) = (root.join(folder), folder.to_owned(), from.to_owned());
                blocking(move || {
                    let mut paths = Vec::new();
                    list_folder(&place, &folder, &mut paths)?;
                    paths.retain(|path| *path >= from);
                    paths.sort();
                    Ok(paths)
                })
                .await
            }
            Storage::Bucket(store, root) => {
                async {
                    let prefix = self.at(folder)?;
                    // Listing begins behind its offset: the last character less, and the object
                    // itself is listed too.
                    let mut before = self.at(from)?.to_string();
                    before.pop();
                    let offset = object_store::path::Path::parse(before)?;
                    let strip = |path: String| match path.strip_prefix(root.as_ref()) {
                        Some(rest) => rest.trim_start_matches('/').to_owned(),
                        None => path,
                    };
                    let paths: Vec<String> = store
                        .list_with_offset(Some(&prefix), &offset)
                        .map_ok(|meta| strip(meta.location.to_string()))
                        .try_filter(|path| std::future::ready(path.as_str() >= from))
                        .boxed()
                        .try_collect()
                        .await?;
                    Ok(paths)
                }
                .await
            }
        };
        listed.map_err(|error| self.failed("list", folder, error))
    }

    /// An error about `path`.
    pub(super) fn failed(
        &self,
        action: &'static str,
        path: &str,
        why: impl ToString,
    ) -> ArchiveError {
        ArchiveError::Store {
            archive: self.name.clone(),
            action,
            path: path.to_owned(),
            why: why.to_string(),
        }
    }

    /// Objects of the archive are not those that were written.
    pub(super) fn altered(&self, path: &str, why: String) -> ArchiveError {
        ArchiveError::Altered {
            archive: self.name.clone(),
            path: path.to_owned(),
            why,
        }
    }

    /// Puts an object in place of `version`, or of one that it `goes_on` with. A put whose answer was
    /// lost is repeated; whether it was done shows then.
    async fn put_version(
        &self,
        store: &dyn ObjectStore,
        at: &object_store::path::Path,
        text: Vec<Bytes>,
        version: &mut Version,
        goes_on: fn(&[Bytes], &[u8]) -> bool,
        mut trying: Trying,
    ) -> Result<(), Failure> {
        let (until, mut pause) = (self.host.instant() + PATIENCE, PAUSES.0);
        let size: usize = text.iter().map(Bytes::len).sum();
        loop {
            let mode = match version {
                None => PutMode::Create,
                // A store that names no versions.
                Some(version) if version.e_tag.is_none() => PutMode::Overwrite,
                Some(version) => PutMode::Update(version.clone()),
            };
            let payload = PutPayload::from_iter(text.iter().cloned());
            let put = store.put_opts(at, payload, PutOptions::from(mode)).await;
            match put {
                Ok(done) => {
                    *version = Some(done.into());
                    return Ok(());
                }
                Err(
                    Error::AlreadyExists { .. }
                    | Error::Precondition { .. }
                    | Error::NotFound { .. },
                ) => {}
                Err(error @ (Error::Generic { .. } | Error::JoinError { .. })) => {
                    if self.host.instant() + pause > until {
                        return Err(error.into());
                    }
                    tracing::debug!("could not write {at}, asking again: {error}");
                    trying.failed(self.host.instant(), &error.to_string());
                    self.host.sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            *version = match get_version(store, at).await? {
                None => None,
                Some((bytes, there)) if starts_with(&text, &bytes) && bytes.len() == size => {
                    *version = there;
                    return Ok(());
                }
                Some((bytes, there)) if goes_on(&text, &bytes) => there,
                Some(_) => {
                    return Err(
                        "someone else has written it since it was read: another pinflow, or a late request of one that has ended".into(),
                    );
                }
            };
        }
    }

    fn at(&self, path: &str) -> Result<object_store::path::Path, Failure> {
        Ok(match &self.storage {
            Storage::Bucket(_, root) if !root.as_ref().is_empty() => {
                object_store::path::Path::parse(format!("{root}/{path}"))?
            }
            _ => object_store::path::Path::parse(path)?,
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    Ok(tokio::task::spawn_blocking(work).await??)
}

/// Adds the paths of all files in the folder at `place`, which the archive knows as `folder`.
fn list_folder(place: &Path, folder: &str, paths: &mut Vec<String>) -> io::Result<()> {
    let entries = match fs::read_dir(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = format!("{folder}/{name}");
        if entry.file_type()?.is_dir() {
            list_folder(&entry.path(), &path, paths)?;
        } else if !disk::is_unfinished(&name) {
            paths.push(path);
        }
    }
    Ok(())
}

/// `None` if another process has it.
fn lock_folder(place: &Path) -> io::Result<Option<Lock>> {
    disk::make_durable_folders(place)?;
    let folder = fs::File::open(place)?;
    let lock = match folder.try_lock() {
        Ok(()) => Some(folder),
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        Err(fs::TryLockError::Error(error)) => {
            tracing::debug!("{} cannot be locked: {error}", place.display());
            None
        }
    };
    disk::remove_unfinished(place)?;
    Ok(Some(Lock(lock)))
}

/// Writes an object to the disk. The folder of a partition was made when it was locked.
fn put_file(place: &Path, text: &[Bytes]) -> io::Result<()> {
    if let Some(folder) = place.parent().filter(|folder| !folder.exists()) {
        disk::make_durable_folders(folder)?;
    }
    Whole::write(place, text)?.synced()?.replace(place)?;
    place.parent().map_or(Ok(()), disk::sync_folder)
}

/// Whether an object with this text goes on with one that has these bytes.
fn starts_with(text: &[Bytes], mut bytes: &[u8]) -> bool {
    for part in text {
        let (begin, rest) = bytes.split_at(part.len().min(bytes.len()));
        if !part.starts_with(begin) {
            return false;
        }
        bytes = rest;
    }
    bytes.is_empty()
}

async fn get_version(
    store: &dyn ObjectStore,
    at: &object_store::path::Path,
) -> Result<Option<(Bytes, Version)>, Error> {
    match store.get(at).await {
        Ok(object) => {
            let version = UpdateVersion {
                e_tag: object.meta.e_tag.clone(),
                version: object.meta.version.clone(),
            };
            Ok(Some((object.bytes().await?, Some(version))))
        }
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
