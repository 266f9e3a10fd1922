// Users and friends, for those who use gim's own business.

import type { Client, RequestOptions } from "../client.js";
import { FriendExtService, UserExtService } from "../generated/business_pb.js";
import type { Id } from "../wire.js";

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

export interface FriendRequest {
  userId: string;
  nickname: string;
  avatarUrl: string;
  description: string;
  createdAtMs: number;
}

// Whom the user lets put this user into groups; "default" is as the server's settings have it.
export type AddedBy = "default" | "everybody" | "friends" | "nobody";

const ADDED_BY: AddedBy[] = ["default", "everybody", "friends", "nobody"];

export class Friends {
  constructor(private readonly client: Client) {}

  // All of them, page by page, in the order of their ids.
  async *list(options?: RequestOptions): AsyncGenerator<Friend> {
    for (let afterUserId = 0n, hasMore = true; hasMore; ) {
      const page = await this.client.rpc(FriendExtService.method.listFriends, { afterUserId }, options);
      for (const { userId, nickname, avatarUrl, phoneNumber, remarks, extra } of page.friends) yield { userId: String(userId), nickname, avatarUrl, phoneNumber, remarks, extra };
      hasMore = page.hasMore && page.friends.length > 0;
      afterUserId = page.friends.at(-1)?.userId ?? 0n;
    }
  }

  // Who asked to be a friend and waits for an answer.
  async *requests(options?: RequestOptions): AsyncGenerator<FriendRequest> {
    for (let afterUserId = 0n, hasMore = true; hasMore; ) {
      const page = await this.client.rpc(FriendExtService.method.listRequests, { afterUserId }, options);
      for (const { userId, nickname, avatarUrl, description, createTime } of page.requests) yield { userId: String(userId), nickname, avatarUrl, description, createdAtMs: 1000 * Number(createTime) };
      hasMore = page.hasMore && page.requests.length > 0;
      afterUserId = page.requests.at(-1)?.userId ?? 0n;
    }
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

  async *blocked(options?: RequestOptions): AsyncGenerator<User> {
    for (let afterUserId = 0n, hasMore = true; hasMore; ) {
      const page = await this.client.rpc(FriendExtService.method.listBlocked, { afterUserId }, options);
      for (const user of page.users) yield fromUser(user);
      hasMore = page.hasMore && page.users.length > 0;
      afterUserId = page.users.at(-1)?.userId ?? 0n;
    }
  }

  // What the user calls a friend, and keeps of one.
  async update(userId: Id, fields: { remarks?: string; extra?: string }, options?: RequestOptions): Promise<void> {
    await this.client.rpc(FriendExtService.method.set, { friendId: BigInt(userId), remarks: fields.remarks ?? "", extra: fields.extra ?? "" }, { isRepeatable: true, ...options });
  }

  async contactRules(options?: RequestOptions): Promise<{ addedBy: AddedBy }> {
    const { addedBy } = await this.client.rpc(FriendExtService.method.getContactRules, {}, options);
    return { addedBy: ADDED_BY[addedBy] ?? "default" };
  }

  async setContactRules(rules: { addedBy: AddedBy }, options?: RequestOptions): Promise<void> {
    await this.client.rpc(FriendExtService.method.setContactRules, { addedBy: ADDED_BY.indexOf(rules.addedBy) }, { isRepeatable: true, ...options });
  }
}

export class Users {
  constructor(private readonly client: Client) {}

  async get(userId: Id, options?: RequestOptions): Promise<User | null> {
    const { user } = await this.client.rpc(UserExtService.method.getUser, { userId: BigInt(userId) }, options);
    return user ? fromUser(user) : null;
  }

  // By a whole phone number, or a part of a nickname. `from` is the `next` of the page before; 0 for the first, and after the last.
  async search(key: string, options?: RequestOptions & { from?: number }): Promise<{ users: User[]; next: number }> {
    const { users, next } = await this.client.rpc(UserExtService.method.searchUser, { key, from: BigInt(options?.from ?? 0) }, options);
    return { users: users.map(fromUser), next: Number(next) };
  }

  // Sets all of this user's card anew.
  async updateOwn(fields: { nickname?: string; avatarUrl?: string; extra?: string }, options?: RequestOptions): Promise<void> {
    const { nickname = "", avatarUrl = "", extra = "" } = fields;
    await this.client.rpc(UserExtService.method.updateUser, { nickname, avatarUrl, extra }, { isRepeatable: true, ...options });
  }

  // Ends the token of this device, or of all of the user's: they are disconnected, and the client ends with "token_revoked".
  async signOut(options?: RequestOptions & { allDevices?: boolean }): Promise<void> {
    await this.client.rpc(UserExtService.method.signOut, { allDevices: options?.allDevices ?? false }, options);
  }
}

function fromUser({ userId, nickname, avatarUrl, extra }: { userId: bigint; nickname: string; avatarUrl: string; extra: string }): User {
  return { userId: String(userId), nickname, avatarUrl, extra };
}
