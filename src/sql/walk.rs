//! One walk over a parsed query for all that rewrite it.
//!
//! The parser's walk is generic over the visitor and recursive through every type of the syntax
//! tree, so each further type of visitor would be compiled with all of them: some 150,000 lines of
//! LLVM's code. Here the visitor is a trait object behind one type, and the walk is compiled once.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{Expr, Query, Select, VisitMut, VisitorMut};

/// What a rewrite does at the parts of a query, outer ones before (`pre`) and after (`post`) what
/// is in them. It never ends early.
pub trait Rewrite {
    /// Before the parts of a query, subqueries included.
    fn pre_query(&mut self, _query: &mut Query) {}
    /// After the parts of a query.
    fn post_query(&mut self, _query: &mut Query) {}
    /// Before the parts of a SELECT.
    fn pre_select(&mut self, _select: &mut Select) {}
    /// After the parts of an expression.
    fn post_expr(&mut self, _expr: &mut Expr) {}
}

/// Walks over `node` and all that is in it.
pub fn walk(node: &mut impl VisitMut, rewrite: &mut dyn Rewrite) {
    let ControlFlow::Continue(()) = node.visit(&mut Walk(rewrite));
}

struct Walk<'a>(&'a mut dyn Rewrite);

impl VisitorMut for Walk<'_> {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        self.0.pre_query(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        self.0.post_query(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        self.0.pre_select(select);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        self.0.post_expr(expr);
        ControlFlow::Continue(())
    }
}
