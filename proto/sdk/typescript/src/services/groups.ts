// Groups and their members.

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client, RequestOptions } from "../client.js";
import { GroupExtService, GroupKind, MemberType, type Group as WireGroup, type GroupMember as WireMember, type GroupMemberSchema } from "../generated/logic_pb.js";
import type { Id } from "../wire.js";

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
