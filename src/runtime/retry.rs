//! Sending dead letters in again: which ones, and how they come back as a source.
//!
//! A run over letters is a run like any other, whose source is the lake's table of dead letters. It
//! ends with one commit, which takes the letters that were chosen out of their table and adds what
//! became of them: rows, or letters with a new reason. Nothing is changed before, so a run that
//! ends early has done nothing, and one that is begun again does not find letters that were sent
//! in.
//!
//! ```text
//!  files of dead letters --chosen--> chunks, as of their stream, partition and offset --> the dataflow
//!         |--the others--> the same files without the chosen ones ----.
//!         '--the old files leave the table --------------------------> the one commit
//! ```

use std::collections::{BTreeMap, VecDeque};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::kernels::boolean::and_not;
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use bytes::Bytes;

use super::restore::Found;
use super::run::RunError;
use super::stager::FileNumbers;
use crate::checkpoint::{Came, EPOCHS_TAG, Position, RemovedFile, StagedFile, TableCommit};
use crate::decode::push_value;
use crate::lake::{Lake, LakeError, paths};
use crate::render::{About, restored_letters};
use crate::sink::{FileFacts, ParquetOptions, encode};
use crate::source::{Chunk, Delete, Read, Retry, Source, SourceError};

/// A chunk of letters has about this many bytes at most.
const CHUNK_BYTES: usize = 1 << 20;
/// Offsets between two letters of one chunk: a blank line stands for each.
const GAP: u64 = 64;

/// Which dead letters are meant.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Those of this stream.
    pub stream: Option<String>,
    /// Those whose reason has this text in it.
    pub reason: Option<String>,
    /// Those that came at this time or later, in microseconds since 1970.
    pub since_us: Option<i64>,
    /// Those that came before this time.
    pub until_us: Option<i64>,
}

impl Selection {
    /// Which of `letters` are meant, one answer a row.
    pub fn of(&self, letters: &RecordBatch) -> BooleanArray {
        let streams = letters["stream"].as_string_view();
        let reasons = letters["reason"].as_string_view();
        let times = letters["time"].as_primitive::<TimestampMicrosecondType>();
        let meant = |row: usize| {
            let is = |wanted: &Option<String>, fits: &dyn Fn(&str) -> bool| {
                wanted.as_deref().is_none_or(fits)
            };
            is(&self.stream, &|stream| streams.value(row) == stream)
                && is(&self.reason, &|reason| reasons.value(row).contains(reason))
                && self.since_us.is_none_or(|since| times.value(row) >= since)
                && self.until_us.is_none_or(|until| times.value(row) < until)
        };
        (0..letters.num_rows())
            .map(|row| Some(meant(row)))
            .collect()
    }
}

/// The letters of a lake that are sent in again.
pub(super) struct Retried {
    /// When their records came first.
    pub came: Came,
    /// What the table of dead letters gains and loses without them.
    pub change: TableCommit,
    /// How many they are.
    pub letters: u64,
}

/// One of them.
struct Letter {
    came: Came,
    stream: usize,
    partition: String,
    offset: u64,
    table: Option<String>,
    deletes: bool,
    record: Bytes,
}

/// Takes the letters that are meant out of `found`; `None` if there are none. Those of streams that
/// the dataflow does not have stay, and those that are no records but rests of files.
pub(super) async fn retried(
    lake: &Lake,
    found: &mut Found,
    selection: &Selection,
    streams: &[String],
    mut numbers: FileNumbers,
    now_ms: i64,
) -> Result<Option<(Retried, Letters)>, RunError> {
    let mut letters: Vec<Letter> = Vec::new();
    let mut change = TableCommit::default();
    let mut left = Vec::new();
    let mut rests = 0;
    for file in std::mem::take(&mut found.dead_letters) {
        let came = Came::of(&file.tags).unwrap_or(Came::until(found.epoch));
        let mut others = Vec::new();
        let before = letters.len();
        for rows in lake
            .read_file(paths::DEAD_LETTERS, &file.path, None)
            .await?
        {
            let rows = restored_letters(&rows).map_err(|error| unreadable(lake, &error))?;
            let meant = arrow::compute::and(&selection.of(&rows), &known(&rows, streams));
            let meant = meant.map_err(|error| unreadable(lake, &error))?;
            let records = and_not(&meant, &are_rests(&rows));
            let records = records.map_err(|error| unreadable(lake, &error))?;
            rests += meant.true_count() - records.true_count();
            let meant = records;
            let split = |meant: &BooleanArray| filter_record_batch(&rows, meant);
            let chosen = split(&meant).map_err(|error| unreadable(lake, &error))?;
            letters.extend(each_letter(&chosen, came, streams));
            let rest = not(&meant).and_then(|others| split(&others));
            others.push(rest.map_err(|error| unreadable(lake, &error))?);
        }
        if letters.len() == before {
            left.push(file);
            continue;
        }
        change.removes.push(RemovedFile::from(&file));
        let facts = FileFacts {
            id: numbers.draw(),
            now_ms,
            tags: BTreeMap::from([(EPOCHS_TAG.to_owned(), came.to_string())]),
        };
        if let Some(rest) = without(lake, &others, facts).await? {
            change.adds.push(rest.clone());
            left.push(rest);
        }
    }
    found.dead_letters = left;
    if rests > 0 {
        tracing::warn!(
            "{rests} of the dead letters that are meant stay: they are the rests of files that could \
             not be read, and no records; write what is missing to files with new names"
        );
    }
    let Some(came) = letters.iter().map(|l| l.came).reduce(Came::and) else {
        return Ok(None);
    };
    let retried = Retried {
        came,
        change,
        letters: letters.len() as u64,
    };
    Ok(Some((retried, Letters::of(letters))))
}

fn unreadable(lake: &Lake, why: &dyn std::fmt::Display) -> RunError {
    RunError::Failed(format!(
        "{}/{} has other columns than this pinflow writes: {why}; move the table away, or use another lake",
        lake.location(),
        paths::DEAD_LETTERS
    ))
}

/// Stages the letters of a file that are left, if there are any.
async fn without(
    lake: &Lake,
    others: &[RecordBatch],
    facts: FileFacts,
) -> Result<Option<StagedFile>, LakeError> {
    if others.iter().all(|rows| rows.num_rows() == 0) {
        return Ok(None);
    }
    let options = ParquetOptions::for_lake(lake);
    let encoded = encode(&others[0].schema(), others, &options)?;
    let staged = lake.stage(paths::DEAD_LETTERS, encoded, facts).await?;
    let path = format!("{}/{}", paths::DEAD_LETTERS, staged.path);
    lake.settle(&[path]).await?;
    Ok(Some(staged))
}

/// Which of `letters` are of one of `streams`.
fn known(letters: &RecordBatch, streams: &[String]) -> BooleanArray {
    let of = letters["stream"].as_string_view().iter();
    let known = |of: Option<&str>| of.is_some_and(|of| streams.iter().any(|name| name == of));
    of.map(|of| Some(known(of))).collect()
}

/// Which of `letters` are rests of files.
fn are_rests(letters: &RecordBatch) -> BooleanArray {
    let reasons = letters["reason"].as_string_view().iter();
    reasons
        .map(|reason| Some(reason.is_some_and(|reason| About::of(reason).is_rest)))
        .collect()
}

fn each_letter<'a>(
    rows: &'a RecordBatch,
    came: Came,
    streams: &'a [String],
) -> impl Iterator<Item = Letter> + 'a {
    let text = |column: &str, row: usize| rows[column].as_string_view().value(row);
    (0..rows.num_rows()).map(move |row| {
        let stream = text("stream", row);
        let stream = streams.iter().position(|name| name == stream);
        let about = About::of(text("reason", row));
        let (texts, records) = (
            rows["text"].as_string_view(),
            rows["record"].as_binary_view(),
        );
        let record = match texts.is_valid(row) {
            true => texts.value(row).as_bytes(),
            false => records.value(row),
        };
        Letter {
            came,
            stream: stream.expect("only letters of known streams are chosen"),
            partition: text("partition", row).to_owned(),
            offset: rows["offset"].as_primitive::<Int64Type>().value(row) as u64,
            table: about.table.map(str::to_owned),
            deletes: about.deletes,
            record: Bytes::copy_from_slice(record),
        }
    })
}

/// Letters as a source: in the order in which their records came.
pub(super) struct Letters(VecDeque<Chunk>);

impl Letters {
    fn of(mut letters: Vec<Letter>) -> Self {
        letters.sort_by(|a, b| {
            let place = |letter: &Letter| (letter.came, letter.stream);
            (place(a), &a.partition, a.offset).cmp(&(place(b), &b.partition, b.offset))
        });
        let mut chunks = VecDeque::new();
        let mut open = Vec::new();
        let mut bytes = 0;
        for letter in letters {
            if open.last().is_some_and(|last| !follows(last, &letter)) || bytes > CHUNK_BYTES {
                chunks.push_back(chunk(&std::mem::take(&mut open)));
                bytes = 0;
            }
            bytes += letter.record.len();
            open.push(letter);
        }
        if !open.is_empty() {
            chunks.push_back(chunk(&open));
        }
        Letters(chunks)
    }
}

/// Whether a letter may be in one chunk with the one before it.
fn follows(before: &Letter, letter: &Letter) -> bool {
    let of = |letter: &Letter| (letter.came, letter.stream);
    of(before) == of(letter)
        && (&before.partition, &before.table) == (&letter.partition, &letter.table)
        && (1..=GAP).contains(&letter.offset.saturating_sub(before.offset))
}

/// Letters of one partition and table, by ascending offsets.
fn chunk(letters: &[Letter]) -> Chunk {
    let first = &letters[0];
    let mut lines = Vec::new();
    let mut deletes = Vec::new();
    let mut next = first.offset;
    for letter in letters {
        lines.extend((next..letter.offset).map(|_| b'\n'));
        next = letter.offset + 1;
        if letter.deletes {
            lines.push(b'\n');
            deletes.push(Delete {
                offset: letter.offset,
                key: letter.record.clone(),
            });
        } else {
            push_value(&mut lines, &letter.record);
        }
    }
    Chunk {
        stream: first.stream,
        partition: first.partition.clone(),
        first_offset: first.offset,
        records: next - first.offset,
        bytes: Bytes::from(lines),
        deletes,
        refused: Vec::new(),
        end: Position::default(),
        retry: Some(Retry {
            came: first.came,
            table: first.table.clone(),
        }),
    }
}

impl Source for Letters {
    fn read(&mut self, _bytes_max: usize) -> Result<Read, SourceError> {
        Ok(self.0.pop_front().map_or(Read::End, Read::Chunk))
    }

    fn describe(&self) -> String {
        "dead letters".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(came: &str, partition: &str, offset: u64, record: &'static str) -> Letter {
        Letter {
            came: came.parse().unwrap(),
            stream: 0,
            partition: partition.to_owned(),
            offset,
            table: None,
            deletes: false,
            record: Bytes::from_static(record.as_bytes()),
        }
    }

    #[test]
    fn letters_come_at_their_offsets_in_the_order_in_which_their_records_came() {
        let tombstone = Letter {
            deletes: true,
            ..letter("1-2", "0", 5, "7")
        };
        let letters = vec![
            letter("3-4", "0", 9, "late"),
            letter("1-2", "0", 3, "a\nb"),
            tombstone,
            letter("1-2", "0", 3, "again"),
            letter("1-2", "0", 900, "far"),
            letter("1-2", "1", 4, "other"),
        ];
        let mut source = Letters::of(letters);
        let mut read = Vec::new();
        while let Read::Chunk(chunk) = source.read(0).unwrap() {
            let deletes: Vec<u64> = chunk.deletes.iter().map(|delete| delete.offset).collect();
            let text = String::from_utf8(chunk.bytes.to_vec()).unwrap();
            read.push((
                chunk.partition,
                chunk.first_offset,
                chunk.records,
                text,
                deletes,
            ));
        }
        let chunk = |partition: &str, first, records, text: &str, deletes: &[u64]| {
            let (partition, text) = (partition.to_owned(), text.to_owned());
            (partition, first, records, text, deletes.to_vec())
        };
        assert_eq!(
            read,
            [
                chunk("0", 3, 1, "a\rb\n", &[]),
                chunk("0", 3, 3, "again\n\n\n", &[5]),
                chunk("0", 900, 1, "far\n", &[]),
                chunk("1", 4, 1, "other\n", &[]),
                chunk("0", 9, 1, "late\n", &[]),
            ]
        );
    }
}
