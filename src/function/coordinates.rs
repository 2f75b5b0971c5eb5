//! `coordinates(latitude, longitude)`: both as a list of two doubles, in that order.
//!
//! Always two elements, so that element 1 is the latitude: one that is missing is a null *element*,
//! and what is known stays. The list itself is null when both are missing.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Float64Builder, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::Result;

use super::scalar::{Arguments, Function, Kind};

pub(super) fn function() -> Function {
    Function::new(
        "coordinates",
        &[Kind::Double, Kind::Double],
        DataType::List(element()),
        compute,
        "coordinates(latitude, longitude)",
        "A list of two doubles, latitude and longitude; null when both are null.",
    )
}

fn element() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float64, true))
}

fn compute(arguments: &Arguments) -> Result<ArrayRef> {
    Ok(Arc::new(pair(
        &arguments.doubles(0)?,
        &arguments.doubles(1)?,
    )))
}

fn pair(latitudes: &Float64Array, longitudes: &Float64Array) -> ListArray {
    if latitudes.null_count() == 0 && longitudes.null_count() == 0 {
        let pairs = latitudes.values().iter().zip(longitudes.values());
        let values: Vec<f64> = pairs.flat_map(|(a, b)| [*a, *b]).collect();
        return list(vec![2; latitudes.len()], Float64Array::from(values), None);
    }
    let mut values = Float64Builder::with_capacity(2 * latitudes.len());
    let known = latitudes.iter().zip(longitudes).map(|pair| match pair {
        (None, None) => false,
        (latitude, longitude) => {
            values.append_option(latitude);
            values.append_option(longitude);
            true
        }
    });
    let known: Vec<bool> = known.collect();
    let lengths = known
        .iter()
        .map(|known| if *known { 2 } else { 0 })
        .collect();
    list(lengths, values.finish(), Some(NullBuffer::from(known)))
}

fn list(lengths: Vec<usize>, values: Float64Array, nulls: Option<NullBuffer>) -> ListArray {
    let offsets = OffsetBuffer::from_lengths(lengths);
    ListArray::new(element(), offsets, Arc::new(values), nulls)
}

#[cfg(test)]
mod tests {
    use crate::function::testing::call_with;
    use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array, Int64Array};
    use arrow::datatypes::Float64Type;
    use std::sync::Arc;

    type Pair = Option<Vec<Option<f64>>>;

    fn pairs(latitudes: ArrayRef, longitudes: ArrayRef) -> Vec<Pair> {
        let lists = call_with("coordinates", vec![latitudes.into(), longitudes.into()]).unwrap();
        let lists = lists.as_list::<i32>();
        let pair = |list: ArrayRef| list.as_primitive::<Float64Type>().iter().collect();
        lists.iter().map(|list| list.map(pair)).collect()
    }

    #[test]
    fn latitude_comes_first_and_every_digit_stays() {
        let latitudes: ArrayRef = Arc::new(Float64Array::from(vec![-89.9787, 8.65953, 0.1]));
        let longitudes: ArrayRef = Arc::new(Float64Array::from(vec![-173.293, 0.0, 0.2]));
        let expected = [
            Some(vec![Some(-89.9787), Some(-173.293)]),
            Some(vec![Some(8.65953), Some(0.0)]),
            Some(vec![Some(0.1), Some(0.2)]),
        ];
        assert_eq!(pairs(latitudes.clone(), longitudes.clone()), expected);
        assert_eq!(
            pairs(latitudes.slice(1, 2), longitudes.slice(1, 2)),
            expected[1..]
        );
        assert_eq!(pairs(latitudes.slice(1, 0), longitudes.slice(1, 0)), []);
    }

    #[test]
    fn what_is_missing_is_a_null_element_and_nothing_at_all_a_null() {
        let latitudes: ArrayRef =
            Arc::new(Float64Array::from(vec![Some(1.0), Some(2.0), None, None]));
        let longitudes: ArrayRef =
            Arc::new(Float64Array::from(vec![Some(3.0), None, Some(4.0), None]));
        let expected = [
            Some(vec![Some(1.0), Some(3.0)]),
            Some(vec![Some(2.0), None]),
            Some(vec![None, Some(4.0)]),
            None,
        ];
        assert_eq!(pairs(latitudes, longitudes), expected);
    }

    #[test]
    fn other_numbers_are_cast() {
        let latitudes: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let longitudes: ArrayRef = Arc::new(Float32Array::from(vec![0.5]));
        assert_eq!(
            pairs(latitudes, longitudes),
            [Some(vec![Some(1.0), Some(0.5)])]
        );
    }
}
