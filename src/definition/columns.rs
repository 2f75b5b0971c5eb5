//! Names of columns: what a column without AS is called, and which names a relation may have.
//!
//! | written | called, as PostgreSQL does |
//! |---|---|
//! | `t.column` | `column` |
//! | `count(*)`, `sum(x) OVER (..)`, `EXTRACT(..)` | the function: `count`, `sum`, `extract` |
//! | `CAST(x AS TEXT)`, `x::TEXT` | as `x`, or the type if `x` has no name |
//! | `CASE .. ELSE x END` | as `x`, or `case` |
//! | `(SELECT x ..)` | as `x` |
//!
//! Everything else has no name, and two columns of one name are none: both are refused, for what is
//! stored and served is found by its name. Readers of Delta tables see no capitals and refuse some
//! characters, so names of tables and materialised views that differ in capitals only, or have such
//! a character, are refused too.

use datafusion_expr::{LogicalPlan, LogicalPlanBuilder, col};
use datafusion_sql::sqlparser::ast::{self, Expr, SelectItem, SetExpr, Spanned};

use super::error::{DefinitionError, Place};
use super::statement::StatementText;

/// The characters that Spark refuses in names of columns.
const REFUSED: &str = " ,;{}()\n\t=";

/// Writes the names of unnamed columns into a query, its common tables and the queries it reads
/// FROM.
pub(super) fn name_all(query: &mut ast::Query) {
    name_in_query(query, true);
}

fn name_in_query(query: &mut ast::Query, seen: bool) {
    for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
        name_in_query(&mut cte.query, true);
    }
    let named = name_in_set(&mut query.body, seen);
    // DISTINCT can only be ordered by what it returns, and that has another name now.
    if let Some(ast::OrderByKind::Expressions(by)) = query.order_by.as_mut().map(|by| &mut by.kind)
    {
        for by in by {
            if let Some((_, name)) = named.iter().find(|(expr, _)| *expr == by.expr) {
                by.expr = Expr::Identifier(name.clone());
            }
        }
    }
}

/// Returns what was named in a SELECT list, and how. `seen`: whether the columns are called as
/// here; those of a set operation are called as in its first query.
fn name_in_set(set: &mut SetExpr, seen: bool) -> Vec<(Expr, ast::Ident)> {
    match set {
        SetExpr::Select(select) => {
            for table in &mut select.from {
                name_in_tables(table);
            }
            return match seen {
                true => name_items(&mut select.projection),
                false => tell_apart(&mut select.projection),
            };
        }
        SetExpr::Query(query) => name_in_query(query, seen),
        SetExpr::SetOperation { left, right, .. } => {
            name_in_set(left, seen);
            name_in_set(right, false);
        }
        _ => {}
    }
    Vec::new()
}

fn name_in_tables(tables: &mut ast::TableWithJoins) {
    let joined = tables.joins.iter_mut().map(|join| &mut join.relation);
    for factor in std::iter::once(&mut tables.relation).chain(joined) {
        match factor {
            ast::TableFactor::Derived { subquery, .. } => name_in_query(subquery, true),
            ast::TableFactor::NestedJoin {
                table_with_joins, ..
            } => name_in_tables(table_with_joins),
            _ => {}
        }
    }
}

/// Names what has a name of its own by the rule. Names that would be there twice are left to be
/// refused where they are seen.
fn name_items(items: &mut [SelectItem]) -> Vec<(Expr, ast::Ident)> {
    let mut named = Vec::new();
    let names: Vec<Option<String>> = items.iter().map(name_of).collect();
    for (place, item) in items.iter_mut().enumerate() {
        let SelectItem::UnnamedExpr(expr) = item else {
            continue;
        };
        let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        let once = names.iter().filter(|name| **name == names[place]).count() == 1;
        if let (false, true, Some(name)) = (is_column, once, &names[place]) {
            let alias = ast::Ident::with_quote('"', name);
            named.push((expr.clone(), alias.clone()));
            let expr = expr.clone();
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
    named
}

/// Gives columns whose names nobody sees names by which they can be told apart.
///
/// The planner would call an expression as the first query of the set operation calls it, although
/// a column beside it may be called so: `SELECT k, n FROM r UNION ALL SELECT s.n + 1, s.k FROM s`.
fn tell_apart(items: &mut [SelectItem]) -> Vec<(Expr, ast::Ident)> {
    let mut named = Vec::new();
    let names: Vec<Option<String>> = items.iter().map(name_of).collect();
    let is_star = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
        )
    };
    let has_star = items.iter().any(is_star);
    for (place, item) in items.iter_mut().enumerate() {
        let SelectItem::UnnamedExpr(expr) = item else {
            continue;
        };
        let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        let is_first = !names[..place].contains(&names[place]);
        if !(is_column && is_first) || has_star {
            let alias = ast::Ident::with_quote('"', format!("?{}", place + 1));
            named.push((expr.clone(), alias.clone()));
            let expr = expr.clone();
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
    named
}

/// The name of a column of a SELECT list; none for those that a star stands for.
fn name_of(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expr) => name_of_expr(expr),
        SelectItem::ExprWithAlias { alias, .. } => Some(normal(alias)),
        _ => None,
    }
}

/// What PostgreSQL calls the column that an expression makes.
fn name_of_expr(expr: &Expr) -> Option<String> {
    let word = |word: &str| Some(word.to_owned());
    match expr {
        Expr::Identifier(ident) => Some(normal(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(normal),
        Expr::Nested(expr) | Expr::Collate { expr, .. } => name_of_expr(expr),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|access| match access {
                ast::AccessExpr::Dot(field) => name_of_expr(field),
                ast::AccessExpr::Subscript(_) => None,
            });
            field.or_else(|| name_of_expr(root))
        }
        Expr::Function(function) => function.name.0.last()?.as_ident().map(normal),
        Expr::Cast {
            expr, data_type, ..
        } => name_of_expr(expr).or_else(|| name_of_type(data_type)),
        Expr::TypedString(typed) => name_of_type(&typed.data_type),
        Expr::Case { else_result, .. } => {
            let otherwise = else_result.as_deref().and_then(name_of_expr);
            otherwise.or_else(|| word("case"))
        }
        Expr::Subquery(query) => match first_select(&query.body)?.projection.as_slice() {
            [item] => name_of(item),
            _ => None,
        },
        Expr::Exists { .. } => word("exists"),
        Expr::Array(_) => word("array"),
        Expr::Tuple(_) => word("row"),
        Expr::Extract { .. } => word("extract"),
        Expr::AtTimeZone { .. } => word("timezone"),
        Expr::Ceil { .. } => word("ceil"),
        Expr::Floor { .. } => word("floor"),
        Expr::Position { .. } => word("position"),
        Expr::Substring {
            shorthand: true, ..
        } => word("substr"),
        Expr::Substring { .. } => word("substring"),
        Expr::Trim { .. } => word("trim"),
        Expr::Overlay { .. } => word("overlay"),
        Expr::Interval(_) => word("interval"),
        _ => None,
    }
}

/// The first word of a type.
fn name_of_type(data_type: &ast::DataType) -> Option<String> {
    let name = data_type.to_string().to_lowercase();
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    Some(name[..end.unwrap_or(name.len())].to_owned()).filter(|name| !name.is_empty())
}

/// An identifier as SQL compares it: in small letters, unless it is in quotes.
pub(super) fn normal(ident: &ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The query whose SELECT list names the columns.
fn first_select(set: &SetExpr) -> Option<&ast::Select> {
    match set {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// Refuses columns of the result that have no name, or one that another column has.
pub(super) fn check_list(text: &StatementText, query: &ast::Query) -> Result<(), DefinitionError> {
    let Some(select) = first_select(&query.body) else {
        return Ok(());
    };
    let mut names: Vec<String> = Vec::new();
    for item in &select.projection {
        let place = place_of(text, item);
        match (item, name_of(item)) {
            (_, Some(name)) => {
                if names.contains(&name) {
                    return Err(twice(text, place, &name, &name));
                }
                names.push(name);
            }
            (SelectItem::UnnamedExpr(expr), None) => {
                let help = format!("name it: {expr} AS name");
                let what = format!("the column `{expr}` has no name");
                return Err(text.error_at(place, what, Some(&help)));
            }
            _ => {}
        }
    }
    Ok(())
}

fn place_of(text: &StatementText, item: &SelectItem) -> Place {
    let start = item.span().start;
    match start.line {
        0 => text.find("SELECT").unwrap_or(text.place),
        line => text.place_in_file(line, start.column),
    }
}

/// Refuses columns that cannot be told apart by name; of what is `stored` also those that readers
/// of Delta tables refuse.
pub(super) fn check<'a>(
    text: &StatementText,
    names: impl IntoIterator<Item = &'a str>,
    stored: bool,
) -> Result<(), DefinitionError> {
    let find = |name: &str| text.find(name).unwrap_or(text.place);
    let mut above: Vec<&str> = Vec::new();
    for name in names {
        let same = |other: &&&str| {
            let folded = stored && other.to_lowercase() == name.to_lowercase();
            **other == name || folded
        };
        if let Some(other) = above.iter().find(same) {
            return Err(twice(text, find(name), other, name));
        }
        above.push(name);
        if stored {
            readable(text, find(name), name)?;
        }
    }
    Ok(())
}

/// Refuses a name that readers of Delta tables refuse.
fn readable(text: &StatementText, place: Place, name: &str) -> Result<(), DefinitionError> {
    let refused = |c: char| REFUSED.contains(c) || c.is_control();
    let fault = match name.chars().find(|&c| refused(c)) {
        Some(' ') => "a blank".to_owned(),
        Some(found) => format!("`{}`", found.escape_default()),
        None if name.is_empty() => "nothing".to_owned(),
        None => return Ok(()),
    };
    Err(text.error_at(
        place,
        format!("a column is called `{name}`, and readers of Delta tables refuse names with {fault} in them"),
        Some("give it another name with AS"),
    ))
}

fn twice(text: &StatementText, place: Place, one: &str, other: &str) -> DefinitionError {
    let what = match one == other {
        true => format!("two columns are called `{one}`"),
        false => format!(
            "the columns `{one}` and `{other}` differ in capitals only, which readers of Delta tables do not see"
        ),
    };
    let help = "name the columns, and give one of them another name with AS";
    text.error_at(place, what, Some(help))
}

/// `plan` with its columns called as the list of a view says.
pub(super) fn renamed(
    text: &StatementText,
    plan: LogicalPlan,
    list: &[ast::ViewColumnDef],
) -> Result<LogicalPlan, DefinitionError> {
    let columns = plan.schema().columns();
    if list.len() != columns.len() {
        let place = list.first().and_then(|first| text.find(&first.name.value));
        return Err(text.error_at(
            place.unwrap_or(text.place),
            format!(
                "the view lists {} columns, and its query returns {}",
                list.len(),
                columns.len()
            ),
            Some("name every column of the query, in its order"),
        ));
    }
    let columns = columns.into_iter().zip(list);
    let named = columns.map(|(column, listed)| col(column).alias(normal(&listed.name)));
    LogicalPlanBuilder::from(plan)
        .project(named)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| super::complaint::sql_error(text, error))
}
