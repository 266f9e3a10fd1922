// What the page says, in the language of the browser.

const ENGLISH = {
  title: "gim chat", phone: "Phone number", code: "Code", signIn: "Sign in", signOut: "Sign out", signInHint: "On a server for development any phone number will do, with the code 123456.",
  conversations: "Conversations", noConversations: "Nobody has written yet. Start with a phone number, or the number of a user.", start: "New conversation", startHint: "Phone, name or user number",
  notFound: "Nobody was found.", write: "Write a message", send: "Send", sending: "sending", sent: "sent", failed: "not sent", retry: "Send again", recall: "Take back", recalled: "This message was taken back.",
  gone: "The server keeps this message no longer.", unread: "New messages", offline: "No connection. Trying again by itself.", connecting: "Connecting …", replaced: "This device is in use on another page.",
  useHere: "Use it here", ended: "You were signed out.", storage: "This browser cannot store messages: they are loaded anew next time.", choose: "Choose a conversation.", back: "Back to the conversations",
  user: "User", group: "Group", you: "You", messages: "Messages", earlier: "Earlier messages", unreadCount: "unread",
};

const CHINESE: typeof ENGLISH = {
  title: "gim 聊天", phone: "手机号", code: "验证码", signIn: "登录", signOut: "退出登录", signInHint: "在开发用的服务器上，任意手机号加验证码 123456 即可登录。",
  conversations: "会话", noConversations: "还没有消息。输入手机号或用户编号，开始聊天。", start: "新会话", startHint: "手机号、昵称或用户编号",
  notFound: "没有找到。", write: "输入消息", send: "发送", sending: "发送中", sent: "已发送", failed: "未发送", retry: "重新发送", recall: "撤回", recalled: "这条消息已被撤回。",
  gone: "服务器已不再保存这条消息。", unread: "新消息", offline: "连接已断开，正在自动重连。", connecting: "正在连接 …", replaced: "此设备正在另一个页面上使用。",
  useHere: "在此使用", ended: "您已退出登录。", storage: "此浏览器无法保存消息，下次将重新加载。", choose: "请选择一个会话。", back: "返回会话列表",
  user: "用户", group: "群", you: "我", messages: "消息", earlier: "更早的消息", unreadCount: "条未读",
};

export const isChinese = navigator.language.startsWith("zh");
export const text = isChinese ? CHINESE : ENGLISH;

const locale = isChinese ? "zh" : undefined;
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(locale, { month: "short", day: "numeric" });

// The time of day, or of what was earlier the day.
export function when(ms: number): string {
  const date = new Date(ms);
  return date.toDateString() === new Date().toDateString() ? clock.format(date) : day.format(date);
}

export function timeOf(ms: number): string {
  return clock.format(new Date(ms));
}
