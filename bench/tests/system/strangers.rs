//! Strangers at several addresses who sign in, by logic's listener for clients and at business itself.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    time::timeout,
};

use crate::server::{DEADLINE, Server};

const TOKEN: &str = "sixteen-bytes-16";
const WRONG_CODES_MAX: u32 = 3;
const OK: &str = "200";
const WRONG: &str = "10300";
const TOO_MANY: &str = "10003";

/// The result code of a sign-in from an address, or that it succeeded.
fn sign_in(server: &Server, from: &str, to: SocketAddr, number: &str, code: &str, told: &str) -> String {
    let body = format!(r#"{{"phone_number":"{number}","code":"{code}","device":{{"brand":"b"}}}}"#);
    let request = format!(
        "POST /business.UserExtService/SignIn HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n{told}\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        let mut stream = socket.connect(to).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = server.runtime.block_on(async { timeout(DEADLINE, answer).await });
    let answer = answer.expect("answered within the deadline");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    if head.starts_with("HTTP/1.1 200") {
        return OK.to_owned();
    }
    let error: serde_json::Value = serde_json::from_str(body).unwrap();
    error["details"][0]["debug"]["reason"].as_str().unwrap().to_owned()
}

#[test]
fn wrong_codes_close_the_address_of_who_tried_them_and_of_nobody_else() {
    let server = Server::start_guarded(TOKEN, WRONG_CODES_MAX);
    let [_, _, (_, business, _)] = server.services();
    let doors = [(server.clients_address(), ["127.0.0.2", "127.0.0.3"]), (business, ["127.0.0.4", "127.0.0.5"])];
    for (door, [guesser, other]) in doors {
        // What a stranger says of himself is passed over, with a token that he guesses, too.
        for guess in ["", "internal_token: guessed-it-at-all\r\n"] {
            let told = |last: u32| format!("client_address: 203.0.113.{last}\r\n{guess}");
            let tries = if guess.is_empty() { 0..WRONG_CODES_MAX } else { 0..0 };
            for number in tries {
                assert_eq!(sign_in(&server, guesser, door, &format!("9{number}"), "no", &told(number)), WRONG);
            }
            assert_eq!(sign_in(&server, guesser, door, "99", "no", &told(99)), TOO_MANY, "{door}: {guess}");
            assert_eq!(sign_in(&server, guesser, door, "99", "123456", &told(99)), TOO_MANY, "{door}: {guess}");
        }
        assert_eq!(sign_in(&server, other, door, "99", "123456", ""), OK, "{door}");
    }
    // Who shows the token speaks for others.
    let told = format!("client_address: 127.0.0.4\r\ninternal_token: {TOKEN}\r\n");
    assert_eq!(sign_in(&server, "127.0.0.5", business, "99", "123456", &told), TOO_MANY);
    assert_eq!(sign_in(&server, "127.0.0.5", business, "99", "123456", ""), OK);
}
