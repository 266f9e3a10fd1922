// The services as an app sees them: what is asked of the server, and what becomes of its answers.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create, fromBinary, toBinary, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import type { WebSocket as Peer } from "ws";
import { GimError, noticeOf, type Client, type ConversationChange, type Message, type ReadMark } from "../src/index.js";
import { AddFriendPushSchema, FriendAddRequestSchema, ListFriendsReplySchema, ListUsersRequestSchema, SearchUserReplySchema } from "../src/generated/business_pb.js";
import { MessageSchema, PacketSchema } from "../src/generated/connect_pb.js";
import { ConversationListReplySchema, ConversationListRequestSchema, ConversationPushSchema, ConversationReadersReplySchema, ConversationReadPushSchema, ConversationReadRequestSchema, ConversationSetRequestSchema } from "../src/generated/conversation_pb.js";
import {
  AddGroupMembersPushSchema, CountRoomMembersReplySchema, CountRoomMembersRequestSchema, DeviceUpdateRequestSchema, GetWebPushKeyReplySchema, GroupCreateReplySchema, GroupCreateRequestSchema, GroupGetMembersReplySchema, GroupGetMembersRequestSchema,
  GroupKind, GroupRemoveMemberRequestSchema, GroupUpdateMemberRequestSchema, HistoryReplySchema, HistoryRequestSchema, MemberType, RemoveGroupMemberPushSchema, UpdateGroupPushSchema, UserMessagePushSchema,
} from "../src/generated/logic_pb.js";
import { encode, PacketCommand } from "../src/wire.js";
import { answer, reply, Server, until, withClient } from "./server.js";

type Answers = { [method: string]: (body: Uint8Array) => Uint8Array | number };

const bytes = <T extends DescMessage>(schema: T, fields: MessageInitShape<T>) => toBinary(schema, create(schema, fields));

// A client of a server that answers these calls; `code` instead of an answer refuses.
async function withCalls(answers: Answers, body: (client: Client, peer: () => Peer, seen: Message[]) => Promise<void>): Promise<void> {
  let last: Peer | undefined;
  const server = new Server((peer, command, requestId, content) => {
    if (command !== PacketCommand.PC_CALL) return answer(peer, command, requestId);
    const { method, body } = readCall(content);
    const result = answers[method]?.(body) ?? 10001;
    if (typeof result === "number") reply(peer, command, requestId, result);
    else reply(peer, command, requestId, 0, result);
  }, (peer) => { last = peer; });
  await withClient(server, {}, async (client, seen) => {
    await until(() => client.state.name === "live");
    await body(client, () => last!, seen);
  });
}

function readCall(content: Uint8Array): { method: string; body: Uint8Array } {
  const reader = new BinaryReader(content);
  const call = { method: "", body: new Uint8Array() as Uint8Array };
  while (reader.pos < reader.len) {
    if (reader.tag()[0] === 1) call.method = reader.string();
    else call.body = reader.bytes();
  }
  return call;
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

describe("conversations", () => {
  it("are listed page by page, what is pinned first, also where a page is empty", async () => {
    const asked: string[] = [];
    const said = bytes(UserMessagePushSchema, { fromUser: { userId: 8n, nickname: "Ben" }, toUserId: 7n, content: new TextEncoder().encode("hi") });
    const pages = [
      { pinned: [{ peer: { case: "groupId" as const, value: 9n }, isPinned: true, isLarge: true }], conversations: [{ peer: { case: "userId" as const, value: 8n }, unread: 100, readSeq: 4n, peerReadSeq: 3n, lastMessage: { command: 1, isFromUser: true, content: said, seq: 5n } }], next: new Uint8Array([1]) },
      { next: new Uint8Array([2]) },
      { conversations: [{ peer: { case: "userId" as const, value: 10n }, isMuted: true, contentLeftOut: true }] },
    ];
    await withCalls({
      "logic.ConversationExtService/List": (body) => {
        const { after } = fromBinary(ConversationListRequestSchema, body);
        asked.push([...after].join());
        return bytes(ConversationListReplySchema, pages[after[0] ?? 0]!);
      },
    }, async (client) => {
      const found = await all(client.conversations.list());
      assert.deepEqual(asked, ["", "1", "2"]);
      assert.deepEqual(found.map(({ target, unread }) => [target.kind, target.id, unread]), [["group", "9", 0], ["user", "8", 100], ["user", "10", 0]]);
      assert.deepEqual([found[0]!.isPinned, found[0]!.isLarge, found[0]!.newest], [true, true, null]);
      assert.deepEqual([found[1]!.readSeq, found[1]!.peerReadSeq, found[1]!.newest?.from?.nickname], [4, 3, "Ben"]);
      assert.deepEqual([found[2]!.isMuted, found[2]!.isContentLeftOut], [true, true]);
    });
  });

  it("set only what is named, and other devices are told by an event that is no message", async () => {
    const sets: string[][] = [];
    await withCalls({
      "logic.ConversationExtService/Set": (body) => {
        const request = fromBinary(ConversationSetRequestSchema, body);
        sets.push([String(request.peer.value), String(request.isPinned), String(request.isMuted)]);
        return new Uint8Array();
      },
    }, async (client, peer, seen) => {
      await client.conversations.set({ kind: "user", id: "8" }, { isPinned: false });
      assert.deepEqual(sets, [["8", "false", "undefined"]]);
      const changes: ConversationChange[] = [];
      client.on("conversation", (change) => { changes.push(change); });
      for (const content of [bytes(ConversationPushSchema, { peer: { case: "groupId", value: 9n }, isMuted: true, deletedUpToSeq: 12n }), new Uint8Array([255])]) {
        const message = encode(MessageSchema, { command: 140, content });
        peer().send(encode(PacketSchema, { command: PacketCommand.PC_MESSAGE, content: message }));
      }
      await until(() => changes.length === 1 && seen.length === 1);
      assert.deepEqual(changes, [{ target: { kind: "group", id: "9" }, deletedUpToSeq: 12, readSeq: 0, readMessageId: "0", isMuted: true }]);
      assert.equal(noticeOf(seen[0]!), null, "what cannot be read is a message like any other");
    });
  });

  it("are read up to a message, and what others have read comes as an event", async () => {
    const reads: unknown[] = [];
    await withCalls({
      "logic.ConversationExtService/Read": (body) => {
        const { peer, messageId } = fromBinary(ConversationReadRequestSchema, body);
        reads.push([peer.case, peer.value, messageId]);
        return new Uint8Array();
      },
      "logic.ConversationExtService/Readers": () => bytes(ConversationReadersReplySchema, { readers: [{ userId: 8n, seq: 5n }], count: 1000, next: new Uint8Array([1]) }),
    }, async (client, peer, seen) => {
      await client.conversations.read({ kind: "user", id: "8" }, "500");
      assert.deepEqual(reads, [["userId", 8n, 500n]]);
      assert.deepEqual(await client.conversations.readers("9", "500"), { userIds: ["8"], count: 1000, next: new Uint8Array([1]) });
      const marks: ReadMark[] = [];
      client.on("read", (mark) => { marks.push(mark); });
      for (const groupId of [0n, 9n]) {
        const message = encode(MessageSchema, { command: 141, content: bytes(ConversationReadPushSchema, { userId: 8n, groupId, seq: 5n, messageId: 500n }) });
        peer().send(encode(PacketSchema, { command: PacketCommand.PC_MESSAGE, content: message }));
      }
      await until(() => marks.length === 2);
      assert.deepEqual(marks.map(({ target, userId, seq, messageId }) => [target.kind, target.id, userId, seq, messageId]), [["user", "8", "8", 5, "500"], ["group", "9", "8", 5, "500"]]);
      assert.equal(seen.length, 0);
    });
  });

  it("that are not there are refused by code", async () => {
    await withCalls({}, async (client) => {
      await assert.rejects(client.conversations.delete({ kind: "user", id: "8" }), (error: GimError) => error.code === 10001);
    });
  });
});

describe("groups", () => {
  it("are made with their members, change admins, and lose members", async () => {
    const asked: unknown[] = [];
    await withCalls({
      "logic.GroupExtService/Create": (body) => {
        const { group, members } = fromBinary(GroupCreateRequestSchema, body);
        asked.push([group?.name, group?.kind, members.map(({ userId }) => userId)]);
        return bytes(GroupCreateReplySchema, { groupId: 2n ** 60n });
      },
      "logic.GroupExtService/UpdateMember": (body) => {
        const { member } = fromBinary(GroupUpdateMemberRequestSchema, body);
        asked.push([member?.userId, member?.type]);
        return new Uint8Array();
      },
      "logic.GroupExtService/RemoveMember": (body) => {
        asked.push(fromBinary(GroupRemoveMemberRequestSchema, body).userIds);
        return new Uint8Array();
      },
    }, async (client) => {
      assert.equal(await client.groups.create({ name: "Lunch", isLarge: true }, ["8", 9]), "1152921504606846976");
      await client.groups.updateMember("1152921504606846976", { userId: "8", isAdmin: true });
      await client.groups.leave("1152921504606846976");
      assert.deepEqual(asked, [["Lunch", GroupKind.GK_LARGE, [8n, 9n]], [8n, MemberType.MT_ADMIN], [7n]]);
    });
  });

  it("give their members page by page", async () => {
    await withCalls({
      "logic.GroupExtService/GetMembers": (body) => {
        const after = fromBinary(GroupGetMembersRequestSchema, body).afterUserId;
        return bytes(GroupGetMembersReplySchema, { members: [1n, 2n].map((step) => ({ userId: after + step })), hasMore: after < 4n });
      },
    }, async (client) => {
      assert.deepEqual((await all(client.groups.members("9"))).map(({ userId }) => userId), ["1", "2", "3", "4", "5", "6"]);
    });
  });
});

describe("history", () => {
  it("is asked for back, on, around a message and from a time, and by one of these alone", async () => {
    const asked: unknown[] = [];
    await withCalls({
      "logic.MessageExtService/History": (body) => {
        const { peer, beforeSeq, afterSeq, aroundMessageId, fromMs, limit, withExtent } = fromBinary(HistoryRequestSchema, body);
        asked.push([peer.case, peer.value, beforeSeq, afterSeq, aroundMessageId, fromMs, limit, withExtent]);
        return bytes(HistoryReplySchema, {});
      },
    }, async (client) => {
      const { history } = client;
      await history.page({ kind: "user", id: "8" });
      await history.page({ kind: "user", id: 8 }, 12, 50);
      await history.page({ kind: "group", id: "9" }, { after: 0 });
      await history.page({ kind: "group", id: "9" }, { around: "1152921504606846977" }, 10);
      await history.page({ kind: "group", id: "9" }, { fromMs: 1_700_000_000_000 }, 0, { withExtent: true });
      assert.deepEqual(asked, [
        ["userId", 8n, 0n, undefined, 0n, 0n, 0, false],
        ["userId", 8n, 12n, undefined, 0n, 0n, 50, false],
        ["groupId", 9n, 0n, 0n, 0n, 0n, 0, false],
        ["groupId", 9n, 0n, undefined, 1152921504606846977n, 0n, 10, false],
        ["groupId", 9n, 0n, undefined, 0n, 1_700_000_000_000n, 0, true],
      ]);
    });
  });

  it("says whether there are older and newer ones, and how many there are where that was asked for", async () => {
    await withCalls({
      "logic.MessageExtService/History": (body) => {
        const { withExtent } = fromBinary(HistoryRequestSchema, body);
        const messages = [{ messageId: 1002n, groupId: 9n, groupSeq: 2n }, { messageId: 1001n, groupId: 9n, groupSeq: 1n, status: 1 }];
        return bytes(HistoryReplySchema, { messages, hasNewer: true, ...(withExtent && { extent: { count: 10_000, firstSeq: 1n, lastSeq: 12_000n } }) });
      },
    }, async (client) => {
      const page = await client.history.page({ kind: "group", id: "9" }, { around: "1002" });
      assert.deepEqual(page.messages.map(({ messageId, groupSeq, status }) => [messageId, groupSeq, status]), [["1002", 2, "normal"], ["1001", 1, "recalled"]]);
      assert.deepEqual([page.hasMore, page.hasNewer, page.extent], [false, true, null]);
      const { extent } = await client.history.page({ kind: "group", id: "9" }, { after: 0 }, 0, { withExtent: true });
      assert.deepEqual(extent, { count: 10_000, firstSeq: 1, lastSeq: 12_000 });
    });
  });
});

describe("rooms", () => {
  it("tell how many are in each of them, in the order asked for", async () => {
    await withCalls({
      "logic.RoomExtService/CountMembers": (body) => {
        const { roomIds } = fromBinary(CountRoomMembersRequestSchema, body);
        return bytes(CountRoomMembersReplySchema, { rooms: roomIds.map((roomId) => ({ roomId, members: roomId * 2n })) });
      },
    }, async (client) => {
      assert.deepEqual(await client.rooms.countMembers(["5", 4, 6n]), [10, 8, 12]);
    });
  });
});

describe("friends and users", () => {
  it("are asked, listed by pages and searched", async () => {
    const asked: unknown[] = [];
    await withCalls({
      "business.FriendExtService/Add": (body) => {
        const { friendId, description } = fromBinary(FriendAddRequestSchema, body);
        asked.push([friendId, description]);
        return new Uint8Array();
      },
      "business.FriendExtService/ListFriends": (body) => {
        const after = fromBinary(ListUsersRequestSchema, body).afterUserId;
        return bytes(ListFriendsReplySchema, { friends: [{ userId: after + 1n, remarks: `friend ${after}` }], hasMore: after === 0n });
      },
      "business.UserExtService/SearchUser": () => bytes(SearchUserReplySchema, { users: [{ userId: 8n, nickname: "Ben" }], next: 8n }),
    }, async (client) => {
      await client.friends.add("8", "It is me.");
      assert.deepEqual(asked, [[8n, "It is me."]]);
      assert.deepEqual((await all(client.friends.list())).map(({ userId, remarks }) => [userId, remarks]), [["1", "friend 0"], ["2", "friend 1"]]);
      const { users, next } = await client.users.search("ben");
      assert.deepEqual([users.map(({ nickname }) => nickname), next], [["Ben"], 8]);
    });
  });
});

describe("notices", () => {
  const notice = (command: number, content: Uint8Array, more: Partial<Message> = {}): Message => ({
    messageId: "1", command, content, status: "normal", seq: 1, groupSeq: 0, roomSeq: 0, groupId: "9", roomId: "0",
    createdAtMs: 0, from: null, toUserId: "0", isOwn: false, clientMsgId: "", ...more,
  });

  it("say who did what", () => {
    const by = { userId: "7", nickname: "Ada" };
    assert.deepEqual(noticeOf(notice(110, bytes(AddFriendPushSchema, { friendId: 8n, nickname: "Ben", description: "Hi" }))), { kind: "friend_asked", user: { userId: "8", nickname: "Ben" }, description: "Hi" });
    assert.deepEqual(noticeOf(notice(120, bytes(UpdateGroupPushSchema, { optId: 7n, optName: "Ada", name: "Tea" }))), { kind: "group_changed", groupId: "9", by, name: "Tea" });
    assert.deepEqual(noticeOf(notice(121, bytes(AddGroupMembersPushSchema, { optId: 7n, optName: "Ada", members: [{ userId: 8n, nickname: "Ben" }] }))), { kind: "members_added", groupId: "9", by, members: [{ userId: "8", nickname: "Ben" }] });
    assert.deepEqual(noticeOf(notice(122, bytes(RemoveGroupMemberPushSchema, { optId: 7n, optName: "Ada", deletedUserId: 8n }))), { kind: "members_removed", groupId: "9", by, userIds: ["8"] });
  });

  it("are not what a user says, was recalled, or cannot be read", () => {
    const content = bytes(AddFriendPushSchema, { friendId: 8n });
    assert.equal(noticeOf(notice(110, content, { from: { userId: "8", deviceId: "1", nickname: "", avatarUrl: "", extra: "" } })), null);
    assert.equal(noticeOf(notice(110, content, { status: "recalled" })), null);
    assert.equal(noticeOf(notice(110, new Uint8Array([255]))), null);
    assert.equal(noticeOf(notice(1000, content)), null);
  });
});

describe("the device", () => {
  it("says where it is reached, and has the key to subscribe with, where there is one", async () => {
    const told: unknown[] = [];
    let publicKey = new Uint8Array();
    const answers: Answers = {
      "logic.DeviceExtService/Update": (body) => {
        const { device } = fromBinary(DeviceUpdateRequestSchema, body);
        told.push([device!.id, device!.branchPushId, device!.systemVersion, device!.sdkVersion]);
        return new Uint8Array();
      },
      "logic.DeviceExtService/GetWebPushKey": () => bytes(GetWebPushKeyReplySchema, { publicKey }),
    };
    await withCalls(answers, async (client) => {
      await client.devices.update({ pushId: '{"endpoint":"https://push.example/1"}', sdkVersion: "0.1" });
      await client.devices.update({ pushId: "" });
      assert.deepEqual(told, [[0n, '{"endpoint":"https://push.example/1"}', "", "0.1"], [0n, "", "", ""]]);
      assert.equal(await client.devices.webPushKey(), null);
      publicKey = new Uint8Array([4, 1, 2]);
      assert.deepEqual(await client.devices.webPushKey(), publicKey);
    });
  });
});
