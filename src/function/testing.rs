//! Calls functions as DataFusion does, on every shape a column can have.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeStringArray, StringArray, StringViewArray};
use arrow::datatypes::{DataType, Field};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::ValueError;

/// The function of that name on the arguments.
pub(super) fn call_with(function: &str, values: Vec<ColumnarValue>) -> Result<ArrayRef> {
    let mut all = super::all().into_iter();
    let function = all
        .find(|known| known.name() == function)
        .expect("a function of ours");
    let types: Vec<DataType> = values.iter().map(ColumnarValue::data_type).collect();
    function.coerce_types(&types)?;
    let rows = values.iter().find_map(|value| match value {
        ColumnarValue::Array(array) => Some(array.len()),
        ColumnarValue::Scalar(_) => None,
    });
    let number_rows = rows.unwrap_or(1);
    let fields = types
        .iter()
        .map(|kind| Arc::new(Field::new("argument", kind.clone(), true)));
    let given = ScalarFunctionArgs {
        arg_fields: fields.collect(),
        number_rows,
        return_field: Arc::new(Field::new("result", function.return_type(&types)?, true)),
        config_options: Arc::new(ConfigOptions::default()),
        args: values,
    };
    let result = function.invoke_with_args(given)?.to_array(number_rows)?;
    assert_eq!(result.len(), number_rows);
    assert_eq!(result.data_type(), &function.return_type(&types)?);
    result.to_data().validate_full()?;
    Ok(result)
}

/// The function of that name on one text column and literals.
pub(super) fn call(function: &str, texts: ArrayRef, literals: &[&str]) -> Result<ArrayRef> {
    let literals = literals
        .iter()
        .map(|text| ScalarValue::Utf8(Some(text.to_string())));
    let mut values = vec![ColumnarValue::Array(texts)];
    values.extend(literals.map(ColumnarValue::Scalar));
    call_with(function, values)
}

/// The same rows as a column of every string type, and as a slice of a longer column.
pub(super) fn text_columns(rows: &[Option<&str>]) -> Vec<ArrayRef> {
    let around = [Some("  a row before, #not to be seen  "), None, Some(" x ")];
    let mut longer: Vec<Option<&str>> = around.to_vec();
    longer.extend(rows);
    longer.extend(around);
    let slice = |array: ArrayRef| array.slice(around.len(), rows.len());
    vec![
        Arc::new(StringViewArray::from(rows.to_vec())),
        slice(Arc::new(StringViewArray::from(longer.clone()))),
        Arc::new(StringArray::from(rows.to_vec())),
        slice(Arc::new(StringArray::from(longer))),
        Arc::new(LargeStringArray::from(rows.to_vec())),
    ]
}

/// The function turns each left into its right, in every kind of column, in an empty one and as
/// literals.
pub(super) fn check_text(function: &str, literals: &[&str], rows: &[(Option<&str>, Option<&str>)]) {
    let given: Vec<_> = rows.iter().map(|row| row.0).collect();
    let expected: Vec<_> = rows.iter().map(|row| row.1).collect();
    for column in text_columns(&given) {
        let result = call(function, column.clone(), literals).expect("text is never an error");
        let result: Vec<_> = result.as_string_view().iter().collect();
        assert_eq!(result, expected, "{function} of {:?}", column.data_type());
        let empty = call(function, column.slice(0, 0), literals).expect("no row is never an error");
        assert_eq!(empty.len(), 0);
    }
    for (given, expected) in rows {
        let mut values = vec![ScalarValue::Utf8View(given.map(str::to_string))];
        values.extend(
            literals
                .iter()
                .map(|text| ScalarValue::Utf8(Some(text.to_string()))),
        );
        let values = values.into_iter().map(ColumnarValue::Scalar).collect();
        let result = call_with(function, values).expect("text is never an error");
        assert_eq!(
            result.as_string_view().iter().next(),
            Some(*expected),
            "of {given:?}"
        );
    }
}

/// For random texts the function equals `plain`, and shares the input's bytes: all of them if
/// `shares_all`, else at least those of every row that it does not change.
pub(super) fn shapes(
    function: &str,
    literals: &[&str],
    plain: impl Fn(&str) -> Option<String>,
    shares_all: bool,
) {
    // Blanks, commas, hashes, slashes and characters of every length, in texts around 12 bytes.
    let word = "[ \u{a0}\u{3000}\t,#/aé絵🎨]{0,3}[a-cé絵🎨,# ]{0,12}[ \u{a0}\u{2003},#aé]{0,3}";
    let known: Vec<String> = literals.iter().map(|text| text.to_string()).collect();
    let text = if known.is_empty() {
        word.prop_map(String::from).boxed()
    } else {
        prop_oneof![8 => word, 1 => proptest::sample::select(known)].boxed()
    };
    let rows = proptest::collection::vec(proptest::option::weighted(0.9, text), 0..20);
    let property = |rows: Vec<Option<String>>| {
        let expected: Vec<_> = rows
            .iter()
            .map(|row| row.as_deref().and_then(&plain))
            .collect();
        let given: Vec<_> = rows.iter().map(|row| row.as_deref()).collect();
        for column in text_columns(&given) {
            let result = call(function, column.clone(), literals).unwrap();
            let result = result.as_string_view();
            let texts: Vec<_> = result.iter().map(|text| text.map(str::to_string)).collect();
            prop_assert_eq!(&texts, &expected);
            let Some(input) = column.as_string_view_opt() else {
                continue;
            };
            for row in 0..rows.len() {
                let copied = result.is_valid(row)
                    && result.value(row).len() > 12
                    && (shares_all || result.value(row) == input.value(row))
                    && !within(result.value(row), input.value(row));
                prop_assert!(!copied, "row {row} of {given:?} was copied");
            }
        }
        Ok(())
    };
    // The runner prints the failing rows, shrunk, and its seed.
    if let Err(failure) = TestRunner::default().run(&rows, property) {
        panic!("{failure}");
    }
}

/// Whether `part` lies in the very bytes of `whole`.
fn within(part: &str, whole: &str) -> bool {
    let (part, whole) = (
        part.as_bytes().as_ptr_range(),
        whole.as_bytes().as_ptr_range(),
    );
    whole.start <= part.start && part.end <= whole.end
}

/// The [`ValueError`] in a failed call, however wrapped.
pub(super) fn value_error(result: Result<ArrayRef>) -> ValueError {
    let error = result.expect_err("a value that cannot be read");
    let wrapped = error.context("cleaning a batch");
    let found = ValueError::find(&wrapped).expect("a value error");
    found.clone()
}
