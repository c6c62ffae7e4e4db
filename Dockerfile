# syntax=docker/dockerfile:1
# The image ghostpanel/proxy:  docker build -t ghostpanel/proxy .
# Two stages: the compiler stays behind. The release profile takes about ten minutes on four cores.

FROM rust:1.95-bookworm AS build
WORKDIR /src
RUN rustup target add wasm32-unknown-unknown
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo xtask build-filters \
 && cargo build --locked --release --package gpanel-proxy \
 && install -D target/release/gpanel-proxy /out/gpanel-proxy

FROM debian:bookworm-slim
# Roots for TLS towards backends.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /var/lib/gpanel --create-home gpanel \
 && install -d -o gpanel -g gpanel /var/cache/gpanel-proxy /var/log/gpanel
COPY --from=build /out/gpanel-proxy /usr/local/bin/gpanel-proxy
USER gpanel
ENV XDG_CACHE_HOME=/var/cache
# 9443: HTTP/3 on UDP, h2 and http/1.1 on TCP. 9080: cleartext. 9090: health and metrics.
EXPOSE 9443/udp 9443/tcp 9080/tcp 9090/tcp
# SIGTERM drains; give it longer than `drain_timeout` before SIGKILL.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/gpanel-proxy"]
CMD ["--config", "/etc/gpanel/proxy.toml"]
