//! Posts out of files, in the layouts that sources read: `topics/<topic>/partition=<p>/*.json` and
//! `<stream>/*.jsonl`, plain or compressed.
//!
//! Row `n` is the `n`th record of each stream. A partition's records keep their order; partitions
//! of a stream take turns. Records are posted as they are, byte for byte, and files are read as
//! they are needed.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Reader, Row};
use crate::emulator::outgoing::{Dressing, is_json, key_of};
use crate::emulator::{EmulatorError, Stream};

/// The files of a folder, as rows.
pub(super) struct Files {
    streams: [Vec<Lines>; 3],
    /// The partition of each stream whose turn it is.
    turns: [usize; 3],
    dressing: Dressing,
}

impl Files {
    /// Finds the files below `root`.
    pub(super) fn open(root: &Path, dressing: Dressing) -> Result<Self, EmulatorError> {
        let mut found: [BTreeMap<PathBuf, Vec<PathBuf>>; 3] = Default::default();
        let read_folder = |path: &Path| {
            let failed = |source| EmulatorError::File {
                action: "read the folder",
                path: path.to_owned(),
                source,
            };
            let mut entries = fs::read_dir(path)
                .and_then(|entries| {
                    entries
                        .map(|entry| entry.map(|entry| entry.path()))
                        .collect::<io::Result<Vec<_>>>()
                })
                .map_err(failed)?;
            entries.sort();
            Ok::<_, EmulatorError>(entries)
        };
        for folder in read_folder(root)?.iter().filter(|path| path.is_dir()) {
            if name(folder) == "topics" {
                for topic in read_folder(folder)?.iter().filter(|path| path.is_dir()) {
                    let Some(stream) = stream_of(name(topic)) else {
                        continue;
                    };
                    for partition in read_folder(topic)?.iter().filter(|path| path.is_dir()) {
                        found[stream as usize].insert(partition.clone(), read_folder(partition)?);
                    }
                }
            } else if let Some(stream) = stream_of(name(folder)) {
                found[stream as usize].insert(folder.clone(), read_folder(folder)?);
            }
        }
        let streams = found.map(|partitions| {
            let lines = partitions.into_values().map(|files| Lines {
                files: files
                    .into_iter()
                    .filter(|path| is_record_file(path))
                    .collect(),
                open: None,
            });
            lines
                .filter(|lines| !lines.files.is_empty())
                .collect::<Vec<_>>()
        });
        if streams.iter().all(Vec::is_empty) {
            return Err(EmulatorError::NoFiles(root.to_owned()));
        }
        Ok(Self {
            streams,
            turns: [0; 3],
            dressing,
        })
    }

    /// The next row; empty at the end of every stream.
    fn row(&mut self) -> Result<Row, EmulatorError> {
        let mut row = Vec::with_capacity(3);
        for stream in Stream::ALL {
            let partitions = &mut self.streams[stream as usize];
            let turn = &mut self.turns[stream as usize];
            while !partitions.is_empty() {
                let at = *turn % partitions.len();
                if let Some(record) = partitions[at].next()? {
                    let (key, whole) = (key_of(&record), is_json(&record));
                    row.push(self.dressing.outgoing(stream, key, &record, whole));
                    *turn = at + 1;
                    break;
                }
                partitions.remove(at);
                *turn = at;
            }
        }
        Ok(row)
    }
}

impl Reader for Files {
    fn read<'a>(
        &'a mut self,
        most: usize,
        out: &'a mut Vec<Row>,
    ) -> BoxFuture<'a, Result<(), EmulatorError>> {
        let mut read = || {
            for _ in 0..most {
                let row = self.row()?;
                if row.is_empty() {
                    break;
                }
                out.push(row);
            }
            Ok(())
        };
        std::future::ready(read()).boxed()
    }
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("")
}

/// The stream of a topic or folder: `pin`, or whatever ends in `.pin`.
fn stream_of(topic: &str) -> Option<Stream> {
    let last = topic.rsplit('.').next()?;
    Stream::ALL.into_iter().find(|stream| stream.name() == last)
}

fn is_record_file(path: &Path) -> bool {
    let name = name(path);
    let stem = name
        .strip_suffix(".gz")
        .or_else(|| name.strip_suffix(".zst"))
        .unwrap_or(name);
    !name.starts_with(['.', '_'])
        && (stem.ends_with(".json") || stem.ends_with(".jsonl"))
        && path.is_file()
}

/// The records of a partition.
struct Lines {
    files: VecDeque<PathBuf>,
    open: Option<(PathBuf, Box<dyn BufRead + Send>)>,
}

impl Lines {
    /// The next record that is not blank.
    fn next(&mut self) -> Result<Option<Vec<u8>>, EmulatorError> {
        loop {
            let (path, lines) = match &mut self.open {
                Some(open) => open,
                None => {
                    let Some(path) = self.files.pop_front() else {
                        return Ok(None);
                    };
                    let lines =
                        open(&path).map_err(|source| failed("open the file", &path, source))?;
                    self.open.insert((path, lines))
                }
            };
            let mut line = Vec::new();
            let read = lines.read_until(b'\n', &mut line);
            if read.map_err(|source| failed("read the file", path, source))? == 0 {
                self.open = None;
                continue;
            }
            while line
                .last()
                .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
            {
                line.pop();
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    let file = File::open(path)?;
    let bytes: Box<dyn Read + Send> = match path.extension().and_then(|end| end.to_str()) {
        Some("gz") => Box::new(MultiGzDecoder::new(BufReader::new(file))),
        Some("zst") => Box::new(zstd::Decoder::new(file)?),
        _ => Box::new(file),
    };
    Ok(Box::new(BufReader::with_capacity(64 * 1024, bytes)))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> EmulatorError {
    EmulatorError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn put(root: &Path, path: &str, bytes: &[u8]) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn rows(root: &Path) -> Vec<String> {
        let mut files = Files::open(root, Dressing::default()).unwrap();
        let mut rows = Vec::new();
        loop {
            let row = files.row().unwrap();
            if row.is_empty() {
                return rows;
            }
            let text = |record: &crate::emulator::outgoing::Outgoing| {
                format!(
                    "{} {}",
                    record.stream.name(),
                    String::from_utf8_lossy(&record.body)
                )
            };
            rows.push(row.iter().map(text).collect::<Vec<_>>().join(" "));
        }
    }

    #[test]
    fn rows_are_made_of_the_nth_record_of_each_stream_in_either_layout() {
        let root = tempfile::tempdir().unwrap();
        put(
            root.path(),
            "topics/a.b.pin/partition=0/a.b.pin+0+0000000000.json",
            b"p0\n\np2\n",
        );
        put(
            root.path(),
            "topics/a.b.pin/partition=0/a.b.pin+0+0000000003.json.gz",
            &gzip("p3\n"),
        );
        put(
            root.path(),
            "topics/a.b.pin/partition=1/a.b.pin+1+0000000000.json",
            b"q0",
        );
        put(root.path(), "geo/part-0.jsonl", b"g0\r\ng1\n");
        put(root.path(), "geo/.part-1.jsonl.partial", b"hidden\n");
        put(
            root.path(),
            "user/part-0.jsonl.zst",
            &zstd::encode_all(&b"u0\n"[..], 1).unwrap(),
        );
        put(root.path(), "elsewhere/x.jsonl", b"x\n");
        assert_eq!(
            rows(root.path()),
            ["pin p0 geo g0 user u0", "pin q0 geo g1", "pin p2", "pin p3"]
        );
    }

    #[test]
    fn a_folder_without_streams_is_refused() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "pin/notes.txt", b"");
        let error = Files::open(root.path(), Dressing::default())
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("no files of records"), "{error}");
    }
}
