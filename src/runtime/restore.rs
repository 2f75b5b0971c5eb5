//! What a run finds in its lake, and whether it may go on from there.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::{MadeBy, Position, StagedFile};
use crate::definition::Definition;
use crate::delta::Epoch;
use crate::lake::paths;
use crate::plan::Plan;
use crate::render::dead_letter_schema;
use crate::serve::store::{Digest, LakeBuckets, PLACEMENT};
use crate::sink::{Recovered, is_delta_schema};

/// The tag of a view's file that says which bucket it holds.
pub const BUCKET_TAG: &str = "bucket";
/// The tag of a view's file that says how many buckets the view had.
pub const BUCKETS_TAG: &str = "buckets";

/// The tag of a view's file that says what tells its rows from others.
pub const DIGEST_TAG: &str = "digest";

/// A view's files, bucket by bucket.
#[derive(Clone, Debug, Default)]
pub struct ViewFiles {
    /// How many buckets; 0 when the view is not in the lake yet.
    pub total: u32,
    /// The file of each bucket that has rows.
    pub files: BTreeMap<u32, StagedFile>,
    /// Files that cannot be told a bucket: they go with the next commit.
    pub stray: Vec<StagedFile>,
}

impl ViewFiles {
    /// What they hold, as far as they say so. A bucket without a file has no rows.
    pub fn buckets(&self) -> LakeBuckets {
        let digest = |bucket: u32| match self.files.get(&bucket) {
            None => Some(Digest::default()),
            Some(file) => file.tags.get(DIGEST_TAG)?.parse().ok(),
        };
        let buckets = (0..self.total).filter_map(|bucket| Some((bucket, digest(bucket)?)));
        LakeBuckets {
            total: self.total,
            digests: buckets.collect(),
        }
    }
}

/// The lake at the last checkpoint, in the terms of a plan.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The last committed epoch.
    pub epoch: Epoch,
    /// Where partitions are to be read on.
    pub positions: BTreeMap<String, Position>,
    /// The files of each table, in the plan's order.
    pub tables: Vec<Vec<StagedFile>>,
    /// The files of each view, in the plan's order.
    pub views: Vec<ViewFiles>,
    /// The files of the dead letters.
    pub dead_letters: Vec<StagedFile>,
    /// The Delta tables that exist, by path.
    pub existing: Vec<String>,
    /// The ids of those that exist with other columns, by path; they are not in `existing`.
    pub altered: BTreeMap<String, String>,
    /// The paths of those that the definition knows no more: they stay as they are.
    pub left: Vec<String>,
}

/// What makes the rows of a lake in which this definition runs.
pub fn made_by(definition: &Definition, plan: &Plan) -> MadeBy {
    let mut made = MadeBy::program(env!("CARGO_PKG_VERSION"), PLACEMENT);
    for stream in &definition.streams {
        made.stream(&stream.relation, &stream.text.words);
    }
    for table in &definition.tables {
        let stream = &definition.streams[table.stream].relation;
        made.table(&table.name, &table.text.words, stream);
    }
    for view in &definition.views {
        let planned = plan.views.iter().find(|planned| planned.name == view.name);
        let key = planned.map_or_else(Vec::new, |planned| {
            let schema = &planned.schema;
            let names = planned
                .key
                .iter()
                .map(|&column| schema.field(column).name());
            names.cloned().collect()
        });
        made.view(&view.name, &view.text.words, key);
    }
    made
}

/// Reads what `recovered` means for this definition; refuses a lake whose tables were made by
/// another one, unless that gives the `same_rows`.
pub fn found(
    recovered: Option<Recovered>,
    definition: &Definition,
    plan: &Plan,
    prefix: &str,
    lake: &str,
    same_rows: bool,
) -> Result<Found, String> {
    let mut found = Found {
        tables: vec![Vec::new(); plan.tables.len()],
        views: vec![ViewFiles::default(); plan.views.len()],
        ..Found::default()
    };
    let Some(recovered) = recovered else {
        return Ok(found);
    };
    let (then, now) = (&recovered.made_by, made_by(definition, plan));
    for (table, files) in plan.tables.iter().zip(&mut found.tables) {
        let path = paths::table(prefix, &table.name);
        if let Some(state) = recovered.tables.get(&path) {
            let difference = then.difference(&now, &table.name).filter(|_| !same_rows);
            if let Some(difference) = difference {
                return Err(format!(
                    "the lake {lake} holds a table `{}` that other statements made, so its rows would not be this one's: {difference}\n \
                     help: give this dataflow a lake of its own with --lake, or restore the statement in {}; where both give the same rows, \
                     as after a mistake was mended that made dead letters, send those in again with `pinflow dead-letters retry --same-rows`",
                    table.name, definition.file
                ));
            }
            if !is_delta_schema(&state.schema, &table.schema).map_err(|e| e.to_string())? {
                return Err(format!(
                    "the lake {lake} holds a table `{}` whose columns have other types than this program gives them: {}\n \
                     help: give this dataflow a lake of its own with --lake, or run the program that wrote it (version {})",
                    table.name, state.schema, then.program
                ));
            }
            files.clone_from(&state.files);
        } else if !recovered.positions.is_empty() {
            return Err(format!(
                "the lake {lake} was written without a table `{}` (or with another --prefix), and its streams were read already\n \
                 help: give this dataflow a lake of its own with --lake, or use the prefix of that run",
                table.name
            ));
        }
    }
    for (view, files) in plan.views.iter().zip(&mut found.views) {
        let path = paths::view(&view.name);
        let Some(state) = recovered.tables.get(&path) else {
            continue;
        };
        let same_columns =
            is_delta_schema(&state.schema, &view.schema).map_err(|e| e.to_string())?;
        if !same_columns {
            found.altered.insert(path, state.id.clone());
        }
        let stays = same_columns && then.view_stays(&now, &view.name);
        *files = view_files(&state.files, stays);
    }
    if let Some(state) = recovered.tables.get(paths::DEAD_LETTERS) {
        found.dead_letters.clone_from(&state.files);
        let letters = dead_letter_schema();
        if !is_delta_schema(&state.schema, &letters).map_err(|e| e.to_string())? {
            let path = paths::DEAD_LETTERS.to_owned();
            found.altered.insert(path, state.id.clone());
        }
    }
    found.epoch = recovered.epoch;
    found.positions = recovered.positions;
    let tables = plan.tables.iter().map(|t| paths::table(prefix, &t.name));
    let views = plan.views.iter().map(|view| paths::view(&view.name));
    let mut known: BTreeSet<String> = tables.chain(views).collect();
    known.insert(paths::DEAD_LETTERS.to_owned());
    let left = recovered
        .tables
        .keys()
        .filter(|path| !known.contains(*path));
    found.left = left.cloned().collect();
    let existing = recovered.tables.into_keys();
    found.existing = existing
        .filter(|path| !found.altered.contains_key(path))
        .collect();
    Ok(found)
}

/// Sorts a view's files into buckets. Unless the view stays, they are all strays: it is written
/// anew.
fn view_files(files: &[StagedFile], stays: bool) -> ViewFiles {
    let tag = |file: &StagedFile, name: &str| {
        file.tags
            .get(name)
            .and_then(|text| text.parse::<u32>().ok())
    };
    let mut sorted = ViewFiles::default();
    for file in files {
        match (tag(file, BUCKET_TAG), tag(file, BUCKETS_TAG)) {
            (Some(bucket), Some(total))
                if stays && (sorted.total == 0 || sorted.total == total) =>
            {
                sorted.total = total;
                if let Some(twin) = sorted.files.insert(bucket, file.clone()) {
                    sorted.stray.push(twin);
                }
            }
            _ => sorted.stray.push(file.clone()),
        }
    }
    if !sorted.stray.is_empty() {
        // One file out of place means that nothing is known about the others: all are written anew.
        sorted
            .stray
            .extend(std::mem::take(&mut sorted.files).into_values());
        sorted.total = 0;
    }
    sorted
}
