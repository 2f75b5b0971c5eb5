//! The dataflow as people read it: text, Mermaid or Graphviz's DOT.
//!
//! Text shows each view as a tree of its nodes, inputs below. A node that is reached a second time, by another view or by another branch
//! of the same one, is named by its number only: `#12 (above)` is state that exists once. The diagrams show each node once and an
//! arrow for each input.
//!
//! # Invariants
//! 1. Equal plans give equal texts: nothing here depends on addresses, hashes or time.

use std::collections::BTreeSet;

use arrow::compute::SortOptions;
use arrow::datatypes::Schema;

use super::keyed::as_column;
use super::{
    Aggregate, Function, JoinKind, Map, Member, NodeId, Op, Plan, Presence, Rank, Table, View,
};

/// In which notation a plan is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Indented text.
    Text,
    /// A Mermaid flowchart.
    Mermaid,
    /// Graphviz.
    Dot,
}

/// A line of a diagram's box has at most so many characters; the text has all of them.
const BOX_CHARS: usize = 72;

/// Prints the dataflow, or the part of it that `view` needs; of a view that does not exist there is no part.
pub fn explain(plan: &Plan, view: Option<&str>, format: Format) -> String {
    let part = Part::of(plan, view);
    match format {
        Format::Text => text(&part),
        Format::Mermaid => mermaid(&Picture::of(&part)),
        Format::Dot => dot(&Picture::of(&part)),
    }
}

/// Some views and everything they need.
struct Part<'a> {
    plan: &'a Plan,
    views: Vec<&'a View>,
    nodes: BTreeSet<NodeId>,
    tables: BTreeSet<usize>,
}

impl<'a> Part<'a> {
    fn of(plan: &'a Plan, only: Option<&str>) -> Part<'a> {
        let views: Vec<&'a View> = plan
            .views
            .iter()
            .filter(|view| only.is_none_or(|name| view.name == name))
            .collect();
        let mut nodes = BTreeSet::new();
        let mut open: Vec<NodeId> = views.iter().map(|view| view.node).collect();
        while let Some(node) = open.pop() {
            if nodes.insert(node) {
                open.extend(plan.nodes[node].op.inputs());
            }
        }
        // A table that no view reads is still cleaned, kept by its key and stored.
        let mut tables: BTreeSet<usize> = match only {
            None => (0..plan.tables.len()).collect(),
            Some(_) => BTreeSet::new(),
        };
        for &node in &nodes {
            if let Op::Keyed { members, .. } = &plan.nodes[node].op {
                tables.extend(members.iter().map(|member| member.table));
            }
        }
        Part {
            plan,
            views,
            nodes,
            tables,
        }
    }

    /// The sets of tables of this part that share an arrangement.
    fn groups(&self) -> Vec<Vec<usize>> {
        let mine = |group: &Vec<usize>| -> Vec<usize> {
            let tables = group.iter().copied();
            tables.filter(|table| self.tables.contains(table)).collect()
        };
        let groups = self.plan.groups.iter().map(mine);
        groups.filter(|group| !group.is_empty()).collect()
    }
}

/// A node in words.
struct Words {
    title: String,
    details: Vec<String>,
    columns: String,
}

impl Words {
    fn of(plan: &Plan, id: NodeId) -> Words {
        let node = &plan.nodes[id];
        let schema_of = |input: NodeId| -> &Schema { &plan.nodes[input].schema };
        let (title, details) = match &node.op {
            Op::Keyed { members, presence } => keyed(plan, members, *presence),
            Op::Map { map, .. } => ("map".to_owned(), map_details(map)),
            Op::Join {
                left,
                right,
                on,
                kind,
                residual,
                null_equals_null,
            } => {
                let pairs: Vec<String> = on
                    .iter()
                    .map(|&(l, r)| {
                        let l = schema_of(*left).field(l).name();
                        let r = schema_of(*right).field(r).name();
                        format!("#{left}.{l} = #{right}.{r}")
                    })
                    .collect();
                let mut details = match pairs.is_empty() {
                    true => vec!["every pair of rows".to_owned()],
                    false => vec![format!("ON {}", pairs.join(" AND "))],
                };
                if *null_equals_null {
                    details.push("null equals null".to_owned());
                }
                if let Some(residual) = residual {
                    details.push(format!("WHERE {residual}"));
                }
                (format!("{} join", kind_name(*kind)), details)
            }
            Op::Aggregate {
                input,
                group,
                aggregates,
            } => {
                let schema = schema_of(*input);
                let title = match (group.is_empty(), aggregates.is_empty()) {
                    (true, _) => "aggregate over all rows".to_owned(),
                    (false, true) => format!("distinct {}", names(schema, group)),
                    (false, false) => format!("aggregate by {}", names(schema, group)),
                };
                let details = aggregates.iter().map(|aggregate| {
                    let (name, call) = (aggregate.output.name(), call(aggregate, schema));
                    if *name == call {
                        call
                    } else {
                        format!("{name} = {call}")
                    }
                });
                (title, details.collect())
            }
            Op::TopK {
                input,
                partition,
                order,
                rank,
                limit,
                skip,
                emit_rank,
                distinct,
            } => {
                let schema = schema_of(*input);
                let mut window = Vec::new();
                if !partition.is_empty() {
                    window.push(format!("PARTITION BY {}", names(schema, partition)));
                }
                if !order.is_empty() {
                    window.push(format!("ORDER BY {}", order_by(schema, order)));
                }
                let (first, last) = (skip.saturating_add(1), skip.saturating_add(*limit));
                let mut details = vec![
                    format!("{}() OVER ({})", rank_name(*rank), window.join(" ")),
                    format!("keeps the numbers {first} to {last}"),
                ];
                if *distinct {
                    details.push("equal rows count as one".to_owned());
                }
                if *emit_rank {
                    details.push("the number is the last column".to_owned());
                }
                ("top-k".to_owned(), details)
            }
            Op::Union { inputs } => (format!("union of {} inputs", inputs.len()), Vec::new()),
            Op::Constant { rows } => (format!("constant, {} rows", rows.num_rows()), Vec::new()),
        };
        Words {
            title,
            details,
            columns: columns(&node.schema),
        }
    }
}

fn keyed(plan: &Plan, members: &[Member], presence: Presence) -> (String, Vec<String>) {
    let read: Vec<String> = members
        .iter()
        .map(|member| {
            let table = &plan.tables[member.table];
            format!("{} ({})", table.name, names(&table.schema, &member.columns))
        })
        .collect();
    let mut details = Vec::new();
    if members.len() > 1 {
        let tables = members
            .iter()
            .map(|member| plan.tables[member.table].name.as_str());
        details.push(keys_with_rows(&tables.collect::<Vec<_>>(), presence));
    }
    (format!("keyed {}", read.join(" + ")), details)
}

/// For which keys a keyed node over these tables has a row.
fn keys_with_rows(tables: &[&str], presence: Presence) -> String {
    let sets: Vec<u8> = (0..1u8 << tables.len())
        .filter(|&set| presence.holds(set))
        .collect();
    let members = |set: u8| -> Vec<&str> {
        let numbered = tables.iter().enumerate();
        numbered
            .filter(|(bit, _)| (set >> *bit) & 1 == 1)
            .map(|(_, name)| *name)
            .collect()
    };
    let all = (1u8 << tables.len()) - 1;
    let always = sets.iter().fold(all, |together, set| together & set);
    let ever = sets.iter().fold(0u8, |together, set| together | set);
    let (sometimes, never) = (ever & !always, all & !ever);
    let every_choice = 1usize << sometimes.count_ones();
    if always != 0 && sets.len() == every_choice {
        let mut words = format!("rows for keys in {}", members(always).join(" and "));
        if sometimes != 0 {
            words.push_str(&format!(
                ", with or without {}",
                members(sometimes).join(", ")
            ));
        }
        if never != 0 {
            words.push_str(&format!(", not in {}", members(never).join(" or ")));
        }
        return words;
    }
    if ever == all && !presence.holds(0) && sets.len() + 1 == every_choice {
        return format!("rows for keys in {}", members(all).join(" or "));
    }
    let exactly = sets
        .iter()
        .map(|&set| format!("({})", members(set).join(" and ")));
    let exactly: Vec<String> = exactly.collect();
    format!("rows for keys in exactly {}", exactly.join(" or "))
}

/// The filter of a map and the columns that it computes; those that it only hands on are not repeated.
fn map_details(map: &Map) -> Vec<String> {
    let mut details: Vec<String> = map.filter.iter().map(|f| format!("WHERE {f}")).collect();
    for (field, expr) in map.schema.fields().iter().zip(map.project.iter().flatten()) {
        let printed = expr.to_string();
        let handed_on =
            as_column(expr).is_some_and(|index| printed == format!("{}@{index}", field.name()));
        if !handed_on {
            details.push(format!("{} = {printed}", field.name()));
        }
    }
    details
}

fn call(aggregate: &Aggregate, input: &Schema) -> String {
    let argument = match aggregate.argument {
        Some(column) => input.field(column).name().as_str(),
        None => "*",
    };
    let distinct = if aggregate.distinct { "DISTINCT " } else { "" };
    let order = match aggregate.order.is_empty() {
        true => String::new(),
        false => format!(" ORDER BY {}", order_by(input, &aggregate.order)),
    };
    let plain = |name: &str| format!("{name}({distinct}{argument}{order})");
    let mut words = match &aggregate.function {
        Function::Count => plain("count"),
        Function::Sum => plain("sum"),
        Function::Avg => plain("avg"),
        Function::Min => plain("min"),
        Function::Max => plain("max"),
        Function::Median => plain("median"),
        Function::BoolAnd => plain("bool_and"),
        Function::BoolOr => plain("bool_or"),
        Function::ArrayAgg => plain("array_agg"),
        Function::StringAgg(between) => {
            format!("string_agg({distinct}{argument}, '{between}'{order})")
        }
        Function::PercentileCont { fraction, .. } => {
            format!("percentile_cont({fraction}) WITHIN GROUP (ORDER BY {argument})")
        }
        Function::PercentileDisc { fraction, .. } => {
            format!("percentile_disc({fraction}) WITHIN GROUP (ORDER BY {argument})")
        }
    };
    if let Some(filter) = aggregate.filter {
        words.push_str(&format!(" FILTER (WHERE {})", input.field(filter).name()));
    }
    words
}

fn kind_name(kind: JoinKind) -> &'static str {
    match kind {
        JoinKind::Inner => "inner",
        JoinKind::Left => "left",
        JoinKind::Full => "full",
        JoinKind::Semi => "semi",
        JoinKind::Anti => "anti",
    }
}

fn rank_name(rank: Rank) -> &'static str {
    match rank {
        Rank::RowNumber => "row_number",
        Rank::Rank => "rank",
        Rank::DenseRank => "dense_rank",
    }
}

fn order_by(schema: &Schema, order: &[(usize, SortOptions)]) -> String {
    let parts = order.iter().map(|(column, options)| {
        let direction = if options.descending { " DESC" } else { "" };
        // As SQL has it unless told otherwise, nulls are last, or first if the order is descending.
        let nulls = match (options.descending, options.nulls_first) {
            (false, true) => " NULLS FIRST",
            (true, false) => " NULLS LAST",
            _ => "",
        };
        format!("{}{direction}{nulls}", schema.field(*column).name())
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn names(schema: &Schema, columns: &[usize]) -> String {
    let names = columns
        .iter()
        .map(|&column| schema.field(column).name().as_str());
    names.collect::<Vec<_>>().join(", ")
}

fn columns(schema: &Schema) -> String {
    let fields = schema.fields().iter();
    let columns: Vec<String> = fields
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    match columns.is_empty() {
        true => "no columns".to_owned(),
        false => columns.join(", "),
    }
}

/// Indented lines.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, depth: usize, line: &str) {
        self.0.push_str(&"  ".repeat(depth));
        self.0.push_str(line);
        self.0.push('\n');
    }
}

fn text(part: &Part<'_>) -> String {
    let plan = part.plan;
    let mut lines = Lines::default();
    lines.add(0, "tables");
    for &table in &part.tables {
        text_of_table(plan, &plan.tables[table], &mut lines);
    }
    lines.add(0, "");
    lines.add(
        0,
        "arrangements (the tables of a line share one, by these keys)",
    );
    for group in part.groups() {
        let members = group.iter().map(|&table| {
            let table = &plan.tables[table];
            format!("{} ({})", table.name, names(&table.schema, &table.key))
        });
        lines.add(1, &members.collect::<Vec<_>>().join(" + "));
    }
    let mut printed = BTreeSet::new();
    for view in &part.views {
        let key = names(&plan.nodes[view.node].schema, &view.key);
        lines.add(0, "");
        lines.add(0, &format!("view {}, by {key}", view.name));
        text_of_node(plan, view.node, 1, &mut printed, &mut lines);
    }
    lines.0
}

fn text_of_table(plan: &Plan, table: &Table, lines: &mut Lines) {
    let stream = &plan.streams[table.stream];
    lines.add(1, &format!("{stream} -> {}", table.name));
    lines.add(2, &format!("key {}", names(&table.schema, &table.key)));
    let kept = match table.kept.is_empty() {
        true => "nothing beside the key".to_owned(),
        false => names(&table.schema, &table.kept),
    };
    lines.add(2, &format!("keeps {kept}"));
    for (step, map) in table.clean.iter().enumerate() {
        lines.add(2, &format!("clean {}", step + 1));
        for detail in map_details(map) {
            lines.add(3, &detail);
        }
        lines.add(3, &format!("-> {}", columns(&map.schema)));
    }
}

fn text_of_node(
    plan: &Plan,
    id: NodeId,
    depth: usize,
    printed: &mut BTreeSet<NodeId>,
    lines: &mut Lines,
) {
    if !printed.insert(id) {
        lines.add(depth, &format!("#{id} (above)"));
        return;
    }
    let words = Words::of(plan, id);
    lines.add(depth, &format!("#{id} {}", words.title));
    for detail in &words.details {
        lines.add(depth + 1, detail);
    }
    lines.add(depth + 1, &format!("-> {}", words.columns));
    for input in plan.nodes[id].op.inputs() {
        text_of_node(plan, input, depth + 1, printed, lines);
    }
}

/// A diagram, whatever its notation.
#[derive(Default)]
struct Picture {
    /// Boxes that stand by themselves.
    boxes: Vec<PictureBox>,
    /// Boxes with a frame around them, and the frame's title.
    frames: Vec<(String, Vec<PictureBox>)>,
    /// From box to box, by their names.
    arrows: Vec<(String, String)>,
}

struct PictureBox {
    name: String,
    kind: BoxKind,
    lines: Vec<String>,
}

#[derive(Clone, Copy)]
enum BoxKind {
    Stream,
    Table,
    Node,
    View,
}

impl PictureBox {
    fn new(name: String, kind: BoxKind, lines: impl IntoIterator<Item = String>) -> PictureBox {
        let lines = lines.into_iter().map(|line| clipped(&line)).collect();
        PictureBox { name, kind, lines }
    }
}

impl Picture {
    fn of(part: &Part<'_>) -> Picture {
        let plan = part.plan;
        let mut picture = Picture::default();
        let streams: BTreeSet<usize> = part
            .tables
            .iter()
            .map(|&table| plan.tables[table].stream)
            .collect();
        for stream in streams {
            let title = plan.streams[stream].clone();
            let stream = PictureBox::new(format!("s{stream}"), BoxKind::Stream, [title]);
            picture.boxes.push(stream);
        }
        for group in part.groups() {
            let boxes = group.iter().map(|&table| {
                let shown = &plan.tables[table];
                let key = format!("key {}", names(&shown.schema, &shown.key));
                let lines = [format!("table {}", shown.name), key];
                PictureBox::new(format!("t{table}"), BoxKind::Table, lines)
            });
            let frame = "one arrangement".to_owned();
            picture.frames.push((frame, boxes.collect()));
        }
        for &table in &part.tables {
            let stream = plan.tables[table].stream;
            picture.arrow(format!("s{stream}"), format!("t{table}"));
        }
        for &id in &part.nodes {
            let words = Words::of(plan, id);
            let lines = [format!("#{id} {}", words.title)].into_iter();
            let lines = lines.chain(words.details);
            let node = PictureBox::new(format!("n{id}"), BoxKind::Node, lines);
            picture.boxes.push(node);
            if let Op::Keyed { members, .. } = &plan.nodes[id].op {
                for member in members {
                    picture.arrow(format!("t{}", member.table), format!("n{id}"));
                }
            }
            for input in plan.nodes[id].op.inputs() {
                picture.arrow(format!("n{input}"), format!("n{id}"));
            }
        }
        for (number, view) in part.views.iter().enumerate() {
            let title = format!("view {}", view.name);
            let shown = PictureBox::new(format!("v{number}"), BoxKind::View, [title]);
            picture.boxes.push(shown);
            picture.arrow(format!("n{}", view.node), format!("v{number}"));
        }
        picture
    }

    fn arrow(&mut self, from: String, to: String) {
        self.arrows.push((from, to));
    }
}

fn clipped(line: &str) -> String {
    if line.chars().count() <= BOX_CHARS {
        return line.to_owned();
    }
    line.chars().take(BOX_CHARS - 1).chain(['…']).collect()
}

fn mermaid(picture: &Picture) -> String {
    let shape = |shown: &PictureBox| {
        let label: Vec<String> = shown.lines.iter().map(|line| mermaid_text(line)).collect();
        let (open, close) = match shown.kind {
            BoxKind::Stream => ("[/", "/]"),
            BoxKind::Table => ("[(", ")]"),
            BoxKind::Node => ("[", "]"),
            BoxKind::View => ("([", "])"),
        };
        format!("{}{open}\"{}\"{close}", shown.name, label.join("<br/>"))
    };
    let mut lines = Lines::default();
    lines.add(0, "flowchart LR");
    for shown in &picture.boxes {
        lines.add(1, &shape(shown));
    }
    for (number, (title, boxes)) in picture.frames.iter().enumerate() {
        let title = mermaid_text(title);
        lines.add(1, &format!("subgraph g{number}[\"{title}\"]"));
        for shown in boxes {
            lines.add(2, &shape(shown));
        }
        lines.add(1, "end");
    }
    for (from, to) in &picture.arrows {
        lines.add(1, &format!("{from} --> {to}"));
    }
    lines.0
}

/// Text inside the quotes of a Mermaid label, where an entity stands for what would be read as markup.
fn mermaid_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("#quot;"),
            '#' => escaped.push_str("#35;"),
            '&' => escaped.push_str("#amp;"),
            '<' => escaped.push_str("#lt;"),
            '>' => escaped.push_str("#gt;"),
            '`' => escaped.push_str("#96;"),
            '\n' | '\r' => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

fn dot(picture: &Picture) -> String {
    let shape = |shown: &PictureBox| {
        let label: Vec<String> = shown.lines.iter().map(|line| dot_text(line)).collect();
        let shape = match shown.kind {
            BoxKind::Stream => "parallelogram",
            BoxKind::Table => "cylinder",
            BoxKind::Node => "box",
            BoxKind::View => "oval",
        };
        let label = label.join("\\n");
        format!("{} [shape={shape}, label=\"{label}\"];", shown.name)
    };
    let mut lines = Lines::default();
    lines.add(0, "digraph pinflow {");
    lines.add(1, "rankdir=LR;");
    for shown in &picture.boxes {
        lines.add(1, &shape(shown));
    }
    for (number, (title, boxes)) in picture.frames.iter().enumerate() {
        lines.add(1, &format!("subgraph cluster_{number} {{"));
        lines.add(2, &format!("label=\"{}\";", dot_text(title)));
        for shown in boxes {
            lines.add(2, &shape(shown));
        }
        lines.add(1, "}");
    }
    for (from, to) in &picture.arrows {
        lines.add(1, &format!("{from} -> {to};"));
    }
    lines.add(0, "}");
    lines.0
}

/// Text inside the quotes of a DOT label.
fn dot_text(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn the_keys_of_a_join_are_said_in_words() {
        let said = |word: u64| keys_with_rows(&["a", "b"], Presence(word));
        assert_eq!(said(0b1000), "rows for keys in a and b");
        assert_eq!(said(0b1010), "rows for keys in a, with or without b");
        assert_eq!(said(0b0010), "rows for keys in a, not in b");
        assert_eq!(said(0b1110), "rows for keys in a or b");
        assert_eq!(said(0b0110), "rows for keys in exactly (a) or (b)");
    }
}
