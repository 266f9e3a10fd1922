//! The doors of older clients: every method is there and is counted by its dialect, the bounds are those of other doors, and who comes to
//! the wrong one is told so.

use gim_legacy::Dialect;
use gim_proto::{
    CloseReason, ResultCode,
    business::{SignInRequest, user_ext_service_client::UserExtServiceClient},
    client::{Client, ClientError},
};
use tonic::Code;

use super::{
    OlderClient, d2020_12, d2024_01, d2025_08, make_group, read_until,
    wire::{Framed, WAYS, Way},
};
use crate::{
    from_outside::get,
    server::{DEADLINE, Server},
};

/// Runs a check of each dialect.
macro_rules! each_dialect {
    ($check:ident, $server:expr) => {
        $check::<d2025_08::Older>($server, d2025_08::NAME);
        $check::<d2024_01::Older>($server, d2024_01::NAME);
        $check::<d2020_12::Older>($server, d2020_12::NAME);
    };
}

#[test]
fn every_method_of_a_dialect_answers_and_is_counted_under_it() {
    let server = Server::start_for_older_clients();
    each_dialect!(calls_every_method, &server);
}

fn calls_every_method<C: OlderClient>(server: &Server, name: &str) {
    let numbers = ["1", "2"].map(|end| format!("139{}{end}", name.replace('-', "")));
    let (mut ada, mut bob) = (C::sign_in(server, &numbers[0]), C::sign_in(server, &numbers[1]));
    ada.add_friend(server, bob.user_id());
    bob.agree(server, ada.user_id());
    assert_eq!(ada.friends(server), [bob.user_id()]);
    bob.connect(server, Way::Tcp);
    ada.send_to_friend(server, bob.user_id(), "to a friend");
    read_until(&mut bob, "to a friend");
    let group_id = make_group(server, &mut ada, bob.user_id());
    ada.send_to_group(server, group_id, "to a group");
    read_until(&mut bob, "to a group");
    ada.push_to_room(server, "to a room");
    ada.call_the_rest(server, bob.user_id(), group_id);
    let [_, (_, _, admin), _] = server.services();
    let page = get(admin, "/metrics").1;
    for (method, _) in Dialect::named(name).unwrap().calls().methods {
        let line = format!("grpc_calls_total{{method=\"/{method}\",code=\"0\",dialect=\"{name}\"}}");
        assert!(page.contains(&line), "{line}: {page}");
    }
}

#[test]
fn wrong_codes_close_the_door_of_a_dialect_as_they_close_others() {
    let server = Server::start_for_older_clients();
    each_dialect!(guesses_codes, &server);
}

fn guesses_codes<C: OlderClient>(server: &Server, name: &str) {
    let phone_number = format!("137{}", name.replace('-', ""));
    let answers: Vec<_> = (0..12).map(|_| C::sign_in_wrongly(server, &phone_number)).collect();
    let code = |code: ResultCode| answers.iter().filter(|status| ResultCode::of_status(status) == code).count();
    assert_eq!((code(ResultCode::WrongCode), code(ResultCode::TooManyRequests)), (10, 2), "{name}: {answers:?}");
}

#[test]
fn calls_at_the_door_of_a_dialect_take_from_the_share_of_the_address() {
    let server = Server::start_for_few_older_calls(200);
    each_dialect!(registers_too_many, &server);
}

fn registers_too_many<C: OlderClient>(server: &Server, name: &str) {
    // Each counts as 20 calls, of which an address has 200 at once and one more in each second; each door counts by itself.
    let refused = C::register(server, 100);
    let is_share = |message: &str| message.contains("too many calls come from this address");
    assert!(refused.iter().any(|status| is_share(status.message())), "{name}: {} refused", refused.len());
    let code = ResultCode::of_status(&refused[0]);
    assert!(refused.iter().all(|status| ResultCode::of_status(status) == ResultCode::TooManyRequests), "{code:?}");
}

#[test]
fn calls_of_today_are_unknown_at_the_doors_of_a_dialect() {
    let server = Server::start_for_older_clients();
    for dialect in Dialect::all() {
        let mut users = UserExtServiceClient::new(server.older_channel(dialect.name()));
        let refused = server.call(users.sign_in(SignInRequest::default())).unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{dialect:?}: {refused:?}");
    }
}

#[test]
fn calls_of_older_clients_are_refused_at_the_doors_of_today() {
    let server = Server::start_for_older_clients();
    each_dialect!(comes_to_todays_doors, &server);
}

fn comes_to_todays_doors<C: OlderClient>(server: &Server, name: &str) {
    let refused = C::register_at(server, server.channel(server.clients_address())).unwrap_err();
    // One whose service has the name of one of today's is asked for what that asks for first.
    let is_told = refused.code() == Code::Unimplemented || refused.message() == "user_id: is missing in the metadata";
    assert!(is_told, "{name}: {refused:?}");
}

/// `Input` is no packet of today's: its first field is a number where a text stands now.
#[test]
fn an_input_of_older_clients_is_no_frame_of_today() {
    let server = Server::start_for_older_clients();
    let mut connection = Client::connect(server.tcp_address(), DEADLINE).unwrap();
    connection.send_raw(&[2, 0x08, 1]).unwrap();
    match connection.receive().unwrap_err() {
        ClientError::Closed(Some(notice)) => assert_eq!(notice.reason(), CloseReason::CrBadFrame),
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_no_protobuf_ends_a_connection_in_every_dialect() {
    let server = Server::start_for_older_clients();
    for dialect in Dialect::all() {
        for way in WAYS {
            let mut connection = Framed::open(&server, dialect.name(), way);
            connection.send_bytes(&[0x0a, 0xff]);
            assert!(connection.receive_bytes().is_some_and(|goodbye| !goodbye.is_empty()), "{dialect:?} by {way:?}");
            assert_eq!(connection.receive_bytes(), None, "{dialect:?} by {way:?}");
        }
    }
}
