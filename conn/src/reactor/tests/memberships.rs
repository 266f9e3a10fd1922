//! Who is in which large group, as several logic nodes tell it: what one of them says may come before what another one does.

use super::*;

const GROUP: u64 = 6;

fn tell_memberships(harness: &mut Harness, joined: &[ConnectionId], left: &[ConnectionId]) {
    harness.tell(Command::GroupMemberships { group_id: GROUP, joined: joined.to_vec(), left: left.to_vec() });
}

fn push(harness: &mut Harness, seq: u64) {
    let frame = packet::notice(PacketCommand::PcMessage, &[], seq);
    harness.tell(Command::PushToGroup { group_id: GROUP, seq, origin_device_id: 0, frame });
}

/// Commands and seqs of what a peer got.
fn packets(stream: &mut TcpStream) -> Vec<(PacketCommand, u64)> {
    let all = readable(stream);
    let (mut left, mut packets) = (&all[..], Vec::new());
    while !left.is_empty() {
        let packet = Packet::decode_length_delimited(&mut left).unwrap();
        packets.push((packet.command(), packet.seq));
    }
    packets
}

#[test]
fn who_comes_into_a_group_after_its_message_came_is_told_to_sync() {
    let mut harness = Harness::new(|_| {});
    let (mut stream, connection) = harness.sign_in(1);
    push(&mut harness, 4);
    tell_memberships(&mut harness, &[connection], &[]);
    push(&mut harness, 5);
    harness.turn();
    assert_eq!(packets(&mut stream), [(PacketCommand::PcSyncHint, 0), (PacketCommand::PcMessage, 5)]);
    tell_memberships(&mut harness, &[connection], &[]);
    harness.turn();
    assert_eq!(packets(&mut stream), [], "it is in already");
}

#[test]
fn who_comes_or_leaves_during_the_sign_in_is_in_or_out_after_it() {
    let mut harness = Harness::new(|_| {});
    let mut streams = [harness.connect(), harness.connect()];
    for (stream, comes) in streams.iter_mut().zip([true, false]) {
        let connection = harness.begin_sign_in(stream, 0, 0);
        let [joined, left]: [&[_]; 2] = if comes { [&[connection], &[]] } else { [&[], &[connection]] };
        tell_memberships(&mut harness, joined, left);
        // The answer comes from where that is not known yet.
        let large_group_ids = if comes { Vec::new() } else { vec![GROUP] };
        let (identity, frame) = (
            Identity { user_id: 1, device_id: 1 + connection.slot() as u64 },
            packet::notice(PacketCommand::PcSignIn, &[], 0),
        );
        harness.tell(Command::SignedIn { connection, identity, newest_seq: 0, large_group_ids, frame });
        push(&mut harness, 7);
        harness.turn();
        let is_pushed = packets(stream).contains(&(PacketCommand::PcMessage, 7));
        assert_eq!(is_pushed, comes);
    }
}

#[test]
fn what_was_said_of_a_sign_in_that_was_refused_is_forgotten() {
    let mut harness = Harness::new(|_| {});
    let mut stream = harness.connect();
    let connection = harness.begin_sign_in(&mut stream, 0, 0);
    tell_memberships(&mut harness, &[connection], &[]);
    harness.tell(Command::SignInRefused { connection, frame: packet::notice(PacketCommand::PcSignIn, &[], 0) });
    harness.turn();
    let (mut stream, _) = {
        readable(&mut stream);
        harness.sign_in_to(stream, 0, 0, 2)
    };
    push(&mut harness, 7);
    harness.turn();
    assert_eq!(packets(&mut stream), []);
}
