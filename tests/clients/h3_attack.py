"""Malformed HTTP/3, one case a connection. Prints what became of each as JSON: name -> outcome.

An outcome is {"status": n}, {"reset": code}, {"close": code}, {"stop": code} or {"timeout": true}, and "plain" is
the status of an ordinary GET afterwards. What is right is for the test to say.
"""

import asyncio
import json
import sys

from h3_wire import (
    CANCEL_PUSH, DATA, DECODER, ENCODER, GET, GOAWAY, HEADERS, MAX_PUSH_ID, PUSH, PUSH_PROMISE, SETTINGS,
    encode_uint_var, frame, headers, open_wire, section,
)


def replaced(name, value):
    return [(key, value if key == name else old) for key, old in GET]


def without(name):
    return [field for field in GET if field[0] != name]


MALFORMED = {
    "no method": without(":method"),
    "no path": without(":path"),
    "no scheme": without(":scheme"),
    "neither authority nor host": without(":authority"),
    "unknown pseudo-header": GET + [(":unknown", "x")],
    "upper case name": GET + [("X-Upper", "1")],
    "empty name": GET + [("", "1")],
    "name with space": GET + [("x y", "1")],
    "CRLF in a value": GET + [("x", "a\r\nHost: evil")],
    "NUL in a value": GET + [("x", "a\0b")],
    "connection": GET + [("connection", "keep-alive")],
    "transfer-encoding": GET + [("transfer-encoding", "chunked")],
    "upgrade": GET + [("upgrade", "h2c")],
    "te: gzip": GET + [("te", "gzip")],
    "empty path": replaced(":path", ""),
    "path without slash": replaced(":path", "h3"),
    "path with space": replaced(":path", "/h 3"),
    "path with CRLF": replaced(":path", "/h3 HTTP/1.1\r\nHost: evil\r\n\r\n"),
    "path with encoded NUL": replaced(":path", "/h3%00"),
    "method with space": replaced(":method", "GET /evil"),
    "authority with userinfo": replaced(":authority", "user@localhost"),
    "authority with CRLF": replaced(":authority", "localhost\r\nX: 1"),
    "host unlike authority": GET + [("host", "other.example")],
    "two hosts": GET + [("host", "localhost"), ("host", "localhost")],
    "content-length +6": GET + [("content-length", "+6")],
    "two content-lengths": GET + [("content-length", "1"), ("content-length", "2")],
    "content-length 5 without a body": GET + [("content-length", "5")],
    "CONNECT with path": replaced(":method", "CONNECT"),
    "TRACE": replaced(":method", "TRACE"),
    "extended CONNECT unannounced": replaced(":method", "CONNECT") + [(":protocol", "websocket")],
    "150 fields": GET + [(f"x-{number}", "1") for number in range(150)],
    "a value of 300 kB": GET + [("x", "a" * 300_000)],
    "a path of 10 kB": replaced(":path", "/" + "a" * 10_000),
}

POST = replaced(":method", "POST")

STREAMS = {
    "too much body": headers(POST + [("content-length", "3")]) + frame(DATA, b"far too long"),
    "too little body": headers(POST + [("content-length", "10")]) + frame(DATA, b"short"),
    "DATA first": frame(DATA, b"x"),
    "empty stream": b"",
    "SETTINGS on a request stream": frame(SETTINGS),
    "GOAWAY on a request stream": frame(GOAWAY, b"\0"),
    "MAX_PUSH_ID on a request stream": frame(MAX_PUSH_ID, b"\0"),
    "CANCEL_PUSH on a request stream": frame(CANCEL_PUSH, b"\0"),
    "PUSH_PROMISE from a client": headers(GET) + frame(PUSH_PROMISE, b"\0" + section(GET)),
    "HTTP/2 PING frame type": headers(GET) + frame(6, b"\0" * 8),
    "frame after trailers": headers(POST) + frame(DATA, b"x") + headers([("x", "1")]) + frame(DATA, b"y"),
    "FIN inside a frame": headers(POST) + b"\0\x10abc",
    "broken QPACK": frame(HEADERS, b"\0\0\xff\xff\xff"),
    "QPACK reference to the dynamic table": frame(HEADERS, b"\x02\0\x80"),
    "QPACK string longer than its section": frame(HEADERS, b"\0\0\x23xx"),
}


async def control_cases(port):
    found = {}

    async def with_control(name, action):
        async with open_wire(port) as wire:
            action(wire)
            await wire.until(lambda: wire.closed is not None, 3)
            found[name] = {"close": wire.closed} if wire.closed is not None else {"timeout": True}

    def second(wire):
        wire.control()
        wire.control()

    def push(wire):
        wire.control()
        wire.control(settings=b"\0", kind=PUSH)

    def closed_control(wire):
        stream = wire.control()
        wire.send(stream, b"", end=True)

    def no_settings(wire):
        stream = wire._quic.get_next_available_stream_id(is_unidirectional=True)
        wire.send(stream, b"\0" + frame(GOAWAY, b"\0"))

    def twice(wire):
        stream = wire.control()
        wire.send(stream, frame(SETTINGS))

    def data_on_control(wire):
        stream = wire.control()
        wire.send(stream, frame(DATA, b"x"))

    def h2_setting(wire):
        wire.control(settings=encode_uint_var(2) + encode_uint_var(1))

    def duplicate_setting(wire):
        pair = encode_uint_var(6) + encode_uint_var(100)
        wire.control(settings=pair + pair)

    def encoder_garbage(wire):
        wire.control()
        wire.control(settings=b"\x3f\xff\xff\xff\xff\xff\x7f", kind=ENCODER)

    def decoder_garbage(wire):
        wire.control()
        wire.control(settings=b"\x80", kind=DECODER)

    for name, action in {
        "second control stream": second,
        "push stream from a client": push,
        "closed control stream": closed_control,
        "control stream without SETTINGS": no_settings,
        "SETTINGS twice": twice,
        "DATA on the control stream": data_on_control,
        "HTTP/2 setting": h2_setting,
        "duplicate setting": duplicate_setting,
        "QPACK encoder stream beyond capacity": encoder_garbage,
        "QPACK decoder stream acknowledges nothing": decoder_garbage,
    }.items():
        await with_control(name, action)
    return found


async def one(port, data):
    async with open_wire(port) as wire:
        wire.control()
        stream = wire.request(data)
        outcome = await wire.decided(stream)
        if wire.closed is None:
            plain = wire.request(headers([(key, "/plain" if key == ":path" else value) for key, value in GET]))
            outcome["plain"] = (await wire.decided(plain)).get("status")
    if "plain" not in outcome:
        async with open_wire(port) as wire:
            wire.control()
            plain = wire.request(headers([(key, "/plain" if key == ":path" else value) for key, value in GET]))
            outcome["plain"] = (await wire.decided(plain)).get("status")
    return outcome


async def rapid_reset(port):
    async with open_wire(port) as wire:
        wire.control()
        sent = 0
        for _ in range(2000):
            if wire.closed is not None:
                break
            stream = wire._quic.get_next_available_stream_id()
            wire._quic.send_stream_data(stream, headers(GET), False)
            wire._quic.reset_stream(stream, 0x10C)
            wire.transmit()
            sent += 1
            if sent % 50 == 0:
                await wire.ping() if wire.closed is None else None
        return {"sent": sent, "closed": wire.closed}


async def main(port, group):
    found = {}
    if group == "malformed":
        for name, fields in MALFORMED.items():
            found[name] = await one(port, headers(fields))
    elif group == "streams":
        for name, data in STREAMS.items():
            found[name] = await one(port, data)
    elif group == "control":
        found = await control_cases(port)
    elif group == "reset":
        try:
            found = await rapid_reset(port)
        except ConnectionError as error:
            found = {"closed": str(error)}
    print(json.dumps(found))


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
