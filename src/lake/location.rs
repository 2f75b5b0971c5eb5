//! From the words of the user (`./lake`, `s3://bucket/prefix`) to a store and a root in it.

use super::LakeError;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// The environment variables that reach S3; all others are ignored, and none of their values is ever shown.
const S3_ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

/// One lake: a store, and the root of the lake in it. Cheap to clone.
#[derive(Clone)]
pub struct Lake {
    /// Rooted at the file system or bucket.
    pub(super) store: Arc<dyn ObjectStore>,
    /// The same store, rooted at the lake.
    pub(super) rooted: Arc<dyn ObjectStore>,
    /// `file:///…/`, `s3://…/`; ends with a slash and holds no credential.
    pub(super) url: Url,
    /// The root as a folder, if files can be synced to disk there.
    pub(super) folder: Option<PathBuf>,
}

impl Lake {
    /// Opens the lake at `location`: `s3://bucket[/prefix]`, or a local folder, which is created if absent.
    ///
    /// S3 takes `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION` and
    /// `AWS_ENDPOINT_URL` (plain `http://` allowed) from the environment. S3 needs a multi-threaded tokio runtime: on a
    /// single-threaded one deltalake-core reads logs on a runtime of its own, whose end closes our connections. The store must honour
    /// `If-None-Match: *` on put, as S3, MinIO and R2 do.
    pub fn open(location: &str) -> Result<Lake, LakeError> {
        if location.starts_with("s3://") || location.starts_with("s3a://") {
            return open_s3(location);
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

    /// A lake on a given store, for simulations and tests: `root` inside `store`, known to Delta as `url`.
    pub fn on(store: Arc<dyn ObjectStore>, root: Path, url: Url) -> Lake {
        let rooted: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(store.clone(), root));
        Lake {
            store,
            rooted,
            url,
            folder: None,
        }
    }

    /// The store, rooted at the lake's folder.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.rooted)
    }

    /// Where the lake is, for people.
    pub fn location(&self) -> String {
        match &self.folder {
            Some(folder) => folder.display().to_string(),
            None => self.url.as_str().trim_end_matches('/').to_string(),
        }
    }

    /// Whether the lake is a folder of this machine.
    pub fn is_local(&self) -> bool {
        self.folder.is_some()
    }

    /// The store as Delta needs it for one table: rooted at the table, rooted at the bucket, and the table's URL.
    pub(crate) fn delta(&self, table: &str) -> (Arc<dyn ObjectStore>, Arc<dyn ObjectStore>, Url) {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{table}/", self.url.path()));
        let at_table = PrefixStore::new(self.rooted.clone(), Path::from(table));
        (Arc::new(at_table), self.store.clone(), url)
    }
}

impl fmt::Debug for Lake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lake").field(&self.location()).finish()
    }
}

fn refused(location: &str, why: impl fmt::Display) -> LakeError {
    LakeError::Location {
        location: without_credentials(location),
        why: why.to_string(),
    }
}

/// Someone may write `s3://key:secret@bucket`, which is wrong, and must still not be echoed.
fn without_credentials(location: &str) -> String {
    match (location.find("://"), location.find('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}://…{}", &location[..scheme], &location[at..])
        }
        _ => location.to_string(),
    }
}

fn open_folder(location: &str, folder: PathBuf) -> Result<Lake, LakeError> {
    std::fs::create_dir_all(&folder)
        .map_err(|e| refused(location, format!("the folder cannot be made: {e}")))?;
    let folder = folder.canonicalize().map_err(|e| refused(location, e))?;
    let root = Path::from_absolute_path(&folder).map_err(|e| refused(location, e))?;
    let url = Url::from_directory_path(&folder)
        .map_err(|()| refused(location, "it is not an absolute path"))?;
    Ok(Lake {
        folder: Some(folder),
        ..Lake::on(Arc::new(LocalFileSystem::new()), root, url)
    })
}

fn open_s3(location: &str) -> Result<Lake, LakeError> {
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
        .with_retry(RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(5),
                base: 2.0,
            },
            max_retries: 8,
            retry_timeout: Duration::from_secs(60),
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
    Ok(Lake::on(Arc::new(store), root, lake_url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_and_known_by_its_absolute_path() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = dir.path().join("a lake/é");
        let lake = Lake::open(wanted.to_str().unwrap()).unwrap();
        assert!(wanted.is_dir());
        assert_eq!(
            lake.location(),
            wanted.canonicalize().unwrap().display().to_string()
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
