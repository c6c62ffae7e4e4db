//! The messages as a filter reads them: lazily, each call fetching only what it names.

use std::ops::Deref;

use crate::imports::http;

/// A header value, path or query: bytes, because what a client sends need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Vec<u8>);

impl Value {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, where it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The bytes, owned.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Value> for Vec<u8> {
    fn from(value: Value) -> Self {
        value.0
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<&T> for Value {
    fn eq(&self, other: &&T) -> bool {
        self.0 == other.as_ref()
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<String> for Value {
    fn eq(&self, other: &String) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<[u8]> for Value {
    fn eq(&self, other: &[u8]) -> bool {
        self.0 == other
    }
}

/// The request, as the filters further out left it.
pub struct Request<'a>(&'a http::Request);

impl<'a> Request<'a> {
    pub(crate) fn new(raw: &'a http::Request) -> Self {
        Self(raw)
    }

    /// For example `GET`.
    #[must_use]
    pub fn method(&self) -> String {
        self.0.method()
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> String {
        self.0.scheme()
    }

    /// Host and port as the client asked for them.
    #[must_use]
    pub fn authority(&self) -> String {
        self.0.authority()
    }

    /// The normalised path, without the query.
    #[must_use]
    pub fn path(&self) -> Value {
        Value(self.0.path())
    }

    /// What follows the `?`, without it.
    #[must_use]
    pub fn query(&self) -> Option<Value> {
        self.0.query().map(Value)
    }

    /// The first value of a header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<Value> {
        self.0.header(name).map(Value)
    }

    /// Every value of a header, in order.
    #[must_use]
    pub fn header_values(&self, name: &str) -> Vec<Value> {
        self.0.header_values(name).into_iter().map(Value).collect()
    }

    /// Every header, names in lower case. Costs as much as all of them: ask for one where one will do.
    #[must_use]
    pub fn headers(&self) -> Vec<(String, Value)> {
        self.0.headers().into_iter().map(|header| (header.name, Value(header.value))).collect()
    }

    /// The id of this request, as in `X-Request-Id`.
    #[must_use]
    pub fn id(&self) -> String {
        self.0.id()
    }

    /// The backend chosen so far.
    #[must_use]
    pub fn backend(&self) -> Option<String> {
        self.0.backend()
    }

    /// The route label chosen so far.
    #[must_use]
    pub fn route(&self) -> Option<String> {
        self.0.route()
    }
}

/// The response, as the filters further in left it.
pub struct Response<'a>(&'a http::Response);

impl<'a> Response<'a> {
    pub(crate) fn new(raw: &'a http::Response) -> Self {
        Self(raw)
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.0.status()
    }

    /// The first value of a header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<Value> {
        self.0.header(name).map(Value)
    }

    /// Every value of a header, in order.
    #[must_use]
    pub fn header_values(&self, name: &str) -> Vec<Value> {
        self.0.header_values(name).into_iter().map(Value).collect()
    }

    /// Every header, names in lower case. Costs as much as all of them: ask for one where one will do.
    #[must_use]
    pub fn headers(&self) -> Vec<(String, Value)> {
        self.0.headers().into_iter().map(|header| (header.name, Value(header.value))).collect()
    }
}
