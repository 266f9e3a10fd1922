//! What a receiver of events was told: of each conversation, whether all messages came, and in their order. Plain data.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;

/// The messages of a run, as they come.
#[derive(Debug)]
pub struct EventLedger {
    /// What the contents of this run begin with.
    run: String,
    /// Of each conversation, the number of the message that comes next.
    next: Vec<u32>,
    pub told: u64,
    pub repeated: u64,
    /// Messages that were told when one before them was not.
    pub out_of_order: u64,
}

#[derive(Deserialize)]
struct Call {
    data: Told,
}

#[derive(Deserialize)]
struct Told {
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    content: Option<String>,
}

impl EventLedger {
    /// Of so many conversations.
    pub fn new(run: &str, conversations: usize) -> Self {
        Self { run: run.to_owned(), next: vec![0; conversations], told: 0, repeated: 0, out_of_order: 0 }
    }

    /// What a message says.
    pub fn content(run: &str, conversation: usize, number: u32) -> String {
        format!("{run} {conversation} {number}")
    }

    /// Notes the events of a call; what is no JSON, or of another run, is passed over.
    pub fn note(&mut self, body: &[u8]) {
        let Ok(call) = serde_json::from_slice::<Call>(body) else { return };
        for content in call.data.events.into_iter().filter_map(|event| event.data.content) {
            self.note_content(&content);
        }
    }

    fn note_content(&mut self, content: &str) {
        let Ok(content) = BASE64_STANDARD.decode(content) else { return };
        let content = String::from_utf8_lossy(&content);
        let mut parts = content.split(' ');
        if parts.next() != Some(&self.run) {
            return;
        }
        let (Some(Ok(conversation)), Some(Ok(number))) =
            (parts.next().map(str::parse::<usize>), parts.next().map(str::parse::<u32>))
        else {
            return;
        };
        let Some(next) = self.next.get_mut(conversation) else { return };
        if number < *next {
            self.repeated += 1;
            return;
        }
        self.out_of_order += u64::from(number - *next);
        *next = number + 1;
        self.told += 1;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(messages: &[(&str, usize, u32)]) -> Vec<u8> {
        let event = |&(run, conversation, number): &(&str, usize, u32)| json!({ "data": { "content": BASE64_STANDARD.encode(EventLedger::content(run, conversation, number)) } });
        let events: Vec<_> = messages.iter().map(event).collect();
        json!({ "type": "events", "data": { "events": events } }).to_string().into_bytes()
    }

    #[test]
    fn what_comes_again_is_no_fault_and_what_was_left_out_is() {
        let mut ledger = EventLedger::new("run", 2);
        ledger.note(&body(&[("run", 0, 0), ("run", 1, 0), ("run", 0, 1), ("other", 0, 7), ("run", 9, 0)]));
        ledger.note(&body(&[("run", 0, 1), ("run", 0, 2)]));
        assert_eq!((ledger.told, ledger.repeated, ledger.out_of_order), (4, 1, 0));
        ledger.note(&body(&[("run", 1, 3)]));
        assert_eq!((ledger.told, ledger.out_of_order), (5, 2));
        ledger.note(b"{");
        assert_eq!(ledger.told, 5);
    }
}
