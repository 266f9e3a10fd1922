//! Which devices of a user may be connected side by side. Pure rules; the caller ends the connections.

use super::route::Route;
use crate::settings::{KickPolicy, KickSettings};

/// Of connections that came (`new`) and all connections of their users (`all`), those that have to go: of any two, the newer
/// one's policy decides about the older one, whichever of them is told of first. So two sign-ins at the same time agree.
pub fn losers(settings: &KickSettings, new: &[Route], all: &[Route]) -> Vec<Route> {
    let mut losers: Vec<Route> = Vec::new();
    for one in new {
        let others = all.iter().filter(|other| other.user_id == one.user_id && other.device_id != one.device_id);
        for other in others {
            let (older, newer) = if is_older(other, one) { (other, one) } else { (one, other) };
            if ends(settings.policy_of(newer.device_type), older, newer) && !losers.contains(older) {
                losers.push(older.clone());
            }
        }
    }
    losers
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

    fn ids(settings: &KickSettings, new: &[Route], all: &[Route]) -> Vec<u64> {
        losers(settings, new, all).iter().map(|route| route.device_id).collect()
    }

    #[test]
    fn the_policy_of_the_newer_device_decides() {
        let (phone, web, tablet) = (route(1, ANDROID, 1), route(2, WEB, 2), route(3, ANDROID, 3));
        let all = [phone.clone(), web.clone(), tablet.clone()];
        let none = KickSettings::default();
        assert_eq!(ids(&none, std::slice::from_ref(&tablet), &all), [0; 0]);
        let same = KickSettings { android: KickPolicy::SameType, ..none.clone() };
        assert_eq!(ids(&same, std::slice::from_ref(&tablet), &all), [1]);
        assert_eq!(ids(&same, std::slice::from_ref(&web), &all), [0; 0]);
        let others = KickSettings { android: KickPolicy::AllOthers, ..none };
        assert_eq!(ids(&others, &[tablet], &all), [1, 2]);
        let stranger = Route { user_id: 8, ..route(9, ANDROID, 9) };
        assert_eq!(ids(&others, &[stranger], &all), [0; 0]);
    }

    #[test]
    fn two_sign_ins_at_the_same_time_agree_who_stays() {
        let settings = KickSettings { android: KickPolicy::SameType, ..KickSettings::default() };
        let (one, two) = (route(1, ANDROID, 5), route(2, ANDROID, 5));
        let all = [one.clone(), two.clone()];
        for new in [vec![one.clone()], vec![two.clone()], vec![one, two]] {
            assert_eq!(ids(&settings, &new, &all), [1], "also the one that is told of last may have to go");
        }
    }
}
