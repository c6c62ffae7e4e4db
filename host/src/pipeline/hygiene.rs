//! Hygiene: from what a codec read to what filters and upstreams may see. Parses instead of validating: the
//! `Exchange` that comes out can't hold what was refused here.
//!
//! Framing is the codec's; what is ambiguous in a head's fields is refused here for every protocol alike.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, VIA};
use http::uri::Authority;
use http::{Method, Request, Version};
use http_body::Body as _;
use ipnet::IpNet;

use super::error::RequestError;
use crate::config::model::Limits;
use crate::message::headers::{Class, remove_class, strip_hop_by_hop, survey};
use crate::message::{
    Body, BodyError, Connection, Exchange, Protocol, Provenance, RequestHead, RequestId, Scheme, authority, path,
    priority,
};

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PRIORITY: HeaderName = HeaderName::from_static("priority");
const EARLY_DATA: HeaderName = HeaderName::from_static("early-data");

/// What hygiene goes by.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// Bounds.
    pub limits: &'a Limits,
    /// Peers whose word on the client counts.
    pub trusted: &'a [IpNet],
}

/// Turns a request into an exchange, or says why not. `id` is the request's unless a trusted peer gave it one.
///
/// # Errors
/// The request is not one that the proxy passes on.
pub fn admit(
    connection: &Arc<Connection>,
    request: Request<Body>,
    early_data: bool,
    id: &RequestId,
    rules: Rules<'_>,
) -> Result<(Box<Exchange>, Body), RequestError> {
    let (parts, body) = request.into_parts();
    let mut headers = parts.headers;
    let survey = survey(&headers);
    if headers.len() > rules.limits.max_header_count || survey.bytes > rules.limits.max_header_size {
        return Err(RequestError::HeadersTooLarge);
    }
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(RequestError::Method);
    }
    if survey.hop_by_hop
        && headers.get_all(EXPECT).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(RequestError::Expectation);
    }
    if parts.uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(RequestError::Malformed("this scheme is not served"));
    }
    let authority = find_authority(&parts.uri, &headers, parts.version, connection)?;
    let target = parts.uri.path_and_query().ok_or(RequestError::Malformed("the request has no path"))?;
    if target.as_str().len() > rules.limits.max_uri_length {
        return Err(RequestError::TargetTooLong);
    }
    // RFC 9110 section 9.3.7: the server as a whole; dispatch answers it.
    let path_and_query = if parts.method == Method::OPTIONS && target.as_str() == "*" {
        target.clone()
    } else {
        path::normalise_target(target).map_err(refuse_path)?
    };
    check_length(&body, rules.limits)?;

    let trusted = is_trusted(connection.peer.ip(), rules.trusted);
    let early_data = early_data || (trusted && survey.provenance && headers.contains_key(EARLY_DATA));
    let believed =
        if survey.provenance { take_provenance(&mut headers, trusted, rules.trusted) } else { Believed::default() };
    if survey.hop_by_hop {
        strip_hop_by_hop(&mut headers);
    }
    if connection.protocol != Protocol::Http1 {
        join_cookies(&mut headers);
    }
    headers.remove(HOST);
    headers.remove(http::header::CONTENT_LENGTH);
    let priority = headers.get(PRIORITY).map(|value| priority::parse(value.as_bytes())).unwrap_or_default();
    let scheme = if connection.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let request = RequestHead { method: parts.method, scheme, authority, path_and_query, headers };
    let provenance = Provenance {
        forwarded_for: believed.forwarded_for,
        forwarded: believed.forwarded,
        forwarded_proto: believed.forwarded_proto,
        forwarded_host: believed.forwarded_host,
        via: believed.via,
        authority: request.authority.clone(),
    };
    let exchange = Exchange {
        connection: Arc::clone(connection),
        client: believed.client.map_or(connection.peer, |client| SocketAddr::new(client, 0)),
        id: believed.id.unwrap_or_else(|| id.clone()),
        provenance,
        early_data,
        request,
        target: None,
        route: None,
        timeout: None,
        priority,
        tags: Vec::new(),
        response: None,
        depth: 0,
        skipped: 0,
    };
    Ok((Box::new(exchange), body))
}

fn refuse_path(error: path::PathError) -> RequestError {
    RequestError::Malformed(match error {
        path::PathError::NotAbsolute => "the path must begin with a slash",
        path::PathError::Character => "the path has a character that is not allowed",
        path::PathError::Encoding => "the path has a malformed percent-encoding",
        path::PathError::Nul => "the path has an encoded NUL",
        path::PathError::HiddenDotSegment => "the path hides a dot segment",
    })
}

fn check_length(body: &Body, limits: &Limits) -> Result<(), RequestError> {
    match (body.size_hint().exact(), limits.max_request_size) {
        (Some(length), Some(limit)) if length > limit => Err(BodyError::TooLarge { limit }.into()),
        _ => Ok(()),
    }
}

fn find_authority(
    uri: &http::Uri,
    headers: &HeaderMap,
    version: Version,
    connection: &Connection,
) -> Result<Authority, RequestError> {
    const MALFORMED: RequestError = RequestError::Malformed("malformed Host");
    let mut hosts = headers.get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Err(RequestError::Malformed("more than one Host"));
    }
    let host = host.map(|value| authority::parse(value.as_bytes()).ok_or(MALFORMED)).transpose()?;
    let named =
        uri.authority().map(|named| authority::parse(named.as_str().as_bytes()).ok_or(MALFORMED)).transpose()?;
    match (named, host) {
        // RFC 9112 section 3.2.2: the target of HTTP/1.1 wins; in later versions both must agree.
        (Some(named), Some(host)) if connection.protocol != Protocol::Http1 && named != host => {
            Err(RequestError::Malformed("Host differs from :authority"))
        }
        (Some(_), None) if connection.protocol == Protocol::Http1 && version == Version::HTTP_11 => {
            Err(RequestError::Malformed("no Host"))
        }
        (Some(named), _) => Ok(named),
        (None, Some(host)) => Ok(host),
        (None, None) if version == Version::HTTP_10 => {
            authority::parse(connection.local.to_string().as_bytes()).ok_or(MALFORMED)
        }
        (None, None) => Err(RequestError::Malformed("no Host")),
    }
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// What the fields about those in front said, as far as they are believed.
#[derive(Default)]
struct Believed {
    forwarded_for: Option<HeaderValue>,
    forwarded: Option<HeaderValue>,
    forwarded_proto: Option<HeaderValue>,
    forwarded_host: Option<HeaderValue>,
    via: Option<HeaderValue>,
    id: Option<RequestId>,
    client: Option<IpAddr>,
}

/// Takes the fields that say who is in front out of the section, and believes those of trusted peers.
fn take_provenance(headers: &mut HeaderMap, trusted: bool, nets: &[IpNet]) -> Believed {
    let mut believed = Believed { via: joined(headers, &VIA), ..Believed::default() };
    if trusted {
        believed.forwarded_for = joined(headers, &FORWARDED_FOR);
        believed.forwarded = joined(headers, &FORWARDED);
        believed.forwarded_proto = headers.get(FORWARDED_PROTO).cloned();
        believed.forwarded_host = headers.get(FORWARDED_HOST).cloned();
        believed.id = headers.get(REQUEST_ID).and_then(accept_id);
        believed.client = believed.forwarded_for.as_ref().and_then(|list| last_untrusted(list, nets));
    }
    remove_class(headers, Class::Provenance);
    believed
}

/// Cookies that came in several fields, as one: HTTP/1.1 knows one field only (RFC 9113 section 8.2.3, RFC 9114
/// section 4.2.1).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_some()
        && let Some(joined) = joined_by(headers, &COOKIE, b"; ")
    {
        headers.insert(COOKIE, joined);
    }
}

/// All values of a list field as one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    joined_by(headers, name, b", ")
}

fn joined_by(headers: &HeaderMap, name: &HeaderName, separator: &[u8]) -> Option<HeaderValue> {
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    match values.as_slice() {
        [] => None,
        [_] => headers.get(name).cloned(),
        several => HeaderValue::from_bytes(&several.join(separator)).ok(),
    }
}

/// The last hop of `X-Forwarded-For` that is not itself a trusted proxy.
fn last_untrusted(list: &HeaderValue, nets: &[IpNet]) -> Option<IpAddr> {
    let mut nearest = None;
    for hop in list.to_str().ok()?.rsplit(',') {
        let address = hop.trim().parse::<IpAddr>().ok()?;
        nearest = Some(address);
        if !is_trusted(address, nets) {
            break;
        }
    }
    nearest
}

fn accept_id(value: &HeaderValue) -> Option<RequestId> {
    let text = value.to_str().ok()?;
    let fits = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| RequestId(text.into()))
}
