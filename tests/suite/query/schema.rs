//! Random streams and tables: what is sent, how it is cleaned, and what it is called.

use super::super::tape::Tape;
use super::values::Spelling;

/// What a column of a table or view holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    Bigint,
    Int,
    Smallint,
    /// A whole number near the limits of its type: compared, and never computed with.
    Wide,
    Double,
    Real,
    Decimal,
    Boolean,
    Text,
    Date,
    Timestamp,
    Bytea,
    /// BIGINT[]
    Numbers,
    /// TEXT[]
    Texts,
}

impl Type {
    pub fn is_whole(self) -> bool {
        matches!(self, Type::Bigint | Type::Int | Type::Smallint)
    }

    pub fn is_list(self) -> bool {
        matches!(self, Type::Numbers | Type::Texts)
    }

    /// Whether values are equal in every engine if and only if they are the same, which a join
    /// needs.
    pub fn joins(self) -> bool {
        !self.is_list() && self != Type::Bytea
    }
}

/// A column of a stream.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub spelling: Spelling,
}

/// A column of a table: an expression over the fields of its stream.
#[derive(Clone, Debug)]
pub struct Item {
    pub name: String,
    pub sql: String,
    pub of: Type,
    /// Whether it is a text in which an `n` at the beginning is followed by digits only.
    pub codes: bool,
}

/// A stream and the table that is made of it. The first `key` fields and items are the primary key.
#[derive(Clone, Debug)]
pub struct Table {
    pub name: String,
    pub stream: String,
    pub fields: Vec<Field>,
    pub items: Vec<Item>,
    pub key: usize,
    pub condition: Option<String>,
    /// The number of the table before it whose stream it reads too.
    pub twin: Option<usize>,
    /// The field by which its first item divides, and which must not be zero.
    pub divisor: Option<usize>,
}

const TABLES: [&str; 5] = ["a", "b", "user", "Orders", "Order-Items"];

/// Names of columns. Those of one name are spelled in one way in all tables of a file, so that
/// tables can be joined on them.
const COLUMNS: [(&str, &[Spelling]); 14] = [
    ("g", &[Spelling::Text, Spelling::Code]),
    (
        "n",
        &[
            Spelling::Whole("BIGINT"),
            Spelling::Whole("INT"),
            Spelling::Whole("SMALLINT"),
        ],
    ),
    (
        "d",
        &[
            Spelling::Double("DOUBLE"),
            Spelling::DoubleText,
            Spelling::Double("REAL"),
        ],
    ),
    ("b", &[Spelling::Flag]),
    ("t", &[Spelling::TimestampText, Spelling::Timestamp]),
    ("m", &[Spelling::Whole("BIGINT"), Spelling::Whole("INT")]),
    ("index", &[Spelling::Whole("BIGINT"), Spelling::Text]),
    ("Country", &[Spelling::Text]),
    (
        "größe",
        &[Spelling::Double("DOUBLE"), Spelling::Whole("BIGINT")],
    ),
    (
        "order",
        &[Spelling::Code, Spelling::Date, Spelling::Whole("INT")],
    ),
    ("day", &[Spelling::DateText, Spelling::Date]),
    (
        "amount",
        &[Spelling::Double("DOUBLE"), Spelling::DoubleText],
    ),
    ("tags", &[Spelling::Texts]),
    ("code", &[Spelling::Code]),
];

/// The tables of a file.
pub fn tables(tape: &mut Tape) -> Vec<Table> {
    let columns: Vec<Field> = COLUMNS
        .iter()
        .map(|(name, spellings)| Field {
            name: (*name).to_owned(),
            spelling: *tape.one(spellings),
        })
        .collect();
    let count = 2 + tape.below(TABLES.len() - 1);
    let mut tables: Vec<Table> = Vec::new();
    for name in &TABLES[..count] {
        let table = match tables.len() {
            0 => table(tape, name, &columns),
            _ if !tape.rarely(6) => table(tape, name, &columns),
            before => {
                let twin = tape.below(before);
                let twin = tables[twin].twin.unwrap_or(twin);
                let (fields, key) = (tables[twin].fields.clone(), tables[twin].key);
                let stream = tables[twin].stream.clone();
                Table {
                    twin: Some(twin),
                    stream,
                    ..cleaned(tape, name, fields, key)
                }
            }
        };
        tables.push(table);
    }
    tables
}

fn table(tape: &mut Tape, name: &str, columns: &[Field]) -> Table {
    let field = |name: &str, spelling| Field {
        name: name.to_owned(),
        spelling,
    };
    let mut fields = match tape.below(8) {
        0..5 => vec![field("k", Spelling::Key("BIGINT"))],
        5 => vec![
            field("k", Spelling::Key("BIGINT")),
            field("l", Spelling::KeyText),
        ],
        6 => vec![
            field("l", Spelling::KeyText),
            field("k", Spelling::Key("BIGINT")),
        ],
        _ => vec![field("k", Spelling::Key("INT"))],
    };
    let key = fields.len();
    let mut left: Vec<&Field> = columns.iter().collect();
    for _ in 0..2 + tape.below(6) {
        let next = left.remove(tape.below(left.len()));
        fields.push(next.clone());
    }
    cleaned(tape, name, fields, key)
}

/// A table over a stream of these fields, of which the first are the key.
fn cleaned(tape: &mut Tape, name: &str, fields: Vec<Field>, key: usize) -> Table {
    let mut items: Vec<Item> = fields
        .iter()
        .enumerate()
        .map(|(at, field)| {
            let plain = at < key;
            let cleaning = field.spelling.cleaning(tape, &ident(&field.name), plain);
            Item {
                name: field.name.clone(),
                sql: cleaning.sql,
                of: cleaning.of,
                codes: cleaning.codes,
            }
        })
        .collect();
    // A column may come out under another's name: all values of the two change places.
    if tape.rarely(5) {
        let (one, other) = (key, items.len() - 1);
        let name = items[one].name.clone();
        items[one].name = std::mem::replace(&mut items[other].name, name);
    }
    // A list of what was sent under other names.
    let whole = fields[key..]
        .iter()
        .find(|field| matches!(field.spelling, Spelling::Whole(_)));
    if let Some(whole) = whole.filter(|_| tape.rarely(4)) {
        let whole = ident(&whole.name);
        items.push(Item {
            name: "pair".to_owned(),
            sql: format!("make_array(CAST({whole} AS BIGINT), CAST(k AS BIGINT))"),
            of: Type::Numbers,
            codes: false,
        });
    }
    let condition = tape
        .rarely(4)
        .then(|| condition(tape, &fields[key..]))
        .flatten();
    // Records for which it fails are dead letters, unless the condition drops them.
    let divisor = fields
        .iter()
        .position(|field| matches!(field.spelling, Spelling::Whole(_)));
    let divisor = divisor.filter(|_| condition.is_none() && tape.rarely(4));
    if let Some(divisor) = divisor {
        items.push(Item {
            name: "share".to_owned(),
            sql: format!("60 ÷ {}", ident(&fields[divisor].name)),
            of: Type::Bigint,
            codes: false,
        });
    }
    Table {
        name: name.to_owned(),
        stream: format!("{name}_sent").to_lowercase(),
        fields,
        items,
        key,
        condition,
        twin: None,
        divisor,
    }
}

/// A condition of a table that drops some of the records. It is guarded, if it can fail.
fn condition(tape: &mut Tape, fields: &[Field]) -> Option<String> {
    let field = tape.one(fields);
    let name = ident(&field.name);
    match field.spelling {
        Spelling::Whole(_) => Some(match tape.below(3) {
            0 => format!("{name} IS NULL OR {name} < 4"),
            1 => format!("{name} <> 0 AND 12 ÷ {name} > 2"),
            _ => format!("{name} IS NULL OR {name} = 0 OR 12 ÷ {name} > 2"),
        }),
        Spelling::Text => Some(format!("{name} IS DISTINCT FROM 'x'")),
        Spelling::Code => Some(format!(
            "{name} IS NULL OR {name} NOT LIKE 'n%' OR CAST(substr({name}, 2) AS BIGINT) < 10"
        )),
        _ => None,
    }
}

/// A name as SQL has it.
pub fn ident(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain && !["index", "order", "user", "day", "exists", "case"].contains(&name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}
