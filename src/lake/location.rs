//! From the words of the user (`./lake`, `s3://bucket/prefix`) to a store and a root in it.

use super::LakeError;
use super::local::Local;
use super::retrying::Retrying;
use crate::redact::redact;
use crate::trouble::Troubles;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// The environment variables that reach S3; all others are ignored, and none of their values is
/// ever shown.
const S3_ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

/// For how long a bad answer about a lake is asked for again before the caller hears of it, who
/// says so, is asked to stop meanwhile, and calls again.
const LAKE_PATIENCE: Duration = Duration::from_secs(3);
/// The same for sources and archives, whose callers give up.
const BUCKET_PATIENCE: Duration = Duration::from_secs(60);
/// How long a connection may take, and a whole request: a part of an upload over a slow line.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// One lake: a store, and the root of the lake in it. Cheap to clone.
#[derive(Clone)]
pub struct Lake {
    /// Rooted at the file system or bucket.
    pub(super) store: Retrying,
    /// The same store, rooted at the lake.
    pub(super) rooted: Arc<dyn ObjectStore>,
    /// The lake's root in `store`.
    pub(super) root: Path,
    /// `file:///…/`, `s3://…/`; ends with a slash and holds no credential.
    pub(super) url: Url,
    /// The root as a folder, and what writes there, if the lake is on this machine.
    pub(super) local: Option<(PathBuf, Local)>,
    /// Where deltalake-core works, if not where it is called.
    delta_runtime: Option<tokio::runtime::Handle>,
    /// Whether its plain twin reads and tidies Delta logs.
    #[cfg(test)]
    plain_delta: bool,
}

impl Lake {
    /// Opens the lake at `location`: `s3://bucket[/prefix]`, or a local folder. Nothing is written:
    /// the folder comes with the first object in it.
    ///
    /// S3 takes `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION` and
    /// `AWS_ENDPOINT_URL` (plain `http://` allowed) from the environment. S3 needs a multi-threaded
    /// tokio runtime: on a single-threaded one deltalake-core reads logs on a runtime of its own,
    /// whose end closes our connections. The store must honour `If-None-Match: *` on put, as S3,
    /// MinIO and R2 do.
    pub fn open(location: &str) -> Result<Lake, LakeError> {
        Lake::open_within(location, LAKE_PATIENCE)
    }

    fn open_within(location: &str, patience: Duration) -> Result<Lake, LakeError> {
        if location.starts_with("s3://") || location.starts_with("s3a://") {
            return open_s3(location, patience);
        }
        let folder = match location.strip_prefix("file://") {
            Some(_) => Url::parse(location)
                .ok()
                .and_then(|url| url.to_file_path().ok())
                .ok_or_else(|| refused(location, "it is not a file URL of this machine"))?,
            None if location.contains("://") => {
                return Err(refused(
                    location,
                    "only a local folder and `s3://bucket/prefix` are supported",
                ));
            }
            None if location.is_empty() => return Err(refused(location, "it is empty")),
            None => PathBuf::from(location),
        };
        open_folder(location, folder)
    }

    /// A lake on a given store, for simulations and tests: `root` inside `store`, known to Delta as
    /// `url`. Bad answers are not asked for again.
    pub fn on(store: Arc<dyn ObjectStore>, root: Path, url: Url) -> Lake {
        Lake::with(Retrying::new(store, Duration::ZERO), root, url)
    }

    fn with(store: Retrying, root: Path, url: Url) -> Lake {
        let rooted = PrefixStore::new(store.clone(), root.clone());
        Lake {
            store,
            rooted: Arc::new(rooted),
            root,
            url,
            local: None,
            delta_runtime: None,
            #[cfg(test)]
            plain_delta: false,
        }
    }

    /// Lets deltalake-core work on `runtime`, and the caller wait for it without doing anything
    /// else: it brings threads of its own, and a simulation has none.
    #[cfg(test)]
    pub(crate) fn with_delta_on(self, runtime: tokio::runtime::Handle) -> Lake {
        Lake {
            delta_runtime: Some(runtime),
            ..self
        }
    }

    /// Lets the plain twin of deltalake-core read and tidy Delta logs.
    #[cfg(test)]
    pub(crate) fn with_plain_delta(self) -> Lake {
        Lake {
            plain_delta: true,
            ..self
        }
    }

    /// Whether the plain twin of deltalake-core reads and tidies Delta logs.
    #[cfg(test)]
    pub(crate) fn has_plain_delta(&self) -> bool {
        self.plain_delta
    }

    /// Lets deltalake-core do something in a task of its own.
    pub(crate) async fn ask_delta<T: Send + 'static>(
        &self,
        asking: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        match &self.delta_runtime {
            None => tokio::spawn(asking).await,
            Some(runtime) => futures::executor::block_on(runtime.spawn(asking)),
        }
    }

    /// The store of a source or an archive at `location`, rooted there. What it asks again is noted
    /// in `troubles`.
    pub fn bucket(location: &str, troubles: &Troubles) -> Result<Arc<dyn ObjectStore>, LakeError> {
        let lake = Lake::open_within(location, BUCKET_PATIENCE)?;
        let store = lake.store.noting(troubles.clone());
        Ok(Arc::new(PrefixStore::new(store, lake.root)))
    }

    /// Where the lake is, for people.
    pub fn location(&self) -> String {
        match &self.local {
            Some((folder, _)) => folder.display().to_string(),
            None => self.url.as_str().trim_end_matches('/').to_string(),
        }
    }

    /// Whether the lake is a folder of this machine.
    pub fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// The store as Delta needs it for one table: rooted at the table, rooted at the bucket, and
    /// the table's URL.
    pub(crate) fn delta(&self, table: &str) -> (Arc<dyn ObjectStore>, Arc<dyn ObjectStore>, Url) {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{table}/", self.url.path()));
        let at_table = PrefixStore::new(self.rooted.clone(), Path::from(table));
        (Arc::new(at_table), Arc::new(self.store.clone()), url)
    }

    /// How many calls the store did not answer well so far, tried again or not.
    pub(crate) fn given_up(&self) -> u64 {
        self.store.given_up()
    }
}

impl fmt::Debug for Lake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lake").field(&self.location()).finish()
    }
}

fn refused(location: &str, why: impl fmt::Display) -> LakeError {
    LakeError::Location {
        location: redact(location),
        why: why.to_string(),
    }
}

fn open_folder(location: &str, folder: PathBuf) -> Result<Lake, LakeError> {
    let folder = std::path::absolute(&folder).map_err(|e| refused(location, e))?;
    // The folder comes with the first object, so only what is there can be looked at now.
    let there = folder.ancestors().find(|above| above.exists());
    let there = there.ok_or_else(|| refused(location, "no folder on the way to it is there"))?;
    if !there.is_dir() {
        let why = format!("{} is not a folder", there.display());
        return Err(refused(location, why));
    }
    rustix::fs::access(there, rustix::fs::Access::WRITE_OK).map_err(|error| {
        let why = format!("{} may not be written: {error}", there.display());
        refused(location, why)
    })?;
    let base = there.canonicalize().map_err(|e| refused(location, e))?;
    let missing = folder
        .strip_prefix(there)
        .map_err(|e| refused(location, e))?;
    let folder = match missing.as_os_str().is_empty() {
        true => base.clone(),
        false => base.join(missing),
    };
    let root = Path::from_absolute_path(&folder).map_err(|e| refused(location, e))?;
    let url = Url::from_directory_path(&folder)
        .map_err(|()| refused(location, "it is not an absolute path"))?;
    let local = Local::new(base);
    Ok(Lake {
        local: Some((folder, local.clone())),
        ..Lake::on(Arc::new(local), root, url)
    })
}

fn open_s3(location: &str, patience: Duration) -> Result<Lake, LakeError> {
    let url = Url::parse(location).map_err(|e| refused(location, e))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused(
            location,
            "keys belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, not in the location",
        ));
    }
    let bucket = url
        .host_str()
        .ok_or_else(|| refused(location, "it names no bucket"))?;
    let root = Path::from_url_path(url.path()).map_err(|e| refused(location, e))?;

    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_client_options(
            ClientOptions::new()
                .with_connect_timeout(CONNECT_WITHIN)
                .with_timeout(ANSWER_WITHIN),
        )
        // Only what is over in a moment is tried again unseen; everything else is for `Retrying`,
        // and for those who call it.
        .with_retry(RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(50),
                max_backoff: Duration::from_millis(200),
                base: 2.0,
            },
            max_retries: 2,
            retry_timeout: Duration::from_secs(1),
        });
    let endpoint = S3_ENDPOINTS
        .iter()
        .find_map(|name| std::env::var(name).ok());
    if let Some(endpoint) = endpoint {
        builder = builder
            .with_allow_http(endpoint.starts_with("http://"))
            .with_endpoint(endpoint);
    }
    let store = builder.build().map_err(|e| refused(location, e))?;
    let mut lake_url = Url::parse(&format!("s3://{bucket}/")).map_err(|e| refused(location, e))?;
    if !root.as_ref().is_empty() {
        lake_url.set_path(&format!("/{root}/"));
    }
    let store = Retrying::new(Arc::new(store), patience);
    Ok(Lake::with(store, root, lake_url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_by_its_absolute_path_and_comes_with_the_first_object() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = dir.path().join("a lake/é");
        let lake = Lake::open(wanted.to_str().unwrap()).unwrap();
        assert!(!wanted.exists());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let object = vec![bytes::Bytes::from("x")];
        runtime.block_on(lake.put("a/b", object)).unwrap();
        assert_eq!(std::fs::read(wanted.join("a/b")).unwrap(), b"x");
        let canonical = wanted.canonicalize().unwrap();
        assert_eq!(lake.location(), canonical.display().to_string());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let inside = dir.path().join("file/lake");
        let error = Lake::open(inside.to_str().unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("file is not a folder"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_a_lake_is_refused_in_a_sentence_without_secrets() {
        for (location, expect) in [
            (
                "gs://bucket",
                "only a local folder and `s3://bucket/prefix` are supported",
            ),
            ("", "it is empty"),
            ("s3://", "cannot be used"),
            (
                "s3://KEY:hunter2@bucket/x",
                "keys belong in AWS_ACCESS_KEY_ID",
            ),
        ] {
            let error = Lake::open(location).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
