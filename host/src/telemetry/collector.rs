//! The part of the metrics page that OpenTelemetry cannot observe at a scrape: histograms, and the series whose
//! labels traffic makes. Written as a collector of the same registry, from the counters as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Histogram as HistogramProto, LabelPair, Metric, MetricFamily, MetricType};

use super::Telemetry;
use super::histogram::Histogram;
use super::routes::{MethodData, OTHER};

/// Name and help of one family.
type Family = (&'static str, &'static str);

const REQUESTS: Family = ("gpanel_proxy_requests_total", "Finished requests by method, route pattern and status.");
const DURATION: Family = (
    "gpanel_proxy_request_duration_seconds",
    "Time from the request's head to the response's last byte, by method and route pattern.",
);
const REQUEST_SIZE: Family =
    ("gpanel_proxy_request_size_bytes", "Size of request bodies, by method and route pattern.");
const RESPONSE_SIZE: Family =
    ("gpanel_proxy_response_size_bytes", "Size of response bodies, by method and route pattern.");
const BACKEND_TIME: Family =
    ("gpanel_proxy_backend_response_time_seconds", "Time from an attempt's begin to the backend's response head.");

/// Collects what traffic labels.
pub(super) struct TrafficCollector {
    telemetry: Arc<Telemetry>,
    descriptions: Vec<Desc>,
}

impl TrafficCollector {
    pub(super) fn new(telemetry: Arc<Telemetry>) -> prometheus::Result<Self> {
        let route: &[&str] = &["method", "path"];
        let families = [
            (REQUESTS, &["method", "path", "status"][..]),
            (DURATION, route),
            (REQUEST_SIZE, route),
            (RESPONSE_SIZE, route),
            (BACKEND_TIME, &["backend"]),
        ];
        let descriptions = families
            .into_iter()
            .map(|((name, help), labels)| {
                let labels = labels.iter().map(ToString::to_string).collect();
                Desc::new(name.into(), help.into(), labels, std::collections::HashMap::new())
            })
            .collect::<prometheus::Result<_>>()?;
        Ok(Self { telemetry, descriptions })
    }
}

impl Collector for TrafficCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut routes = BTreeMap::new();
        let mut backends = BTreeMap::new();
        for worker in self.telemetry.workers() {
            worker.routes().merge(&mut routes);
            worker.backends().merge(&mut backends);
        }
        let by_route = |pick: fn(&MethodData) -> HistogramProto| {
            let metric = |((path, method), data): (&(Box<str>, &'static str), &MethodData)| {
                histogram_metric(&[("method", method), ("path", path)], pick(data))
            };
            routes.iter().map(metric).collect()
        };
        let times = backends.iter().map(|(name, totals)| histogram_metric(&[("backend", name)], proto(&totals.time)));
        vec![
            family(REQUESTS, MetricType::COUNTER, requests(&routes)),
            family(DURATION, MetricType::HISTOGRAM, by_route(|data| proto(&data.duration))),
            family(REQUEST_SIZE, MetricType::HISTOGRAM, by_route(|data| proto(&data.request_size))),
            family(RESPONSE_SIZE, MetricType::HISTOGRAM, by_route(|data| proto(&data.response_size))),
            family(BACKEND_TIME, MetricType::HISTOGRAM, times.collect()),
        ]
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus counts in f64")]
fn requests(routes: &BTreeMap<(Box<str>, &'static str), MethodData>) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for ((path, method), data) in routes {
        for (status, count) in &data.statuses {
            let status = if *status == 0 { OTHER.into() } else { status.to_string() };
            let mut counter = Counter::default();
            counter.set_value(*count as f64);
            let mut metric = Metric::from_label(labels(&[("method", method), ("path", path), ("status", &status)]));
            metric.set_counter(counter);
            metrics.push(metric);
        }
    }
    metrics
}

fn family((name, help): Family, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).into());
        pair.set_value((*value).into());
        pair
    };
    pairs.iter().map(pair).collect()
}

fn histogram_metric(pairs: &[(&str, &str)], histogram: HistogramProto) -> Metric {
    let mut metric = Metric::from_label(labels(pairs));
    metric.set_histogram(histogram);
    metric
}

fn proto<const N: usize>(histogram: &Histogram<N>) -> HistogramProto {
    let bucket = |(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut proto = HistogramProto::default();
    proto.set_sample_count(histogram.count());
    proto.set_sample_sum(histogram.sum());
    proto.set_bucket(histogram.cumulative().map(bucket).collect());
    proto
}
