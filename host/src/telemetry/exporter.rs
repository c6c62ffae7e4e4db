//! The metrics page.
//!
//! Counts and gauges are observable OpenTelemetry instruments: nothing happens until a scrape, when each reads
//! our counters; `opentelemetry-prometheus` puts them into a Prometheus registry. Two kinds go into the same
//! registry past OpenTelemetry (`collector`): histograms, because OpenTelemetry has no observable ones and
//! recording each request into its own would cost more than the whole of our counting; and the series per
//! route, because its limit on label sets is not ours. Units, suffixes and scope labels are switched off, so
//! that every name is exactly what is written here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::TextEncoder;

use super::backend::BackendTotals;
use super::collector::TrafficCollector;
use super::reloads::ReloadKind;
use super::sources::{FilterRow, QuicStats};
use super::worker::{ConnectionFailure, Listener, PROTOCOLS};
use super::{Telemetry, VERSION, process};

/// The content type of the page.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Characters of an error that the metric of refused reloads shows.
const ERROR_LENGTH: usize = 200;

/// Why there is no metrics page.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// The registry refused a collector.
    #[error("metrics registry")]
    Registry(#[from] prometheus::Error),
    /// The exporter could not be built.
    #[error("metrics exporter")]
    Exporter(#[from] OTelSdkError),
}

/// Renders the counters of a process for Prometheus.
pub struct Exporter {
    registry: prometheus::Registry,
    /// The instruments live as long as it does.
    _provider: SdkMeterProvider,
}

impl Exporter {
    /// Declares every metric.
    ///
    /// # Errors
    /// Two metrics of the same name: a mistake in this program.
    pub fn new(telemetry: &Arc<Telemetry>) -> Result<Self, ExporterError> {
        let registry = prometheus::Registry::new();
        registry.register(Box::new(TrafficCollector::new(Arc::clone(telemetry))?))?;
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_units()
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false)
            .build()?;
        let provider =
            SdkMeterProvider::builder().with_reader(reader).with_resource(Resource::builder_empty().build()).build();
        let declare = Declare { meter: provider.meter("gpanel-proxy"), telemetry: Arc::clone(telemetry) };
        connections(&declare);
        requests(&declare);
        quic(&declare);
        backends(&declare);
        filters(&declare);
        reloads(&declare);
        itself(&declare);
        process_metrics(&declare);
        Ok(Self { registry, _provider: provider })
    }

    /// The page in Prometheus' text format.
    ///
    /// # Errors
    /// A family is malformed: a mistake in this program.
    pub fn render(&self) -> Result<String, ExporterError> {
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }
}

/// Takes one value with its labels.
type Emit<'a, T> = &'a mut dyn FnMut(T, &[KeyValue]);

/// Declares instruments that read the counters when they are asked.
struct Declare {
    meter: Meter,
    telemetry: Arc<Telemetry>,
}

impl Declare {
    fn counter(&self, name: &'static str, help: &'static str, read: fn(&Telemetry, Emit<'_, u64>)) {
        let telemetry = Arc::clone(&self.telemetry);
        self.meter
            .u64_observable_counter(name)
            .with_description(help)
            .with_callback(move |observer| read(&telemetry, &mut |value, labels| observer.observe(value, labels)))
            .build();
    }

    fn seconds(&self, name: &'static str, help: &'static str, read: fn(&Telemetry, Emit<'_, f64>)) {
        let telemetry = Arc::clone(&self.telemetry);
        self.meter
            .f64_observable_counter(name)
            .with_description(help)
            .with_callback(move |observer| read(&telemetry, &mut |value, labels| observer.observe(value, labels)))
            .build();
    }

    fn gauge(&self, name: &'static str, help: &'static str, read: fn(&Telemetry, Emit<'_, f64>)) {
        let telemetry = Arc::clone(&self.telemetry);
        self.meter
            .f64_observable_gauge(name)
            .with_description(help)
            .with_callback(move |observer| read(&telemetry, &mut |value, labels| observer.observe(value, labels)))
            .build();
    }
}

fn label(key: &'static str, value: &str) -> KeyValue {
    KeyValue::new(key, value.to_owned())
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus counts in f64")]
fn float(value: u64) -> f64 {
    value as f64
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn connections(declare: &Declare) {
    let active = |telemetry: &Telemetry, emit: Emit<'_, f64>| {
        for protocol in PROTOCOLS {
            let active = telemetry.workers().iter().map(|worker| worker.active(protocol)).sum();
            emit(float(active), &[label("protocol", protocol.label())]);
        }
    };
    // The first name is the one that was promised, although a gauge should not end in `_total`.
    declare.gauge("gpanel_proxy_active_connections_total", "Downstream connections that are open.", active);
    declare.gauge("gpanel_proxy_active_connections", "Downstream connections that are open.", active);
    declare.counter(
        "gpanel_proxy_total_connections_total",
        "Downstream connections since the start.",
        |telemetry, emit| {
            for protocol in PROTOCOLS {
                let opened = telemetry.workers().iter().map(|worker| worker.opened(protocol)).sum();
                emit(opened, &[label("protocol", protocol.label())]);
            }
        },
    );
    declare.counter(
        "gpanel_proxy_failed_connections_total",
        "Downstream connections that failed, by listener and reason.",
        |telemetry, emit| {
            for listener in Listener::ALL {
                for reason in ConnectionFailure::ALL {
                    let failed = telemetry.workers().iter().map(|worker| worker.failed(listener, reason)).sum();
                    emit(failed, &[label("listener", listener.label()), label("reason", reason.label())]);
                }
            }
        },
    );
}

fn requests(declare: &Declare) {
    declare.gauge("gpanel_proxy_requests_in_flight", "Requests in progress.", |telemetry, emit| {
        let in_flight: i64 = telemetry.workers().iter().map(super::WorkerCounters::in_flight).sum();
        emit(float(in_flight.try_into().unwrap_or(0)), &[]);
    });
    declare.counter(
        "gpanel_proxy_request_errors_total",
        "Requests that ended in an error, by its label (RFC 9209).",
        |telemetry, emit| {
            let mut errors = BTreeMap::<_, u64>::new();
            for (error, count) in telemetry.workers().iter().flat_map(super::WorkerCounters::errors) {
                *errors.entry(error).or_default() += count;
            }
            for (error, count) in errors {
                emit(count, &[label("error", &error)]);
            }
        },
    );
    declare.counter(
        "gpanel_proxy_early_data_requests_total",
        "Requests that came in 0-RTT data.",
        |telemetry, emit| emit(telemetry.workers().iter().map(super::WorkerCounters::early_data).sum(), &[]),
    );
}

fn quic(declare: &Declare) {
    declare.counter("gpanel_proxy_quic_connections_total", "QUIC connections since the start.", |telemetry, emit| {
        let http3 = crate::message::Protocol::Http3;
        emit(telemetry.workers().iter().map(|worker| worker.opened(http3)).sum(), &[]);
    });
    macro_rules! total {
        ($name:literal, $help:literal, $field:ident) => {
            declare.counter($name, $help, |telemetry, emit| {
                if let Some(QuicStats { $field, .. }) = telemetry.sources().quic() {
                    emit($field, &[]);
                }
            });
        };
    }
    total!("gpanel_proxy_quic_streams_total", "QUIC streams opened by either side.", streams);
    total!("gpanel_proxy_quic_packets_sent_total", "QUIC packets sent.", packets_sent);
    total!("gpanel_proxy_quic_packets_received_total", "QUIC packets received.", packets_received);
    total!("gpanel_proxy_quic_packets_lost_total", "QUIC packets declared lost.", packets_lost);
    total!("gpanel_proxy_quic_bytes_sent_total", "UDP payload bytes sent.", bytes_sent);
    total!("gpanel_proxy_quic_bytes_received_total", "UDP payload bytes received.", bytes_received);
}

fn backends(declare: &Declare) {
    fn each(telemetry: &Telemetry, emit: Emit<'_, u64>, read: impl Fn(&BackendTotals) -> u64) {
        for (name, totals) in &telemetry.backend_totals() {
            emit(read(totals), &[label("backend", name)]);
        }
    }
    declare.counter(
        "gpanel_proxy_backend_requests_total",
        "Attempts to get an answer from a backend.",
        |telemetry, emit| each(telemetry, emit, |totals| totals.requests),
    );
    declare.counter("gpanel_proxy_backend_failures_total", "Attempts that got no usable answer.", |telemetry, emit| {
        each(telemetry, emit, |totals| totals.failures);
    });
    declare.counter(
        "gpanel_proxy_upstream_connections_opened_total",
        "Connections opened to a backend.",
        |telemetry, emit| each(telemetry, emit, |totals| totals.opened),
    );
    declare.counter(
        "gpanel_proxy_upstream_connections_reused_total",
        "Attempts that took a connection out of the pool.",
        |telemetry, emit| each(telemetry, emit, |totals| totals.reused),
    );
}

fn filters(declare: &Declare) {
    fn each<T>(telemetry: &Telemetry, emit: Emit<'_, T>, read: impl Fn(&FilterRow) -> T) {
        for row in telemetry.sources().filters() {
            emit(read(&row), &[label("filter", &row.name)]);
        }
    }
    declare.counter("gpanel_proxy_filter_calls_total", "Calls into a filter.", |telemetry, emit| {
        each(telemetry, emit, |row| row.calls);
    });
    declare.counter("gpanel_proxy_filter_traps_total", "Calls that trapped.", |telemetry, emit| {
        each(telemetry, emit, |row| row.traps);
    });
    declare.counter(
        "gpanel_proxy_filter_timeouts_total",
        "Calls that were stopped because they took too long.",
        |telemetry, emit| each(telemetry, emit, |row| row.timeouts),
    );
    declare.counter(
        "gpanel_proxy_filter_failed_open_total",
        "Requests that went on although the filter failed.",
        |telemetry, emit| each(telemetry, emit, |row| row.failed_open),
    );
    declare.counter(
        "gpanel_proxy_filter_failed_closed_total",
        "Requests that were refused because the filter failed.",
        |telemetry, emit| each(telemetry, emit, |row| row.failed_closed),
    );
    declare.gauge("gpanel_proxy_filter_instances", "Instances of a filter that are alive.", |telemetry, emit| {
        each(telemetry, emit, |row| float(row.instances));
    });
}

fn reloads(declare: &Declare) {
    declare.counter("gpanel_proxy_reloads_total", "Reloads by kind and result.", |telemetry, emit| {
        for kind in ReloadKind::ALL {
            let state = telemetry.reloads().state(kind);
            for (result, count) in [("success", state.succeeded), ("refused", state.refused)] {
                emit(count, &[label("kind", kind.label()), label("result", result)]);
            }
        }
    });
    declare.gauge(
        "gpanel_proxy_reload_last_refused",
        "1 while the last reload of that kind was refused, with the reason.",
        |telemetry, emit| {
            for kind in ReloadKind::ALL {
                if let Some(error) = telemetry.reloads().state(kind).last_error {
                    let reason: String = error.chars().take(ERROR_LENGTH).collect();
                    emit(1.0, &[label("kind", kind.label()), label("reason", &reason)]);
                }
            }
        },
    );
    declare.gauge(
        "gpanel_proxy_reload_last_success_timestamp_seconds",
        "When a reload of that kind came through last.",
        |telemetry, emit| {
            for kind in ReloadKind::ALL {
                if let Some(time) = telemetry.reloads().state(kind).last_success {
                    emit(unix_seconds(time), &[label("kind", kind.label())]);
                }
            }
        },
    );
    declare.gauge("gpanel_proxy_generation", "Generation that new requests see.", |telemetry, emit| {
        emit(float(telemetry.generation()), &[]);
    });
    declare.gauge(
        "gpanel_proxy_generations_alive",
        "Generations that some request still uses, the current one included.",
        |telemetry, emit| emit(float(telemetry.generations_alive().try_into().unwrap_or(0)), &[]),
    );
}

fn itself(declare: &Declare) {
    declare.gauge("gpanel_proxy_build_info", "1, with the version of the program.", |_, emit| {
        emit(1.0, &[label("version", VERSION)]);
    });
    declare.gauge(
        "gpanel_proxy_certificate_not_after_timestamp_seconds",
        "Until when the certificate in use is valid.",
        |telemetry, emit| {
            if let Some(time) = telemetry.certificate_not_after() {
                emit(unix_seconds(time), &[]);
            }
        },
    );
    declare.counter(
        "gpanel_proxy_log_lines_dropped_total",
        "Log lines that found no room, or that could not be written.",
        |telemetry, emit| emit(telemetry.log_lines_dropped(), &[]),
    );
}

fn process_metrics(declare: &Declare) {
    declare.gauge("process_start_time_seconds", "When the process started.", |telemetry, emit| {
        emit(unix_seconds(telemetry.started_at()), &[]);
    });
    declare.seconds("process_cpu_seconds_total", "CPU time of the process.", |_, emit| {
        emit(process::cpu_time().as_secs_f64(), &[]);
    });
    macro_rules! gauge {
        ($name:literal, $help:literal, $read:expr) => {
            declare.gauge($name, $help, |_, emit| {
                if let Some(value) = $read {
                    emit(float(value), &[]);
                }
            });
        };
    }
    gauge!("process_resident_memory_bytes", "Memory in RAM.", process::status_bytes("VmRSS"));
    gauge!("process_virtual_memory_bytes", "Address space reserved.", process::status_bytes("VmSize"));
    gauge!("process_threads", "Threads of the process.", process::status("Threads"));
    gauge!("process_open_fds", "File descriptors in use.", process::open_files());
    gauge!("process_max_fds", "File descriptors allowed.", process::max_files());
    declare.counter(
        "process_network_receive_bytes_total",
        "Bytes that came in over IP in the network namespace of the process.",
        |_, emit| process::network_bytes().into_iter().for_each(|(received, _)| emit(received, &[])),
    );
    declare.counter(
        "process_network_transmit_bytes_total",
        "Bytes that went out over IP in the network namespace of the process.",
        |_, emit| process::network_bytes().into_iter().for_each(|(_, sent)| emit(sent, &[])),
    );
}
