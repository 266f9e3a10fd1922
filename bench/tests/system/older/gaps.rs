//! What an older client misses, and finds: its pushes do not tell what comes before them, so that none may come where something is missing.

use gim_proto::{
    ResultCode,
    connect::send_request::Target,
    logic::{SyncRequest, message_ext_service_client::MessageExtServiceClient},
    metadata,
};

use super::{
    NewClient, OlderClient, befriend, each_dialect, read_until,
    wire::{Framed, GOODBYE, Way},
};
use crate::server::{Server, eventually};

/// What waits in the kernel for a client that does not read is less than this many messages of this size.
const MANY: usize = 200;
const LARGE_BYTES: usize = 50_000;

fn long(number: usize) -> String {
    format!("{number} {}", "x".repeat(LARGE_BYTES))
}

/// The number before each of the texts.
fn numbers(client: &impl OlderClient) -> Vec<usize> {
    client.shown().iter().map(|shown| shown.text.split(' ').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn who_does_not_read_is_closed_and_misses_nothing_when_it_is_back() {
    let server = Server::start_for_older_clients();
    each_dialect!(reads_nothing_for_a_while, &server);
}

fn reads_nothing_for_a_while<C: OlderClient>(server: &Server, name: &str) {
    let phone_number = format!("128{}", name.replace('-', ""));
    let mut old = C::sign_in(server, &phone_number);
    let mut friend = NewClient::sign_in(server, &format!("127{}", name.replace('-', "")));
    befriend(server, &mut old, &friend.identity);
    friend.connect(server);
    old.connect(server, Way::Tcp);
    let to_old = Target::UserId(old.user_id());
    for number in 0..MANY {
        friend.send(to_old, &long(number));
        // What is small would still fit where the large one before it did not.
        friend.send(to_old, &format!("{} small", MANY + number));
    }
    while old.try_take_push() {}
    let seen = numbers(&old).len();
    assert!(seen < 2 * MANY, "{name}: more fits the kernel's buffers");
    old.connect(server, Way::Tcp);
    let expected: Vec<usize> = (0..MANY).flat_map(|number| [number, MANY + number]).collect();
    assert_eq!(numbers(&old), expected, "{name}: {seen} were pushed");
}

#[test]
fn who_never_syncs_is_told_that() {
    let server = Server::start_for_older_clients();
    does_not_sync::<super::d2024_01::Older>(&server, super::d2024_01::NAME);
    does_not_sync::<super::d2020_12::Older>(&server, super::d2020_12::NAME);
}

fn does_not_sync<C: OlderClient>(server: &Server, name: &str) {
    let mut old = C::sign_in(server, &format!("120{}", name.replace('-', "")));
    let mut friend = NewClient::sign_in(server, &format!("119{}", name.replace('-', "")));
    befriend(server, &mut old, &friend.identity);
    friend.connect(server);
    let mut connection = Framed::open(server, name, Way::Tcp);
    connection.send_bytes(&C::frame(&old.credentials()));
    assert_eq!(C::heard(&connection.receive_bytes().unwrap()).code, 0);
    // More than may wait for one connection.
    (0..20).for_each(|number| friend.send(Target::UserId(old.user_id()), &long(number)));
    let goodbye = C::heard(&connection.receive_bytes().unwrap());
    assert_eq!((goodbye.kind, goodbye.code), (GOODBYE, ResultCode::TryAgainLater as i32), "{name}: {goodbye:?}");
    assert!(goodbye.message.contains("have not synced"), "{name}: {goodbye:?}");
    assert_eq!(connection.receive_bytes(), None, "{name}");
}

#[test]
fn what_is_said_while_a_client_connects_comes_in_order_and_once() {
    let server = Server::start_for_older_clients();
    comes_and_goes::<super::d2024_01::Older>(&server, super::d2024_01::NAME);
    comes_and_goes::<super::d2020_12::Older>(&server, super::d2020_12::NAME);
}

fn comes_and_goes<C: OlderClient + Send>(server: &Server, name: &str) {
    const SAID: usize = 400;
    let mut old = C::sign_in(server, &format!("126{}", name.replace('-', "")));
    let mut friend = NewClient::sign_in(server, &format!("125{}", name.replace('-', "")));
    befriend(server, &mut old, &friend.identity);
    friend.connect(server);
    let to_old = Target::UserId(old.user_id());
    std::thread::scope(|scope| {
        let speaker = scope.spawn(|| (0..SAID).for_each(|number| friend.send(to_old, &format!("{number} said"))));
        let mut times = 0;
        while !speaker.is_finished() {
            old.connect(server, [Way::Tcp, Way::WebSocket][times % 2]);
            old.disconnect();
            times += 1;
        }
        assert!(times > 3, "{name}: it came back {times} times");
    });
    old.connect(server, Way::Tcp);
    friend.send(to_old, "400 last");
    read_until(&mut old, "400 last");
    assert_eq!(numbers(&old), (0..=SAID).collect::<Vec<_>>(), "{name}");
}

/// In 2025-08 there are no acks.
#[test]
fn other_devices_begin_where_an_older_client_has_acknowledged() {
    let server = Server::start_for_older_clients();
    acknowledges::<super::d2024_01::Older>(&server, super::d2024_01::NAME);
    acknowledges::<super::d2020_12::Older>(&server, super::d2020_12::NAME);
}

fn acknowledges<C: OlderClient>(server: &Server, name: &str) {
    let phone_number = format!("122{}", name.replace('-', ""));
    let mut old = C::sign_in(server, &phone_number);
    let mut friend = NewClient::sign_in(server, &format!("121{}", name.replace('-', "")));
    befriend(server, &mut old, &friend.identity);
    friend.connect(server);
    old.connect(server, Way::Tcp);
    let second = server.business_sign_in(&phone_number);
    let sync = |from_start: bool| {
        let request = SyncRequest { from_start, ..SyncRequest::default() };
        let request = metadata::signed(request, second.user_id, second.device_id, &second.token);
        server.call(MessageExtServiceClient::new(server.channel(server.clients_address())).sync(request)).unwrap()
    };
    for text in ["one", "two"] {
        friend.send(Target::UserId(old.user_id()), text);
        read_until(&mut old, text);
    }
    let newest_seq = sync(true).messages.last().map(|message| message.seq);
    eventually("the ack is stored", || Some(sync(false).start_seq) == newest_seq);
    assert!(sync(false).messages.is_empty(), "{name}");
}
