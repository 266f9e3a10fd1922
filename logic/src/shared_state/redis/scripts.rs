//! What stands in Redis: names of keys, forms of values, and the scripts that change them.
//!
//! Keys that one script touches share a hash tag, so everything works in a cluster. Every key has a time to live. SERVER is the
//! process of Redis that wrote something: one that was started again may have read an old snapshot, one that took over may have
//! missed the last writes, so what another one wrote about seqs and streams does not count.
//!
//! | key | what | lives |
//! |---|---|---|
//! | `P:{n:NODE}` | epoch of the conn process that holds the name | the lease |
//! | `P:{n:NODE}:at` | hash LOGIC → `EPOCH:until:SERVER`, in milliseconds of that server: to whom the process is attached | the lease |
//! | `P:{n:NODE}:streams` | how many streams the node has opened | as long as it is renewed |
//! | `P:{n:NODE}:about` | where clients reach the node, and how full it is | the lease |
//! | `P:nodes` | set of the names of nodes that may be there | a day, renewed |
//! | `P:{n:NODE}:EPOCH` | hash connection → `user:device:announced`, the number of the stream by then | as long as it is renewed |
//! | `P:{u:USER}` | hash device → route | a day after the user was last heard of |
//! | `P:d:DEVICE` | user | likewise |
//! | `P:{r:ROOM}` | hash `last`, `until`, `bytes`, `server`, `by`, `normal`, `other`, see below | a day after the last message |
//! | `P:{r:ROOM}:kept` | list of `seq:ms:message` | the retention |
//! | `P:{r:ROOM}:nodes` | hash `LOGIC\0NODE` → `EPOCH:NODE`: who says that which node has subscribers | a day, renewed |
//! | `P:{told}` | how many notices logic nodes told each other, from the time of that server on | a day, renewed |
//! | `P:{told}:list` | the newest of them | a day after the last one |
//! | `P:{told}:mark` | what all logic nodes say that use these keys | the lease of the last one |
//! | `P:logic:WHAT` | the logic process that holds a name or number | the lease |
//! | `P:logic:database` | the database whose logic nodes use these keys | the lease of the last one |
//!
//! Of a room, `last` is the last seq given, `until` the last one reserved, `server` the SERVER of both, and `bytes` what is kept. Of its
//! messages that do not overtake, `by` numbered the last one, `normal` is the seq of that, and `other` the last seq of somebody else
//! before.

use std::{fmt::Display, sync::Arc};

use gim_proto::logic::Hello;
use prost::Message as _;
use redis::{Cmd, cmd};

use crate::domain::{
    locate::NodeInfo,
    route::{NodeKey, Route},
};

/// How long what nobody asks for stays.
pub(super) const IDLE_MS: u64 = 24 * 3600 * 1000;

/// Begins a script that asks which process of Redis it runs in; where that is kept from us, all are the same.
macro_rules! in_server {
    ($text:literal) => {
        concat!(
            "local info = redis.pcall('INFO', 'server')\n",
            "local server = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''\n",
            $text
        )
    };
}

/// What the server says of its memory; nothing where that is kept from us.
pub(super) const MEMORY: &str = "\
local info = redis.pcall('INFO', 'memory')
return type(info) == 'string' and info or ''";

/// Takes the name of a node for a process, unless another one has it that is attached somewhere. KEYS: lease, attached to, streams.
/// ARGV: epoch, lease, logic node, time to live of lists. Returns the former epoch, the number of the stream, and whether the
/// name is taken.
pub(super) const ATTACH: &str = in_server!(
    "\
local former = redis.call('GET', KEYS[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if former and former ~= ARGV[1] then
  for _, held in ipairs(redis.call('HVALS', KEYS[2])) do
    local epoch, till = string.match(held, '^(%d+):(%d+)')
    if epoch == former and tonumber(till) > now then return {former, 0, 0} end
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[1] .. ':' .. string.format('%.0f', now + ARGV[2]) .. ':' .. server)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
local stream = redis.call('INCR', KEYS[3])
redis.call('PEXPIRE', KEYS[3], ARGV[4])
return {former, stream, 1}"
);

/// Renews the lease of a node that is attached, or lets it run out from now on. KEYS: lease, attached to, streams, connections,
/// about. ARGV: epoch, lease, logic node, time to live of lists, and what the node told of itself, or nothing where it is
/// attached no more. Answers as [`RENEW`]; the lease of a stream that this process of Redis was not told
/// of, or forgot, is over, too.
pub(super) const RENEW_NODE: &str = in_server!(
    "\
local holder = redis.call('GET', KEYS[1])
if not holder then return 0 end
if holder ~= ARGV[1] then return -1 end
local held = redis.call('HGET', KEYS[2], ARGV[3])
if ARGV[5] and not (held and string.match(held, '%x*$') == server) then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if redis.call('PEXPIRE', KEYS[3], ARGV[4]) == 0 then return 0 end
redis.call('PEXPIRE', KEYS[4], ARGV[4])
if ARGV[5] then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSET', KEYS[2], ARGV[3], ARGV[1] .. ':' .. string.format('%.0f', now + ARGV[2]) .. ':' .. server)
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
  redis.call('SET', KEYS[5], ARGV[5], 'PX', ARGV[2])
else
  redis.call('HDEL', KEYS[2], ARGV[3])
end
return 1"
);

/// Renews a lease that is still the caller's: 1. It is over: 0. Somebody else's: -1.
pub(super) const RENEW: &str = "\
local holder = redis.call('GET', KEYS[1])
if not holder then return 0 end
if holder ~= ARGV[1] then return -1 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1";

/// Takes a lease that nobody has, or that is the caller's already. Returns who has it now.
pub(super) const CLAIM: &str = "\
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX')
return redis.call('GET', KEYS[1])";

/// Tells all logic nodes something. KEYS: count, list. ARGV: what, how many are kept, time to live. The count begins at the time
/// of the server, so one that was lost is not mistaken for a later one.
pub(super) const TELL: &str = "\
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('SET', KEYS[1], now, 'NX')
local count = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.call('LTRIM', KEYS[2], -tonumber(ARGV[2]), -1)
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return count";

/// What was told after a count. KEYS: count, list, mark. ARGV: the count, time to live, a mark for where there is none, the lease. Returns
/// the process of Redis, the count now, what is new (nothing where that is not known), and the mark.
pub(super) const TOLD: &str = in_server!(
    "\
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('SET', KEYS[1], now, 'NX')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4], 'NX')
redis.call('PEXPIRE', KEYS[3], ARGV[4])
local mark = redis.call('GET', KEYS[3])
local count = tonumber(redis.call('GET', KEYS[1]))
local new = count - tonumber(ARGV[1])
if new == 0 then return {server, count, {}, mark} end
if new < 0 or new > redis.call('LLEN', KEYS[2]) then return {server, count, false, mark} end
return {server, count, redis.call('LRANGE', KEYS[2], -new, -1), mark}"
);

/// Gives a lease back.
pub(super) const RELEASE: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

/// Puts a route in, unless a later connection has the device. ARGV: device, since, route, time to live, and a former route
/// that does not count. Returns whether it is in, the route that was there, and how many routes the user has.
pub(super) const PUT: &str = "\
local former = redis.call('HGET', KEYS[1], ARGV[1])
local function connection(route) return string.match(route, '^[^:]*:[^:]*:(.*)$') end
if former and former ~= ARGV[5] and connection(former) ~= connection(ARGV[3])
  and tonumber(string.match(former, '^[^:]*')) > tonumber(ARGV[2]) then
  return {0, former, 0}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {1, former, redis.call('HLEN', KEYS[1])}";

/// Takes a route out, where it is still this connection's. ARGV: device, `connection:epoch:node`.
pub(super) const REMOVE: &str = "\
local route = redis.call('HGET', KEYS[1], ARGV[1])
if route and string.match(route, '^[^:]*:[^:]*:(.*)$') == ARGV[2] then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0";

/// Lists a connection with its node. KEYS: connections, streams. ARGV: connection, `user:device`, time to live.
pub(super) const LIST: &str = "\
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. (redis.call('GET', KEYS[2]) or 0))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1";

/// Numbers a room's message, and keeps it. ARGV: message, whether to keep it, how many, how many bytes, how long, time to
/// live, the logic node, whether it overtakes. Returns the seq, the last one before it that another logic node numbered, the
/// nodes with subscribers, and the bytes that are kept if this is; nothing where a block of seqs has to be reserved first: the last one is used up, or another process of
/// Redis gave from it.
pub(super) const PUBLISH: &str = in_server!(
    "\
local counters = redis.call('HMGET', KEYS[1], 'last', 'until', 'server')
local last, limit = tonumber(counters[1] or 0), tonumber(counters[2] or 0)
if last >= limit or counters[3] ~= server then return {} end
local seq = last + 1
redis.call('HSET', KEYS[1], 'last', seq)
redis.call('PEXPIRE', KEYS[1], ARGV[6])
local bytes = 0
if ARGV[2] == '1' then
  local time = redis.call('TIME')
  local ms = time[1] * 1000 + math.floor(time[2] / 1000)
  local kept = string.format('%.0f:%.0f:', seq, ms) .. ARGV[1]
  local count = redis.call('RPUSH', KEYS[2], kept)
  bytes = #kept
  if count > 1 then bytes = bytes + tonumber(redis.call('HGET', KEYS[1], 'bytes') or 0) end
  while count > 0 and (count > tonumber(ARGV[3]) or bytes > tonumber(ARGV[4])) do
    bytes = bytes - #redis.call('LPOP', KEYS[2])
    count = count - 1
  end
  redis.call('HSET', KEYS[1], 'bytes', bytes)
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
local after = '0'
if ARGV[8] == '0' then
  local order = redis.call('HMGET', KEYS[1], 'by', 'normal', 'other')
  after = order[3] or '0'
  if order[1] and order[1] ~= ARGV[7] then after = order[2] end
  redis.call('HSET', KEYS[1], 'by', ARGV[7], 'normal', string.format('%.0f', seq), 'other', after)
end
return {string.format('%.0f', seq), after, redis.call('HGETALL', KEYS[3]), bytes}"
);

/// Gives a room the block that ends with ARGV[1] and has ARGV[2] seqs, unless it has a later one.
pub(super) const GRANT: &str = in_server!(
    "\
redis.call('HSET', KEYS[1], 'server', server)
local counters = redis.call('HMGET', KEYS[1], 'last', 'until')
local last, limit, grant = tonumber(counters[1] or 0), tonumber(counters[2] or 0), tonumber(ARGV[1])
if grant <= limit then return 0 end
local first = grant - tonumber(ARGV[2])
if first > last then last = first end
redis.call('HSET', KEYS[1], 'last', string.format('%.0f', last), 'until', string.format('%.0f', grant))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1"
);

/// The server's time in milliseconds, what a room keeps, and its newest seq but for messages that overtake.
pub(super) const KEPT: &str = "\
local time = redis.call('TIME')
return {time[1] * 1000 + math.floor(time[2] / 1000), redis.call('LRANGE', KEYS[1], 0, -1),
  redis.call('HGET', KEYS[2], 'normal') or '0'}";

/// The keys below one prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn node(&self, name: &str) -> String {
        format!("{}:{{n:{name}}}", self.prefix)
    }

    pub(super) fn attached_to(&self, name: &str) -> String {
        format!("{}:{{n:{name}}}:at", self.prefix)
    }

    pub(super) fn streams(&self, name: &str) -> String {
        format!("{}:{{n:{name}}}:streams", self.prefix)
    }

    pub(super) fn about(&self, name: &str) -> String {
        format!("{}:{{n:{name}}}:about", self.prefix)
    }

    pub(super) fn nodes(&self) -> String {
        format!("{}:nodes", self.prefix)
    }

    pub(super) fn connections(&self, node: &NodeKey) -> String {
        format!("{}:{{n:{}}}:{}", self.prefix, node.name, node.epoch)
    }

    pub(super) fn user(&self, user_id: u64) -> String {
        format!("{}:{{u:{user_id}}}", self.prefix)
    }

    pub(super) fn device(&self, device_id: u64) -> String {
        format!("{}:d:{device_id}", self.prefix)
    }

    pub(super) fn room(&self, room_id: u64) -> String {
        format!("{}:{{r:{room_id}}}", self.prefix)
    }

    pub(super) fn room_kept(&self, room_id: u64) -> String {
        format!("{}:{{r:{room_id}}}:kept", self.prefix)
    }

    pub(super) fn room_nodes(&self, room_id: u64) -> String {
        format!("{}:{{r:{room_id}}}:nodes", self.prefix)
    }

    /// Of what logic nodes tell each other: how much, the list, and the mark of all of them.
    pub(super) fn told(&self) -> [String; 3] {
        ["", ":list", ":mark"].map(|which| format!("{}:{{told}}{which}", self.prefix))
    }

    pub(super) fn logic(&self, what: impl Display) -> String {
        format!("{}:logic:{what}", self.prefix)
    }

    pub(super) fn logic_number(&self, number: u16) -> String {
        self.logic(format_args!("number:{number}"))
    }
}

/// A script with its keys; arguments follow by [`Cmd::arg`]. Sent whole: a server that was restarted knows none.
pub(super) fn script(text: &str, keys: &[String]) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(text).arg(keys.len()).arg(keys);
    command
}

/// A route as it is stored: `since:type:connection:epoch:node`.
pub(super) fn encode(route: &Route) -> String {
    format!("{}:{}:{}", route.since_ms, route.device_type, connection(route))
}

/// The part of a stored route that names the connection.
pub(super) fn connection(route: &Route) -> String {
    format!("{}:{}:{}", route.connection_id, route.node.epoch, route.node.name)
}

/// A stored route; nothing where it is none of ours.
pub(super) fn decode(user_id: u64, device_id: u64, stored: &str) -> Option<Route> {
    let mut parts = stored.splitn(5, ':');
    let since_ms = parts.next()?.parse().ok()?;
    let device_type = parts.next()?.parse().ok()?;
    let connection_id = parts.next()?.parse().ok()?;
    let epoch = parts.next()?.parse().ok()?;
    let node = Arc::new(NodeKey { name: parts.next()?.to_owned(), epoch });
    Some(Route { user_id, device_id, device_type, node, connection_id, since_ms })
}

/// What a node told of itself, as it is stored: a `logic.Hello` with addresses and load alone.
pub(super) fn encode_info(info: &NodeInfo) -> Vec<u8> {
    let hello = Hello { addresses: Some(info.addresses.clone()), load: Some(info.load), ..Hello::default() };
    hello.encode_to_vec()
}

/// What [`encode_info`] stored; nothing where it is none of ours.
pub(super) fn decode_info(name: &str, stored: &[u8]) -> Option<NodeInfo> {
    let hello = Hello::decode(stored).ok()?;
    Some(NodeInfo { name: name.to_owned(), addresses: hello.addresses?, load: hello.load? })
}

/// A kept message: its seq, when it was kept, and its bytes.
pub(super) fn decode_kept(stored: &[u8]) -> Option<(u64, i64, &[u8])> {
    let mut parts = stored.splitn(3, |&byte| byte == b':');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<i64>().ok();
    let (seq, at_ms) = (number()?, number()?);
    Some((u64::try_from(seq).ok()?, at_ms, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_comes_back_as_it_was() {
        let node = Arc::new(NodeKey { name: "conn:1".into(), epoch: u64::MAX });
        let route = Route { user_id: 7, device_id: 8, device_type: 2, node, connection_id: u64::MAX, since_ms: -5 };
        assert_eq!(decode(7, 8, &encode(&route)), Some(route.clone()));
        assert!(encode(&route).ends_with(&connection(&route)));
        assert_eq!(decode(7, 8, "1:2:x"), None);
    }

    #[test]
    fn a_kept_message_may_hold_any_bytes() {
        assert_eq!(decode_kept(b"12:34:a:\xff:"), Some((12, 34, &b"a:\xff:"[..])));
        assert_eq!(decode_kept(b"12:34"), None);
    }
}
