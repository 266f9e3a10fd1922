//! Which devices of a user may be connected side by side. Pure rules; the caller ends the connections.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::route::Route;

/// Which of a user's other devices a sign-in closes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KickPolicy {
    /// All may be connected side by side.
    #[default]
    None,
    /// Those of the same type.
    SameType,
    /// All of them.
    AllOthers,
}

/// Of connections that came (`new`) and all connections of their users (`all`), those that have to go: of any two, the newer
/// one's policy, by the type of its device, decides about the older one, whichever of them is told of first. So two sign-ins at
/// the same time agree.
pub fn evicted(policy_of: impl Fn(i32) -> KickPolicy, new: &[Route], all: &[Route]) -> Vec<Route> {
    let mut evicted: Vec<Route> = Vec::new();
    for one in new {
        let others = all.iter().filter(|other| other.user_id == one.user_id && other.device_id != one.device_id);
        for other in others {
            let (older, newer) = if is_older(other, one) { (other, one) } else { (one, other) };
            if ends(policy_of(newer.device_type), older, newer) && !evicted.contains(older) {
                evicted.push(older.clone());
            }
        }
    }
    evicted
}

/// Of all connections of some users, those that have to go so that none has more than `max`: the oldest ones.
pub fn crowded_out(max: usize, all: &[Route]) -> Vec<Route> {
    let mut newest_first: Vec<&Route> = all.iter().collect();
    newest_first.sort_unstable_by_key(|route| (route.user_id, Reverse((route.since_ms, route.device_id))));
    let users = newest_first.chunk_by(|one, other| one.user_id == other.user_id);
    users.flat_map(|routes| routes.iter().skip(max)).map(|&route| route.clone()).collect()
}

fn is_older(one: &Route, other: &Route) -> bool {
    (one.since_ms, one.device_id) < (other.since_ms, other.device_id)
}

fn ends(policy: KickPolicy, older: &Route, newer: &Route) -> bool {
    match policy {
        KickPolicy::None => false,
        KickPolicy::SameType => older.device_type == newer.device_type,
        KickPolicy::AllOthers => true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::route::NodeKey;

    const ANDROID: i32 = 1;
    const WEB: i32 = 5;

    fn route(device_id: u64, device_type: i32, since_ms: i64) -> Route {
        let node = Arc::new(NodeKey { name: "a".into(), epoch: 1 });
        Route { user_id: 7, device_id, device_type, node, connection_id: device_id, since_ms }
    }

    fn ids(policy_of: impl Fn(i32) -> KickPolicy, new: &[Route], all: &[Route]) -> Vec<u64> {
        evicted(policy_of, new, all).iter().map(|route| route.device_id).collect()
    }

    /// This policy for phones, none for others.
    fn android(policy: KickPolicy) -> impl Fn(i32) -> KickPolicy {
        move |device_type| if device_type == ANDROID { policy } else { KickPolicy::None }
    }

    #[test]
    fn the_policy_of_the_newer_device_decides() {
        let (phone, web, tablet) = (route(1, ANDROID, 1), route(2, WEB, 2), route(3, ANDROID, 3));
        let all = [phone.clone(), web.clone(), tablet.clone()];
        assert_eq!(ids(|_| KickPolicy::None, std::slice::from_ref(&tablet), &all), [0; 0]);
        assert_eq!(ids(android(KickPolicy::SameType), std::slice::from_ref(&tablet), &all), [1]);
        assert_eq!(ids(android(KickPolicy::SameType), std::slice::from_ref(&web), &all), [0; 0]);
        assert_eq!(ids(android(KickPolicy::AllOthers), &[tablet], &all), [1, 2]);
        let stranger = Route { user_id: 8, ..route(9, ANDROID, 9) };
        assert_eq!(ids(android(KickPolicy::AllOthers), &[stranger], &all), [0; 0]);
    }

    #[test]
    fn beyond_the_most_a_user_may_have_the_oldest_go() {
        let all = [route(1, WEB, 30), route(2, WEB, 10), route(3, WEB, 20), route(4, WEB, 20)];
        let other = Route { user_id: 8, ..route(9, WEB, 5) };
        let all = [&all[..], &[other]].concat();
        let ids = |max| crowded_out(max, &all).iter().map(|route| route.device_id).collect::<Vec<_>>();
        assert_eq!((ids(4), ids(2), ids(1)), (vec![], vec![3, 2], vec![4, 3, 2]));
    }

    #[test]
    fn two_sign_ins_at_the_same_time_agree_who_stays() {
        let (one, two) = (route(1, ANDROID, 5), route(2, ANDROID, 5));
        let all = [one.clone(), two.clone()];
        for new in [vec![one.clone()], vec![two.clone()], vec![one, two]] {
            let ids = ids(android(KickPolicy::SameType), &new, &all);
            assert_eq!(ids, [1], "also the one that is told of last may have to go");
        }
    }
}
