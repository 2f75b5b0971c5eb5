//! Names of the places inside a lake, relative to its root.

/// The folder of checkpoints.
pub const CHECKPOINTS: &str = "_checkpoints";
/// The Delta table of records that could not become rows.
pub const DEAD_LETTERS: &str = "dead_letters";
/// The folder of tables.
pub const TABLES: &str = "tables";
/// The folder of views.
pub const VIEWS: &str = "views";

/// The Delta table that holds the rows of `table`; `prefix` is the user's prefix for table names.
pub fn table(prefix: &str, table: &str) -> String {
    format!("{TABLES}/{prefix}{table}")
}

/// The Delta table that holds the rows of `view`.
pub fn view(view: &str) -> String {
    format!("{VIEWS}/{view}")
}

/// The file of checkpoint `number`. Twenty digits, so that names sort as numbers do.
pub fn checkpoint(number: u64) -> String {
    format!("{CHECKPOINTS}/{number:020}.json")
}

/// The number of the checkpoint a file name stands for; `None` for any other file.
pub fn checkpoint_number(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".json")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

/// The log entry that makes `version` of the Delta table `table`.
pub fn log_entry(table: &str, version: u64) -> String {
    format!("{table}/_delta_log/{version:020}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoint_names_are_read_back_and_nothing_else_is() {
        assert_eq!(checkpoint(7), "_checkpoints/00000000000000000007.json");
        for number in [0, 7, u64::MAX] {
            let path = checkpoint(number);
            assert_eq!(
                checkpoint_number(&path[CHECKPOINTS.len() + 1..]),
                Some(number)
            );
        }
        for other in [
            "7.json",
            "0000000000000000000x.json",
            "00000000000000000007.tmp",
            "99999999999999999999.json",
        ] {
            assert_eq!(checkpoint_number(other), None, "{other}");
        }
    }
}
