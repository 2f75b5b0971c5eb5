//! What a power failure might have left of a folder whose writes were recorded ([`super::tape`]).
//!
//! The model is weaker than any file system that is in use, so what survives here survives there:
//! of the bytes written since a file was synced, and of the names changed since a folder was, any
//! subset may be on disk; a write may be there in part, or as zeros. Only a rename and a cut are
//! whole or not at all. What a sync that failed was about stays uncertain, whatever later syncs
//! say, until it is written again.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use super::tape::Op;

/// Numbers that look drawn and are the same for the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// A folder after a power failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Image {
    folders: Vec<PathBuf>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Image {
    /// One of the folders that a power failure after the first `until` calls might have left, of a
    /// folder that began as this one.
    pub fn after(&self, ops: &[Op], until: usize, chance: &mut Chance) -> Image {
        let mut disk = Disk::of(self);
        for (at, op) in ops[..until].iter().enumerate() {
            disk.apply(at, op);
        }
        let mut image = Image::default();
        let fate = Fate::draw(chance);
        disk.survive(ROOT, Path::new(""), fate, chance, &mut image);
        image
    }

    /// The folder as programs saw it after the first `until` calls.
    pub fn seen(&self, ops: &[Op], until: usize) -> Image {
        let mut disk = Disk::of(self);
        for (at, op) in ops[..until].iter().enumerate() {
            disk.apply(at, op);
        }
        let mut image = Image::default();
        // Nothing is drawn.
        let mut chance = Chance::new(0);
        disk.survive(ROOT, Path::new(""), Fate::Kept, &mut chance, &mut image);
        image
    }

    /// The files in it, by path.
    pub fn files(&self) -> &BTreeMap<PathBuf, Vec<u8>> {
        &self.files
    }

    /// Makes the folder, in a place that is empty.
    pub fn write(&self, place: &Path) {
        for folder in &self.folders {
            fs::create_dir_all(place.join(folder)).unwrap();
        }
        for (path, bytes) in &self.files {
            fs::write(place.join(path), bytes).unwrap();
        }
    }
}

/// What becomes of everything that was not synced, or of each part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Lost,
    Kept,
    /// Each call by itself, and writes in part.
    Mixed,
    /// Each file and folder by itself.
    Apart,
}

impl Fate {
    fn draw(chance: &mut Chance) -> Fate {
        match chance.below(8) {
            0 => Fate::Lost,
            1 => Fate::Kept,
            2 | 3 => Fate::Apart,
            _ => Fate::Mixed,
        }
    }

    /// Of one file or folder.
    fn of_one(self, chance: &mut Chance) -> Fate {
        match self {
            Fate::Apart => [Fate::Lost, Fate::Kept, Fate::Mixed][chance.below(3)],
            fate => fate,
        }
    }

    fn keeps(self, chance: &mut Chance) -> bool {
        match self {
            Fate::Lost => false,
            Fate::Kept => true,
            Fate::Mixed | Fate::Apart => chance.below(2) == 0,
        }
    }
}

/// A change of a file's bytes.
#[derive(Clone, Debug)]
enum Change {
    /// Where in the file, and what.
    Write(u64, Vec<u8>),
    Cut(u64),
}

/// A change of a folder's names.
#[derive(Clone, Debug)]
enum Entry {
    Set(OsString, usize),
    Unset(OsString),
    Move(OsString, OsString, usize),
}

/// What is on disk for certain, and what was done since with the number of the call.
#[derive(Debug)]
enum Node {
    File {
        synced: Vec<u8>,
        pending: Vec<(usize, Change)>,
    },
    Folder {
        synced: BTreeMap<OsString, usize>,
        pending: Vec<(usize, Entry)>,
        /// As programs see it.
        seen: BTreeMap<OsString, usize>,
    },
}

const ROOT: usize = 0;

/// The number of a call that no sync brings to disk.
const NEVER: usize = usize::MAX;

#[derive(Debug)]
struct Disk {
    nodes: Vec<Node>,
    /// Nodes of open files.
    open: BTreeMap<u64, usize>,
}

impl Default for Disk {
    fn default() -> Self {
        Disk {
            nodes: vec![Node::folder()],
            open: BTreeMap::new(),
        }
    }
}

impl Node {
    fn folder() -> Node {
        Node::Folder {
            synced: BTreeMap::new(),
            pending: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    fn file() -> Node {
        Node::File {
            synced: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Everything that was done before call `since` is on disk.
    fn sync(&mut self, since: usize) {
        match self {
            Node::File { synced, pending } => {
                for (_, change) in pending.extract_if(.., |(at, _)| *at < since) {
                    change.apply(synced);
                }
            }
            Node::Folder {
                synced, pending, ..
            } => {
                for (_, entry) in pending.extract_if(.., |(at, _)| *at < since) {
                    entry.apply(synced);
                }
            }
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(at, new) => {
                let at = *at as usize;
                if bytes.len() < at + new.len() {
                    bytes.resize(at + new.len(), 0);
                }
                bytes[at..at + new.len()].copy_from_slice(new);
            }
            Change::Cut(length) => bytes.resize(*length as usize, 0),
        }
    }

    /// As it is when the power went while it was under way.
    fn torn(&self, chance: &mut Chance) -> Change {
        let Change::Write(at, bytes) = self else {
            return self.clone();
        };
        match chance.below(3) {
            0 => Change::Write(*at, vec![0; bytes.len()]),
            1 => Change::Write(*at, bytes[..chance.below(bytes.len().max(1))].to_vec()),
            _ => self.clone(),
        }
    }

    /// What is left of an older write when this was done behind it.
    fn leaves_of(&self, at: u64, old: &[u8]) -> Vec<Change> {
        let (from, to) = match self {
            Change::Write(at, new) => (*at, at + new.len() as u64),
            Change::Cut(length) => (*length, u64::MAX),
        };
        let end = at + old.len() as u64;
        let piece = |from: u64, to: u64| {
            let bytes = &old[(from - at) as usize..(to - at) as usize];
            (!bytes.is_empty()).then(|| Change::Write(from, bytes.to_vec()))
        };
        let before = piece(at, from.clamp(at, end));
        let behind = piece(to.clamp(at, end), end);
        before.into_iter().chain(behind).collect()
    }
}

impl Entry {
    fn apply(&self, names: &mut BTreeMap<OsString, usize>) {
        match self {
            Entry::Set(name, node) => {
                names.insert(name.clone(), *node);
            }
            Entry::Unset(name) => {
                names.remove(name);
            }
            Entry::Move(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

impl Disk {
    /// Everything in `image` is on disk.
    fn of(image: &Image) -> Disk {
        let mut disk = Disk::default();
        let folders = image.folders.iter().filter(|path| **path != Path::new(""));
        for path in folders {
            disk.add(0, path, Node::folder());
        }
        for (path, bytes) in &image.files {
            let node = disk.add(0, path, Node::file());
            if let Node::File { synced, .. } = &mut disk.nodes[node] {
                synced.clone_from(bytes);
            }
        }
        for node in &mut disk.nodes {
            node.sync(NEVER);
        }
        disk
    }

    fn find(&self, path: &Path) -> usize {
        path.iter().fold(ROOT, |folder, name| {
            let Node::Folder { seen, .. } = &self.nodes[folder] else {
                panic!("{} leads through a file", path.display());
            };
            *seen
                .get(name)
                .unwrap_or_else(|| panic!("{} is not there", path.display()))
        })
    }

    fn change_names(&mut self, at: usize, path: &Path, entry: impl FnOnce(OsString) -> Entry) {
        let folder = self.find(path.parent().unwrap());
        let entry = entry(path.file_name().map(OsStr::to_owned).unwrap());
        let Node::Folder { pending, seen, .. } = &mut self.nodes[folder] else {
            panic!("{} is in a file", path.display());
        };
        entry.apply(seen);
        pending.push((at, entry));
    }

    fn add(&mut self, at: usize, path: &Path, node: Node) -> usize {
        self.nodes.push(node);
        let node = self.nodes.len() - 1;
        self.change_names(at, path, |name| Entry::Set(name, node));
        node
    }

    /// What was done to an open file's bytes and is not on disk for certain.
    fn pending(&mut self, file: u64) -> &mut Vec<(usize, Change)> {
        let Node::File { pending, .. } = &mut self.nodes[self.open[&file]] else {
            panic!("a folder was written to");
        };
        pending
    }

    fn change_bytes(&mut self, at: usize, file: u64, change: Change) {
        let pending = self.pending(file);
        for (at, old) in std::mem::take(pending) {
            match &old {
                Change::Write(place, bytes) if at == NEVER => {
                    let left = change.leaves_of(*place, bytes).into_iter();
                    pending.extend(left.map(|left| (NEVER, left)));
                }
                _ => pending.push((at, old.clone())),
            }
        }
        pending.push((at, change));
    }

    fn apply(&mut self, at: usize, op: &Op) {
        match op {
            Op::MakeFolder(path) => {
                self.add(at, path, Node::folder());
            }
            Op::Create { file, path } => {
                let node = self.add(at, path, Node::file());
                self.open.insert(*file, node);
            }
            Op::Open { file, path } => {
                let node = self.find(path);
                self.open.insert(*file, node);
            }
            Op::Write {
                file,
                at: place,
                bytes,
            } => self.change_bytes(at, *file, Change::Write(*place, bytes.clone())),
            Op::Cut { file, length } => self.change_bytes(at, *file, Change::Cut(*length)),
            Op::SyncFailed { file } => {
                for (at, change) in self.pending(*file) {
                    // A file system keeps a journal of lengths.
                    if matches!(change, Change::Write(..)) {
                        *at = NEVER;
                    }
                }
            }
            Op::Sync { file, since } => self.nodes[self.open[file]].sync(*since),
            Op::SyncFolder(path, since) => {
                let node = self.find(path);
                self.nodes[node].sync(*since);
            }
            Op::Link(from, to) => {
                let node = self.find(from);
                self.change_names(at, to, |name| Entry::Set(name, node));
            }
            Op::Rename(from, to) => {
                assert_eq!(from.parent(), to.parent(), "renames stay in their folder");
                let (node, old) = (self.find(from), from.file_name().unwrap());
                self.change_names(at, to, |new| Entry::Move(old.to_owned(), new, node));
            }
            Op::Remove(path) => self.change_names(at, path, Entry::Unset),
            Op::Promise(_) => {}
        }
    }

    /// Adds what is left of `node` and everything below it.
    fn survive(
        &self,
        node: usize,
        path: &Path,
        fate: Fate,
        chance: &mut Chance,
        image: &mut Image,
    ) {
        let own = fate.of_one(chance);
        match &self.nodes[node] {
            Node::File { synced, pending } => {
                let mut bytes = synced.clone();
                for (_, change) in pending {
                    if own.keeps(chance) {
                        match own {
                            Fate::Kept => change.apply(&mut bytes),
                            _ => change.torn(chance).apply(&mut bytes),
                        }
                    }
                }
                image.files.insert(path.to_owned(), bytes);
            }
            Node::Folder {
                synced, pending, ..
            } => {
                let mut names = synced.clone();
                for (_, entry) in pending {
                    if own.keeps(chance) {
                        entry.apply(&mut names);
                    }
                }
                image.folders.push(path.to_owned());
                for (name, node) in &names {
                    self.survive(*node, &path.join(name), fate, chance, image);
                }
            }
        }
    }
}

/// What had been promised after the first `until` calls: the last of the promises.
pub(crate) fn promised(ops: &[Op], until: usize) -> Option<u64> {
    ops[..until].iter().rev().find_map(|op| match op {
        Op::Promise(what) => Some(*what),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;

    use super::super::tape::Tape;
    use super::super::{File, Whole, make_folders, replace, sync_folder};
    use super::*;

    /// All that power failures may leave of what `write` does to a folder, as the bytes of the file
    /// `name`.
    fn left_of(write: impl FnOnce(&Path), name: &str) -> BTreeSet<Option<String>> {
        let root = tempfile::tempdir().unwrap();
        let tape = Tape::record(root.path());
        write(root.path());
        let ops = tape.ops();
        let mut chance = Chance::new(7);
        (0..2000)
            .map(|_| {
                let until = chance.below(ops.len() + 1);
                let image = Image::default().after(&ops, until, &mut chance);
                let bytes = image.files.get(Path::new(name));
                bytes.map(|bytes| String::from_utf8(bytes.clone()).unwrap())
            })
            .collect()
    }

    fn set(texts: &[Option<&str>]) -> BTreeSet<Option<String>> {
        texts.iter().map(|text| text.map(str::to_owned)).collect()
    }

    #[test]
    fn an_object_that_was_synced_before_it_was_named_is_there_or_not() {
        let write = |root: &Path| {
            let place = root.join("a/b");
            let whole = Whole::write(&place, &[Bytes::from("ab")]).unwrap();
            whole.synced().unwrap().link(&place).unwrap();
            sync_folder(&root.join("a")).unwrap();
        };
        assert_eq!(left_of(write, "a/b"), set(&[None, Some("ab")]));
    }

    #[test]
    fn an_object_that_was_named_first_may_be_empty_or_torn_or_zeros() {
        let write = |root: &Path| {
            let whole = Whole::write(&root.join("a"), &[Bytes::from("ab")]).unwrap();
            let file = whole.replace(&root.join("a")).unwrap();
            sync_folder(root).unwrap();
            file.sync().unwrap();
        };
        let all = set(&[None, Some(""), Some("a"), Some("ab"), Some("\0\0")]);
        assert_eq!(left_of(write, "a"), all);
    }

    #[test]
    fn a_file_goes_with_its_folder() {
        let write = |root: &Path| {
            make_folders(&root.join("a/b")).unwrap();
            let place = root.join("a/b/c");
            let whole = Whole::write(&place, &[Bytes::from("x")]).unwrap();
            whole.synced().unwrap().replace(&place).unwrap();
            sync_folder(&root.join("a/b")).unwrap();
            sync_folder(&root.join("a")).unwrap();
        };
        // The folder `a` itself was never synced into its own.
        assert_eq!(left_of(write, "a/b/c"), set(&[None, Some("x")]));
    }

    #[test]
    fn what_a_sync_failed_on_is_uncertain_until_it_is_written_again() {
        let failing = |again: bool| {
            let root = tempfile::tempdir().unwrap();
            let tape = Tape::record(root.path());
            let place = root.path().join("a");
            let file = File::open_or_create(&place).unwrap();
            sync_folder(root.path()).unwrap();
            file.write_all_at(b"ab", 0).unwrap();
            tape.fail_sync(|_| true);
            file.sync().unwrap_err();
            if again {
                file.write_all_at(b"ab", 0).unwrap();
            }
            file.sync().unwrap();
            let ops = tape.ops();
            let mut chance = Chance::new(7);
            let images = (0..100).map(|_| Image::default().after(&ops, ops.len(), &mut chance));
            let bytes = images.map(|image| image.files[Path::new("a")].clone());
            bytes.collect::<BTreeSet<_>>().len()
        };
        assert!(failing(false) > 1);
        assert_eq!(failing(true), 1);
    }

    #[test]
    fn a_file_that_was_cut_has_its_old_or_its_new_length_until_it_is_synced() {
        let write = |root: &Path| {
            let place = root.join("a");
            replace(&place, b"abcd".to_vec()).unwrap();
            let file = File::open(&place).unwrap();
            file.cut(2).unwrap();
        };
        let all = set(&[None, Some("abcd"), Some("ab")]);
        assert_eq!(left_of(write, "a"), all);
    }
}
