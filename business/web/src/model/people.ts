// Names of users and groups, and the user's friends. Names are learned from messages, and asked for where none is known.

import type { Friend, FriendRequest, Group, Member, Message, Notice, Target, User } from "gim-client";
import { text } from "../text";
import type { Chat } from "./chat";

// Members of a group that may be chosen by "@".
const MENTIONABLE_MAX = 1000;

export class People {
  friends: Friend[] = [];
  requests: FriendRequest[] = [];
  blocked: User[] = [];
  readonly groups = new Map<string, Group>();
  private readonly names = new Map<string, string>();
  private readonly asked = new Set<string>();

  constructor(private readonly chat: Chat) {}

  nameOf(target: Target): string {
    const { kind, id } = target;
    if (kind === "room") return `${text.room} ${id}`;
    const known = kind === "user" ? this.friends.find(({ userId }) => userId === id)?.remarks || this.names.get(id) : this.groups.get(id)?.name;
    if (known === undefined) void this.ask(target);
    return known || `${kind === "user" ? text.user : text.group} ${id}`;
  }

  // "" where this page has heard of none.
  knownName(userId: string): string {
    return this.friends.find((friend) => friend.userId === userId)?.remarks || this.names.get(userId) || "";
  }

  isFriend(userId: string): boolean {
    return this.friends.some((friend) => friend.userId === userId);
  }

  isBlocked(userId: string): boolean {
    return this.blocked.some((user) => user.userId === userId);
  }

  learn(message: Message): void {
    if (message.from?.nickname) this.names.set(message.from.userId, message.from.nickname);
  }

  knows(user: { userId: string; nickname: string }): void {
    this.names.set(user.userId, user.nickname);
  }

  onGroupNotice(notice: Notice): void {
    if ("members" in notice) for (const member of notice.members) if (member.nickname) this.knows(member);
    if ("by" in notice && notice.by.nickname) this.knows(notice.by);
    if ("groupId" in notice) void this.refreshGroup(notice.groupId);
  }

  async refreshGroup(groupId: string): Promise<void> {
    const group = await this.chat.client.groups.get(groupId).catch(() => null);
    if (!group) return;
    this.groups.set(groupId, group);
    this.chat.changed();
  }

  // Whom this user may mean in a group; null where they cannot be had now.
  async membersOf(groupId: string): Promise<Member[] | null> {
    const found: Member[] = [];
    try {
      for await (const member of this.chat.client.groups.members(groupId)) {
        if (member.nickname) this.knows(member);
        if (member.userId !== this.chat.account.user_id && found.push(member) >= MENTIONABLE_MAX) break;
      }
    } catch (error) {
      console.warn("members", error);
      return null;
    }
    return found;
  }

  async refresh(): Promise<void> {
    // Once more, what could not be had before.
    this.asked.clear();
    const { friends } = this.chat.client;
    try {
      [this.friends, this.requests, this.blocked] = await Promise.all([all(friends.list()), all(friends.requests()), all(friends.blocked())]);
    } catch (error) {
      console.warn("friends", error);
    }
    for (const user of [...this.friends, ...this.requests, ...this.blocked]) this.knows(user);
    this.chat.changed();
  }

  // The users that a phone number, a name or a user number means, without this user.
  async find(key: string): Promise<User[]> {
    const { users } = this.chat.client;
    const found = (await users.search(key)).users;
    if (/^[1-9]\d{0,17}$/.test(key) && !found.some(({ userId }) => userId === key)) {
      const user = await users.get(key).catch(() => null);
      if (user) found.push(user);
    }
    for (const user of found) this.knows(user);
    return found.filter(({ userId }) => userId !== this.chat.account.user_id);
  }

  // Does something about friends, and shows how they are then.
  async change(step: Promise<void>): Promise<void> {
    try {
      await step;
    } catch (error) {
      this.chat.tell(error);
    }
    await this.refresh();
  }

  private async ask(target: Target): Promise<void> {
    const key = `${target.kind} ${target.id}`;
    if (this.asked.has(key) || this.chat.state.name !== "live") return;
    this.asked.add(key);
    if (target.kind === "group") return this.refreshGroup(target.id);
    const user = await this.chat.client.users.get(target.id).catch(() => null);
    if (!user) return;
    this.knows(user);
    this.chat.changed();
  }
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}
