//! `replay`: a fixture through the dataflow, in memory.

use std::io::Write;
use std::path::PathBuf;

use super::Failure;
use crate::definition::Definition;
use crate::runtime::replay::{Input, Options};
use crate::serve::format::{Answer, Format, table};
use crate::source::{Opening, Read, SourceSpec};

/// Records that are read of a fixture at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Arguments of `replay`.
#[derive(clap::Args)]
pub struct ReplayArgs {
    /// A folder of record files: `<stream>/*.jsonl` or `topics/<stream>/partition=<p>/*.json`
    #[arg(value_name = "FIXTURE")]
    fixture: PathBuf,
    /// Print only this view
    #[arg(value_name = "VIEW")]
    view: Option<String>,
    /// The dataflow file [default: the fixture's own dataflow.sql, else dataflows/pinterest.sql]
    #[arg(long, value_name = "FILE.sql")]
    dataflow: Option<PathBuf>,
    /// Worker threads
    #[arg(short, long, default_value_t = 1, value_name = "N")]
    workers: usize,
    /// Rows of each view that are printed, at most [default: 20 in a table, else all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// How to print the rows; long values are whole in all but the table
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Rows of a table.
const TABLE_ROWS: usize = 20;

/// Runs the fixture to its end and prints the views.
pub fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let own = args.fixture.join("dataflow.sql");
    let file = match &args.dataflow {
        Some(file) => file.clone(),
        None if own.is_file() => own,
        None => super::default_dataflow(),
    };
    let definition = Definition::load(&file)?;
    let input = read(&definition, &args.fixture)?;
    let options = Options {
        workers: args.workers,
        ..Options::default()
    };
    let replay = crate::runtime::replay(&definition, input, &options)?;
    let epoch = replay.last_epoch();
    for view in replay.views() {
        if args.view.as_deref().is_some_and(|only| only != view) {
            continue;
        }
        let rows = replay.at(view, epoch)?;
        let row_count = rows.num_rows();
        let limit = args.limit.unwrap_or(match args.format {
            Format::Table => TABLE_ROWS,
            _ => usize::MAX,
        });
        let rows = &rows.slice(0, row_count.min(limit));
        let text = match args.format {
            Format::Table => format!("{view}: {row_count} rows\n{}\n", table(rows)?).into_bytes(),
            format => Answer {
                view,
                epoch,
                row_count: row_count as u64,
                rows,
            }
            .render(format)?,
        };
        std::io::stdout().write_all(&text)?;
    }
    if let Some(only) = &args.view {
        replay.at(only, epoch)?;
    }
    for fault in &replay.faults {
        eprintln!(
            "warning: a row was left out of `{}`: {}",
            fault.relation, fault.reason
        );
    }
    Ok(())
}

/// All records of a fixture, each chunk an epoch of its own.
fn read(definition: &Definition, fixture: &std::path::Path) -> Result<Input, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let opening = Opening::whole(
        definition
            .streams
            .iter()
            .map(|stream| stream.name.clone())
            .collect(),
    );
    let spec = SourceSpec::Directory(fixture.display().to_string());
    let mut source = spec.open(opening, runtime.handle())?;
    let mut input = Input::default();
    let mut epoch = 0;
    loop {
        let chunk = match source.read(CHUNK_BYTES)? {
            Read::Chunk(chunk) => chunk,
            // It is being fetched.
            Read::Idle => {
                std::thread::yield_now();
                continue;
            }
            Read::End => break,
        };
        epoch += 1;
        let stream = &definition.streams[chunk.stream].name;
        let mut deletes = chunk.deletes.iter().peekable();
        let lines = chunk.bytes.split(|byte| *byte == b'\n');
        for (offset, line) in (chunk.first_offset..).zip(lines) {
            if let Some(delete) = deletes.next_if(|delete| delete.offset == offset) {
                input.delete(epoch, stream, &delete.key);
            } else if !line.is_empty() {
                input.add(epoch, stream, line);
            }
        }
    }
    Ok(input)
}
