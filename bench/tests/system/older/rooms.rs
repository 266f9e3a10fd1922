//! What is said in rooms to older clients, who read a content by its number: whoever says it chooses the content, and is believed nothing.

use gim_proto::{ResultCode, connect::send_request::Target};

use super::{NewClient, OlderClient, ROOM, Spot, each_dialect, read_until, wire::Way};
use crate::server::Server;

#[test]
fn nobody_in_a_room_speaks_for_somebody_else() {
    let server = Server::start_for_older_clients();
    each_dialect!(says_what_others_did_not, &server);
}

fn says_what_others_did_not<C: OlderClient>(server: &Server, name: &str) {
    let [of_ada, of_bob, of_mallory] = ["118", "117", "116"].map(|area| format!("{area}{}", name.replace('-', "")));
    let (mut ada, bob) = (C::sign_in(server, &of_ada), C::sign_in(server, &of_bob));
    let old = C::sign_in(server, &of_mallory);
    let forged = || C::said_by(bob.user_id(), "forged");
    if old.push_to_room_as(server, 0, forged()).is_none() {
        return;
    }
    let mut new = NewClient::sign_in(server, &of_mallory);
    new.connect(server);
    ada.connect(server, Way::Tcp);
    // The numbers of what users say to each other, then and today, are those of a plain message in a room.
    let plain = [0, 1, 2, 100, 101];
    for number in plain {
        old.push_to_room_as(server, number, forged()).unwrap().unwrap_or_else(|refused| panic!("{number}: {refused}"));
    }
    for command in [0, 1] {
        new.send_as(Target::RoomId(ROOM), command, forged());
    }
    old.push_to_room_as(server, 0, "last".into()).unwrap().unwrap();
    read_until(&mut ada, "last");
    let spots: Vec<Spot> = ada.shown().iter().map(|shown| shown.spot).collect();
    assert_eq!(spots, vec![Spot::Room; plain.len() + 3], "{name}");
}

#[test]
fn numbers_of_the_server_and_of_typed_contents_are_refused_in_rooms() {
    let server = Server::start_for_older_clients();
    each_dialect!(takes_other_numbers, &server);
}

fn takes_other_numbers<C: OlderClient>(server: &Server, name: &str) {
    let client = C::sign_in(server, &format!("115{}", name.replace('-', "")));
    let code = |number: i32| {
        let pushed = client.push_to_room_as(server, number, b"own".to_vec())?;
        Some(pushed.map_err(|refused| ResultCode::of_status(&refused)))
    };
    if code(0).is_none() {
        return;
    }
    for number in [102, 110, 122, 199] {
        assert_eq!(code(number), Some(Err(ResultCode::NotAllowed)), "{name}: {number}");
    }
    for number in [200, 212, 299, -1, i32::MIN] {
        assert_eq!(code(number), Some(Err(ResultCode::BadRequest)), "{name}: {number}");
    }
    for number in [3, 99, 300, 999, 1_000, i32::MAX] {
        assert_eq!(code(number), Some(Ok(())), "{name}: {number}");
    }
}
