//! Objects of the lake: put, put if absent, get, list, delete. Paths are relative to the lake's root.

use super::{Lake, LakeError};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Above this many bytes an upload to a remote store goes in parts, so that no single request runs long.
const MULTIPART_ABOVE: usize = 32 << 20;
/// The size of such a part, and how many travel at once.
const PART_BYTES: usize = 16 << 20;
const PARTS_AT_ONCE: usize = 4;

/// Files that are brought to disk at once.
const SYNCS_AT_ONCE: usize = 8;

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
    pub(crate) async fn put(&self, path: &str, chunks: Vec<Bytes>) -> Result<(), LakeError> {
        let failed = |e| store_error("write", path, e);
        let size: usize = chunks.iter().map(Bytes::len).sum();
        if self.folder.is_some() || size <= MULTIPART_ABOVE {
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
    /// An attempt may have been applied although its answer says otherwise: a lost answer that the client repeats
    /// comes back as "exists". So every answer but success is settled by reading back. With [`LakeError::Unknown`]
    /// the question stays open; asking again with the same bytes is always safe.
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
        match self.get_if_present(path).await {
            Ok(Some(found)) if found == bytes => Ok(Placed::Ours),
            Ok(Some(found)) => Ok(Placed::Theirs(found)),
            // Not there now; a request still on its way may yet arrive, which a repeat of the same put survives.
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

    /// Begins to bring a file to disk. Whoever needs it there still has to ask for it: begun early, that takes no time.
    pub(crate) fn sync_soon(&self, path: &str) {
        if let Some(folder) = &self.folder {
            let file = folder.join(path);
            // What goes wrong here goes wrong again when it is asked for.
            tokio::task::spawn_blocking(move || {
                let _ = std::fs::File::open(file).and_then(|file| file.sync_data());
            });
        }
    }

    /// On a local lake, waits until these files and their names are on disk; elsewhere does nothing, since a
    /// store that answered has kept the object.
    ///
    /// The store library writes local files aside and links or renames them, which survives the death of the
    /// process but syncs nothing, so that a power failure could leave a name without its bytes.
    pub(crate) async fn sync(&self, paths: Vec<String>) -> Result<(), LakeError> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let mut files: Vec<PathBuf> = Vec::new();
        let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
        for path in paths {
            let file = folder.join(&path);
            // A folder may be as new as the file in it, so all of them up to the lake's root.
            let above = file
                .ancestors()
                .skip(1)
                .take_while(|above| above.starts_with(folder));
            folders.extend(above.map(PathBuf::from));
            files.push(file);
        }
        sync_all(files).await?;
        sync_all(folders.into_iter().collect()).await
    }
}

/// Several at once, because the file system writes its journal for all that wait at the same time.
async fn sync_all(mut files: Vec<PathBuf>) -> Result<(), LakeError> {
    let share = files.len().div_ceil(SYNCS_AT_ONCE).max(1);
    let mut tasks = tokio::task::JoinSet::new();
    while !files.is_empty() {
        let some = files.split_off(files.len().saturating_sub(share));
        tasks.spawn_blocking(move || some.iter().try_for_each(|file| sync_one(file)));
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a sync task neither panics nor is cancelled")?;
    }
    Ok(())
}

fn sync_one(file: &std::path::Path) -> Result<(), LakeError> {
    std::fs::File::open(file)
        .and_then(|f| f.sync_all())
        .map_err(|e| LakeError::Store {
            action: "bring to disk",
            path: file.display().to_string(),
            source: Box::new(e),
        })
}

fn store_error(action: &'static str, path: &str, source: Error) -> LakeError {
    LakeError::Store {
        action,
        path: path.to_string(),
        source: Box::new(source),
    }
}
