//! What the front doors count, for Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Every route by method and path; what is none of them is counted as the last one.
const ROUTES: [(&str, &str); 29] = [
    ("GET", "/topics"),
    ("GET", "/topics/{topic}"),
    ("POST", "/topics/{topic}"),
    ("GET", "/topics/{topic}/partitions"),
    ("GET", "/topics/{topic}/partitions/{partition}"),
    ("POST", "/topics/{topic}/partitions/{partition}"),
    ("GET", "/topics/{topic}/partitions/{partition}/offsets"),
    ("POST", "/consumers/{group}"),
    ("DELETE", "/consumers/{group}/instances/{instance}"),
    (
        "GET",
        "/consumers/{group}/instances/{instance}/subscription",
    ),
    (
        "POST",
        "/consumers/{group}/instances/{instance}/subscription",
    ),
    (
        "DELETE",
        "/consumers/{group}/instances/{instance}/subscription",
    ),
    ("GET", "/consumers/{group}/instances/{instance}/assignments"),
    (
        "POST",
        "/consumers/{group}/instances/{instance}/assignments",
    ),
    ("GET", "/consumers/{group}/instances/{instance}/records"),
    ("GET", "/consumers/{group}/instances/{instance}/offsets"),
    ("POST", "/consumers/{group}/instances/{instance}/offsets"),
    ("POST", "/consumers/{group}/instances/{instance}/positions"),
    (
        "POST",
        "/consumers/{group}/instances/{instance}/positions/beginning",
    ),
    (
        "POST",
        "/consumers/{group}/instances/{instance}/positions/end",
    ),
    ("GET", "/streams"),
    ("GET", "/streams/{stream}"),
    ("POST", "/streams/{stream}"),
    ("DELETE", "/streams/{stream}"),
    ("PUT", "/streams/{stream}/record"),
    ("PUT", "/streams/{stream}/records"),
    ("GET", "/streams/{stream}/sharditerator"),
    ("GET", "/streams/{stream}/records"),
    ("any", "other"),
];

/// Upper bounds of the histogram's buckets, in microseconds.
const BUCKETS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// What a handler counted, on its way out in the answer's extensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Records that are durable now.
    pub kept: u64,
    /// Records that were refused.
    pub refused: u64,
    /// Records that were read.
    pub read: u64,
    /// Bytes of the body that came.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Route {
    statuses: [AtomicU64; 6],
    kept: AtomicU64,
    refused: AtomicU64,
    read: AtomicU64,
    bytes: AtomicU64,
    buckets: [AtomicU64; BUCKETS.len()],
    micros: AtomicU64,
}

/// All counters.
#[derive(Debug, Default)]
pub struct Metrics {
    routes: [Route; ROUTES.len()],
}

impl Metrics {
    /// Counts an answered request.
    pub fn count(&self, method: &str, path: &str, status: u16, took: Duration, counted: Counted) {
        let known = ROUTES.iter().position(|route| *route == (method, path));
        let route = &self.routes[known.unwrap_or(ROUTES.len() - 1)];
        let class = usize::from(status / 100).min(route.statuses.len() - 1);
        route.statuses[class].fetch_add(1, Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = BUCKETS.iter().position(|bound| micros <= *bound) {
            route.buckets[bucket].fetch_add(1, Relaxed);
        }
        route.micros.fetch_add(micros, Relaxed);
        for (counter, more) in [
            (&route.kept, counted.kept),
            (&route.refused, counted.refused),
            (&route.read, counted.read),
            (&route.bytes, counted.bytes),
        ] {
            if more > 0 {
                counter.fetch_add(more, Relaxed);
            }
        }
    }

    /// The counters as Prometheus reads them; routes that were never asked for are left out.
    pub fn render(&self) -> String {
        let mut text = String::new();
        self.family(
            &mut text,
            "requests_total",
            "counter",
            "Requests that were answered.",
            |text, name, labels, route| {
                for (class, count) in route.statuses.iter().enumerate() {
                    let count = count.load(Relaxed);
                    if count > 0 {
                        let _ = writeln!(text, "{name}{{{labels},status=\"{class}xx\"}} {count}");
                    }
                }
            },
        );
        self.family(
            &mut text,
            "errors_total",
            "counter",
            "Requests that were answered with an error.",
            |text, name, labels, route| {
                let errors = route.statuses[4].load(Relaxed) + route.statuses[5].load(Relaxed);
                let _ = writeln!(text, "{name}{{{labels}}} {errors}");
            },
        );
        self.family(
            &mut text,
            "records_total",
            "counter",
            "Records that were kept, refused, or read.",
            |text, name, labels, route| {
                for (outcome, count) in [
                    ("kept", &route.kept),
                    ("refused", &route.refused),
                    ("read", &route.read),
                ] {
                    let count = count.load(Relaxed);
                    if count > 0 {
                        let _ = writeln!(text, "{name}{{{labels},outcome=\"{outcome}\"}} {count}");
                    }
                }
            },
        );
        self.family(
            &mut text,
            "received_bytes_total",
            "counter",
            "Bytes of bodies that came.",
            |text, name, labels, route| {
                let _ = writeln!(text, "{name}{{{labels}}} {}", route.bytes.load(Relaxed));
            },
        );
        self.family(
            &mut text,
            "request_seconds",
            "histogram",
            "How long requests took.",
            |text, name, labels, route| {
                let mut count = 0;
                for (bound, bucket) in BUCKETS.iter().zip(&route.buckets) {
                    count += bucket.load(Relaxed);
                    let bound = *bound as f64 / 1e6;
                    let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
                }
                let all = route.requests();
                let seconds = route.micros.load(Relaxed) as f64 / 1e6;
                let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {all}");
                let _ = writeln!(text, "{name}_sum{{{labels}}} {seconds}");
                let _ = writeln!(text, "{name}_count{{{labels}}} {all}");
            },
        );
        text
    }

    fn family(
        &self,
        text: &mut String,
        name: &str,
        kind: &str,
        help: &str,
        write: impl Fn(&mut String, &str, &str, &Route),
    ) {
        let name = format!("pinflow_gateway_{name}");
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for ((method, path), route) in ROUTES.iter().zip(&self.routes) {
            if route.requests() > 0 {
                let labels = format!("method=\"{method}\",route=\"{path}\"");
                write(text, &name, &labels, route);
            }
        }
    }
}

impl Route {
    fn requests(&self) -> u64 {
        self.statuses.iter().map(|count| count.load(Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_told_by_route() {
        let metrics = Metrics::default();
        let counted = Counted {
            kept: 2,
            refused: 1,
            read: 0,
            bytes: 99,
        };
        metrics.count(
            "POST",
            "/topics/{topic}",
            200,
            Duration::from_millis(3),
            counted,
        );
        metrics.count(
            "POST",
            "/topics/{topic}",
            422,
            Duration::from_secs(60),
            Counted::default(),
        );
        metrics.count("PATCH", "/x", 404, Duration::ZERO, Counted::default());
        let text = metrics.render();
        let labels = "method=\"POST\",route=\"/topics/{topic}\"";
        for line in [
            format!("pinflow_gateway_requests_total{{{labels},status=\"2xx\"}} 1"),
            format!("pinflow_gateway_errors_total{{{labels}}} 1"),
            format!("pinflow_gateway_records_total{{{labels},outcome=\"refused\"}} 1"),
            format!("pinflow_gateway_received_bytes_total{{{labels}}} 99"),
            format!("pinflow_gateway_request_seconds_bucket{{{labels},le=\"0.0025\"}} 0"),
            format!("pinflow_gateway_request_seconds_bucket{{{labels},le=\"0.005\"}} 1"),
            format!("pinflow_gateway_request_seconds_bucket{{{labels},le=\"+Inf\"}} 2"),
            format!("pinflow_gateway_request_seconds_sum{{{labels}}} 60.003"),
            "pinflow_gateway_requests_total{method=\"any\",route=\"other\",status=\"4xx\"} 1"
                .to_owned(),
        ] {
            assert!(text.lines().any(|there| there == line), "{line}\n{text}");
        }
    }
}
