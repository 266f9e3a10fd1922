//! One device, two connections: the newer one wins, and the end of the older one harms nothing.

use gim_proto::client::ClientError;
use gim_proto::connect::CloseReason;

use crate::server::{Server, receive_message};

#[test]
fn a_newer_sign_in_of_a_device_closes_the_older_connection() {
    let server = Server::start();
    let identity = server.business_sign_in("13800000003");
    let mut older = server.connect_as(&identity);
    let mut newer = server.connect_as(&identity);
    match older.receive().unwrap_err() {
        ClientError::Closed(Some(notice)) => assert_eq!(notice.reason, CloseReason::CrReplaced as i32),
        other => panic!("{other}"),
    }
    assert!(matches!(older.receive(), Err(ClientError::Closed(None))), "nothing comes behind the goodbye");
    drop(older);

    let online = server.online(identity.user_id);
    assert_eq!(online.iter().map(|device| device.device_id).collect::<Vec<_>>(), [identity.device_id]);
    server.push_to_users(&[identity.user_id], "to the newer one");
    assert_eq!(receive_message(&mut newer).seq, 1);
    // The older connection's end has long been told by now: its items and the push travel on one stream.
    assert_eq!(server.online(identity.user_id).len(), 1);
    assert_eq!(newer.heartbeat().unwrap(), 1);
}

#[test]
fn two_devices_of_a_user_do_not_replace_each_other() {
    let server = Server::start();
    let [phone, laptop] = [(); 2].map(|()| server.business_sign_in("13800000004"));
    assert_eq!(phone.user_id, laptop.user_id);
    let mut clients = [server.connect_as(&phone), server.connect_as(&laptop)];
    assert_eq!(server.online(phone.user_id).len(), 2);
    server.push_to_users(&[phone.user_id], "to both");
    for client in &mut clients {
        assert_eq!(receive_message(client).seq, 1);
    }
}
