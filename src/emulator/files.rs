//! An emulation as a folder of files: the layout of the S3 sink connector, or plain JSON lines.
//!
//! Each thread writes partitions of its own with an emulator of its own. Where a file ends depends
//! on the records of its partition alone, so the files are the same for any number of threads.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::emulator::pace::{Clock, Pace};
use crate::emulator::part::{Part, Written};
use crate::emulator::summary::{Progress, Summary};
use crate::emulator::{Emulator, EmulatorError, EmulatorOptions, Stream};

/// How files are named and arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// `topics/<stream>/partition=<p>/<stream>+<p>+<start offset>.json`, as the S3 sink connector
    Topics,
    /// `<stream>/part-<p>-<n>.jsonl`
    Lines,
}

impl Layout {
    /// The folder of `stream` below `root`.
    pub(super) fn folder(self, root: &Path, stream: Stream) -> PathBuf {
        match self {
            Self::Topics => root.join("topics").join(stream.name()),
            Self::Lines => root.join(stream.name()),
        }
    }
}

/// How an emulation is written.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Names of files and folders.
    pub layout: Layout,
    /// Compress every file; its name then ends in `.gz`.
    pub gzip: bool,
    /// Records after which a new file begins.
    pub roll_records: Option<u64>,
    /// Uncompressed bytes after which a new file begins.
    pub roll_bytes: u64,
    /// Posts a second, above 0; without it as fast as possible. With it files are shown every
    /// second, or every post if that is longer.
    pub rate: Option<f64>,
    /// Threads; with a rate there is one.
    pub threads: usize,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            layout: Layout::Topics,
            gzip: false,
            roll_records: None,
            roll_bytes: 64 << 20,
            rate: None,
            threads: 1,
        }
    }
}

/// Writes an emulation below `root`, whose streams must not have files yet.
///
/// `progress` is called every few thousand posts, or with every turn of a rate; `Break` ends the
/// emulation early, with complete files.
pub fn write_to_dir(
    root: &Path,
    options: &EmulatorOptions,
    write: &WriteOptions,
    clock: &mut dyn Clock,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Summary, EmulatorError> {
    options.validate()?;
    match write.rate {
        None if options.posts.is_none() => return Err(EmulatorError::Endless),
        Some(rate) if !(rate > 0.0 && rate.is_finite()) => return Err(EmulatorError::Rate(rate)),
        _ => {}
    }
    if write.roll_records == Some(0) {
        return Err(EmulatorError::RollRecords);
    }
    for stream in Stream::ALL {
        refuse_occupied(&write.layout.folder(root, stream), stream)?;
    }
    let started = clock.now();
    let mut summary = match write.rate {
        Some(rate) => write_paced(root, options, write, rate, clock, progress)?,
        None => write_fast(root, options, write, progress)?,
    };
    summary.seconds = clock.now().saturating_sub(started).as_secs_f64();
    Ok(summary)
}

/// Posts between two looks at what the other threads do.
const STRIDE: u64 = 4096;

fn write_fast(
    root: &Path,
    options: &EmulatorOptions,
    write: &WriteOptions,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Summary, EmulatorError> {
    let threads = write.threads.clamp(1, options.partitions as usize);
    let mut shares = Vec::with_capacity(threads);
    for thread in 0..threads {
        shares.push(Share::new(root, options, write, thread, threads)?);
    }
    let shared = Shared::default();
    let results = std::thread::scope(|scope| {
        let mut shares = shares.into_iter();
        let own = shares.next();
        let others: Vec<_> = shares
            .map(|share| scope.spawn(|| share.write(&shared, &mut |_| ControlFlow::Continue(()))))
            .collect();
        let mut results: Vec<_> = own
            .map(|share| share.write(&shared, progress))
            .into_iter()
            .collect();
        for other in others {
            results.push(
                other
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        results
    });
    let mut summary = Summary::default();
    for share in results {
        share?.add_to(&mut summary);
    }
    Ok(summary)
}

fn write_paced(
    root: &Path,
    options: &EmulatorOptions,
    write: &WriteOptions,
    rate: f64,
    clock: &mut dyn Clock,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Summary, EmulatorError> {
    let mut share = Share::new(root, options, write, 0, 1)?;
    let shared = Shared::default();
    let pace = Pace::new(rate, clock);
    let turns_a_file = rate.ceil() as u64;
    let mut turns = 0;
    'sending: while !share.emulator.is_finished() {
        let due = pace.wait(turns, clock);
        while turns < due {
            // Files end after the same posts whatever the clock does.
            let file_end = (turns / turns_a_file + 1) * turns_a_file;
            let goal = due.min(file_end);
            let sent = share.send(goal - turns)?;
            turns += sent;
            if turns == file_end {
                share.roll()?;
            }
            if sent == 0 {
                break 'sending;
            }
        }
        share.report(&shared);
        if progress(shared.progress(&share)).is_break() {
            break;
        }
    }
    share.roll()?;
    let mut summary = Summary::default();
    share.add_to(&mut summary);
    Ok(summary)
}

/// What threads tell each other.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Shared {
    fn progress(&self, share: &Share) -> Progress {
        Progress {
            posts: share.posts(),
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// The partitions of one thread.
struct Share {
    emulator: Emulator,
    posts: Option<u64>,
    /// `[partition]`, with the parts of its streams where the partition is this thread's.
    parts: Vec<Option<[Part; 3]>>,
    reported: Written,
}

impl Share {
    fn new(
        root: &Path,
        options: &EmulatorOptions,
        write: &WriteOptions,
        thread: usize,
        threads: usize,
    ) -> Result<Self, EmulatorError> {
        let is_own = |partition: u32| partition as usize % threads == thread;
        let part = |stream, partition| Part::new(root, stream, partition, write);
        let mut parts = Vec::with_capacity(options.partitions as usize);
        for partition in 0..options.partitions {
            parts.push(if is_own(partition) {
                let [pin, geo, user] = Stream::ALL.map(|stream| part(stream, partition));
                Some([pin?, geo?, user?])
            } else {
                None
            });
        }
        Ok(Self {
            emulator: Emulator::new(options.clone())?.only(|_, partition| is_own(partition)),
            posts: options.posts,
            parts,
            reported: Written::default(),
        })
    }

    /// Sends everything at once, as long as nobody stops.
    fn write(
        mut self,
        shared: &Shared,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Self, EmulatorError> {
        while !shared.stop.load(Ordering::Relaxed) {
            let sent = self
                .send(STRIDE)
                .inspect_err(|_| shared.stop.store(true, Ordering::Relaxed))?;
            self.report(shared);
            if progress(shared.progress(&self)).is_break() {
                shared.stop.store(true, Ordering::Relaxed);
            }
            if sent < STRIDE {
                break;
            }
        }
        self.roll()?;
        Ok(self)
    }

    /// Lets the emulator take `turns` turns; fewer are taken only if it has finished.
    fn send(&mut self, turns: u64) -> Result<u64, EmulatorError> {
        let mut result = Ok(());
        for turn in 0..turns {
            let more = self.emulator.next_post(&mut |stream, partition, record| {
                if let Some(parts) = &mut self.parts[partition as usize]
                    && let Err(error) = parts[stream as usize].push(record)
                {
                    result = Err(error);
                }
            });
            std::mem::replace(&mut result, Ok(()))?;
            if !more {
                return Ok(turn);
            }
        }
        Ok(turns)
    }

    fn parts(&mut self) -> impl Iterator<Item = &mut Part> {
        self.parts.iter_mut().flatten().flatten()
    }

    fn roll(&mut self) -> Result<(), EmulatorError> {
        self.parts().try_for_each(Part::roll)
    }

    fn posts(&self) -> u64 {
        self.emulator
            .post_number()
            .min(self.posts.unwrap_or(u64::MAX))
    }

    fn report(&mut self, shared: &Shared) {
        let mut now = Written::default();
        for part in self.parts() {
            now.records += part.written().records;
            now.bytes += part.written().bytes;
        }
        let Written { records, bytes, .. } = std::mem::replace(&mut self.reported, now);
        shared
            .records
            .fetch_add(now.records - records, Ordering::Relaxed);
        shared.bytes.fetch_add(now.bytes - bytes, Ordering::Relaxed);
    }

    fn add_to(&self, summary: &mut Summary) {
        summary.posts = summary.posts.max(self.posts());
        for parts in self.parts.iter().flatten() {
            for (records, part) in summary.records.iter_mut().zip(parts) {
                let written = part.written();
                *records += written.records;
                summary.bytes += written.bytes;
                summary.files += written.files;
            }
        }
    }
}

/// Fails if there are visible files in `folder` or the folders in it.
pub(super) fn refuse_occupied(folder: &Path, stream: Stream) -> Result<(), EmulatorError> {
    match holds_files(folder) {
        Ok(false) => Ok(()),
        Ok(true) => Err(EmulatorError::Occupied {
            path: folder.to_owned(),
            stream: stream.name(),
        }),
        Err(source) => Err(EmulatorError::File {
            action: "read the folder",
            path: folder.to_owned(),
            source,
        }),
    }
}

fn holds_files(folder: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let found = if entry.file_type()?.is_dir() {
            holds_files(&entry.path())?
        } else {
            !hidden
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;
    use std::time::Duration;

    use super::*;
    use crate::emulator::pace::tests::FakeClock;

    fn go_on(_: Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn options(posts: u64) -> EmulatorOptions {
        EmulatorOptions {
            posts: Some(posts),
            ..EmulatorOptions::default()
        }
    }

    fn write(root: &Path, posts: u64, write: &WriteOptions) -> Summary {
        let mut clock = FakeClock(Duration::ZERO);
        write_to_dir(root, &options(posts), write, &mut clock, &mut go_on).unwrap()
    }

    /// Names, relative to `root`, and contents of all files.
    fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path
                        .strip_prefix(root)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned();
                    found.insert(name, fs::read(&path).unwrap());
                }
            }
        }
        found
    }

    #[test]
    fn files_are_the_same_for_any_number_of_threads() {
        let mut all = Vec::new();
        for threads in [1, 2, 3, 9] {
            let root = tempfile::tempdir().unwrap();
            let how = WriteOptions {
                threads,
                roll_records: Some(700),
                ..WriteOptions::default()
            };
            let summary = write(root.path(), 5_000, &how);
            let files = files(root.path());
            assert_eq!(summary.files as usize, files.len());
            assert_eq!(
                summary.bytes as usize,
                files.values().map(Vec::len).sum::<usize>()
            );
            all.push(files);
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_topic_file_is_named_after_the_offset_of_its_first_record() {
        let root = tempfile::tempdir().unwrap();
        let how = WriteOptions {
            roll_records: Some(100),
            ..WriteOptions::default()
        };
        write(root.path(), 1_000, &how);
        let files = files(root.path());
        for start in ["0000000000", "0000000100", "0000000200"] {
            let name = format!("topics/geo/partition=2/geo+2+{start}.json");
            let lines = files[&name].iter().filter(|&&byte| byte == b'\n').count();
            assert!(lines <= 100);
            assert!(lines == 100 || start == "0000000200");
        }
    }

    #[test]
    fn compressed_lines_hold_what_plain_ones_do() {
        let (plain, packed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let lines = WriteOptions {
            layout: Layout::Lines,
            roll_bytes: 20_000,
            ..WriteOptions::default()
        };
        write(plain.path(), 500, &lines);
        let gzip = WriteOptions {
            gzip: true,
            ..lines
        };
        write(packed.path(), 500, &gzip);
        let (plain, packed) = (files(plain.path()), files(packed.path()));
        assert!(
            plain.contains_key("pin/part-0-00001.jsonl"),
            "{:?}",
            plain.keys()
        );
        assert_eq!(plain.len(), packed.len());
        for (name, text) in plain {
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(packed[&format!("{name}.gz")].as_slice())
                .read_to_end(&mut unpacked)
                .unwrap();
            assert_eq!(unpacked, text, "{name}");
        }
    }

    #[test]
    fn at_a_rate_files_appear_every_second_and_hold_the_same_records() {
        let (fast, paced) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(fast.path(), 3_000, &WriteOptions::default());
        let how = WriteOptions {
            rate: Some(100.0),
            ..WriteOptions::default()
        };
        let summary = write(paced.path(), 3_000, &how);
        assert!(summary.seconds >= 29.0, "{}", summary.seconds);
        let (fast, paced) = (files(fast.path()), files(paced.path()));
        let first = &fast["topics/pin/partition=1/pin+1+0000000000.json"];
        let pieces: Vec<u8> = paced
            .iter()
            .filter(|(name, _)| name.starts_with("topics/pin/partition=1/"))
            .flat_map(|(_, bytes)| bytes.clone())
            .collect();
        assert_eq!(&pieces, first);
        assert!(paced.len() >= 12 * 29, "{}", paced.len());
    }

    #[test]
    fn an_endless_emulation_ends_when_told_to() {
        let root = tempfile::tempdir().unwrap();
        let how = WriteOptions {
            rate: Some(1_000.0),
            ..WriteOptions::default()
        };
        let mut stop = |progress: Progress| match progress.posts {
            0..2_500 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        };
        let mut clock = FakeClock(Duration::ZERO);
        let summary = write_to_dir(
            root.path(),
            &EmulatorOptions::default(),
            &how,
            &mut clock,
            &mut stop,
        )
        .unwrap();
        assert!((2_500..2_600).contains(&summary.posts), "{summary}");
        assert!(
            files(root.path())
                .keys()
                .all(|name| !name.contains("partial"))
        );
    }

    #[test]
    fn a_folder_with_records_is_refused() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), 10, &WriteOptions::default());
        let mut clock = FakeClock(Duration::ZERO);
        let how = WriteOptions::default();
        let error =
            write_to_dir(root.path(), &options(10), &how, &mut clock, &mut go_on).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("already holds records of the stream `pin`"),
            "{error}"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let refused = |options: EmulatorOptions, how: WriteOptions| {
            let mut clock = FakeClock(Duration::ZERO);
            write_to_dir(root.path(), &options, &how, &mut clock, &mut go_on).unwrap_err()
        };
        let plain = WriteOptions::default;
        assert!(matches!(
            refused(EmulatorOptions::default(), plain()),
            EmulatorError::Endless
        ));
        for rate in [0.0, -1.0, f64::NAN] {
            let how = WriteOptions {
                rate: Some(rate),
                ..plain()
            };
            assert!(matches!(refused(options(1), how), EmulatorError::Rate(_)));
        }
        let how = WriteOptions {
            roll_records: Some(0),
            ..plain()
        };
        assert!(matches!(
            refused(options(1), how),
            EmulatorError::RollRecords
        ));
    }
}
