//! The file with the users whom a message goes to. Pure.
//!
//! Always holds: nobody is in the list twice, and a file with one bad line is refused as a whole.

use std::collections::HashSet;

/// Bad lines that are named; of more it is only said how many.
const NAMED_MAX: usize = 10;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ListError {
    /// Lines that are no user ids.
    #[error("{count} lines hold no user id: {}", .named.join(", "))]
    BadLines {
        /// Of these lines.
        count: usize,
        /// The first ones.
        named: Vec<String>,
    },
    /// There is nobody in it.
    #[error("there is no user id in it")]
    Empty,
}

/// The users in a text with one id in each line, in their order. Empty lines, and what follows a `#`, say nothing.
pub fn parse(text: &str) -> Result<Vec<u64>, ListError> {
    let (mut users, mut seen, mut bad) = (Vec::new(), HashSet::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let said = line.split_once('#').map_or(line, |(said, _)| said).trim();
        if said.is_empty() {
            continue;
        }
        match said.parse().ok().filter(|user_id| gim_proto::check::id("user", *user_id).is_ok()) {
            Some(user_id) if seen.insert(user_id) => users.push(user_id),
            Some(_) => {}
            None => bad.push(format!("line {} (`{}`)", index + 1, said.escape_debug())),
        }
    }
    if !bad.is_empty() {
        let count = bad.len();
        bad.truncate(NAMED_MAX);
        return Err(ListError::BadLines { count, named: bad });
    }
    if users.is_empty() { Err(ListError::Empty) } else { Ok(users) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_is_in_the_list_once_and_bad_lines_are_named() {
        assert_eq!(parse("7\n\n 8 # Zoë\r\n7\n# nobody\n9").unwrap(), [7, 8, 9]);
        assert_eq!(parse("# nobody\n"), Err(ListError::Empty));
        let refused = parse("7\nseven\n-1\n0\n8").unwrap_err().to_string();
        assert_eq!(refused, "3 lines hold no user id: line 2 (`seven`), line 3 (`-1`), line 4 (`0`)");
        let many = parse(&"x\n".repeat(50)).unwrap_err().to_string();
        assert!(many.starts_with("50 lines hold no user id: line 1 (`x`)") && !many.contains("line 11"), "{many}");
    }
}
