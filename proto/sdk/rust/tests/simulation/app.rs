//! The app, with its store: what it was told, and what of it outlives a restart.

use std::collections::{BTreeMap, BTreeSet};

use gim_client::{
    core::{Cursors, Event, PendingSend, Remembered, Sent},
    message::{Message, text_of},
    wire::Target,
};

#[derive(Default)]
pub struct App {
    /// Texts in the order in which they came, each at its number.
    pub inbox: Vec<String>,
    pub timeline: Vec<String>,
    pub room: BTreeSet<u64>,
    cursors: Cursors,
    outbox: BTreeMap<u64, PendingSend>,
    next_order: u64,
    /// Every send that was ever asked for, in order, and those that were told to be stored.
    pub asked: Vec<(String, Target)>,
    pub sent: BTreeMap<String, Sent>,
}

impl App {
    pub fn remembered(&self) -> Remembered {
        let outbox = self.outbox.values().cloned().collect();
        Remembered { cursors: self.cursors.clone(), outbox, delivered: Vec::new() }
    }

    pub fn new_send(&mut self, target: Target, now_ms: u64) -> PendingSend {
        let client_msg_id = format!("send {}", self.asked.len());
        self.asked.push((client_msg_id.clone(), target));
        let content = client_msg_id.clone().into();
        PendingSend { client_msg_id, target, command: 0, content, created_at_ms: now_ms }
    }

    pub fn remember(&mut self, send: PendingSend) {
        self.outbox.insert(self.next_order, send);
        self.next_order += 1;
    }

    pub fn forget(&mut self, client_msg_id: &str) {
        self.outbox.retain(|_, send| send.client_msg_id != client_msg_id);
    }

    pub fn deliver(&mut self, messages: &[Message], cursors: Cursors) {
        for message in messages {
            if message.room_seq > 0 {
                assert!(self.room.insert(message.room_seq), "twice: {message:?}");
                continue;
            }
            let (log, seq) = match message.group_seq {
                0 => (&mut self.inbox, message.seq),
                group_seq => (&mut self.timeline, group_seq),
            };
            assert_eq!(seq, log.len() as u64 + 1, "lost, doubled or out of order: {message:?}");
            log.push(text_of(message));
        }
        self.cursors = cursors;
    }

    pub fn tell(&mut self, event: Event) {
        match event {
            Event::Sent(sent) => {
                let before = self.sent.insert(sent.client_msg_id.clone(), sent);
                // A restart in between may have it told once more, for the same message.
                assert!(before.is_none_or(|before| before.message_id == self.sent[&before.client_msg_id].message_id));
            }
            Event::Failed { client_msg_id, code, .. } => panic!("{client_msg_id} was refused with {code}"),
            Event::Gap { .. } => panic!("there is no gap: {event:?}"),
            _ => {}
        }
    }
}
