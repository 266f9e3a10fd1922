//! Devices: told about, signed in on, told apart.

use crate::support::{Server, business::StubBusiness, conn::Conn, refusal, server, server_with};
use gim_proto::{
    ResultCode,
    connect::{CallRequest, PacketCommand},
    logic::{
        Device, DeviceRegisterRequest, DeviceSaveRequest, DeviceUpdateRequest, ListOnlineRequest, SignInRequest,
        down_item::Item,
    },
    metadata,
};
use prost::Message as _;
use sqlx::Row as _;
use tonic::Status;

fn assert_names<T: std::fmt::Debug>(result: Result<T, Status>, field: &str) {
    let status = result.unwrap_err();
    assert!(status.message().starts_with(field), "{} does not name {field}", status.message());
}

/// A row of a device: whose, which, brand, version, push id.
type Row = (i64, i64, String, String, String);

async fn rows(server: &Server) -> Vec<Row> {
    let sql = "SELECT user_id, id, brand, sdk_version, branch_push_id FROM device ORDER BY user_id, id";
    let rows = sqlx::query(sql).fetch_all(&server.database().await.reader).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))).collect()
}

fn row(user_id: i64, device_id: i64, [brand, version, push_id]: [&str; 3]) -> Row {
    (user_id, device_id, brand.into(), version.into(), push_id.into())
}

/// What is noted of a sign-in is in the database once a later request of the same writer is.
async fn settled(server: &Server, rows_expected: &[Row]) {
    for _ in 0..100 {
        if rows(server).await == rows_expected {
            return;
        }
        server.push(&[999], "later").await;
    }
    assert_eq!(rows(server).await, rows_expected);
}

#[tokio::test]
async fn users_may_have_devices_of_the_same_number() {
    let server = server().await;
    let save = async |user_id, brand: &str| {
        let device = Some(Device { id: 1, brand: brand.into(), r#type: user_id as i32 % 5, ..Device::default() });
        server.device_int().save(DeviceSaveRequest { device, user_id }).await.unwrap();
    };
    save(7, "of 7").await;
    save(8, "of 8").await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 1, 70).await;
    conn.sign_in(8, 1, 80).await;
    let request = ListOnlineRequest { user_ids: vec![7, 8] };
    let devices = server.device_int().list_online(request).await.unwrap().into_inner().devices;
    let listed: Vec<_> = devices.iter().map(|device| (device.user_id, device.device_id, device.r#type)).collect();
    assert_eq!(listed, [(7, 1, 2), (8, 1, 3)]);
    for (user_id, connection_id) in [(7, 70), (8, 80)] {
        server.push(&[user_id], "hi").await;
        match conn.next().await {
            Item::Push(push) => assert_eq!(push.targets[0].connection_ids, [connection_id]),
            other => panic!("no push: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_sign_in_writes_the_owner_of_a_device_once() {
    let server = server().await;
    let device = Some(Device { id: 1, brand: "b".into(), branch_push_id: "p".into(), ..Device::default() });
    server.device_int().save(DeviceSaveRequest { device: device.clone(), user_id: 0 }).await.unwrap();
    assert_eq!(rows(&server).await, [row(0, 1, ["b", "", "p"])]);
    let sign_in = async |user_id| {
        let token = format!("token-{user_id}");
        let request = SignInRequest { user_id, device_id: 1, token, client_addr: String::new() };
        server.device_int().sign_in(request).await.unwrap();
    };
    sign_in(7).await;
    settled(&server, &[row(7, 1, ["b", "", "p"])]).await;
    sign_in(8).await;
    sign_in(7).await;
    settled(&server, &[row(7, 1, ["b", "", "p"])]).await;
    // What is told next is about the device of whoever signs in next.
    let device = device.map(|device| Device { branch_push_id: "newer".into(), ..device });
    server.device_int().save(DeviceSaveRequest { device, user_id: 0 }).await.unwrap();
    sign_in(8).await;
    settled(&server, &[row(7, 1, ["b", "", "p"]), row(8, 1, ["b", "", "newer"])]).await;
}

#[tokio::test]
async fn a_device_that_is_signed_in_updates_its_push_id() {
    let server = server().await;
    let told = |id, push_id: &str| Device {
        id,
        brand: "other".into(),
        sdk_version: "2".into(),
        branch_push_id: push_id.into(),
        ..Device::default()
    };
    let update = async |device| {
        let request = metadata::signed(DeviceUpdateRequest { device }, 7, 70, "token-7");
        server.device_ext().update(request).await
    };
    let device = Some(Device { id: 70, brand: "b".into(), sdk_version: "1".into(), ..Device::default() });
    server.device_int().save(DeviceSaveRequest { device, user_id: 7 }).await.unwrap();
    update(Some(told(0, "p"))).await.unwrap();
    assert_eq!(rows(&server).await, [row(7, 70, ["b", "2", "p"])]);
    update(Some(told(70, ""))).await.unwrap();
    assert_eq!(rows(&server).await, [row(7, 70, ["b", "2", ""])]);
    assert_eq!(refusal(update(Some(told(71, "p"))).await).0, ResultCode::NotAllowed);
    assert_names(update(None).await, "device");
    assert_names(update(Some(told(0, &"p".repeat(4_097)))).await, "device.branch_push_id");
    let unsigned = server.device_ext().update(DeviceUpdateRequest { device: Some(told(70, "p")) }).await;
    assert_names(unsigned, "user_id");
    assert_eq!(rows(&server).await, [row(7, 70, ["b", "2", ""])]);
}

#[tokio::test]
async fn devices_register_and_are_saved() {
    let server = server().await;
    let device = Device { r#type: 1, brand: "b".into(), ..Device::default() };
    let register = async |device: Option<Device>| {
        let request = DeviceRegisterRequest { device };
        server.device_ext().register(request).await.map(|reply| reply.into_inner().device_id)
    };
    let save = async |device: Option<Device>| {
        let request = DeviceSaveRequest { device, user_id: 0 };
        server.device_int().save(request).await.map(|reply| reply.into_inner().device_id)
    };
    let first = register(Some(device.clone())).await.unwrap();
    let second = save(Some(device.clone())).await.unwrap();
    assert!(first != 0 && second > first);
    assert_eq!(save(Some(Device { id: first, model: "m".into(), ..device.clone() })).await.unwrap(), first);
    assert!(second < 1 << 53, "a number of JavaScript holds it");
    assert_eq!(save(Some(Device { id: 12345, ..device.clone() })).await.unwrap(), 12345);
    assert_names(save(None).await, "device");
    assert_names(register(None).await, "device");
    // A phone's maker may need 4 KiB to deliver a push.
    let long = Device { branch_push_id: "p".repeat(4096), brand: "b".repeat(4096), ..device.clone() };
    assert!(register(Some(long)).await.unwrap() > second);
    assert_names(register(Some(Device { brand: "b".repeat(4097), ..device.clone() })).await, "device.brand");
    assert_names(save(Some(Device { id: u64::MAX, ..device.clone() })).await, "device.id");

    // A device that is known is changed only by itself.
    assert_names(register(Some(Device { id: first, ..device.clone() })).await, "user_id");
    let change = Device { id: first, branch_push_id: "mine".into(), ..device };
    let change =
        |device_id| metadata::signed(DeviceRegisterRequest { device: Some(change.clone()) }, 7, device_id, "token-7");
    assert_eq!(refusal(server.device_ext().register(change(second)).await).0, ResultCode::NotAllowed);
    server.device_ext().register(change(first)).await.unwrap();
}

#[tokio::test]
async fn strangers_at_an_address_register_so_many_devices_only() {
    let server =
        server_with(StubBusiness::start().await, |settings| settings.limits.registrations_per_address_max = 3).await;
    let device = || Some(Device { r#type: 1, ..Device::default() });
    let mut codes = Vec::new();
    for _ in 0..5 {
        let registered = server.device_ext().register(DeviceRegisterRequest { device: device() }).await;
        codes.push(registered.map_or_else(|status| ResultCode::of_status(&status), |_| ResultCode::Ok));
        server.device_int().save(DeviceSaveRequest { device: device(), user_id: 0 }).await.unwrap();
    }
    let (ok, refused) = (ResultCode::Ok, ResultCode::TooManyRequests);
    assert_eq!(codes, [ok, ok, ok, refused, refused]);
}

#[tokio::test]
async fn a_user_registers_so_many_devices_over_connections_only() {
    let server =
        server_with(StubBusiness::start().await, |settings| settings.limits.user_registrations_per_hour_max = 3).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let mut register = async |user_id, id| {
        let device = Some(Device { r#type: 1, id, ..Device::default() });
        let body = DeviceRegisterRequest { device }.encode_to_vec().into();
        let call = CallRequest { method: "logic.DeviceExtService/Register".into(), body };
        conn.packet(user_id, PacketCommand::PcCall as i32, call.encode_to_vec()).await.code
    };
    for expected in [0, 0, 0, 10003, 10003] {
        assert_eq!(register(7, 0).await, expected);
    }
    assert_eq!(register(7, 70).await, 0, "the own one is none more");
    assert_eq!(register(8, 0).await, 0, "others have their own");
    let device = Some(Device { r#type: 1, ..Device::default() });
    server.device_ext().register(DeviceRegisterRequest { device }).await.unwrap();
}

#[tokio::test]
async fn the_type_of_a_device_shows_in_the_list_of_those_online() {
    let server = server().await;
    let device = Some(Device { r#type: 5, ..Device::default() });
    let device_id =
        server.device_int().save(DeviceSaveRequest { device, user_id: 0 }).await.unwrap().into_inner().device_id;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, device_id, 700).await;
    let request = ListOnlineRequest { user_ids: vec![7, 8, 7] };
    let devices = server.device_int().list_online(request).await.unwrap().into_inner().devices;
    assert_eq!(devices.len(), 1);
    assert_eq!((devices[0].user_id, devices[0].device_id, devices[0].r#type), (7, device_id, 5));
    assert!(devices[0].since_ms > 0);
}

#[tokio::test]
async fn what_is_said_of_a_device_costs_by_its_bytes() {
    let server = server_with(StubBusiness::start().await, |settings| {
        settings.limits.user_requests_per_s = 1;
        settings.limits.user_requests_burst = 100;
    })
    .await;
    let updates = async |user_id: u64, text: String| {
        for done in 0.. {
            let device =
                Some(Device { system_version: text.clone(), branch_push_id: text.clone(), ..Device::default() });
            let request =
                metadata::signed(DeviceUpdateRequest { device }, user_id, 10 * user_id, &format!("token-{user_id}"));
            if let Err(status) = server.device_ext().update(request).await {
                assert_eq!(ResultCode::of_status(&status), ResultCode::TooManyRequests, "{status}");
                assert!(ResultCode::wait_of(&status).is_some(), "{status}");
                return done;
            }
        }
        unreachable!("there is a bound")
    };
    // Seconds may pass meanwhile, and bring back one request each.
    assert!((100..130).contains(&updates(7, "short".into()).await));
    let long = updates(8, "x".repeat(4_096)).await;
    assert!((12..16).contains(&long), "{long}: of 8 KiB each costs 9");
}
