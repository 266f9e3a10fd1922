//! Events of two logic nodes: one of them tells, and the other one goes on where it ended.

use super::beside_with;
use crate::{
    contract::events::{message_ids, send_many, telling, told_to},
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
