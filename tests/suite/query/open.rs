//! What is known to be wrong still, and is not written or not compared until it is mended: each
//! line goes with its defect.

/// A condition that keeps its neighbour from failing, by AND, OR, FILTER, HAVING, ON, or from
/// below.
pub const GUARDS: bool = true;
/// Names of columns that a view only renames.
pub const NAMES: bool = true;
/// Two ranks with bounds in one filter.
pub const TWO_RANKS: bool = true;
/// Two long lists of VALUES that differ in the middle.
pub const LONG_VALUES: bool = true;
/// EXISTS over an aggregate, which always has a row.
pub const EXISTS_COUNT: bool = true;
/// The column of RIGHT and FULL JOIN .. USING and NATURAL, and such a column in WHERE.
pub const USING: bool = true;
/// `count(NULL)`, which counts nothing.
pub const COUNT_NULL: bool = true;
/// A condition that is null for every row, over an aggregate of all rows.
pub const NULL_CONDITION: bool = true;
