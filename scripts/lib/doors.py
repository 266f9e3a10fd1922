"""Clients that are none of ours at the clients' listener: curl, grpcio, a reflection client, @connectrpc/connect-web and a page in
Chromium sign in, send, sync and list groups; the description of the calls is valid.

Usage: doors.py PORT_OFFSET FOLDER DOORS, with the Python and the compiled .proto files of the examples: DOORS is the folder with
client.mjs and its packages. Pages of PAGE_PORT have to be listed. Every wait has a deadline; the first failure ends it with one line.
"""

import base64
import json
import pathlib
import subprocess
import sys

from foreign_clients import DEADLINE_S, in_chromium, run_checks

OFFSET, FOLDER, DOORS = int(sys.argv[1]), pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
CLIENTS, SERVICES, PAGE_PORT = (port + OFFSET for port in (8012, 8010, 8099))
URL = f"http://127.0.0.1:{CLIENTS}"

sys.path.insert(0, str(DOORS.parent / "examples/python"))
import grpc  # noqa: E402
from google.protobuf import descriptor_pb2, message_factory  # noqa: E402
from google.protobuf.descriptor_pool import DescriptorPool  # noqa: E402
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase  # noqa: E402

PAGE = """<!doctype html><meta charset="utf-8"><script>
const call = async (method, body, headers = {}) => {
  const answer = await fetch(`URL/${method}`, { method: "POST", body: JSON.stringify(body),
    headers: { "content-type": "application/json", ...headers } });
  return { status: answer.status, ...await answer.json() };
};
(async () => {
  const user = await call("business.UserExtService/SignIn", { phoneNumber: "+1556000003", code: "123456", device: { type: 5 } });
  const signed = { user_id: user.userId, device_id: user.deviceId, token: user.token };
  await call("logic.MessageExtService/Send", { userId: user.userId, command: 2001, content: btoa("page"), clientMsgId: "page" }, signed);
  const synced = await call("logic.MessageExtService/Sync", {}, signed);
  const groups = await call("logic.GroupExtService/ListMine", {}, signed);
  const refused = await call("logic.MessageExtService/Sync", {});
  return [atob(synced.messages.at(-1).content).slice(-4), groups.status, refused.status, refused.code].join(" ");
})().then(text => text, error => `failed: ${error}`).then(text => fetch(`/report?text=${encodeURIComponent(text)}`));
</script>"""


def curl(method, request, headers=(), port=CLIENTS):
    """The status and the JSON of an answer."""
    command = ["curl", "--silent", "--show-error", "--max-time", "20", "-H", "content-type: application/json"]
    command += [part for header in headers for part in ("-H", header)]
    command += ["--write-out", "\n%{http_code}", "-d", json.dumps(request), f"http://127.0.0.1:{port}/{method}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    body, status = answer.rsplit("\n", 1)
    return int(status), json.loads(body)


def check_curl():
    status, user = curl("business.UserExtService/SignIn", {"phoneNumber": "+1556000001", "code": "123456", "device": {"type": "DT_WEB"}})
    assert status == 200, f"a sign-in was answered with {status}: {user}"
    signed = [f"user_id: {user['userId']}", f"device_id: {user['deviceId']}", f"token: {user['token']}"]
    message = {"userId": user["userId"], "command": 2001, "content": base64.b64encode(b"curl").decode(), "clientMsgId": "curl"}
    assert curl("logic.MessageExtService/Send", message, signed)[0] == 200
    pushed = {"userIds": [user["userId"]], "command": 2001, "content": "aGk=", "isPersist": True}
    assert curl("logic.MessageIntService/PushToUsers", pushed, port=SERVICES)[0] == 200
    synced = curl("logic.MessageExtService/Sync", {"seq": "0"}, signed)[1]
    contents = [base64.b64decode(message["content"]) for message in synced["messages"]]
    # A user's is the last field of a push that says who sends.
    assert contents[0].endswith(b"curl") and contents[1:] == [b"hi"], f"synced were {contents}"
    assert curl("logic.GroupExtService/ListMine", {}, signed)[0] == 200
    for method, headers, port, expected in (
        ("logic.MessageExtService/Sync", (), CLIENTS, (400, "10001")),
        ("logic.MessageExtService/Sync", (*signed[:2], "token: wrong"), CLIENTS, (401, "10000")),
        ("logic.MessageIntService/PushToUsers", signed, CLIENTS, (501, "10005")),
        ("logic.MessageIntService/PushToUsers", ("origin: http://127.0.0.1:1",), SERVICES, (403, "10006")),
    ):
        status, error = curl(method, {}, headers, port)
        code = error["details"][0]["debug"]["reason"]
        assert (status, code) == expected, f"{method} was answered with {status}: {error}"


def check_openapi():
    from openapi_spec_validator import validate

    text = subprocess.run(["curl", "--silent", "--fail", "--max-time", "20", f"{URL}/openapi.json"], capture_output=True, check=True)
    validate(json.loads(text.stdout))


def use_grpc(channel, message_of, phone_number):
    """Signs in, sends, syncs and lists groups, with messages by their names."""

    def call(method, request, answer, fields, signed=()):
        path = channel.unary_unary(
            f"/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_of(answer).FromString,
        )
        return path(message_of(request)(**fields), metadata=signed, timeout=20)

    fields = {"phone_number": phone_number, "code": "123456"}
    user = call("business.UserExtService/SignIn", "business.SignInRequest", "business.SignInReply", fields | {"device": {"type": 5}})
    signed = [("user_id", str(user.user_id)), ("device_id", str(user.device_id)), ("token", user.token)]
    message = {"user_id": user.user_id, "command": 2001, "content": b"grpc", "client_msg_id": "grpc"}
    call("logic.MessageExtService/Send", "connect.SendRequest", "connect.SendReply", message, signed)
    synced = call("logic.MessageExtService/Sync", "logic.SyncRequest", "logic.SyncReply", {}, signed)
    assert synced.messages[-1].content.endswith(b"grpc"), f"synced was {synced}"
    call("logic.GroupExtService/ListMine", "logic.GroupListMineRequest", "logic.GroupListMineReply", {}, signed)
    try:
        call("logic.MessageIntService/PushToAll", "logic.SyncRequest", "logic.SyncReply", {}, signed)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, f"a service's method was answered with {error}"
    else:
        raise AssertionError("a client called what is for services")


def check_grpcio():
    import business_pb2
    import connect_pb2
    import logic_pb2

    modules = {"business": business_pb2, "connect": connect_pb2, "logic": logic_pb2}

    def message_of(name):
        package, message = name.split(".")
        return getattr(modules[package], message)

    with grpc.insecure_channel(f"127.0.0.1:{CLIENTS}") as channel:
        use_grpc(channel, message_of, "+1556000002")


def check_reflection():
    with grpc.insecure_channel(f"127.0.0.1:{CLIENTS}") as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = database.get_services()
        assert all(name.endswith("ExtService") or name.startswith("grpc.") for name in services), f"it is told of {services}"
        pool = DescriptorPool(database)
        use_grpc(channel, lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)), "+1556000004")


def check_connect_web():
    descriptors = FOLDER / "descriptors.bin"
    proto = DOORS.parent / "proto"
    files = ["connect.proto", "logic.proto", "business.proto"]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={proto}", "--include_imports", f"--descriptor_set_out={descriptors}"]
    subprocess.run([*command, *files], check=True, capture_output=True, timeout=DEADLINE_S)
    assert descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes()).file
    command = ["node", DOORS / "client.mjs", URL, descriptors, "+1556000005"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE_S).stdout.splitlines()
    expected = [f"{name}: true, 0 groups, code 3" for name in ("Connect in JSON", "Connect in binary", "gRPC-Web")]
    assert lines == expected, f"connect-web says {lines}"


def check_browser():
    with in_chromium(PAGE.replace("URL", URL), FOLDER, port=PAGE_PORT) as report:
        text = report()["text"]
        assert text == ["page 200 400 invalid_argument"], f"the page says {text}"


CHECKS = (
    ("curl", check_curl),
    ("OpenAPI", check_openapi),
    ("grpcio", check_grpcio),
    ("a reflection client", check_reflection),
    ("connect-web", check_connect_web),
    ("Chromium's fetch", check_browser),
)

run_checks("doors", CHECKS)
print("doors: curl, grpcio, reflection, connect-web and Chromium are served on one port")
