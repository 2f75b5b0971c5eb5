//! The one adapter between DataFusion and our scalar functions.
//!
//! A function of ours is a plain `fn` from [`Arguments`] to an array. What DataFusion asks beside
//! that (types, coercion, literals, documentation) is the same for all of them and is answered
//! here.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringViewArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, DocSection, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl,
    Signature, Volatility,
};

use super::ValueError;

/// What an argument must be; DataFusion casts near types to it, others are refused with a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any string type; reaches the function as Utf8View.
    Text,
    /// Any number; reaches the function as Float64.
    Double,
}

/// Says what is wrong with the values of rows for which a function fails; `None` if it does not
/// fail for one of them.
type Refuse = fn(&Arguments, &BooleanBuffer) -> Option<Vec<ValueError>>;

/// A scalar function: its name, its types, and the `fn` that computes it.
#[derive(Debug)]
pub(super) struct Function {
    name: &'static str,
    takes: &'static [Kind],
    /// Further text arguments, each of which must be a literal.
    placeholders: bool,
    /// If there are any, one of them may follow as a text literal.
    words: &'static [&'static str],
    returns: DataType,
    compute: fn(&Arguments) -> Result<ArrayRef>,
    refuse: Option<Refuse>,
    signature: Signature,
    documentation: Documentation,
}

impl Function {
    /// A function of exactly the arguments `takes`. `usage` shows a call, `gives` says its result.
    pub(super) fn new(
        name: &'static str,
        takes: &'static [Kind],
        returns: DataType,
        compute: fn(&Arguments) -> Result<ArrayRef>,
        usage: &str,
        gives: &str,
    ) -> Self {
        let section = DocSection {
            include: true,
            label: "Cleaning Functions",
            description: None,
        };
        Self {
            name,
            takes,
            placeholders: false,
            words: &[],
            returns,
            compute,
            refuse: None,
            // The types are checked in `coerce_types`, which can say what is wrong in a sentence.
            signature: Signature::user_defined(Volatility::Immutable),
            documentation: Documentation::builder(section, gives, usage).build(),
        }
    }

    /// The same function, with any number of text literals after its arguments.
    pub(super) fn with_placeholders(self) -> Self {
        Self {
            placeholders: true,
            ..self
        }
    }

    /// The same function, with one of these text literals after its arguments, or none.
    pub(super) fn with_word(self, words: &'static [&'static str]) -> Self {
        Self { words, ..self }
    }

    /// The same function, which can say for many rows at once why it fails for them.
    pub(super) fn with_refusals(self, refuse: Refuse) -> Self {
        Self {
            refuse: Some(refuse),
            ..self
        }
    }

    /// Why the function fails for each of `rows`, if it can say.
    pub(super) fn refusals(
        &self,
        values: Vec<ColumnarValue>,
        rows: &BooleanBuffer,
    ) -> Option<Vec<ValueError>> {
        let arguments = Arguments {
            function: self.name,
            values,
            rows: rows.len(),
        };
        self.refuse?(&arguments, rows)
    }

    fn kind(&self, argument: usize) -> Option<Kind> {
        let word = !self.words.is_empty() && argument == self.takes.len();
        match self.takes.get(argument) {
            None if self.placeholders || word => Some(Kind::Text),
            kind => kind.copied(),
        }
    }

    /// From which argument on only literals are taken.
    pub(super) fn literals_from(&self) -> usize {
        self.takes.len()
    }

    fn takes_too_many(&self, given: usize) -> bool {
        given > 0 && self.kind(given - 1).is_none()
    }
}

// Two functions are the same when their names are: names are unique among the functions of a
// session, and comparing function pointers is not reliable.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        if given.len() < self.takes.len() || self.takes_too_many(given.len()) {
            let more = self.placeholders || !self.words.is_empty();
            return plan_err!(
                "`{}` takes {}{} argument{} but was given {}: write `{}`",
                self.name,
                if more { "at least " } else { "" },
                self.takes.len(),
                if self.takes.len() == 1 { "" } else { "s" },
                given.len(),
                self.documentation.syntax_example
            );
        }
        let coerce = |(argument, given): (usize, &DataType)| {
            let kind = self.kind(argument).expect("arity was checked above");
            let (fits, coerced, wanted, cast) = match kind {
                Kind::Text => (is_text(given), DataType::Utf8View, "text", "TEXT"),
                Kind::Double => {
                    let fits = given.is_numeric() || given.is_null();
                    (fits, DataType::Float64, "a number", "DOUBLE")
                }
            };
            if fits {
                return Ok(coerced);
            }
            plan_err!(
                "argument {} of `{}` must be {wanted} but is {given}: write `CAST(.. AS {cast})`",
                argument + 1,
                self.name
            )
        };
        given.iter().enumerate().map(coerce).collect()
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    /// Refuses another word than those there are, before any row is read.
    fn return_field_from_args(&self, given: ReturnFieldArgs) -> Result<FieldRef> {
        let word = given
            .scalar_arguments
            .get(self.takes.len())
            .copied()
            .flatten();
        let word = word.and_then(|word| word.try_as_str()).flatten();
        if let Some(word) = word
            && !self.words.is_empty()
            && !self.words.contains(&word)
        {
            return plan_err!(
                "`{}` does not know '{word}': write `{}`",
                self.name,
                self.documentation.syntax_example
            );
        }
        Ok(Arc::new(Field::new(self.name, self.returns.clone(), true)))
    }

    /// Functions of one argument give null for null; the others decide for themselves.
    fn is_strict(&self) -> bool {
        self.takes.len() == 1 && !self.placeholders && self.words.is_empty()
    }

    fn invoke_with_args(&self, given: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // All literals: the planner folds the call into a literal.
        let constant = given
            .args
            .iter()
            .all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let arguments = Arguments {
            function: self.name,
            rows: if constant { 1 } else { given.number_rows },
            values: given.args,
        };
        let result = (self.compute)(&arguments)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &result, 0,
            )?));
        }
        Ok(ColumnarValue::Array(result))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// Text in any of Arrow's string types, dictionary-encoded or not, or the untyped `NULL`.
fn is_text(given: &DataType) -> bool {
    match given {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// The arguments of one call on one batch.
pub(super) struct Arguments {
    function: &'static str,
    values: Vec<ColumnarValue>,
    rows: usize,
}

impl Arguments {
    /// Argument `i` as one text per row.
    pub(super) fn text(&self, i: usize) -> Result<StringViewArray> {
        Ok(self
            .column(i, &DataType::Utf8View)?
            .as_string_view()
            .clone())
    }

    /// Argument `i` as one double per row.
    pub(super) fn doubles(&self, i: usize) -> Result<Float64Array> {
        let column = self.column(i, &DataType::Float64)?;
        Ok(column.as_primitive::<Float64Type>().clone())
    }

    /// The text literals from argument `first` on; a null literal counts for nothing.
    pub(super) fn literals(&self, first: usize) -> Result<Vec<&str>> {
        let mut literals = Vec::with_capacity(self.values.len().saturating_sub(first));
        for (i, value) in self.values.iter().enumerate().skip(first) {
            match value {
                ColumnarValue::Scalar(ScalarValue::Null) => {}
                ColumnarValue::Scalar(scalar) if scalar.try_as_str().is_some() => {
                    literals.extend(scalar.try_as_str().flatten());
                }
                _ => {
                    return exec_err!(
                        "argument {} of `{}` must be a text literal, not a column: write `CASE WHEN` to compare columns",
                        i + 1,
                        self.function
                    );
                }
            }
        }
        Ok(literals)
    }

    fn column(&self, i: usize, wanted: &DataType) -> Result<ArrayRef> {
        let column = self.values[i].to_array(self.rows)?;
        // The planner has cast the arguments already; only direct callers get here with another
        // type.
        if column.data_type() == wanted {
            return Ok(column);
        }
        Ok(arrow::compute::cast(&column, wanted)?)
    }
}
