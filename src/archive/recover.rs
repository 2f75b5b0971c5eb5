//! Makes the folder of a partition fit for being written on.

use std::sync::Arc;

use super::name::Folder;
use super::part::{Object, Part, split_lines};
use super::target::Target;
use super::{ArchiveError, GROWS_BELOW};

/// Makes what is there of a partition what it was when the checkpoint was written: then the object that begins at `start` ended at `end`, and was the
/// last.
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
    let text = target.get(&marked).await?;
    let records = end - start;
    let Some((kept, rest)) = text.and_then(|text| split_lines(&text, records)) else {
        return Err(target.altered(
            &marked,
            format!(
                "the checkpoint says that it holds {records} records, and it is gone or holds fewer; restore it, or use another archive"
            ),
        ));
    };
    if !rest.is_empty() {
        target.put(&marked, vec![kept.clone()]).await?;
    }
    part.starts.push_back(start);
    if kept.len() < GROWS_BELOW && records < roll_records {
        part.open = Object::at(start);
        part.open.push(kept, records);
        part.open.given = records;
        part.open.written = Arc::new(tokio::sync::Mutex::new(records));
    }
    Ok(())
}

/// Makes sure that a partition of which nothing was committed has its folder to itself.
pub(super) async fn prepare(target: &Target, folder: &Folder) -> Result<(), ArchiveError> {
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
        target.put(&mark, vec![bytes::Bytes::new()]).await?;
    }
    Ok(())
}
