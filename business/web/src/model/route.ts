// The address of the page says what is shown, as in "#user/8" or "#group/9/info": so a conversation can be linked to.

import type { Target } from "gim-client";

export type Route =
  | { name: "none" }
  | { name: "talk"; target: Target; isInfo: boolean }
  | { name: "contacts" | "new-group" | "own" };

export const keyOf = (target: Target): string => `${target.kind}/${target.id}`;

export const linkTo = (target: Target, isInfo = false): string => `#${keyOf(target)}${isInfo ? "/info" : ""}`;

export function routeOf(hash: string): Route {
  const [kind, id = "", more] = hash.replace(/^#/, "").split("/");
  if (kind === "contacts" || kind === "new-group" || kind === "own") return { name: kind };
  const isTarget = (kind === "user" || kind === "group" || kind === "room") && /^[1-9]\d{0,18}$/.test(id) && BigInt(id) < 2n ** 63n;
  return isTarget ? { name: "talk", target: { kind, id }, isInfo: more === "info" } : { name: "none" };
}
