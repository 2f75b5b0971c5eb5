//! Rankings against an obvious twin: all rows of a partition sorted and numbered anew at every
//! epoch.

use std::collections::BTreeMap;

use arrow::array::{AsArray, Int64Array};
use arrow::compute::SortOptions;
use arrow::datatypes::{Field, Int64Type, Schema, UInt64Type};
use proptest::prelude::*;

use super::*;

/// Partition, order, and a column that only makes rows different.
type Row = (i64, i64, i64);

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let field = |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn state(rank: Rank, limit: u64, skip: u64, distinct: bool) -> TopKState {
    let columns = ["p", "v", "id"].map(|name| (name, DataType::Int64));
    let input = schema(&columns);
    let output = schema(&[columns.as_slice(), &[("place", DataType::UInt64)]].concat());
    let top = TopK {
        partition: vec![0],
        order: vec![(1, SortOptions::default())],
        rank,
        limit,
        skip,
        emit_rank: true,
        distinct,
    };
    TopKState::new(&input, top, output).unwrap()
}

fn delta(input: &SchemaRef, changes: &[(Row, i64)]) -> Delta {
    let column = |value: fn(&Row) -> i64| -> ArrayRef {
        let values = changes.iter().map(|(row, _)| value(row));
        Arc::new(Int64Array::from_iter_values(values))
    };
    let columns = vec![
        column(|row| row.0),
        column(|row| row.1),
        column(|row| row.2),
    ];
    Delta {
        rows: RecordBatch::try_new(Arc::clone(input), columns).unwrap(),
        diffs: changes.iter().map(|(_, diff)| *diff).collect(),
    }
}

fn fold(out: &mut BTreeMap<(Row, u64), i64>, delta: &Delta) {
    let number = |column: usize, row: usize| {
        delta
            .rows
            .column(column)
            .as_primitive::<Int64Type>()
            .value(row)
    };
    let places = delta.rows.column(3).as_primitive::<UInt64Type>();
    for (row, diff) in delta.diffs.iter().enumerate() {
        let key = (number(0, row), number(1, row), number(2, row));
        *out.entry((key, places.value(row))).or_default() += diff;
    }
    out.retain(|_, count| *count != 0);
}

/// What SQL says.
fn ranked(rows: &BTreeMap<Row, i64>, top: &TopK) -> BTreeMap<(Row, u64), i64> {
    let mut out = BTreeMap::new();
    let all: Vec<Row> = rows
        .iter()
        .flat_map(|(row, count)| {
            let times = if top.distinct { 1 } else { *count };
            std::iter::repeat_n(*row, times as usize)
        })
        .collect();
    for partition in all.chunk_by(|a, b| a.0 == b.0) {
        for (at, row) in partition.iter().enumerate() {
            let smaller = |other: &&Row| other.1 < row.1;
            let place = match top.rank {
                Rank::RowNumber => at as u64 + 1,
                Rank::Rank => partition.iter().filter(smaller).count() as u64 + 1,
                Rank::DenseRank => {
                    let mut orders: Vec<i64> =
                        partition.iter().filter(smaller).map(|row| row.1).collect();
                    orders.dedup();
                    orders.len() as u64 + 1
                }
            };
            if place > top.skip && place <= top.skip + top.limit {
                *out.entry((*row, place)).or_default() += 1;
            }
        }
    }
    out
}

proptest! {
    #[test]
    fn rankings_follow_their_rows(
        epochs in prop::collection::vec(
            // Rows come, and sometimes the first of a partition go.
            prop_oneof![
                prop::collection::vec(((0..2_i64, 0..30_i64, 0..20_i64), 1..3_i64), 1..80).prop_map(|come| (come, 0)),
                (1..60_usize).prop_map(|go| (Vec::new(), go)),
                (prop::collection::vec(((0..2_i64, 0..30_i64, 0..20_i64), -2..3_i64), 1..20), 0..5_usize),
            ],
            1..15,
        ),
        rank in prop::sample::select(vec![Rank::RowNumber, Rank::Rank, Rank::DenseRank]),
        limit in 1..5_u64,
        skip in 0..3_u64,
        distinct in any::<bool>(),
    ) {
        // Only RANK is asked for distinct rows, for there equal rows have one place.
        let rank = if distinct { Rank::Rank } else { rank };
        let mut state = state(rank, limit, skip, distinct);
        let mut rows: BTreeMap<Row, i64> = BTreeMap::new();
        let mut out = BTreeMap::new();
        for (changes, go) in epochs {
            let first: Vec<(Row, i64)> = rows.iter().take(go).map(|(row, count)| (*row, -*count)).collect();
            let mut possible = Vec::new();
            for (row, diff) in first.into_iter().chain(changes) {
                let count = rows.entry(row).or_default();
                let diff = diff.max(-*count);
                *count += diff;
                possible.push((row, diff));
            }
            rows.retain(|_, count| *count != 0);
            let input = Arc::clone(&state.input);
            for delta in state.apply(&[delta(&input, &possible)]).unwrap() {
                fold(&mut out, &delta);
            }
            prop_assert_eq!(&out, &ranked(&rows, &state.top));
        }
    }
}
