//! Services that show each other certificates (REGRESSIONS 27): everything works between them, and strangers may not call what
//! is theirs.

use gim_proto::{
    ResultCode,
    logic::{
        Device, DeviceRegisterRequest, PushToUsersRequest, Up, device_ext_service_client::DeviceExtServiceClient,
        link_service_client::LinkServiceClient, message_int_service_client::MessageIntServiceClient,
    },
};

use crate::server::{Server, receive_message};

#[test]
fn services_with_certificates_refuse_who_shows_none() {
    let server = Server::start_certified();
    // business, which calls logic for a device; the sign-in, for which conn calls logic and logic business; a push back to conn.
    let identity = server.business_sign_in("13800000001");
    let mut client = server.connect_as(&identity);
    server.push_to_users(&[identity.user_id], "for you");
    assert_eq!(&receive_message(&mut client).content[..], b"for you");

    let push = PushToUsersRequest { user_ids: vec![identity.user_id], is_persist: true, ..Default::default() };
    let refused = server.call(MessageIntServiceClient::new(server.anonymous_logic()).push_to_users(push)).unwrap_err();
    assert_eq!(ResultCode::of_status(&refused), ResultCode::NotAllowed, "{refused}");
    let mut link = LinkServiceClient::new(server.anonymous_logic());
    let refused = server.call(link.attach(tokio_stream::iter([Up::default()]))).unwrap_err();
    assert_eq!(ResultCode::of_status(&refused), ResultCode::NotAllowed, "{refused}");
    // Clients have no certificates, and need none.
    let register = DeviceRegisterRequest { device: Some(Device { brand: "test".into(), ..Device::default() }) };
    let registered = server.call(DeviceExtServiceClient::new(server.anonymous_logic()).register(register)).unwrap();
    assert!(registered.device_id > 0);
}
