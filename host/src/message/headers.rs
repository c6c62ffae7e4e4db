//! Which fields belong to one connection only and never travel on (RFC 9110 section 7.6.1).

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, TE};

/// What to do with a field that passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Travels on.
    EndToEnd,
    /// Belongs to this connection: taken out.
    HopByHop,
    /// Says who is in front of the proxy: believed from trusted peers only.
    Provenance,
    /// Framing and addressing, which the proxy writes itself.
    Framing,
}

/// Classifies a field name, lower case as `HeaderName` holds it.
#[must_use]
pub fn class(name: &str) -> Class {
    match name {
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "te"
        | "transfer-encoding"
        | "upgrade"
        | "http2-settings"
        | "proxy-authorization"
        | "proxy-authenticate"
        | "expect"
        | "proxy" => Class::HopByHop,
        "content-length" | "host" => Class::Framing,
        "forwarded"
        | "x-real-ip"
        | "x-request-id"
        | "x-original-url"
        | "x-rewrite-url"
        | "x-http-method-override"
        | "x-http-method"
        | "x-method-override"
        | "x-client-ip"
        | "true-client-ip"
        | "early-data"
        | "via"
        | "cf-connecting-ip"
        | "x-cluster-client-ip" => Class::Provenance,
        name if name.starts_with("x-forwarded") => Class::Provenance,
        // Some servers read `_` as `-`: the alias would reach them as the field that was taken out.
        name if name.contains('_') && !matches!(class(&name.replace('_', "-")), Class::EndToEnd) => Class::HopByHop,
        _ => Class::EndToEnd,
    }
}

/// What one look over a header section tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Survey {
    /// Bytes of names and values.
    pub bytes: usize,
    /// Whether a field belongs to this connection only.
    pub hop_by_hop: bool,
    /// Whether a field says who is in front of the proxy.
    pub provenance: bool,
}

/// Looks over a section once, so that the rare cases cost the usual request nothing.
#[must_use]
pub fn survey(headers: &HeaderMap) -> Survey {
    let mut survey = Survey::default();
    for (name, value) in headers {
        survey.bytes += name.as_str().len() + value.len();
        match class(name.as_str()) {
            Class::EndToEnd | Class::Framing => {}
            Class::HopByHop => survey.hop_by_hop = true,
            Class::Provenance => survey.provenance = true,
        }
    }
    survey
}

/// Whether `Connection: name` may take the field out. Naming what the request depends on must not change it.
fn may_be_nominated(name: &str) -> bool {
    class(name) == Class::EndToEnd
        && !matches!(name, "authorization" | "cookie" | "set-cookie" | "content-type" | "cache-control" | "date")
}

/// The fields that `Connection` names and that may be taken out for it.
#[must_use]
pub fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION);
    let tokens = values.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let names = tokens.filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok());
    names.filter(|name| may_be_nominated(name.as_str())).collect()
}

/// Takes out what belongs to one connection only; `TE: trailers` stays, because it concerns the whole way.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.keys().all(|name| class(name.as_str()) != Class::HopByHop) {
        return;
    }
    for name in nominated(headers) {
        headers.remove(name);
    }
    let wants_trailers = headers.get_all(TE).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    remove_class(headers, Class::HopByHop);
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Takes out every field of a class.
pub fn remove_class(headers: &mut HeaderMap, unwanted: Class) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| class(name.as_str()) == unwanted).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Leaves of a trailer section what may stand there: nothing about framing, routing, the connection, who asked or
/// who is asked (RFC 9110 section 6.5.1). A recipient that merges trailers into the head must not learn from them
/// what hygiene took out of the head.
pub fn clean_trailers(trailers: &mut HeaderMap) {
    let misplaced = |name: &str| {
        class(name) != Class::EndToEnd
            || name == "trailer"
            || matches!(name, "authorization" | "cookie" | "set-cookie" | "content-type" | "content-encoding")
            || matches!(name, "content-range" | "cache-control" | "max-forwards" | "range" | "location")
    };
    let names: Vec<HeaderName> = trailers.keys().filter(|name| misplaced(name.as_str())).cloned().collect();
    for name in names {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_fields_and_what_connection_names() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private, authorization, x-forwarded-for, content-length"),
            ("x-private", "1"),
            ("authorization", "Bearer t"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, trailers"),
            ("upgrade", "h2c"),
            ("proxy_connection", "x"),
            ("accept", "*/*"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(left, [("accept", "*/*"), ("authorization", "Bearer t"), ("te", "trailers")]);
    }

    #[test]
    fn trailers_tell_nothing_that_belongs_into_the_head() {
        let mut trailers = HeaderMap::new();
        let wrong =
            ["transfer-encoding", "content-length", "host", "connection", "te", "x-forwarded-for", "x_forwarded_for"];
        for name in wrong.into_iter().chain(["authorization", "via", "proxy-authorization", "grpc-status", "x-sum"]) {
            trailers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        clean_trailers(&mut trailers);
        let mut left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["grpc-status", "x-sum"]);
    }

    #[test]
    fn aliases_with_underscores_count_as_the_field() {
        assert_eq!(class("x_forwarded_for"), Class::HopByHop);
        assert_eq!(class("transfer_encoding"), Class::HopByHop);
        assert_eq!(class("my_own"), Class::EndToEnd);
    }
}
