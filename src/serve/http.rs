//! The views and the status over HTTP.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | what there is, as text |
//! | `GET /views` | the views: name, columns, rows, epoch |
//! | `GET /views/<name>` | the rows of one view |
//! | `GET /status` | the numbers of the run, as JSON |
//! | `GET /healthz` | 200 if all is well, else 503 and why |
//!
//! Rows come as JSON, CSV, Arrow IPC or a table, by `?format=` or the `Accept` header. `?where=` keeps the rows
//! for which an SQL condition is true, `?limit=` the first so many. `?wait=<epoch>` answers once there is a later
//! epoch than that, `?changed_after=<epoch>` once the view changed after it; if that takes too long the answer is
//! 304, and the request may simply be made again.
//!
//! Every answer from views names its epoch in `x-pinflow-epoch`. The ETag changes when the view does (not with
//! every epoch: an idle view is not sent again and again), and with the process, because after a crash an epoch
//! can be lived through a second time with other records in it.
//!
//! Errors are JSON: `{"error": what and why, "hint": what to do}`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use super::filter::filter;
use super::format::{Answer, Format, sql_type};
use super::nearest::nearest;
use super::status::{NowMs, Status};
use super::store::{Cut, FrozenView, LiveStore, NoSuchView};
use crate::delta::Epoch;
use crate::sql::Session;

/// The epoch that an answer is at.
pub const EPOCH_HEADER: HeaderName = HeaderName::from_static("x-pinflow-epoch");
/// How many rows match, of which the answer may hold the first.
pub const ROW_COUNT_HEADER: HeaderName = HeaderName::from_static("x-pinflow-row-count");

/// Whole views are decoded and written in memory: so many at a time.
const RENDERED_AT_ONCE: usize = 4;
/// How long requests that are being answered may keep the server from stopping.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// What is served.
#[derive(Clone)]
pub struct Served {
    /// The views.
    pub store: Arc<LiveStore>,
    /// The numbers.
    pub status: Arc<Status>,
    /// The time.
    pub now_ms: NowMs,
    /// Has the scalar functions that `?where=` may use.
    pub session: Arc<Session>,
    /// How long a request may wait for an epoch before the answer is 304; 30 seconds are usual.
    pub wait_at_most: Duration,
}

/// The address that was given cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot answer HTTP at {address}: {cause}; choose another address with --http")]
pub struct CannotListen {
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub cause: io::Error,
}

/// A running server. It stops when it is told to, or dropped with its runtime.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// The address it listens on; its port is a real one even if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests and answers those that are there: who waits for an epoch is sent away, who reads
    /// very slowly is cut off.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(STOP_WITHIN, &mut self.task)
            .await
            .is_err()
        {
            self.task.abort();
        }
    }
}

/// Listens at `address` and answers from now on, on the current runtime.
pub async fn serve(served: Served, address: SocketAddr) -> Result<Server, CannotListen> {
    let cannot = |cause| CannotListen { address, cause };
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let (stop, stopped) = watch::channel(false);
    let app = Arc::new(App {
        served,
        rendering: Arc::new(Semaphore::new(RENDERED_AT_ONCE)),
        stopped: stopped.clone(),
    });
    let router = Router::new()
        .route("/", get(index))
        .route("/views", get(views))
        .route("/views/{view}", get(view))
        .route("/status", get(status))
        .route("/healthz", get(healthz))
        .fallback(nothing_here)
        .method_not_allowed_fallback(only_get)
        .with_state(app);
    let stopping = until_true(stopped);
    let server = axum::serve(listener, router).with_graceful_shutdown(stopping);
    let task = tokio::spawn(server.into_future());
    Ok(Server {
        address,
        stop,
        task,
    })
}

async fn until_true(mut flag: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is as good as being told to stop.
    let _ = flag.wait_for(|stop| *stop).await;
}

struct App {
    served: Served,
    rendering: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

type Answered = Result<Response, Failure>;

async fn index(State(app): State<Arc<App>>) -> Response {
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

async fn views(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answered {
    let asked = Asked::parse(&["format", "wait"], query.as_deref(), &headers)?;
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

async fn view(
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
    spawn_blocking(move || {
        // Even if the client has gone meanwhile, the work counts until it is done.
        let _permit = permit;
        answer(&served, &name, &asked)
    })
    .await
    .unwrap_or_else(|panic| Err(Failure::cannot_write(panic)))
}

/// The rows that were asked for.
fn answer(served: &Served, name: &str, asked: &Asked) -> Answered {
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
        return Ok(not_modified(view.epoch, Some(etag)));
    }
    let limit = asked.limit.unwrap_or(usize::MAX);
    let (rows, row_count) = match &asked.condition {
        None => (view.first_rows(limit), view.row_count()),
        Some(condition) => {
            let rows = filter(&served.session, &view.rows(), condition).map_err(|error| {
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
    Ok((at_epoch(view.epoch), of_type(asked.format), headers, body).into_response())
}

async fn status(State(app): State<Arc<App>>) -> Answered {
    let served = app.served.clone();
    let sample = spawn_blocking(move || served.status.sample(&served.store, (served.now_ms)()))
        .await
        .map_err(Failure::cannot_write)?;
    let body = serde_json::to_string_pretty(&sample).map_err(Failure::cannot_write)? + "\n";
    Ok((at_epoch(sample.epoch), of_type(Format::Json), body).into_response())
}

async fn healthz(State(app): State<Arc<App>>) -> Response {
    match app.served.status.complaint((app.served.now_ms)()) {
        None => "ok\n".into_response(),
        Some(complaint) => (StatusCode::SERVICE_UNAVAILABLE, complaint + "\n").into_response(),
    }
}

async fn nothing_here() -> Failure {
    Failure {
        status: StatusCode::NOT_FOUND,
        error: "there is nothing here".to_owned(),
        hint: "GET / says what there is".to_owned(),
    }
}

async fn only_get() -> Failure {
    Failure {
        status: StatusCode::METHOD_NOT_ALLOWED,
        error: "views and status can be read only".to_owned(),
        hint: "ask with GET".to_owned(),
    }
}

impl App {
    /// The store's lock is held for as long as an epoch takes to apply: not to be waited for on the threads that
    /// serve connections.
    async fn cut(&self) -> Cut {
        let store = Arc::clone(&self.served.store);
        spawn_blocking(move || store.cut())
            .await
            .expect("taking a cut does not panic")
    }

    /// Waits until the condition holds after some epoch; false if that took too long, or the server stops.
    async fn wait(&self, condition: impl Fn(Epoch) -> bool) -> bool {
        let mut epochs = self.served.store.subscribe();
        tokio::select! {
            seen = epochs.wait_for(|epoch| condition(*epoch)) => seen.is_ok(),
            () = tokio::time::sleep(self.served.wait_at_most) => false,
            () = until_true(self.stopped.clone()) => false,
        }
    }
}

/// What a request asks for.
#[derive(Debug)]
struct Asked {
    format: Format,
    condition: Option<String>,
    limit: Option<usize>,
    wait: Option<Epoch>,
    changed_after: Option<Epoch>,
    if_none_match: Option<HeaderValue>,
}

impl Asked {
    fn parse(known: &[&str], query: Option<&str>, headers: &HeaderMap) -> Result<Asked, Failure> {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let mut asked = Asked {
            format: Format::accepted(accept.unwrap_or("")),
            condition: None,
            limit: None,
            wait: None,
            changed_after: None,
            if_none_match: headers.get(IF_NONE_MATCH).cloned(),
        };
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
            match known.iter().find(|known| **known == name) {
                Some(&"format") => {
                    let refuse =
                        |error| Failure::bad_request(error, "the default is json".to_owned());
                    asked.format = value.parse().map_err(refuse)?;
                }
                Some(&"where") => asked.condition = Some(value.into_owned()),
                Some(&"limit") => asked.limit = Some(number("limit", &value)?),
                Some(&"wait") => asked.wait = Some(number("wait", &value)?),
                Some(&"changed_after") => {
                    asked.changed_after = Some(number("changed_after", &value)?)
                }
                _ => {
                    let hint = match nearest(&name, known.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("there are {}", known.join(", ")),
                    };
                    let error = format!("there is no parameter `{name}` here");
                    return Err(Failure::bad_request(error, hint));
                }
            }
        }
        Ok(asked)
    }

    /// Whether the client has the answer with this tag.
    fn has(&self, etag: &HeaderValue) -> bool {
        let (Some(tags), Ok(etag)) = (&self.if_none_match, etag.to_str()) else {
            return false;
        };
        let tags = tags.to_str().unwrap_or("");
        tags.split(',')
            .any(|tag| tag.trim() == etag || tag.trim() == "*")
    }
}

fn number<N: std::str::FromStr>(name: &str, value: &str) -> Result<N, Failure> {
    value.parse().map_err(|_| {
        let error = format!("`{name}={value}` is not a whole number from 0 on");
        Failure::bad_request(error, format!("for example `{name}=10`"))
    })
}

fn at_epoch(epoch: Epoch) -> [(HeaderName, HeaderValue); 1] {
    [(EPOCH_HEADER, HeaderValue::from(epoch))]
}

fn of_type(format: Format) -> [(HeaderName, HeaderValue); 1] {
    [(CONTENT_TYPE, HeaderValue::from_static(format.media_type()))]
}

fn not_modified(epoch: Epoch, etag: Option<HeaderValue>) -> Response {
    let mut response = (StatusCode::NOT_MODIFIED, at_epoch(epoch)).into_response();
    if let Some(etag) = etag {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// An answer that is not what was asked for.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    error: String,
    hint: String,
}

impl Failure {
    fn bad_request(error: impl ToString, hint: String) -> Failure {
        Failure {
            status: StatusCode::BAD_REQUEST,
            error: error.to_string(),
            hint,
        }
    }

    fn cannot_write(cause: impl ToString) -> Failure {
        Failure {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: format!("the answer cannot be written: {}", cause.to_string()),
            hint: "this is a defect: please report it, with the request".to_owned(),
        }
    }
}

impl From<NoSuchView> for Failure {
    fn from(error: NoSuchView) -> Failure {
        let hint = match &error.nearest {
            Some(near) => format!("did you mean `{near}`?"),
            None => "GET /views lists the views".to_owned(),
        };
        Failure {
            status: StatusCode::NOT_FOUND,
            error: error.to_string(),
            hint,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = format!("{}\n", json!({ "error": self.error, "hint": self.hint }));
        (self.status, of_type(Format::Json), body).into_response()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use arrow::array::{Int64Array, StringViewArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::ipc::reader::StreamReader;
    use expect_test::{Expect, expect};

    use super::super::client::{Fetched, fetch_with};
    use super::super::status::{Health, RunDescription};
    use super::super::store::ViewSpec;
    use super::*;
    use crate::delta::{Delta, Diff};

    /// A server on a port of its own, with two views.
    pub(in super::super) struct Running {
        runtime: tokio::runtime::Runtime,
        pub(in super::super) server: Server,
        pub(in super::super) store: Arc<LiveStore>,
        status: Arc<Status>,
        now_ms: Arc<AtomicU64>,
    }

    /// Changes of a view of categories with their posts.
    pub(in super::super) fn delta(changes: &[(&str, i64, Diff)]) -> Delta {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from_iter_values(
                changes.iter().map(|change| change.0),
            )),
            Arc::new(Int64Array::from_iter_values(
                changes.iter().map(|change| change.1),
            )),
        ];
        Delta {
            rows: RecordBatch::try_new(schema(), columns).unwrap(),
            diffs: changes.iter().map(|change| change.2).collect(),
        }
    }

    fn schema() -> Arc<Schema> {
        Arc::new(Schema::new(vec![
            Field::new("category", DataType::Utf8View, true),
            Field::new("posts", DataType::Int64, true),
        ]))
    }

    impl Running {
        /// Requests that wait for an epoch do so for at most this long.
        pub(in super::super) fn start(wait_at_most: Duration) -> Running {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            let view = |name: &str| ViewSpec {
                name: name.to_owned(),
                schema: schema(),
                key: vec![0],
            };
            let views = vec![view("posts_by_category"), view("top_category")];
            let store = Arc::new(LiveStore::new(views).unwrap());
            store.publish(
                7,
                vec![(0, delta(&[("quotes", 70, 1), ("art", 3, 1), ("a,b", 5, 1)]))],
            );
            let run = RunDescription {
                source: "test:".to_owned(),
                lake: "lake".to_owned(),
                workers: 1,
            };
            let status = Arc::new(Status::new(run, &["pin"], 0x1000));
            status.set_health(Health::Healthy);
            let now_ms = Arc::new(AtomicU64::new(0x2000));
            let clock = Arc::clone(&now_ms);
            let served = Served {
                store: Arc::clone(&store),
                status: Arc::clone(&status),
                now_ms: Arc::new(move || clock.load(Ordering::Relaxed)),
                session: Arc::new(Session::new()),
                wait_at_most,
            };
            let address = SocketAddr::from(([127, 0, 0, 1], 0));
            let server = runtime.block_on(serve(served, address)).unwrap();
            Running {
                runtime,
                server,
                store,
                status,
                now_ms,
            }
        }

        pub(in super::super) fn stop(self) {
            self.runtime.block_on(self.server.stop());
        }

        fn get(&self, path: &str, headers: &[(&str, &str)]) -> Fetched {
            let address = self.server.address();
            fetch_with(
                &[address],
                "localhost",
                path,
                headers,
                Duration::from_secs(20),
            )
            .unwrap()
        }

        fn check(&self, path: &str, status: u16, expected: Expect) {
            let fetched = self.get(path, &[]);
            expected.assert_eq(&String::from_utf8(fetched.body).unwrap());
            assert_eq!(fetched.status, status);
        }
    }

    const SOON: Duration = Duration::from_millis(30);
    const LATE: Duration = Duration::from_secs(20);

    #[test]
    fn a_view_is_json_unless_another_format_is_asked_for() {
        let running = Running::start(SOON);
        running.check(
            "/views/posts_by_category",
            200,
            expect![[r#"
            {"view":"posts_by_category","epoch":7,"row_count":3,"rows":[
            {"category":"a,b","posts":5},
            {"category":"art","posts":3},
            {"category":"quotes","posts":70}
            ]}
        "#]],
        );
        running.check(
            "/views/posts_by_category?format=csv",
            200,
            expect![[r#"
            category,posts
            "a,b",5
            art,3
            quotes,70
        "#]],
        );
        running.check(
            "/views/top_category?format=table",
            200,
            expect![[r#"
            +----------+-------+
            | category | posts |
            +----------+-------+
            +----------+-------+
            0 rows at epoch 7
        "#]],
        );
        let csv = running.get("/views/posts_by_category", &[("accept", "text/csv")]);
        assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
        assert_eq!(csv.header("x-pinflow-epoch"), Some("7"));
        assert!(csv.body.starts_with(b"category,posts\n"));
        let accept = [("accept", "application/vnd.apache.arrow.stream")];
        let arrow = running.get("/views/posts_by_category", &accept);
        let batches: Vec<_> = StreamReader::try_new(arrow.body.as_slice(), None)
            .unwrap()
            .collect();
        assert_eq!(
            batches[0].as_ref().unwrap(),
            &running.store.snapshot("posts_by_category").unwrap().rows
        );
        running.stop();
    }

    #[test]
    fn a_condition_and_a_limit_choose_rows_and_the_number_of_all_is_told() {
        let running = Running::start(SOON);
        let path =
            "/views/posts_by_category?where=posts%20%3E+3%20and+category+is%20not%20null&limit=1";
        running.check(
            path,
            200,
            expect![[r#"
            {"view":"posts_by_category","epoch":7,"row_count":2,"rows":[
            {"category":"a,b","posts":5}
            ]}
        "#]],
        );
        assert_eq!(
            running.get(path, &[]).header("x-pinflow-row-count"),
            Some("2")
        );
        running.check(
            "/views/posts_by_category?limit=1&format=table",
            200,
            expect![[r#"
                +----------+-------+
                | category | posts |
                +----------+-------+
                | a,b      |     5 |
                +----------+-------+
                the first 1 of 3 rows at epoch 7
            "#]],
        );
        running.stop();
    }

    #[test]
    fn a_request_that_cannot_be_met_is_told_why_and_what_to_do() {
        let running = Running::start(SOON);
        running.check("/views/post_by_category", 404, expect![[r#"
            {"error":"there is no view `post_by_category`","hint":"did you mean `posts_by_category`?"}
        "#]]);
        running.check(
            "/views/weather?wait=100",
            404,
            expect![[r#"
            {"error":"there is no view `weather`","hint":"GET /views lists the views"}
        "#]],
        );
        running.check("/views/top_category?where=likes%3E1", 400, expect![[r#"
            {"error":"the condition `likes>1` cannot be evaluated: No field named likes. Valid fields are category, posts","hint":"write one SQL condition over the columns category TEXT, posts BIGINT"}
        "#]]);
        running.check(
            "/views/top_category?where=true;drop%20table%20pin",
            400,
            expect![[r#"
                {"error":"the condition `true;drop table pin` cannot be evaluated: Expected: end of expression, found: ; at Line: 1, Column: 5","hint":"write one SQL condition over the columns category TEXT, posts BIGINT"}
            "#]],
        );
        running.check(
            "/views/top_category?limit=-1",
            400,
            expect![[r#"
            {"error":"`limit=-1` is not a whole number from 0 on","hint":"for example `limit=10`"}
        "#]],
        );
        running.check("/views/top_category?format=xml", 400, expect![[r#"
            {"error":"there is no format `xml`: write json, csv, arrow or table","hint":"the default is json"}
        "#]]);
        running.check(
            "/views/top_category?limits=1",
            400,
            expect![[r#"
            {"error":"there is no parameter `limits` here","hint":"did you mean `limit`?"}
        "#]],
        );
        running.check(
            "/views?where=true",
            400,
            expect![[r#"
            {"error":"there is no parameter `where` here","hint":"there are format, wait"}
        "#]],
        );
        running.check(
            "/favicon.ico",
            404,
            expect![[r#"
            {"error":"there is nothing here","hint":"GET / says what there is"}
        "#]],
        );
        running.stop();
    }

    #[test]
    fn the_views_are_listed_at_one_epoch() {
        let running = Running::start(SOON);
        running.check(
            "/views",
            200,
            expect![[r#"
                {
                  "epoch": 7,
                  "views": [
                    {
                      "name": "posts_by_category",
                      "rows": 3,
                      "epoch": 7,
                      "changed": 7,
                      "columns": [
                        {
                          "name": "category",
                          "type": "TEXT"
                        },
                        {
                          "name": "posts",
                          "type": "BIGINT"
                        }
                      ]
                    },
                    {
                      "name": "top_category",
                      "rows": 0,
                      "epoch": 7,
                      "changed": 0,
                      "columns": [
                        {
                          "name": "category",
                          "type": "TEXT"
                        },
                        {
                          "name": "posts",
                          "type": "BIGINT"
                        }
                      ]
                    }
                  ]
                }
            "#]],
        );
        running.check(
            "/views?format=table",
            200,
            expect![[r#"
            +-------------------+------+-----------------------------+
            | view              | rows | columns                     |
            +-------------------+------+-----------------------------+
            | posts_by_category |    3 | category TEXT, posts BIGINT |
            | top_category      |    0 | category TEXT, posts BIGINT |
            +-------------------+------+-----------------------------+
            2 rows at epoch 7
        "#]],
        );
        running.check(
            "/",
            200,
            expect![[r#"
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

            Views at epoch 7:

              /views/posts_by_category
              /views/top_category
        "#]],
        );
        running.stop();
    }

    #[test]
    fn a_view_is_sent_again_only_when_it_changed() {
        let running = Running::start(SOON);
        let path = "/views/posts_by_category";
        let first = running.get(path, &[]);
        let etag = first.header("etag").unwrap().to_owned();
        let again = |etag: &str| running.get(path, &[("if-none-match", etag)]);
        running.store.publish(8, vec![]);
        let unchanged = again(&etag);
        assert_eq!(
            (unchanged.status, unchanged.header("x-pinflow-epoch")),
            (304, Some("8"))
        );
        assert_eq!(unchanged.header("etag"), Some(etag.as_str()));
        running
            .store
            .publish(9, vec![(0, delta(&[("art", 3, -1)]))]);
        assert_eq!(again(&etag).status, 200);
        assert_eq!(again("*").status, 304);
        running.stop();
    }

    #[test]
    fn who_waits_is_answered_when_there_is_something_new() {
        let running = Running::start(LATE);
        std::thread::scope(|scope| {
            let epoch = scope.spawn(|| running.get("/views/top_category?wait=7", &[]));
            let list = scope.spawn(|| running.get("/views?wait=7", &[]));
            running
                .store
                .publish(8, vec![(0, delta(&[("art", 3, -1), ("art", 4, 1)]))]);
            for answer in [epoch, list].map(|thread| thread.join().unwrap()) {
                assert_eq!(
                    (answer.status, answer.header("x-pinflow-epoch")),
                    (200, Some("8"))
                );
            }
            let change = scope.spawn(|| running.get("/views/top_category?changed_after=7", &[]));
            running
                .store
                .publish(9, vec![(0, delta(&[("art", 4, -1)]))]);
            running
                .store
                .publish(10, vec![(1, delta(&[("art", 3, 1)]))]);
            let answer = change.join().unwrap();
            assert_eq!(
                (answer.status, answer.header("x-pinflow-epoch")),
                (200, Some("10"))
            );
        });
        running.stop();
    }

    #[test]
    fn who_waits_too_long_is_sent_away() {
        let running = Running::start(SOON);
        for path in [
            "/views/top_category?wait=7",
            "/views/top_category?changed_after=7",
            "/views?wait=7",
        ] {
            let answer = running.get(path, &[]);
            assert_eq!(
                (answer.status, answer.header("x-pinflow-epoch")),
                (304, Some("7")),
                "{path}"
            );
        }
        running.stop();
    }

    #[test]
    fn a_server_that_stops_does_not_wait_for_those_who_wait() {
        let running = Running::start(LATE);
        let address = running.server.address();
        std::thread::scope(|scope| {
            let (connected, is_connected) = std::sync::mpsc::channel();
            let waiter = scope.spawn(move || {
                use std::io::{Read, Write};
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                stream
                    .write_all(b"GET /views?wait=7 HTTP/1.1\r\nhost: x\r\n\r\n")
                    .unwrap();
                connected.send(()).unwrap();
                let mut answer = String::new();
                let _ = stream.read_to_string(&mut answer);
            });
            is_connected.recv().unwrap();
            let start = std::time::Instant::now();
            running.stop();
            assert!(start.elapsed() < LATE / 2);
            waiter.join().unwrap();
        });
        assert!(std::net::TcpStream::connect(address).is_err());
    }

    #[test]
    fn health_is_a_status_code_and_a_reason() {
        let running = Running::start(SOON);
        running.check(
            "/healthz",
            200,
            expect![[r#"
            ok
        "#]],
        );
        running
            .status
            .set_health(Health::Ailing("the lake is away".to_owned()));
        running.check(
            "/healthz",
            503,
            expect![[r#"
            the lake is away
        "#]],
        );
        running.status.set_health(Health::Healthy);
        running.now_ms.store(0x2000 + 3_600_000, Ordering::Relaxed);
        running.check(
            "/healthz",
            503,
            expect![[r#"
            no epoch has closed for 3604 s
        "#]],
        );
        running.stop();
    }

    #[test]
    fn the_status_is_json() {
        let running = Running::start(SOON);
        running.status.read(0, 12, 1200);
        let answer = running.get("/status", &[]);
        let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(status["streams"][0]["records"], 12);
        assert_eq!(status["views"][0]["rows"], 3);
        assert_eq!(status["epoch"], 7);
        assert_eq!(status["uptime_ms"], 0x1000);
        running.stop();
    }

    #[test]
    fn an_address_in_use_is_an_error_that_says_so() {
        let running = Running::start(SOON);
        let address = running.server.address();
        let served = Served {
            store: Arc::clone(&running.store),
            status: Arc::clone(&running.status),
            now_ms: Arc::new(|| 0),
            session: Arc::new(Session::new()),
            wait_at_most: SOON,
        };
        let error = running
            .runtime
            .block_on(serve(served, address))
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!(
                "cannot answer HTTP at {address}: Address already in use"
            )),
            "{text}"
        );
        assert!(
            text.ends_with("choose another address with --http"),
            "{text}"
        );
        running.stop();
    }
}
