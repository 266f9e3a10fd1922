//! The doors of older clients: every method is there and is counted by its dialect, the bounds are those of other doors, and who comes to
//! the wrong one is told so.

use gim_legacy::Dialect;
use gim_proto::{
    CloseReason, ResultCode,
    business::{SignInRequest, user_ext_service_client::UserExtServiceClient},
    connect::{self, CloseNotice, Packet, PacketCommand, Reply},
    logic::{DeviceRegisterRequest, device_ext_service_client::DeviceExtServiceClient},
};
use prost::Message as _;
use tonic::{Request, client::Grpc};
use tonic_prost::ProstCodec;

use super::{
    OlderClient, each_dialect, make_group, read_until,
    wire::{Asked, Framed, GOODBYE, Heard, WAYS, Way},
};
use crate::{
    from_outside::get,
    server::{Bounds, Server},
};

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
    let server = Server::start_for_older_clients_within(Bounds { address_calls: Some(200), ..Bounds::default() });
    each_dialect!(registers_too_many, &server);
}

fn registers_too_many<C: OlderClient>(server: &Server, name: &str) {
    // Each counts as 20 calls, of which an address has 200 at once and one more in each second, at all doors together.
    let refused = C::register(server, 100);
    let is_share = |message: &str| message.contains("too many calls come from this address");
    assert!(refused.iter().any(|status| is_share(status.message())), "{name}: {} refused", refused.len());
    let code = ResultCode::of_status(&refused[0]);
    assert!(refused.iter().all(|status| ResultCode::of_status(status) == ResultCode::TooManyRequests), "{code:?}");
    let mut devices = DeviceExtServiceClient::new(server.channel(server.clients_address()));
    let refused = server.call(devices.register(DeviceRegisterRequest::default())).unwrap_err();
    assert!(is_share(refused.message()), "{name}, at the door of today: {refused:?}");
}

#[test]
fn calls_of_today_are_unknown_at_the_doors_of_a_dialect() {
    let server = Server::start_for_older_clients();
    for dialect in Dialect::all() {
        let mut users = UserExtServiceClient::new(server.older_channel(dialect.name()));
        let refused = server.call(users.sign_in(SignInRequest::default())).unwrap_err();
        assert_eq!(ResultCode::of_status(&refused), ResultCode::UnknownCommand, "{dialect:?}: {refused:?}");
        let whose = format!("this is the port of clients of {}; this is a call of today's clients", dialect.name());
        assert!(refused.message().starts_with(&whose), "{dialect:?}: {refused:?}");
    }
}

#[test]
fn a_method_that_nobody_has_is_refused_with_a_code_in_every_dialect() {
    let server = Server::start_for_older_clients();
    each_dialect!(calls_what_is_not_there, &server);
}

fn calls_what_is_not_there<C: OlderClient>(server: &Server, name: &str) {
    let (known, _) = Dialect::named(name).unwrap().calls().methods[0];
    let (service, _) = known.split_once('/').unwrap();
    for method in [format!("{service}/Nothing"), "a.Service/Nothing".into(), "grpc.health.v1.Health/Check".into()] {
        let mut grpc = Grpc::new(server.older_channel(C::NAME));
        let called = async {
            grpc.ready().await.unwrap();
            let path = format!("/{method}").parse().unwrap();
            grpc.unary(Request::new(()), path, ProstCodec::<(), ()>::default()).await
        };
        let refused = server.call(called).unwrap_err();
        let expected = (ResultCode::UnknownCommand, format!("there is no such method for clients of {name}"));
        assert_eq!((ResultCode::of_status(&refused), refused.message().to_owned()), expected, "{method}: {refused:?}");
    }
}

#[test]
fn a_device_of_a_type_that_nobody_knows_is_refused_by_name() {
    let server = Server::start_for_older_clients();
    each_dialect!(registers_types, &server);
}

fn registers_types<C: OlderClient>(server: &Server, name: &str) {
    for r#type in [6, 99, -1, i32::MAX] {
        let refused = C::register_of(server, server.older_channel(name), r#type).unwrap_err();
        let expected = (ResultCode::BadRequest, format!("type: there is no type {type}"));
        assert_eq!((ResultCode::of_status(&refused), refused.message().to_owned()), expected, "{name}");
    }
    for r#type in 0..=5 {
        assert_ne!(C::register_of(server, server.older_channel(name), r#type).unwrap(), 0);
    }
}

#[test]
fn calls_of_older_clients_are_refused_at_the_doors_of_today() {
    let server = Server::start_for_older_clients();
    each_dialect!(comes_to_todays_doors, &server);
}

fn comes_to_todays_doors<C: OlderClient>(server: &Server, name: &str) {
    for channel in [server.channel(server.clients_address()), server.logic()] {
        let refused = C::register_at(server, channel).unwrap_err();
        assert_eq!(ResultCode::of_status(&refused), ResultCode::UnknownCommand, "{name}: {refused:?}");
        let message = refused.message();
        assert!(message.starts_with("this is the port of today's clients; "), "{name}: {message}");
        assert!(message.contains(name), "{name}: {message}");
    }
}

#[test]
fn a_device_is_another_users_once_its_app_shows_who_was_there() {
    let server = Server::start_for_older_clients();
    each_dialect!(changes_hands, &server);
}

fn changes_hands<C: OlderClient>(server: &Server, name: &str) {
    let [of_ada, of_bob] = ["124", "123"].map(|area| format!("{area}{}", name.replace('-', "")));
    let mut ada = C::sign_in(server, &of_ada);
    let Asked::SignIn { device_id, .. } = ada.credentials() else { panic!("signs in first") };
    ada.connect(server, Way::Tcp);
    // More often than codes may be wrong: none of them counts against the number.
    for _ in 0..11 {
        let refused = C::sign_in_on(server, &of_bob, device_id, None).err().unwrap();
        assert_eq!(ResultCode::of_status(&refused), ResultCode::DeviceNotFound, "{name}: {refused:?}");
    }
    let mut bob = C::sign_in_on(server, &of_bob, device_id, Some(&ada)).unwrap_or_else(|refused| panic!("{refused:?}"));
    assert_ne!(bob.user_id(), ada.user_id());
    while ada.try_take_push() {}
    let refused = ada.list_groups(server).unwrap_err();
    assert_eq!(ResultCode::of_status(&refused), ResultCode::SignInAgain, "{name}: {refused:?}");
    bob.connect(server, Way::WebSocket);
    bob.list_groups(server).unwrap();
    // And back again.
    let ada = C::sign_in_on(server, &of_ada, device_id, Some(&bob)).unwrap_or_else(|refused| panic!("{refused:?}"));
    ada.list_groups(server).unwrap();
}

#[test]
fn an_older_client_at_todays_long_connection_hears_whose_port_it_is() {
    let server = Server::start_for_older_clients();
    each_dialect!(signs_in_at_todays_doors, &server);
}

fn signs_in_at_todays_doors<C: OlderClient>(server: &Server, name: &str) {
    let client = C::sign_in(server, &format!("132{}", name.replace('-', "")));
    for way in WAYS {
        let mut connection = Framed::open_today(server, way);
        connection.send_bytes(&C::frame(&client.credentials()));
        let frame = connection.receive_bytes().unwrap();
        let heard = C::heard(&frame);
        assert_eq!(heard.code, ResultCode::BadRequest as i32, "{name} by {way:?}: {heard:?}");
        assert!(heard.message.starts_with("this is the port of today's clients; clients of "), "{name}: {heard:?}");
        assert!(heard.message.contains(name), "{name} by {way:?}: {heard:?}");
        if heard.kind == GOODBYE {
            assert_eq!(connection.receive_bytes(), None, "{name} by {way:?}");
            continue;
        }
        // The packets of 2025 have the numbers of today's, so that today's clients read it, too: its sign-in has the user where the device
        // is now.
        let answer = Packet::decode(&frame[..]).unwrap();
        let reply = Reply::decode(answer.content).unwrap();
        assert_eq!((answer.request_id.as_str(), reply.code), ("7", ResultCode::SignInAgain as i32), "{name}");
        assert!(!reply.message.is_empty());
    }
}

#[test]
fn what_is_nobodys_frame_ends_a_connection_of_today_in_todays_words() {
    let server = Server::start_for_older_clients();
    // No packet, and no sign-in of older clients: a number in the place of a text, as their frames begin.
    for frame in [&b"\x08\x02"[..], b"\x08\x63\x10\x05", b"\x0a\xff"] {
        for way in WAYS {
            let mut connection = Framed::open_today(&server, way);
            connection.send_bytes(frame);
            let goodbye: Packet = connection.receive().unwrap();
            let notice = CloseNotice::decode(goodbye.content).unwrap();
            assert_eq!((goodbye.command, notice.reason()), (PacketCommand::PcClose as i32, CloseReason::CrBadFrame));
            assert!(!notice.message.is_empty());
            assert_eq!(connection.receive_bytes(), None, "{frame:?} by {way:?}");
        }
    }
}

#[test]
fn a_new_client_at_the_door_of_a_dialect_hears_the_dialects_words() {
    let server = Server::start_for_older_clients();
    each_dialect!(is_newer_than_the_door, &server);
}

fn is_newer_than_the_door<C: OlderClient>(server: &Server, name: &str) {
    let client = C::sign_in(server, &format!("131{}", name.replace('-', "")));
    let Asked::SignIn { user_id, device_id, token } = client.credentials() else { panic!("signs in first") };
    let command = PacketCommand::PcSignIn as i32;
    // As the SDKs have it, and as a client that leaves out what was added last.
    for (heartbeat_s, way) in [(60, Way::Tcp), (60, Way::WebSocket), (0, Way::Tcp), (0, Way::WebSocket)] {
        let sign_in = connect::SignInRequest { user_id, device_id, token: token.clone(), app_id: 0, heartbeat_s };
        let content = sign_in.encode_to_vec().into();
        let mut connection = Framed::open(server, name, way);
        connection.send(&Packet { request_id: "7".into(), command, content, ..Packet::default() });
        let answer = C::heard(&connection.receive_bytes().unwrap());
        assert!(
            answer.message.contains(&format!("this port is for clients of {name}")),
            "{name} by {way:?}: {answer:?}"
        );
        if answer.kind == GOODBYE {
            assert_eq!(answer.code, ResultCode::BadRequest as i32, "{name} by {way:?}: {answer:?}");
            assert_eq!(connection.receive_bytes(), None, "{name} by {way:?}");
        } else {
            // A frame of 2025 has the numbers of today's packet; its sign-in has the device where the user is now.
            let expected = (command, ResultCode::SignInAgain as i32, 0);
            assert_eq!((answer.kind, answer.code, heartbeat_s), expected, "{name} by {way:?}");
        }
    }
}

#[test]
fn ids_that_nobody_has_and_unknown_types_are_refused_in_every_dialect() {
    let server = Server::start_for_older_clients();
    each_dialect!(names_what_is_not_there, &server);
}

fn names_what_is_not_there<C: OlderClient>(server: &Server, name: &str) {
    let client = C::sign_in(server, &format!("130{}", name.replace('-', "")));
    let Asked::SignIn { user_id: own_id, device_id: own_device_id, token } = client.credentials() else {
        panic!("signs in first")
    };
    for way in WAYS {
        let mut connection = Framed::open(server, name, way);
        let mut ask = |asked: &Asked| -> Heard {
            connection.send_bytes(&C::frame(asked));
            C::heard(&connection.receive_bytes().unwrap())
        };
        // Nothing is answered before the sign-in.
        for first in [Asked::Heartbeat, Asked::Unknown(77), Asked::Unknown(i32::MAX)] {
            assert_eq!(ask(&first).code, ResultCode::SignInAgain as i32, "{name} by {way:?}: {first:?}");
        }
        // Above 2^63, or below 0 where numbers have a sign.
        let too_high = 1 << 63;
        for (user_id, device_id) in [(too_high, own_device_id), (u64::MAX, own_device_id), (own_id, u64::MAX)] {
            let answer = ask(&Asked::SignIn { user_id, device_id, token: token.clone() });
            assert_eq!((answer.kind, answer.code), (1, ResultCode::BadRequest as i32), "{name} by {way:?}: {answer:?}");
            assert!(answer.message.ends_with("must be from 1 to 9223372036854775807"), "{name} by {way:?}: {answer:?}");
        }
        assert_eq!(ask(&client.credentials()).code, 0, "{name} by {way:?}");
        for unknown in [7, 77, 112, 2_000, i32::MAX, -1, -3, -77, i32::MIN] {
            let answer = ask(&Asked::Unknown(unknown));
            assert_eq!((answer.kind, answer.code), (unknown, ResultCode::UnknownCommand as i32), "{name} by {way:?}");
            assert!(answer.message.ends_with(&format!("; this port is for clients of {name}")), "{name}: {answer:?}");
        }
        // A second sign-in is none.
        assert_eq!(ask(&client.credentials()).code, ResultCode::BadRequest as i32, "{name} by {way:?}");
        assert_eq!(ask(&Asked::Heartbeat).code, 0, "{name} by {way:?}");
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
