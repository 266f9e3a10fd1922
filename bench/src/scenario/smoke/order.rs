//! The books are closed: over the whole run each device saw each seq of its inbox once, ascending, without a gap.

use gim_proto::connect::Message;

use super::{Cast, Device, Stage};
use crate::result::Checks;

pub fn check(stage: &Stage, cast: &mut Cast, checks: &mut Checks) -> anyhow::Result<()> {
    // All earlier ones are there, or come through the same logic node: behind this one nothing of this run is under way.
    let last = stage.push_to_users(&[cast.ada(), cast.bob()], &stage.content("the end"), true)?;
    for device in cast.all() {
        let newest = device.wait_for_id(last)?.map_or(0, |message| message.seq);
        check_inbox(checks, device, newest);
    }
    Ok(())
}

fn check_inbox(checks: &mut Checks, device: &Device, newest: u64) {
    let inbox: Vec<&Message> =
        device.arrived().iter().filter(|message| message.seq > 0 && message.room_id == 0).collect();
    let arrived: Vec<u64> = inbox.iter().map(|message| message.seq).collect();
    let ascending = arrived.is_sorted_by(|one, next| one < next);
    checks.equal(format!("{}: every seq once, ascending", device.name()), true, ascending);

    let mut known: Vec<u64> = arrived.iter().chain(device.sent_seqs()).copied().collect();
    known.sort_unstable();
    let expected: Vec<u64> = (device.before() + 1..=newest).collect();
    let what = format!("{}: arrived and sent from here", device.name());
    checks.holds(what, ranges(&expected), ranges(&known), newest > device.before() && known == expected);

    let is_linked = inbox.iter().all(|message| message.prev_seq + 1 == message.seq);
    checks.equal(format!("{}: prev_seq tells the message before", device.name()), true, is_linked);
    let is_dated = inbox.iter().all(|message| message.created_at_ms / 1000 == message.created_at);
    checks.equal(format!("{}: created_at agrees with created_at_ms", device.name()), true, is_dated);
}

/// `1-3,5` of 1, 2, 3, 5: a long list of seqs in a short cell.
pub fn ranges(seqs: &[u64]) -> String {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for &seq in seqs {
        match spans.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(seq) => *end = seq,
            _ => spans.push((seq, seq)),
        }
    }
    let text = |&(start, end): &(u64, u64)| if start == end { start.to_string() } else { format!("{start}-{end}") };
    let text = spans.iter().map(text).collect::<Vec<_>>().join(",");
    if text.is_empty() { "none".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_shorten_what_is_gap_free_and_show_what_is_not() {
        assert_eq!(ranges(&[]), "none");
        assert_eq!(ranges(&[1, 2, 3]), "1-3");
        assert_eq!(ranges(&[1, 3, 4, 9]), "1,3-4,9");
        assert_eq!(ranges(&[2, 1, 1]), "2,1,1");
    }
}
