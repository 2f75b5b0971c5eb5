//! One partition of one stream as a row of files, each written under a hidden name and shown when
//! it is complete.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::emulator::files::{Layout, WriteOptions};
use crate::emulator::{EmulatorError, Stream};
use crate::source::tombstone;

/// Records are gathered to about this many bytes before they are written.
const BUFFER: usize = 256 * 1024;

/// When a file is full.
#[derive(Clone, Copy)]
struct Limit {
    records: u64,
    bytes: u64,
}

/// The files of a partition.
pub(super) struct Part {
    folder: PathBuf,
    stream: Stream,
    partition: u32,
    layout: Layout,
    gzip: bool,
    limit: Limit,
    buffer: Vec<u8>,
    file: Option<HiddenFile>,
    /// Of the current file, buffer included.
    records: u64,
    bytes: u64,
    /// Of all finished files.
    finished: Written,
}

/// What has been written.
#[derive(Clone, Copy, Default)]
pub(super) struct Written {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) files: u64,
}

impl Part {
    /// The partition below `root`; its folder is made if need be.
    pub(super) fn new(
        root: &Path,
        stream: Stream,
        partition: u32,
        options: &WriteOptions,
    ) -> Result<Self, EmulatorError> {
        let mut folder = options.layout.folder(root, stream);
        if options.layout == Layout::Topics {
            folder.push(format!("partition={partition}"));
        }
        fs::create_dir_all(&folder).map_err(|source| EmulatorError::File {
            action: "make the folder",
            path: folder.clone(),
            source,
        })?;
        Ok(Self {
            folder,
            stream,
            partition,
            layout: options.layout,
            gzip: options.gzip,
            limit: Limit {
                records: options.roll_records.unwrap_or(u64::MAX),
                bytes: options.roll_bytes,
            },
            buffer: Vec::with_capacity(BUFFER + 4096),
            file: None,
            records: 0,
            bytes: 0,
            finished: Written::default(),
        })
    }

    /// Adds a record and its line end.
    #[inline]
    pub(super) fn push(&mut self, record: &[u8]) -> Result<(), EmulatorError> {
        if tombstone::is_like(record) {
            self.buffer.push(b' ');
        }
        self.buffer.extend_from_slice(record);
        self.buffer.push(b'\n');
        self.records += 1;
        self.bytes += record.len() as u64 + 1;
        if self.records >= self.limit.records || self.bytes >= self.limit.bytes {
            self.roll()
        } else if self.buffer.len() >= BUFFER {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), EmulatorError> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let name = self.name();
                self.file
                    .insert(HiddenFile::create(&self.folder, &name, self.gzip)?)
            }
        };
        file.write(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Completes and shows the current file, if it holds anything.
    pub(super) fn roll(&mut self) -> Result<(), EmulatorError> {
        if self.records == 0 {
            return Ok(());
        }
        self.flush()?;
        if let Some(file) = self.file.take() {
            file.show()?;
        }
        self.finished = Written {
            files: self.finished.files + 1,
            ..self.written()
        };
        (self.records, self.bytes) = (0, 0);
        Ok(())
    }

    /// What was pushed so far, and the files that are complete.
    pub(super) fn written(&self) -> Written {
        Written {
            records: self.finished.records + self.records,
            bytes: self.finished.bytes + self.bytes,
            files: self.finished.files,
        }
    }

    /// The name of the current file: it begins after all records of the finished ones.
    fn name(&self) -> String {
        let Written { records, files, .. } = self.finished;
        let (stream, partition) = (self.stream.name(), self.partition);
        let end = if self.gzip { ".gz" } else { "" };
        match self.layout {
            Layout::Topics => format!("{stream}+{partition}+{records:010}.json{end}"),
            Layout::Lines => format!("part-{partition}-{files:05}.jsonl{end}"),
        }
    }
}

/// A file that is not yet seen by readers, and vanishes if it is never shown.
struct HiddenFile {
    hidden: PathBuf,
    shown: PathBuf,
    output: Option<Output>,
}

enum Output {
    Plain(File),
    Gzip(Box<GzEncoder<File>>),
}

impl HiddenFile {
    fn create(folder: &Path, name: &str, gzip: bool) -> Result<Self, EmulatorError> {
        let hidden = folder.join(format!(".{name}.partial"));
        let file = File::create(&hidden).map_err(|source| EmulatorError::File {
            action: "create the file",
            path: hidden.clone(),
            source,
        })?;
        let output = if gzip {
            Output::Gzip(Box::new(GzEncoder::new(file, Compression::fast())))
        } else {
            Output::Plain(file)
        };
        Ok(Self {
            hidden,
            shown: folder.join(name),
            output: Some(output),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), EmulatorError> {
        let result = match &mut self.output {
            Some(Output::Plain(file)) => file.write_all(bytes),
            Some(Output::Gzip(encoder)) => encoder.write_all(bytes),
            None => Ok(()),
        };
        self.or_error("write the file", result)
    }

    fn show(mut self) -> Result<(), EmulatorError> {
        if let Some(Output::Gzip(encoder)) = self.output.take() {
            let result = encoder.finish().map(drop);
            self.or_error("finish the file", result)?;
        }
        let result = fs::rename(&self.hidden, &self.shown);
        self.or_error("rename the file", result)
    }

    fn or_error(&self, action: &'static str, result: io::Result<()>) -> Result<(), EmulatorError> {
        result.map_err(|source| EmulatorError::File {
            action,
            path: self.hidden.clone(),
            source,
        })
    }
}

impl Drop for HiddenFile {
    fn drop(&mut self) {
        // After it was shown there is nothing left under the hidden name; in any other case it is
        // of no use, and a failure to remove it harms nobody.
        let _ = fs::remove_file(&self.hidden);
    }
}
