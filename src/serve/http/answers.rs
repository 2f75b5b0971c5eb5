//! The answers, one function a route.
//!
//! Whole views are decoded and written away from the threads that serve connections, a few at a
//! time.
//!
//! The ETag of a view changes when the view does (not with every epoch: an idle view is not sent
//! again and again), and with the process, because after a crash an epoch can be lived through a
//! second time with other records in it.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::asked::Asked;
use super::failure::Failure;
use super::{App, CONDITION_WITHIN, EPOCH_HEADER, ROW_COUNT_HEADER, Served};
use crate::delta::Epoch;
use crate::serve::filter::filter;
use crate::serve::format::{Answer, Format, sql_type};
use crate::serve::store::{Cut, FrozenView};

type Answered = Result<Response, Failure>;

pub(super) async fn index(State(app): State<Arc<App>>) -> Response {
    let cut = app.cut().await;
    let mut text = "\
pinflow: live views

  GET /views             the views, with their columns and rows
  GET /views/<name>      the rows of a view
      ?format=json|csv|arrow|table   or an Accept header
      ?where=<SQL condition>         only the rows for which it is true
      ?limit=<n>                     only the first n rows
      ?wait=<epoch>                  answer once there is a later epoch
      ?changed_after=<epoch>         answer once the view changed after that epoch
  GET /status            what the run is doing, in numbers
  GET /healthz           200 if all is well

"
    .to_owned();
    text.push_str(&format!("Views at epoch {}:\n\n", cut.epoch));
    for view in &cut.views {
        text.push_str(&format!("  /views/{}\n", view.name));
    }
    (at_epoch(cut.epoch), text).into_response()
}

pub(super) async fn views(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answered {
    let asked = Asked::parse(&["format", "wait"], query.as_deref(), &headers)?;
    app.loaded()?;
    if let Some(epoch) = asked.wait
        && !app.wait(|now| now > epoch).await
    {
        return Ok(not_modified(app.served.store.epoch(), None));
    }
    let cut = app.cut().await;
    let body = match asked.format {
        Format::Json => {
            let views = cut.views.iter().map(ViewEntry::of).collect();
            let list = ViewList {
                epoch: cut.epoch,
                views,
            };
            let text = serde_json::to_string_pretty(&list).map_err(Failure::cannot_write)?;
            (text + "\n").into_bytes()
        }
        format => {
            let rows = list(&cut);
            let row_count = rows.num_rows() as u64;
            let answer = Answer {
                view: "views",
                epoch: cut.epoch,
                row_count,
                rows: &rows,
            };
            answer.render(format).map_err(Failure::cannot_write)?
        }
    };
    Ok((at_epoch(cut.epoch), of_type(asked.format), body).into_response())
}

/// The body of `GET /views`.
#[derive(Serialize)]
struct ViewList<'a> {
    epoch: Epoch,
    views: Vec<ViewEntry<'a>>,
}

#[derive(Serialize)]
struct ViewEntry<'a> {
    name: &'a str,
    rows: u64,
    epoch: Epoch,
    changed: Epoch,
    columns: Vec<ColumnEntry<'a>>,
}

#[derive(Serialize)]
struct ColumnEntry<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    sql_type: String,
}

impl ViewEntry<'_> {
    fn of(view: &FrozenView) -> ViewEntry<'_> {
        let fields = view.schema().fields().iter();
        let columns = fields.map(|field| ColumnEntry {
            name: field.name(),
            sql_type: sql_type(field.data_type()),
        });
        ViewEntry {
            name: &view.name,
            rows: view.row_count(),
            epoch: view.epoch,
            changed: view.changed,
            columns: columns.collect(),
        }
    }
}

/// The views as rows, for the formats that know rows only.
fn list(cut: &Cut) -> RecordBatch {
    let names = cut.views.iter().map(|view| Some(&*view.name));
    let rows = cut.views.iter().map(|view| view.row_count());
    let columns = cut.views.iter().map(|view| Some(columns(view)));
    let arrays: [(&str, ArrayRef); 3] = [
        ("view", Arc::new(names.collect::<StringArray>())),
        ("rows", Arc::new(rows.collect::<UInt64Array>())),
        ("columns", Arc::new(columns.collect::<StringArray>())),
    ];
    RecordBatch::try_from_iter(arrays).expect("the three columns have a value for each view")
}

/// A view's columns as SQL writes them: `country TEXT, posts BIGINT`.
fn columns(view: &FrozenView) -> String {
    let fields = view.schema().fields().iter();
    let columns = fields.map(|field| format!("{} {}", field.name(), sql_type(field.data_type())));
    columns.collect::<Vec<_>>().join(", ")
}

pub(super) async fn view(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answered {
    const KNOWN: [&str; 5] = ["format", "where", "limit", "wait", "changed_after"];
    let asked = Asked::parse(&KNOWN, query.as_deref(), &headers)?;
    let store = &app.served.store;
    // Before any waiting: a view that there is not will not come.
    let number = store.view_number(&name)?;
    app.loaded()?;
    if let Some(epoch) = asked.wait
        && !app.wait(|now| now > epoch).await
    {
        return Ok(not_modified(store.epoch(), None));
    }
    if let Some(epoch) = asked.changed_after
        && !app.wait(|_| store.changed(number) > epoch).await
    {
        return Ok(not_modified(store.epoch(), None));
    }
    let permit = Arc::clone(&app.rendering).acquire_owned().await;
    let served = app.served.clone();
    // The client has gone when nobody holds this any more: its request is dropped with the
    // connection.
    let client = Arc::new(());
    let is_there = Arc::downgrade(&client);
    let rendered = spawn_blocking(move || {
        let until = Instant::now() + CONDITION_WITHIN;
        let go_on = || is_there.strong_count() > 0 && Instant::now() < until;
        let rendered = answer(&served, &name, &asked, &go_on);
        // Even if the client has gone meanwhile, the work counts until it is done.
        (rendered, permit)
    });
    let (rendered, permit) = rendered.await.map_err(Failure::cannot_write)?;
    drop(client);
    let Rendered { headers, body } = match rendered? {
        Ok(rendered) => rendered,
        Err(not_modified) => return Ok(not_modified),
    };
    // No further view is written before there is room for this answer.
    let place = app.answers.take(body.len()).await;
    drop(permit);
    Ok((headers, place.hold(body)).into_response())
}

/// An answer that is written, and not yet on its way.
struct Rendered {
    headers: HeaderMap,
    body: Vec<u8>,
}

/// The rows that were asked for, or the answer that the client has them.
fn answer(
    served: &Served,
    name: &str,
    asked: &Asked,
    go_on: &dyn Fn() -> bool,
) -> Result<Result<Rendered, Response>, Failure> {
    let view = served.store.view(name)?;
    let etag = format!(
        "W/\"{:x}-{:x}-{}\"",
        served.status.started_ms(),
        view.changed,
        asked.format.name()
    );
    let etag =
        HeaderValue::from_str(&etag).expect("hexadecimal digits and a name are visible ASCII");
    if asked.has(&etag) {
        return Ok(Err(not_modified(view.epoch, Some(etag))));
    }
    let limit = asked.limit.unwrap_or(usize::MAX);
    let (rows, row_count) = match &asked.condition {
        None => (view.first_rows(limit), view.row_count()),
        Some(condition) => {
            let rows = filter(&served.session, &view.rows(), condition, go_on);
            let rows = rows.map_err(|error| {
                let columns = columns(&view);
                let hint = format!("write one SQL condition over the columns {columns}");
                Failure::bad_request(error, hint)
            })?;
            (
                rows.slice(0, rows.num_rows().min(limit)),
                rows.num_rows() as u64,
            )
        }
    };
    let answer = Answer {
        view: name,
        epoch: view.epoch,
        row_count,
        rows: &rows,
    };
    let body = answer.render(asked.format).map_err(Failure::cannot_write)?;
    let headers = [
        (ETAG, etag),
        (VARY, HeaderValue::from_static("accept")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (ROW_COUNT_HEADER, HeaderValue::from(row_count)),
    ];
    let headers = headers.into_iter().chain(at_epoch(view.epoch));
    let headers = headers.chain(of_type(asked.format)).collect();
    Ok(Ok(Rendered { headers, body }))
}

pub(super) async fn status(State(app): State<Arc<App>>) -> Answered {
    let served = app.served.clone();
    let sample = spawn_blocking(move || served.status.sample(&served.store, (served.now_ms)()))
        .await
        .map_err(Failure::cannot_write)?;
    let body = serde_json::to_string_pretty(&sample).map_err(Failure::cannot_write)? + "\n";
    Ok((at_epoch(sample.epoch), of_type(Format::Json), body).into_response())
}

pub(super) async fn healthz(State(app): State<Arc<App>>) -> Response {
    match app.served.status.health((app.served.now_ms)()).complaint() {
        None => "ok\n".into_response(),
        Some(complaint) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{complaint}\n")).into_response()
        }
    }
}

fn at_epoch(epoch: Epoch) -> [(HeaderName, HeaderValue); 1] {
    [(EPOCH_HEADER, HeaderValue::from(epoch))]
}

pub(super) fn of_type(format: Format) -> [(HeaderName, HeaderValue); 1] {
    [(CONTENT_TYPE, HeaderValue::from_static(format.media_type()))]
}

fn not_modified(epoch: Epoch, etag: Option<HeaderValue>) -> Response {
    let mut response = (StatusCode::NOT_MODIFIED, at_epoch(epoch)).into_response();
    if let Some(etag) = etag {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}
