//! The same results in short, as a table for a README: each figure beside the command that prints it.

use super::{Scenarios, chart::human, question};
use crate::kept::KeptResult;

/// Figures that stand for a result, in this order: ratios to a baseline of the same run before times of this one machine.
const HEADLINES: [(&str, &str); 19] = [
    ("connections", "connections"),
    ("server_rss_bytes_per_connection", "bytes per connection in conn"),
    ("kernel_bytes_per_connection", "bytes per connection in the kernel"),
    ("ratio", "× the bare baseline"),
    ("second_to_first", "× as much"),
    ("chance", "× by chance"),
    ("p99_ratio", "× its 99th percentile"),
    ("sign_ins_per_second", "sign-ins/s"),
    ("server_cpu_cores", "cores"),
    ("p99_ms_without", "ms (99 %) while all read"),
    ("p99_ms_with", "ms (99 %) while some do not"),
    ("with_to_without", "× as long"),
    ("inbox_rows_per_second", "durable rows/s"),
    ("messages_per_second", "messages/s"),
    ("deliveries_per_second", "deliveries/s"),
    ("p99_ms", "ms (99 %)"),
    ("lost", "lost"),
    ("duplicates", "twice"),
    ("reordered", "out of order"),
];

/// The whole table.
pub fn table(scenarios: &Scenarios) -> String {
    let rows: String =
        scenarios.iter().flat_map(|(name, results)| results.iter().map(move |result| row(name, result))).collect();
    format!("| question | answer | command |\n|---|---|---|\n{rows}")
}

fn row(name: &str, result: &KeptResult) -> String {
    // What is offered at a fixed rate is no measure of what fits.
    let is_bounded = result.json["config"]["rate"].is_number();
    let heads = HEADLINES.iter().filter(|(key, _)| !(is_bounded && *key == "ratio"));
    let figure = |(key, words): &(&str, &str)| Some(format!("{} {words}", human(result.json[*key].as_f64()?)));
    let figures: Vec<_> = heads.filter_map(figure).collect();
    let answer = match result.json["error"].as_str() {
        None if result.passed() => figures.join(", "),
        why => format!("FAILED: {}", why.unwrap_or("not everything came out as expected")).replace('|', "\\|"),
    };
    let typed = || shortened(result.json["command"].as_str().unwrap_or_default());
    let command = result.json["script"].as_str().map_or_else(typed, str::to_owned).replace('|', "\\|");
    format!("| {} | {answer} | `{command}` |\n", question(name))
}

/// A command without what says where the server is and where the result goes; the kept result has all of it.
fn shortened(command: &str) -> String {
    const LEFT_OUT: [&str; 7] = ["--keep", "--name", "--port-offset", "--logic", "--business", "--tcp", "--ws"];
    let mut words = command.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if LEFT_OUT.contains(&word) {
            words.next();
        } else if word != "--json" {
            kept.push(word);
        }
    }
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_anybody_can_type_is_kept() {
        let command = "gim-bench --json --keep bench/runs --name room-burst room --port-offset 1234 --burst 32";
        assert_eq!(shortened(command), "gim-bench room --burst 32");
    }
}
