//! The page around the plots: what was asked, on which machine, with which command, and what came out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Scenarios,
    chart::{escape, human},
    plots, question,
};
use crate::kept::KeptResult;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2330; --dim: #667085; --rule: #e4e7ec; --page: #fff; --card: #f8f9fb; --bar: #3366cc;
  --c0: #3366cc; --c1: #d9480f; --c2: #2b8a3e; --c3: #862e9c; --c4: #b08900; --c5: #0b7285; --c6: #c2255c; --c7: #5c5f66; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ee; --dim: #98a2b3; --rule: #343a46; --page: #14171d; --card: #1b1f27;
  --bar: #7aa2ff; --c0: #7aa2ff; --c1: #ff9466; --c2: #69db7c; --c3: #da77f2; --c4: #ffd43b; --c5: #3bc9db; --c6: #faa2c1; --c7: #adb5bd; } }
* { box-sizing: border-box } body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif }
main { max-width: 920px; margin: 0 auto; padding: 32px 20px 80px } h1 { font-size: 28px; margin: 0 0 4px }
h2 { font-size: 21px; margin: 56px 0 2px; padding-top: 20px; border-top: 1px solid var(--rule) }
.dim, figcaption { color: var(--dim) } p { margin: 4px 0 12px } a { color: var(--c0) }
table { border-collapse: collapse; width: 100%; margin: 12px 0; font-size: 15px } .wide { overflow-x: auto }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap } th { font-weight: 600 }
pre { background: var(--card); border: 1px solid var(--rule); border-radius: 6px; padding: 9px 12px; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; margin: 8px 0 }
figure { margin: 22px 0; background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 14px 16px }
figcaption { font-size: 14px; margin-bottom: 8px } svg { width: 100%; height: auto; display: block }
svg text { fill: var(--dim); font: 12px system-ui, sans-serif } .grid { stroke: var(--rule); stroke-width: 1 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round } .bar { fill: var(--bar) } .limit { stroke: var(--c1); stroke-dasharray: 5 4 }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 8px 0 0; padding: 0; font-size: 13px }
.legend:empty { display: none } .legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px; vertical-align: -1px }
.bad { color: var(--c1) } nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 14px 0 }
.c0 { stroke: var(--c0) } .c1 { stroke: var(--c1) } .c2 { stroke: var(--c2) } .c3 { stroke: var(--c3) } .c4 { stroke: var(--c4) }
.c5 { stroke: var(--c5) } .c6 { stroke: var(--c6) } .c7 { stroke: var(--c7) } .b0 { background: var(--c0) } .b1 { background: var(--c1) }
.b2 { background: var(--c2) } .b3 { background: var(--c3) } .b4 { background: var(--c4) } .b5 { background: var(--c5) }
.b6 { background: var(--c6) } .b7 { background: var(--c7) }
";

/// The whole page.
pub fn page(scenarios: &Scenarios) -> String {
    let all: Vec<&KeptResult> = scenarios.values().flatten().collect();
    let passed: Vec<&KeptResult> = all.iter().copied().filter(|result| result.passed()).collect();
    let links: String =
        scenarios.keys().map(|name| format!("<a href=\"#{0}\">{0}</a>", escape(name))).collect::<Vec<_>>().join("");
    let sections: String = scenarios.iter().map(|(name, results)| section(name, results)).collect();
    format!(
        "<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width, initial-scale=1\">\n\
         <title>gim-bench: results</title><style>{STYLE}</style>\n<main><h1>gim-bench: results</h1>\n{}\
         <nav>{links}</nav>{}{}{sections}</main></html>\n",
        origin(&all),
        plots::ratios(&passed),
        plots::memory_per_connection(&passed),
    )
}

/// On which machines, and of which commits.
fn origin(results: &[&KeptResult]) -> String {
    let set =
        |tell: &dyn Fn(&Value) -> String| results.iter().map(|result| tell(&result.json)).collect::<BTreeSet<_>>();
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let hosts = set(&|json| {
        let host = &json["host"];
        let memory = host["memory_bytes"].as_f64().unwrap_or_default() / f64::from(1 << 30);
        format!("{} cores ({}), {memory:.0} GiB, Linux {}", host["cores"], text(&host["cpu"]), text(&host["kernel"]))
    });
    let commits = set(&|json| text(&json["commit"]));
    let dates = set(&|json| text(&json["date"]));
    let join = |set: BTreeSet<String>| escape(&set.into_iter().collect::<Vec<_>>().join("; "));
    format!("<p class=dim>{}<br>commit {}, {}</p>\n", join(hosts), join(commits), join(dates))
}

fn section(name: &str, results: &[KeptResult]) -> String {
    let mut section = format!("<h2 id=\"{0}\">{0}</h2><p class=dim>{1}</p>\n", escape(name), escape(&question(name)));
    section += &table(results);
    for result in results {
        for command in ["script", "command"].iter().filter_map(|key| result.json[*key].as_str()) {
            section += &format!("<pre>{}</pre>\n", escape(command));
        }
        for (class, key) in [("bad", "error"), ("dim", "warnings")] {
            let said = &result.json[key];
            let sentences = said.as_array().cloned().unwrap_or_else(|| vec![said.clone()]);
            for sentence in sentences.iter().filter_map(Value::as_str) {
                section += &format!("<p class={class}>{}: {}</p>\n", escape(&result.name), escape(sentence));
            }
        }
    }
    section += &plots::latencies(results);
    section + &results.iter().map(plots::timeline).collect::<String>()
}

/// A row per figure, a column per result.
fn table(results: &[KeptResult]) -> String {
    let mut labels: BTreeMap<&str, &str> = BTreeMap::new();
    let mut keys: Vec<&str> = Vec::new();
    for result in results {
        for pair in result.json["labels"].as_array().into_iter().flatten() {
            let (Some(key), Some(label)) = (pair[0].as_str(), pair[1].as_str()) else { continue };
            if labels.insert(key, label).is_none() {
                keys.push(key);
            }
        }
    }
    let name = |result: &KeptResult| {
        let (class, verdict) = if result.passed() { ("n", "") } else { ("\"n bad\"", ": FAILED") };
        format!("<th class={class}>{}{verdict}</th>", escape(&result.name))
    };
    let head: String = results.iter().map(name).collect();
    let row = |key: &&str| {
        let cell = |result: &KeptResult| match result.json[*key].as_f64() {
            Some(value) => format!("<td class=n>{}</td>", human(value)),
            None => "<td class=n>–</td>".to_owned(),
        };
        let cells: String = results.iter().map(cell).collect();
        let label = labels.get(key).copied().unwrap_or(key);
        format!("<tr><td>{}<br><code class=dim>{key}</code></td>{cells}</tr>", escape(label))
    };
    let rows: String = keys.iter().map(row).collect();
    format!("<div class=wide><table><tr><th></th>{head}</tr>{rows}</table></div>\n")
}
