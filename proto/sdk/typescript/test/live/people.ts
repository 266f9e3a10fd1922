// What users of the chat page do with each other: friends, groups of both kinds, who has read, and who is blocked.

import { previewOf } from "../../src/index.js";
import type { Locator } from "playwright-core";
import type { Desk } from "./desk.js";
import type { Gate } from "./gate.js";
import type { Services } from "./services.js";
import { until, Watched } from "./watched.js";

// One asks to be a friend, the other agrees.
export async function contacts(ada: Desk, ben: Desk): Promise<void> {
  await ada.goTo("contacts");
  await ada.find("+8613900000012");
  await ada.page.getByRole("button", { name: "Add as a friend" }).click();
  await ben.goTo("contacts");
  await ben.page.getByRole("button", { name: "Agree" }).click();
  await ada.page.locator("section", { has: ada.page.locator("h3", { hasText: "Friends" }) }).locator(".person").waitFor();
}

// Returns its id. Its admin renames it, and makes the other one an admin, who then may change it too.
export async function inAGroup(ada: Desk, ben: Desk, tablet: Desk): Promise<string> {
  await ada.goTo("new-group");
  await ada.page.locator("input[name=name]").fill("Lunch");
  await ada.page.locator(".person").first().getByRole("button").click();
  await ada.page.getByRole("button", { name: "Create" }).click();
  await ada.page.locator("textarea").waitFor();
  const group = new URL(ada.page.url()).hash.slice(1);
  await ada.goTo(`${group}/info`);
  await ada.page.locator(".info input[name=name]").fill("Lunch on Friday");
  await ada.page.getByRole("button", { name: "Rename" }).click();
  await ada.page.locator(".info").getByRole("button", { name: "Make admin" }).click();
  await ada.page.getByRole("button", { name: "No longer admin" }).waitFor();
  for (const desk of [ada, ben, tablet]) {
    await desk.goTo(group);
    await desk.page.locator("h2", { hasText: "Lunch on Friday" }).waitFor();
  }
  await ben.goTo(`${group}/info`);
  await ben.page.getByRole("button", { name: "Rename" }).waitFor();
  for (const desk of [ada, ben]) await desk.goTo(group);
  await ada.write("Noon?");
  await ben.sees(["Noon?"]);
  await ben.write("نعم، بالتأكيد!");
  for (const desk of [ada, ben, tablet]) await desk.sees(["Noon?", "نعم، بالتأكيد!"]);
  return group;
}

// Whoever said it sees how many have read it, on each device: one of two others, then both.
export async function readInAGroup(services: Services, gate: Gate, [ada, ben, tablet]: Desk[], group: string): Promise<void> {
  const cy = await services.signIn("+8613900000013");
  await ada!.goTo(`${group}/info`);
  const info = ada!.page.locator(".info");
  await info.locator("input[type=search]").fill("+8613900000013");
  await info.getByRole("button", { name: "Find people" }).click();
  await info.getByRole("button", { name: "Add", exact: true }).click();
  await info.locator("h3", { hasText: "Members (3)" }).waitFor();
  await ada!.goTo(group);
  await ada!.write("Who is coming?");
  const tick = (desk: Desk, name: string) => desk.page.locator(".row", { hasText: "Who is coming?" }).getByRole("img", { name, exact: true }).waitFor();
  await ben!.hears("Who is coming?");
  for (const desk of [ada!, tablet!]) await tick(desk, "read by 1");
  const third = new Watched("cy", { ...cy, url: gate.url, getToken: () => cy.token });
  const asked = () => third.seen.find((message) => previewOf(message) === "Who is coming?");
  await until("the third member has it", () => asked() !== undefined);
  await third.client.conversations.read({ kind: "group", id: group.split("/")[1]! }, asked()!.messageId);
  for (const desk of [ada!, tablet!]) await tick(desk, "read by all");
  await ada!.page.reload();
  await tick(ada!, "read by all");
  await third.client.stop();
  await ada!.goTo(`${group}/info`);
  const person = info.locator(".person", { has: ada!.page.locator(`a[href="#user/${cy.userId}"]`) });
  await sure(person, "Remove");
  await info.locator("h3", { hasText: "Members (2)" }).waitFor();
  await ben!.page.locator(".center", { hasText: "removed" }).waitFor();
  for (const desk of [ada!, ben!, tablet!]) await desk.goTo(group);
  await tick(ada!, "read by all");
}

// Each device has a cursor of its own for it. Whoever leaves it hears nothing more.
export async function inALargeGroup(ada: Desk, ben: Desk, tablet: Desk): Promise<void> {
  await ada.goTo("new-group");
  await ada.page.locator("input[name=name]").fill("The whole town");
  await ada.page.locator("input[name=large]").check();
  await ada.page.locator(".person").first().getByRole("button").click();
  await ada.page.getByRole("button", { name: "Create" }).click();
  await ada.page.locator("textarea").waitFor();
  const group = new URL(ada.page.url()).hash.slice(1);
  await ada.write("Hello, town");
  for (const desk of [ben, tablet]) {
    await desk.goTo("");
    await desk.page.locator(`.entry[data-key="${group}"]`).click();
    await desk.sees(["Hello, town"]);
  }
  await ben.write("Good morning");
  for (const desk of [ada, ben, tablet]) await desk.sees(["Hello, town", "Good morning"]);
  await ada.page.locator(".row", { hasText: "Hello, town" }).getByRole("img", { name: "read by all" }).waitFor();
  await ben.goTo(`${group}/info`);
  await sure(ben.page.locator(".info"), "Leave the group");
  await ada.page.locator(".center", { hasText: "left" }).waitFor();
}

// Whoever is blocked is told, and sends again once it is over.
export async function blocked(ada: Desk, ben: Desk): Promise<void> {
  await ben.goTo(`user/${ada.userId}/info`);
  const info = ben.page.locator(".info");
  await sure(info, "Block");
  await info.getByRole("button", { name: "Unblock" }).waitFor();
  await ada.goTo(`user/${ben.userId}`);
  await ada.write("Can you hear me?");
  const row = ada.page.locator(".row", { hasText: "Can you hear me?" });
  await row.locator(".problem", { hasText: "not sent" }).waitFor();
  await ada.page.reload();
  await row.locator(".problem", { hasText: "not sent" }).waitFor();
  await info.getByRole("button", { name: "Unblock" }).click();
  await info.getByRole("button", { name: "Block" }).waitFor();
  await row.getByRole("button", { name: "Send again" }).click();
  await ben.goTo(`user/${ada.userId}`);
  await ben.hears("Can you hear me?");
  await row.getByRole("img", { name: "sent" }).or(row.getByRole("img", { name: "read" })).waitFor();
}

// A button that is pressed twice.
async function sure(place: Locator, name: string): Promise<void> {
  await place.getByRole("button", { name, exact: true }).click();
  await place.getByRole("button", { name: `${name}: Really?` }).click();
}
