// Groups, friends, users and history by calls over the connection, with ids as strings.

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client, RequestOptions } from "./client.js";
import { FriendExtService, UserExtService } from "./generated/business_pb.js";
import { GroupExtService, GroupKind, MemberType, MessageExtService, type Group as WireGroup, type GroupMember as WireMember, type GroupMemberSchema } from "./generated/logic_pb.js";
import { toMessage, type Message } from "./message.js";

type Id = string | number | bigint;

export interface Group {
  id: string;
  name: string;
  avatarUrl: string;
  introduction: string;
  extra: string;
  isLarge: boolean;
  memberCount: number;
}

export interface Member {
  userId: string;
  nickname: string;
  isAdmin: boolean;
  extra: string;
}

export interface GroupFields {
  name?: string;
  avatarUrl?: string;
  introduction?: string;
  extra?: string;
  isLarge?: boolean;
}

export class Groups {
  constructor(private readonly client: Client) {}

  // The caller becomes an admin. Returns the id of the group.
  async create(fields: GroupFields, memberIds: Id[], options?: RequestOptions): Promise<string> {
    const members = memberIds.map((userId) => toMember(userId));
    const reply = await this.client.rpc(GroupExtService.method.create, { group: toGroup("0", fields), members }, options);
    return String(reply.groupId);
  }

  // Everything but the kind is set anew; large groups stay large.
  async update(groupId: Id, fields: GroupFields, options?: RequestOptions): Promise<void> {
    await this.client.rpc(GroupExtService.method.update, { group: toGroup(groupId, fields) }, options);
  }

  async get(groupId: Id, options?: RequestOptions): Promise<Group> {
    const { group } = await this.client.rpc(GroupExtService.method.get, { groupId: BigInt(groupId) }, options);
    return fromGroup(group!);
  }

  // All groups that the user is in, page by page.
  async *list(options?: RequestOptions): AsyncGenerator<Group> {
    for (let afterGroupId = 0n, hasMore = true; hasMore; ) {
      const page = await this.client.rpc(GroupExtService.method.listMine, { afterGroupId }, options);
      for (const group of page.groups) yield fromGroup(group);
      hasMore = page.hasMore && page.groups.length > 0;
      afterGroupId = page.groups.at(-1)?.id ?? 0n;
    }
  }

  async *members(groupId: Id, options?: RequestOptions): AsyncGenerator<Member> {
    for (let afterUserId = 0n, hasMore = true; hasMore; ) {
      const page = await this.client.rpc(GroupExtService.method.getMembers, { groupId: BigInt(groupId), afterUserId }, options);
      for (const member of page.members) yield fromMember(member);
      hasMore = page.hasMore && page.members.length > 0;
      afterUserId = page.members.at(-1)?.userId ?? 0n;
    }
  }

  async addMembers(groupId: Id, userIds: Id[], options?: RequestOptions): Promise<void> {
    const members = userIds.map((userId) => toMember(userId));
    await this.client.rpc(GroupExtService.method.addMembers, { groupId: BigInt(groupId), members }, options);
  }

  // Admins change everybody, others themselves.
  async updateMember(groupId: Id, member: { userId: Id; nickname?: string; isAdmin?: boolean; extra?: string }, options?: RequestOptions): Promise<void> {
    await this.client.rpc(GroupExtService.method.updateMember, { groupId: BigInt(groupId), member: toMember(member.userId, member) }, options);
  }

  async removeMembers(groupId: Id, userIds: Id[], options?: RequestOptions): Promise<void> {
    await this.client.rpc(GroupExtService.method.removeMember, { groupId: BigInt(groupId), userIds: userIds.map(BigInt) }, options);
  }

  async leave(groupId: Id, options?: RequestOptions): Promise<void> {
    await this.removeMembers(groupId, [this.client.userId], options);
  }
}

export class History {
  constructor(private readonly client: Client) {}

  // Older messages with one user or of one group, newest first. `before` is the number of the last message of the page before: its
  // `seq` with a user, its `groupSeq` in a group of either kind.
  async page(peer: { kind: "user" | "group"; id: Id }, before = 0, limit = 0, options?: RequestOptions): Promise<{ messages: Message[]; hasMore: boolean }> {
    const target = { case: peer.kind === "user" ? ("userId" as const) : ("groupId" as const), value: BigInt(peer.id) };
    const reply = await this.client.rpc(MessageExtService.method.history, { peer: target, beforeSeq: BigInt(before), limit }, options);
    return { messages: reply.messages.map((message) => toMessage(message, this.client.userId)), hasMore: reply.hasMore };
  }

  // Takes back a message that the user sent. Every device, this one too, is told by one more message.
  async recall(messageId: Id, options: RequestOptions = {}): Promise<void> {
    await this.client.rpc(MessageExtService.method.recall, { messageId: BigInt(messageId) }, { isRepeatable: true, ...options });
  }
}

export interface Friend {
  userId: string;
  nickname: string;
  avatarUrl: string;
  phoneNumber: string;
  remarks: string;
  extra: string;
}

export interface User {
  userId: string;
  nickname: string;
  avatarUrl: string;
  extra: string;
}

export class Friends {
  constructor(private readonly client: Client) {}

  async list(options?: RequestOptions): Promise<Friend[]> {
    const { friends } = await this.client.rpc(FriendExtService.method.getFriends, {}, options);
    return friends.map(({ userId, nickname, avatarUrl, phoneNumber, remarks, extra }) => ({ userId: String(userId), nickname, avatarUrl, phoneNumber, remarks, extra }));
  }

  // Who asked to be a friend and waits for an answer.
  async requests(options?: RequestOptions): Promise<{ userId: string; nickname: string; avatarUrl: string; description: string }[]> {
    const { requests } = await this.client.rpc(FriendExtService.method.getRequests, {}, options);
    return requests.map(({ userId, nickname, avatarUrl, description }) => ({ userId: String(userId), nickname, avatarUrl, description }));
  }

  async add(userId: Id, description = "", options?: RequestOptions): Promise<void> {
    await this.client.rpc(FriendExtService.method.add, { friendId: BigInt(userId), description }, options);
  }

  async agree(userId: Id, options?: RequestOptions): Promise<void> {
    await this.client.rpc(FriendExtService.method.agree, { userId: BigInt(userId) }, options);
  }

  // Ends a friendship, or takes back (or turns down) a request.
  async remove(userId: Id, options?: RequestOptions): Promise<void> {
    await this.client.rpc(FriendExtService.method.remove, { friendId: BigInt(userId) }, options);
  }

  async block(userId: Id, options?: RequestOptions): Promise<void> {
    await this.client.rpc(FriendExtService.method.block, { userId: BigInt(userId) }, options);
  }

  async unblock(userId: Id, options?: RequestOptions): Promise<void> {
    await this.client.rpc(FriendExtService.method.unblock, { userId: BigInt(userId) }, options);
  }

  async blocked(options?: RequestOptions): Promise<User[]> {
    const { users } = await this.client.rpc(FriendExtService.method.getBlocked, {}, options);
    return users.map(fromUser);
  }
}

export class Users {
  constructor(private readonly client: Client) {}

  async get(userId: Id, options?: RequestOptions): Promise<User | null> {
    const { user } = await this.client.rpc(UserExtService.method.getUser, { userId: BigInt(userId) }, options);
    return user ? fromUser(user) : null;
  }

  // By a whole phone number, or a part of a nickname.
  async search(key: string, options?: RequestOptions): Promise<User[]> {
    const { users } = await this.client.rpc(UserExtService.method.searchUser, { key }, options);
    return users.map(fromUser);
  }
}

function toGroup(id: Id, fields: GroupFields) {
  const { name = "", avatarUrl = "", introduction = "", extra = "", isLarge = false } = fields;
  return { id: BigInt(id), name, avatarUrl, introduction, extra, kind: isLarge ? GroupKind.GK_LARGE : GroupKind.GK_NORMAL };
}

function fromGroup(group: WireGroup): Group {
  const { name, avatarUrl, introduction, extra, memberCount } = group;
  return { id: String(group.id), name, avatarUrl, introduction, extra, memberCount, isLarge: group.kind === GroupKind.GK_LARGE };
}

function toMember(userId: Id, fields: { nickname?: string; isAdmin?: boolean; extra?: string } = {}): MessageInitShape<typeof GroupMemberSchema> {
  const { nickname = "", isAdmin = false, extra = "" } = fields;
  return { userId: BigInt(userId), nickname, extra, type: isAdmin ? MemberType.MT_ADMIN : MemberType.MT_MEMBER };
}

function fromMember(member: WireMember): Member {
  return { userId: String(member.userId), nickname: member.nickname, extra: member.extra, isAdmin: member.type === MemberType.MT_ADMIN };
}

function fromUser({ userId, nickname, avatarUrl, extra }: { userId: bigint; nickname: string; avatarUrl: string; extra: string }): User {
  return { userId: String(userId), nickname, avatarUrl, extra };
}
