//! The text format of Prometheus (0.0.4).
//!
//! The metrics library writes OpenMetrics, where the family of a counter lacks the `_total` of its samples.
//! Scrapers of the older format, which is upstream's, would not know the type of such a counter.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// Content type of upstream's answer.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// All metrics as text.
pub(super) fn text(registry: &Registry) -> Result<String, std::fmt::Error> {
    let mut open_metrics = String::new();
    encode(&mut open_metrics, registry)?;
    Ok(from_open_metrics(&open_metrics))
}

fn from_open_metrics(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 1024);
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, words)) = help.take() {
                text.push_str(&format!("# HELP {name}{suffix} {words}\n"));
            }
            text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            // Whole bounds of buckets have no fraction.
            match line.split_once("le=\"") {
                Some((before, bound)) => {
                    text.push_str(before);
                    text.push_str("le=\"");
                    text.push_str(&bound.replacen(".0\"", "\"", 1));
                }
                None => text.push_str(line),
            }
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::histogram::Histogram;

    use super::*;

    #[test]
    fn counters_and_buckets_are_written_as_upstream_writes_them() {
        let mut registry = Registry::default();
        registry.register(
            "grpc_server_started",
            "Total number of RPCs started on the server",
            Counter::<u64>::default(),
        );
        registry.register("sizes", "Sizes", Histogram::new([0.5, 1.0, 100.0]));
        let text = text(&registry).unwrap();
        assert!(text.contains(
            "# HELP grpc_server_started_total Total number of RPCs started on the server.\n\
             # TYPE grpc_server_started_total counter\n\
             grpc_server_started_total 0\n"
        ));
        assert!(text.contains("# TYPE sizes histogram\n"));
        for bound in ["0.5", "1", "100", "+Inf"] {
            assert!(text.contains(&format!("sizes_bucket{{le=\"{bound}\"}} 0\n")), "{bound}:\n{text}");
        }
        assert!(!text.contains("# EOF"));
    }
}
