"""Clients that are none of ours: Python's websockets, Chromium, openssl and curl against a running server.

Usage: clients.py PORT_OFFSET FOLDER, where FOLDER holds ca.pem and the page browser.html is beside this file. Every wait has a
deadline; the first failure ends it with one line.
"""

import asyncio
import pathlib
import ssl
import subprocess
import sys
import urllib.parse

import websockets

from foreign_clients import DEADLINE_S, in_chromium, run_checks

SIGN_IN, HEARTBEAT, MESSAGE = 1, 2, 4

OFFSET = int(sys.argv[1])
FOLDER = pathlib.Path(sys.argv[2])
CA = FOLDER / "ca.pem"
WS, TLS, WSS, LOGIC, BUSINESS = (port + OFFSET for port in (8003, 8004, 8005, 8010, 8020))


def varint(value):
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes(encoded + bytes([value]))


def field(number, value):
    """One protobuf field: an int, or something with bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(message):
    """The fields of a protobuf message that are numbers or bytes."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        if key & 7 == 0:
            found[key >> 3] = number()
        else:
            length = number()
            found[key >> 3] = message[at : at + length]
            at += length
    return found


def call(port, method, request):
    """A gRPC call by curl."""
    frame = b"\0" + len(request).to_bytes(4, "big") + request
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    url = f"http://127.0.0.1:{port}/{method}"
    command = ["curl", "--silent", "--show-error", "--fail", "--max-time", "20", "--http2-prior-knowledge"]
    answer = subprocess.run([*command, *headers, "--data-binary", "@-", url], input=frame, capture_output=True, check=True)
    assert len(answer.stdout) >= 5, f"{method} was refused"
    return fields(answer.stdout[5:])


def new_user(phone_number):
    request = field(1, phone_number) + field(2, "123456") + field(3, field(2, 5))
    reply = call(BUSINESS, "business.UserExtService/SignIn", request)
    return reply[2], reply[3], reply[4].decode()


def push(user_id, text):
    request = field(1, varint(user_id)) + field(2, 2001) + field(3, text)
    call(LOGIC, "logic.MessageIntService/PushToUsers", request)


async def sign_in_and_get_a_push(url, context, user, text):
    user_id, device_id, token = user
    async with websockets.connect(url, ssl=context, open_timeout=DEADLINE_S) as socket:
        credentials = field(1, user_id) + field(2, device_id) + field(3, token)
        await socket.send(field(1, "in") + field(2, SIGN_IN) + field(3, credentials))
        reply = fields(await asyncio.wait_for(socket.recv(), DEADLINE_S))
        assert (reply[1], reply[2]) == (b"in", SIGN_IN) and fields(reply.get(3, b"")).get(1, 0) == 0, f"a sign-in was answered with {reply}"
        await asyncio.wait_for(await socket.ping(), DEADLINE_S)
        # In fragments, as only a library that knows them sends.
        beat = field(1, "beat") + field(2, HEARTBEAT)
        await socket.send([beat[:3], beat[3:]])
        answer = fields(await asyncio.wait_for(socket.recv(), DEADLINE_S))
        assert answer.get(1) == b"beat", f"a heartbeat in fragments was answered with {answer}"
        await asyncio.to_thread(push, user_id, text)
        packet = fields(await asyncio.wait_for(socket.recv(), DEADLINE_S))
        content = fields(packet.get(3, b"")).get(3)
        assert packet.get(2) == MESSAGE and content == text.encode(), f"a push came as {packet}"


def check_python():
    context = ssl.create_default_context(cafile=CA)
    user = new_user("+1555000001")
    for url, trust in ((f"ws://127.0.0.1:{WS}/ws", None), (f"wss://localhost:{WSS}/ws", context)):
        for text in ("first", "after a reconnect"):
            asyncio.run(sign_in_and_get_a_push(url, trust, user, text))
    try:
        asyncio.run(sign_in_and_get_a_push(f"ws://127.0.0.1:{WS}/elsewhere", None, user, "never"))
    except websockets.exceptions.InvalidStatus as refused:
        assert refused.response.status_code == 404
    else:
        raise AssertionError("a WebSocket was opened where there is none")


def check_browser(url, phone_number):
    user_id, device_id, token = new_user(phone_number)
    query = urllib.parse.urlencode({"url": url, "user_id": user_id, "device_id": device_id, "token": token})
    html = (pathlib.Path(__file__).parent / "browser.html").read_text()
    with in_chromium(html, FOLDER, query=query, flags=["--ignore-certificate-errors"]) as report:
        for step in ("signed-in-1", "pushed-1", "signed-in-2", "pushed-2", "done"):
            seen = report()
            detail = seen.get("detail", [""])[0]
            assert seen["step"] == [step], f"the browser is at {seen}, not at {step}"
            if step.startswith("signed-in"):
                push(user_id, f"for round {step[-1]}")
            elif step.startswith("pushed"):
                assert detail == f"for round {step[-1]}", f"the browser was pushed {detail!r}"
        assert detail == "1000", f"the browser's close has the code {detail!r}"


def check_openssl_and_curl():
    for port in (TLS, WSS):
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", "-CAfile", str(CA)]
        shown = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S)
        verdict = next((line for line in shown.stdout.splitlines() if "Verify return code" in line), shown.stderr)
        assert "Verify return code: 0 (ok)" in verdict, f"openssl on port {port}: {verdict.strip()}"
    command = ["curl", "--silent", "--show-error", "--max-time", "20", "--cacert", str(CA)]
    for url in (f"https://localhost:{WSS}/healthz", f"http://127.0.0.1:{WS}/healthz"):
        answer = subprocess.run([*command, url], capture_output=True, text=True, check=True)
        assert answer.stdout == "ok\n", f"curl got {answer.stdout!r} from {url}"


CHECKS = (
    ("openssl and curl", check_openssl_and_curl),
    ("Python's websockets", check_python),
    ("Chromium over WebSocket", lambda: check_browser(f"ws://127.0.0.1:{WS}/ws", "+1555000002")),
    ("Chromium over WebSocket in TLS", lambda: check_browser(f"wss://localhost:{WSS}/ws", "+1555000003")),
)

run_checks("clients", CHECKS)
print("clients: openssl, curl, Python's websockets and Chromium are served")
