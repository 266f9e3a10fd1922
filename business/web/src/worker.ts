// The service worker: it shows what wakes this browser while no page is open, and opens the conversation of what is pressed on. It keeps
// no files, and answers no requests: pages load from the server as ever.

export {};

declare const self: ServiceWorkerGlobalScope;

// What the server sends, encrypted for this browser.
interface Push {
  id: string;
  // "u8" is user 8, "g9" group 9; anything else is no conversation.
  conversation: string;
  title: string;
  preview: string;
  // How much is unread in all.
  badge: number;
}

// A new version holds at once: it has no state.
self.addEventListener("install", () => void self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("push", (event) => event.waitUntil(show(readPush(event.data))));

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(String(event.notification.data ?? "")));
});

function readPush(data: PushMessageData | null): Push {
  const nothing = { id: "", conversation: "", title: "", preview: "", badge: 0 };
  try {
    return { ...nothing, ...(data?.json() as Partial<Push>) };
  } catch {
    return nothing;
  }
}

// Browsers want something to be shown for each push. A newer one of a conversation takes the place of an older one.
async function show({ conversation, title, preview, badge }: Push): Promise<void> {
  if (badge > 0) await navigator.setAppBadge?.(badge).catch(() => {});
  const options = { body: preview, tag: conversation, renotify: conversation !== "", data: placeOf(conversation) };
  await self.registration.showNotification(title || self.location.host, options);
}

function placeOf(conversation: string): string {
  const [, kind, id] = /^([ug])([1-9]\d*)$/.exec(conversation) ?? [];
  return kind ? `${kind === "u" ? "user" : "group"}/${id}` : "";
}

async function open(place: string): Promise<void> {
  const all = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const pages = all.filter(({ url }) => url.split("#")[0] === self.registration.scope);
  const page = pages.find(({ focused }) => focused) ?? pages[0];
  if (!page) {
    await self.clients.openWindow(`${self.registration.scope}#${place}`);
    return;
  }
  page.postMessage({ place });
  // Some browsers allow it for a press alone.
  await page.focus().catch(() => {});
}
