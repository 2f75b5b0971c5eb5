//! One kept column: a value a slot, in the narrowest form of its type.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Int32Array, Int64Array, PrimitiveArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type,
    TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

use super::dictionary::{Dictionary, NULL, TextId};
use super::integers::Integers;
use crate::bits::Bits;
use crate::segmented::Segmented;

/// The values of one column of a keyed table, by slot.
pub struct KeptColumn {
    data_type: DataType,
    values: Values,
}

/// Values without a fixed width go through a dictionary: texts as they are, nested values in
/// Arrow's row format.
enum Values {
    Integer {
        values: Integers,
        nulls: Bits,
    },
    Float64(Fixed<Float64Type>),
    Decimal(Fixed<Decimal128Type>),
    Boolean {
        values: Bits,
        nulls: Bits,
    },
    Text {
        ids: Segmented<TextId>,
        dictionary: Dictionary,
    },
    Rows {
        ids: Segmented<TextId>,
        dictionary: Dictionary,
        converter: RowConverter,
    },
}

/// Values of a fixed width; a set bit in `nulls` means null.
struct Fixed<T: ArrowPrimitiveType> {
    values: Segmented<T::Native>,
    nulls: Bits,
}

impl<T: ArrowPrimitiveType> Fixed<T> {
    fn new() -> Self {
        Fixed {
            values: Segmented::default(),
            nulls: Bits::default(),
        }
    }

    fn resize(&mut self, slots: usize) {
        self.values.grow(slots, T::Native::default());
        self.nulls.resize(slots);
    }

    fn scatter(&mut self, array: &ArrayRef, writes: impl Iterator<Item = (u32, usize)>) {
        let array = array.as_primitive::<T>();
        let values = array.values();
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => {
                for (slot, row) in writes {
                    self.values[slot as usize] = values[row];
                    self.nulls.set(slot as usize, false);
                }
            }
            Some(nulls) => {
                for (slot, row) in writes {
                    self.values[slot as usize] = values[row];
                    self.nulls.set(slot as usize, nulls.is_null(row));
                }
            }
        }
    }

    fn gather(&self, slots: &[u32], data_type: &DataType) -> ArrayRef {
        let values: Vec<T::Native> = slots
            .iter()
            .map(|&slot| self.values[slot as usize])
            .collect();
        let nulls = nulls(&self.nulls, slots);
        Arc::new(PrimitiveArray::<T>::new(values.into(), nulls).with_data_type(data_type.clone()))
    }
}

fn nulls(bits: &Bits, slots: &[u32]) -> Option<NullBuffer> {
    if bits.none() {
        return None;
    }
    let nulls = NullBuffer::from_iter(slots.iter().map(|&slot| !bits.get(slot as usize)));
    (nulls.null_count() > 0).then_some(nulls)
}

impl KeptColumn {
    /// An empty column of `data_type`.
    pub fn new(data_type: &DataType) -> Result<Self, ArrowError> {
        let values = match data_type {
            DataType::Int32 | DataType::Int64 | DataType::Date32 => Values::Integer {
                values: Integers::numbers(),
                nulls: Bits::default(),
            },
            DataType::Timestamp(TimeUnit::Microsecond, _) => Values::Integer {
                values: Integers::times(),
                nulls: Bits::default(),
            },
            DataType::Float64 => Values::Float64(Fixed::new()),
            DataType::Decimal128(_, _) => Values::Decimal(Fixed::new()),
            DataType::Boolean => Values::Boolean {
                values: Bits::default(),
                nulls: Bits::default(),
            },
            DataType::Utf8View | DataType::BinaryView => Values::Text {
                ids: Segmented::default(),
                dictionary: Dictionary::default(),
            },
            other => Values::Rows {
                ids: Segmented::default(),
                dictionary: Dictionary::default(),
                converter: RowConverter::new(vec![SortField::new(other.clone())])?,
            },
        };
        Ok(KeptColumn {
            data_type: data_type.clone(),
            values,
        })
    }

    /// Makes room for `slots` slots; new ones hold nothing in particular.
    pub fn resize(&mut self, slots: usize) {
        match &mut self.values {
            Values::Integer { values, nulls } => {
                values.grow(slots);
                nulls.resize(slots);
            }
            Values::Float64(fixed) => fixed.resize(slots),
            Values::Decimal(fixed) => fixed.resize(slots),
            Values::Boolean { values, nulls } => {
                values.resize(slots);
                nulls.resize(slots);
            }
            Values::Text { ids, .. } | Values::Rows { ids, .. } => ids.grow(slots, NULL),
        }
    }

    /// Writes row `row` of `array` into slot `slot`, for each `(slot, row)` in order.
    pub fn scatter(
        &mut self,
        array: &ArrayRef,
        writes: impl Iterator<Item = (u32, usize)> + Clone,
    ) -> Result<(), ArrowError> {
        match &mut self.values {
            Values::Integer { values, nulls } => {
                let null = array.nulls().filter(|nulls| nulls.null_count() > 0);
                for (slot, row) in writes.clone() {
                    let is_null = null.is_some_and(|null| null.is_null(row));
                    nulls.set(slot as usize, is_null);
                }
                match &self.data_type {
                    DataType::Int32 => {
                        values.scatter(array.as_primitive::<Int32Type>().values(), null, writes)
                    }
                    DataType::Date32 => {
                        values.scatter(array.as_primitive::<Date32Type>().values(), null, writes)
                    }
                    DataType::Int64 => {
                        values.scatter(array.as_primitive::<Int64Type>().values(), null, writes)
                    }
                    _ => values.scatter(
                        array.as_primitive::<TimestampMicrosecondType>().values(),
                        null,
                        writes,
                    ),
                }
            }
            Values::Float64(fixed) => fixed.scatter(array, writes),
            Values::Decimal(fixed) => fixed.scatter(array, writes),
            Values::Boolean { values, nulls } => {
                let array = array.as_boolean();
                for (slot, row) in writes {
                    nulls.set(slot as usize, array.is_null(row));
                    values.set(slot as usize, array.is_valid(row) && array.value(row));
                }
            }
            Values::Text { ids, dictionary } => {
                let texts: Vec<Option<&[u8]>> = match array.as_string_view_opt() {
                    Some(texts) => {
                        let text = |row| texts.is_valid(row).then(|| texts.value(row).as_bytes());
                        writes.clone().map(|(_, row)| text(row)).collect()
                    }
                    None => {
                        let texts = array.as_binary_view();
                        let text = |row| texts.is_valid(row).then(|| texts.value(row));
                        writes.clone().map(|(_, row)| text(row)).collect()
                    }
                };
                replace(ids, dictionary, writes, &texts);
            }
            Values::Rows {
                ids,
                dictionary,
                converter,
            } => {
                let rows = converter.convert_columns(std::slice::from_ref(array))?;
                let row = |row| array.is_valid(row).then(|| rows.row(row).data());
                let values: Vec<Option<&[u8]>> = writes.clone().map(|(_, at)| row(at)).collect();
                replace(ids, dictionary, writes, &values);
            }
        }
        Ok(())
    }

    /// The values in `slots`, in that order.
    pub fn gather(&mut self, slots: &[u32]) -> Result<ArrayRef, ArrowError> {
        let data_type = &self.data_type;
        Ok(match &mut self.values {
            Values::Integer {
                values,
                nulls: null_bits,
            } => {
                let nulls = nulls(null_bits, slots);
                let long = |number| number;
                let int = |number| number as i32;
                match data_type {
                    DataType::Int32 => {
                        Arc::new(Int32Array::new(values.gather(slots, int).into(), nulls))
                    }
                    DataType::Date32 => {
                        Arc::new(Date32Array::new(values.gather(slots, int).into(), nulls))
                    }
                    DataType::Int64 => {
                        Arc::new(Int64Array::new(values.gather(slots, long).into(), nulls))
                    }
                    _ => {
                        let times = values.gather(slots, long).into();
                        let times = TimestampMicrosecondArray::new(times, nulls);
                        Arc::new(times.with_data_type(data_type.clone()))
                    }
                }
            }
            Values::Float64(fixed) => fixed.gather(slots, data_type),
            Values::Decimal(fixed) => fixed.gather(slots, data_type),
            Values::Boolean {
                values,
                nulls: null_bits,
            } => {
                let picked = slots
                    .iter()
                    .map(|&slot| values.get(slot as usize))
                    .collect();
                Arc::new(BooleanArray::new(picked, nulls(null_bits, slots)))
            }
            Values::Text { ids, dictionary } => {
                dictionary.gather(slots.iter().map(|&slot| ids[slot as usize]), data_type)
            }
            Values::Rows {
                ids,
                dictionary,
                converter,
            } => {
                let bytes = dictionary.gather(
                    slots.iter().map(|&slot| ids[slot as usize]),
                    &DataType::BinaryView,
                );
                let bytes = bytes.as_binary_view();
                let null = RowOfNull::new(converter, data_type)?;
                let parser = converter.parser();
                let rows = (0..bytes.len()).map(|row| {
                    if bytes.is_null(row) {
                        parser.parse(&null.0)
                    } else {
                        parser.parse(bytes.value(row))
                    }
                });
                converter.convert_rows(rows)?.remove(0)
            }
        })
    }

    /// The number of bytes it takes in memory, about.
    pub fn bytes(&self) -> usize {
        fn fixed<T: ArrowPrimitiveType>(fixed: &Fixed<T>) -> usize {
            fixed.values.bytes() + fixed.nulls.bytes()
        }
        match &self.values {
            Values::Integer { values, nulls } => values.bytes() + nulls.bytes(),
            Values::Float64(values) => fixed(values),
            Values::Decimal(values) => fixed(values),
            Values::Boolean { values, nulls } => values.bytes() + nulls.bytes(),
            Values::Text { ids, dictionary }
            | Values::Rows {
                ids, dictionary, ..
            } => ids.bytes() + dictionary.bytes(),
        }
    }
}

/// Writes `values` into the slots of `writes`, in order.
fn replace(
    ids: &mut Segmented<TextId>,
    dictionary: &mut Dictionary,
    writes: impl Iterator<Item = (u32, usize)>,
    values: &[Option<&[u8]>],
) {
    for ((slot, _), id) in writes.zip(dictionary.acquire(values)) {
        dictionary.release(std::mem::replace(&mut ids[slot as usize], id));
    }
}

/// The row format of a null of one type.
struct RowOfNull(Vec<u8>);

impl RowOfNull {
    fn new(converter: &RowConverter, data_type: &DataType) -> Result<Self, ArrowError> {
        let rows = converter.convert_columns(&[new_null_array(data_type, 1)])?;
        Ok(RowOfNull(rows.row(0).as_ref().to_vec()))
    }
}
