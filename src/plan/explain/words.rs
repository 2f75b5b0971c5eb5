//! What a node does, in words that lean on SQL.
//!
//! Text and diagrams show the same words. Columns go by their names; in the keys of a join, where
//! both inputs may have a column of that name, the number of the node stands before it.

use arrow::compute::SortOptions;
use arrow::datatypes::Schema;

use crate::plan::keyed::as_column;
use crate::plan::{
    Aggregate, Aggregation, Function, Join, JoinKind, Map, Member, NodeId, Op, Plan, Presence,
    Rank, TopK,
};

/// A node in words.
pub(super) struct Words {
    /// What kind of node it is, and what it ranges over.
    pub(super) title: String,
    /// How it does that, a line each.
    pub(super) details: Vec<String>,
    /// The columns that come out.
    pub(super) columns: String,
}

impl Words {
    pub(super) fn of(plan: &Plan, id: NodeId) -> Words {
        let node = &plan.nodes[id];
        let schema_of = |input: NodeId| -> &Schema { &plan.nodes[input].schema };
        let (title, details) = match &node.op {
            Op::Keyed { members, presence } => keyed(plan, members, *presence),
            Op::Map { map, .. } => ("map".to_owned(), map_details(map)),
            Op::Join { left, right, join } => {
                let name = |input: NodeId, column: usize| {
                    format!("#{input}.{}", schema_of(input).field(column).name())
                };
                let pairs = join.on.iter();
                let pairs =
                    pairs.map(|&(l, r)| format!("{} = {}", name(*left, l), name(*right, r)));
                joined(join, pairs.collect())
            }
            Op::Aggregate { input, aggregation } => aggregated(aggregation, schema_of(*input)),
            Op::TopK { input, top } => first_rows(top, schema_of(*input)),
            Op::Union { inputs } => (format!("union of {} inputs", inputs.len()), Vec::new()),
            Op::Constant { rows } => (format!("constant, {} rows", rows.len()), Vec::new()),
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

fn joined(join: &Join, pairs: Vec<String>) -> (String, Vec<String>) {
    let mut details = match pairs.is_empty() {
        true => vec!["every pair of rows".to_owned()],
        false => vec![format!("ON {}", pairs.join(" AND "))],
    };
    if join.null_equals_null {
        details.push("null equals null".to_owned());
    }
    if let Some(residual) = &join.residual {
        details.push(format!("WHERE {residual}"));
    }
    (format!("{} join", kind_name(join.kind)), details)
}

fn aggregated(aggregation: &Aggregation, input: &Schema) -> (String, Vec<String>) {
    let Aggregation { group, aggregates } = aggregation;
    let title = match (group.is_empty(), aggregates.is_empty()) {
        (true, _) => "aggregate over all rows".to_owned(),
        (false, true) => format!("distinct {}", names(input, group)),
        (false, false) => format!("aggregate by {}", names(input, group)),
    };
    let details = aggregates.iter().map(|aggregate| {
        let (name, call) = (aggregate.output.name(), call(aggregate, input));
        if *name == call {
            call
        } else {
            format!("{name} = {call}")
        }
    });
    (title, details.collect())
}

fn first_rows(top: &TopK, input: &Schema) -> (String, Vec<String>) {
    let mut window = Vec::new();
    if !top.partition.is_empty() {
        window.push(format!("PARTITION BY {}", names(input, &top.partition)));
    }
    if !top.order.is_empty() {
        window.push(format!("ORDER BY {}", order_by(input, &top.order)));
    }
    let (first, last) = (
        top.skip.saturating_add(1),
        top.skip.saturating_add(top.limit),
    );
    let mut details = vec![
        format!("{}() OVER ({})", rank_name(top.rank), window.join(" ")),
        format!("keeps the numbers {first} to {last}"),
    ];
    if top.distinct {
        details.push("equal rows count as one".to_owned());
    }
    if top.emit_rank {
        details.push("the number is the last column".to_owned());
    }
    ("top-k".to_owned(), details)
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

/// The filter of a map and the columns that it computes; those that it only hands on are not
/// repeated.
pub(super) fn map_details(map: &Map) -> Vec<String> {
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
            format!(
                "percentile_cont({}) WITHIN GROUP (ORDER BY {argument})",
                fraction.value()
            )
        }
        Function::PercentileDisc { fraction, .. } => {
            format!(
                "percentile_disc({}) WITHIN GROUP (ORDER BY {argument})",
                fraction.value()
            )
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
        JoinKind::Mark => "mark",
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

pub(super) fn names(schema: &Schema, columns: &[usize]) -> String {
    let names = columns
        .iter()
        .map(|&column| schema.field(column).name().as_str());
    names.collect::<Vec<_>>().join(", ")
}

pub(super) fn columns(schema: &Schema) -> String {
    let fields = schema.fields().iter();
    let columns: Vec<String> = fields
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    match columns.is_empty() {
        true => "no columns".to_owned(),
        false => columns.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
