"""A client over WebSocket: prints the user's inbox, each message once and in order, and sends the lines "USER TEXT" that it
reads. One binary message is one packet.

Usage: client_ws.py USER_ID DEVICE_ID [URL]
"""

import asyncio
import sys

import connect_pb2 as connect
import websockets
from run import SILENCE_S, run


async def connect_once(session, url):
    async with websockets.connect(url, compression=None) as socket:
        outgoing = asyncio.Queue()
        sender = asyncio.create_task(send_all(socket, outgoing))
        try:
            session.begin(outgoing.put_nowait)
            while True:
                session.on_packet(connect.Packet.FromString(await asyncio.wait_for(socket.recv(), SILENCE_S)))
        finally:
            sender.cancel()


async def send_all(socket, outgoing):
    while True:
        await socket.send((await outgoing.get()).SerializeToString())


user_id, device_id, *url = sys.argv[1:]
asyncio.run(run(connect_once, user_id, device_id, *url or ["ws://127.0.0.1:8003/ws"]))
