//! An app that takes its events late: nothing is lost, nothing grows without a bound, and what it asks meanwhile is answered.

use gim_client::{Event, text_of};

use super::stand_in::{kind_server, options, started, until, within};

/// In more pages than the queue between the client and the app holds.
const MESSAGES: usize = 50_000;

#[tokio::test]
async fn what_an_app_did_not_take_waits_with_the_server_and_comes_in_order() {
    let (server, url) = kind_server().await;
    for number in 0..MESSAGES {
        server.lock().await.store_in_inbox(number.to_string().into(), false);
    }
    let (client, mut events) = started(options(&url)).await;
    // Answered although nobody takes an event: the client waits for nobody.
    let refused = within("the answer", client.request(1000, "a question")).await.unwrap_err();
    assert_eq!(refused.code, 10005);
    let mut expected = 0;
    until(&mut events, "all messages, and that these are all", |event| match event {
        Event::Message(message) => {
            assert_eq!(text_of(&message), expected.to_string());
            expected += 1;
            None
        }
        Event::Synced => {
            assert_eq!(expected, MESSAGES, "not before it has them all");
            Some(())
        }
        _ => None,
    })
    .await;
}
