"""HTTP/3 by hand on aioquic's QUIC: frames and header sections as bytes, and what became of a stream.

Nothing here checks anything: the scripts beside it send what no well-behaved library would.
"""

import asyncio
import ssl

import pylsqpack
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import encode_uint_var
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration

DATA, HEADERS, CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID = 0, 1, 3, 4, 5, 7, 13
CONTROL, PUSH, ENCODER, DECODER = 0, 1, 2, 3

GET = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/h3")]


def raw(text):
    return text if isinstance(text, bytes) else text.encode()


def integer(prefix, bits, value):
    """An integer of RFC 7541 section 5.1 under the bits of `prefix`."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([prefix | value])
    out = [prefix | limit]
    value -= limit
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    out.append(value)
    return bytes(out)


def section(fields):
    """A field section of literals, which needs no dynamic table."""
    out = b"\0\0"
    for name, value in fields:
        name, value = raw(name), raw(value)
        out += integer(0x20, 3, len(name)) + name + integer(0, 7, len(value)) + value
    return out


def frame(kind, payload=b""):
    return encode_uint_var(kind) + encode_uint_var(len(payload)) + payload


def headers(fields):
    return frame(HEADERS, section(fields))


def parse_frames(data):
    """The whole frames at the start of `data`."""
    frames, at = [], 0

    def variable(at):
        if at >= len(data):
            return None, at
        size = 1 << (data[at] >> 6)
        if at + size > len(data):
            return None, at
        value = int.from_bytes(data[at : at + size], "big") & ((1 << (size * 8 - 2)) - 1)
        return value, at + size

    while True:
        kind, next_at = variable(at)
        if kind is None:
            return frames
        length, next_at = variable(next_at)
        if length is None or next_at + length > len(data):
            return frames
        frames.append((kind, data[next_at : next_at + length]))
        at = next_at + length


class Wire(QuicConnectionProtocol):
    """A connection that keeps what the other side does."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.received = {}
        self.resets = {}
        self.stops = {}
        self.ended = set()
        self.closed = None
        self.early_data_accepted = None
        self.changed = asyncio.Event()

    def quic_event_received(self, event):
        if isinstance(event, events.StreamDataReceived):
            self.received[event.stream_id] = self.received.get(event.stream_id, b"") + event.data
            if event.end_stream:
                self.ended.add(event.stream_id)
        elif isinstance(event, events.StreamReset):
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, events.StopSendingReceived):
            self.stops[event.stream_id] = event.error_code
        elif isinstance(event, events.ConnectionTerminated):
            self.closed = event.error_code
        elif isinstance(event, events.HandshakeCompleted):
            self.early_data_accepted = event.early_data_accepted
        self.changed.set()

    def send(self, stream, data, end=False):
        self._quic.send_stream_data(stream, data, end)
        self.transmit()

    def control(self, settings=b"", kind=CONTROL):
        """Opens a unidirectional stream; with the default a control stream with SETTINGS."""
        stream = self._quic.get_next_available_stream_id(is_unidirectional=True)
        data = b"\0" + frame(SETTINGS, settings) if kind == CONTROL else encode_uint_var(kind) + settings
        self.send(stream, data)
        return stream

    def request(self, data, end=True):
        stream = self._quic.get_next_available_stream_id()
        self.send(stream, data, end)
        return stream

    def status(self, stream):
        for kind, payload in parse_frames(self.received.get(stream, b"")):
            if kind == HEADERS:
                decoder = pylsqpack.Decoder(0, 0)
                _, fields = decoder.feed_header(stream, payload)
                status = int(dict(fields)[b":status"])
                if status >= 200:
                    return status
        return None

    def fields(self, stream):
        for kind, payload in parse_frames(self.received.get(stream, b"")):
            if kind == HEADERS:
                _, fields = pylsqpack.Decoder(0, 0).feed_header(stream, payload)
                return {name.decode(): value.decode("latin-1") for name, value in fields}
        return {}

    def body(self, stream):
        frames = parse_frames(self.received.get(stream, b""))
        return b"".join(payload for kind, payload in frames if kind == DATA)

    def outcome(self, stream):
        if self.closed is not None:
            return {"close": self.closed}
        if stream is not None:
            if stream in self.resets:
                return {"reset": self.resets[stream]}
            if self.status(stream) is not None:
                return {"status": self.status(stream)}
            # STOP_SENDING alone decides only when nothing else follows.
        return None

    async def until(self, condition, seconds):
        """Waits until `condition()` gives something."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            found = condition()
            if found:
                return found
            left = deadline - loop.time()
            if left <= 0:
                return None
            self.changed.clear()
            try:
                await asyncio.wait_for(self.changed.wait(), left)
            except asyncio.TimeoutError:
                pass

    async def decided(self, stream, seconds=8):
        found = await self.until(lambda: self.outcome(stream), seconds)
        if found is None and stream in self.stops:
            return {"stop": self.stops[stream]}
        return found or {"timeout": True}


def configuration(**named):
    made = QuicConfiguration(is_client=True, alpn_protocols=["h3"], verify_mode=ssl.CERT_NONE, **named)
    made.server_name = "localhost"
    return made


def open_wire(port, **named):
    settings = named.pop("configuration", None) or configuration()
    return connect("127.0.0.1", port, configuration=settings, create_protocol=Wire, **named)


async def closed_within(wire, seconds=5):
    """The code that the connection ended with."""
    await wire.until(lambda: wire.closed is not None, seconds)
    return wire.closed
