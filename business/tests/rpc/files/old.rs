//! The upload of gim in Go.

use super::*;

fn form(address: SocketAddr, field: &str) -> Answer {
    let body = format!(
        "--x-y\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"../a.txt\"\r\n\r\nhello\r\n--x-y--\r\n"
    );
    Ask::new("POST", "/upload").header("content-type", "multipart/form-data; boundary=x-y").body(body).send(address)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_app_uploads_without_a_user_where_that_is_meant() {
    let (server, address) = start_with(|files| files.old_upload = true).await;
    let answer = form(address, "file");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let json = answer.json();
    let url = json["data"]["url"].as_str().unwrap();
    // As gim in Go writes it, so that nothing in it surprises whoever reads it.
    let expected = format!(r#"{{"code":0,"message":"success","data":{{"url":"{url}"}}}}"#);
    assert_eq!(String::from_utf8(answer.body.clone()).unwrap(), expected);
    assert!(url.starts_with(&format!("http://{address}/files/")), "{url}");
    let file = read(address, url);
    assert_eq!(file.body, b"hello");
    assert_eq!(file.header("content-disposition"), r#"attachment; filename="a.txt""#);
    form(address, "other").refusal(400);
    Ask::new("POST", "/upload").body("hello").send(address).refusal(400);
    assert_eq!(kept(&server), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_uploads_without_a_user_unless_that_is_meant() {
    let (server, address) = start().await;
    assert!(form(address, "file").refusal(404).contains("files.old_upload is off"));
    assert_eq!(kept(&server), (0, 0));
}
