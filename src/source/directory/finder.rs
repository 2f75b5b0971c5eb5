//! Finds the folders that hold streams, and starts whoever follows each.
//!
//! The folders of partitions are not looked into, whatever they hold: looking for folders costs about as much as there are folders.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::task::JoinSet;

use super::layout::{Folder, folder, is_entered, year};
use super::shared::{Event, Pause, Shared};
use super::storage::StorageFailure;
use super::{dated, named};
use crate::source::SourceError;

/// Looks for folders until the source is dropped, or once if it is bounded: then it ends with everything that was found.
pub(super) async fn find(shared: Arc<Shared>) -> Result<(), SourceError> {
    let mut finder = Finder {
        shared: Arc::clone(&shared),
        followed: BTreeSet::new(),
        listed: BTreeMap::new(),
        tasks: JoinSet::new(),
    };
    let mut pause = Pause::for_storage(&shared.storage);
    loop {
        let started = Instant::now();
        let before = finder.followed.len();
        let visited = finder.visit(Vec::new()).await;
        visited.map_err(|error| shared.storage_failed(&shared.storage.path(""), error))?;
        if shared.opening.bounded {
            break;
        }
        if finder.followed.len() > before {
            pause.reset();
        }
        pause.wait(started.elapsed()).await;
    }
    while finder.tasks.join_next().await.is_some() {}
    let _ = shared.events.send(Event::End);
    Ok(())
}

struct Finder {
    shared: Arc<Shared>,
    followed: BTreeSet<String>,
    /// The folders of folders of this machine, which are listed again when their time changed since before that.
    listed: BTreeMap<String, (SystemTime, SystemTime, Vec<String>)>,
    tasks: JoinSet<()>,
}

impl Finder {
    fn visit(
        &mut self,
        path: Vec<String>,
    ) -> futures::future::BoxFuture<'_, Result<(), StorageFailure>> {
        Box::pin(async move {
            let here = self.shared.storage.path(&path.join("/"));
            let names = self.names(&here, &path).await?;
            if names.iter().any(|name| year(name).is_some()) {
                self.start(format!("{here}/<dates>"), |shared| {
                    dated::follow(shared, path.clone())
                });
            }
            for name in names {
                if year(&name).is_some() || !is_entered(&name) {
                    continue;
                }
                let mut below = path.clone();
                below.push(name);
                let parts: Vec<&str> = below.iter().map(String::as_str).collect();
                let kind = folder(&self.shared.opening.streams, &parts);
                let mut leaf = false;
                if let Folder::Named {
                    stream,
                    partition,
                    leaf: is_leaf,
                } = kind
                {
                    leaf = is_leaf;
                    let there = self.shared.storage.path(&below.join("/"));
                    if self.shared.is_mine(stream, &partition) {
                        self.start(there.clone(), |shared| {
                            named::follow(shared, stream, partition, there)
                        });
                    }
                }
                if !leaf {
                    self.visit(below).await?;
                }
            }
            Ok(())
        })
    }

    fn start<F>(&mut self, folder: String, follow: impl FnOnce(Arc<Shared>) -> F)
    where
        F: Future<Output = Result<(), SourceError>> + Send + 'static,
    {
        if !self.followed.insert(folder.clone()) {
            return;
        }
        let following = follow(Arc::clone(&self.shared));
        self.tasks
            .spawn(Arc::clone(&self.shared).guarded(folder, following));
    }

    /// The names of the folders in `here`.
    async fn names(&mut self, here: &str, path: &[String]) -> Result<Vec<String>, StorageFailure> {
        let storage = &self.shared.storage;
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        if storage.is_bucket()
            && let Folder::Named { .. } = folder(&self.shared.opening.streams, &parts)
        {
            // Its files may be many, and only dates are looked for among them.
            for first in ["1", "2", "year=1", "year=2"] {
                // The name just before all that begin so.
                let last = first.len() - 1;
                let before = char::from(first.as_bytes()[last] - 1);
                let offset = format!("{here}/{}{before}\u{10ffff}", &first[..last]);
                let found = storage.first_behind(here, &offset).await?;
                let below = found.as_deref().and_then(|found| found.strip_prefix(here));
                let name = below.and_then(|below| below.trim_start_matches('/').split_once('/'));
                if let Some((name, _)) = name.filter(|(name, _)| year(name).is_some()) {
                    return Ok(vec![name.to_owned()]);
                }
            }
            return Ok(Vec::new());
        }
        let looked = storage.look(here).await?;
        if let (Some(look), Some((modified, listed, names))) = (looked, self.listed.get(here))
            && look.modified == *modified
            && listed
                .duration_since(*modified)
                .is_ok_and(|age| age.as_millis() > 100)
        {
            return Ok(names.clone());
        }
        let began = SystemTime::now();
        let names = storage.subfolders(here).await?;
        if let Some(look) = looked {
            let known = (look.modified, began, names.clone());
            self.listed.insert(here.to_owned(), known);
        }
        Ok(names)
    }
}
