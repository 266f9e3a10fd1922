//! Who left lately: where a stream breaks, logic may not have heard of it, and whichever node the user belongs to next is told
//! again. Owned by a link; no IO, time is passed in.
//!
//! Always holds: it knows every sign-out of the last while, up to a number; one that is forgotten too early is found out by the
//! next push to its connection.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use gim_proto::logic::{SignOut, up_item::Item};

use super::uplink::LinkItem;

/// Beyond, the oldest is forgotten.
const SIGN_OUTS_MAX: usize = 65_536;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct RecentSignOuts {
    kept: Duration,
    sign_outs: VecDeque<(Instant, SignOut)>,
}

impl RecentSignOuts {
    /// Remembers each for so long.
    pub(super) fn new(kept: Duration) -> Self {
        Self { kept, sign_outs: VecDeque::new() }
    }

    /// Notes the sign-outs of a batch that is sent, or was not.
    pub(super) fn note(&mut self, batch: &[LinkItem], now: Instant) {
        let sign_outs = batch.iter().filter_map(|item| match item {
            LinkItem::State(Item::SignOut(sign_out)) => Some(*sign_out),
            _ => None,
        });
        self.sign_outs.extend(sign_outs.map(|sign_out| (now, sign_out)));
        let is_old = |(at, _): &(Instant, SignOut)| now.duration_since(*at) >= self.kept;
        let old = self.sign_outs.iter().take_while(|sign_out| is_old(sign_out)).count();
        let too_many = self.sign_outs.len().saturating_sub(SIGN_OUTS_MAX);
        self.sign_outs.drain(..old.max(too_many));
    }

    /// All that logic may have missed.
    pub(super) fn take(&mut self) -> Vec<SignOut> {
        self.sign_outs.drain(..).map(|(_, sign_out)| sign_out).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::uplink::state, *};

    #[test]
    fn only_the_newest_sign_outs_are_remembered_and_only_for_a_while() {
        let (start, kept) = (Instant::now(), Duration::from_secs(10));
        let mut recent_sign_outs = RecentSignOuts::new(kept);
        let sign_out = |user_id| SignOut { connection_id: 1, user_id, device_id: 1 };
        let batch = |user_id| [LinkItem::Gone(3), state::sign_out(sign_out(user_id))];
        recent_sign_outs.note(&batch(1), start);
        recent_sign_outs.note(&batch(2), start + kept / 2);
        recent_sign_outs.note(&[], start + kept);
        assert_eq!(recent_sign_outs.take(), [sign_out(2)]);
        assert_eq!(recent_sign_outs.take(), []);
        let many: Vec<_> = (0..=SIGN_OUTS_MAX as u64).map(|user_id| state::sign_out(sign_out(user_id))).collect();
        recent_sign_outs.note(&many, start + kept);
        let left = recent_sign_outs.take();
        assert_eq!((left.len(), left[0].user_id), (SIGN_OUTS_MAX, 1));
    }
}
