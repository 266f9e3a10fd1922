//! Services whose settings do not fit each other's: http spoken to https, https to http, and certificates of another authority are named
//! on both sides, with the address, however often it is tried.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use gim_config::{
    endpoints::Endpoints,
    grpc::{self, GrpcServer, GrpcSettings},
    listen::Endpoint,
    testing::{Authority, keep_log_lines, logged_warnings},
};
use gim_proto::{
    ResultCode,
    connect::{PushToDevicesRequest, connect_int_service_client::ConnectIntServiceClient},
};
use tonic::{Status, service::RoutesBuilder};

/// How often each is tried.
const TRIES: usize = 10;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

async fn serve(settings: GrpcSettings) -> GrpcServer {
    let settings = GrpcSettings { listen: Endpoint::new("127.0.0.1:0"), ..settings };
    grpc::serve(&settings, RoutesBuilder::default(), &[]).await.unwrap()
}

/// Calls with these settings, and a node that is away beside that one where the service has several.
async fn call(address: &str, settings: &GrpcSettings, has_several: bool) -> Status {
    let endpoints = if has_several { format!("{address},http://127.0.0.1:1") } else { address.to_owned() };
    let channel = grpc::channel_to_any(&Endpoints::new(&endpoints), settings, Some(PATIENCE)).unwrap();
    ConnectIntServiceClient::new(channel).push_to_devices(PushToDevicesRequest::default()).await.unwrap_err()
}

/// What a caller is told, and what the server says of it, once.
async fn both_sides_name_it(server: &GrpcServer, scheme: &str, settings: GrpcSettings, said: [&str; 2]) {
    let address = format!("{scheme}://localhost:{}", server.address().port());
    for _ in 0..TRIES {
        let status = call(&address, &settings, false).await;
        let is_named = status.message().starts_with(&format!("{address}: ")) && status.message().ends_with(said[0]);
        assert!(is_named && ResultCode::of_status(&status) == ResultCode::TryAgainLater, "{status}");
    }
    let deadline = Instant::now() + PATIENCE;
    while logged_warnings(&[said[1]]).is_empty() {
        assert!(Instant::now() < deadline, "the server does not say: {}", said[1]);
        tokio::task::yield_now().await;
    }
    let lines = logged_warnings(&[said[1]]);
    assert!(matches!(&lines[..], [line] if line.contains("caller=127.0.0.1")), "{lines:?}");
}

#[tokio::test]
async fn whoever_speaks_another_scheme_or_trusts_others_is_named_on_both_sides() {
    keep_log_lines();
    let (ours, other) = (Authority::new(), Authority::new());
    let with = |(certificate, key): (PathBuf, PathBuf), server_ca: PathBuf| GrpcSettings {
        certificate,
        key,
        server_ca,
        ..GrpcSettings::default()
    };
    let settings = GrpcSettings { client_ca: ours.ca(), ..with(ours.issue(), ours.ca()) };
    let (secure, plain) = (serve(settings.clone()).await, serve(GrpcSettings::default()).await);

    let said = [
        "(it may speak TLS: does https:// belong here? Or is it not the port of a [grpc] listen?)",
        "it speaks no TLS: is it told http://",
    ];
    both_sides_name_it(&secure, "http", settings.clone(), said).await;
    let said = ["(it speaks no TLS: does http:// belong here?)", "it speaks TLS, and there is no certificate here"];
    both_sides_name_it(&plain, "https", settings.clone(), said).await;
    let said = ["(it is not of an authority in our grpc.server_ca)", "it does not take our certificate"];
    both_sides_name_it(&secure, "https", with(ours.issue(), other.ca()), said).await;
    let said = ["in its grpc.client_ca?)", "its certificate is of no authority in our client_ca"];
    both_sides_name_it(&secure, "https", with(other.issue(), ours.ca()), said).await;
}

#[tokio::test]
async fn of_several_nodes_the_one_that_failed_is_named() {
    let plain = serve(GrpcSettings::default()).await;
    let (authority, nobody) = (Authority::new(), "http://127.0.0.1:1: Connection refused");
    let settings = GrpcSettings { server_ca: authority.ca(), ..GrpcSettings::default() };
    let address = format!("https://localhost:{}", plain.address().port());
    let status = call(&address, &settings, true).await;
    assert!(status.message().starts_with(&address) || status.message().starts_with(nobody), "{status}");
    assert!(call("http://127.0.0.1:1", &settings, true).await.message().starts_with(nobody));
}
