//! Hashes of whole rows.
//!
//! DataFusion's row hash passes over nulls and empty lists, so `(5, null)` and `(null, 5)` have the
//! same. Rows are told apart by nothing but their hashes here, so which values are missing is mixed
//! in afterwards.

use arrow::array::{Array, AsArray, RecordBatch};
use datafusion_common::Result;
use datafusion_common::hash_utils::{RandomState, create_hashes};

/// An odd number whose bits look random.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A hash of each row of `batch` over all columns: equal rows have equal hashes in every process
/// and run of the same build.
pub fn hash_rows(batch: &RecordBatch) -> Result<Vec<u64>> {
    let mut hashes = vec![0; batch.num_rows()];
    create_hashes(
        batch.columns(),
        &RandomState::with_seed(0x70_69_6e),
        &mut hashes,
    )?;
    for (place, column) in (1..).zip(batch.columns()) {
        mix_missing(column, place, &mut hashes);
    }
    Ok(hashes)
}

/// Mixes in which rows have nothing in the column at `place` (from 1).
fn mix_missing(column: &dyn Array, place: u64, hashes: &mut [u64]) {
    if let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) {
        for (hash, _) in hashes.iter_mut().zip(nulls).filter(|(_, valid)| !valid) {
            *hash = mix(*hash, place);
        }
    }
    let Some(lists) = column.as_list_opt::<i32>() else {
        return;
    };
    let elements = lists
        .values()
        .nulls()
        .filter(|nulls| nulls.null_count() > 0);
    // What is missing within each element, where elements are lists themselves.
    let mut within: Vec<u64> = Vec::new();
    if lists.values().data_type().is_nested() {
        within.resize(lists.values().len(), 0);
        mix_missing(lists.values(), 1, &mut within);
    }
    for (row, (hash, ends)) in hashes
        .iter_mut()
        .zip(lists.offsets().windows(2))
        .enumerate()
    {
        if lists.is_null(row) {
            continue;
        }
        let (start, end) = (ends[0] as usize, ends[1] as usize);
        if start == end {
            *hash = mix(*hash, place << 32);
        }
        for element in (start..end).filter(|&at| elements.is_some_and(|nulls| nulls.is_null(at))) {
            *hash = mix(*hash, place << 32 | (element - start + 1) as u64);
        }
        for element in (start..end).filter(|&at| within.get(at).is_some_and(|what| *what != 0)) {
            let at = place << 32 | (element - start + 1) as u64;
            *hash = mix(*hash, within[element].wrapping_add(at));
        }
    }
}

fn mix(hash: u64, what: u64) -> u64 {
    (hash ^ what.wrapping_mul(SPREAD))
        .rotate_left(29)
        .wrapping_mul(SPREAD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, StringViewArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{Field, Float64Type};
    use std::collections::HashSet;
    use std::sync::Arc;

    fn distinct(columns: Vec<(&str, ArrayRef)>) -> usize {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, c)| (name, c, true)),
        )
        .unwrap();
        hash_rows(&batch)
            .unwrap()
            .into_iter()
            .collect::<HashSet<_>>()
            .len()
    }

    #[test]
    fn a_null_counts_in_its_place() {
        let a = Int64Array::from(vec![Some(5), None, None, Some(0), None, Some(5)]);
        let b = Int64Array::from(vec![None, Some(5), None, None, Some(0), None]);
        assert_eq!(
            distinct(vec![("a", Arc::new(a)), ("b", Arc::new(b))]),
            5,
            "the first row and the last are equal"
        );
        let number = Int64Array::from(vec![Some(0), None]);
        let text = StringViewArray::from(vec![None, Some("")]);
        assert_eq!(
            distinct(vec![("a", Arc::new(number)), ("b", Arc::new(text))]),
            2
        );
    }

    #[test]
    fn a_null_in_a_list_counts_in_its_place() {
        let rows = vec![
            Some(vec![Some(1.0), None]),
            Some(vec![None, Some(1.0)]),
            Some(vec![Some(1.0)]),
            Some(vec![None, None]),
            Some(vec![]),
            None,
        ];
        let list = ListArray::from_iter_primitive::<Float64Type, _, _>(rows);
        assert_eq!(distinct(vec![("a", Arc::new(list.clone()))]), 6);
        let other = Float64Array::from(vec![Some(2.0); 6]);
        assert_eq!(
            distinct(vec![("a", Arc::new(list)), ("b", Arc::new(other))]),
            6
        );
    }

    #[test]
    fn a_null_in_a_list_of_lists_counts_in_its_place() {
        let inner = vec![
            // [[1, null]], [[null, 1]], [[1], []], [[], [1]], [[1]]
            Some(vec![Some(1.0), None]),
            Some(vec![None, Some(1.0)]),
            Some(vec![Some(1.0)]),
            Some(vec![]),
            Some(vec![]),
            Some(vec![Some(1.0)]),
            Some(vec![Some(1.0)]),
        ];
        let inner = ListArray::from_iter_primitive::<Float64Type, _, _>(inner);
        let field = Arc::new(Field::new_list_field(inner.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths([1, 1, 2, 2, 1]);
        let outer = ListArray::new(field, offsets, Arc::new(inner), None);
        assert_eq!(distinct(vec![("a", Arc::new(outer))]), 5);
    }
}
