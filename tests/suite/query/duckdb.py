"""Answers queries with DuckDB for tests/suite/query/duckdb.rs.

Every line of stdin is a JSON list of steps: whether rows are wanted, and statements of which the
last one returns them. For each step comes a line of JSON, with an `error` or with the number of
`bytes` of the Arrow IPC stream that follows it. An empty list empties the database, except for what
is defined here. `DELTA path` returns the rows of a Delta table, as Python's deltalake reads it.
"""

import io
import json
import sys
import warnings

import deltalake
import duckdb
import pyarrow

warnings.simplefilter("ignore")
engine = duckdb.connect(config={"threads": 1})

# Where engines differ by intention and SQL allows both, DuckDB is set to PostgreSQL's way, or to ours:
# nulls are greater than all values unless the query says where they are;
engine.execute("SET default_null_order = 'nulls_last_on_asc_first_on_desc'")
# what is behind a guard may be evaluated for every row, so it must not fail (see print.rs).
engine.execute("SET error_on_division_by_zero = false")

# Functions that have other names here.
for macro in [
    "parse_timestamp(x) AS TRY_CAST(x AS TIMESTAMP)",
    "digest(x, method) AS unhex(md5(x))",
    "regexp_like(x, pattern) AS regexp_matches(x, pattern)",
    "date_bin(width, x) AS time_bucket(width, x)",
    "make_array(x) AS [x], (x, y) AS [x, y]",
    # Of a list without values it is the empty text in PostgreSQL.
    "array_to_string(x, s) AS CASE WHEN x IS NOT NULL THEN coalesce(list_aggregate(x, 'string_agg', s), '') END",
]:
    engine.execute(f"CREATE MACRO main.{macro}")


def answer(wanted, statements):
    if statements.startswith("DELTA "):
        rows = deltalake.DeltaTable(statements.removeprefix("DELTA ")).to_pyarrow_table()
    else:
        result = engine.execute(statements)
        if not wanted:
            return b""
        rows = result.to_arrow_table()
    stream = io.BytesIO()
    with pyarrow.ipc.new_stream(stream, rows.schema) as writer:
        writer.write_table(rows)
    return stream.getvalue()


def empty():
    engine.execute("SET search_path = 'main'")
    engine.execute("DROP SCHEMA IF EXISTS one_case CASCADE")
    engine.execute("CREATE SCHEMA one_case")
    engine.execute("SET search_path = 'one_case,main'")


for line in sys.stdin:
    steps = json.loads(line)
    if not steps:
        empty()
    for wanted, statements in steps:
        try:
            content, said = answer(wanted, statements), {}
        except Exception as error:
            content, said = b"", {"error": str(error)}
        said["bytes"] = len(content)
        sys.stdout.buffer.write(json.dumps(said).encode() + b"\n" + content)
    sys.stdout.buffer.flush()
