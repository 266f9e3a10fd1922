//! Events of two logic nodes: one of them tells, and the other one goes on where it ended; streams come from either.

use gim_proto::{ResultCode, logic::subscribe_events_request::From};

use super::beside_with;
use crate::{
    contract::{
        event_streams::{Follower, allow_streams, by_sender, streaming},
        events::{message_ids, send_many, telling, told_to},
    },
    support::{self, receiver::EventReceiver},
};

#[tokio::test]
async fn another_node_goes_on_where_the_one_that_told_ended() {
    let (receiver, _listening) = EventReceiver::start(5).await;
    let one = telling(&receiver, |_| ()).await;
    let two = beside_with(&one, |settings| told_to(&receiver, settings)).await;
    let (of_one, of_two): ([u64; 4], [u64; 4]) = ([101, 103, 105, 107], [201, 203, 205, 207]);
    let (mut sent, more) = tokio::join!(send_many(&one, &of_one, 0..50), send_many(&two, &of_two, 0..50));
    sent.extend(more);
    receiver.once(|events| events.len() >= 100).await;
    support::stop(one).await;
    for (user_id, ids) in send_many(&two, &of_two, 50..60).await {
        sent.entry(user_id).or_default().extend(ids);
    }
    let events = receiver.once(|events| events.len() >= 440).await;
    assert_eq!(events.len(), 440);
    for (user_id, ids) in sent {
        assert_eq!(message_ids(&events, user_id), ids, "user {user_id}");
    }
    support::stop(two).await;
}

#[tokio::test]
async fn followers_at_two_nodes_get_the_same_and_one_goes_on_at_the_other() {
    let one = streaming(|_| ()).await;
    let two = beside_with(&one, allow_streams).await;
    let (mut at_one, mut at_two) = tokio::join!(Follower::from(&one, None), Follower::from(&two, None));
    let (of_one, of_two): ([u64; 3], [u64; 3]) = ([101, 103, 105], [201, 203, 205]);
    let (mut sent, more) = tokio::join!(send_many(&one, &of_one, 0..40), send_many(&two, &of_two, 0..40));
    sent.extend(more);
    tokio::join!(at_one.until(240), at_two.until(240));
    assert_eq!(at_one.events, at_two.events);
    let (status, ()) = tokio::join!(at_one.end(), support::stop(one));
    assert_eq!(ResultCode::of_status(&status), ResultCode::TryAgainLater);
    for (user_id, ids) in send_many(&two, &of_two, 40..50).await {
        sent.entry(user_id).or_default().extend(ids);
    }
    let mut goes_on = Follower::from(&two, Some(From::Cursor(at_one.cursor))).await;
    goes_on.until(30).await;
    at_one.events.append(&mut goes_on.events);
    assert_eq!(by_sender(&at_one.events), sent);
    support::stop(two).await;
}
