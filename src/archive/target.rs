//! Writing objects so that they are there, or not: never in part, and not lost once written.

use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStoreExt, PutPayload};

use super::ArchiveError;
use crate::source::Storage;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where an archive is.
#[derive(Clone)]
pub(super) struct Target {
    storage: Storage,
    name: String,
}

impl Target {
    pub(super) fn new(storage: Storage, name: String) -> Self {
        Target { storage, name }
    }

    /// Writes an object, in place of one that may be there. In a folder it is on disk when this returns.
    pub(super) async fn put(&self, path: &str, text: Vec<Bytes>) -> Result<(), ArchiveError> {
        let written: Result<(), Failure> = match &self.storage {
            Storage::Folder(root) => {
                let place = root.join(path);
                blocking(move || put_file(&place, &text)).await
            }
            Storage::Bucket(store, _) => match self.at(path) {
                Ok(at) => {
                    let put = store.put(&at, PutPayload::from_iter(text)).await;
                    put.map(|_| ()).map_err(Into::into)
                }
                Err(error) => Err(error),
            },
        };
        written.map_err(|error| self.failed("write", path, error))
    }

    /// An object's bytes; `None` if it is not there.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Bytes>, ArchiveError> {
        let read: Result<Option<Bytes>, Failure> = match &self.storage {
            Storage::Folder(root) => {
                let place = root.join(path);
                blocking(move || match fs::read(place) {
                    Ok(bytes) => Ok(Some(bytes.into())),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(error),
                })
                .await
            }
            Storage::Bucket(store, _) => {
                async {
                    match store.get(&self.at(path)?).await {
                        Ok(object) => Ok(Some(object.bytes().await?)),
                        Err(object_store::Error::NotFound { .. }) => Ok(None),
                        Err(error) => Err(error.into()),
                    }
                }
                .await
            }
        };
        read.map_err(|error| self.failed("read", path, error))
    }

    /// Deletes an object, if it is there.
    pub(super) async fn delete(&self, path: &str) -> Result<(), ArchiveError> {
        let deleted: Result<(), Failure> = match &self.storage {
            Storage::Folder(root) => {
                let place = root.join(path);
                blocking(move || match fs::remove_file(&place) {
                    Ok(()) => sync_folder(&place),
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

    /// The paths of the objects in `folder` that sort at or behind `from`, in order.
    pub(super) async fn list(&self, folder: &str, from: &str) -> Result<Vec<String>, ArchiveError> {
        let listed: Result<Vec<String>, Failure> = match &self.storage {
            Storage::Folder(root) => {
                let (place, folder, from) = (root.join(folder), folder.to_owned(), from.to_owned());
                blocking(move || {
                    let entries = match fs::read_dir(place) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {
                            return Ok(Vec::new());
                        }
                        entries => entries?,
                    };
                    let mut paths = Vec::new();
                    for entry in entries {
                        if let Ok(name) = entry?.file_name().into_string() {
                            paths.push(format!("{folder}/{name}"));
                        }
                    }
                    paths.retain(|path| *path >= from);
                    paths.sort();
                    Ok(paths)
                })
                .await
            }
            Storage::Bucket(store, root) => {
                async {
                    let prefix = self.at(folder)?;
                    // Listing begins behind its offset: the last character less, and the object itself is listed too.
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

/// Writes a hidden file, syncs it, and gives it its name.
fn put_file(place: &Path, text: &[Bytes]) -> io::Result<()> {
    let folder = place.parent().unwrap_or(Path::new("."));
    let made = !folder.exists();
    fs::create_dir_all(folder)?;
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let hidden: PathBuf = folder.join(format!(".{name}.writing"));
    let mut file = File::create(&hidden)?;
    let mut slices: Vec<IoSlice> = text.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match file.write_vectored(&left[..left.len().min(512)]) {
            Ok(0) if left.iter().all(|part| part.is_empty()) => break,
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    file.sync_data()?;
    fs::rename(&hidden, place)?;
    sync_folder(place)?;
    if made {
        for above in folder.ancestors().skip(1).take(3) {
            File::open(above).and_then(|folder| folder.sync_all()).ok();
        }
    }
    Ok(())
}

/// Makes a name that came or went durable.
fn sync_folder(place: &Path) -> io::Result<()> {
    match place.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
