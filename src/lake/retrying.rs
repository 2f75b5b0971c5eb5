//! A store that asks again when the answer was bad: for stores behind a network, of which one
//! answer in thousands is a 500, a 503, a timeout, or a body that breaks off.
//!
//! Whatever may be repeated without harm is: reads, listings, deletions, and puts that replace. A
//! put-if-absent is not, because only its caller can tell its own object from another's
//! ([`super::Lake`]). Bodies are read to their end before they are handed on, so that one that
//! broke off is asked for again here; nobody who reads through this store would do anything else
//! with them.
//!
//! # Invariants
//! 1. No call takes longer than the patience and one answer more. Who wants to wait longer calls
//!    again, and says so.
//! 2. A refusal (not found, not allowed, ..) is an answer, and is handed on at once.
//! 3. Calls that were given up are counted: libraries above this one tell in words what went wrong,
//!    and whether the store was at fault is known here alone.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};

use crate::trouble::{Troubles, Trying};

/// The first pause; each one is twice as long as the one before, up to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// See the module.
#[derive(Clone, Debug)]
pub struct Retrying {
    inner: Arc<dyn ObjectStore>,
    /// For how long a call is repeated.
    patience: Duration,
    given_up: Arc<AtomicU64>,
    troubles: Troubles,
}

impl Retrying {
    /// Asks `inner` again for at most `patience`.
    pub fn new(inner: Arc<dyn ObjectStore>, patience: Duration) -> Self {
        Retrying {
            inner,
            patience,
            given_up: Arc::default(),
            troubles: Troubles::default(),
        }
    }

    /// The same store, which notes in `troubles` what it asks again.
    pub fn noting(self, troubles: Troubles) -> Self {
        Retrying { troubles, ..self }
    }

    /// How many calls the store did not answer well in all that time.
    pub fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::SeqCst)
    }

    fn tries(&self, what: &str, path: &Path) -> Tries {
        Tries {
            trying: self.troubles.trying(format!("{what} `{path}`")),
            until: Instant::now() + self.patience,
            pause: PAUSES.0,
            given_up: Arc::clone(&self.given_up),
        }
    }

    fn note(&self, error: &Error) {
        if !is_refusal(error) {
            self.given_up.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Calls until it goes well, or was refused, or patience is over.
    async fn repeat<'a, T>(
        &self,
        what: &'static str,
        path: &Path,
        call: impl Fn() -> BoxFuture<'a, Result<T>> + Send,
    ) -> Result<T> {
        let mut tries = self.tries(what, path);
        loop {
            match call().await {
                Err(error) if tries.another(&error).await => {
                    tracing::debug!("could not {what} {path}, asking again: {error}");
                }
                answer => return answer,
            }
        }
    }

    /// A listing that goes on behind the last object it has shown when it breaks off; objects come
    /// in order.
    fn list_behind(
        &self,
        prefix: Option<&Path>,
        offset: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let listing = Listing {
            store: self.clone(),
            prefix: prefix.cloned(),
            behind: offset.cloned(),
            objects: None,
            tries: self.tries("list", &prefix.cloned().unwrap_or_default()),
        };
        stream::try_unfold(listing, |mut listing| async move {
            Ok(listing.next().await?.map(|object| (object, listing)))
        })
        .boxed()
    }
}

/// Reads an object to its end.
async fn read_whole(
    store: &dyn ObjectStore,
    path: &Path,
    options: GetOptions,
) -> Result<GetResult> {
    let is_head = options.head;
    let answer = store.get_opts(path, options).await?;
    if is_head || matches!(answer.payload, GetResultPayload::File(..)) {
        return Ok(answer);
    }
    let (meta, range) = (answer.meta.clone(), answer.range.clone());
    let attributes = answer.attributes.clone();
    let body = answer.bytes().await?;
    Ok(GetResult {
        payload: GetResultPayload::Stream(stream::iter([Ok(body)]).boxed()),
        meta,
        range,
        attributes,
    })
}

/// Removes an object, which an earlier try may have done whose answer was lost.
async fn remove(store: Arc<dyn ObjectStore>, path: Path) -> Result<()> {
    match store.delete(&path).await {
        Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What is left of a call's patience.
struct Tries {
    trying: Trying,
    until: Instant,
    pause: Duration,
    given_up: Arc<AtomicU64>,
}

impl Tries {
    /// It went well so far.
    fn renew(&mut self, patience: Duration) {
        self.trying.succeeded();
        (self.until, self.pause) = (Instant::now() + patience, PAUSES.0);
    }

    /// Waits a little before another try; `false` if there is to be none.
    async fn another(&mut self, error: &Error) -> bool {
        if is_refusal(error) {
            return false;
        }
        if Instant::now() + self.pause > self.until {
            self.given_up.fetch_add(1, Ordering::SeqCst);
            return false;
        }
        self.trying.failed(Instant::now(), &error.to_string());
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSES.1);
        true
    }
}

/// Whether the store answered, and would answer the same again.
fn is_refusal(error: &Error) -> bool {
    !matches!(error, Error::Generic { .. } | Error::JoinError { .. })
}

struct Listing {
    store: Retrying,
    prefix: Option<Path>,
    /// The last object that was shown.
    behind: Option<Path>,
    objects: Option<BoxStream<'static, Result<ObjectMeta>>>,
    tries: Tries,
}

impl Listing {
    async fn next(&mut self) -> Result<Option<ObjectMeta>> {
        loop {
            let objects = self.objects.get_or_insert_with(|| {
                let (store, prefix) = (&self.store.inner, self.prefix.as_ref());
                match &self.behind {
                    Some(behind) => store.list_with_offset(prefix, behind),
                    None => store.list(prefix),
                }
            });
            match objects.try_next().await {
                Ok(Some(object)) => {
                    self.behind = Some(object.location.clone());
                    self.tries.renew(self.store.patience);
                    return Ok(Some(object));
                }
                Ok(None) => return Ok(None),
                Err(error) => {
                    if !self.tries.another(&error).await {
                        return Err(error);
                    }
                    self.objects = None;
                }
            }
        }
    }
}

impl fmt::Display for Retrying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Retrying {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if !matches!(options.mode, PutMode::Overwrite) {
            let answer = self.inner.put_opts(path, payload, options).await;
            return answer.inspect_err(|error| self.note(error));
        }
        let put = || {
            let (payload, options) = (payload.clone(), options.clone());
            self.inner.put_opts(path, payload, options)
        };
        self.repeat("write", path, put).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let get = || read_whole(self.inner.as_ref(), path, options.clone()).boxed();
        self.repeat("read", path, get).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let get = || self.inner.get_ranges(path, ranges);
        self.repeat("read", path, get).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        paths
            .and_then(move |path| {
                let this = this.clone();
                async move {
                    let remove = || remove(Arc::clone(&this.inner), path.clone()).boxed();
                    this.repeat("remove", &path, remove).await.map(|()| path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_behind(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_behind(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let place = prefix.cloned().unwrap_or_default();
        let list = || self.inner.list_with_delimiter(prefix);
        self.repeat("list", &place, list).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    /// A store of which every second answer is bad: an error, a body that breaks off, a listing
    /// that does.
    #[derive(Debug, Default)]
    struct Flaky {
        inner: Arc<InMemory>,
        calls: AtomicU64,
    }

    impl Flaky {
        fn bad(&self) -> bool {
            self.calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(2)
        }
    }

    fn away<T>() -> Result<T> {
        Err(Error::Generic {
            store: "flaky",
            source: "connection reset".into(),
        })
    }

    impl fmt::Display for Flaky {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("flaky")
        }
    }

    #[async_trait]
    impl ObjectStore for Flaky {
        async fn put_opts(&self, p: &Path, b: PutPayload, o: PutOptions) -> Result<PutResult> {
            if self.bad() {
                return away();
            }
            self.inner.put_opts(p, b, o).await
        }
        async fn put_multipart_opts(
            &self,
            p: &Path,
            o: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.inner.put_multipart_opts(p, o).await
        }
        async fn get_opts(&self, p: &Path, o: GetOptions) -> Result<GetResult> {
            let is_head = o.head;
            let answer = self.inner.get_opts(p, o).await?;
            if is_head || !self.bad() {
                return Ok(answer);
            }
            let some = Bytes::from("ha");
            Ok(GetResult {
                payload: GetResultPayload::Stream(stream::iter([Ok(some), away()]).boxed()),
                ..answer
            })
        }
        fn delete_stream(
            &self,
            p: BoxStream<'static, Result<Path>>,
        ) -> BoxStream<'static, Result<Path>> {
            match self.bad() {
                true => stream::iter([away()]).boxed(),
                false => self.inner.delete_stream(p),
            }
        }
        fn list(&self, p: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            let all = self.inner.list(p);
            match self.bad() {
                true => all.take(2).chain(stream::iter([away()])).boxed(),
                false => all,
            }
        }
        fn list_with_offset(
            &self,
            p: Option<&Path>,
            o: &Path,
        ) -> BoxStream<'static, Result<ObjectMeta>> {
            let all = self.inner.list_with_offset(p, o);
            match self.bad() {
                true => all.take(1).chain(stream::iter([away()])).boxed(),
                false => all,
            }
        }
        async fn list_with_delimiter(&self, p: Option<&Path>) -> Result<ListResult> {
            match self.bad() {
                true => away(),
                false => self.inner.list_with_delimiter(p).await,
            }
        }
        async fn copy_opts(&self, a: &Path, b: &Path, o: CopyOptions) -> Result<()> {
            self.inner.copy_opts(a, b, o).await
        }
    }

    #[tokio::test]
    async fn what_every_second_answer_spoils_is_done_and_read_whole() {
        let store = Retrying::new(Arc::new(Flaky::default()), Duration::from_secs(60));
        let names: Vec<Path> = (0..9).map(|n| Path::from(format!("a/{n}"))).collect();
        for name in &names {
            store.put(name, "half and half".into()).await.unwrap();
        }
        for name in &names {
            let body = store.get(name).await.unwrap().bytes().await.unwrap();
            assert_eq!(body, "half and half");
            assert_eq!(store.head(name).await.unwrap().size, 13);
            let some = store.get_range(name, 5..8).await.unwrap();
            assert_eq!(some, "and");
        }
        let listed = |objects: Vec<ObjectMeta>| -> Vec<Path> {
            objects.into_iter().map(|object| object.location).collect()
        };
        let all = store.list(None).try_collect().await.unwrap();
        assert_eq!(listed(all), names);
        let behind = store.list_with_offset(None, &names[4]);
        assert_eq!(listed(behind.try_collect().await.unwrap()), names[5..]);
        let folders = store.list_with_delimiter(None).await.unwrap();
        assert_eq!(folders.common_prefixes, [Path::from("a")]);
        store.delete(&names[0]).await.unwrap();
        let gone = store.get(&names[0]).await.unwrap_err();
        assert!(matches!(gone, Error::NotFound { .. }));
        assert_eq!(store.given_up(), 0);
    }

    #[tokio::test]
    async fn a_put_that_must_not_replace_is_left_to_its_caller_and_calls_given_up_are_counted() {
        let patient = Retrying::new(Arc::new(Flaky::default()), Duration::from_secs(60));
        let name = Path::from("a");
        let create = || PutOptions::from(PutMode::Create);
        assert!(patient.put_opts(&name, "x".into(), create()).await.is_err());
        let impatient = Retrying::new(Arc::new(Flaky::default()), Duration::ZERO);
        assert!(impatient.put(&name, "x".into()).await.is_err());
        assert_eq!((patient.given_up(), impatient.given_up()), (1, 1));
    }
}
