"""A client over TCP: prints the user's inbox, each message once and in order, and sends the lines "USER TEXT" that it reads.

Usage: client_tcp.py USER_ID DEVICE_ID [HOST:PORT]
"""

import asyncio
import sys

import connect_pb2 as connect
from run import SILENCE_S, run


def frame(packet):
    """The packet behind its length: seven bits a byte, the lowest first, the eighth bit set in all bytes but the last."""
    body = packet.SerializeToString()
    length, prefix = len(body), bytearray()
    while length > 127:
        prefix.append(length & 127 | 128)
        length >>= 7
    return bytes(prefix) + bytes([length]) + body


async def read_packet(reader):
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return connect.Packet.FromString(await reader.readexactly(length))


async def connect_once(session, address):
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), SILENCE_S)
    try:
        session.begin(lambda packet: writer.write(frame(packet)))
        while True:
            session.on_packet(await asyncio.wait_for(read_packet(reader), SILENCE_S))
    finally:
        writer.close()


user_id, device_id, *address = sys.argv[1:]
asyncio.run(run(connect_once, user_id, device_id, *address or ["127.0.0.1:8002"]))
