//! Not a test but a stopwatch: the figures in the docs come from here.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema};

use crate::delta::{Delta, Diff};
use crate::serve::store::{LiveStore, ViewSpec};

/// `posts_by_half_hour_category` as it is after a million posts.
#[test]
#[ignore = "measures; run it alone with --release --nocapture"]
fn measure_a_large_view() {
    let schema = Arc::new(Schema::new(vec![
        Field::new(
            "window_start",
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
            true,
        ),
        Field::new("category", DataType::Utf8View, true),
        Field::new("posts", DataType::Int64, false),
    ]));
    let categories = [
        "christmas",
        "art",
        "home-decor",
        "mens-fashion",
        "tattoos",
        "quotes",
        "finance",
    ];
    let batch = |windows: std::ops::Range<i64>, posts: i64, diff: Diff| {
        let cells = windows.flat_map(|window| categories.map(|category| (window, category)));
        let (windows, categories): (Vec<_>, Vec<_>) = cells
            .map(|(w, c)| (w * 1_800_000_000 + 1_500_000_000_000_000, c))
            .unzip();
        let count = windows.len();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(windows)),
            Arc::new(StringViewArray::from(categories)),
            Arc::new(Int64Array::from(vec![posts; count])),
        ];
        let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        Delta {
            rows,
            diffs: vec![diff; count],
        }
    };
    let view = ViewSpec {
        name: "v".to_owned(),
        schema: Arc::clone(&schema),
        key: vec![0, 1],
        appended: false,
    };
    let store = LiveStore::new(vec![view]).unwrap();
    // The thread's own time on a processor, so that other work on the machine does not count.
    let cpu_ns = || -> u64 {
        let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        times.split(' ').next().unwrap().parse().unwrap()
    };
    let time = |what: &str, count: u64, run: &mut dyn FnMut()| {
        let start = cpu_ns();
        run();
        let took = cpu_ns() - start;
        println!(
            "{what}: {:.2} ms, {} ns each",
            took as f64 / 1e6,
            took / count
        );
    };
    let inserts: Vec<Delta> = (0..100)
        .map(|i| batch(i * 1000..(i + 1) * 1000, 1, 1))
        .collect();
    time("700,000 inserts in epochs of 7,000", 700_000, &mut || {
        for (epoch, delta) in std::iter::zip(1.., &inserts) {
            store.publish(epoch, vec![(0, delta.clone())]);
        }
    });
    println!("{:.1} bytes a row", store.memory() as f64 / 700_000.0);
    let updates: Vec<_> = (0..100)
        .map(|i| {
            let windows = i * 1000..(i + 1) * 1000;
            vec![
                (0, batch(windows.clone(), 2, 1)),
                (0, batch(windows, 1, -1)),
            ]
        })
        .collect();
    time(
        "1,400,000 changes in epochs of 14,000",
        1_400_000,
        &mut || {
            for (epoch, deltas) in std::iter::zip(200.., &updates) {
                store.publish(epoch, deltas.clone());
            }
        },
    );
    println!("{:.1} bytes a row", store.memory() as f64 / 700_000.0);
    time("cut", 1, &mut || drop(store.cut()));
    time("snapshot", 1, &mut || drop(store.snapshot("v").unwrap()));
    time("first 20 rows", 1, &mut || {
        drop(store.view("v").unwrap().first_rows(20))
    });
    let held = store.cut();
    time("one change while a reader holds the view", 1, &mut || {
        store.publish(1000, vec![(0, batch(5..6, 3, 1))]);
    });
    drop(held);
    time("dirty, all decoded", 1, &mut || {
        for bucket in store.dirty_buckets("v").unwrap().buckets {
            drop(bucket.rows());
        }
    });
    let fresh = LiveStore::new(vec![ViewSpec {
        name: "v".to_owned(),
        schema: Arc::clone(&schema),
        key: vec![0, 1],
        appended: false,
    }])
    .unwrap();
    let all = batch(0..100_000, 1, 1);
    time("700,000 inserts at once", 700_000, &mut || {
        fresh.publish(1, vec![(0, all.clone())])
    });
    println!("{:.1} bytes a row", fresh.memory() as f64 / 700_000.0);
}
