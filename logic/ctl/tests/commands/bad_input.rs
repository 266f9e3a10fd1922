//! Wrong addresses, tokens and servers: one sentence, exit code 1, and nothing done.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use gim_config::{grpc, grpc::GrpcSettings, listen::Endpoint};
use tonic::service::RoutesBuilder;

use crate::server::{Server, ctl, done, refusal};

fn said(arguments: &[&str], logic: &str) -> String {
    refusal(&done(ctl(arguments).env("GIM_CTL_LOGIC", logic).env("GIM_CTL_BUSINESS", "").output().unwrap()))
}

const COMMANDS: [&[&str]; 4] = [&["users", "get", "7"], &["users", "revoke", "7"], &["groups", "7"], &["rooms", "7"]];

#[test]
fn an_address_that_is_none_and_one_with_nobody_are_one_sentence() {
    for command in COMMANDS {
        assert_eq!(
            said(command, "127.0.0.1:9"),
            "--logic: `127.0.0.1:9` must have the form http://host:port or https://host:port"
        );
        assert_eq!(said(command, "http://logic"), "--logic: `http://logic` is no address: it needs the form host:port");
        let nobody = said(command, "http://127.0.0.1:9");
        assert!(nobody.starts_with("nobody answers at http://127.0.0.1:9: Connection refused"), "{nobody}");
        let nowhere = said(command, "http://logic.invalid:8010");
        assert!(nowhere.starts_with("nobody answers at http://logic.invalid:8010: "), "{nowhere}");
    }
}

#[test]
fn without_the_token_nothing_is_told_and_nothing_done() {
    let server = Server::start();
    let logic = format!("http://{}", server.address(8010));
    for command in COMMANDS {
        let refused = said(command, &logic);
        assert!(refused.contains("refuses us (") && refused.contains("--internal-token-file"), "{refused}");
    }
    let wrong = refusal(&done(
        ctl(COMMANDS[0])
            .env("GIM_CTL_LOGIC", &logic)
            .env("GIM_CTL_BUSINESS", "")
            .env("GIM_CTL_INTERNAL_TOKEN", "wrong")
            .output()
            .unwrap(),
    ));
    assert!(wrong.contains("refuses us (") && !wrong.contains("wrong token: wrong"), "{wrong}");
    let unread = refusal(&done(ctl(COMMANDS[0]).args(["--internal-token-file", "/nonexistent"]).output().unwrap()));
    assert!(unread.starts_with("cannot read the token in /nonexistent: "), "{unread}");
}

#[test]
fn an_old_server_and_something_else_are_named() {
    let server = Server::start();
    let old = server.runtime.block_on(async {
        let settings = GrpcSettings { listen: Endpoint::new("127.0.0.1:0"), ..GrpcSettings::default() };
        grpc::serve(&settings, RoutesBuilder::default(), &[]).await.unwrap()
    });
    let refused = said(&["rooms", "7"], &format!("http://{}", old.address()));
    assert!(
        refused
            .ends_with("does not know RoomIntService/CountMembers: it is older than this gim-ctl, or no logic of gim"),
        "{refused}"
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mail = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
        let _gone = stream.read(&mut [0; 1024]);
    });
    let refused = said(&["rooms", "7"], &format!("http://{address}"));
    assert!(refused.starts_with(&format!("nobody answers at http://{address}: ")), "{refused}");
    mail.join().unwrap();
}
