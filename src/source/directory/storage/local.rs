//! A folder of this machine, by the file system's own calls, which block.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Before, Contents, Entry, Listing, Passed, SETTLED, join, millis};
use crate::operator::route::hash_bytes;

/// What a file or folder looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Look {
    /// Its size in bytes.
    pub size: u64,
    /// When it was modified: of a folder, when a name in it came or went.
    pub modified: SystemTime,
    /// Whether it is a regular file.
    pub is_file: bool,
    /// Which one it is, on whatever path it was reached: device and inode.
    pub which: (u64, u64),
    /// See [`Entry::id`].
    pub id: u64,
}

impl Look {
    pub(in super::super) fn of(meta: &Metadata) -> Look {
        let modified = [meta.mtime(), meta.mtime_nsec()];
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&meta.ino().to_le_bytes());
        bytes[8..16].copy_from_slice(&meta.len().to_le_bytes());
        bytes[16..24].copy_from_slice(&modified[0].to_le_bytes());
        bytes[24..].copy_from_slice(&modified[1].to_le_bytes());
        Look {
            size: meta.len(),
            modified: meta.modified().unwrap_or(UNIX_EPOCH),
            is_file: meta.is_file(),
            which: (meta.dev(), meta.ino()),
            id: hash_bytes(&bytes),
        }
    }
}

/// What an entry of a folder is.
enum Kind {
    File,
    Folder,
    /// A pipe, a socket, a device, or a link that leads nowhere.
    Other,
}

fn kind(entry: &DirEntry) -> io::Result<Kind> {
    let told = entry.file_type()?;
    if told.is_file() {
        return Ok(Kind::File);
    }
    if told.is_dir() {
        return Ok(Kind::Folder);
    }
    // A link is what it leads to.
    match fs::metadata(entry.path()) {
        Ok(meta) if told.is_symlink() && meta.is_file() => Ok(Kind::File),
        Ok(meta) if told.is_symlink() && meta.is_dir() => Ok(Kind::Folder),
        _ => Ok(Kind::Other),
    }
}

/// Calls `each` with the names in a folder; there are none if it is gone by now.
fn names(
    place: &Path,
    passed: &mut Passed,
    mut each: impl FnMut(&DirEntry, &str, &mut Passed) -> io::Result<()>,
) -> io::Result<()> {
    let entries = match fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        match entry.file_name().to_str() {
            Some(name) if is_hidden(name) => {}
            Some(name) => each(&entry, name, passed)?,
            None => passed.names.add(&entry.file_name().to_string_lossy()),
        }
    }
    Ok(())
}

/// Names that begin with a dot or an underscore mean nothing.
fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

/// See [`super::Storage::contents`].
pub(super) fn contents(place: &Path, wanted: fn(&str) -> bool) -> io::Result<Contents> {
    let mut contents = Contents::default();
    let Contents { folders, files, .. } = &mut contents;
    let mut passed = Passed::default();
    names(place, &mut passed, |entry, name, passed| {
        match kind(entry)? {
            Kind::Folder => folders.push(name.to_owned()),
            Kind::File if wanted(name) => files.add(name),
            Kind::File => passed.others.add(name),
            Kind::Other if wanted(name) => passed.odd.add(name),
            Kind::Other => {}
        }
        Ok(())
    })?;
    folders.sort();
    contents.passed = passed;
    Ok(contents)
}

/// See [`super::Storage::files`]; what sorts before is always counted.
///
/// Reading a folder is no snapshot of it: of two names that come meanwhile the later may be found
/// and the earlier not. So a folder that is changing is read twice, and only names up to the last
/// one of the first time are taken: whatever came before that name was there when the second time
/// began.
pub(super) fn files(
    root: &Path,
    folder: &str,
    from: &str,
    limit: usize,
    wanted: fn(&str) -> bool,
) -> io::Result<Listing> {
    let place = root.join(folder);
    let began = SystemTime::now();
    let to_last = Part {
        folder,
        from,
        last: None,
        limit,
    };
    let (listing, last) = list(&place, &to_last, wanted)?;
    if last.is_none() || is_settled(&place, began)? {
        return Ok(listing);
    }
    Ok(list(&place, &Part { last, ..to_last }, wanted)?.0)
}

/// Whether a folder has not changed since a moment before `began`, and has not been gone either.
fn is_settled(place: &Path, began: SystemTime) -> io::Result<bool> {
    match fs::metadata(place).and_then(|meta| meta.modified()) {
        Ok(modified) => Ok(began
            .duration_since(modified)
            .is_ok_and(|since| since >= SETTLED)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// What of a folder is listed.
struct Part<'a> {
    folder: &'a str,
    /// The paths from here on.
    from: &'a str,
    /// And up to here, if that is said.
    last: Option<String>,
    limit: usize,
}

/// Reads a folder once; also answers with the last of its paths from `from` on, within the limit or
/// not.
fn list(
    place: &Path,
    part: &Part,
    wanted: fn(&str) -> bool,
) -> io::Result<(Listing, Option<String>)> {
    let mut listing = Listing {
        from: part.from.to_owned(),
        ..Listing::default()
    };
    let mut passed = Passed::default();
    let mut last: Option<String> = None;
    let mut before = 0;
    names(place, &mut passed, |entry, name, passed| {
        let is_wanted = wanted(name);
        match kind(entry)? {
            Kind::File if is_wanted => {}
            Kind::File => {
                passed.others.add(name);
                return Ok(());
            }
            Kind::Folder | Kind::Other if is_wanted => {
                passed.odd.add(name);
                return Ok(());
            }
            Kind::Folder => {
                passed.folders.add(name);
                return Ok(());
            }
            Kind::Other => return Ok(()),
        }
        let path = join(part.folder, name);
        if *path < *part.from {
            before += 1;
            return Ok(());
        }
        if part.last.as_ref().is_some_and(|last| path > *last) {
            return Ok(());
        }
        if last.as_ref().is_none_or(|last| path > *last) {
            last = Some(path.clone());
        }
        listing.entries.push(Entry {
            path,
            size: None,
            modified: None,
            id: None,
        });
        if listing.entries.len() >= part.limit.saturating_mul(2) {
            listing.keep(part.limit);
        }
        Ok(())
    })?;
    listing.keep(part.limit);
    listing.entries.sort();
    listing.before = Some(Before {
        files: before,
        bytes: None,
    });
    listing.passed = Some(passed);
    Ok((listing, last))
}

/// See [`super::Storage::before`].
pub(super) fn before(
    root: &Path,
    folder: &str,
    from: &str,
    wanted: fn(&str) -> bool,
) -> io::Result<Before> {
    let (mut files, mut bytes) = (0, 0);
    let mut passed = Passed::default();
    names(&root.join(folder), &mut passed, |entry, name, _| {
        if wanted(name) && *join(folder, name) < *from {
            match fs::metadata(entry.path()) {
                Ok(meta) if meta.is_file() => {
                    files += 1;
                    bytes += meta.len();
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })?;
    Ok(Before {
        files,
        bytes: Some(bytes),
    })
}

/// See [`super::Storage::all_files`]. A folder that is reached twice is looked into once.
pub(super) fn all_files(root: &Path, folder: String) -> io::Result<(Vec<Entry>, Passed)> {
    let mut found = Vec::new();
    let mut passed = Passed::default();
    let mut folders = vec![folder];
    let mut seen = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        let place = root.join(&folder);
        let which = match fs::metadata(&place) {
            Ok(meta) => Look::of(&meta).which,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if !seen.insert(which) {
            passed.odd.add(&folder);
            continue;
        }
        names(&place, &mut passed, |entry, name, passed| {
            let path = join(&folder, name);
            match kind(entry)? {
                Kind::Folder => folders.push(path),
                Kind::Other => passed.odd.add(&path),
                Kind::File => match fs::metadata(entry.path()) {
                    Ok(meta) => found.push(Entry {
                        path,
                        size: Some(meta.len()),
                        modified: meta.modified().ok().map(millis),
                        // What is the same in a copy of the folder; see `dated`.
                        id: None,
                    }),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                },
            }
            Ok(())
        })?;
    }
    Ok((found, passed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_has_no_name_without_those_that_came_before_it() {
        let place = tempfile::tempdir().expect("a folder");
        let root = place.path();
        let hidden = root.join(".next");
        let add = |number: u64| {
            fs::write(&hidden, "{}")?;
            fs::rename(&hidden, root.join(format!("part-{number:07}.json")))
        };
        let writes = std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..20_000 {
                    add(number).expect("a file");
                }
                writes.store(false, std::sync::atomic::Ordering::Relaxed);
            });
            while writes.load(std::sync::atomic::Ordering::Relaxed) {
                let listing = files(root, "", "", usize::MAX, |_| true).expect("a listing");
                for (number, entry) in listing.entries.iter().enumerate() {
                    assert_eq!(entry.path, format!("part-{number:07}.json"));
                }
            }
        });
    }

    #[test]
    fn a_limit_keeps_the_first_names_however_many_there_are() {
        let place = tempfile::tempdir().expect("a folder");
        for number in 0..10 {
            fs::write(place.path().join(format!("{number}.json")), "{}").expect("a file");
        }
        let listing = files(place.path(), "", "3.json", 4, |_| true).expect("a listing");
        let names: Vec<&str> = listing.entries.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(names, ["3.json", "4.json", "5.json", "6.json"]);
        assert!(listing.more);
        assert_eq!(listing.before.map(|before| before.files), Some(3));
    }
}
