//! Which requests enter a filter, decided without entering it.

use http::header::HeaderName;
use http::{HeaderMap, Method};

use crate::config::model;
use crate::message::RequestHead;

/// A compiled `match`: every kind that is given must hold; of hosts, paths and methods one is enough, of headers all.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    hosts: Box<[Host]>,
    paths: Box<[Path]>,
    methods: Box<[Method]>,
    headers: Box<[(HeaderName, Option<Box<str>>)]>,
    /// Nothing is given: everything matches.
    all: bool,
}

#[derive(Debug)]
enum Host {
    Exactly(Box<str>),
    /// `.example.org` of `*.example.org`.
    Below(Box<str>),
}

#[derive(Debug)]
enum Path {
    Exactly(Box<str>),
    /// `/x` of `/x/*`: matches itself and what is below.
    Below(Box<str>),
}

impl Matcher {
    /// Compiles; an error names what can never match.
    pub(super) fn new(model: &model::Matcher) -> Result<Self, String> {
        let methods = model
            .methods
            .iter()
            .map(|method| Method::from_bytes(method.as_bytes()).map_err(|_| format!("{method:?} is not a method")))
            .collect::<Result<Box<[_]>, _>>()?;
        let headers = model
            .headers
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes())
                    .map_err(|_| format!("{name:?} is not the name of a header"))?;
                Ok((name, value.clone()))
            })
            .collect::<Result<Box<[_]>, String>>()?;
        let hosts: Box<[_]> = model.hosts.iter().map(|host| Host::new(host)).collect();
        let paths: Box<[_]> = model.paths.iter().map(|path| Path::new(path)).collect();
        let all = hosts.is_empty() && paths.is_empty() && methods.is_empty() && headers.is_empty();
        Ok(Self { hosts, paths, methods, headers, all })
    }

    /// Whether every request matches, so that asking is of no use.
    pub(super) fn matches_all(&self) -> bool {
        self.all
    }

    pub(super) fn matches(&self, request: &RequestHead) -> bool {
        self.all
            || (any(&self.methods, |method| *method == request.method)
                && any(&self.paths, |path| path.matches(request.path_and_query.path()))
                && any(&self.hosts, |host| host.matches(request.authority.host()))
                && self.headers.iter().all(|(name, value)| has(&request.headers, name, value.as_deref())))
    }
}

fn any<T>(patterns: &[T], matches: impl Fn(&T) -> bool) -> bool {
    patterns.is_empty() || patterns.iter().any(matches)
}

fn has(headers: &HeaderMap, name: &HeaderName, value: Option<&str>) -> bool {
    match value {
        None => headers.contains_key(name),
        Some(wanted) => headers.get_all(name).iter().any(|value| value.as_bytes() == wanted.as_bytes()),
    }
}

impl Host {
    fn new(pattern: &str) -> Self {
        match pattern.strip_prefix('*') {
            Some(below) => Self::Below(below.to_ascii_lowercase().into()),
            // An authority has its IPv6 addresses in brackets.
            None if pattern.contains(':') && !pattern.starts_with('[') => {
                Self::Exactly(format!("[{}]", pattern.to_ascii_lowercase()).into())
            }
            None => Self::Exactly(pattern.to_ascii_lowercase().into()),
        }
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exactly(name) => host.eq_ignore_ascii_case(name),
            Self::Below(suffix) => {
                let (host, suffix) = (host.as_bytes(), suffix.as_bytes());
                host.len() > suffix.len() && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
            }
        }
    }
}

impl Path {
    fn new(pattern: &str) -> Self {
        match pattern.strip_suffix("/*") {
            Some(below) => Self::Below(below.into()),
            None => Self::Exactly(pattern.into()),
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exactly(exact) => path == &**exact,
            Self::Below(prefix) => {
                path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::uri::{Authority, PathAndQuery};

    use super::*;
    use crate::message::Scheme;

    fn request(method: Method, authority: &str, target: &str) -> RequestHead {
        let mut headers = HeaderMap::new();
        headers.append("x-tier", "free".parse().unwrap());
        headers.append("x-tier", "gold".parse().unwrap());
        RequestHead {
            method,
            scheme: Scheme::Https,
            authority: authority.parse::<Authority>().unwrap(),
            path_and_query: target.parse::<PathAndQuery>().unwrap(),
            headers,
        }
    }

    fn boxed(list: &[&str]) -> Vec<Box<str>> {
        list.iter().map(|item| (*item).into()).collect()
    }

    fn matches(model: &model::Matcher, method: Method, authority: &str, target: &str) -> bool {
        Matcher::new(model).unwrap().matches(&request(method, authority, target))
    }

    #[test]
    fn nothing_given_matches_all() {
        let matcher = Matcher::new(&model::Matcher::default()).unwrap();
        assert!(matcher.matches_all());
        assert!(matcher.matches(&request(Method::PATCH, "anything:1", "/x")));
    }

    #[test]
    fn hosts() {
        let model = model::Matcher {
            hosts: boxed(&["example.org", "*.example.net", "::1", "10.0.0.1"]),
            ..model::Matcher::default()
        };
        for (authority, expected) in [
            ("example.org", true),
            ("EXAMPLE.org:8443", true),
            ("a.example.org", false),
            ("example.net", false),
            ("a.example.net", true),
            ("a.b.Example.Net:1", true),
            ("badexample.net", false),
            ("[::1]:9443", true),
            ("10.0.0.1", true),
        ] {
            assert_eq!(matches(&model, Method::GET, authority, "/"), expected, "{authority}");
        }
    }

    #[test]
    fn paths() {
        let model = model::Matcher { paths: boxed(&["/exact", "/api/*"]), ..model::Matcher::default() };
        for (target, expected) in [
            ("/exact", true),
            ("/exact?q", true),
            ("/exact/", false),
            ("/api", true),
            ("/api/", true),
            ("/api/a/b?c", true),
            ("/apis", false),
            ("/", false),
        ] {
            assert_eq!(matches(&model, Method::GET, "h", target), expected, "{target}");
        }
        let all = model::Matcher { paths: boxed(&["/*"]), ..model::Matcher::default() };
        assert!(matches(&all, Method::GET, "h", "/anything"));
        assert!(matches(&all, Method::GET, "h", "/"));
    }

    #[test]
    fn every_kind_must_hold() {
        let model = model::Matcher {
            methods: boxed(&["GET", "HEAD"]),
            paths: boxed(&["/a"]),
            headers: vec![("x-tier".into(), Some("gold".into())), ("X-Tier".into(), None)],
            ..model::Matcher::default()
        };
        assert!(matches(&model, Method::HEAD, "h", "/a"));
        assert!(!matches(&model, Method::POST, "h", "/a"));
        assert!(!matches(&model, Method::GET, "h", "/b"));
        let other = model::Matcher { headers: vec![("x-tier".into(), Some("iron".into()))], ..model };
        assert!(!matches(&other, Method::GET, "h", "/a"));
    }

    #[test]
    fn what_can_never_match_is_an_error() {
        let model = model::Matcher { methods: boxed(&["GE T"]), ..model::Matcher::default() };
        assert!(Matcher::new(&model).unwrap_err().contains("GE T"));
        let model = model::Matcher { headers: vec![("a b".into(), None)], ..model::Matcher::default() };
        assert!(Matcher::new(&model).unwrap_err().contains("a b"));
    }
}
