//! No word of a statement goes unread: what the parser understands and nothing here honours is
//! refused.
//!
//! Statements and queries are taken apart without `..`, so a field that a later parser adds does
//! not compile until somebody has decided about it. Statements are here, queries in `query`.

mod query;

use datafusion_sql::parser::CreateExternalTable;
use datafusion_sql::sqlparser::ast;

use super::error::DefinitionError;
use super::statement::StatementText;

pub(super) use query::query;

/// The remedy where a clause asks for nothing that a dataflow could do.
const LEAVE_OUT: &str = "leave it out";
/// The remedy for clauses that ask for what happens anyway.
const REPLACED: &str =
    "leave it out: a file says what there is, and a changed view is written again by itself";
/// The remedy for storage options.
const OPTIONS: &str = "leave it out; how a lake is written is said by the options of `pinflow run`";
/// The remedy for lists of columns that are not views'.
const COLUMNS: &str = "write CREATE TABLE name (PRIMARY KEY (column)) AS SELECT .. AS column, ..; \
                       the SELECT list names the columns and its casts give their types";

/// A clause of a statement: whether it is there, its first words, and what to do instead.
type Clause = (bool, &'static str, &'static str);

/// Refuses the first clause that is there.
fn refuse(
    text: &StatementText,
    statement: &str,
    clauses: &[Clause],
) -> Result<(), DefinitionError> {
    let Some((_, words, help)) = clauses.iter().find(|(present, _, _)| *present) else {
        return Ok(());
    };
    let first = || {
        words
            .split(' ')
            .next()
            .and_then(|first| text.find_words(first))
    };
    let place = text.find_words(words).or_else(first);
    let place = place.unwrap_or(text.place);
    Err(text.error_at(
        place,
        format!("{statement} does not take {words}"),
        Some(help),
    ))
}

/// Refuses what a stream's statement says beside name, columns, format and location.
pub(super) fn stream(
    text: &StatementText,
    create: &CreateExternalTable,
) -> Result<(), DefinitionError> {
    let CreateExternalTable {
        name: _,
        columns,
        file_type: _,
        locations: _,
        table_partition_cols,
        order_exprs,
        if_not_exists,
        or_replace,
        temporary,
        unbounded,
        options,
        constraints,
    } = create;
    let constraint = constraints.first().map_or("", constraint_words);
    refuse(
        text,
        "a stream",
        &[
            (*or_replace, "OR REPLACE", LEAVE_OUT),
            (*if_not_exists, "IF NOT EXISTS", LEAVE_OUT),
            (*temporary, "TEMPORARY", LEAVE_OUT),
            (
                *unbounded,
                "UNBOUNDED",
                "leave it out; a run follows its streams unless it is told --bounded",
            ),
            (
                !table_partition_cols.is_empty(),
                "PARTITIONED BY",
                LEAVE_OUT,
            ),
            (!order_exprs.is_empty(), "WITH ORDER", LEAVE_OUT),
            (!options.is_empty(), "OPTIONS", LEAVE_OUT),
            (
                !constraint.is_empty(),
                constraint,
                "a stream holds whatever comes; give the table over it a primary key, and clean in its SELECT",
            ),
        ],
    )?;
    for column in columns {
        for option in &column.options {
            let words = match &option.option {
                ast::ColumnOption::Null | ast::ColumnOption::NotNull => continue,
                ast::ColumnOption::Default(_) => "DEFAULT",
                other => &other.to_string(),
            };
            let word = words.split([' ', '(']).next().unwrap_or_default();
            let what = format!("the column `{}` does not take {word}", column.name.value);
            let help = match word {
                "DEFAULT" => "write COALESCE(column, value) in the SELECT of the table",
                _ => "leave it out, and clean in the SELECT of the table",
            };
            return Err(text.error(&[word, &column.name.value], what, Some(help)));
        }
    }
    Ok(())
}

fn constraint_words(constraint: &ast::TableConstraint) -> &'static str {
    use ast::TableConstraint as T;
    match constraint {
        T::PrimaryKey(_) if !is_plain_key(constraint) => {
            "PRIMARY KEY with more than names of columns"
        }
        T::PrimaryKey(_) | T::PrimaryKeyUsingIndex(_) => "PRIMARY KEY",
        T::Unique(_) | T::UniqueUsingIndex(_) => "UNIQUE",
        T::ForeignKey(_) => "FOREIGN KEY",
        T::Check(_) => "CHECK",
        T::Index(_) | T::FulltextOrSpatial(_) => "INDEX",
    }
}

/// Refuses what a table's statement says beside name, primary key and query.
pub(super) fn table(
    text: &StatementText,
    create: &ast::CreateTable,
) -> Result<(), DefinitionError> {
    let ast::CreateTable {
        or_replace,
        temporary,
        external: _,
        dynamic,
        global,
        if_not_exists,
        transient,
        volatile,
        iceberg,
        snapshot,
        name: _,
        columns,
        constraints,
        hive_distribution,
        hive_formats,
        table_options,
        file_format,
        location,
        query,
        without_rowid,
        like,
        clone,
        version,
        comment,
        on_commit,
        on_cluster,
        primary_key,
        order_by,
        partition_by,
        cluster_by,
        clustered_by,
        inherits,
        partition_of,
        for_values,
        strict,
        copy_grants,
        enable_schema_evolution,
        change_tracking,
        data_retention_time_in_days,
        max_data_extension_time_in_days,
        default_ddl_collation,
        with_aggregation_policy,
        with_row_access_policy,
        with_storage_lifecycle_policy,
        with_tags,
        external_volume,
        base_location,
        catalog,
        catalog_sync,
        storage_serialization_policy,
        target_lag,
        warehouse,
        refresh_mode,
        initialize,
        require_user,
        diststyle,
        distkey,
        sortkey,
        backup,
    } = create;
    let hive_partitions = !matches!(hive_distribution, ast::HiveDistributionStyle::NONE);
    let hive_format = hive_formats.as_ref().is_some_and(|format| {
        let ast::HiveFormat {
            row_format,
            serde_properties,
            storage,
            location,
        } = format;
        row_format.is_some()
            || serde_properties.is_some()
            || storage.is_some()
            || location.is_some()
    });
    let other_constraint = constraints
        .iter()
        .find(|constraint| !is_plain_key(constraint))
        .map_or("", constraint_words);
    let keys = constraints.iter().filter(|c| is_plain_key(c)).count();
    refuse(
        text,
        "a table",
        &[
            (*or_replace, "OR REPLACE", LEAVE_OUT),
            (*if_not_exists, "IF NOT EXISTS", LEAVE_OUT),
            (*temporary, "TEMPORARY", LEAVE_OUT),
            (*dynamic, "DYNAMIC", LEAVE_OUT),
            (*global == Some(true), "GLOBAL", LEAVE_OUT),
            (*global == Some(false), "LOCAL", LEAVE_OUT),
            (*transient, "TRANSIENT", LEAVE_OUT),
            (*volatile, "VOLATILE", LEAVE_OUT),
            (*iceberg, "ICEBERG", LEAVE_OUT),
            (*snapshot, "SNAPSHOT", LEAVE_OUT),
            (like.is_some(), "LIKE", COLUMNS),
            (clone.is_some(), "CLONE", COLUMNS),
            // Without a query, what is wrong is that it has none.
            (
                query.is_some() && !columns.is_empty(),
                "a list of columns",
                COLUMNS,
            ),
            (
                query.is_some() && !other_constraint.is_empty(),
                other_constraint,
                "leave it out; a key is unique by itself, and conditions are the WHERE of the table's SELECT",
            ),
            (
                keys > 1,
                "PRIMARY KEY twice",
                "write one PRIMARY KEY (..) with all its columns",
            ),
            (hive_partitions, "PARTITIONED BY", LEAVE_OUT),
            (hive_format, "ROW FORMAT", OPTIONS),
            (
                *table_options != ast::CreateTableOptions::None,
                option_words(table_options),
                OPTIONS,
            ),
            (file_format.is_some(), "STORED AS", OPTIONS),
            (location.is_some(), "LOCATION", OPTIONS),
            (*without_rowid, "WITHOUT ROWID", LEAVE_OUT),
            (version.is_some(), "VERSION", LEAVE_OUT),
            (comment.is_some(), "COMMENT", "write a comment: -- .."),
            (on_commit.is_some(), "ON COMMIT", LEAVE_OUT),
            (on_cluster.is_some(), "ON CLUSTER", LEAVE_OUT),
            (
                primary_key.is_some(),
                "PRIMARY KEY there",
                "write CREATE TABLE name (PRIMARY KEY (column)) AS SELECT ..",
            ),
            (order_by.is_some(), "ORDER BY", LEAVE_OUT),
            (partition_by.is_some(), "PARTITION BY", LEAVE_OUT),
            (cluster_by.is_some(), "CLUSTER BY", LEAVE_OUT),
            (clustered_by.is_some(), "CLUSTERED BY", LEAVE_OUT),
            (inherits.is_some(), "INHERITS", LEAVE_OUT),
            (
                partition_of.is_some() || for_values.is_some(),
                "PARTITION OF",
                LEAVE_OUT,
            ),
            (*strict, "STRICT", LEAVE_OUT),
            (*copy_grants, "COPY GRANTS", LEAVE_OUT),
            (
                enable_schema_evolution.is_some(),
                "ENABLE_SCHEMA_EVOLUTION",
                LEAVE_OUT,
            ),
            (change_tracking.is_some(), "CHANGE_TRACKING", LEAVE_OUT),
            (
                data_retention_time_in_days.is_some(),
                "DATA_RETENTION_TIME_IN_DAYS",
                LEAVE_OUT,
            ),
            (
                max_data_extension_time_in_days.is_some(),
                "MAX_DATA_EXTENSION_TIME_IN_DAYS",
                LEAVE_OUT,
            ),
            (
                default_ddl_collation.is_some(),
                "DEFAULT_DDL_COLLATION",
                LEAVE_OUT,
            ),
            (
                with_aggregation_policy.is_some()
                    || with_row_access_policy.is_some()
                    || with_storage_lifecycle_policy.is_some()
                    || with_tags.is_some(),
                "WITH",
                LEAVE_OUT,
            ),
            (external_volume.is_some(), "EXTERNAL_VOLUME", LEAVE_OUT),
            (base_location.is_some(), "BASE_LOCATION", LEAVE_OUT),
            (catalog.is_some(), "CATALOG", LEAVE_OUT),
            (catalog_sync.is_some(), "CATALOG_SYNC", LEAVE_OUT),
            (
                storage_serialization_policy.is_some(),
                "STORAGE_SERIALIZATION_POLICY",
                LEAVE_OUT,
            ),
            (target_lag.is_some(), "TARGET_LAG", LEAVE_OUT),
            (warehouse.is_some(), "WAREHOUSE", LEAVE_OUT),
            (refresh_mode.is_some(), "REFRESH_MODE", LEAVE_OUT),
            (initialize.is_some(), "INITIALIZE", LEAVE_OUT),
            (*require_user, "REQUIRE USER", LEAVE_OUT),
            (diststyle.is_some(), "DISTSTYLE", LEAVE_OUT),
            (distkey.is_some(), "DISTKEY", LEAVE_OUT),
            (sortkey.is_some(), "SORTKEY", LEAVE_OUT),
            (backup.is_some(), "BACKUP", LEAVE_OUT),
        ],
    )
}

fn option_words(options: &ast::CreateTableOptions) -> &'static str {
    use ast::CreateTableOptions as O;
    match options {
        O::With(_) => "WITH",
        O::Options(_) => "OPTIONS",
        O::TableProperties(_) => "TBLPROPERTIES",
        O::Plain(_) | O::None => "options such as COMMENT or ENGINE",
    }
}

/// Whether a constraint is `PRIMARY KEY (column, ..)` and nothing more.
fn is_plain_key(constraint: &ast::TableConstraint) -> bool {
    let ast::TableConstraint::PrimaryKey(key) = constraint else {
        return false;
    };
    let ast::PrimaryKeyConstraint {
        name: _,
        index_name,
        index_type,
        columns,
        index_options,
        characteristics,
    } = key;
    let plain_column = |column: &ast::IndexColumn| {
        let ast::IndexColumn {
            column:
                ast::OrderByExpr {
                    expr,
                    options,
                    with_fill,
                },
            operator_class,
        } = column;
        matches!(expr, ast::Expr::Identifier(_))
            && *options == ast::OrderByOptions::default()
            && with_fill.is_none()
            && operator_class.is_none()
    };
    index_name.is_none()
        && index_type.is_none()
        && index_options.is_empty()
        && characteristics.is_none()
        && columns.iter().all(plain_column)
}

/// Refuses what a view's statement says beside name, names of columns and query.
pub(super) fn view(text: &StatementText, create: &ast::CreateView) -> Result<(), DefinitionError> {
    let ast::CreateView {
        or_alter,
        or_replace,
        materialized: _,
        secure,
        name: _,
        name_before_not_exists: _,
        columns,
        query: _,
        options,
        cluster_by,
        comment,
        with_no_schema_binding,
        if_not_exists,
        temporary,
        copy_grants,
        to,
        params,
    } = create;
    refuse(
        text,
        "a view",
        &[
            (*or_replace, "OR REPLACE", REPLACED),
            (*or_alter, "OR ALTER", REPLACED),
            (*if_not_exists, "IF NOT EXISTS", LEAVE_OUT),
            (*secure, "SECURE", LEAVE_OUT),
            (*temporary, "TEMPORARY", LEAVE_OUT),
            (
                params.is_some(),
                "ALGORITHM, DEFINER or SQL SECURITY",
                LEAVE_OUT,
            ),
            (
                *options != ast::CreateTableOptions::None,
                option_words(options),
                OPTIONS,
            ),
            (!cluster_by.is_empty(), "CLUSTER BY", LEAVE_OUT),
            (comment.is_some(), "COMMENT", "write a comment: -- .."),
            (*with_no_schema_binding, "WITH NO SCHEMA BINDING", LEAVE_OUT),
            (*copy_grants, "COPY GRANTS", LEAVE_OUT),
            (
                to.is_some(),
                "TO",
                "name the view what its table shall be called",
            ),
        ],
    )?;
    for column in columns {
        let ast::ViewColumnDef {
            name,
            data_type,
            options,
        } = column;
        if data_type.is_some() || options.is_some() {
            return Err(text.error(
                &[&name.value],
                format!(
                    "the list of a view's columns holds names, and `{name}` comes with more than that"
                ),
                Some("write the name alone; a cast in the SELECT list gives a type"),
            ));
        }
    }
    Ok(())
}
