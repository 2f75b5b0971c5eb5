//! Files that are to outlive a power failure: the few calls through which whatever must be durable
//! is written.
//!
//! They are the operating system's own, under names that say what they are for. All durable writes
//! go through here, so that tests can record them (`tape`) and rebuild the disk as a power failure
//! at any moment might have left it (`image`). Nothing is recorded outside of this crate's tests.
//!
//! # What a file system promises
//! Bytes are on disk once their file is synced, names once their folder is; whatever was not synced
//! may be there, missing, or there in part, in any order. So an object that must be whole is
//! written to a file of its own, synced, given its name, and then the folder is synced ([`Whole`]).

#[cfg(test)]
pub(crate) mod cases;
#[cfg(test)]
pub(crate) mod image;
#[cfg(test)]
pub(crate) mod tape;

use std::fs;
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

#[cfg(test)]
use self::tape::{Op, note};

/// How names of files end that are being written. They begin with a dot, which readers of Delta
/// tables and of record files pass over.
const UNFINISHED: &str = ".unfinished";

/// How many buffers one system call takes.
const SLICES_AT_ONCE: usize = 512;

/// A file that is open for writing.
#[derive(Debug)]
pub(crate) struct File {
    file: fs::File,
    #[cfg(test)]
    id: u64,
    #[cfg(test)]
    path: PathBuf,
    /// Of how many failed syncs whoever has it open has heard.
    #[cfg(test)]
    heard: AtomicU64,
}

impl File {
    /// Makes a file that is not there yet.
    pub fn create_new(path: &Path) -> io::Result<File> {
        let mut options = fs::File::options();
        let file = options.create_new(true).write(true).open(path)?;
        Ok(File::opened(path, file, true))
    }

    /// Opens a file as it is.
    pub fn open(path: &Path) -> io::Result<File> {
        let file = fs::File::options().write(true).open(path)?;
        Ok(File::opened(path, file, false))
    }

    /// Opens a file as it is, or makes it if it is not there.
    pub fn open_or_create(path: &Path) -> io::Result<File> {
        let is_new = cfg!(test) && !path.exists();
        let mut options = fs::File::options();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        Ok(File::opened(path, file, is_new))
    }

    #[cfg_attr(not(test), expect(unused_variables, reason = "only the tape asks"))]
    fn opened(path: &Path, file: fs::File, is_new: bool) -> File {
        File {
            file,
            #[cfg(test)]
            id: tape::opened(path, is_new),
            #[cfg(test)]
            path: path.to_owned(),
            #[cfg(test)]
            heard: AtomicU64::new(tape::failures(path)),
        }
    }

    /// How many bytes the file has.
    pub fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Writes all bytes at this place of the file.
    pub fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)?;
        #[cfg(test)]
        self.note(|file| Op::Write {
            file,
            at,
            bytes: bytes.to_vec(),
        });
        Ok(())
    }

    /// Cuts the file to so many bytes.
    pub fn cut(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        #[cfg(test)]
        self.note(|file| Op::Cut { file, length });
        Ok(())
    }

    /// Writes these buffers at the beginning of a file that nothing was written to.
    fn write_parts(&mut self, parts: &[Bytes]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            match self
                .file
                .write_vectored(&left[..left.len().min(SLICES_AT_ONCE)])
            {
                Ok(0) if left.iter().all(|part| part.is_empty()) => break,
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        #[cfg(test)]
        self.note(|file| Op::Write {
            file,
            at: 0,
            bytes: parts.concat(),
        });
        Ok(())
    }

    /// Returns when all bytes written so far are on disk. After an error nobody knows which are:
    /// the kernel has forgotten about them, so that syncing again succeeds and means nothing.
    pub fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        let since = tape::begin_sync(&self.path, &self.heard)
            .inspect_err(|_| self.note(|file| Op::SyncFailed { file }))?;
        self.file.sync_data()?;
        #[cfg(test)]
        tape::end_sync(&self.path, &self.heard)?;
        #[cfg(test)]
        self.note(|file| Op::Sync { file, since });
        Ok(())
    }

    #[cfg(test)]
    fn note(&self, op: impl FnOnce(u64) -> Op) {
        note(&self.path, || op(self.id));
    }
}

/// An object that is written to a file of its own before anything leads to it.
#[derive(Debug)]
pub(crate) struct Whole {
    file: File,
    unfinished: PathBuf,
}

impl Whole {
    /// Writes the bytes of an object that will be called `place` in its folder, which is made if it
    /// is not there.
    pub fn write(place: &Path, parts: &[Bytes]) -> io::Result<Whole> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let process = std::process::id();
        let unfinished = place.with_file_name(format!(".{name}.{process}-{number}{UNFINISHED}"));
        let file = match File::create_new(&unfinished) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folders(place.parent().unwrap_or(Path::new(".")))?;
                File::create_new(&unfinished)?
            }
            file => file?,
        };
        let mut whole = Whole { file, unfinished };
        match whole.file.write_parts(parts) {
            Ok(()) => Ok(whole),
            Err(error) => Err(whole.discard(error)),
        }
    }

    /// Brings the bytes to disk.
    pub fn synced(self) -> io::Result<Whole> {
        match self.file.sync() {
            Ok(()) => Ok(self),
            Err(error) => Err(self.discard(error)),
        }
    }

    /// Gives the object its name, instead of another one that may have it.
    pub fn replace(self, place: &Path) -> io::Result<File> {
        match rename(&self.unfinished, place) {
            Ok(()) => Ok(self.file),
            Err(error) => Err(self.discard(error)),
        }
    }

    /// Gives the object its name, unless there is one of that name.
    pub fn link(self, place: &Path) -> io::Result<()> {
        let linked = link(&self.unfinished, place);
        let _ = remove(&self.unfinished);
        linked
    }

    fn discard(self, error: io::Error) -> io::Error {
        let _ = remove(&self.unfinished);
        error
    }
}

/// Whether a file of this name was being written when its writer ended.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(UNFINISHED)
}

/// Replaces a file, or makes it, so that its name leads to the old or the new bytes whatever
/// happens, and to the new ones when this returns.
pub(crate) fn replace(place: &Path, bytes: Vec<u8>) -> io::Result<()> {
    let whole = Whole::write(place, &[bytes.into()])?;
    whole.synced()?.replace(place)?;
    place.parent().map_or(Ok(()), sync_folder)
}

/// Removes the files of a folder that were being written when their writers ended; there must be no
/// other writer.
pub(crate) fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_unfinished) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Makes a folder and those above it, where they are missing, and returns when they are on disk:
/// those too that someone else made and did not sync.
pub(crate) fn make_durable_folders(path: &Path) -> io::Result<()> {
    make_folders(path)?;
    let path = std::path::absolute(path)?;
    for above in path.ancestors().skip(1) {
        match sync_folder(above) {
            // Behind a mount point, or not ours to read: then it was there before.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied
                        | io::ErrorKind::InvalidInput
                        | io::ErrorKind::Unsupported
                ) =>
            {
                break;
            }
            synced => synced?,
        }
    }
    Ok(())
}

/// Makes a folder and those above it, where they are missing.
pub(crate) fn make_folders(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    fs::create_dir_all(path)?;
    #[cfg(test)]
    for path in missing.into_iter().rev() {
        note(path, || Op::MakeFolder(path.to_owned()));
    }
    Ok(())
}

/// Renames a file within its folder; one that has the new name is gone.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    #[cfg(test)]
    note(to, || Op::Rename(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Gives a file a second name, which no file may have.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    #[cfg(test)]
    note(to, || Op::Link(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Removes a file.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    #[cfg(test)]
    note(path, || Op::Remove(path.to_owned()));
    Ok(())
}

/// Removes a folder and everything in it. After a power failure any part of it may be there.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => remove_folder(&entry.path())?,
            false => remove(&entry.path())?,
        }
    }
    fs::remove_dir(path)?;
    #[cfg(test)]
    note(path, || Op::Remove(path.to_owned()));
    Ok(())
}

/// Returns when the names in a folder are on disk as they are.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    let since = tape::begin_sync(path, &AtomicU64::new(tape::failures(path)))?;
    fs::File::open(path)?.sync_all()?;
    #[cfg(test)]
    note(path, || Op::SyncFolder(path.to_owned(), since));
    Ok(())
}
