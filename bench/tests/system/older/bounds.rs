//! What an older client may do, how often and how much: what a new one may, and it hears so in its own form.

use gim_conn::ConnSettings;
use gim_legacy::Dialect;
use gim_proto::ResultCode;

use super::{
    OlderClient, each_dialect,
    wire::{Asked, Framed, GOODBYE, Heard, WAYS, Way},
};
use crate::{
    from_outside::get,
    server::{Bounds, Server, eventually},
};

const TOO_MANY: i32 = ResultCode::TooManyRequests as i32;

fn phone_number(area: &str, name: &str, way: Way) -> String {
    format!("{area}{}{}", name.replace('-', ""), way as u8)
}

/// A connection of a client who is signed in.
fn connect<C: OlderClient>(server: &Server, name: &str, way: Way, client: &C) -> Framed {
    let mut connection = Framed::open(server, name, way);
    connection.send_bytes(&C::frame(&client.credentials()));
    assert_eq!(C::heard(&connection.receive_bytes().unwrap()).code, 0);
    connection
}

/// All that is heard until the connection ends.
fn to_the_end<C: OlderClient>(connection: &mut Framed) -> Vec<Heard> {
    std::iter::from_fn(|| connection.receive_bytes()).map(|frame| C::heard(&frame)).collect()
}

/// The sum of a counter of conn over all its reactors, of the lines that have this label.
fn counted(server: &Server, name: &str, label: &str) -> u64 {
    let [(_, _, admin), ..] = server.services();
    let page = get(admin, "/metrics").1;
    let lines = page.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn packets_beyond_the_rate_are_refused_and_then_end_the_connection() {
    let server = Server::start_for_older_clients_within(Bounds { packets: Some(20), ..Bounds::default() });
    each_dialect!(says_too_much, &server);
}

fn says_too_much<C: OlderClient>(server: &Server, name: &str) {
    for way in WAYS {
        let client = C::sign_in(server, &phone_number("136", name, way));
        let mut connection = connect(server, name, way, &client);
        let label = format!("dialect=\"{name}\"");
        let metrics = ["conn_packets_in_total", "conn_refused_packets_total", "conn_heartbeats_total"];
        let [said, refused, beats] = metrics.map(|metric| counted(server, metric, &label));
        let beat = C::frame(&Asked::Heartbeat);
        (0..200).for_each(|_| connection.send_bytes(&beat));
        let heard = to_the_end::<C>(&mut connection);
        let count = |code: i32| heard.iter().filter(|one| one.kind != GOODBYE && one.code == code).count();
        // One of the twenty was the sign-in.
        assert!(count(0) >= 19 && count(TOO_MANY) > 0, "{name} by {way:?}: {heard:?}");
        let last = heard.last().unwrap();
        assert_eq!((last.kind, last.code), (GOODBYE, TOO_MANY), "{name} by {way:?}: {heard:?}");
        // A reactor tells what it counted when its turn is over.
        let grows = |metric: &str, beyond: u64| eventually(metric, || counted(server, metric, &label) >= beyond);
        grows("conn_packets_in_total", said + 20);
        grows("conn_refused_packets_total", refused + count(TOO_MANY) as u64);
        grows("conn_heartbeats_total", beats + 19);
        grows("conn_accepted_total", 1);
    }
}

#[test]
fn a_frame_of_an_older_client_that_is_too_long_ends_its_connection() {
    let server = Server::start_for_older_clients();
    each_dialect!(says_it_at_length, &server);
}

fn says_it_at_length<C: OlderClient>(server: &Server, name: &str) {
    let settings = ConnSettings::default();
    for way in WAYS {
        let mut stranger = Framed::open(server, name, way);
        stranger.send_bytes(&vec![0x0a; settings.limits.unsigned_frame_bytes_max + 1]);
        let client = C::sign_in(server, &phone_number("135", name, way));
        let mut signed_in = connect(server, name, way, &client);
        signed_in.send_bytes(&vec![0x0a; settings.limits.frame_bytes_max + 1]);
        for connection in [&mut stranger, &mut signed_in] {
            let heard = to_the_end::<C>(connection);
            let kinds: Vec<_> = heard.iter().map(|one| (one.kind, one.code)).collect();
            assert_eq!(kinds, [(GOODBYE, ResultCode::TooLarge as i32)], "{name} by {way:?}: {heard:?}");
            assert!(!heard[0].message.is_empty());
        }
    }
}

#[test]
fn sign_ins_that_are_refused_too_often_end_a_connection() {
    let server = Server::start_for_older_clients();
    each_dialect!(tries_again_and_again, &server);
}

fn tries_again_and_again<C: OlderClient>(server: &Server, name: &str) {
    let wrong = C::frame(&Asked::SignIn { user_id: 1, device_id: 2, token: "wrong".into() });
    let times = usize::from(ConnSettings::default().session.failed_sign_ins_max);
    for way in WAYS {
        let mut connection = Framed::open(server, name, way);
        (0..times).for_each(|_| connection.send_bytes(&wrong));
        let codes: Vec<_> = to_the_end::<C>(&mut connection).iter().map(|heard| (heard.kind, heard.code)).collect();
        let mut expected = vec![(1, ResultCode::SignInAgain as i32); times];
        expected.push((GOODBYE, TOO_MANY));
        assert_eq!(codes, expected, "{name} by {way:?}");
    }
}

#[test]
fn calls_of_an_older_client_take_from_the_share_of_its_user() {
    let server = Server::start_for_older_clients_within(Bounds { user_requests: Some(60), ..Bounds::default() });
    each_dialect!(asks_too_much, &server);
}

fn asks_too_much<C: OlderClient>(server: &Server, name: &str) {
    let [ada, bob] = ["133", "134"].map(|area| C::sign_in(server, &phone_number(area, name, Way::Tcp)));
    let refused = (0..200).find_map(|_| ada.list_groups(server).err());
    let refused = refused.unwrap_or_else(|| panic!("{name}: 200 calls at once were answered"));
    assert_eq!(ResultCode::of_status(&refused), ResultCode::TooManyRequests, "{name}: {refused:?}");
    bob.list_groups(server).unwrap_or_else(|refused| panic!("{name}: the other one's share: {refused:?}"));
    let [_, (_, _, admin), _] = server.services();
    let page = get(admin, "/metrics").1;
    // RESOURCE_EXHAUSTED is what every 10003 is on the page.
    let of_dialect = format!("code=\"8\",dialect=\"{name}\"");
    let mut refusals = page.lines().filter(|line| line.starts_with("grpc_calls_total{") && line.contains(&of_dialect));
    assert!(refusals.next().is_some(), "{name}: {page}");
}

#[test]
fn a_sign_in_of_the_url_is_counted_under_the_dialect_as_any_packet() {
    let server = Server::start_for_older_clients();
    each_dialect!(signs_in_by_the_url, &server);
}

fn signs_in_by_the_url<C: OlderClient>(server: &Server, name: &str) {
    let label = format!("dialect=\"{name}\"");
    let said = counted(server, "conn_packets_in_total", &label);
    let address = server.older_address(name, true);
    let sign_in = |query: &str| {
        let mut connection = Framed::web_socket(address, query);
        let answer = C::heard(&connection.receive_bytes().unwrap());
        assert_eq!(answer.kind, 1, "{name}: {query}: {answer:?}");
        answer
    };
    let client = C::sign_in(server, &phone_number("129", name, Way::WebSocket));
    let Asked::SignIn { user_id, device_id, token } = client.credentials() else { panic!("signs in first") };
    assert_eq!(sign_in(&format!("?user_id={user_id}&device_id={device_id}&token={token}")).code, 0, "{name}");
    // As in a frame: who is nobody is told so, and a number that no user can have is refused as such.
    let wrong = format!("?user_id={user_id}&device_id={device_id}&token=wrong");
    assert_eq!(sign_in(&wrong).code, ResultCode::SignInAgain as i32, "{name}");
    let numbers = ["-1", "0", "9223372036854775808", "18446744073709551615", "18446744073709551616", "ada", ""];
    let queries = numbers.map(|number| format!("?user_id={number}&device_id={device_id}&token={token}"));
    for query in queries.into_iter().chain([format!("?user_id={user_id}&token={token}")]) {
        let answer = sign_in(&query);
        assert_eq!(answer.code, ResultCode::BadRequest as i32, "{name}: {query}: {answer:?}");
        let is_zero = query.contains("user_id=0&") || !query.contains("device_id");
        let problem = if is_zero { "must not be 0" } else { "must be from 1 to 9223372036854775807" };
        assert!(answer.message.contains(problem), "{name}: {query}: {answer:?}");
    }
    assert_ne!(sign_in(&format!("?user_id={user_id}&device_id={device_id}")).code, 0, "{name}");
    eventually("the packets are counted", || counted(server, "conn_packets_in_total", &label) >= said + 11);
}

fn note<C: OlderClient>(checked: &mut Vec<&str>, name: &'static str) {
    assert_eq!(C::NAME, name);
    checked.push(name);
}

#[test]
fn each_dialect_has_its_check_here() {
    let mut checked = Vec::new();
    each_dialect!(note, &mut checked);
    assert_eq!(Dialect::all().map(Dialect::name).collect::<Vec<_>>(), checked);
}
