//! A store that fails, whose answers do not arrive, or that lists what was there before.

use super::*;
use futures::{StreamExt, TryStreamExt};

/// What becomes of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It is not done, and the answer says so.
    Refused,
    /// It is done, but the answer is lost.
    AnswerLost,
    /// It is done, the answer is lost, and so is that of the next read.
    AnswerLostAndBlind,
}

/// A store that does a planned wrong to the next put whose path contains a text, and leaves out of
/// so many lists what contains another.
#[derive(Debug, Default)]
struct Faulty {
    inner: object_store::memory::InMemory,
    plan: Mutex<Option<(&'static str, Fault)>>,
    blind: Mutex<bool>,
    hidden: Mutex<Option<(&'static str, usize)>>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a faulty store")
    }
}

fn away() -> object_store::Error {
    object_store::Error::Generic {
        store: "faulty",
        source: "connection reset".into(),
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let fault = self
            .plan
            .lock()
            .unwrap()
            .take_if(|(text, _)| path.as_ref().contains(*text))
            .map(|(_, fault)| fault);
        if fault == Some(Fault::Refused) {
            return Err(away());
        }
        let answer = self.inner.put_opts(path, payload, options).await;
        *self.blind.lock().unwrap() = fault == Some(Fault::AnswerLostAndBlind);
        if fault.is_some() { Err(away()) } else { answer }
    }
    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }
    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        if std::mem::take(&mut *self.blind.lock().unwrap()) {
            return Err(away());
        }
        self.inner.get_opts(path, options).await
    }
    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let mut hidden = self.hidden.lock().unwrap();
        let Some((text, lists)) = hidden.filter(|(_, lists)| *lists > 0) else {
            return self.inner.list(prefix);
        };
        *hidden = Some((text, lists - 1));
        let shown = move |meta: &ObjectMeta| !meta.location.as_ref().contains(text);
        let listed = self.inner.list(prefix);
        let listed = listed.try_filter(move |meta| std::future::ready(shown(meta)));
        listed.boxed()
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_listed_as_it_was_before_is_listed_again() {
    for lists in 0..12 {
        let store = Arc::new(Faulty::default());
        let lake = Lake::on(
            store.clone(),
            Path::from("lake"),
            url::Url::parse("memory:///lake/").unwrap(),
        );
        let mut committer = begun(&lake, "first").await;
        let second = change(&lake, PIN, 2, 10..20, false).await;
        committer.commit(changes(2, [(PIN, second)])).await.unwrap();
        for lake in [lake.clone(), lake.with_plain_delta()] {
            *store.hidden.lock().unwrap() = Some(("_delta_log/00000000000000000001", lists));
            let (_, found) = open(&lake, "second").await;
            assert_eq!(files(&found.unwrap(), PIN).len(), 2, "{lists} lists");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_repeated_after_any_lost_answer_counts_once() {
    for (place, name) in [
        ("_checkpoints/", "the checkpoint"),
        ("_delta_log/", "a log entry"),
    ] {
        for fault in [Fault::Refused, Fault::AnswerLost, Fault::AnswerLostAndBlind] {
            let store = Arc::new(Faulty::default());
            let lake = Lake::on(
                store.clone(),
                Path::from("lake"),
                url::Url::parse("memory:///lake/").unwrap(),
            );
            let mut committer = begun(&lake, "first").await;

            *store.plan.lock().unwrap() = Some((place, fault));
            let second = changes(2, [(PIN, change(&lake, PIN, 2, 10..20, false).await)]);
            let answer = committer.commit(second.clone()).await;
            let case = format!("{fault:?} at {name}");
            assert_eq!(answer.is_ok(), fault == Fault::AnswerLost, "{case}");
            if let Err(error) = answer {
                assert!(error.is_retryable(), "{case}: {error}");
                assert_eq!(committer.commit(second).await.unwrap(), 2, "{case}");
            }
            committer
                .commit(changes(
                    3,
                    [(PIN, change(&lake, PIN, 3, 20..30, false).await)],
                ))
                .await
                .unwrap();
            let recovered = open(&lake, "second").await.1.unwrap();
            assert_eq!(
                (recovered.number, recovered.rolled_forward),
                (3, 0),
                "{case}"
            );
            assert_eq!(
                keys_of(&lake, &recovered, PIN).await,
                (0..30).collect::<Vec<_>>(),
                "{case}"
            );
            assert_eq!(
                lake.list("tables/pin/_delta_log", None)
                    .await
                    .unwrap()
                    .len(),
                3,
                "{case}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_commit_than_the_one_whose_outcome_is_open_is_refused() {
    let store = Arc::new(Faulty::default());
    let lake = Lake::on(
        store.clone(),
        Path::from("lake"),
        url::Url::parse("memory:///lake/").unwrap(),
    );
    let (mut committer, _) = open(&lake, "first").await;
    *store.plan.lock().unwrap() = Some(("_checkpoints/", Fault::AnswerLostAndBlind));
    let error = committer.commit(changes(1, [])).await.unwrap_err();
    assert!(matches!(error, LakeError::Unknown { .. }), "{error}");
    let error = committer.commit(changes(2, [])).await.unwrap_err();
    assert!(
        matches!(error, LakeError::Unfinished { number: 1 }),
        "{error}"
    );
    committer.commit(changes(1, [])).await.unwrap();
}
