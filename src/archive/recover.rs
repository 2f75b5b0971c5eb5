//! Makes the folder of a partition fit for being written on.

use std::sync::Arc;

use bytes::Bytes;

use super::name::Folder;
use super::part::{Object, Part, Stored, split_lines};
use super::target::{Lock, Target, Version};
use super::{ArchiveError, GROWS_BELOW};

/// How often it is tried to cut what someone else may still be writing.
const TRIES: u32 = 3;

/// What there is of a partition from the object on that its mark names.
pub(super) struct Tail {
    /// The records of that object that the mark vouches for.
    kept: Bytes,
    version: Version,
    /// Whether it has more records.
    longer: bool,
    /// The objects that begin behind it.
    behind: Vec<String>,
}

impl Tail {
    /// Whether there is nothing but what the mark vouches for.
    pub(super) fn is_cut(&self) -> bool {
        !self.longer && self.behind.is_empty()
    }
}

/// Looks at a partition whose checkpoint says that the object that begins at `start` was the last,
/// and ended at `end`.
pub(super) async fn tail(
    target: &Target,
    folder: &Folder,
    (start, end): (u64, u64),
) -> Result<Tail, ArchiveError> {
    let marked = folder.object(start);
    let mut behind = target.list(&folder.path, &marked).await?;
    behind.retain(|path| *path != marked && folder.start(path).is_some_and(|other| other >= start));
    let records = end - start;
    let found = target.get(&marked).await?;
    let split = found.and_then(|(text, version)| Some((split_lines(&text, records)?, version)));
    let Some(((kept, rest), version)) = split else {
        return Err(target.altered(
            &marked,
            format!(
                "the checkpoint says that it holds {records} records, and it is gone or holds \
                 fewer; restore it, or use another archive"
            ),
        ));
    };
    Ok(Tail {
        kept,
        version,
        longer: !rest.is_empty(),
        behind,
    })
}

/// Cuts off what the mark does not vouch for.
pub(super) async fn cut(
    target: &Target,
    folder: &Folder,
    mark: (u64, u64),
) -> Result<Tail, ArchiveError> {
    let mut tries = 0;
    loop {
        let tail = tail(target, folder, mark).await?;
        if tail.is_cut() {
            return Ok(tail);
        }
        for path in &tail.behind {
            target.delete(path).await?;
        }
        tries += 1;
        let mut version = tail.version;
        let text = vec![tail.kept];
        let marked = folder.object(mark.0);
        match target.replace(&marked, text, &mut version).await {
            // A request of the process before may have come in between.
            Err(error) if tries == TRIES => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
}

/// Goes on with a partition that was cut.
pub(super) fn resume(
    part: &mut Part,
    (start, end): (u64, u64),
    tail: Tail,
    roll_records: u64,
    is_bucket: bool,
) {
    let records = end - start;
    part.starts.push_back(start);
    // In a bucket it is gone on with even if it is large: once it was written again, whoever wrote
    // it before comes too late.
    if (tail.kept.len() < GROWS_BELOW || is_bucket) && records < roll_records {
        part.open = Object::at(start);
        part.open.push(tail.kept, records);
        part.open.given = records;
        let stored = Stored {
            records,
            version: tail.version,
        };
        part.open.stored = Arc::new(tokio::sync::Mutex::new(stored));
    }
}

/// Makes sure that a partition of which nothing was committed has its folder to itself. What it
/// finds there goes only where the lake `is_fenced`: a checkpoint on its way may vouch for it.
pub(super) async fn prepare(
    target: &Target,
    folder: &Folder,
    is_fenced: bool,
) -> Result<Lock, ArchiveError> {
    let lock = target.lock(&folder.path).await?;
    let mut objects = target
        .list(&folder.path, &format!("{}/", folder.path))
        .await?;
    let (mark, old_mark) = (folder.mark(), folder.old_mark());
    let has_old_mark = objects.contains(&old_mark);
    objects.retain(|path| folder.start(path).is_some());
    if let Some(first) = objects.first() {
        if !has_old_mark && target.get(&mark).await?.is_none() {
            return Err(target.altered(
                first,
                "the lake's checkpoint does not know of it, so someone else wrote it, or an \
                 archive that was left off; use another archive, or move these objects away"
                    .to_owned(),
            ));
        }
        if !is_fenced {
            return Err(target.altered(
                first,
                "it was written after this run had begun, so another pinflow writes this archive; \
                 stop one of the two, then start again"
                    .to_owned(),
            ));
        }
    }
    // One of the marks is there until nothing else is.
    if objects.is_empty() || has_old_mark {
        let nothing = vec![Bytes::new()];
        target.put(&mark, nothing, &mut Version::default()).await?;
    }
    for path in &objects {
        target.delete(path).await?;
    }
    if has_old_mark {
        target.delete(&old_mark).await?;
    }
    Ok(lock)
}
