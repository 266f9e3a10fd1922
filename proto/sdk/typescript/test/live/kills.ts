// Six users with two devices each chat on a cluster while its nodes are killed, one after the other, each more than once: to each other, in
// a group, in a large group and in a room. What was said is seen by every device once, and in the order in which each said it. A room
// promises less: it reaches who is there, and what a client says again by way of another node is a second message there. So what is
// missed in a room is told and not judged, and neither is what is seen twice of what clients said there.
//
// Usage: node kills.js PROGRAMS PORT_OFFSET [ROUNDS]

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { MemoryStore, textOf, type Target } from "../../src/index.js";
import { Cluster, NODES } from "./cluster.js";
import { emptyVerdict, judge, judgeNumbers, numbersOf, type Verdict } from "./judge.js";
import { post, signIn } from "./services.js";
import { until, Watched } from "./watched.js";

const USERS = 6, ROOM = "5";
// Between two messages of one device, and between two that a backend pushes into the room.
const PAUSE_MS = 250, PUSH_PAUSE_MS = 400;
const CALM_MAX_MS = 1500;
const NUMBERS = ["seq", "groupSeq", "roomSeq"] as const;

process.on("unhandledRejection", (error) => {
  console.error("a rejection that nobody handles:", error);
  process.exit(1);
});

const [programs, offset, rounds = "2"] = process.argv.slice(2) as [string, string, string?];
const cluster = new Cluster(fileURLToPath(new URL("../../../../../../", import.meta.url)), programs, Number(offset));

// What was said by a device, or by the backend: to whom, and as the how manyth.
interface Said {
  speaker: string;
  target: Target;
  count: number;
}

class Talk {
  private readonly said = new Map<string, Said>();
  // What the backend was told that the room has.
  private readonly pushed: number[] = [];
  isOver = false;

  constructor(private readonly devices: Watched[], private readonly groups: Target[]) {}

  async speak(device: Watched): Promise<void> {
    const others = this.devices.filter(({ client }) => client.userId !== device.client.userId).map(({ client }) => client.userId);
    for (let turn = 0; !this.isOver; turn++, await sleep(PAUSE_MS)) {
      const person: Target = { kind: "user", id: others[turn % others.length]! };
      const target = turn % 2 === 0 ? person : this.groups[(turn >> 1) % this.groups.length]!;
      const stream = this.stream(device.name, target);
      device.client.send(target, `${device.name}, ${target.kind} ${target.id}, ${stream.count++}`);
    }
  }

  // A room keeps what a backend has it retain, so most of it is also seen by who was away.
  async push(): Promise<void> {
    for (let count = 0; !this.isOver; count++, await sleep(PUSH_PAUSE_MS)) {
      const body = JSON.stringify({ roomId: ROOM, command: 2001, content: btoa(`backend, room ${ROOM}, ${count}`), isPersist: true });
      const url = `http://${cluster.address(1 + (count % 2), 8010)}/logic.RoomIntService/PushRoom`;
      const request = fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body, signal: AbortSignal.timeout(5000) });
      if (await request.then(({ ok }) => ok, () => false)) this.pushed.push(count);
    }
  }

  get isSettled(): boolean {
    const sends = [...this.said.values()].reduce((sum, { count }) => sum + count, 0);
    return this.devices.reduce((sum, { outcomes }) => sum + outcomes.size, 0) === sends;
  }

  // By where it was said; and of the numbers that the server gave.
  verdicts(large: string): { [kind: string]: Verdict } {
    const verdicts: { [kind: string]: Verdict } = {};
    for (const kind of ["one-to-one", "group", "large group", "room", "room, retained", ...NUMBERS]) verdicts[kind] = emptyVerdict();
    for (const device of this.devices) {
      const found = this.found(device);
      for (const [key, { speaker, target, count }] of this.said) {
        if (target.kind === "user" && !this.isFor(device, speaker, target)) continue;
        const kind = target.kind === "user" ? "one-to-one" : target.kind === "room" ? "room" : target.id === large ? "large group" : "group";
        // Clients' own messages in a room are for who is there at that moment.
        judge(found.get(key) ?? [], target.kind === "room" ? [] : Array.from({ length: count }, (_, index) => index), verdicts[kind]!);
      }
      judge(found.get(`backend, room ${ROOM}`) ?? [], this.pushed, verdicts["room, retained"]!);
      for (const of of NUMBERS) judgeNumbers(numbersOf(device.seen, of), of === "roomSeq", verdicts[of]!);
    }
    return verdicts;
  }

  get size(): number {
    return [...this.said.values()].reduce((sum, { count }) => sum + count, this.pushed.length);
  }

  private stream(speaker: string, target: Target): Said {
    const key = `${speaker}, ${target.kind} ${target.id}`;
    const stream = this.said.get(key) ?? { speaker, target, count: 0 };
    this.said.set(key, stream);
    return stream;
  }

  private isFor(device: Watched, speaker: string, target: Target): boolean {
    const { userId } = device.client;
    return target.id === userId || this.devices.find(({ name }) => name === speaker)!.client.userId === userId;
  }

  // Numbers by who said it and where.
  private found(device: Watched): Map<string, number[]> {
    const found = new Map<string, number[]>();
    for (const message of device.seen) {
      const parts = textOf(message).match(/^(.*, (?:user|group|room) \d+), (\d+)$/);
      if (parts) found.set(parts[1]!, [...(found.get(parts[1]!) ?? []), Number(parts[2])]);
    }
    return found;
  }
}

// Devices of the same user on different nodes; half of them ask where to connect.
async function devices(): Promise<Watched[]> {
  const all: Promise<Watched>[] = [];
  for (let user = 0; user < USERS; user++) {
    for (const number of [1, 2]) {
      const who = signIn(`http://${cluster.address(number, 8012)}`, `+861390000010${user}`);
      const where = user % 2 === 0 ? { url: `ws://${cluster.address(number, 8003)}/ws` } : { locate: `http://${cluster.address(number, 8012)}/locate` };
      all.push(who.then((identity) => new Watched(`user ${user} device ${number}`, { ...identity, ...where, getToken: () => identity.token, store: new MemoryStore() })));
    }
  }
  return Promise.all(all);
}

async function group(name: string, userIds: string[], kind: "GK_NORMAL" | "GK_LARGE"): Promise<Target> {
  const members = userIds.map((userId) => ({ userId, type: "MT_MEMBER" }));
  const { groupId } = (await post(`http://${cluster.address(1, 8010)}/logic.GroupIntService/Create`, { group: { name, kind }, members })) as { groupId: string };
  return { kind: "group", id: groupId };
}

const isOfARoom = (kind: string): boolean => kind.startsWith("room");

// Every node once in each round, in another order each time.
async function killAll(): Promise<number> {
  let kills = 0;
  for (let round = 0; round < Number(rounds); round++) {
    for (const node of NODES.map((name) => ({ name, at: Math.random() })).sort((one, other) => one.at - other.at)) {
      await sleep(CALM_MAX_MS * Math.random());
      await cluster.kill(node.name);
      kills += 1;
    }
  }
  return kills;
}

async function run(): Promise<void> {
  await cluster.isUp();
  const all = await devices();
  const userIds = [...new Set(all.map(({ client }) => client.userId))];
  const [small, large] = [await group("small", userIds, "GK_NORMAL"), await group("large", userIds, "GK_LARGE")];
  let entered = 0;
  for (const { client } of all) {
    client.on("room", () => { entered += 1; });
    client.enterRoom(ROOM, { fromStart: true });
  }
  await until("all are in the room", () => entered >= all.length);

  const talk = new Talk(all, [small, large, { kind: "room", id: ROOM }]);
  const talking = [...all.map((device) => talk.speak(device)), talk.push()];
  const kills = await killAll();
  talk.isOver = true;
  await Promise.all(talking);
  await until("everything is answered", () => talk.isSettled);
  const refused = all.flatMap(({ outcomes }) => [...outcomes.values()]).filter((outcome) => outcome !== "sent");
  assert.deepEqual(refused, [], "what was refused");
  const isWhole = () => Object.entries(talk.verdicts(large.id)).every(([kind, { lost }]) => lost === 0 || isOfARoom(kind));
  await until("everything is seen", isWhole).catch(() => {});

  const verdicts = talk.verdicts(large.id);
  console.log(`kills: ${kills} kills of ${NODES.length} nodes; ${talk.size} messages of ${all.length} devices`);
  console.table(verdicts);
  for (const [kind, { seen, lost, doubled, reordered }] of Object.entries(verdicts)) {
    assert.ok(seen > 100, `${kind}: too little happened to say something`);
    const judged = { lost: isOfARoom(kind) ? 0 : lost, doubled: kind === "room" ? 0 : doubled, reordered };
    assert.deepEqual(judged, { lost: 0, doubled: 0, reordered: 0 }, kind);
  }
  await Promise.all(all.map(({ client }) => client.stop()));
}

try {
  await run();
  await cluster.stop();
} catch (error) {
  console.error("kills:", error);
  process.exitCode = 1;
}
process.exit();
