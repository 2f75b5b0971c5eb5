//! What must hold in each notation, on a small dataflow with a shared node.

use std::collections::BTreeSet;

use super::{Format, explain};
use crate::definition::Definition;

const FILE: &str = r#"
    CREATE EXTERNAL TABLE pin_raw ("index" BIGINT, category TEXT) STORED AS JSON LOCATION 'pin';
    CREATE EXTERNAL TABLE geo_raw (ind BIGINT, country TEXT) STORED AS JSON LOCATION 'geo';
    CREATE TABLE pin (PRIMARY KEY (ind)) AS SELECT "index" AS ind, category FROM pin_raw;
    CREATE TABLE geo (PRIMARY KEY (ind)) AS SELECT ind, country FROM geo_raw;
    CREATE MATERIALIZED VIEW by_country AS
    SELECT country, count(*) AS posts FROM pin JOIN geo USING (ind) WHERE category <> '"a"' GROUP BY country;
    CREATE MATERIALIZED VIEW top_country AS
    SELECT country, posts FROM by_country ORDER BY posts DESC, country LIMIT 1;
"#;

fn explained(view: Option<&str>, format: Format) -> String {
    let definition = Definition::parse("posts.sql", FILE).unwrap();
    explain(&crate::plan::lower(&definition).unwrap(), view, format)
}

#[test]
fn a_shared_node_is_printed_once_and_then_referred_to() {
    let text = explained(None, Format::Text);
    assert!(text.contains("pin -> pin"), "{text}");
    assert!(text.contains("pin (ind) + geo (ind)"), "{text}");
    assert!(text.contains("count(*)"), "{text}");
    assert!(text.contains("rows for keys in pin and geo"), "{text}");
    let mut seen = BTreeSet::new();
    for line in text.lines().map(str::trim).filter(|l| l.starts_with('#')) {
        let number = line.split(' ').next().unwrap();
        assert_eq!(seen.insert(number), !line.ends_with("(above)"), "{text}");
    }
    assert!(text.contains("(above)"), "{text}");
}

#[test]
fn one_view_brings_what_it_needs_and_nothing_else() {
    for format in [Format::Text, Format::Mermaid, Format::Dot] {
        let one = explained(Some("by_country"), format);
        assert!(one.contains("view by_country"), "{one}");
        assert!(!one.contains("top_country"), "{one}");
        assert!(!explained(Some("nothing"), format).contains("pin ("));
    }
}

#[test]
fn labels_of_diagrams_hold_no_quotes_of_their_own() {
    let mermaid = explained(None, Format::Mermaid);
    assert!(mermaid.starts_with("flowchart LR\n"), "{mermaid}");
    for line in mermaid.lines() {
        assert!([0, 2].contains(&line.matches('"').count()), "{line}");
    }
    let dot = explained(None, Format::Dot);
    assert!(dot.starts_with("digraph pinflow {\n") && dot.ends_with("}\n"));
    for line in dot.lines() {
        let quotes = line.replace("\\\"", "").matches('"').count();
        assert!([0, 2].contains(&quotes), "{line}");
    }
}
