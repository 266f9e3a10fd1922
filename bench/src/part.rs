//! One run in many processes: the file limit of a process, and its one thread of clients, bound what it can hold and do.
//!
//! The leading process starts itself again, once per part, with the same arguments and the number of the part; each part
//! does its share of the scenario and counts ([`crate::counts`]). A part speaks in lines of JSON on its standard output:
//! how far it is, at which point of the scenario it waits for the others, and at the end what it counted. A line on its
//! standard input lets it go on; when that ends, so does the part, and none outlives its run. Here is what everything below
//! [`crate::load`] knows of that; plain data, on any thread.

use std::{fmt, io, io::Write as _, str::FromStr};

use serde_json::Value;

/// Which part of a run this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// From 0 on.
    pub number: usize,
    /// How many there are.
    pub of: usize,
}

impl Part {
    /// The one process of a run that has no others.
    pub const WHOLE: Self = Self { number: 0, of: 1 };

    /// How much of a whole is this part's.
    pub fn share(self, whole: usize) -> usize {
        self.begin(whole, self.number + 1) - self.begin(whole, self.number)
    }

    fn begin(self, whole: usize, number: usize) -> usize {
        whole * number / self.of
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Part {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const NO_PART: &str = "a part is NUMBER/OF";
        let (number, of) = text.split_once('/').ok_or(NO_PART)?;
        let part = Self { number: number.parse().or(Err(NO_PART))?, of: of.parse().or(Err(NO_PART))? };
        if part.number < part.of { Ok(part) } else { Err(NO_PART) }
    }
}

/// Tells the leading process something.
pub fn say(line: &Value) {
    let mut output = io::stdout().lock();
    // A leader that is gone is noticed at standard input.
    let _leader_is_gone = writeln!(output, "{line}").and_then(|()| output.flush()).is_err();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_parts_are_the_whole() {
        for whole in [0, 1, 7, 52, 1_000_000] {
            let parts = (0..7).map(|number| Part { number, of: 7 }.share(whole));
            let (least, most) = (parts.clone().min().unwrap(), parts.clone().max().unwrap());
            assert_eq!(parts.sum::<usize>(), whole);
            assert!(most - least <= 1);
        }
        assert_eq!("3/7".parse(), Ok(Part { number: 3, of: 7 }));
        assert!(["7/7", "x/2", "3"].iter().all(|text| text.parse::<Part>().is_err()));
    }
}
