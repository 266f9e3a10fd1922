//! Results worth keeping: `DIR/<date>-<kind of host>/<name>.json`, with the exact command beside all that is printed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::{host, result::Outcome};

/// Where a script that starts servers and a run says how it was called itself.
const SCRIPT: &str = "GIM_BENCH_SCRIPT";

/// Folders below each other that are looked into.
const DEPTH_MAX: u32 = 4;

/// Results of one name in one folder.
const SAME_NAME_MAX: u32 = 1000;

/// A kept result.
#[derive(Debug, Clone)]
pub struct KeptResult {
    /// The name of its file, without the ending.
    pub name: String,
    /// As it was printed.
    pub json: Value,
}

impl KeptResult {
    /// Whether everything was done and came out as expected. What did not is shown, and never beside those that did.
    pub fn passed(&self) -> bool {
        self.json["passed"] == true
    }
}

/// Writes an outcome to a file of its own.
pub fn write(outcome: &Outcome, folder: &Path, name: Option<&str>) -> anyhow::Result<()> {
    let name = name.unwrap_or(outcome.scenario);
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    ensure!(name.chars().all(is_plain) && !name.starts_with('.'), "--name {name}: letters, digits, - and _ only");
    let date = date(SystemTime::now());
    let folder = folder.join(format!("{date}-{}", host::class()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut json = outcome.to_json();
    json["date"] = date.into();
    json["command"] = command(env::args()).into();
    json["script"] = env::var(SCRIPT).ok().into();
    json["labels"] = outcome.labels();
    let text = serde_json::to_string_pretty(&json)?;
    let path = free(&folder, name)?;
    fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// All in a folder and in those below it, by their names; at least one.
pub fn read(folder: &Path) -> anyhow::Result<Vec<KeptResult>> {
    let mut results = Vec::new();
    read_folder(folder, DEPTH_MAX, &mut results)?;
    ensure!(!results.is_empty(), "{} has no results: runs keep them there with --keep", folder.display());
    results.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(results)
}

fn read_folder(folder: &Path, depth: u32, results: &mut Vec<KeptResult>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && depth > 0 {
            read_folder(&path, depth - 1, results)?;
        } else if path.extension().is_some_and(|ending| ending == "json") {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            // Other files of this ending are none of ours.
            let Ok(json) = serde_json::from_str::<Value>(&text) else { continue };
            if json["scenario"].is_string() && json["host"].is_object() {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                results.push(KeptResult { name, json });
            }
        }
    }
    Ok(())
}

fn free(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let paths = (1..SAME_NAME_MAX).map(|number| match number {
        1 => folder.join(format!("{name}.json")),
        _ => folder.join(format!("{name}-{number}.json")),
    });
    let mut free = paths.filter(|path| !path.exists());
    free.next().with_context(|| format!("{} has too many results of the name {name}", folder.display()))
}

/// As it was typed, but for where the program is.
fn command(mut arguments: impl Iterator<Item = String>) -> String {
    let program = arguments.next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut is_secret = false;
    let quoted = |argument: String| {
        if std::mem::replace(&mut is_secret, argument == "--internal-token")
            || argument.starts_with("--internal-token=")
        {
            return "'***'".to_owned();
        }
        let is_plain = argument.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./:,=@".contains(letter));
        if is_plain && !argument.is_empty() { argument } else { format!("'{}'", argument.replace('\'', r"'\''")) }
    };
    std::iter::once(program).chain(arguments.map(quoted)).collect::<Vec<_>>().join(" ")
}

/// The day, as 2026-01-31, in UTC. (The days of a year begin in March here, so that a leap day is the last.)
fn date(time: SystemTime) -> String {
    let days = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400) + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_have_their_dates() {
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        let dates = [0, 951_782_399, 951_782_400, 1_798_761_600].map(at);
        assert_eq!(dates, ["1970-01-01", "2000-02-28", "2000-02-29", "2027-01-01"]);
    }

    #[test]
    fn a_command_can_be_typed_again() {
        let arguments = [
            "/some/where/gim-bench",
            "idle",
            "--tcp",
            "127.0.0.1:8002",
            "--code",
            "it's",
            "--internal-token",
            "secret",
        ];
        let typed = command(arguments.into_iter().map(str::to_owned));
        assert_eq!(typed, r"gim-bench idle --tcp 127.0.0.1:8002 --code 'it'\''s' --internal-token '***'");
    }

    #[test]
    fn a_second_result_of_a_name_has_its_own_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free(folder.path(), "idle").unwrap().ends_with("idle.json"));
        fs::write(folder.path().join("idle.json"), "").unwrap();
        assert!(free(folder.path(), "idle").unwrap().ends_with("idle-2.json"));
    }
}
