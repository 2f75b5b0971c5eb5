//! The server from outside, over a socket of its own.

mod around;
mod rows;
mod waiting;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use expect_test::Expect;

use super::{Served, Server, serve};
use crate::delta::{Delta, Diff};
use crate::serve::client::{Fetched, fetch_with};
use crate::serve::status::{RunDescription, Status};
use crate::serve::store::{LiveStore, ViewSpec};
use crate::sql::Session;

/// A server on a port of its own, with two views.
pub(in crate::serve) struct Running {
    runtime: tokio::runtime::Runtime,
    pub(in crate::serve) server: Server,
    pub(in crate::serve) store: Arc<LiveStore>,
    status: Arc<Status>,
    now_ms: Arc<AtomicU64>,
}

/// Changes of a view of categories with their posts.
pub(in crate::serve) fn delta(changes: &[(&str, i64, Diff)]) -> Delta {
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
    pub(in crate::serve) fn start(wait_at_most: Duration) -> Running {
        let running = Running::loading(wait_at_most);
        running.status.closed(7, 0x2000);
        running
    }

    /// The same before its state is loaded.
    pub(in crate::serve) fn loading(wait_at_most: Duration) -> Running {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let view = |name: &str| ViewSpec {
            name: name.to_owned(),
            schema: schema(),
            key: vec![0],
            appended: false,
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
            commit_every_ms: 10_000,
        };
        let status = Arc::new(Status::new(run, &["pin"], 0x1000));
        let now_ms = Arc::new(AtomicU64::new(0x2000));
        let clock = Arc::clone(&now_ms);
        let served = Served {
            store: Arc::clone(&store),
            status: Arc::clone(&status),
            now_ms: Arc::new(move || clock.load(Ordering::Relaxed)),
            session: Arc::new(Session::new()),
            wait_at_most,
            hosts: Vec::new(),
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

    pub(in crate::serve) fn stop(self) {
        self.runtime.block_on(self.server.stop());
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Fetched {
        self.get_from("localhost", path, headers)
    }

    /// Asks a server that is believed to be called `host`.
    fn get_from(&self, host: &str, path: &str, headers: &[(&str, &str)]) -> Fetched {
        let address = self.server.address();
        fetch_with(&[address], host, path, headers, Duration::from_secs(20)).unwrap()
    }

    fn check(&self, path: &str, status: u16, expected: Expect) {
        let fetched = self.get(path, &[]);
        expected.assert_eq(&String::from_utf8(fetched.body).unwrap());
        assert_eq!(fetched.status, status);
    }
}

const SOON: Duration = Duration::from_millis(30);
const LATE: Duration = Duration::from_secs(20);
