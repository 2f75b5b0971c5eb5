//! What every table and view must hold, folded from the records by plain code: no SQL, no plan and
//! no operator of ours has a part in it.

use std::collections::BTreeMap;

use super::records::{Partition, STREAMS, Said, shelf_name};
use super::source::Offsets;
use crate::source::position_key;

/// The rows of each Delta table by its path in the lake: values separated by ` | `, sorted. Of a
/// dead letter its stream, partition, offset and text.
pub(super) type Rows = BTreeMap<&'static str, Vec<String>>;

/// The answers when each partition was read up to `offsets`.
pub(super) fn answers(partitions: &[Partition], offsets: &Offsets) -> Rows {
    let mut items: BTreeMap<i64, (u8, i64)> = BTreeMap::new();
    let mut prices: BTreeMap<i64, i64> = BTreeMap::new();
    let mut dead = Vec::new();
    for partition in partitions {
        let stream = STREAMS[partition.stream];
        let read = offsets
            .get(&position_key(stream, &partition.name))
            .copied()
            .unwrap_or(0);
        for (offset, record) in partition.records.iter().take(read as usize).enumerate() {
            match (&record.said, partition.stream) {
                (Said::Row { id, shelf, n }, 0) => drop(items.insert(*id, (*shelf, *n))),
                (Said::Row { id, n, .. }, _) => drop(prices.insert(*id, *n)),
                (Said::Delete { id }, 0) => drop(items.remove(id)),
                (Said::Delete { id }, _) => drop(prices.remove(id)),
                (Said::Broken(text), _) => {
                    dead.push(format!("{stream} | {} | {offset} | {text}", partition.name));
                }
            }
        }
    }
    let mut shelves: BTreeMap<u8, Vec<i64>> = BTreeMap::new();
    for (shelf, n) in items.values() {
        shelves.entry(*shelf).or_default().push(*n);
    }
    let per_shelf = shelves.iter().map(|(shelf, numbers)| {
        let (total, top) = (numbers.iter().sum::<i64>(), numbers.iter().max());
        let top = top.expect("a shelf has items");
        format!(
            "{} | {} | {total} | {top}",
            shelf_name(*shelf),
            numbers.len()
        )
    });
    let worth = items.iter().filter_map(|(id, (shelf, n))| {
        let price = prices.get(id)?;
        Some(format!("{id} | {} | {}", shelf_name(*shelf), n * price))
    });
    let item = items
        .iter()
        .map(|(id, (shelf, n))| format!("{id} | {} | {n}", shelf_name(*shelf)));
    let price = prices.iter().map(|(id, price)| format!("{id} | {price}"));
    let mut rows = Rows::from([
        ("tables/item", item.collect::<Vec<_>>()),
        ("tables/price", price.collect()),
        ("views/per_shelf", per_shelf.collect()),
        ("views/worth", worth.collect()),
        ("dead_letters", dead),
    ]);
    rows.values_mut().for_each(|rows| rows.sort());
    rows
}
