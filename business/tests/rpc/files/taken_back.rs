//! A file goes again, by who uploaded it.

use super::*;

fn take_back(address: SocketAddr, phone: &Phone, about: &Value) -> Answer {
    Ask::new("DELETE", &format!("/files/{}", about["file_id"].as_str().unwrap())).by(phone).send(address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_taken_back_by_who_uploaded_it_and_nobody_else() {
    let (server, address) = start().await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    let about = uploaded(address, &alice, "a.gif", DOT);
    let url = about["url"].as_str().unwrap();
    assert_eq!(take_back(address, &bob, &about).refusal(403), "only who uploaded a file takes it back");
    Ask::new("DELETE", url).send(address).refusal(400);
    assert_eq!(read(address, url).status, 200, "and is remembered");
    assert_eq!(take_back(address, &alice, &about).status, 204);
    read(address, url).refusal(404);
    take_back(address, &alice, &about).refusal(404);
    let file_id = about["file_id"].as_str().unwrap();
    Ask::new("GET", &format!("/files/{file_id}/about")).by(&alice).send(address).refusal(404);
    assert_eq!(kept(&server), (0, 0), "nobody else has these bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_file_has_as_well_stays_when_one_is_taken_back() {
    let (server, address) = start().await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    let [hers, his] = [&alice, &bob].map(|phone| uploaded(address, phone, "a", b"the same bytes"));
    assert_eq!(take_back(address, &alice, &hers).status, 204);
    assert_eq!(read(address, his["url"].as_str().unwrap()).body, b"the same bytes");
    let again = uploaded(address, &alice, "b", b"the same bytes");
    assert_eq!((take_back(address, &bob, &his).status, kept(&server)), (204, (0, 1)));
    assert_eq!(take_back(address, &alice, &again).status, 204);
    assert_eq!(kept(&server), (0, 0));
    let anew = uploaded(address, &bob, "c", b"the same bytes");
    assert_eq!(read(address, anew["url"].as_str().unwrap()).body, b"the same bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_became_a_file_is_ended_as_one() {
    let (server, address) = start().await;
    let phone = server.sign_in("1").await;
    let url = resumed::begin(address, &phone, 5);
    assert_eq!(resumed::patch(&url, &phone, 0).body("hello").send(address).status, 204);
    let end = Ask::new("DELETE", &url).by(&phone).header("tus-resumable", "1.0.0");
    assert_eq!((end.send(address).status, kept(&server)), (204, (0, 0)));
    end.send(address).refusal(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_has_no_more_bytes_for_what_was_taken_back() {
    let (server, address) = start_with(|files| files.bytes_per_day_max = 1_000).await;
    let phone = server.sign_in("1").await;
    let about = uploaded(address, &phone, "a", &[0; 600]);
    assert_eq!(take_back(address, &phone, &about).status, 204);
    upload(address, &phone, "a", &[0; 401]).refusal(429);
    uploaded(address, &phone, "a", &[0; 400]);
}

/// Whoever ends an upload while the same bytes are taken back has a file that can be read.
#[tokio::test(flavor = "multi_thread")]
async fn equal_bytes_come_and_go_at_once_and_no_file_loses_them() {
    let (server, address) = start().await;
    let phones = [server.sign_in("1").await, server.sign_in("2").await, server.sign_in("3").await];
    let mut going = Vec::new();
    for phone in phones {
        going.push(tokio::task::spawn_blocking(move || {
            for _ in 0..20 {
                let about = uploaded(address, &phone, "a", b"the same bytes");
                assert_eq!(read(address, about["url"].as_str().unwrap()).body, b"the same bytes");
                assert_eq!(take_back(address, &phone, &about).status, 204);
            }
        }));
    }
    for one in going {
        soon(one).await.unwrap();
    }
    assert_eq!(kept(&server), (0, 0));
}
