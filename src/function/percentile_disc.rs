//! `percentile_disc(p) WITHIN GROUP (ORDER BY x)`: the value of `x` at the fraction `p` of its
//! order.
//!
//! As in the SQL standard and PostgreSQL: of `n` values that are not null, in the order asked for,
//! the one at place `ceil(p * n)`, counted from 1, and the first for `p` = 0; so the result is
//! always one of the values, and `percentile_disc(0.5)` is the lower median. Null when there is no
//! value. `x` may have any type that Arrow can sort; of doubles NaN is the greatest.
//!
//! This is the batch form, for DataFusion: it keeps the values, sorts and picks. [`place`] is
//! shared with whoever keeps the answer up to date instead.

use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{self, SortOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion_common::{Result, ScalarValue, not_impl_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion_expr::{
    Accumulator, AggregateUDFImpl, ColumnarValue, DocSection, Documentation, Signature, Volatility,
};

/// The SQL name.
pub const NAME: &str = "percentile_disc";

/// The place, counted from 0, of the value at fraction `p` (0 to 1) among `count` values in order;
/// `count` is not 0.
pub fn place(p: f64, count: u64) -> u64 {
    // As PostgreSQL does it: the product in doubles, rounded up.
    let place = (p * count as f64).ceil() as u64;
    place.saturating_sub(1).min(count - 1)
}

/// `percentile_disc` for DataFusion.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct PercentileDisc {
    signature: Signature,
    documentation: Documentation,
}

impl Default for PercentileDisc {
    fn default() -> Self {
        let section = DocSection {
            include: true,
            label: "Ordered-Set Aggregates",
            description: None,
        };
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
            documentation: Documentation::builder(
                section,
                "The value at a fraction of the order of all values; `percentile_disc(0.5)` is the lower median.",
                "percentile_disc(fraction) WITHIN GROUP (ORDER BY value)",
            )
            .build(),
        }
    }
}

impl AggregateUDFImpl for PercentileDisc {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The planner puts the value that is ordered by before the fraction.
    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [value, fraction] if fraction.is_numeric() => {
                Ok(vec![value.clone(), DataType::Float64])
            }
            _ => plan_err!(
                "`{NAME}` takes one number: write `{}`",
                self.documentation.syntax_example
            ),
        }
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        Ok(given[0].clone())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let values = DataType::List(element(args.input_fields[0].data_type()));
        let name = format_state_name(args.name, NAME);
        Ok(vec![Arc::new(Field::new(name, values, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return not_impl_err!(
                "`{NAME}` over DISTINCT values is not in the SQL standard: select the distinct values first"
            );
        }
        let order = args.order_bys.first();
        Ok(Box::new(Values {
            fraction: fraction(&args)?,
            options: SortOptions {
                descending: order.is_some_and(|order| order.options.descending),
                nulls_first: false,
            },
            data_type: args.expr_fields[0].data_type().clone(),
            pieces: Vec::new(),
        }))
    }

    /// The values are sorted here, so they may come in any order.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

fn element(data_type: &DataType) -> FieldRef {
    Arc::new(Field::new_list_field(data_type.clone(), true))
}

/// The literal fraction of a call.
fn fraction(args: &AccumulatorArgs) -> Result<f64> {
    let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
    match args.exprs[1].evaluate(&nothing) {
        Ok(ColumnarValue::Scalar(ScalarValue::Float64(Some(fraction))))
            if (0.0..=1.0).contains(&fraction) =>
        {
            Ok(fraction)
        }
        _ => plan_err!(
            "the fraction of `{NAME}` must be a literal from 0 to 1, but is `{}`",
            args.exprs[1]
        ),
    }
}

/// All values of one group.
#[derive(Debug)]
struct Values {
    fraction: f64,
    options: SortOptions,
    data_type: DataType,
    /// None of them holds nulls.
    pieces: Vec<ArrayRef>,
}

impl Values {
    /// Pieces are slices of larger arrays and keep those alive, so that they are copied together
    /// now and then.
    const PIECES: usize = 64;

    fn add(&mut self, values: &ArrayRef) -> Result<()> {
        let values = match values.null_count() {
            0 => Arc::clone(values),
            _ => compute::filter(values, &compute::is_not_null(values)?)?,
        };
        if !values.is_empty() {
            self.pieces.push(values);
        }
        if self.pieces.len() >= Self::PIECES {
            // Only copy what is not larger than all the rest, so that a value is copied few times.
            let small = self.pieces.split_off(usize::from(self.first_is_large()));
            self.pieces.push(concat(&small, &self.data_type)?);
        }
        Ok(())
    }

    fn first_is_large(&self) -> bool {
        let rest: usize = self.pieces[1..].iter().map(|piece| piece.len()).sum();
        self.pieces[0].len() > rest
    }
}

fn concat(pieces: &[ArrayRef], data_type: &DataType) -> Result<ArrayRef> {
    let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
    match pieces.is_empty() {
        true => Ok(new_empty_array(data_type)),
        false => Ok(compute::concat(&pieces)?),
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, arguments: &[ArrayRef]) -> Result<()> {
        self.add(&arguments[0])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.add(&values)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = concat(&self.pieces, &self.data_type)?;
        let offsets = OffsetBuffer::from_lengths([values.len()]);
        let list = ListArray::new(element(&self.data_type), offsets, values, None);
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let values = concat(&self.pieces, &self.data_type)?;
        if values.is_empty() {
            return ScalarValue::try_from(&self.data_type);
        }
        let place = place(self.fraction, values.len() as u64) as usize;
        let order = compute::sort_to_indices(&values, Some(self.options), Some(place + 1))?;
        ScalarValue::try_from_array(&values, order.value(place) as usize)
    }

    fn size(&self) -> usize {
        let values: usize = self
            .pieces
            .iter()
            .map(|piece| piece.to_data().get_slice_memory_size().unwrap_or(0))
            .sum();
        size_of_val(self) + values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        Float64Array, Int64Array, StringViewArray, TimestampMicrosecondArray, UInt8Array,
    };
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use proptest::prelude::*;

    /// The answer of `query` over a table `t` of the columns, as text without the frame.
    fn answer(
        columns: Vec<(&str, ArrayRef)>,
        batch_size: usize,
        query: &str,
    ) -> Result<Vec<String>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(async {
            let config = SessionConfig::new()
                .with_batch_size(batch_size)
                .with_target_partitions(3);
            let context = SessionContext::new_with_config(config);
            for function in super::super::aggregates() {
                context.register_udaf(function);
            }
            let table = RecordBatch::try_from_iter_with_nullable(
                columns
                    .into_iter()
                    .map(|(name, column)| (name, column, true)),
            )?;
            context.register_batch("t", table)?;
            let rows = context.sql(query).await?.collect().await?;
            let text = pretty_format_batches(&rows)?.to_string();
            let lines = text.lines().filter(|line| line.starts_with('|')).skip(1);
            Ok(lines.map(|line| line.replace(['|', ' '], "")).collect())
        })
    }

    fn numbers() -> ArrayRef {
        Arc::new(Int64Array::from(vec![
            Some(40),
            None,
            Some(10),
            Some(30),
            Some(20),
            None,
        ]))
    }

    #[test]
    fn the_place_is_the_product_rounded_up() {
        for (p, count, expected) in [
            (0.0, 4, 0),
            (0.25, 4, 0),
            (0.26, 4, 1),
            (0.5, 4, 1),
            (0.5, 5, 2),
            (0.51, 4, 2),
            (1.0, 4, 3),
            (0.5, 1, 0),
            (1.0, 1, 0),
        ] {
            assert_eq!(place(p, count), expected, "{p} of {count}");
        }
    }

    #[test]
    fn picks_one_of_the_values_and_ignores_nulls() {
        for (call, expected) in [
            ("percentile_disc(0.5) WITHIN GROUP (ORDER BY x)", "20"),
            ("percentile_disc(0) WITHIN GROUP (ORDER BY x)", "10"),
            ("percentile_disc(1) WITHIN GROUP (ORDER BY x)", "40"),
            ("percentile_disc(0.75) WITHIN GROUP (ORDER BY x)", "30"),
            ("percentile_disc(0.75) WITHIN GROUP (ORDER BY x DESC)", "20"),
            (
                "percentile_disc(0.5) WITHIN GROUP (ORDER BY x DESC NULLS FIRST)",
                "30",
            ),
            (
                "percentile_disc(0.5) WITHIN GROUP (ORDER BY x) FILTER (WHERE x > 20)",
                "30",
            ),
            (
                "percentile_disc(0.5) WITHIN GROUP (ORDER BY x) FILTER (WHERE x > 90)",
                "",
            ),
            ("percentile_disc(0.5) WITHIN GROUP (ORDER BY x + 1)", "21"),
        ] {
            let query = format!("SELECT {call} AS y FROM t");
            assert_eq!(
                answer(vec![("x", numbers())], 2, &query).unwrap(),
                [expected],
                "{call}"
            );
        }
    }

    #[test]
    fn any_type_with_an_order_will_do() {
        let columns: [(ArrayRef, &str); 3] = [
            (
                Arc::new(StringViewArray::from(vec![
                    "b",
                    "a",
                    "a longer text than fits",
                    "c",
                ])),
                "alongertextthanfits",
            ),
            (
                Arc::new(Float64Array::from(vec![f64::NAN, 2.5, -0.5])),
                "2.5",
            ),
            (
                Arc::new(TimestampMicrosecondArray::from(vec![86_400_000_000, 0, 1])),
                "1970-01-01T00:00:00.000001",
            ),
        ];
        for (column, expected) in columns {
            let query = "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY x) FROM t";
            assert_eq!(answer(vec![("x", column)], 2, query).unwrap(), [expected]);
        }
    }

    #[test]
    fn a_bad_fraction_is_refused() {
        for fraction in ["1.5", "-0.1", "x", "NULL", "'half'"] {
            let query =
                format!("SELECT percentile_disc({fraction}) WITHIN GROUP (ORDER BY x) FROM t");
            let error = answer(vec![("x", numbers())], 2, &query)
                .unwrap_err()
                .to_string();
            assert!(error.contains("percentile_disc"), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn equals_sorting_each_group(
            rows in proptest::collection::vec((0..4_u8, proptest::option::of(-9..9_i64)), 1..400),
            p in prop_oneof![Just(0.0), Just(0.5), Just(1.0), 0.0..1.0],
        ) {
            let groups: ArrayRef = Arc::new(UInt8Array::from_iter_values(rows.iter().map(|row| row.0)));
            let values: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.1)));
            let query = format!(
                "SELECT g, percentile_disc({p:?}) WITHIN GROUP (ORDER BY x) FROM t GROUP BY g ORDER BY g"
            );
            let found = answer(vec![("g", groups), ("x", values)], 3, &query).unwrap();
            let expected: Vec<String> = (0..4)
                .filter(|group| rows.iter().any(|row| row.0 == *group))
                .map(|group| {
                    let mut values: Vec<_> = rows.iter().filter(|row| row.0 == group).filter_map(|row| row.1).collect();
                    values.sort();
                    let picked = (!values.is_empty()).then(|| values[place(p, values.len() as u64) as usize]);
                    format!("{group}{}", picked.map(|value| value.to_string()).unwrap_or_default())
                })
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
