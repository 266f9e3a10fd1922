//! The users of a deployment in which nobody signs in with a code: who they are stands in a file.

use std::{fs, path::Path};

use anyhow::{Context as _, bail, ensure};
use gim_proto::business::SignInReply;

use super::Identities;

const LINES: usize = 5;

/// Reads it.
pub fn read(file: &Path) -> anyhow::Result<Identities> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    identities(&text).with_context(|| format!("--tokens {}", file.display()))
}

fn identities(text: &str) -> anyhow::Result<Identities> {
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty() && !line.starts_with('#'));
    let all = lines.map(|(line, number)| identity(line).with_context(|| format!("line {number}")));
    let all: Vec<SignInReply> = all.collect::<Result<_, _>>()?;
    let Ok([phone, laptop, tablet, bob, bob_tablet]) = <[SignInReply; LINES]>::try_from(all) else {
        bail!("there have to be {LINES} lines: three devices of one user, and two of another");
    };
    let (of_ada, of_bob) = ([phone, laptop, tablet], [bob, bob_tablet]);
    let is_one = |devices: &[SignInReply]| devices.iter().all(|device| device.user_id == devices[0].user_id);
    ensure!(
        is_one(&of_ada) && is_one(&of_bob) && of_ada[0].user_id != of_bob[0].user_id,
        "the first three lines have to be of one user, and the other two of another"
    );
    Ok(Identities { of_ada, of_bob })
}

fn identity(line: &str) -> anyhow::Result<SignInReply> {
    let [user_id, device_id, token] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        bail!("it is not `USER DEVICE TOKEN`");
    };
    let (user_id, device_id) = (user_id.parse().context("the user id")?, device_id.parse().context("the device id")?);
    Ok(SignInReply { user_id, device_id, token: token.to_owned(), ..SignInReply::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_lines_are_the_devices_of_two_users() {
        let Identities { of_ada, of_bob } = identities("# two users\n7 1 a\n7 2 b\n\n7 3 c\n8 4 d\n8 5 e\n").unwrap();
        let told = |devices: &[SignInReply]| {
            devices.iter().map(|one| (one.user_id, one.device_id, one.token.clone())).collect::<Vec<_>>()
        };
        assert_eq!(told(&of_ada), [(7, 1, "a".into()), (7, 2, "b".into()), (7, 3, "c".into())]);
        assert_eq!(told(&of_bob), [(8, 4, "d".into()), (8, 5, "e".into())]);
    }

    #[test]
    fn other_lines_are_refused_in_a_sentence() {
        let refused = |text: &str| format!("{:#}", identities(text).err().expect("refused"));
        assert!(refused("7 1 a\n").starts_with("there have to be 5 lines"));
        assert_eq!(refused("7 1 a\n7 2\n"), "line 2: it is not `USER DEVICE TOKEN`");
        assert!(refused("7 1 a\n7 x b\n").starts_with("line 2: the device id: "));
        assert!(refused("7 1 a\n7 2 b\n8 3 c\n8 4 d\n8 5 e\n").starts_with("the first three lines have to be"));
    }
}
