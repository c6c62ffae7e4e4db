//! Messages that a test makes up.

use super::imports::http;

/// A request to call a filter with.
#[derive(Clone, Debug)]
pub struct TestRequest(pub(crate) http::Request);

impl TestRequest {
    /// A request for path and query (`/a?b=c`), `https`, authority `localhost`, no headers.
    #[must_use]
    pub fn new(method: &str, path_and_query: &str) -> Self {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query.as_bytes().to_vec())),
            None => (path_and_query, None),
        };
        Self(http::Request {
            method: method.to_owned(),
            scheme: "https".to_owned(),
            authority: "localhost".to_owned(),
            path: path.as_bytes().to_vec(),
            query,
            fields: http::Fields::default(),
            id: "0123456789abcdef0123456789abcdef".to_owned(),
            backend: None,
            route: None,
        })
    }

    /// A GET request.
    #[must_use]
    pub fn get(path_and_query: &str) -> Self {
        Self::new("GET", path_and_query)
    }

    /// A POST request.
    #[must_use]
    pub fn post(path_and_query: &str) -> Self {
        Self::new("POST", path_and_query)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.0.fields.push(name, value.into());
        self
    }

    /// Sets the scheme, `http` or `https`.
    #[must_use]
    pub fn scheme(mut self, scheme: &str) -> Self {
        scheme.clone_into(&mut self.0.scheme);
        self
    }

    /// Sets the authority.
    #[must_use]
    pub fn authority(mut self, authority: &str) -> Self {
        authority.clone_into(&mut self.0.authority);
        self
    }

    /// Sets the request id.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.0.id);
        self
    }

    /// As if a filter further out had chosen this backend and route.
    #[must_use]
    pub fn routed(mut self, backend: &str, route: &str) -> Self {
        self.0.backend = Some(backend.to_owned());
        self.0.route = Some(route.to_owned());
        self
    }
}

/// A response to call a filter with.
#[derive(Clone, Debug)]
pub struct TestResponse(pub(crate) http::Response);

impl TestResponse {
    /// A response without headers.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self(http::Response { status, fields: http::Fields::default() })
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.0.fields.push(name, value.into());
        self
    }
}
