//! Guests for tests, written as WebAssembly text: small, misbehaving on purpose, and built without a guest compiler.

mod image;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use self::image::Image;
use super::component::GuestSpec;
use crate::config::model::Isolation;
use crate::message::{Connection, Exchange, Priority, Protocol, Provenance, RequestHead, RequestId, Scheme};

/// Where the guest's constants begin; its heap begins at `HEAP`.
const DATA: u32 = 1024;
const HEAP: u32 = 2 << 16;

/// A guest in the making.
///
/// The text of a hook is the body of a function that leaves the address of a verdict on the stack. It can use
/// `$header` (handle, name, length, result), `$random`, `$log`, `$now`, and the globals `$configured` (calls of
/// `configure`) and `$calls` (calls of hooks), and the parameter `$request` (and `$response`).
pub(crate) struct TestGuest {
    image: Image,
    hooks: Vec<&'static str>,
    exports: Vec<&'static str>,
    configure: String,
    request: String,
    response: String,
    extra: String,
    extra_import: Option<ExtraImport>,
    pages: u32,
}

/// Something else that a guest imports.
#[derive(Clone, Copy)]
pub(crate) struct ExtraImport {
    /// Packages, as WIT.
    pub(crate) packages: &'static str,
    /// The line of the world.
    pub(crate) import: &'static str,
    /// The import of the module.
    pub(crate) core: &'static str,
}

/// An interface that nobody offers.
pub(crate) const UNKNOWN: ExtraImport = ExtraImport {
    packages: "package test:unknown { interface other { f: func(); } }",
    import: "import test:unknown/other;",
    core: r#"(import "test:unknown/other" "f" (func $f))"#,
};

/// Random numbers of WASI, as `$wasi_random`.
pub(crate) const WASI_RANDOM: ExtraImport = ExtraImport {
    packages: "package wasi:random@0.2.0 { interface random { get-random-u64: func() -> u64; } }",
    import: "import wasi:random/random@0.2.0;",
    core: r#"(import "wasi:random/random@0.2.0" "get-random-u64" (func $wasi_random (result i64)))"#,
};

/// A header edit.
#[derive(Clone, Copy)]
pub(crate) enum TestEdit<'a> {
    Set(&'a str, &'a [u8]),
    Append(&'a str, &'a [u8]),
    Remove(&'a str),
}

/// What a request or response edit changes.
#[derive(Clone, Copy, Default)]
pub(crate) struct TestEdits<'a> {
    pub(crate) headers: &'a [TestEdit<'a>],
    pub(crate) method: Option<&'a str>,
    pub(crate) path: Option<&'a str>,
    pub(crate) authority: Option<&'a str>,
    pub(crate) backend: Option<&'a str>,
    pub(crate) route: Option<&'a str>,
    pub(crate) timeout: Option<u32>,
    pub(crate) priority: Option<(u8, bool)>,
    pub(crate) tags: &'a [(&'a str, &'a str)],
    pub(crate) status: Option<u16>,
}

pub(crate) const REQUEST: &str = "request-headers";
pub(crate) const RESPONSE: &str = "response-headers";

impl TestGuest {
    /// A guest that declares both hooks and always says `next`.
    pub(crate) fn new() -> Self {
        let mut guest = Self {
            image: Image::default(),
            hooks: vec![REQUEST, RESPONSE],
            exports: vec![REQUEST, RESPONSE],
            configure: String::new(),
            request: String::new(),
            response: String::new(),
            extra: String::new(),
            extra_import: None,
            pages: 4,
        };
        let next = guest.next();
        guest.request = next.clone();
        guest.response = next;
        guest
    }

    pub(crate) fn hooks(mut self, hooks: &[&'static str]) -> Self {
        self.hooks = hooks.to_vec();
        self
    }

    pub(crate) fn exports(mut self, exports: &[&'static str]) -> Self {
        self.exports = exports.to_vec();
        self
    }

    pub(crate) fn pages(mut self, pages: u32) -> Self {
        self.pages = pages;
        self
    }

    /// Statements that run in `configure` before it returns its hooks.
    pub(crate) fn configure(mut self, text: &str) -> Self {
        text.clone_into(&mut self.configure);
        self
    }

    /// Makes `configure` return an error.
    pub(crate) fn rejects(mut self, path: &[&str], message: &str) -> Self {
        let steps: Vec<_> = path.iter().map(|step| self.image.slice(step.as_bytes())).collect();
        let path = self.image.list(steps.iter().flatten().copied(), 2);
        let message = self.image.slice(message.as_bytes());
        let result = self.image.words(&[1, path[0], path[1], message[0], message[1]]);
        self.configure = format!("(return (i32.const {result}))");
        self
    }

    pub(crate) fn on_request(mut self, text: impl FnOnce(&mut Self) -> String) -> Self {
        self.request = text(&mut self);
        self
    }

    pub(crate) fn on_response(mut self, text: impl FnOnce(&mut Self) -> String) -> Self {
        self.response = text(&mut self);
        self
    }

    /// More fields of the module.
    pub(crate) fn extra(mut self, text: &str) -> Self {
        text.clone_into(&mut self.extra);
        self
    }

    pub(crate) fn imports(mut self, import: ExtraImport) -> Self {
        self.extra_import = Some(import);
        self
    }

    /// The address of a constant, and its length.
    pub(crate) fn constant(&mut self, text: &str) -> [u32; 2] {
        self.image.slice(text.as_bytes())
    }

    /// `next`.
    pub(crate) fn next(&mut self) -> String {
        format!("(i32.const {})", self.image.words(&[0]))
    }

    /// `edit` of a request.
    pub(crate) fn edit(&mut self, edits: &TestEdits) -> String {
        let image = &mut self.image;
        let headers = image.edits(edits.headers);
        let mut words = vec![1, headers[0], headers[1]];
        for text in [edits.method, edits.path, edits.authority, edits.backend, edits.route] {
            words.extend(image.option(text));
        }
        words.extend([u32::from(edits.timeout.is_some()), edits.timeout.unwrap_or(0)]);
        // Three bytes: there is one, its urgency, whether it is incremental.
        words.push(
            edits
                .priority
                .map_or(0, |(urgency, incremental)| 1 | u32::from(urgency) << 8 | u32::from(incremental) << 16),
        );
        words.extend(image.pairs(edits.tags));
        format!("(i32.const {})", image.words(&words))
    }

    /// `edit` of a response.
    pub(crate) fn edit_response(&mut self, edits: &TestEdits) -> String {
        let headers = self.image.edits(edits.headers);
        let tags = self.image.pairs(edits.tags);
        let status = edits.status.map_or(0, |status| 1 | u32::from(status) << 16);
        let words = [1, status, headers[0], headers[1], tags[0], tags[1]];
        format!("(i32.const {})", self.image.words(&words))
    }

    /// `respond`.
    pub(crate) fn respond(&mut self, status: u16, headers: &[(&str, &str)], body: &str) -> String {
        let headers = self.image.pairs(headers);
        let body = self.image.slice(body.as_bytes());
        let words = [2, u32::from(status), headers[0], headers[1], body[0], body[1]];
        format!("(i32.const {})", self.image.words(&words))
    }

    /// The module as a component.
    pub(crate) fn build(mut self) -> Arc<[u8]> {
        let text = self.module();
        let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let mut resolve = Resolve::new();
        resolve.push_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")).unwrap();
        let package = resolve.push_str("test.wit", &self.world()).unwrap();
        let world = resolve.select_world(&[package], Some("guest")).unwrap();
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap().into()
    }

    fn world(&self) -> String {
        let extra = self.extra_import.map_or(("", ""), |extra| (extra.packages, extra.import));
        let mut text = format!("package test:guest;\n{}\nworld guest {{\n", extra.0);
        for import in ["types", "http", "log", "clock", "random", "config", "connection"] {
            let _ = writeln!(text, "import gpanel:filter/{import}@1.0.0;");
        }
        let _ = writeln!(text, "{}\nexport gpanel:filter/lifecycle@1.0.0;", extra.1);
        for export in &self.exports {
            let _ = writeln!(text, "export gpanel:filter/{export}@1.0.0;");
        }
        text.push('}');
        text
    }

    fn module(&mut self) -> String {
        let hooks: Vec<_> = self.hooks.iter().map(|hook| self.image.slice(hook.as_bytes())).collect();
        let hooks = self.image.list(hooks.iter().flatten().copied(), 2);
        let configured = self.image.words(&[0, hooks[0], hooks[1]]);
        let schema = self.image.slice(b"{\"type\":\"object\"}");
        let schema = self.image.words(&schema);
        let import = self.extra_import.map_or("", |extra| extra.core);
        let mut data = String::new();
        for byte in &self.image.bytes {
            let _ = write!(data, "\\{byte:02x}");
        }
        let mut text = format!(
            r#"(module
            {import}
            (import "gpanel:filter/http@1.0.0" "[method]request.header" (func $header (param i32 i32 i32 i32)))
            (import "gpanel:filter/http@1.0.0" "[resource-drop]request" (func $drop_request (param i32)))
            (import "gpanel:filter/http@1.0.0" "[resource-drop]response" (func $drop_response (param i32)))
            (import "gpanel:filter/http@1.0.0" "[method]response.status" (func $status (param i32) (result i32)))
            (import "gpanel:filter/random@1.0.0" "u64" (func $random (result i64)))
            (import "gpanel:filter/clock@1.0.0" "now" (func $now (result i64)))
            (import "gpanel:filter/connection@1.0.0" "tls" (func $tls (result i32)))
            (import "gpanel:filter/log@1.0.0" "write" (func $log (param i32 i32 i32 i32 i32)))
            (memory (export "memory") {pages})
            (global $heap (mut i32) (i32.const {HEAP}))
            (global $configured (mut i32) (i32.const 0))
            (global $calls (mut i32) (i32.const 0))
            (data (i32.const {DATA}) "{data}")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
              (global.get $heap)
              (global.set $heap (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 7)) (i32.const -8))))
            (func (export "gpanel:filter/lifecycle@1.0.0#schema") (result i32) (i32.const {schema}))
            (func (export "gpanel:filter/lifecycle@1.0.0#configure") (result i32)
              (global.set $configured (i32.add (global.get $configured) (i32.const 1)))
              {configure}
              (i32.const {configured}))
            {extra}
            "#,
            pages = self.pages,
            configure = self.configure,
            extra = self.extra,
        );
        let begin = format!(
            "(global.set $heap (i32.const {HEAP})) (global.set $calls (i32.add (global.get $calls) (i32.const 1)))"
        );
        if self.exports.contains(&REQUEST) {
            let _ = writeln!(
                text,
                r#"(func (export "gpanel:filter/request-headers@1.0.0#on-request-headers") (param $request i32) (result i32)
                (local $i i32) {begin} {body} (call $drop_request (local.get $request)))"#,
                body = self.request,
            );
        }
        if self.exports.contains(&RESPONSE) {
            let _ = writeln!(
                text,
                r#"(func (export "gpanel:filter/response-headers@1.0.0#on-response-headers") (param $request i32) (param $response i32) (result i32)
                (local $i i32) {begin} {body} (call $drop_request (local.get $request)) (call $drop_response (local.get $response)))"#,
                body = self.response,
            );
        }
        text.push(')');
        text
    }
}

/// What a guest is made from in most tests.
pub(crate) fn spec(component: Arc<[u8]>) -> GuestSpec {
    GuestSpec {
        name: "test".into(),
        component,
        config: serde_json::json!({}),
        memory: 16 << 20,
        timeout: Duration::from_millis(20),
        isolation: Isolation::Reuse,
    }
}

/// An exchange with a few headers.
pub(crate) fn exchange() -> Box<Exchange> {
    let address = SocketAddr::from(([127, 0, 0, 1], 1234));
    let mut headers = HeaderMap::new();
    for (name, value) in [("user-agent", "test"), ("accept", "*/*"), ("x-tier", "gold")] {
        headers.append(name, value.parse().unwrap());
    }
    Box::new(Exchange {
        provenance: Provenance::direct("localhost".parse().unwrap()),
        connection: Arc::new(Connection {
            peer: address,
            local: address,
            protocol: Protocol::Http2,
            tls: None,
            rtt: None,
        }),
        client: address,
        id: RequestId("0123456789abcdef0123456789abcdef".into()),
        early_data: false,
        request: RequestHead {
            method: Method::GET,
            scheme: Scheme::Https,
            authority: "example.org".parse().unwrap(),
            path_and_query: "/a?b=c".parse().unwrap(),
            headers,
        },
        target: None,
        route: None,
        timeout: None,
        priority: Priority::default(),
        tags: Vec::new(),
        response: None,
        depth: 0,
        skipped: 0,
    })
}
