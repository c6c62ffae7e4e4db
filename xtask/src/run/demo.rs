//! Something useful behind the proxy: a small HTTP/1.1 server that answers with what it received, so that the first
//! request shows what the proxy did to it, and that streams when asked to. Loopback only; never shipped.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// A head longer than this is not answered.
const MAX_HEAD: u64 = 64 * 1024;
/// Events of a stream, one each `STREAM_PAUSE`.
const STREAM_EVENTS: u32 = 10;
const STREAM_PAUSE: Duration = Duration::from_millis(300);

/// Serves on `port` of both loopback addresses, or on a free port where that one is taken; returns the port.
pub fn serve(name: &'static str, port: u16) -> io::Result<u16> {
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let port = v4.local_addr()?.port();
    // `localhost` may mean either address; a machine without IPv6 does with one.
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).ok();
    for listener in std::iter::once(v4).chain(v6) {
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || drop(connection(name, stream)));
            }
        });
    }
    Ok(port)
}

struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// Answers request after request until the peer closes.
fn connection(name: &str, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read_head(&mut reader)? {
        if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let received = read_body(&mut reader, &request)?;
        let close = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        match request.path() {
            path if path.ends_with("/stream") || path.ends_with("/events") => send_stream(&mut stream, name, &request)?,
            "/health" => send(&mut stream, &request, &json!({"status": "ok", "service": name}))?,
            _ => send(&mut stream, &request, &echo(name, peer, &request, received))?,
        }
        if close {
            break;
        }
    }
    Ok(())
}

fn read_head(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut lines = Vec::new();
    let mut head = reader.take(MAX_HEAD);
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let fields = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
    let headers = fields.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect();
    Ok(Some(Request { method: method.to_owned(), target: target.to_owned(), headers }))
}

/// Reads the body to its end and returns its length.
fn read_body(reader: &mut BufReader<TcpStream>, request: &Request) -> io::Result<u64> {
    if request.header("transfer-encoding").is_some() {
        return read_chunks(reader);
    }
    let length = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    io::copy(&mut reader.take(length), &mut io::sink())
}

fn read_chunks(reader: &mut BufReader<TcpStream>) -> io::Result<u64> {
    let mut total = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
        io::copy(&mut reader.by_ref().take(size), &mut io::sink())?;
        total += size;
        // After a chunk comes an empty line; after the last one trailers, then an empty line.
        let mut rest = String::new();
        while reader.read_line(&mut rest)? > 2 {
            rest.clear();
        }
        if size == 0 {
            return Ok(total);
        }
    }
}

/// What the proxy sent, as JSON.
fn echo(name: &str, peer: SocketAddr, request: &Request, received: u64) -> Value {
    let mut headers = Map::new();
    for (key, value) in &request.headers {
        let joined = match headers.get(key).and_then(Value::as_str) {
            Some(before) => format!("{before}, {value}"),
            None => value.clone(),
        };
        headers.insert(key.clone(), joined.into());
    }
    json!({
        "service": name,
        "method": request.method,
        "path": request.target,
        "headers": headers,
        "body_bytes": received,
        "connection_from": peer.to_string(),
        "try": "the same path with /stream at its end",
    })
}

fn send(stream: &mut TcpStream, request: &Request, value: &Value) -> io::Result<()> {
    let body = format!("{value:#}\n");
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    if request.method != "HEAD" {
        answer.push_str(&body);
    }
    stream.write_all(answer.as_bytes())
}

/// Server-sent events, one chunk each.
fn send_stream(stream: &mut TcpStream, name: &str, request: &Request) -> io::Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\ntransfer-encoding: chunked\r\n\r\n",
    )?;
    if request.method == "HEAD" {
        return Ok(());
    }
    for number in 1..=STREAM_EVENTS {
        let event = format!("id: {number}\ndata: event {number} of {STREAM_EVENTS} from {name}\n\n");
        write!(stream, "{:x}\r\n{event}\r\n", event.len())?;
        thread::sleep(STREAM_PAUSE);
    }
    stream.write_all(b"0\r\n\r\n")
}
