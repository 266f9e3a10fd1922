// What the page says, in the language of the browser.

const ENGLISH = {
  title: "gim chat", phone: "Phone number", code: "Code", signIn: "Sign in", signOut: "Sign out", sendCode: "Send me a code", codeSent: (number: string) => `A code is on its way to ${number}.`,
  signInHint: "This server is for development: any phone number will do, with the code of its settings (123456, unless it was changed).",
  conversations: "Chats", noConversations: "Nothing here yet. Find somebody under Contacts, or make a group.",
  contacts: "Contacts", newGroup: "New group", own: "You", rooms: "Live room", menu: "What else there is",
  find: "Find people", findHint: "Phone number, name or user number", notFound: "Nobody was found.", found: "Found", write: "Write a message", send: "Send",
  sending: "sending", sent: "sent", read: "read", failed: "not sent", retry: "Send again", goOn: "Go on", discard: "Discard", recall: "Take back", recalled: "This message was taken back.",
  gone: "The server keeps this message no longer.", invisible: "This message has no visible text.", unknown: "A message that this page cannot show", unread: "New messages",
  offline: "No connection. Trying again by itself.", connecting: "Connecting …", replaced: "This device is in use on another page.",
  useHere: "Use it here", ended: "You were signed out.", storage: "This browser cannot store messages: they are loaded anew next time.",
  choose: "Choose a chat, or start one.", back: "Back to the chats", close: "Close", user: "User", group: "Group", room: "Room", you: "You", messages: "Messages",
  earlier: "Earlier messages", unreadCount: "unread", newest: "To the newest message", showAll: "Show all of it", emoji: "Emoji", chooseEmoji: "Choose an emoji",
  info: "About this chat", pin: "Pin", unpin: "Unpin", mute: "Mute", unmute: "Unmute", markUnread: "Mark as unread", deleteChat: "Delete the chat", really: "Really?",
  pinned: "pinned", muted: "muted", members: "Members", more: "More", rename: "Rename", name: "Name", save: "Save", add: "Add", addMembers: "Add members", remove: "Remove",
  leave: "Leave the group", leaveRoom: "Leave the room", admin: "Admin", makeAdmin: "Make admin", unmakeAdmin: "No longer admin", create: "Create", large: "Large group",
  largeHint: "For thousands of members.", pickMembers: "Who is in it", friends: "Friends", noFriends: "No friends yet. Find people above.", requests: "Want to be friends",
  agree: "Agree", refuse: "No", block: "Block", unblock: "Unblock", blocked: "Blocked", addFriend: "Add as a friend", asked: "Asked", message: "Message",
  unfriend: "End the friendship", nickname: "Your name", number: "User number", enterRoom: "Enter a live room", roomNumber: "Number of the room", enter: "Enter", saved: "Saved.",
  today: "Today", yesterday: "Yesterday", refused: "You cannot enter this room: ", addedBy: "Who may add you to groups", default: "As the server has it", everybody: "Everybody",
  onlyFriends: "Friends", nobody: "Nobody", waking: "Tell me of messages when no page is open", wakingRefused: "This browser does not let the page tell you of messages when it is closed.",
  reply: "Reply", noReply: "Do not reply", forward: "Forward", forwardTo: "Forward to", cancel: "Cancel", goToAnswered: "To the message that is answered", mention: "Who is meant", meant: "@you",
  notHere: "not to be found here", notFoundHere: "That message is not to be found here.", tooMuch: "This is too much to be forwarded at once.", unprovedQuote: "As whoever replies quotes it: that message is not here.", unproved: "As whoever forwarded it has it: nothing proves that it was said so.",
  attach: "Send something else", image: "Picture", gif: "GIF", video: "Video", voice: "Voice message", file: "File", place: "Place", contact: "Contact", sticker: "Sticker", caption: "Caption",
  address: "Address on the web", noAddress: "This is no address of the web.", notLoaded: "Nothing could be loaded from there.", showPicture: "Show the picture", play: "Play", pause: "Pause", position: "Position",
  fromDevice: "From this device", record: "Record", noMicrophone: "This browser does not let the page hear.", tooManyUploads: "Too many files are on their way.",
  showMap: "Map", latitude: "Latitude", longitude: "Longitude", whereIAm: "Where I am", noPlace: "This browser does not say where it is.",
  talkOf: (one: string, other: string) => `${one} and ${other}`,
  talkIn: (name: string) => `Messages of ${name}`,
  forwarded: (count: number) => `${count} ${count === 1 ? "message" : "messages"}`,
  chosen: (count: number) => `${count} chosen`,
  people: (count: number) => `${count} ${count === 1 ? "member" : "members"}`,
  inRoom: (count: number) => `${count} here now`,
  readBy: (count: number) => `read by ${count}`,
  readByAll: "read by all",
  added: (by: string, whom: string) => `${by} added ${whom}`,
  removed: (by: string, whom: string) => `${by} removed ${whom}`,
  left: (whom: string) => `${whom} left`,
  changed: (by: string, name: string) => `${by} changed the group: ${name}`,
  wantsFriend: (who: string) => `${who} wants to be your friend.`,
  isFriend: (who: string) => `${who} is your friend now.`,
};

const CHINESE: typeof ENGLISH = {
  title: "gim 聊天", phone: "手机号", code: "验证码", signIn: "登录", signOut: "退出登录", sendCode: "发送验证码", codeSent: (number: string) => `验证码已发送至 ${number}。`,
  signInHint: "这是开发用的服务器：任意手机号，加上配置中的验证码（默认 123456）即可登录。",
  conversations: "会话", noConversations: "还没有会话。在“通讯录”中找人，或新建群。",
  contacts: "通讯录", newGroup: "新建群", own: "我", rooms: "直播间", menu: "更多",
  find: "找人", findHint: "手机号、昵称或用户编号", notFound: "没有找到。", found: "找到的人", write: "输入消息", send: "发送",
  sending: "发送中", sent: "已发送", read: "已读", failed: "未发送", retry: "重新发送", goOn: "继续", discard: "放弃", recall: "撤回", recalled: "这条消息已被撤回。",
  gone: "服务器已不再保存这条消息。", invisible: "这条消息没有可见的文字。", unknown: "此页面无法显示这条消息", unread: "新消息",
  offline: "连接已断开，正在自动重连。", connecting: "正在连接 …", replaced: "此设备正在另一个页面上使用。",
  useHere: "在此使用", ended: "您已退出登录。", storage: "此浏览器无法保存消息，下次将重新加载。",
  choose: "请选择或开始一个会话。", back: "返回会话列表", close: "关闭", user: "用户", group: "群", room: "直播间", you: "我", messages: "消息",
  earlier: "更早的消息", unreadCount: "条未读", newest: "到最新消息", showAll: "显示全部", emoji: "表情", chooseEmoji: "选择表情",
  info: "会话信息", pin: "置顶", unpin: "取消置顶", mute: "免打扰", unmute: "取消免打扰", markUnread: "标为未读", deleteChat: "删除会话", really: "确定？",
  pinned: "已置顶", muted: "免打扰", members: "成员", more: "更多", rename: "改名", name: "名称", save: "保存", add: "添加", addMembers: "添加成员", remove: "移出",
  leave: "退出群", leaveRoom: "离开直播间", admin: "管理员", makeAdmin: "设为管理员", unmakeAdmin: "取消管理员", create: "创建", large: "大群",
  largeHint: "适合上千名成员。", pickMembers: "群成员", friends: "好友", noFriends: "还没有好友。在上面找人。", requests: "好友申请",
  agree: "同意", refuse: "拒绝", block: "拉黑", unblock: "取消拉黑", blocked: "黑名单", addFriend: "加为好友", asked: "已申请", message: "发消息",
  unfriend: "删除好友", nickname: "我的昵称", number: "用户编号", enterRoom: "进入直播间", roomNumber: "直播间编号", enter: "进入", saved: "已保存。",
  today: "今天", yesterday: "昨天", refused: "无法进入直播间：", addedBy: "谁可以拉我进群", default: "按服务器设置", everybody: "所有人",
  onlyFriends: "好友", nobody: "任何人都不可以", waking: "页面关闭时通知我新消息", wakingRefused: "浏览器不允许此页面在关闭时通知您。",
  reply: "回复", noReply: "取消回复", forward: "转发", forwardTo: "转发给", cancel: "取消", goToAnswered: "查看被回复的消息", mention: "提醒谁看", meant: "[有人@我]",
  notHere: "此处找不到", notFoundHere: "找不到那条消息。", tooMuch: "一次转发的内容过多。", unprovedQuote: "引用内容由回复者提供，原消息不在此处。", unproved: "内容由转发者提供，未经核实。",
  attach: "发送其他内容", image: "图片", gif: "动图", video: "视频", voice: "语音", file: "文件", place: "位置", contact: "名片", sticker: "贴纸", caption: "说明",
  address: "网址", noAddress: "这不是有效的网址。", notLoaded: "无法从该网址加载。", showPicture: "显示图片", play: "播放", pause: "暂停", position: "播放位置",
  fromDevice: "从本设备选择", record: "录音", noMicrophone: "浏览器未允许使用麦克风。", tooManyUploads: "正在上传的文件过多。",
  showMap: "地图", latitude: "纬度", longitude: "经度", whereIAm: "我的位置", noPlace: "浏览器未提供位置。",
  talkOf: (one: string, other: string) => `${one}和${other}的聊天记录`,
  talkIn: (name: string) => `${name}的聊天记录`,
  forwarded: (count: number) => `${count} 条消息`,
  chosen: (count: number) => `已选 ${count} 条`,
  people: (count: number) => `${count} 名成员`,
  inRoom: (count: number) => `${count} 人在线`,
  readBy: (count: number) => `${count} 人已读`,
  readByAll: "全部已读",
  added: (by: string, whom: string) => `${by} 添加了 ${whom}`,
  removed: (by: string, whom: string) => `${by} 移出了 ${whom}`,
  left: (whom: string) => `${whom} 退出了群`,
  changed: (by: string, name: string) => `${by} 修改了群资料：${name}`,
  wantsFriend: (who: string) => `${who} 想加您为好友。`,
  isFriend: (who: string) => `${who} 已是您的好友。`,
};

export const isChinese = navigator.language.startsWith("zh");
export const text = isChinese ? CHINESE : ENGLISH;

const locale = isChinese ? "zh" : undefined;
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });
const shortDay = new Intl.DateTimeFormat(locale, { month: "short", day: "numeric" });
const longDay = new Intl.DateTimeFormat(locale, { weekday: "long", month: "long", day: "numeric" });

// What a browser takes for a time; others may say any number.
const DATE_MS_MAX = 8.64e15;

export function isDate(ms: number): boolean {
  return ms > 0 && ms <= DATE_MS_MAX;
}

// The time of day, or of what was earlier the day.
export function when(ms: number): string {
  if (!isDate(ms)) return "";
  return isSameDay(ms, Date.now()) ? timeOf(ms) : shortDay.format(ms);
}

export function timeOf(ms: number): string {
  if (!isDate(ms)) return "";
  return clock.format(ms);
}

export function dayOf(ms: number): string {
  if (!isDate(ms)) return "";
  if (isSameDay(ms, Date.now())) return text.today;
  return isSameDay(ms, Date.now() - 86_400_000) ? text.yesterday : longDay.format(ms);
}

export function isSameDay(one: number, other: number): boolean {
  return new Date(one).toDateString() === new Date(other).toDateString();
}

export function durationOf(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

export function bytesOf(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${Number((bytes / 1000 ** power).toPrecision(3))} ${units[power]}`;
}
