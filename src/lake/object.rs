//! Objects of the lake: put, put if absent, get, list, delete. Paths are relative to the lake's
//! root.

use super::local::{SyncFailed, Unsettled};
use super::{Lake, LakeError};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart};

/// Above this many bytes an upload to a remote store goes in parts, so that no single request runs
/// long.
const MULTIPART_ABOVE: usize = 32 << 20;
/// The size of such a part, and how many travel at once.
const PART_BYTES: usize = 16 << 20;
const PARTS_AT_ONCE: usize = 4;

/// What a put-if-absent found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// The object holds our bytes: just now, or by an earlier attempt whose answer was lost.
    Ours,
    /// The object holds someone else's bytes, and was left as it is.
    Theirs(Bytes),
}

impl Lake {
    /// Puts an object made of these chunks, whole; a later put of the same path would replace it.
    /// On a local lake it is on disk only after [`Lake::settle`].
    pub(crate) async fn put(&self, path: &str, chunks: Vec<Bytes>) -> Result<(), LakeError> {
        let failed = |e| store_error("write", path, e);
        if let Some((_, local)) = &self.local {
            return local.stage(&self.full(path), chunks).await.map_err(failed);
        }
        let size: usize = chunks.iter().map(Bytes::len).sum();
        if size <= MULTIPART_ABOVE {
            let whole = chunks.into_iter().collect::<PutPayload>();
            self.rooted
                .put(&Path::from(path), whole)
                .await
                .map_err(failed)?;
            return Ok(());
        }
        let upload = self
            .rooted
            .put_multipart(&Path::from(path))
            .await
            .map_err(failed)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        for chunk in chunks {
            upload
                .wait_for_capacity(PARTS_AT_ONCE)
                .await
                .map_err(failed)?;
            upload.put(chunk);
        }
        upload.finish().await.map_err(failed)?;
        Ok(())
    }

    /// Puts an object unless there is one, and says whose bytes are there afterwards.
    ///
    /// An attempt may have been applied although its answer says otherwise: a lost answer that the
    /// client repeats comes back as "exists". So every answer but success is settled by reading
    /// back. With [`LakeError::Unknown`] the question stays open; asking again with the same bytes
    /// is always safe.
    pub(crate) async fn put_if_absent(
        &self,
        path: &str,
        bytes: Bytes,
    ) -> Result<Placed, LakeError> {
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        let answer = self
            .rooted
            .put_opts(&Path::from(path), bytes.clone().into(), options)
            .await;
        let Err(error) = answer else {
            return Ok(Placed::Ours);
        };
        if let Some(failed) = sync_failed(&error) {
            return Err(failed);
        }
        match self.get_if_present(path).await {
            Ok(Some(found)) if found == bytes => Ok(Placed::Ours),
            Ok(Some(found)) => Ok(Placed::Theirs(found)),
            // Not there now; a request still on its way may yet arrive, which a repeat of the same
            // put survives.
            Ok(None) => Err(store_error("write", path, error)),
            Err(_) => Err(LakeError::Unknown {
                path: path.to_string(),
                source: Box::new(error),
            }),
        }
    }

    /// The bytes of an object.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, LakeError> {
        let failed = |e| store_error("read", path, e);
        self.rooted
            .get(&Path::from(path))
            .await
            .map_err(failed)?
            .bytes()
            .await
            .map_err(failed)
    }

    /// The bytes of an object, or `None` if there is no such object.
    pub(crate) async fn get_if_present(&self, path: &str) -> Result<Option<Bytes>, LakeError> {
        match self.rooted.get(&Path::from(path)).await {
            Ok(object) => Ok(Some(
                object
                    .bytes()
                    .await
                    .map_err(|e| store_error("read", path, e))?,
            )),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(store_error("read", path, e)),
        }
    }

    /// Whether there is such an object.
    pub(crate) async fn exists(&self, path: &str) -> Result<bool, LakeError> {
        match self.rooted.head(&Path::from(path)).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(store_error("look for", path, e)),
        }
    }

    /// The names of the objects in `folder` that sort after `after` (exclusive), sorted.
    pub(crate) async fn list(
        &self,
        folder: &str,
        after: Option<&str>,
    ) -> Result<Vec<String>, LakeError> {
        let path = Path::from(folder);
        let objects = match after {
            Some(after) => self
                .rooted
                .list_with_offset(Some(&path), &Path::from(format!("{folder}/{after}"))),
            None => self.rooted.list(Some(&path)),
        };
        let mut names: Vec<String> = objects
            .map_ok(|object| object.location.filename().unwrap_or_default().to_string())
            .try_collect()
            .await
            .map_err(|e| store_error("list", folder, e))?;
        names.sort_unstable();
        Ok(names)
    }

    /// Removes an object; one that is gone already is no error.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), LakeError> {
        match self.rooted.delete(&Path::from(path)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(store_error("remove", path, e)),
        }
    }

    /// Waits until these staged files are there to stay, so that a checkpoint may name them.
    ///
    /// On a local lake they and their names are on disk then. Any other store that answered has
    /// kept the object.
    pub(crate) async fn settle(&self, paths: &[String]) -> Result<(), LakeError> {
        let Some((_, local)) = &self.local else {
            return Ok(());
        };
        let full: Vec<Path> = paths.iter().map(|path| self.full(path)).collect();
        local.settle(&full).await.map_err(|why| match why {
            Unsettled::Gone(place) => LakeError::Vanished {
                path: place.display().to_string(),
            },
            Unsettled::Sync(failed) => sync_error(&failed),
        })
    }

    /// On a local lake, brings the names in these folders to disk, which another run may have
    /// written last.
    pub(crate) async fn settle_names(&self, folders: &[String]) -> Result<(), LakeError> {
        let Some((_, local)) = &self.local else {
            return Ok(());
        };
        let folders = folders.iter().map(|folder| self.full(folder));
        let settled = local.settle_names(folders).await;
        settled.map_err(|failed| sync_error(&failed))
    }

    /// On a local lake, removes what runs that ended were writing in these folders.
    pub(crate) async fn sweep(&self, folders: &[String]) {
        let Some((_, local)) = &self.local else {
            return;
        };
        let full = folders.iter().map(|folder| self.full(folder)).collect();
        if let Err(error) = local.sweep(full).await {
            tracing::debug!("leftovers stay in the lake: {error}");
        }
    }

    /// A path of the lake in the store that is rooted at the file system or bucket.
    fn full(&self, path: &str) -> Path {
        let path = Path::from(path);
        self.root.parts().chain(path.parts()).collect()
    }

    /// The folders right in `folder`, sorted.
    pub(crate) async fn folders(&self, folder: &str) -> Result<Vec<String>, LakeError> {
        let path = Path::from(folder);
        let found = self.rooted.list_with_delimiter(Some(&path)).await;
        let found = found.map_err(|e| store_error("list", folder, e))?;
        let names = found.common_prefixes.iter().filter_map(Path::filename);
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort_unstable();
        Ok(names)
    }
}

/// What a local store says when a name could not be brought to disk.
fn sync_failed(error: &Error) -> Option<LakeError> {
    let Error::Generic { source, .. } = error else {
        return None;
    };
    source.downcast_ref().map(sync_error)
}

fn sync_error(failed: &SyncFailed) -> LakeError {
    LakeError::Sync {
        path: failed.place.display().to_string(),
        why: failed.why.clone(),
    }
}

fn store_error(action: &'static str, path: &str, source: Error) -> LakeError {
    if let Some(failed) = sync_failed(&source) {
        return failed;
    }
    LakeError::Store {
        action,
        path: path.to_string(),
        source: Box::new(source),
    }
}
