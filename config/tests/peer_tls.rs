//! Who may call internal services where they ask for certificates (REGRESSIONS 27).

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{path::PathBuf, time::Duration};

use gim_config::{
    grpc::{self, GrpcServer, GrpcSettings},
    listen::Endpoint,
    testing::Authority,
};
use gim_proto::connect::{
    PushToDevicesRequest,
    connect_int_service_client::ConnectIntServiceClient,
    connect_int_service_server::{ConnectIntService, ConnectIntServiceServer},
};
use tonic::{Code, Request, Response, Status, service::RoutesBuilder};

struct Stub;

#[tonic::async_trait]
impl ConnectIntService for Stub {
    async fn push_to_devices(&self, _request: Request<PushToDevicesRequest>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }
}

async fn serve(settings: &GrpcSettings) -> GrpcServer {
    let mut routes = RoutesBuilder::default();
    routes.add_service(ConnectIntServiceServer::new(Stub));
    grpc::serve(settings, routes, &[]).await.unwrap()
}

async fn call(server: &GrpcServer, scheme: &str, settings: &GrpcSettings) -> Result<(), Code> {
    let peer = Endpoint::new(&format!("{scheme}://localhost:{}", server.address().port()));
    let channel = grpc::channel(&peer, settings, Some(Duration::from_secs(10))).unwrap();
    let answer = ConnectIntServiceClient::new(channel).push_to_devices(PushToDevicesRequest::default()).await;
    answer.map(|_| ()).map_err(|status| status.code())
}

#[tokio::test]
async fn a_caller_without_a_certificate_of_the_authority_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.issue();
    let settings = GrpcSettings {
        listen: Endpoint::new("127.0.0.1:0"),
        certificate,
        key,
        client_ca: authority.ca(),
        server_ca: authority.ca(),
        ..GrpcSettings::default()
    };
    settings.validate().unwrap();
    let server = serve(&settings).await;
    assert_eq!(call(&server, "https", &settings).await, Ok(()));

    let anonymous = GrpcSettings { server_ca: authority.ca(), ..GrpcSettings::default() };
    assert_eq!(call(&server, "https", &anonymous).await, Err(Code::PermissionDenied));

    let (certificate, key) = stranger.issue();
    let strange = GrpcSettings { certificate, key, ..anonymous.clone() };
    call(&server, "https", &strange).await.unwrap_err();
    let doubting = GrpcSettings { server_ca: stranger.ca(), ..settings.clone() };
    call(&server, "https", &doubting).await.unwrap_err();
    call(&server, "http", &settings).await.unwrap_err();
}

#[tokio::test]
async fn a_token_that_is_set_counts_besides_the_certificate() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue();
    let settings = GrpcSettings {
        listen: Endpoint::new("127.0.0.1:0"),
        internal_token: "secret".into(),
        certificate,
        key,
        client_ca: authority.ca(),
        server_ca: authority.ca(),
        ..GrpcSettings::default()
    };
    let server = serve(&settings).await;
    assert_eq!(call(&server, "https", &settings).await, Ok(()));
    let without = GrpcSettings { internal_token: String::new(), ..settings.clone() };
    assert_eq!(call(&server, "https", &without).await, Err(Code::PermissionDenied));
}

#[tokio::test]
async fn files_are_read_again_on_both_sides_and_those_of_no_use_change_nothing() {
    let (old, new) = (Authority::new(), Authority::new());
    let (certificate, key) = old.issue();
    let settings = GrpcSettings {
        listen: Endpoint::new("127.0.0.1:0"),
        certificate,
        key,
        client_ca: old.ca(),
        server_ca: old.ca(),
        ..GrpcSettings::default()
    };
    let server = serve(&settings).await;
    assert_eq!(call(&server, "https", &settings).await, Ok(()));

    let replace = |with: &(PathBuf, PathBuf)| {
        std::fs::copy(&with.0, &settings.certificate).unwrap();
        std::fs::copy(&with.1, &settings.key).unwrap();
    };
    let expired = new.issue_with("expired", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    replace(&expired);
    for problem in [server.reload(None), settings.reload_caller_tls()] {
        let problem = problem.unwrap_err();
        assert!(problem.starts_with("grpc.certificate: ") && problem.contains("expired at"), "{problem}");
    }
    replace(&(old.issue_with("other", |_| ()).0, expired.1.clone()));
    assert!(server.reload(None).unwrap_err().contains("does not belong to"));
    assert_eq!(call(&server, "https", &settings).await, Ok(()), "the old ones stay");

    // Of another authority, which the caller believes only once it reads its own files again.
    replace(&new.issue());
    std::fs::copy(new.ca(), old.ca()).unwrap();
    server.reload(None).unwrap();
    call(&server, "https", &settings).await.unwrap_err();
    settings.reload_caller_tls().unwrap();
    assert_eq!(call(&server, "https", &settings).await, Ok(()));
}

/// What a server and a caller with these settings say instead of beginning.
async fn refusals(settings: &GrpcSettings) -> [String; 2] {
    let peer = Endpoint::new("https://localhost:1");
    let server = grpc::serve(settings, RoutesBuilder::default(), &[]).await.unwrap_err().to_string();
    [server, format!("settings: {}", grpc::channel(&peer, settings, None).unwrap_err())]
}

#[tokio::test]
async fn a_certificate_of_no_use_is_named_at_start() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue();
    let (expired, expired_key) = authority.issue_with("expired", |params| {
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let (early, early_key) =
        authority.issue_with("early", |params| params.not_before = rcgen::date_time_ymd(3000, 1, 1));
    for (certificate, key, words) in [
        (&expired, &expired_key, ["expired.pem", "expired at"]),
        (&early, &early_key, ["early.pem", "is valid only from"]),
        (&certificate, &expired_key, ["expired.key does not belong to", "own.pem"]),
        (&"/missing.pem".into(), &key, ["cannot read a certificate", "/missing.pem"]),
        (&certificate, &certificate, ["cannot read a private key", "own.pem"]),
    ] {
        let settings = GrpcSettings {
            listen: Endpoint::new("127.0.0.1:0"),
            certificate: certificate.clone(),
            key: key.clone(),
            server_ca: authority.ca(),
            ..GrpcSettings::default()
        };
        for problem in refusals(&settings).await {
            let is_named = words.iter().all(|word| problem.contains(word));
            assert!(problem.starts_with("settings: grpc.certificate: ") && is_named, "{problem}");
        }
    }
}

#[tokio::test]
async fn an_authority_of_no_use_is_named_at_start() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue();
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let (expired, _) = authority.issue_with("expired", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    for (path, words) in [
        ("/missing.pem".into(), "cannot read a certificate from /missing.pem"),
        (empty, "there is none in it"),
        (key.clone(), "there is none in it"),
        (expired, "expired at"),
    ] {
        let settings = GrpcSettings {
            listen: Endpoint::new("127.0.0.1:0"),
            certificate: certificate.clone(),
            key: key.clone(),
            client_ca: path.clone(),
            server_ca: path,
            ..GrpcSettings::default()
        };
        for (problem, name) in refusals(&settings).await.into_iter().zip(["grpc.client_ca", "grpc.server_ca"]) {
            assert!(problem.starts_with(&format!("settings: {name}: ")) && problem.contains(words), "{problem}");
        }
    }
    let problem = grpc::channel(&Endpoint::new("https://localhost:1"), &GrpcSettings::default(), None).unwrap_err();
    assert!(problem.starts_with("grpc.server_ca: must be set"), "{problem}");
}
