//! Makes the folder of a partition fit for being written on.

use std::sync::Arc;

use super::name::Folder;
use super::part::{Object, Part, Stored, split_lines};
use super::target::{Lock, Target, Version};
use super::{ArchiveError, GROWS_BELOW};

/// How often it is tried to cut an object that someone else may still be writing.
const TRIES: u32 = 3;

/// Makes what is there of a partition what it was when the checkpoint was written: then the object
/// that begins at `start` ended at `end`, and was the last.
pub(super) async fn recover(
    target: &Target,
    part: &mut Part,
    start: u64,
    end: u64,
    roll_records: u64,
) -> Result<(), ArchiveError> {
    let folder = &part.folder;
    target.delete(&folder.mark()).await?;
    let marked = folder.object(start);
    for path in target.list(&folder.path, &marked).await? {
        if path != marked && folder.start(&path).is_some_and(|other| other >= start) {
            target.delete(&path).await?;
        }
    }
    let records = end - start;
    let mut tries = 0;
    let (kept, version) = loop {
        let found = target.get(&marked).await?;
        let cut = found.and_then(|(text, version)| Some((split_lines(&text, records)?, version)));
        let Some(((kept, rest), mut version)) = cut else {
            return Err(target.altered(
                &marked,
                format!(
                    "the checkpoint says that it holds {records} records, and it is gone or holds fewer; restore it, or use another archive"
                ),
            ));
        };
        if rest.is_empty() {
            break (kept, version);
        }
        tries += 1;
        let text = vec![kept.clone()];
        match target.replace(&marked, text, &mut version).await {
            Ok(()) => break (kept, version),
            // A request of the process before may have come in between.
            Err(error) if tries == TRIES => return Err(error),
            Err(_) => {}
        }
    };
    part.starts.push_back(start);
    // In a bucket it is gone on with even if it is large: once it was written again, whoever wrote
    // it before comes too late.
    if (kept.len() < GROWS_BELOW || target.is_bucket()) && records < roll_records {
        part.open = Object::at(start);
        part.open.push(kept, records);
        part.open.given = records;
        let stored = Stored { records, version };
        part.open.stored = Arc::new(tokio::sync::Mutex::new(stored));
    }
    Ok(())
}

/// Makes sure that a partition of which nothing was committed has its folder to itself.
pub(super) async fn prepare(target: &Target, folder: &Folder) -> Result<Lock, ArchiveError> {
    let lock = target.lock(&folder.path).await?;
    let all = target
        .list(&folder.path, &format!("{}/", folder.path))
        .await?;
    let mark = folder.mark();
    let marked = all.contains(&mark);
    for path in all.iter().filter(|path| folder.start(path).is_some()) {
        if !marked {
            return Err(target.altered(
                path,
                "the lake's checkpoint does not know of it, so someone else wrote it, or an archive that was left off; use another archive, or move these objects away".to_owned(),
            ));
        }
        target.delete(path).await?;
    }
    if !marked {
        let nothing = vec![bytes::Bytes::new()];
        target.put(&mark, nothing, &mut Version::default()).await?;
    }
    Ok(lock)
}
