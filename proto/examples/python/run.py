"""Keeps a session connected, waiting longer after each failure, and lets it send the lines "USER TEXT" of standard input."""

import asyncio
import random
import sys
import threading

from session import HEARTBEAT_S, Ended, Session

SILENCE_S = 120  # at least heartbeats are answered: a connection that is silent for longer is dead
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30


async def run(connect_once, user_id, device_id, home):
    """`connect_once(session, address)` connects, begins the session, gives it what comes, and returns when the connection ended."""
    session = Session(int(user_id), int(device_id), f"ticket for {user_id}", lambda *shown: print(*shown, flush=True))
    loop = asyncio.get_running_loop()
    threading.Thread(target=read_lines, args=(loop, session), daemon=True).start()
    tickers = [asyncio.create_task(every(HEARTBEAT_S, session.heartbeat)), asyncio.create_task(every(1, session.retry))]
    wait, address = FIRST_WAIT_S, home
    while True:
        began = loop.time()
        try:
            await connect_once(session, address)
        except Ended as ended:
            sys.exit(f"ended: {ended}")
        except Exception as error:  # whatever broke: the way back is the same
            print(f"disconnected: {error!r}", file=sys.stderr)
        session.is_live = False
        if loop.time() - began > LONGEST_WAIT_S:
            wait = FIRST_WAIT_S
        advice = session.take_advice()
        address = advice.endpoint or home
        await asyncio.sleep(max(advice.reconnect_after_ms / 1000, random.uniform(wait / 2, wait)))
        wait = min(2 * wait, LONGEST_WAIT_S)


def read_lines(loop, session):
    for line in sys.stdin:
        to, _, text = line.rstrip("\n").partition(" ")
        loop.call_soon_threadsafe(session.send, int(to), text)


async def every(seconds, action):
    while True:
        await asyncio.sleep(seconds)
        action()
