//! Ranks with a frame that every type of order allows.
//!
//! A rank is the same in every frame. DataFusion gives windows without one a frame in RANGE, which
//! it refuses for byte strings and for differences of timestamps; in ROWS it takes any order.

use datafusion_sql::sqlparser::ast::{
    Expr, Query, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowType,
};

use crate::sql::walk::{Rewrite, walk};

/// The functions that number rows.
const RANKS: [&str; 3] = ["rank", "dense_rank", "row_number"];

/// Writes the frame into every rank of a query that has none.
pub(super) fn spell_out(query: &mut Query) {
    walk(query, &mut Ranks);
}

struct Ranks;

impl Rewrite for Ranks {
    fn post_expr(&mut self, expr: &mut Expr) {
        if let Expr::Function(call) = expr
            && let Some(WindowType::WindowSpec(window)) = &mut call.over
            && window.window_frame.is_none()
            && window.window_name.is_none()
            && RANKS
                .iter()
                .any(|rank| call.name.to_string().eq_ignore_ascii_case(rank))
        {
            window.window_frame = Some(WindowFrame {
                units: WindowFrameUnits::Rows,
                start_bound: WindowFrameBound::Preceding(None),
                end_bound: Some(WindowFrameBound::CurrentRow),
            });
        }
    }
}
