//! What was acknowledged outlives the processes.

use gim_proto::{
    connect::PacketCommand,
    logic::{SyncReply, SyncRequest},
};
use prost::Message as _;

use crate::server::{Server, eventually, receive_message};

#[test]
fn messages_for_an_offline_device_survive_a_restart_of_all_services() {
    let mut server = Server::start();
    let identity = server.business_sign_in("13800000002");
    let mut client = server.connect_as(&identity);
    server.push_to_users(&[identity.user_id], "before");
    assert_eq!(receive_message(&mut client).seq, 1);
    drop(client);
    eventually("the device is offline", || server.online(identity.user_id).is_empty());
    let missed: Vec<u64> =
        (0..3).map(|number| server.push_to_users(&[identity.user_id], &format!("missed {number}"))).collect();

    server.restart();
    let mut client = server.connect_as(&identity);
    assert_eq!(client.heartbeat().unwrap(), 4);
    let reply = client
        .request(PacketCommand::PcSync as i32, SyncRequest { seq: 1, ..SyncRequest::default() }.encode_to_vec())
        .unwrap();
    assert_eq!(reply.code, 0, "{}", reply.message);
    let page = SyncReply::decode(reply.data).unwrap();
    let seen: Vec<_> = page.messages.iter().map(|message| (message.seq, message.message_id)).collect();
    assert_eq!(seen, (2..).zip(missed).collect::<Vec<_>>());
    assert!(!page.has_more);

    server.push_to_users(&[identity.user_id], "after");
    assert_eq!(receive_message(&mut client).seq, 5, "the numbering goes on where it was");
    let again = server.business_sign_in("13800000002");
    assert_eq!((again.is_new, again.user_id), (false, identity.user_id));
}
