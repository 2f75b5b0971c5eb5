//! A process's way to the store: what becomes of each of its requests.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ThreadId;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::{Fate, Put, Request, Storage, away};

/// See the module.
#[derive(Clone)]
pub(in super::super) struct Door {
    pub(in super::super) storage: Arc<Storage>,
    /// The scheduler's thread.
    pub(in super::super) home: ThreadId,
}

impl Door {
    fn is_home(&self) -> bool {
        std::thread::current().id() == self.home
    }

    /// What becomes of a request, once it has arrived.
    async fn ask(&self, request: Request, path: Option<&Path>) -> Result<Fate> {
        let storage = &self.storage;
        if !self.is_home() {
            storage.settle(storage.world.now());
            return storage.draw_for_delta().map(|()| Fate::Done);
        }
        let (fate, there, back) = storage.draw(request, path);
        storage.world.sleep(there + back).await;
        storage.settle(storage.world.now());
        if fate == Fate::Refused {
            return Err(away());
        }
        Ok(fate)
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a simulated store")
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a simulated store")
    }
}

fn not_implemented(operation: &str) -> Error {
    Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "the simulated store".to_owned(),
    }
}

#[async_trait]
impl ObjectStore for Door {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let (storage, path) = (&self.storage, path.clone());
        if !self.is_home() {
            storage.draw_for_delta()?;
            let now = storage.world.now();
            return storage.state().apply(now, path, payload, &options);
        }
        let (fate, there, back) = storage.draw(Request::Put, Some(&path));
        if path.as_ref().contains("_checkpoints/") {
            storage.state().checkpoints_sent += 1;
        }
        let answer = Arc::new(Mutex::new(None));
        if fate == Fate::Refused {
            storage.world.sleep(there).await;
            return Err(away());
        }
        {
            // From here on it is out of the client's hands, dead or alive.
            let mut state = storage.state();
            state.arrivals += 1;
            let late = if fate == Fate::Late { 50 } else { 1 };
            let arrival = (storage.world.now() + there * late, state.arrivals);
            let answer = Arc::clone(&answer);
            state.arriving.insert(
                arrival,
                Put {
                    path,
                    payload,
                    options,
                    answer,
                },
            );
        }
        storage.world.sleep(there).await;
        if fate == Fate::Late {
            return Err(away());
        }
        storage.settle(storage.world.now());
        storage.world.sleep(back).await;
        if fate == Fate::AnswerLost {
            return Err(away());
        }
        let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.expect("it has arrived")
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(not_implemented("put_multipart_opts"))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let fate = self.ask(Request::Read, Some(path)).await?;
        let found = self.storage.state().objects.get(path).cloned();
        let found = found.ok_or_else(|| Error::NotFound {
            path: path.to_string(),
            source: "it is not there".into(),
        })?;
        let meta = found.meta(path);
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            None => 0..meta.size,
            Some(range) => range.as_range(meta.size).map_err(|error| Error::Generic {
                store: "simulated",
                source: error.into(),
            })?,
        };
        let bytes = found.bytes.slice(range.start as usize..range.end as usize);
        let body: Vec<Result<Bytes>> = match fate {
            _ if options.head => Vec::new(),
            Fate::Cut => vec![Ok(bytes.slice(..bytes.len() / 2)), Err(away())],
            _ => vec![Ok(bytes)],
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::iter(body).boxed()),
            meta,
            range,
            attributes: Default::default(),
        })
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let deleted = paths.then(move |path| {
            let this = this.clone();
            async move {
                let path = path?;
                this.ask(Request::Read, Some(&path)).await?;
                let now = this.storage.world.now();
                let mut state = this.storage.state();
                state.changes(now, &path);
                state.objects.remove(&path);
                state.expired += u64::from(path.as_ref().contains("/_delta_log/"));
                Ok(path)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            let fate = match this.ask(Request::List, prefix.as_ref()).await {
                Err(error) => return stream::iter(vec![Err(error)]),
                Ok(fate) => fate,
            };
            let of = this.storage.listed(fate);
            let found = this.storage.state().list(prefix.as_ref(), of);
            let mut found: Vec<_> = found.into_iter().map(Ok).collect();
            if fate == Fate::Cut {
                found.truncate(found.len() / 2);
                found.push(Err(away()));
            }
            stream::iter(found)
        };
        listed.flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let fate = self.ask(Request::List, prefix).await?;
        let of = self.storage.listed(fate);
        let found = self.storage.state().list(prefix, of);
        let root = Path::default();
        let prefix = prefix.unwrap_or(&root);
        let (mut objects, mut folders) = (Vec::new(), BTreeSet::new());
        for object in found {
            let mut parts = object.location.prefix_match(prefix).into_iter().flatten();
            let folder = parts.next().map(|part| prefix.clone().join(part));
            let deeper = parts.next().is_some();
            drop(parts);
            match folder {
                Some(folder) if deeper => drop(folders.insert(folder)),
                _ => objects.push(object),
            }
        }
        Ok(ListResult {
            objects,
            common_prefixes: folders.into_iter().collect(),
        })
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(not_implemented("copy_opts"))
    }
}
