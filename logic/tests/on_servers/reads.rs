//! Reads that go through two logic nodes: told to devices of either, and never back.

use gim_proto::{
    connect::{Message, MessageCommand},
    logic::{
        ConversationListRequest, ConversationReadPush, ConversationReadRequest, conversation_read_request::Peer,
        down_item::Item,
    },
};
use prost::Message as _;

use super::beside;
use crate::{
    contract::conversations::{model, reads::prompt_server, send, signed},
    support::{Server, conn::Conn, server},
};

async fn read(server: &Server, seq: u64) {
    let request = ConversationReadRequest { peer: Some(Peer::UserId(8)), seq, message_id: 0 };
    server.conversation_ext().read(signed(7, request)).await.unwrap();
}

async fn read_seq(server: &Server) -> u64 {
    let list = server.conversation_ext().list(signed(7, ConversationListRequest::default())).await.unwrap();
    list.into_inner().conversations[0].read_seq
}

#[tokio::test]
async fn a_read_through_one_node_is_told_to_devices_at_another() {
    let one = server().await;
    let two = beside(&one).await;
    for _ in 0..3 {
        send(&one, 8, 7).await;
    }
    let mut at_one = Conn::attach(&one, "conn-1", 1).await;
    let mut at_two = Conn::attach(&two, "conn-1", 1).await;
    at_one.sign_in(8, 80, 800).await;
    read(&two, 3).await;
    let Item::Push(push) = at_two.next().await else { panic!("no push") };
    assert_eq!(push.targets[0].connection_ids, [800]);
    let message = Message::decode(push.message).unwrap();
    assert_eq!(message.command(), MessageCommand::McRead);
    assert_eq!(ConversationReadPush::decode(message.content).unwrap().seq, 3);
    assert_eq!((read_seq(&one).await, read_seq(&two).await), (3, 3));
}

#[tokio::test]
async fn of_reads_through_two_nodes_at_the_same_time_the_furthest_is_left() {
    let one = server().await;
    let two = beside(&one).await;
    for _ in 0..40 {
        send(&one, 8, 7).await;
    }
    let odd = async {
        for seq in (1..40).step_by(2) {
            read(&one, seq).await;
        }
    };
    let even = async {
        for seq in (2..=40).rev().step_by(2) {
            read(&two, seq).await;
        }
    };
    tokio::join!(odd, even);
    assert_eq!((read_seq(&one).await, read_seq(&two).await), (40, 40));
}

#[tokio::test]
async fn random_sequences_through_two_nodes_end_as_in_a_model_in_memory() {
    for seed in model::seeds() {
        let one = prompt_server().await;
        let two = beside(&one).await;
        model::run(&[&one, &two], seed, 250).await;
    }
}
