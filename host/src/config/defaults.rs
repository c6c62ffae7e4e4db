//! What holds where the configuration says nothing. One constant a key, in the order of the file; no logic.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::model::{CongestionControl, LogFormat, Strategy};

/// The file that is read when neither `--config` nor `GPANEL_PROXY_CONFIG` names one; it may be absent.
pub const CONFIG_FILE: &str = "/etc/gpanel/proxy.toml";

/// `[proxy] quic_addr`.
pub const QUIC_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9443);
/// `[proxy] http_addr`.
pub const HTTP_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9080);
/// `[proxy] bolt_api_url`.
pub const BOLT_API_URL: &str = "bolt://localhost:8080";
/// `[proxy] agent_api_url`.
pub const AGENT_API_URL: &str = "http://localhost:8000";
/// `[proxy] max_connections`.
pub const MAX_CONNECTIONS: usize = 1_000;
/// `[proxy] idle_timeout`.
pub const IDLE_TIMEOUT: Duration = Duration::from_mins(5);
/// `[proxy] keep_alive_interval`.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// `[proxy] drain_timeout`.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// The folder below the user's or the service's cache folder that `[proxy] cache_dir` means by default.
pub const CACHE_FOLDER: &str = "gpanel-proxy";

/// `[proxy.timeouts] tls_handshake`.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// `[proxy.timeouts] request_head`.
pub const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// `[proxy.timeouts] keep_alive`.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_mins(1);
/// `[proxy.timeouts] body_grace`.
pub const BODY_GRACE: Duration = Duration::from_secs(10);
/// `[proxy.timeouts] body_min_rate`, bytes per second.
pub const BODY_MIN_RATE: u64 = 500;
/// `[proxy.timeouts] write_stall`.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// `[proxy.timeouts] connect`.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// `[proxy.memory] connection_pool_size`.
pub const POOL_SIZE: usize = 1_000;
/// `[proxy.memory] connection_pool_timeout`.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// `[proxy.memory] request_buffer_size`.
pub const REQUEST_BUFFER: usize = 64 * 1024;
/// `[proxy.memory] response_buffer_size`.
pub const RESPONSE_BUFFER: usize = 64 * 1024;

/// `[quic] max_concurrent_streams`, `[quic.performance] initial_max_streams_bidi`.
pub const MAX_BIDI_STREAMS: u32 = 100;
/// `[quic.performance] initial_max_streams_uni`.
pub const MAX_UNI_STREAMS: u32 = 100;
/// HTTP/3 opens three unidirectional streams: control, QPACK encoder and decoder (RFC 9114 section 6.2).
pub const MIN_UNI_STREAMS: u64 = 3;
/// `[quic] initial_max_data`.
pub const CONNECTION_WINDOW: u32 = 10 * 1024 * 1024;
/// `[quic] initial_max_stream_data`.
pub const STREAM_WINDOW: u32 = 1024 * 1024;
/// `[quic] send_buffer_size`.
pub const UDP_SEND_BUFFER: usize = 1024 * 1024;
/// `[quic] receive_buffer_size`: room for the first packets of a thousand clients at once.
pub const UDP_RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
/// `[quic] congestion_control`.
pub const CONGESTION_CONTROL: CongestionControl = CongestionControl::Cubic;
/// `[quic.performance] initial_congestion_window`, packets.
pub const INITIAL_WINDOW_PACKETS: u32 = 32;
/// What quinn announces as `max_ack_delay`, milliseconds; it cannot be set.
pub const FIXED_MAX_ACK_DELAY: u64 = 25;
/// What quinn announces as `ack_delay_exponent`; it cannot be set.
pub const FIXED_ACK_DELAY_EXPONENT: u64 = 3;
/// `[quic] retry_threshold`.
pub const RETRY_THRESHOLD: usize = 100;

/// `[routing.load_balancing] strategy`.
pub const STRATEGY: Strategy = Strategy::RoundRobin;
/// `status` of a redirect rule.
pub const REDIRECT_STATUS: u16 = 308;
/// The rules that hold where there is no `[routing.rules]`.
pub const ROUTING_RULES: [(&str, &str); 10] = [
    ("/api/containers/*", "bolt"),
    ("/api/images/*", "bolt"),
    ("/api/networks/*", "bolt"),
    ("/api/volumes/*", "bolt"),
    ("/api/system/stats", "agent"),
    ("/api/system/info", "agent"),
    ("/api/gaming/*", "agent"),
    ("/api/stats", "internal"),
    ("/", "static"),
    ("/assets/*", "static"),
];

/// What the target `internal` answers about the proxy's health, wherever no rule says otherwise.
pub const HEALTH_PATHS: [&str; 2] = ["/health", "/ready"];

/// `[backends.*] timeout`.
pub const BACKEND_TIMEOUT: Duration = Duration::from_secs(30);
/// `[backends.*] retries`.
pub const BACKEND_RETRIES: u32 = 2;
/// `[backends.*] health_check_interval`.
pub const HEALTH_CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// The port of a `bolt://` URL that names none.
pub const BOLT_PORT: u16 = 8080;

/// `[security.network] max_connections_per_ip`, where `enable_ddos_protection` is on.
pub const MAX_CONNECTIONS_PER_IP: usize = 100;
/// `[security.validation] max_header_size`.
pub const MAX_HEADER_SIZE: usize = 32 * 1024;
/// Fields of a header section; there is no key for it.
pub const MAX_HEADER_COUNT: usize = 100;
/// `[security.validation] max_uri_length`.
pub const MAX_URI_LENGTH: usize = 8 * 1024;
/// `[security.validation] x_frame_options`.
pub const X_FRAME_OPTIONS: &str = "DENY";
/// `[security.validation] x_content_type_options`.
pub const X_CONTENT_TYPE_OPTIONS: &str = "nosniff";

/// `[logging] level`.
pub const LOG_LEVEL: &str = "info";
/// `[logging] format`.
pub const LOG_FORMAT: LogFormat = LogFormat::Json;
/// `[metrics] listen_addr`.
pub const ADMIN_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
/// `[metrics] path`.
pub const METRICS_PATH: &str = "/metrics";

/// Position of the entry that `[security.validation]` makes.
pub const SECURITY_HEADERS_ORDER: u8 = 10;
/// Position of a `[[filters]]` entry without `order`.
pub const FILTER_ORDER: u8 = 50;
/// Position of the entry that `[routing]` makes.
pub const ROUTER_ORDER: u8 = 90;
/// `[[filters]] timeout`.
pub const FILTER_TIMEOUT: Duration = Duration::from_millis(50);
/// `[[filters]] memory`.
pub const FILTER_MEMORY: usize = 16 * 1024 * 1024;
/// The filters inside the binary, as `builtin:NAME` names them.
pub const BUILTIN_FILTERS: [&str; 2] = ["router", "security-headers"];
