"""The clients of proto/examples against a server and the example backend: what is sent while a client is away arrives once, in
order, after it is back, as does what was lost on the way; what a client sends as its connection breaks arrives once; a client
whose device signed in elsewhere stays away.

Usage: examples.py PORT_OFFSET EXAMPLES_FOLDER, with the Python that has the packages of the examples. Every wait has a deadline;
the first failure ends it with one line.
"""

import asyncio
import contextlib
import os
import pathlib
import sys

DEADLINE_S = 60
OFFSET = int(sys.argv[1])
EXAMPLES = pathlib.Path(sys.argv[2])
TCP, WS, LOGIC, BACKEND = (port + OFFSET for port in (8002, 8003, 8010, 8020))
PYTHON, NODE = [sys.executable], ["node"]

CLIENTS = (
    ("Python over TCP", [*PYTHON, EXAMPLES / "python/client_tcp.py"], TCP, "127.0.0.1:{}"),
    ("Python over WebSocket", [*PYTHON, EXAMPLES / "python/client_ws.py"], WS, "ws://127.0.0.1:{}/ws"),
    ("JavaScript over TCP", [*NODE, EXAMPLES / "javascript/client_tcp.mjs"], TCP, "127.0.0.1:{}"),
    ("JavaScript over WebSocket", [*NODE, EXAMPLES / "javascript/client_ws.mjs"], WS, "ws://127.0.0.1:{}/ws"),
)


class Program:
    """A process that is told lines and answers lines."""

    def __init__(self, process):
        self.process, self.lines = process, []

    @classmethod
    async def start(cls, command, *arguments):
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, *map(str, arguments), stdin=pipe, stdout=pipe, stderr=pipe))

    def tell(self, line):
        self.process.stdin.write(f"{line}\n".encode())

    async def answers(self, *expected):
        """Whatever it says next has to be these lines."""
        for line in expected:
            found = (await asyncio.wait_for(self.process.stdout.readline(), DEADLINE_S)).decode().rstrip("\n")
            if not found:
                found = "nothing: " + (await self.process.stderr.read()).decode()[-300:]
            assert found == line or line is None, f"it says {found!r} instead of {line!r}"
            self.lines.append(found)

    async def stop(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


class Gate:
    """A way to a port that can be cut, or lose what comes from the server."""

    def __init__(self, port):
        self.target, self.port, self.server, self.writers = port, 0, None, []
        self.is_mute, self.has_lost = False, asyncio.Event()

    async def open(self):
        self.is_mute = False
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def cut(self):
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    async def lose(self, push):
        """Nothing else is on its way meanwhile, so what is lost is a whole frame."""
        self.has_lost.clear()
        self.is_mute = True
        await push
        await asyncio.wait_for(self.has_lost.wait(), DEADLINE_S)
        self.is_mute = False

    async def serve(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self.writers += [writer, far_writer]
        await asyncio.gather(self.copy(reader, far_writer, False), self.copy(far_reader, writer, True))

    async def copy(self, reader, writer, is_answer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if is_answer and self.is_mute:
                    self.has_lost.set()
                else:
                    writer.write(data)
            writer.close()


async def check(name, command, port, address, user_id, push, programs):
    async def start(*arguments):
        programs.append(await Program.start(*arguments))
        return programs[-1]

    peer_id, device_id, gate = user_id + 1, user_id * 10, Gate(port)
    await gate.open()
    try:
        peer = await start(CLIENTS[0][1], peer_id, peer_id * 10, f"127.0.0.1:{TCP}")
        client = await start(command, user_id, device_id, address.format(gate.port))
        client.tell(f"{peer_id} hello")
        await client.answers("1 hello")
        await peer.answers("1 hello")

        await gate.cut()
        peer.tell(f"{user_id} while you were away")
        await peer.answers("2 while you were away")
        await push(user_id, "still away")
        await push(user_id, "and still")
        await gate.open()
        await client.answers("2 while you were away", "3 still away", "4 and still")

        await gate.lose(push(user_id, "lost on the way"))
        await push(user_id, "shows a gap")
        await client.answers("5 lost on the way", "6 shows a gap")
        await gate.lose(push(user_id, "lost before a reply"))
        client.tell(f"{peer_id} my own")
        await client.answers("7 lost before a reply", "8 my own")
        await peer.answers("3 my own")

        gate.is_mute = True
        client.tell(f"{peer_id} is it there?")
        await peer.answers("4 is it there?")
        await gate.cut()
        await gate.open()
        await client.answers("9 is it there?")
        client.tell(f"{peer_id} once")
        await client.answers("10 once")
        await peer.answers("5 once")

        # Everything was acknowledged: to a process without memory nothing is new.
        again = await start(command, user_id, device_id, address.format(gate.port))
        assert await asyncio.wait_for(client.process.wait(), DEADLINE_S) == 1, "a client that was replaced goes on"
        peer.tell(f"{user_id} only this")
        await again.answers("11 only this")
        rest = (await client.process.stdout.read()).decode()
        assert rest == "", f"it says {rest!r} more than it should"
    except (AssertionError, asyncio.TimeoutError) as error:
        raise AssertionError(f"{name}: {error}" if str(error) else f"{name}: nothing came within {DEADLINE_S} s") from error
    finally:
        await gate.cut()


async def main():
    backend, one_by_one = await Program.start([*PYTHON, EXAMPLES / "python/backend.py"], BACKEND, f"127.0.0.1:{LOGIC}"), asyncio.Lock()
    programs = [backend]

    async def push(user_id, text):
        async with one_by_one:
            backend.tell(f"{user_id} {text}")
            await backend.answers(None)

    try:
        await asyncio.gather(*(check(*client, 7 + 2 * index, push, programs) for index, client in enumerate(CLIENTS)))
    except AssertionError as error:
        sys.exit(f"examples: {error}")
    finally:
        for program in programs:
            await program.stop()
    print("examples: the backend is asked, and all four clients miss nothing")


os.environ["PYTHONUNBUFFERED"] = "1"
asyncio.run(main())
