//! The column that a table is cut into pages by.
//!
//! Without one being given it is, in this order: the primary key, a unique key without nulls, the
//! first column of any other index, a column named `index`, `ind` or `id`. The first two only if
//! they are a single column; of more columns the first is taken like that of any other index.
//!
//! Where several rows may have the same key, it must be a number or a time: of text the server
//! decides what is the same, by rules of its own.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Value};
use serde::{Deserialize, Serialize};

/// The column, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub column: String,
    /// Whether no two rows have the same, and none has null.
    pub unique: bool,
    /// Whether the server finds a key without reading the table.
    pub indexed: bool,
}

/// A key of a row, as tokens hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KeyValue {
    Null,
    Int(i64),
    Uint(u64),
    Text(String),
}

impl KeyValue {
    /// The key in a row; `None` if rows cannot be read on behind it.
    pub(super) fn of(value: &Value) -> Option<KeyValue> {
        Some(match value {
            Value::NULL => KeyValue::Null,
            Value::Int(number) => KeyValue::Int(*number),
            Value::UInt(number) => KeyValue::Uint(*number),
            Value::Bytes(bytes) => KeyValue::Text(String::from_utf8(bytes.clone()).ok()?),
            Value::Date(year, month, day, hour, minute, second, micros) => KeyValue::Text(format!(
                "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}"
            )),
            Value::Float(_) | Value::Double(_) | Value::Time(..) => return None,
        })
    }

    /// As a parameter of a query.
    pub(super) fn param(&self) -> Value {
        match self {
            KeyValue::Null => Value::NULL,
            KeyValue::Int(number) => Value::Int(*number),
            KeyValue::Uint(number) => Value::UInt(*number),
            KeyValue::Text(text) => Value::Bytes(text.clone().into_bytes()),
        }
    }
}

type IndexColumn = (String, i64, u64, String, Option<String>);

/// Finds the key of a table, or says why there is none.
pub(super) async fn find(
    connection: &mut Conn,
    database: &str,
    table: &str,
    given: Option<&str>,
) -> Result<Result<Key, String>, mysql_async::Error> {
    let columns: Vec<(String, String)> = connection
        .exec(
            "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
            (database, table),
        )
        .await?;
    let indexes: Vec<IndexColumn> = connection
        .exec(
            "SELECT INDEX_NAME, NON_UNIQUE, SEQ_IN_INDEX, COLUMN_NAME, NULLABLE FROM information_schema.STATISTICS \
             WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY INDEX_NAME <> 'PRIMARY', NON_UNIQUE, INDEX_NAME, SEQ_IN_INDEX",
            (database, table),
        )
        .await?;
    Ok(choose(table, &columns, &indexes, given))
}

fn choose(
    table: &str,
    columns: &[(String, String)],
    indexes: &[IndexColumn],
    given: Option<&str>,
) -> Result<Key, String> {
    if columns.is_empty() {
        return Err(
            "there is no such table, or the user may not read it; name the table of a stream with `<stream>=<table>`, or GRANT SELECT on it"
                .to_owned(),
        );
    }
    let alone = |name: &str| indexes.iter().filter(|index| index.0 == name).count() == 1;
    let keys = indexes
        .iter()
        .filter(|(_, _, place, ..)| *place == 1)
        .map(|(name, not_unique, _, column, nullable)| Key {
            column: column.clone(),
            unique: *not_unique == 0 && nullable.as_deref() != Some("YES") && alone(name),
            indexed: true,
        })
        .collect::<Vec<_>>();
    let is_column = |name: &str| columns.iter().any(|(column, _)| column == name);
    let bare = |column: &str| Key {
        column: column.to_owned(),
        unique: false,
        indexed: false,
    };
    let key = match given {
        Some(name) if !is_column(name) => {
            return Err(format!("the table has no column `{name}` to cut pages by"));
        }
        Some(name) => {
            let of_column = || keys.iter().filter(|key| key.column == name);
            let best = of_column().find(|key| key.unique).or(of_column().next());
            best.cloned().unwrap_or_else(|| bare(name))
        }
        None => {
            let best = keys.iter().find(|key| key.unique).or(keys.first()).cloned();
            let named = ["index", "ind", "id"]
                .into_iter()
                .find(|name| is_column(name));
            best.or(named.map(bare)).ok_or_else(|| {
                "the table has no key to cut pages by; add a primary key, or name a column with `<stream>.key=<column>`".to_owned()
            })?
        }
    };
    let kind = columns.iter().find(|(column, _)| *column == key.column);
    let kind = kind.map_or("", |(_, kind)| kind);
    let number_or_time =
        kind.ends_with("int") || matches!(kind, "date" | "datetime" | "timestamp" | "year");
    let text = matches!(
        kind,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "uuid"
    );
    if number_or_time || key.unique && text {
        return Ok(key);
    }
    Err(format!(
        "pages of `{table}` cannot be cut by its column `{}` ({kind}{}); name a whole number or a time with `<stream>.key=<column>`",
        key.column,
        if key.unique { "" } else { ", not unique" },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(name: &str, not_unique: i64, place: u64, column: &str, nullable: bool) -> IndexColumn {
        let nullable = if nullable { "YES" } else { "" };
        (
            name.into(),
            not_unique,
            place,
            column.into(),
            Some(nullable.into()),
        )
    }

    #[test]
    fn the_best_key_is_taken_and_what_cannot_be_one_is_refused() {
        let columns = [("ind", "bigint"), ("name", "text"), ("size", "float")]
            .map(|(name, kind)| (name.to_owned(), kind.to_owned()));
        let choose = |indexes: &[IndexColumn], given| super::choose("t", &columns, indexes, given);
        let key = |column: &str, unique, indexed| {
            let column = column.to_owned();
            Ok(Key {
                column,
                unique,
                indexed,
            })
        };
        assert_eq!(choose(&[], None), key("ind", false, false));
        assert_eq!(
            choose(&[index("PRIMARY", 0, 1, "ind", false)], None),
            key("ind", true, true)
        );
        assert_eq!(
            choose(&[index("u", 0, 1, "name", false)], None),
            key("name", true, true)
        );
        assert_eq!(
            choose(&[index("i", 1, 1, "ind", true)], None),
            key("ind", false, true)
        );
        let two = [
            index("PRIMARY", 0, 1, "ind", false),
            index("PRIMARY", 0, 2, "name", false),
        ];
        assert_eq!(choose(&two, None), key("ind", false, true));
        assert!(
            choose(&[index("u", 0, 1, "name", true)], None)
                .unwrap_err()
                .contains("not unique")
        );
        assert!(choose(&[], Some("size")).unwrap_err().contains("float"));
        assert!(
            choose(&[], Some("no"))
                .unwrap_err()
                .contains("no column `no`")
        );
        assert!(
            super::choose("t", &[], &[], None)
                .unwrap_err()
                .contains("no such table")
        );
    }
}
