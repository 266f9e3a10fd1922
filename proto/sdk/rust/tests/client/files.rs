//! Files over connections that break where nothing has come yet, and what an earlier download has written.

use gim_client::files::{Files, FilesOptions};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

use super::stand_in::within;

const ID: &str = "0123456789abcdef0123456789abcdef";

/// A server that gives these answers, one on each connection, which it ends then. What it was asked for, when it is at its end.
async fn answering(answers: Vec<String>) -> (Files, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            asked.push(String::from_utf8(head).unwrap().to_lowercase());
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
        asked
    });
    let options = FilesOptions::new(url, 7, 70).get_token(|_| async { Ok(Some("a token".to_owned())) });
    (Files::new(options).unwrap(), server)
}

fn answer(status: &str, length: usize, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn url() -> String {
    format!("http://files.example.com/files/{ID}?expires=9&signature=a")
}

#[tokio::test]
async fn a_break_between_the_head_and_the_first_byte_is_tried_again() {
    let broken = answer("200 OK", 10, "");
    let answers =
        vec![broken.clone(), broken, answer("200 OK", 10, "hello"), answer("206 Partial Content", 5, "world")];
    let (files, server) = answering(answers).await;
    let (mut to, mut told, url) = (Vec::new(), Vec::new(), url());
    let read = files.download(&url, &mut to, |done, total| told.push((done, total)));
    assert_eq!(within("the file", read).await, Ok(10));
    assert_eq!((to.as_slice(), told.last()), (&b"helloworld"[..], Some(&(10, 10))));
    let asked = server.await.unwrap();
    let is_part = asked.iter().map(|head| head.contains("range: bytes=5-\r\n"));
    assert_eq!(is_part.collect::<Vec<_>>(), [false, false, false, true]);
    assert!(asked.iter().all(|head| !head.contains("token")), "whoever has the URL may read");
}

#[tokio::test]
async fn a_download_goes_on_behind_what_an_earlier_one_has_written() {
    let none_left =
        "HTTP/1.1 416 Range Not Satisfiable\r\ncontent-range: bytes */10\r\ncontent-length: 0\r\n\r\n".to_owned();
    let answers = vec![answer("206 Partial Content", 5, "world"), none_left.clone(), none_left];
    let (files, server) = answering(answers).await;
    let mut to = b"hello".to_vec();
    assert_eq!(within("the rest", files.download_from(&url(), 5, &mut to, |_, _| {})).await, Ok(10));
    assert_eq!(to, b"helloworld");
    assert_eq!(within("nothing", files.download_from(&url(), 10, &mut to, |_, _| {})).await, Ok(10));
    within("fewer", files.download_from(&url(), 11, &mut to, |_, _| {})).await.unwrap_err();
    assert_eq!(to, b"helloworld");
    let asked = server.await.unwrap();
    assert!([5, 10, 11].iter().zip(asked).all(|(from, head)| head.contains(&format!("range: bytes={from}-\r\n"))));
}

#[tokio::test]
async fn a_server_that_makes_a_file_of_what_came_is_waited_for() {
    // More often than anything else is tried again.
    let mut answers = vec![answer("423 Locked", 0, ""); 9];
    let json = format!(
        r#"{{"file_id":"{ID}","name":"a","kind":"b","size_bytes":5,"sha256":"c","state":"good","url":"d","expires_at_ms":7}}"#
    );
    answers.push(answer("200 OK", json.len(), &json));
    let (files, server) = answering(answers).await;
    assert_eq!(within("the file", files.about(ID)).await.unwrap().size_bytes, 5);
    assert_eq!(server.await.unwrap().len(), 10);
}
