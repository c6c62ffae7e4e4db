//! QUIC transport settings from the configuration.

use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::{BbrConfig, ControllerFactory, CubicConfig, NewRenoConfig};
use quinn::{IdleTimeout, TransportConfig, VarInt};

use crate::codec::h3::SEND_WINDOW;
use crate::config::model::{CongestionControl, Quic};

/// The size of a packet before the path's own is known (RFC 9000 section 14).
const INITIAL_MTU: u64 = 1200;

/// Makes quinn's settings.
pub(super) fn config(quic: &Quic) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(quic.max_concurrent_bidi_streams.into())
        // The control stream and the two of QPACK.
        .max_concurrent_uni_streams(quic.max_concurrent_uni_streams.max(3).into())
        .stream_receive_window(quic.stream_window.into())
        // Unlimited by default: a hundred streams of a megabyte each, for every connection.
        .receive_window(quic.connection_window.into())
        // Grows with the congestion window: see the HTTP/3 codec.
        .send_window(*SEND_WINDOW.start())
        .max_idle_timeout(Some(idle_timeout(quic.max_idle_timeout)))
        .keep_alive_interval(quic.keep_alive_interval)
        // No QUIC datagrams: HTTP/3 requests do not use them, and their buffers would be free memory for anyone.
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        .congestion_controller_factory(congestion(quic));
    transport
}

fn idle_timeout(timeout: Duration) -> IdleTimeout {
    // Too long for a variable-length integer of milliseconds is as good as the longest.
    IdleTimeout::try_from(timeout).unwrap_or_else(|_| VarInt::MAX.into())
}

fn congestion(quic: &Quic) -> Arc<dyn ControllerFactory + Send + Sync> {
    let window = u64::from(quic.initial_window_packets) * INITIAL_MTU;
    match quic.congestion_control {
        CongestionControl::Cubic => {
            let mut config = CubicConfig::default();
            config.initial_window(window);
            Arc::new(config)
        }
        CongestionControl::Bbr => {
            let mut config = BbrConfig::default();
            config.initial_window(window);
            Arc::new(config)
        }
        CongestionControl::NewReno => {
            let mut config = NewRenoConfig::default();
            config.initial_window(window);
            Arc::new(config)
        }
    }
}
