//! Which conn nodes a client should try: a decision over what the nodes told of themselves, without IO; chance is passed in.
//!
//! Always holds: nobody is sent to a node that drains, that is full, or that he cannot reach. Without a room, a node comes
//! first as often as it has room; a room's members come to the same node until that fills up.

use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::quality::FixedState;
use gim_proto::logic::{ConnNode, NodeAddresses, NodeLoad};

/// What a conn node told of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// Where clients reach it.
    pub addresses: NodeAddresses,
    /// How full it is.
    pub load: NodeLoad,
}

/// What a client says when it asks.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What it runs on.
    pub platform: &'a str,
    /// The room that it is about to enter; 0 for none.
    pub room_id: u64,
}

/// From when on a node counts as full, in thousandths of its connections.
#[derive(Debug, Clone, Copy)]
pub struct Fullness {
    /// One that is so full is offered to nobody.
    pub full_permille: u32,
    /// One that is so full is offered last to those who are about to enter a room.
    pub room_full_permille: u32,
}

impl NodeInfo {
    /// How much of it is free, in thousandths; 0 where nobody is to be sent to it.
    pub fn free_permille(&self, full_permille: u32) -> u32 {
        let NodeLoad { connections, connections_max, is_draining } = self.load;
        if is_draining || connections_max == 0 {
            return 0;
        }
        let used = u128::from(connections) * 1000 / u128::from(connections_max);
        let used = u32::try_from(used).unwrap_or(u32::MAX);
        if used >= full_permille { 0 } else { 1000 - used }
    }
}

/// The nodes that a client should try, best first, and at most `count_max` of them. `chance` gives numbers between 0 and 1.
pub fn locate(
    nodes: &[NodeInfo],
    question: Question<'_>,
    fullness: Fullness,
    count_max: usize,
    mut chance: impl FnMut() -> f64,
) -> Vec<ConnNode> {
    let is_web = question.platform.eq_ignore_ascii_case("web");
    let mut ranked: Vec<(f64, ConnNode)> = Vec::new();
    for node in nodes {
        let weight = node.free_permille(fullness.full_permille);
        let Some(answer) = answer(&node.addresses, weight, is_web).filter(|_| weight > 0) else { continue };
        let rank = if question.room_id == 0 {
            // Chances in proportion to the weights, without putting back: the greatest u^(1/weight) first.
            chance().powf(1.0 / f64::from(weight))
        } else {
            let is_filling = 1000 - weight >= fullness.room_full_permille;
            affinity(question.room_id, &node.name) - f64::from(u8::from(is_filling))
        };
        ranked.push((rank, answer));
    }
    ranked.sort_by(|one, other| other.0.total_cmp(&one.0));
    ranked.truncate(count_max);
    ranked.into_iter().map(|(_, node)| node).collect()
}

/// The addresses of other nodes for those whom `name` sends away: at most `count_max`, chosen by chance.
pub fn peers_of(name: &str, nodes: &[NodeInfo], full_permille: u32, count_max: usize) -> Vec<NodeAddresses> {
    let mut peers: Vec<&NodeInfo> =
        nodes.iter().filter(|node| node.name != name && node.free_permille(full_permille) > 0).collect();
    // Each node gets others first, and the same ones every time.
    peers.sort_by_key(|node| pair_hash(name.as_bytes(), node.name.as_bytes()));
    peers.into_iter().take(count_max).map(|node| node.addresses.clone()).collect()
}

/// Browsers speak WebSocket alone; all others get every address.
fn answer(addresses: &NodeAddresses, weight: u32, is_web: bool) -> Option<ConnNode> {
    let NodeAddresses { tcp, ws, tls, wss } = addresses.clone();
    let node = if is_web {
        ConnNode { ws, wss, weight, ..ConnNode::default() }
    } else {
        ConnNode { tcp, ws, weight, tls, wss }
    };
    let is_reachable = [&node.tcp, &node.ws, &node.tls, &node.wss].iter().any(|address| !address.is_empty());
    is_reachable.then_some(node)
}

/// Between 0 and 1, the same on every logic node: a room prefers the nodes in an order of its own.
fn affinity(room_id: u64, name: &str) -> f64 {
    pair_hash(&room_id.to_be_bytes(), name.as_bytes()) as f64 / u64::MAX as f64
}

fn pair_hash(one: &[u8], other: &[u8]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(one);
    hasher.write(other);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    const COUNT_MAX: usize = 8;

    fn node(name: &str, connections: u64, is_draining: bool) -> NodeInfo {
        let addresses = NodeAddresses { tcp: name.into(), ws: format!("ws://{name}/ws"), ..NodeAddresses::default() };
        NodeInfo { name: name.into(), addresses, load: NodeLoad { connections, connections_max: 1000, is_draining } }
    }

    fn ask(nodes: &[NodeInfo], platform: &str, room_id: u64) -> Vec<ConnNode> {
        let fullness = Fullness { full_permille: 950, room_full_permille: 800 };
        locate(nodes, Question { platform, room_id }, fullness, COUNT_MAX, rand::random)
    }

    fn first(nodes: &[NodeInfo], room_id: u64) -> String {
        ask(nodes, "", room_id)[0].tcp.clone()
    }

    #[test]
    fn nodes_that_drain_or_are_full_are_never_offered() {
        let nodes = [node("a", 0, true), node("b", 950, false), node("c", 949, false)];
        for room_id in 0..50 {
            let answer = ask(&nodes, "", room_id);
            assert_eq!((answer.len(), answer[0].tcp.as_str(), answer[0].weight), (1, "c", 51));
        }
        let unknown = NodeInfo { load: NodeLoad::default(), ..node("d", 0, false) };
        assert!(ask(&[unknown], "", 0).is_empty());
    }

    #[test]
    fn the_emptier_a_node_is_the_more_often_it_comes_first() {
        let nodes = [node("full", 900, false), node("half", 500, false), node("empty", 0, false)];
        let mut firsts: HashMap<String, u32> = HashMap::new();
        for _ in 0..16_000 {
            *firsts.entry(first(&nodes, 0)).or_default() += 1;
        }
        // In proportion to 100, 500 and 1000; six standard deviations are allowed.
        for (name, expected, allowed) in [("full", 1000, 190), ("half", 5000, 360), ("empty", 10_000, 370)] {
            let count = i64::from(firsts[name]);
            assert!((count - expected).abs() < allowed, "{name}: {count}");
        }
    }

    #[test]
    fn browsers_get_web_sockets_alone() {
        let mut tcp_only = node("b", 0, false);
        tcp_only.addresses.ws.clear();
        let nodes = [node("a", 0, false), tcp_only];
        for platform in ["web", "Web"] {
            let answer = ask(&nodes, platform, 0);
            assert_eq!((answer.len(), answer[0].tcp.as_str(), answer[0].ws.as_str()), (1, "", "ws://a/ws"));
        }
        assert_eq!(ask(&nodes, "android", 0).len(), 2);
    }

    #[test]
    fn members_of_a_room_come_to_one_node_until_it_fills() {
        let nodes: Vec<NodeInfo> = (0..10).map(|number| node(&format!("node-{number}"), 100, false)).collect();
        let order: Vec<String> = ask(&nodes, "", 7).into_iter().map(|node| node.tcp).collect();
        for _ in 0..10 {
            assert_eq!(first(&nodes, 7), order[0]);
        }
        let mut filling = nodes.clone();
        filling.iter_mut().find(|node| node.name == order[0]).unwrap().load.connections = 800;
        assert_eq!(first(&filling, 7), order[1]);
        let firsts: HashSet<String> = (1..=200).map(|room_id| first(&nodes, room_id)).collect();
        assert_eq!(firsts.len(), 10, "rooms are spread over all nodes");
    }

    #[test]
    fn an_answer_is_bounded() {
        let nodes: Vec<NodeInfo> = (0..100).map(|number| node(&number.to_string(), 0, false)).collect();
        assert_eq!(ask(&nodes, "", 0).len(), COUNT_MAX);
        let peers = peers_of("5", &nodes, 950, 16);
        assert_eq!(peers.len(), 16);
        assert!(peers.iter().all(|peer| peer.tcp != "5"), "nobody is sent back");
        let draining = [node("a", 0, true), node("b", 0, false)];
        assert!(peers_of("b", &draining, 950, 16).is_empty());
    }
}
