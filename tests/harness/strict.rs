//! A parser that accepts only what RFC 9112 lets a sender send, and less: no optional white space tricks, no
//! chunk extensions, one `Host`. What the proxy sends to an origin must parse here as exactly the requests that
//! the test counted; whatever doesn't is ambiguous to somebody.

/// One request as it stood on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrictRequest {
    /// The method.
    pub method: String,
    /// The request target, as sent.
    pub target: String,
    /// Names as sent, values without surrounding white space.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The decoded body.
    pub body: Vec<u8>,
    /// Fields after a chunked body.
    pub trailers: Vec<(String, Vec<u8>)>,
}

impl StrictRequest {
    /// Every value of a header, as text.
    pub fn values(&self, name: &str) -> Vec<String> {
        values(&self.headers, name)
    }

    /// The only value of a header; panics where there are two.
    pub fn value(&self, name: &str) -> Option<String> {
        let mut values = self.values(name);
        assert!(values.len() < 2, "{name} came {} times: {values:?}", values.len());
        values.pop()
    }
}

fn values(fields: &[(String, Vec<u8>)], name: &str) -> Vec<String> {
    let same = fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
    same.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

/// What a parse gave.
#[derive(Debug)]
pub enum Parsed {
    /// A whole request and how many bytes it took.
    Request(Box<StrictRequest>, usize),
    /// The head is whole, the body isn't yet.
    Head(Box<StrictRequest>),
    /// So far nothing is wrong and the head isn't whole.
    Incomplete,
}

/// Parses the first request of `bytes`.
///
/// # Errors
/// What no strict sender would have sent.
pub fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let Some(head_end) = find(bytes, b"\r\n\r\n") else {
        return Ok(Parsed::Incomplete);
    };
    let mut lines = split_lines(&bytes[..head_end + 2])?.into_iter();
    let (method, target) = request_line(lines.next().ok_or("no request line")?)?;
    let headers = lines.map(field_line).collect::<Result<Vec<_>, _>>()?;
    let framing = framing(&headers)?;
    let mut request = StrictRequest { method, target, headers, body: Vec::new(), trailers: Vec::new() };
    let rest = &bytes[head_end + 4..];
    match framing {
        Framing::Length(length) => {
            if rest.len() < length {
                return Ok(Parsed::Head(Box::new(request)));
            }
            request.body = rest[..length].to_vec();
            Ok(Parsed::Request(Box::new(request), head_end + 4 + length))
        }
        Framing::Chunked => match chunked(rest)? {
            None => Ok(Parsed::Head(Box::new(request))),
            Some((body, trailers, used)) => {
                request.body = body;
                request.trailers = trailers;
                Ok(Parsed::Request(Box::new(request), head_end + 4 + used))
            }
        },
    }
}

enum Framing {
    Length(usize),
    Chunked,
}

fn framing(headers: &[(String, Vec<u8>)]) -> Result<Framing, String> {
    let hosts = values(headers, "host");
    if hosts.len() != 1 {
        return Err(format!("{} Host fields", hosts.len()));
    }
    if hosts[0].is_empty() || hosts[0].contains(['@', '/', ' ', ',', '\t']) {
        return Err(format!("Host {:?}", hosts[0]));
    }
    let lengths = values(headers, "content-length");
    let codings = values(headers, "transfer-encoding");
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Framing::Length(0)),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map(Framing::Length).map_err(|error| format!("Content-Length {length}: {error}"))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        _ => Err(format!("Content-Length {lengths:?} with Transfer-Encoding {codings:?}")),
    }
}

type Chunked = (Vec<u8>, Vec<(String, Vec<u8>)>, usize);

fn chunked(bytes: &[u8]) -> Result<Option<Chunked>, String> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else {
            return Ok(None);
        };
        let size = &bytes[at..at + end];
        if size.is_empty() || size.len() > 16 || !size.iter().all(u8::is_ascii_hexdigit) {
            return Err(format!("chunk size {:?}", String::from_utf8_lossy(size)));
        }
        let size = usize::from_str_radix(std::str::from_utf8(size).map_err(|error| error.to_string())?, 16)
            .map_err(|error| error.to_string())?;
        at += end + 2;
        if size == 0 {
            return trailers(&bytes[at..], body, at);
        }
        if bytes.len() < at + size + 2 {
            return Ok(None);
        }
        body.extend_from_slice(&bytes[at..at + size]);
        if &bytes[at + size..at + size + 2] != b"\r\n" {
            return Err("chunk data without its CRLF".into());
        }
        at += size + 2;
    }
}

fn trailers(bytes: &[u8], body: Vec<u8>, at: usize) -> Result<Option<Chunked>, String> {
    if bytes.starts_with(b"\r\n") {
        return Ok(Some((body, Vec::new(), at + 2)));
    }
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let fields = split_lines(&bytes[..end + 2])?.into_iter().map(field_line).collect::<Result<Vec<_>, _>>()?;
    for forbidden in ["content-length", "transfer-encoding", "host", "trailer", "authorization"] {
        if !values(&fields, forbidden).is_empty() {
            return Err(format!("{forbidden} in the trailers"));
        }
    }
    Ok(Some((body, fields, at + end + 4)))
}

fn request_line(line: &[u8]) -> Result<(String, String), String> {
    let text = std::str::from_utf8(line).map_err(|_| format!("request line {:?}", String::from_utf8_lossy(line)))?;
    let parts: Vec<&str> = text.split(' ').collect();
    let [method, target, version] = parts.as_slice() else {
        return Err(format!("request line {text:?}"));
    };
    let visible = !target.is_empty() && target.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'#');
    let origin_form = target.starts_with('/') || (*target == "*" && *method == "OPTIONS");
    if !is_token(method.as_bytes()) || !visible || !origin_form || *version != "HTTP/1.1" {
        return Err(format!("request line {text:?}"));
    }
    Ok(((*method).to_owned(), (*target).to_owned()))
}

fn field_line(line: &[u8]) -> Result<(String, Vec<u8>), String> {
    let shown = || format!("field line {:?}", String::from_utf8_lossy(line));
    let colon = line.iter().position(|byte| *byte == b':').ok_or_else(shown)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let clean = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=0x7e | 0x80..));
    if !is_token(name) || !clean {
        return Err(shown());
    }
    let name = String::from_utf8(name.to_vec()).map_err(|_| shown())?;
    Ok((name, value.trim_ascii().to_vec()))
}

/// Lines that end in CRLF; a CR or LF by itself is an error.
fn split_lines(bytes: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = find(rest, b"\r\n") {
        let line = &rest[..end];
        if line.contains(&b'\r') || line.contains(&b'\n') || line.contains(&0) {
            return Err(format!("bare CR, LF or NUL in {:?}", String::from_utf8_lossy(line)));
        }
        lines.push(line);
        rest = &rest[end + 2..];
    }
    Ok(lines)
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Where `needle` first stands in `bytes`.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
