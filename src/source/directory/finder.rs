//! Finds the folders that hold streams, and starts whoever follows each.
//!
//! The folders of partitions are not looked into, whatever they hold: looking for folders costs
//! about as much as there are folders. What is found on the way and belongs to no stream is noted.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::task::JoinSet;

use super::layout::{Folder, folder, is_entered, is_record_file, year};
use super::shared::{Event, Pause, Shared};
use super::storage::{Contents, Look, SETTLED, StorageFailure};
use super::{dated, named};
use crate::source::SourceError;
use crate::source::unread::{Tally, Why};

/// Folders are looked for so deep.
const DEPTH: usize = 32;

/// Looks for folders until the source is dropped, or once if it is bounded: then it ends with
/// everything that was found.
pub(super) async fn find(shared: Arc<Shared>) -> Result<(), SourceError> {
    let mut finder = Finder {
        shared: Arc::clone(&shared),
        followed: BTreeSet::new(),
        listed: BTreeMap::new(),
        streams: BTreeSet::new(),
        is_there: true,
        tasks: JoinSet::new(),
    };
    let mut pause = Pause::for_storage(&shared.storage);
    let mut is_there = true;
    loop {
        let started = Instant::now();
        let before = finder.followed.len();
        let visited = finder.visit(Vec::new(), &[]).await;
        visited.map_err(|error| shared.storage_failed(&shared.storage.path(""), error))?;
        shared.opening.unread.tell(&shared.name);
        if shared.opening.bounded {
            break;
        }
        if is_there != finder.is_there {
            is_there = finder.is_there;
            if !is_there {
                tracing::warn!(
                    "the folder {} is not there any more; its files are waited for",
                    shared.name
                );
            }
        }
        if finder.followed.len() > before {
            pause.reset();
        }
        pause.wait(started.elapsed()).await;
    }
    while finder.tasks.join_next().await.is_some() {}
    shared.opening.unread.tell(&shared.name);
    shared.tell_empty(&finder.streams);
    let _ = shared.events.send(Event::End);
    Ok(())
}

struct Finder {
    shared: Arc<Shared>,
    followed: BTreeSet<String>,
    /// The folders of folders of this machine, which are listed again when their time changed since
    /// before that.
    listed: BTreeMap<String, (SystemTime, SystemTime, Vec<String>)>,
    /// The streams that have a folder.
    streams: BTreeSet<usize>,
    /// Whether the folder of this machine is there at all.
    is_there: bool,
    tasks: JoinSet<()>,
}

impl Finder {
    /// Visits a folder, below folders of this machine that are `above`.
    fn visit<'a>(
        &'a mut self,
        path: Vec<String>,
        above: &'a [(u64, u64)],
    ) -> futures::future::BoxFuture<'a, Result<(), StorageFailure>> {
        Box::pin(async move {
            let here = self.shared.storage.path(&path.join("/"));
            let looked = self.shared.storage.look(&here).await?;
            if path.is_empty() {
                self.is_there = looked.is_some() || self.shared.storage.is_bucket();
            }
            let mut way = above.to_vec();
            let mut loops = Tally::default();
            if let Some(look) = looked {
                if above.contains(&look.which) || path.len() > DEPTH {
                    loops.add(&here);
                }
                way.push(look.which);
            }
            self.shared.opening.unread.note(&here, Why::Loop, &loops);
            if loops.count > 0 {
                return Ok(());
            }
            let names = self.names(&here, &path, looked).await?;
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
                    self.streams.insert(stream);
                    let there = self.shared.storage.path(&below.join("/"));
                    if self.shared.is_mine(stream, &partition) {
                        self.start(there.clone(), |shared| {
                            named::follow(shared, stream, partition, there)
                        });
                    }
                }
                if !leaf {
                    self.visit(below, &way).await?;
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
    async fn names(
        &mut self,
        here: &str,
        path: &[String],
        looked: Option<Look>,
    ) -> Result<Vec<String>, StorageFailure> {
        let storage = &self.shared.storage;
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let is_named = matches!(
            folder(&self.shared.opening.streams, &parts),
            Folder::Named { .. }
        );
        if storage.is_bucket() && is_named {
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
        if let (Some(look), Some((modified, listed, names))) = (looked, self.listed.get(here))
            && look.modified == *modified
            && listed
                .duration_since(*modified)
                .is_ok_and(|age| age >= SETTLED)
        {
            return Ok(names.clone());
        }
        let began = SystemTime::now();
        let contents = storage.contents(here, is_record_file).await?;
        // Who follows a partition tells what is passed over in its folder.
        if !is_named {
            self.note(here, &parts, &contents);
        }
        let names = contents.folders;
        if let Some(look) = looked {
            let known = (look.modified, began, names.clone());
            self.listed.insert(here.to_owned(), known);
        }
        Ok(names)
    }

    /// Notes what nobody reads of a folder that is no partition's.
    fn note(&self, here: &str, path: &[&str], contents: &Contents) {
        let unread = &self.shared.opening.unread;
        let streams = &self.shared.opening.streams;
        let in_stream = |length| matches!(folder(streams, &path[..length]), Folder::Named { .. });
        let (place, why) = match path {
            [_, .., _] if in_stream(1) => (here, Why::Within),
            [.., "topics", topic, _] => (*topic, Why::NoTopic),
            _ => (here, Why::NoStream),
        };
        unread.note(place, why, &contents.files);
        unread.note(here, Why::NotAFile, &contents.passed.odd);
        unread.note(here, Why::Name, &contents.passed.names);
    }
}
