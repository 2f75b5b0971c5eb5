//! Data files: put where no table names them yet, read back, and rewritten without some of their
//! rows.

use super::log;
use super::parquet::{Encoded, ParquetOptions, decode, encode};
use crate::checkpoint::StagedFile;
use crate::lake::{Lake, LakeError};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use std::collections::BTreeMap;

/// What a caller knows about a file that it stages, and the file itself does not say.
#[derive(Clone, Debug)]
pub struct FileFacts {
    /// Names the file: a number that no other file of the table ever had, so drawn from a wide
    /// generator.
    pub id: u128,
    /// Milliseconds since 1970 UTC.
    pub now_ms: i64,
    /// Kept with the file in the Delta log.
    pub tags: BTreeMap<String, String>,
}

impl Lake {
    /// Puts a data file into the folder of `table`. It belongs to the table once a checkpoint names
    /// it, and to no one if none ever does.
    pub async fn stage(
        &self,
        table: &str,
        encoded: Encoded,
        facts: FileFacts,
    ) -> Result<StagedFile, LakeError> {
        let path = format!("part-{}.parquet", uuid::Uuid::from_u128(facts.id));
        let size = encoded.size();
        let place = format!("{table}/{path}");
        self.put(&place, encoded.chunks).await?;
        Ok(StagedFile {
            path,
            size,
            rows: encoded.rows,
            stats: encoded.stats,
            tags: facts.tags,
            modified_ms: facts.now_ms,
            data_change: true,
        })
    }

    /// The files of `table` at its last commit; `None` if there is no such table.
    pub async fn files_of(&self, table: &str) -> Result<Option<Vec<StagedFile>>, LakeError> {
        let loaded = log::load(self, table).await?;
        Ok(loaded.map(|loaded| loaded.files))
    }

    /// The rows of the data file `file` of `table`, in the dataflow's types; only the columns
    /// named, if any are, in the file's order.
    pub async fn read_file(
        &self,
        table: &str,
        file: &str,
        columns: Option<&[String]>,
    ) -> Result<Vec<RecordBatch>, LakeError> {
        let path = format!("{table}/{file}");
        let bytes = self.get(&path).await?;
        decode(bytes, columns, &path)
    }

    /// Stages what is left of the data file `file` when only the rows that `keep` says stay; `None`
    /// if no row does.
    ///
    /// `keep` sees the rows in the file's order, a batch at a time, and answers one value a row;
    /// null is no. The old file is untouched: the caller removes it from the table in the same
    /// commit that adds the new one.
    pub async fn rewrite(
        &self,
        table: &str,
        file: &str,
        mut keep: impl FnMut(&RecordBatch) -> BooleanArray,
        options: &ParquetOptions,
        facts: FileFacts,
    ) -> Result<Option<StagedFile>, LakeError> {
        let mut kept = Vec::new();
        for batch in self.read_file(table, file, None).await? {
            let rows =
                filter_record_batch(&batch, &keep(&batch)).map_err(|e| LakeError::Parquet {
                    action: "rewrite",
                    of: format!("`{table}/{file}`"),
                    source: e.into(),
                })?;
            if rows.num_rows() > 0 {
                kept.push(rows);
            }
        }
        let Some(first) = kept.first() else {
            return Ok(None);
        };
        let encoded = encode(&first.schema(), &kept, options)?;
        self.stage(table, encoded, facts).await.map(Some)
    }
}
