//! A store whose next list can be held back, to see what others do meanwhile.

use super::*;
use futures::StreamExt;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Gate {
    inner: object_store::memory::InMemory,
    closed: Mutex<bool>,
    arrived: Notify,
    opened: Arc<Notify>,
}

impl Gate {
    /// A lake in such a store.
    pub(super) fn before_a_lake() -> (Arc<Gate>, Lake) {
        let gate = Arc::new(Gate::default());
        let url = url::Url::parse("memory:///lake/").unwrap();
        let lake = Lake::on(gate.clone(), Path::from("lake"), url);
        (gate, lake)
    }

    /// Holds back the next list of checkpoints, and no other.
    pub(super) fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    /// Waits until that list was asked for.
    pub(super) async fn waiting(&self) {
        self.arrived.notified().await;
    }

    /// Lets it through.
    pub(super) fn open(&self) {
        self.opened.notify_one();
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store behind a gate")
    }
}

#[async_trait]
impl ObjectStore for Gate {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }
    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }
    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }
    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let is_checkpoints = prefix.is_some_and(|prefix| prefix.as_ref().contains("_checkpoints"));
        if !is_checkpoints || !std::mem::take(&mut *self.closed.lock().unwrap()) {
            return self.inner.list(prefix);
        }
        self.arrived.notify_one();
        let (opened, inner, prefix) = (
            Arc::clone(&self.opened),
            self.inner.clone(),
            prefix.cloned(),
        );
        let listed = async move {
            opened.notified().await;
            inner.list(prefix.as_ref())
        };
        futures::stream::once(listed).flatten().boxed()
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
