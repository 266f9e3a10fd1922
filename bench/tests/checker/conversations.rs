//! What the list of conversations has to say once nobody writes any more, by what an app of the user was shown and has read. No IO.

use std::collections::HashMap;

use gim_client::{Message, Target, conversation_of, services::Conversation};

/// More are told as that many.
const UNREAD_MAX: usize = 100;
/// Numbers of the server's own messages.
const NOTICES: std::ops::RangeInclusive<i32> = 100..=199;

/// All conversations of a user.
#[derive(Debug, Default)]
pub struct Conversations(HashMap<Target, Told>);

#[derive(Debug, Default)]
struct Told {
    /// In the order in which they came, with what they mean for the one who reads.
    messages: Vec<(u64, Kind)>,
    /// How many of them were read, by what the server said to a read.
    read: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counts,
    Own,
    Notice,
}

impl Conversations {
    /// Takes a message that is the next one.
    pub fn note(&mut self, message: &Message) {
        let Some(target) = conversation_of(message) else { return };
        let kind = match message {
            Message { is_own: true, .. } => Kind::Own,
            Message { command, .. } if NOTICES.contains(command) => Kind::Notice,
            _ => Kind::Counts,
        };
        self.0.entry(target).or_default().messages.push((message.message_id, kind));
    }

    /// The message that a number stands for, if there is any: something to read.
    pub fn pick(&self, number: usize) -> Option<(Target, u64)> {
        let mut all: Vec<_> =
            self.0.iter().flat_map(|(target, told)| told.messages.iter().map(|(id, _)| (*target, *id))).collect();
        all.sort_unstable_by_key(|(_, id)| *id);
        (!all.is_empty()).then(|| all[number % all.len()])
    }

    /// A read up to a message was acknowledged.
    pub fn note_read(&mut self, target: Target, message_id: u64) {
        let Some(told) = self.0.get_mut(&target) else { return };
        told.read = told.read.max(told.read_to(message_id));
    }

    /// Fails where a list says something else.
    pub fn assert_listed(&self, listed: &[Conversation], device_id: u64) {
        let listed_of: HashMap<Target, &Conversation> = listed.iter().map(|found| (found.target, found)).collect();
        assert_eq!(listed_of.len(), listed.len(), "device {device_id}: a conversation is listed twice");
        for (target, told) in &self.0 {
            let found = listed_of.get(target).unwrap_or_else(|| panic!("device {device_id}: {target:?} is not listed"));
            let newest = found.newest.as_ref().map(|newest| newest.message_id);
            assert_eq!(newest, told.messages.last().map(|(id, _)| *id), "device {device_id}: {target:?}");
            let read = if found.read_seq == 0 { 0 } else { told.read_to(found.read_message_id) };
            assert!(read >= told.read, "device {device_id}: {target:?}: an acknowledged read is gone: {found:?}");
            let unread = told.messages[read..].iter().rev().take_while(|(_, kind)| *kind != Kind::Own);
            let unread = unread.filter(|(_, kind)| *kind == Kind::Counts).count().min(UNREAD_MAX);
            assert_eq!(found.unread as usize, unread, "device {device_id}: {target:?}: {found:?}");
        }
    }
}

impl Told {
    /// How many messages are read where this one is.
    fn read_to(&self, message_id: u64) -> usize {
        let place = self.messages.iter().position(|(id, _)| *id == message_id);
        place.unwrap_or_else(|| panic!("message {message_id} is none of the conversation")) + 1
    }
}
