"""A backend with users of its own: says whose token is good, and pushes the lines "USER TEXT" that it reads.

Usage: backend.py [PORT_TO_SERVE [LOGIC]], by default 8020 and 127.0.0.1:8010.
"""

import concurrent.futures
import sys

import business_pb2_grpc
import grpc
import logic_pb2
import logic_pb2_grpc
from google.protobuf.empty_pb2 import Empty

TEXT = 2001  # the command of our own messages; numbers from 1000 on are ours to choose


class Users(business_pb2_grpc.UserIntServiceServicer):
    def Auth(self, request, context):  # every other method answers UNIMPLEMENTED, and gim does without
        if request.token != f"ticket for {request.user_id}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no such ticket")
        return Empty()


port, logic_address = (sys.argv[1:] + ["8020", "127.0.0.1:8010"][len(sys.argv) - 1 :])[:2]
server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
business_pb2_grpc.add_UserIntServiceServicer_to_server(Users(), server)
server.add_insecure_port(f"127.0.0.1:{port}")
server.start()
messages = logic_pb2_grpc.MessageIntServiceStub(grpc.insecure_channel(logic_address))
for line in sys.stdin:
    user_id, _, text = line.rstrip("\n").partition(" ")
    push = logic_pb2.PushToUsersRequest(user_ids=[int(user_id)], command=TEXT, content=text.encode(), is_persist=True)
    print("pushed", messages.PushToUsers(push, wait_for_ready=True).message_id, flush=True)
server.wait_for_termination()
