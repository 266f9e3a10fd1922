//! Where all places are taken, whoever has not signed in gives way, and who has stays.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use gim_proto::connect::CloseNotice;
use socket2::{Domain, Socket, Type};

use super::*;
use crate::session::Phase;

/// A connection from an address of loopback.
fn connect_from(harness: &mut Harness, number: u8) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from: IpAddr = Ipv4Addr::new(127, 0, 0, number).into();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&harness.address.into()).unwrap();
    let (stream, mut is_in) = (TcpStream::from(socket), false);
    let address = stream.local_addr().unwrap();
    harness.turns_until(|harness| {
        is_in |= (0..harness.reactor.table.slots_end())
            .filter_map(|slot| harness.reactor.table.peek(slot))
            .any(|connection| connection.stream.peer_addr().ok() == Some(address));
        is_in
    });
    stream
}

fn goodbye(harness: &mut Harness, stream: &mut TcpStream) -> (CloseReason, String) {
    let bytes = harness.read_to_end(stream);
    let packet = Packet::decode_length_delimited(&*bytes).unwrap();
    let notice = CloseNotice::decode(packet.content).unwrap();
    (notice.reason(), notice.message)
}

fn is_silent(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    stream.read(&mut [0; 64]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn a_full_node_ends_the_oldest_silent_one_of_the_fullest_address() {
    let mut harness = Harness::new(|settings| settings.limits.connections_max = 6);
    let (mut live, _) = harness.sign_in(1);
    let mut others = connect_from(&mut harness, 2);
    let mut silent: Vec<_> = (0..4).map(|_| connect_from(&mut harness, 9)).collect();
    let mut newcomers = Vec::new();
    for number in [3, 4] {
        let stream = connect_from(&mut harness, number);
        newcomers.push(harness.sign_in_to(stream, 0, 0, number.into()).0);
        let (reason, message) = goodbye(&mut harness, &mut silent.remove(0));
        assert_eq!((reason, message.contains("had not signed in")), (CloseReason::CrServerOverloaded, true));
    }
    assert!(newcomers.iter_mut().all(is_silent));
    assert_eq!(harness.reactor.context.quota.usage(), (6, 6));
    assert!(is_silent(&mut live) && is_silent(&mut others), "neither who signed in nor an address with few");
}

#[test]
fn where_everybody_signed_in_or_is_about_to_newcomers_are_refused() {
    let mut harness = Harness::new(|settings| settings.limits.connections_max = 2);
    let (mut live, _) = harness.sign_in(1);
    let mut signing_in = harness.connect();
    let connection = harness.begin_sign_in(&mut signing_in, 0, 0);
    let mut newcomer = TcpStream::connect(harness.address).unwrap();
    let (reason, message) = goodbye(&mut harness, &mut newcomer);
    assert_eq!((reason, message.contains("signed in")), (CloseReason::CrServerOverloaded, false));
    assert!(is_silent(&mut live) && is_silent(&mut signing_in));
    let refusal =
        packet::refusal_saying("", PacketCommand::PcSignIn as i32, gim_proto::ResultCode::SignInAgain, "no".into());
    harness.tell(Command::SignInRefused { connection, frame: refusal });
    let phase = |harness: &mut Harness| harness.reactor.table.peek(connection.slot()).unwrap().session.phase();
    harness.turns_until(|harness| phase(harness) == Phase::Unsigned);
    connect_from(&mut harness, 2);
    assert!(harness.read_to_end(&mut signing_in).len() > 10, "whoever was refused gives way like others");
}

#[test]
fn at_the_cap_of_an_address_its_own_silent_ones_give_way() {
    let mut harness = Harness::new(|settings| settings.limits.connections_per_ip_max = 2);
    let mut others: Vec<_> = (0..2).map(|_| connect_from(&mut harness, 2)).collect();
    let mut silent: Vec<_> = (0..2).map(|_| connect_from(&mut harness, 3)).collect();
    connect_from(&mut harness, 3);
    let (reason, message) = goodbye(&mut harness, &mut silent[0]);
    assert_eq!((reason, message.contains("had not signed in")), (CloseReason::CrAddressFull, true));
    assert!(is_silent(&mut silent[1]) && others.iter_mut().all(is_silent));
}

#[test]
fn a_proxys_clients_count_under_the_addresses_that_it_tells() {
    let mut harness = Harness::new(|settings| {
        settings.limits.connections_max = 4;
        settings.proxies = gim_config::networks::Networks::new(vec!["127.0.0.1".parse().unwrap()]);
    });
    let tell = |harness: &mut Harness, number: u8| {
        let mut stream = harness.connect();
        write!(stream, "PROXY TCP4 192.0.2.{number} 192.0.2.100 1000 8002\r\n").unwrap();
        let told = |harness: &mut Harness| {
            let clients = (0..harness.reactor.table.slots_end()).filter_map(|slot| {
                let connection = harness.reactor.table.peek(slot)?;
                connection.transport.as_ref()?.client.as_deref().map(SocketAddr::ip)
            });
            clients.filter(|client| *client == IpAddr::V4(Ipv4Addr::new(192, 0, 2, number))).count()
        };
        let before = told(harness);
        harness.turns_until(|harness| told(harness) > before);
        stream
    };
    let mut first = tell(&mut harness, 1);
    let mut many: Vec<_> = (0..3).map(|_| tell(&mut harness, 2)).collect();
    let mut newcomer = TcpStream::connect(harness.address).unwrap();
    assert_eq!(goodbye(&mut harness, &mut many[0]).0, CloseReason::CrServerOverloaded);
    assert!(is_silent(&mut first) && is_silent(&mut newcomer) && is_silent(&mut many[1]));
}
