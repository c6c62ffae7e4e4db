"""An ordinary HTTP/3 client (aioquic): `h3_client.py PORT ACTION`. Prints JSON."""

import asyncio
import json
import sys

from aioquic.h3.connection import H3Connection
from aioquic.h3 import events as h3
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol

from h3_wire import configuration


class Client(QuicConnectionProtocol):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.http = H3Connection(self._quic)
        self.streams = {}

    def start(self, method, path, body=b"", end=True, more=()):
        stream = self._quic.get_next_available_stream_id()
        self.streams[stream] = {"headers": [], "body": b"", "done": asyncio.get_running_loop().create_future()}
        fields = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path), *more]
        self.http.send_headers(stream, [(k.encode(), v.encode()) for k, v in fields], end and not body)
        if body:
            self.http.send_data(stream, body, end)
        self.transmit()
        return stream

    async def result(self, stream):
        kept = self.streams[stream]
        await asyncio.wait_for(kept["done"], 20)
        first = {k.decode(): v.decode("latin-1") for k, v in kept["headers"][0]}
        trailers = {k.decode(): v.decode("latin-1") for k, v in kept["headers"][1]} if len(kept["headers"]) > 1 else None
        return {"status": int(first[":status"]), "headers": first, "trailers": trailers, "body": kept["body"]}

    def quic_event_received(self, event):
        for http_event in self.http.handle_event(event):
            kept = self.streams.get(getattr(http_event, "stream_id", None))
            if kept is None:
                continue
            if isinstance(http_event, h3.HeadersReceived):
                kept["headers"].append(http_event.headers)
            elif isinstance(http_event, h3.DataReceived):
                kept["body"] += http_event.data
            if http_event.stream_ended and not kept["done"].done():
                kept["done"].set_result(None)


async def behaviours(port):
    found = {}
    async with connect("127.0.0.1", port, configuration=configuration(), create_protocol=Client) as client:
        page = await client.result(client.start("GET", "/page"))
        found["page"] = [page["status"], page["body"].decode()]
        streams = [client.start("GET", f"/bytes/{size}") for size in (0, 1, 100_000, 1_000_000) for _ in range(5)]
        found["sizes"] = [len((await client.result(stream))["body"]) for stream in streams]
        echo = await client.result(client.start("POST", "/echo", b"x" * 500_000))
        found["echo"] = [echo["status"], len(echo["body"])]
        trailers = await client.result(client.start("GET", "/trailers", more=[("te", "trailers")]))
        found["trailers"] = trailers["trailers"]
        client._quic.request_key_update()
        after = await client.result(client.start("GET", "/bytes/200000"))
        found["after_key_update"] = len(after["body"])
        client.change_connection_id()
        after = await client.result(client.start("GET", "/bytes/200000"))
        found["after_connection_id_change"] = len(after["body"])
    print(json.dumps(found))


async def early(port):
    tickets = []
    async with connect(
        "127.0.0.1", port, configuration=configuration(), create_protocol=Client, session_ticket_handler=tickets.append
    ) as client:
        await client.result(client.start("GET", "/first"))
        for _ in range(100):
            if tickets:
                break
            await client.ping()
    found = {"tickets": len(tickets), "max_early_data": tickets[-1].max_early_data_size if tickets else None}
    if tickets:
        resumed = configuration(session_ticket=tickets[-1])
        async with connect(
            "127.0.0.1", port, configuration=resumed, create_protocol=Client, wait_connected=False
        ) as client:
            requests = {
                "get": client.start("GET", "/early-get"),
                "post": client.start("POST", "/early-post", b"unsafe"),
            }
            # aioquic notes the end of the handshake only for those who wait for it.
            connected = asyncio.ensure_future(client.wait_connected())
            results = {name: await client.result(stream) for name, stream in requests.items()}
            await connected
            found["accepted"] = client._quic.tls.early_data_accepted
            found["statuses"] = {name: result["status"] for name, result in results.items()}
            late = await client.result(client.start("POST", "/late-post", b"safe now"))
            found["late"] = late["status"]
    print(json.dumps(found))


asyncio.run({"behaviours": behaviours, "early": early}[sys.argv[2]](int(sys.argv[1])))
