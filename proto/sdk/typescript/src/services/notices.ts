// What the server tells users by messages with commands from 110 to 122: friends and groups that changed.

import { AddFriendPushSchema, AgreeAddFriendPushSchema } from "../generated/business_pb.js";
import { AddGroupMembersPushSchema, RemoveGroupMemberPushSchema, UpdateGroupPushSchema } from "../generated/logic_pb.js";
import type { Message } from "../message.js";
import { decode } from "../wire.js";

export interface Named {
  userId: string;
  nickname: string;
}

export type Notice =
  // Somebody wants to be a friend; somebody agreed to be one.
  | { kind: "friend_asked"; user: Named; description: string }
  | { kind: "friend_agreed"; user: Named }
  // `by` is who did it; "0" for a backend.
  | { kind: "group_changed"; groupId: string; by: Named; name: string }
  | { kind: "members_added"; groupId: string; by: Named; members: Named[] }
  | { kind: "members_removed"; groupId: string; by: Named; userIds: string[] };

// null for any other message.
export function noticeOf(message: Message): Notice | null {
  if (message.from || message.status !== "normal") return null;
  try {
    return read(message);
  } catch {
    return null;
  }
}

function read({ command, content, groupId }: Message): Notice | null {
  if (command === 110) {
    const { friendId, nickname, description } = decode(AddFriendPushSchema, content);
    return { kind: "friend_asked", user: named(friendId, nickname), description };
  }
  if (command === 111) {
    const { friendId, nickname } = decode(AgreeAddFriendPushSchema, content);
    return { kind: "friend_agreed", user: named(friendId, nickname) };
  }
  if (command === 120) {
    const { optId, optName, name } = decode(UpdateGroupPushSchema, content);
    return { kind: "group_changed", groupId, by: named(optId, optName), name };
  }
  if (command === 121) {
    const { optId, optName, members } = decode(AddGroupMembersPushSchema, content);
    return { kind: "members_added", groupId, by: named(optId, optName), members: members.map(({ userId, nickname }) => named(userId, nickname)) };
  }
  if (command === 122) {
    const { optId, optName, deletedUserId, deletedUserIds } = decode(RemoveGroupMemberPushSchema, content);
    const userIds = (deletedUserIds.length > 0 ? deletedUserIds : [deletedUserId]).map(String);
    return { kind: "members_removed", groupId, by: named(optId, optName), userIds };
  }
  return null;
}

function named(userId: bigint, nickname: string): Named {
  return { userId: String(userId), nickname };
}
