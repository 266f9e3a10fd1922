//! Which devices of a user may be connected side by side (REGRESSIONS 4, 5).

use crate::support::{Server, business::StubBusiness, conn::Conn, server_with};
use gim_logic::{
    domain::clock,
    settings::{KickPolicy, KickSettings},
};
use gim_proto::{
    CloseReason,
    logic::{Device, DeviceSaveRequest, DeviceType, Kick, ListOnlineRequest, LiveConnection, down_item::Item},
};

async fn server(kick: KickSettings) -> Server {
    server_with(StubBusiness::start().await, |settings| settings.kick = kick).await
}

async fn register(server: &Server, device_type: DeviceType) -> u64 {
    let device = Some(Device { r#type: device_type as i32, ..Device::default() });
    server.device_int().save(DeviceSaveRequest { device, user_id: 0 }).await.unwrap().into_inner().device_id
}

async fn online(server: &Server, user_id: u64) -> Vec<u64> {
    let request = ListOnlineRequest { user_ids: vec![user_id] };
    let devices = server.device_int().list_online(request).await.unwrap().into_inner().devices;
    let mut ids: Vec<u64> = devices.iter().map(|device| device.device_id).collect();
    ids.sort_unstable();
    ids
}

/// Lets the clock go on: of sign-ins in the same millisecond nobody can say which came first.
async fn later() {
    let now_ms = clock::now_ms();
    while clock::now_ms() == now_ms {
        tokio::task::yield_now().await;
    }
}

async fn kicked(conn: &mut Conn) -> Kick {
    match conn.next().await {
        Item::Kick(kick) => kick,
        other => panic!("no kick: {other:?}"),
    }
}

#[tokio::test]
async fn without_a_policy_all_devices_of_a_user_stay() {
    let server = server(KickSettings::default()).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let mut devices = Vec::new();
    for device_type in [DeviceType::DtAndroid, DeviceType::DtAndroid, DeviceType::DtWeb] {
        devices.push(register(&server, device_type).await);
        conn.sign_in(7, *devices.last().unwrap(), *devices.last().unwrap()).await;
    }
    assert_eq!(online(&server, 7).await, devices);
}

#[tokio::test]
async fn a_user_with_too_many_connections_loses_the_oldest_one() {
    let server = server_with(StubBusiness::start().await, |settings| settings.limits.user_connections_max = 2).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(8, 80, 800).await;
    for device_id in [70, 71] {
        conn.sign_in(7, device_id, 10 * device_id).await;
        later().await;
    }
    conn.sign_in(7, 72, 720).await;
    let kick = kicked(&mut conn).await;
    assert_eq!((kick.connection_id, kick.reason), (700, CloseReason::CrKicked as i32));
    assert_eq!(kick.message, "the user has too many connections");
    assert_eq!((online(&server, 7).await, online(&server, 8).await), (vec![71, 72], vec![80]));
    conn.sign_in(7, 72, 721).await;
    assert_eq!(
        kicked(&mut conn).await.reason,
        CloseReason::CrReplaced as i32,
        "a device that comes again costs nobody"
    );
    assert_eq!(online(&server, 7).await, [71, 72]);
}

#[tokio::test]
async fn one_phone_per_user_closes_the_older_phone_and_nothing_else() {
    let server = server(KickSettings { android: KickPolicy::SameType, ..KickSettings::default() }).await;
    let (old, new) = (register(&server, DeviceType::DtAndroid).await, register(&server, DeviceType::DtAndroid).await);
    let web = register(&server, DeviceType::DtWeb).await;
    let (mut first, mut second) = (Conn::attach(&server, "conn-1", 1).await, Conn::attach(&server, "conn-2", 1).await);
    first.sign_in(7, old, 700).await;
    first.sign_in(7, web, 701).await;
    first.sign_in(8, 80, 800).await;
    later().await;
    second.sign_in(7, new, 900).await;
    let kick = kicked(&mut first).await;
    assert_eq!((kick.connection_id, kick.reason), (700, CloseReason::CrKicked as i32));
    assert_eq!(online(&server, 7).await, [new, web]);
    assert_eq!(online(&server, 8).await, [80]);
    // It closes and says so late: the newer ones stay.
    first.sign_out(7, old, 700).await;
    first.sign_in(8, 81, 801).await;
    assert_eq!(online(&server, 7).await, [new, web]);

    second.sign_in(7, new, 901).await;
    let kick = kicked(&mut second).await;
    assert_eq!((kick.connection_id, kick.reason), (900, CloseReason::CrReplaced as i32), "the same device is replaced");
}

#[tokio::test]
async fn a_device_that_wants_to_be_alone_closes_all_others() {
    let server = server(KickSettings { web: KickPolicy::AllOthers, ..KickSettings::default() }).await;
    let web = register(&server, DeviceType::DtWeb).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    conn.sign_in(7, 71, 701).await;
    later().await;
    conn.sign_in(7, web, 702).await;
    let mut gone = [kicked(&mut conn).await.connection_id, kicked(&mut conn).await.connection_id];
    gone.sort_unstable();
    assert_eq!(gone, [700, 701]);
    later().await;
    conn.sign_in(7, 70, 703).await;
    assert_eq!(online(&server, 7).await, [70, web], "the policy of the device that comes decides");
}

#[tokio::test]
async fn a_connection_announced_late_goes_if_a_newer_one_took_its_place() {
    let server = server(KickSettings { other: KickPolicy::SameType, ..KickSettings::default() }).await;
    let (mut first, mut second) = (Conn::attach(&server, "conn-1", 1).await, Conn::attach(&server, "conn-2", 1).await);
    second.sign_in(7, 71, 900).await;
    first
        .announce(&[LiveConnection {
            connection_id: 700,
            user_id: 7,
            device_id: 70,
            since_ms: 1,
            ..Default::default()
        }])
        .await;
    assert_eq!(kicked(&mut first).await.connection_id, 700);
    assert_eq!(online(&server, 7).await, [71]);
}
