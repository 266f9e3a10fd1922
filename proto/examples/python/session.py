"""What a client remembers and decides, whatever carries its packets. Nothing here does IO or waits.

The inbox: `cursor` is the seq of the newest message that was shown, `newest` the highest seq that is known to exist. Whatever
tells of a higher seq than the cursor, and is not the very next message, is answered by a sync.
Sends: each keeps its key (`client_msg_id`) until it is answered, and is sent again with it after a reconnect.
Left out: rooms, and large groups, whose messages have numbers of their own (see PROTOCOL.md).
"""

import uuid

import connect_pb2 as connect
import logic_pb2 as logic

HEARTBEAT_S = 100
TRY_LATER = (10003, 10004)
BEYOND_NEWEST = 10007
STAY_AWAY = (connect.CR_REPLACED, connect.CR_KICKED, connect.CR_TOKEN_REVOKED)


class Ended(Exception):
    """Connecting again would not help."""


class Session:
    def __init__(self, user_id, device_id, token, show):
        self.credentials = connect.SignInRequest(user_id=user_id, device_id=device_id, token=token, heartbeat_s=HEARTBEAT_S)
        self.show = show
        self.cursor = self.newest = 0  # a real client stores the cursor together with its messages
        self.shown = set()  # message ids: those of its stored messages, in a real client
        self.is_new = True  # it does not know yet where to begin, and a real client stores that as well
        self.unanswered = {}  # client_msg_id → SendRequest, oldest first
        self.is_live = False
        self.advice = connect.CloseNotice()

    def begin(self, write):
        """A connection is there; `write` takes packets to it."""
        self.write = write
        self.is_live = False  # signed in
        self.is_syncing = False
        self.is_put_off = False  # something was answered "try again later"
        self.request(connect.PC_SIGN_IN, self.credentials)

    def send(self, user_id, text):
        key = str(uuid.uuid4())
        self.unanswered[key] = connect.SendRequest(user_id=user_id, content=text.encode(), client_msg_id=key)
        if self.is_live:
            self.request(connect.PC_SEND, self.unanswered[key], key)

    def heartbeat(self):
        if self.is_live:
            self.write(connect.Packet(command=connect.PC_HEARTBEAT))

    def retry(self):
        """Repeats what was put off. To be called about once a second."""
        if self.is_live and self.is_put_off:
            self.is_put_off = self.is_syncing = False
            self.send_unanswered()
            self.catch_up()

    def take_advice(self):
        """What the server said about coming back, once."""
        advice, self.advice = self.advice, connect.CloseNotice()
        return advice

    def on_packet(self, packet):
        if packet.command in (connect.PC_SIGN_IN, connect.PC_SYNC, connect.PC_SEND):
            self.on_reply(packet, connect.Reply.FromString(packet.content))
        elif packet.command in (connect.PC_HEARTBEAT, connect.PC_SYNC_HINT):
            self.newest = max(self.newest, packet.seq)
        elif packet.command == connect.PC_MESSAGE:
            message = connect.Message.FromString(packet.content)
            if message.seq > 0:  # else it is of a room or a large group, or stored nowhere
                self.newest = max(self.newest, message.seq)
                if message.prev_seq == self.cursor and not self.is_new:
                    self.take(message)
        elif packet.command == connect.PC_CLOSE:
            self.is_live = False
            self.advice = connect.CloseNotice.FromString(packet.content)
            if self.advice.reason in STAY_AWAY:
                raise Ended(self.advice.message)
        self.catch_up()

    def catch_up(self):
        if self.is_live and not self.is_syncing and (self.is_new or self.newest > self.cursor):
            self.is_syncing = True
            # To a new device, seq 0 means where the user's other devices are; to any other one, the start.
            self.request(connect.PC_SYNC, logic.SyncRequest(seq=self.cursor, from_start=not self.is_new))

    def on_reply(self, packet, reply):
        if reply.code in TRY_LATER:
            if packet.command == connect.PC_SIGN_IN:
                raise ConnectionError(reply.message)
            self.is_put_off = True
        elif packet.command == connect.PC_SEND:
            self.on_sent(packet.request_id, reply)
        elif packet.command == connect.PC_SYNC and reply.code == BEYOND_NEWEST:
            self.begin_anew(logic.SyncReply.FromString(reply.data).start_seq)
        elif reply.code != 0:
            raise Ended(f"{reply.code} {reply.message}")
        elif packet.command == connect.PC_SIGN_IN:
            self.is_live = True
            self.heartbeat()  # its answer tells the newest seq
            self.send_unanswered()
        else:
            page = logic.SyncReply.FromString(reply.data)
            self.is_new = self.is_syncing = False
            self.cursor = max(self.cursor, page.start_seq)
            for message in page.messages:
                if message.seq > self.cursor:
                    self.take(message)

    def begin_anew(self, newest):
        """The server was restored from an older backup: some numbers stand for other messages now, message ids do not."""
        self.cursor, self.newest, self.is_syncing = 0, newest, False

    def on_sent(self, key, reply):
        request = self.unanswered.pop(key, None)
        sent = connect.SendReply.FromString(reply.data)
        self.newest = max(self.newest, sent.seq)
        if reply.code != 0:
            self.show(0, f"refused: {reply.code} {reply.message}")
        elif request and not self.is_new and sent.seq == self.cursor + 1:  # else something before it is missing, and the sync brings both
            self.advance(sent.seq, sent.message_id, request.content)

    def send_unanswered(self):
        for key, request in self.unanswered.items():
            self.request(connect.PC_SEND, request, key)

    def take(self, message):
        content = message.content
        if message.command == connect.MC_USER_MESSAGE:
            content = logic.UserMessagePush.FromString(content).content
        elif message.command == connect.MC_GROUP_MESSAGE:
            content = logic.GroupMessagePush.FromString(content).content
        self.advance(message.seq, message.message_id, content)

    def advance(self, seq, message_id, content):
        self.cursor = seq
        if message_id not in self.shown:
            self.show(seq, content.decode(errors="replace"))
        self.shown.add(message_id)
        self.request(connect.PC_MESSAGE_ACK, logic.MessageACKRequest(device_ack=seq), "")  # without an id: unanswered

    def request(self, command, content, request_id="1"):
        self.write(connect.Packet(command=command, content=content.SerializeToString(), request_id=request_id))
