//! Peers from Debian's packages. None of these builds has QUIC.

use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::bench::machine::{PROXY_CORE, pinned};
use crate::bench::server::{Ports, Site};
use crate::process::find;

/// Name, program, package and how to start it.
type Peer = (&'static str, &'static str, &'static str, fn(&Site, Ports, u16) -> Result<Command>);

pub const PEERS: &[Peer] = &[
    ("nginx", "nginx", "nginx-light", nginx),
    ("haproxy", "haproxy", "haproxy", haproxy),
    ("h2o", "h2o", "h2o", h2o),
    ("nghttpx", "nghttpx", "nghttp2-proxy", nghttpx),
];

/// The program, pinned; some are in folders of system programs.
fn program(name: &str) -> Command {
    pinned(PROXY_CORE, find(name).unwrap_or_else(|| name.into()))
}

fn nginx(site: &Site, ports: Ports, backend: u16) -> Result<Command> {
    let file = site.folder.join("nginx.conf");
    let text = format!(
        "worker_processes 1;\ndaemon off;\nuser root;\npid {folder}/nginx.pid;\nerror_log {folder}/nginx-error.log;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n\
         access_log off;\ntcp_nodelay on;\nkeepalive_requests 1000000000;\nserver_tokens off;\n\
         client_body_temp_path {folder}/nginx-tmp;\nproxy_temp_path {folder}/nginx-tmp;\n\
         fastcgi_temp_path {folder}/nginx-tmp;\nuwsgi_temp_path {folder}/nginx-tmp;\nscgi_temp_path {folder}/nginx-tmp;\n\
         proxy_max_temp_file_size 0;\n\
         upstream bench {{ server 127.0.0.1:{backend}; keepalive 256; keepalive_requests 1000000000; }}\n\
         server {{\n\
         listen 127.0.0.1:{plain} backlog=4096;\nlisten 127.0.0.1:{tls} ssl http2 backlog=4096;\n\
         ssl_certificate {certificate};\nssl_certificate_key {key};\nssl_protocols TLSv1.3;\n\
         location / {{ proxy_pass http://bench; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n\
         }}\n}}\n",
        folder = site.folder.display(),
        plain = ports.plain,
        tls = ports.tls,
        certificate = site.certificate.display(),
        key = site.key.display(),
    );
    fs::write(&file, text)?;
    let mut command = program("nginx");
    command.arg("-c").arg(file);
    Ok(command)
}

fn haproxy(site: &Site, ports: Ports, backend: u16) -> Result<Command> {
    // HAProxy wants certificate and key in one file.
    let pem = site.folder.join("haproxy.pem");
    fs::write(&pem, [fs::read(&site.certificate)?, fs::read(&site.key)?].concat())?;
    let file = site.folder.join("haproxy.cfg");
    let text = format!(
        "global\n  nbthread 1\n  maxconn 8192\n  tune.ssl.default-dh-param 2048\n\
         defaults\n  mode http\n  timeout client 300s\n  timeout server 300s\n  timeout connect 5s\n  http-reuse always\n\
         frontend plain\n  bind 127.0.0.1:{plain} backlog 4096\n  default_backend bench\n\
         frontend tls\n  bind 127.0.0.1:{tls} backlog 4096 ssl crt {pem} alpn h2,http/1.1 ssl-min-ver TLSv1.3\n  \
         default_backend bench\n\
         backend bench\n  server one 127.0.0.1:{backend} pool-max-conn -1\n",
        plain = ports.plain,
        tls = ports.tls,
        pem = pem.display(),
    );
    fs::write(&file, text)?;
    let mut command = program("haproxy");
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

fn h2o(site: &Site, ports: Ports, backend: u16) -> Result<Command> {
    let file = site.folder.join("h2o.yaml");
    let text = format!(
        "user: root\nnum-threads: 1\nmax-connections: 8192\nhttp1-request-timeout: 300\n\
         listen:\n  host: 127.0.0.1\n  port: {plain}\n\
         hosts:\n  default:\n    listen:\n      host: 127.0.0.1\n      port: {tls}\n      ssl:\n        \
         certificate-file: {certificate}\n        key-file: {key}\n    \
         paths:\n      /:\n        proxy.reverse.url: http://127.0.0.1:{backend}/\n        \
         proxy.timeout.keepalive: 60000\n",
        plain = ports.plain,
        tls = ports.tls,
        certificate = site.certificate.display(),
        key = site.key.display(),
    );
    fs::write(&file, text)?;
    let mut command = program("h2o");
    command.arg("-c").arg(file);
    Ok(command)
}

fn nghttpx(site: &Site, ports: Ports, backend: u16) -> Result<Command> {
    let file = site.folder.join("nghttpx.conf");
    let text = format!(
        "workers=1\naccesslog-file=/dev/null\nlog-level=ERROR\nno-ocsp=yes\nbackend-keep-alive-timeout=300s\n\
         frontend=127.0.0.1,{plain};no-tls\nfrontend=127.0.0.1,{tls}\nbackend=127.0.0.1,{backend}\n\
         private-key-file={key}\ncertificate-file={certificate}\n",
        plain = ports.plain,
        tls = ports.tls,
        certificate = site.certificate.display(),
        key = site.key.display(),
    );
    fs::write(&file, text)?;
    let mut command = program("nghttpx");
    command.arg(format!("--conf={}", file.display()));
    Ok(command)
}
