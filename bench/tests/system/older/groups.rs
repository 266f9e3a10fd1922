//! Groups as older clients have them.

use gim_proto::ResultCode;

use super::{OlderClient, each_dialect, make_group};
use crate::server::Server;

#[test]
fn who_is_in_a_group_already_is_passed_over_and_the_others_come_in() {
    let server = Server::start_for_older_clients();
    each_dialect!(adds_some_twice, &server);
}

fn adds_some_twice<C: OlderClient>(server: &Server, name: &str) {
    let people =
        ["114", "113", "112", "111"].map(|area| C::sign_in(server, &format!("{area}{}", name.replace('-', ""))));
    let [mut ada, bob, cyd, dan] = people;
    for friend in [&bob, &cyd, &dan] {
        ada.add_friend(server, friend.user_id());
        friend.agree(server, ada.user_id());
    }
    let group_id = make_group(server, &mut ada, bob.user_id());
    let (bob, cyd, dan) = (bob.user_id(), cyd.user_id(), dan.user_id());
    // The answer names who was there.
    let add = |user_ids: &[u64]| {
        ada.add_members(server, group_id, user_ids).map_err(|refused| {
            assert!(!refused.message().is_empty());
            ResultCode::of_status(&refused)
        })
    };
    let named = add(&[bob, cyd, cyd]).unwrap();
    assert!(named.is_none_or(|named| named == [bob]), "{name}");
    let named = add(&[ada.user_id(), bob, cyd]).unwrap();
    assert!(named.is_none_or(|named| named == [ada.user_id(), bob, cyd]), "{name}");
    assert!(add(&[dan]).unwrap().is_none_or(|named| named.is_empty()), "{name}");
    let mut members = ada.members(server, group_id);
    members.sort_unstable();
    let mut expected = [ada.user_id(), bob, cyd, dan];
    expected.sort_unstable();
    assert_eq!(members, expected, "{name}");
    for nobody in [0, u64::MAX] {
        assert_eq!(add(&[cyd, nobody]), Err(ResultCode::BadRequest), "{name}");
    }
}
