//! What the pages of the repository promise: their links resolve, the files and settings that they name are there, every metric
//! stands in the tables of OPERATIONS.md, and the README stays short.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use gim_config::settings_shown::is_secret;

/// Lines that the README may have.
const README_LINES_MAX: usize = 200;

/// Pages whose words are held against the repository.
const PAGES: [&str; 6] = [
    "README.md",
    "SECURITY.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "config/OPERATIONS.md",
    "config/deploy/README.md",
];

/// Folders at the top: text in backticks that begins with one of them names a file or a folder.
const FOLDERS: [&str; 7] = ["bench/", "business/", "config/", "conn/", "logic/", "proto/", "scripts/"];

/// Where metrics are used; each of these folders has a `metrics.rs` that names them.
const METRIC_SOURCES: [&str; 4] = ["conn/src", "logic/src", "business/src", "config/src"];

/// What the name of a metric begins with.
const METRIC_PREFIXES: [&str; 11] = [
    "conn_",
    "logic_",
    "business_",
    "grpc_",
    "http_",
    "log_",
    "database_",
    "gim_build_",
    "gim_reloads_",
    "gim_trace_",
    "process_",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// All files below a folder whose names end so, but for what is built.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let is_built = name.starts_with('.') || name == "target" || name == "node_modules" || name == "data";
            if !is_built {
                found.extend(files(&path, ending));
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// A page without its fenced blocks.
fn prose(page: &str) -> String {
    let mut is_fenced = false;
    let lines = page.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        !is_fenced && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The texts in backticks.
fn code_spans(page: &str) -> Vec<String> {
    prose(page).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The targets of `[text](target)`.
fn links(page: &str) -> Vec<String> {
    let prose = prose(page);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// What a link may name after the `#`: the headings, as GitHub writes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |letter: &char| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter);
    headings.map(|text| text.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn the_readme_stays_short() {
    let count = read("README.md").lines().count();
    assert!(count < README_LINES_MAX, "README.md has {count} lines; {README_LINES_MAX} are too many");
}

#[test]
fn links_between_pages_resolve() {
    for page in files(&root(), ".md") {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: the link {link} leads nowhere", page.display());
            if !anchor.is_empty() {
                let found = anchors(&fs::read_to_string(&target).unwrap());
                assert!(found.contains(anchor), "{}: the link {link} names no heading", page.display());
            }
        }
    }
}

#[test]
fn files_that_the_pages_name_are_there() {
    for page in PAGES {
        for span in code_spans(&read(page)) {
            let path = span.split_whitespace().next().unwrap_or_default();
            if FOLDERS.iter().any(|folder| path.starts_with(folder)) || path.ends_with(".rs") {
                assert!(root().join(path).exists(), "{page} names `{span}`, which is not there");
            }
        }
    }
}

#[test]
fn settings_that_the_pages_name_are_there() {
    let files = ["conn", "logic", "business"].map(|service| read(&format!("config/{service}.toml")));
    let tables: Vec<toml::Table> = files.iter().map(|text| text.parse().unwrap()).collect();
    let section = |name: &str| tables.iter().filter_map(|table| table.get(name)?.as_table()).collect::<Vec<_>>();
    for page in PAGES {
        for span in code_spans(&read(page)) {
            // As in `limits.connections_max`.
            let Some((name, key)) = span.split_once('.') else { continue };
            let sections = section(name);
            let is_file = ["db", "lock", "rs", "toml"].contains(&key);
            if !is_file && !sections.is_empty() && key.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()) {
                assert!(
                    sections.iter().any(|table| table.contains_key(key)),
                    "{page} names `{span}`, which is no setting"
                );
            }
        }
        // As in `[limits] connections_max`.
        for span in code_spans(&read(page)) {
            let Some((name, key)) = span.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else { continue };
            let is_there = section(name).iter().any(|table| table.contains_key(key));
            assert!(is_there, "{page} names `{span}`, which is no setting");
        }
    }
}

#[test]
fn what_may_stand_in_a_file_of_its_own_is_never_shown() {
    let mut secrets = 0;
    for service in ["conn", "logic", "business"] {
        let settings: toml::Table = read(&format!("config/{service}.toml")).parse().unwrap();
        for table in settings.values().filter_map(toml::Value::as_table) {
            let is_kept_apart = |key: &&String| table.contains_key(&format!("{key}_file"));
            // Of URLs the password alone is hidden.
            for key in table.keys().filter(is_kept_apart).filter(|key| key.as_str() != "url") {
                assert!(is_secret(key), "{service}: gim-ctl config show would show {key}");
                secrets += 1;
            }
        }
    }
    assert!(secrets >= 10, "only {secrets} secrets were found");
}

/// The texts in quotes of a source that are names of metrics.
fn metric_names(source: &str) -> BTreeSet<String> {
    let is_name = |text: &&str| {
        METRIC_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
            && text.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase())
    };
    source.split('"').skip(1).step_by(2).filter(is_name).map(str::to_owned).collect()
}

/// Every metric with its kind and labels, as in `Counter ROWS = "logic_rows_total" of app;`, which has the help text above it.
fn metrics_of_the_code() -> BTreeMap<String, (String, String)> {
    let mut metrics = BTreeMap::new();
    for folder in METRIC_SOURCES {
        let text = read(&format!("{folder}/metrics.rs"));
        for kind in ["Counter", "Gauge", "Histogram"] {
            for (at, _) in text.match_indices(&format!("\n    {kind} ")) {
                let declared = text[at..].split_once(';').unwrap().0;
                let (name, labels) = declared.split_once('"').unwrap().1.split_once('"').unwrap();
                let has_help = text[..at].lines().last().is_some_and(|line| line.trim().starts_with("///"));
                assert!(has_help, "{name} has no help text");
                // As in ` by bound ["all", "user"]` and in ` of app, logic`.
                let labels = labels.split('[').next().unwrap().trim();
                let labels = labels.trim_start_matches("by ").trim_start_matches("of ").to_owned();
                metrics.insert(name.to_owned(), (kind.to_lowercase(), labels));
            }
        }
        assert_eq!(metric_names(&text).iter().find(|name| !metrics.contains_key(*name)), None, "named beside the list");
    }
    assert!(metrics.len() > 80, "the search finds metrics: {metrics:?}");
    metrics
}

#[test]
fn every_metric_stands_in_the_table_of_operations() {
    let in_code = metrics_of_the_code();
    let page = read("config/OPERATIONS.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows = rows.filter(|(name, _)| metric_names(&format!("\"{name}\"")).contains(*name));
    let in_table: BTreeMap<String, (String, String)> = rows
        .map(|(name, rest)| {
            let (kind, rest) = rest.split_once(" |").unwrap();
            let labels = rest.split_once('|').unwrap().0.trim();
            (name.to_owned(), (kind.to_owned(), labels.to_owned()))
        })
        .collect();
    let missing: Vec<_> = in_code.iter().filter(|(name, _)| !in_table.contains_key(*name)).collect();
    assert!(missing.is_empty(), "in the code, and not in the tables of config/OPERATIONS.md: {missing:?}");
    for (name, described) in &in_table {
        let kind = &described.0;
        assert_eq!(
            in_code.get(name),
            Some(described),
            "{name} of the tables of config/OPERATIONS.md is not so in the code"
        );
        assert_eq!(name.ends_with("_total"), kind == "counter", "the name of {name} is not that of a {kind}");
    }
}

/// The names of metrics in an expression of Prometheus; those of a histogram without what its parts are called.
fn metrics_in(expression: &str, in_code: &BTreeMap<String, (String, String)>) -> BTreeSet<String> {
    let is_part = |letter: char| letter == '_' || letter.is_ascii_alphanumeric();
    let words = expression.split(|letter: char| !is_part(letter));
    let words = words.filter(|word| METRIC_PREFIXES.iter().any(|prefix| word.starts_with(prefix)));
    let whole = |word: &str| {
        let stems = ["_bucket", "_sum", "_count"].iter().filter_map(|part| word.strip_suffix(part));
        let histogram = stems.into_iter().find(|stem| in_code.get(*stem).is_some_and(|(kind, _)| kind == "histogram"));
        histogram.unwrap_or(word).to_owned()
    };
    words.map(whole).collect()
}

/// Those of the dashboards and of the alerts.
fn expressions() -> Vec<String> {
    let mut expressions = Vec::new();
    for dashboard in files(&root().join("config/deploy/grafana/dashboards"), ".json") {
        let text: serde_json::Value = serde_json::from_str(&fs::read_to_string(dashboard).unwrap()).unwrap();
        let targets = text["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
        expressions.extend(targets.map(|target| target["expr"].as_str().unwrap().to_owned()));
    }
    assert!(expressions.len() > 40, "the dashboards have queries: {expressions:?}");
    expressions.extend(alerts().into_values());
    expressions
}

#[test]
fn dashboards_and_alerts_name_metrics_that_are_there() {
    let in_code = metrics_of_the_code();
    for expression in expressions() {
        for name in metrics_in(&expression, &in_code) {
            assert!(in_code.contains_key(&name), "{name} is no metric: {expression}");
        }
    }
}

/// Labels that Prometheus gives to whatever it scrapes, and the one of a histogram's parts.
const LABELS_OF_ALL: [&str; 4] = ["job", "instance", "namespace", "le"];

#[test]
fn dashboards_and_alerts_name_labels_and_values_that_there_are() {
    let in_code = metrics_of_the_code();
    let reasons = read("proto/src/close.rs");
    let known: BTreeMap<(String, String), String> =
        METRIC_SOURCES.iter().flat_map(|folder| known_values(folder)).collect();
    let mut judged = 0;
    for expression in expressions() {
        let metrics = metrics_in(&expression, &in_code);
        let labels: BTreeSet<&str> = metrics.iter().flat_map(|name| in_code[name].1.split(", ")).collect();
        let is_label = |label: &str| LABELS_OF_ALL.contains(&label) || labels.contains(label);
        for group in [" by (", "ignoring (", "on ("].iter().flat_map(|word| expression.split(word).skip(1)) {
            let mut named = group.split(')').next().unwrap().split(", ");
            assert!(named.all(is_label), "a label of no metric in it: {expression}");
        }
        for (metric, matcher) in matchers_in(&expression) {
            let (label, values) = matcher.split_once(['=', '!']).unwrap();
            let of_metric = in_code.get(metric).map(|(_, labels)| labels.split(", ").collect::<Vec<_>>());
            let has_it = of_metric.is_none_or(|labels| labels.contains(&label)) || LABELS_OF_ALL.contains(&label);
            assert!(has_it, "{metric} has no label {label}: {expression}");
            for value in values.trim_start_matches(['=', '~']).trim_matches('"').split('|') {
                let list = known.get(&(metric.to_owned(), label.to_owned()));
                let is_one = match label {
                    "reason" => reasons.contains(&format!("rule(\"{value}\"")),
                    _ => list.is_none_or(|list| list.contains(&format!("\"{value}\""))),
                };
                assert!(is_one, "{label} of {metric} is never {value}: {expression}");
                judged += usize::from(label == "reason" || list.is_some());
            }
        }
    }
    assert!(judged > 5, "only {judged} values were held against the code");
}

/// The values that a label may have, as text, where the code lists them.
fn known_values(folder: &str) -> Vec<((String, String), String)> {
    let text = read(&format!("{folder}/metrics.rs"));
    let declared = text.split(';').filter_map(|one| one.rsplit_once(" = \"")?.1.split_once("\" by "));
    let lists = declared.filter_map(|(name, labels)| Some((name, labels.split_once(" [")?)));
    lists.map(|(name, (label, values))| ((name.to_owned(), label.to_owned()), values.to_owned())).collect()
}

/// Each `label="value"` with the metric in whose braces it stands.
fn matchers_in(expression: &str) -> Vec<(&str, &str)> {
    let is_part = |letter: char| letter == '_' || letter.is_ascii_alphanumeric();
    let mut found = Vec::new();
    for (at, _) in expression.match_indices('{') {
        let begin = expression[..at].rfind(|letter| !is_part(letter)).map_or(0, |before| before + 1);
        let within = expression[at + 1..].split('}').next().unwrap();
        found.extend(within.split(", ").map(|matcher| (&expression[begin..at], matcher)));
    }
    found
}

#[test]
fn each_alert_fires_in_a_test_and_is_silent_in_it_before() {
    let tests = read("config/deploy/prometheus/alerts_test.yml");
    for alert in alerts().into_keys() {
        let fires = format!("\n        alertname: {alert}\n        exp_alerts:\n          - exp_labels: ");
        let is_silent = format!(", alertname: {alert}, exp_alerts: [] }}");
        assert!(tests.contains(&fires) && tests.contains(&is_silent), "alerts_test.yml does not try {alert}");
    }
}

/// Whoever builds a package in one of these ways gets the same programs.
#[test]
fn programs_are_given_away_with_the_same_features_everywhere() {
    let release = read("scripts/release");
    let features = release.lines().find_map(|line| line.strip_prefix("readonly FEATURES=")).unwrap();
    for page in ["config/deploy/Dockerfile", "config/deploy/README.md"] {
        assert!(
            read(page).contains(&format!("--features {features}")),
            "{page} builds other features than scripts/release"
        );
    }
}

/// The alert rules by name, with their expressions.
fn alerts() -> BTreeMap<String, String> {
    let text = read("config/deploy/prometheus/alerts.yml");
    let value = |line: &str, key: &str| line.trim().strip_prefix(key).map(|rest| rest.trim().to_owned());
    let names = text.lines().filter_map(|line| value(line, "- alert:"));
    names.zip(text.lines().filter_map(|line| value(line, "expr:"))).collect()
}

#[test]
fn the_alerts_are_those_of_the_tables_of_operations() {
    let page = read("config/OPERATIONS.md");
    let section = page.split_once("\n## What to alert on").unwrap().1.split_once("\n## ").unwrap().0;
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | `"));
    let rows = rows.map(|(name, rest)| (name.to_owned(), rest.rsplit_once("` | ").unwrap().0.to_owned()));
    assert_eq!(rows.collect::<BTreeMap<_, _>>(), alerts());
}

#[test]
fn metrics_are_named_in_one_place() {
    for source in METRIC_SOURCES.iter().flat_map(|folder| files(&root().join(folder), ".rs")) {
        let text = fs::read_to_string(&source).unwrap();
        for used in ["counter!(\"", "gauge!(\"", "histogram!(\""] {
            let is_a_test = text.find("#[cfg(test)]").is_some_and(|tests| text.find(used).is_some_and(|at| at > tests));
            assert!(!text.contains(used) || is_a_test, "{} names a metric by itself", source.display());
        }
    }
}

#[test]
fn the_bounds_that_the_table_names_are_settings_and_metrics() {
    let page = read("ARCHITECTURE.md");
    let table = page.split_once("\n## Bounds").unwrap().1.split_once("\n## ").unwrap().0;
    let operations = read("config/OPERATIONS.md");
    let settings: toml::Table = read("config/logic.toml").parse().unwrap();
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| what |");
    let rows: Vec<&str> = table.lines().filter(is_row).collect();
    assert!(rows.len() >= 10, "the table has rows: {rows:?}");
    for row in &rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 7, "a row has seven cells: {row}");
        let metrics = code_spans(cells[6]);
        assert!(!metrics.is_empty(), "no metric is named: {row}");
        for metric in metrics {
            assert!(operations.contains(&format!("| `{metric}` | ")), "{metric} is no metric");
        }
    }
    let named: BTreeSet<String> = code_spans(&rows.join("\n")).into_iter().collect();
    // Whatever bounds clients, and what waits between conn and logic, stands in the table.
    let conn: toml::Table = read("config/conn.toml").parse().unwrap();
    for (settings, section) in
        [(&conn, "limits"), (&conn, "session"), (&conn, "link"), (&settings, "link"), (&settings, "room")]
    {
        for key in settings[section].as_table().unwrap().keys() {
            let is_bound = key.ends_with("_max") || key.ends_with("_bytes");
            assert!(!is_bound || named.contains(&format!("{section}.{key}")), "{section}.{key} is missing");
        }
    }
    // Whatever bounds strangers stands in the table.
    for key in settings["grpc"].as_table().unwrap().keys() {
        let is_bound = key.ends_with("_max") || key.starts_with("resets_") || key.ends_with("_timeout_ms");
        assert!(
            !is_bound || key.starts_with("keep_alive") || named.contains(&format!("grpc.{key}")),
            "grpc.{key} is missing"
        );
    }
    // And whatever bounds what waits for the writer and the readers.
    for key in settings["inbox"].as_table().unwrap().keys().filter(|key| key.ends_with("_max")) {
        assert!(named.contains(&format!("inbox.{key}")), "inbox.{key} is missing");
    }
    assert!(named.contains("database.reads_per_user_max"));
}
