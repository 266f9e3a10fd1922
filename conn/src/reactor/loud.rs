//! Log lines about ends that an operator should see. Peers can cause them, so they are told evenly and only so often; a line says
//! how many before it were left out. The metric counts every end.

use gim_proto::close::CloseRule;

use super::pace::Pace;

/// Such lines per second of one reactor.
const LINES_PER_S_MAX: u64 = 20;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct LoudLines {
    pace: Pace,
    left_out: u64,
}

impl LoudLines {
    pub(super) fn new() -> Self {
        Self { pace: Pace::new(LINES_PER_S_MAX), left_out: 0 }
    }

    /// Whether an end is to be told loudly; with it, how many were not since the last that was.
    pub(super) fn grant(&mut self, rule: CloseRule, now_ms: u64) -> Option<u64> {
        if !rule.is_notable {
            return None;
        }
        if self.pace.allowed(now_ms) == 0 {
            self.left_out += 1;
            return None;
        }
        self.pace.spend(1);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use gim_proto::CloseReason;

    use super::*;

    #[test]
    fn a_flood_of_ends_becomes_a_few_lines_that_tell_how_many_there_were() {
        let mut lines = LoudLines::new();
        let (mut told, mut left_out) = (0, 0);
        for now_ms in 1_000..11_000 {
            assert_eq!(lines.grant(CloseReason::CrKicked.rule(), now_ms), None, "nobody has to see that");
            if let Some(more) = lines.grant(CloseReason::CrRateLimited.rule(), now_ms) {
                told += 1;
                left_out += more;
            }
        }
        assert!((199..=201).contains(&told), "{told}");
        assert_eq!(told + left_out + lines.left_out, 10_000);
    }
}
