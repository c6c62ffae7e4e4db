//! `[quic]` and `[quic.performance]`: two tables with the same settings under several names. The performance
//! table wins; what it overrides with another value is warned of.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::defaults;
use super::diagnostic::Located;
use super::inactive::{Gate, Shape};
use super::model::{CongestionControl, Proxy, Quic};
use super::reader::Section;

const STREAMS: RangeInclusive<u64> = 1..=1_000_000;
const WINDOW: RangeInclusive<u64> = 1_024..=u32::MAX as u64;
const SOCKET_BUFFER: RangeInclusive<u64> = 4_096..=1_073_741_824;
const CONTROLLERS: [(&str, CongestionControl); 3] =
    [("cubic", CongestionControl::Cubic), ("bbr", CongestionControl::Bbr), ("reno", CongestionControl::NewReno)];

/// Reads both tables; `proxy` has the timers that hold where they name none.
pub(super) fn read(root: &Section<'_>, proxy: &Proxy) -> Quic {
    let quic = root.section("quic");
    let tuned = quic.section("performance");
    warn_of_fixed(&quic, &tuned);
    let streams = pick(
        &quic,
        &[
            ("quic.performance.initial_max_streams_bidi", tuned.integer("initial_max_streams_bidi", &STREAMS)),
            ("quic.max_concurrent_streams", quic.integer("max_concurrent_streams", &STREAMS)),
        ],
    );
    let connection_window = pick(
        &quic,
        &[
            ("quic.performance.initial_max_data", tuned.size("initial_max_data", &WINDOW)),
            ("quic.performance.connection_data_window", tuned.size("connection_data_window", &WINDOW)),
            ("quic.initial_max_data", quic.size("initial_max_data", &WINDOW)),
        ],
    );
    let stream_window = pick(
        &quic,
        &[
            ("quic.performance.initial_max_stream_data", tuned.size("initial_max_stream_data", &WINDOW)),
            ("quic.performance.flow_control_window", tuned.size("flow_control_window", &WINDOW)),
            ("quic.initial_max_stream_data", quic.size("initial_max_stream_data", &WINDOW)),
        ],
    );
    let controller = pick(
        &quic,
        &[
            (
                "quic.performance.congestion_control_algorithm",
                tuned.choice("congestion_control_algorithm", &CONTROLLERS),
            ),
            ("quic.congestion_control", quic.choice("congestion_control", &CONTROLLERS)),
        ],
    );
    let uni_streams = tuned.integer("initial_max_streams_uni", &(defaults::MIN_UNI_STREAMS..=1_000_000));
    let initial_window = tuned.integer("initial_congestion_window", &(2..=10_000));
    let keep_alive = tuned.millis("keep_alive_interval", &(0..=86_400_000)).map(|interval| interval.value);
    let idle = tuned.millis("max_idle_timeout", &(1_000..=86_400_000)).map(|timeout| timeout.value);
    Quic {
        enabled: is_enabled(&quic),
        max_concurrent_bidi_streams: streams.map_or(defaults::MAX_BIDI_STREAMS, narrow),
        max_concurrent_uni_streams: uni_streams.map_or(defaults::MAX_UNI_STREAMS, |streams| narrow(streams.value)),
        connection_window: connection_window.map_or(defaults::CONNECTION_WINDOW, narrow),
        stream_window: stream_window.map_or(defaults::STREAM_WINDOW, narrow),
        send_buffer_size: quic.memory("send_buffer_size", &SOCKET_BUFFER).unwrap_or(defaults::UDP_SEND_BUFFER),
        receive_buffer_size: quic.memory("receive_buffer_size", &SOCKET_BUFFER).unwrap_or(defaults::UDP_RECEIVE_BUFFER),
        congestion_control: controller.unwrap_or(defaults::CONGESTION_CONTROL),
        initial_window_packets: initial_window.map_or(defaults::INITIAL_WINDOW_PACKETS, |window| narrow(window.value)),
        max_idle_timeout: idle.unwrap_or(proxy.idle_timeout),
        keep_alive_interval: keep_alive
            .map_or(proxy.keep_alive_interval, |interval| (interval > Duration::ZERO).then_some(interval)),
        early_data: quic.boolean("early_data").is_some_and(|on| on.value),
        retry_threshold: quic.count("retry_threshold", &(0..=1_000_000)).unwrap_or(defaults::RETRY_THRESHOLD),
    }
}

fn is_enabled(quic: &Section<'_>) -> bool {
    let enabled = quic.boolean("enabled").is_none_or(|on| on.value);
    let http3 = quic.take("http3_enabled").and_then(|value| Some((value.boolean()?.value, value)));
    match http3 {
        Some((false, value)) => {
            if enabled {
                value.warning("no HTTP/3 is served: QUIC carries nothing else here, so its port stays closed");
            }
            false
        }
        Some((true, _)) | None => enabled,
    }
}

/// Settings that the QUIC implementation has fixed.
fn warn_of_fixed(quic: &Section<'_>, tuned: &Section<'_>) {
    let fixed = |section: &Section<'_>, key, range: &RangeInclusive<u64>, value: u64, unit: &str| {
        let Some(field) = section.take(key) else { return };
        if field.integer(range).is_some_and(|number| number.value != value) {
            field.warning(format_args!("can't act: the QUIC implementation always announces {value}{unit}"));
        }
    };
    // RFC 9000 section 18.2 bounds both.
    let delay = 0..=16_383;
    fixed(quic, "max_ack_delay", &delay, defaults::FIXED_MAX_ACK_DELAY, " ms");
    fixed(tuned, "max_ack_delay", &delay, defaults::FIXED_MAX_ACK_DELAY, " ms");
    fixed(tuned, "ack_delay_exponent", &(0..=20), defaults::FIXED_ACK_DELAY_EXPONENT, "");
    tuned.inactive_all(
        &[("min_congestion_window", Shape::Number), ("max_congestion_window", Shape::Number)],
        Gate::On,
        "can't act: the QUIC implementation's congestion controllers have no such bound",
    );
}

/// The first of several names for one setting that is set; the others are warned of where they differ.
fn pick<T: Copy + PartialEq>(section: &Section<'_>, names: &[(&str, Option<Located<T>>)]) -> Option<T> {
    let mut set = names.iter().filter_map(|(name, found)| found.as_ref().map(|found| (name, found)));
    let (winner, chosen) = set.next()?;
    for (name, other) in set.filter(|(_, other)| other.value != chosen.value) {
        let message = format!("{name}: has no effect: {winner} at {} wins", chosen.place);
        section.report().warning(&other.place, message);
    }
    Some(chosen.value)
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
