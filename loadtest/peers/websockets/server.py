"""A chat server on websockets, with its `broadcast`."""

import asyncio
import json
import sys
from collections import defaultdict

from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 4101
rooms = defaultdict(set)


async def connection(socket):
    joined = set()
    try:
        async for text in socket:
            join_ref, ref, topic, event, payload = json.loads(text)
            if event == "phx_join":
                rooms[topic].add(socket)
                joined.add(topic)
            elif event == "phx_leave":
                rooms[topic].discard(socket)
                joined.discard(topic)
            elif event not in ("heartbeat", "typing"):
                broadcast(rooms[topic], json.dumps([None, None, topic, event, payload], separators=(",", ":")))
            answer = [join_ref, ref, topic, "phx_reply", {"response": {}, "status": "ok"}]
            await socket.send(json.dumps(answer, separators=(",", ":")))
    except ConnectionClosed:
        pass
    finally:
        for topic in joined:
            rooms[topic].discard(socket)


async def main():
    async with serve(connection, "127.0.0.1", PORT, compression=None, ping_interval=None, backlog=4096) as server:
        await server.serve_forever()


asyncio.run(main())
