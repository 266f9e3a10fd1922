//! All that is wrong with a settings file, at once: a service ends at the first mistake. For tools that run once.
//!
//! Always holds: a file in which nothing is found is one that the service takes, and the other way round.

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize as _;
use toml::{
    Spanned, Table, Value,
    de::{DeString, DeTable, DeValue, Deserializer, ValueDeserializer},
};

use crate::{
    reload, renamed_keys,
    settings::{self, Settings, SettingsError},
};

/// Names that are less alike are not suggested; 1 is the same name.
const ALIKE_MIN: f64 = 0.6;

/// Something that the service would not start with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where in the file, counted from 1; none where it comes from elsewhere.
    pub line: Option<usize>,
    /// One sentence, which names the key.
    pub text: String,
}

/// What is wrong with the text of a settings file of this service, together with `environment`; in the order of lines.
pub fn problems<S: Settings>(
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Problem>, toml::ser::Error> {
    let defaults = Table::try_from(S::default())?;
    let mut check = Check {
        text,
        table: defaults.clone(),
        defaults,
        given: BTreeMap::new(),
        renamed: Vec::new(),
        broken: Vec::new(),
        found: Vec::new(),
    };
    check.read::<S>();
    check.apply::<S>(environment);
    check.validate::<S>();
    check.listeners();
    check.found.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
    // What follows from a line that is no TOML is no further mistake.
    check.found.dedup_by(|later, first| {
        later.line == first.line && first.line.is_some_and(|line| check.broken.contains(&line))
    });
    Ok(check.found)
}

struct Check<'t> {
    text: &'t str,
    defaults: Table,
    /// What holds: the defaults, and what was given and is well-formed.
    table: Table,
    /// Keys that the file gives, as in `limits.frame_bytes_max`, and where.
    given: BTreeMap<String, usize>,
    /// Where renamed keys stand: what is said of them is enough.
    renamed: Vec<usize>,
    /// Lines that are no TOML.
    broken: Vec<usize>,
    found: Vec<Problem>,
}

impl<'t> Check<'t> {
    fn read<S: Settings>(&mut self) {
        let (document, mistakes) = DeTable::parse_recoverable(self.text);
        for mistake in mistakes {
            let start = mistake.span().map_or(0, |span| span.start);
            self.broken.push(self.line(start));
            self.report(start, settings::one_line(mistake.message()));
        }
        for renamed in renamed_keys::find_in_table(settings::former::<S>(), document.get_ref()) {
            self.renamed.push(renamed.start);
            self.report(renamed.start, renamed.problem);
        }
        let schema = self.defaults.clone();
        self.section::<S>("", &schema, document.get_ref());
    }

    fn section<S: Settings>(&mut self, section: &str, schema: &Table, table: &DeTable<'t>) {
        for (key, value) in table {
            let name = format!("{section}{}", key.get_ref());
            if self.renamed.contains(&key.span().start) {
                continue;
            }
            match (schema.get(key.get_ref().as_ref()), value.get_ref()) {
                (Some(Value::Table(inner)), DeValue::Table(table)) => {
                    self.section::<S>(&format!("{name}."), inner, table);
                }
                (Some(Value::Table(_)), _) => {
                    self.report(key.span().start, format!("`{name}` is a section, as in [{name}], and no setting"));
                }
                (Some(_), _) => self.setting::<S>(&name, key, value),
                (None, DeValue::Table(_)) => {
                    let nearest = nearest(&name, self.sections(section)).map(|nearest| format!("[{nearest}]"));
                    self.report_unknown(key.span().start, &format!("section [{name}]"), nearest);
                }
                (None, _) => {
                    let nearest = nearest(&name, schema.keys().map(|key| format!("{section}{key}")))
                        .or_else(|| self.elsewhere(key.get_ref()))
                        .map(|nearest| format!("`{nearest}`"));
                    self.report_unknown(key.span().start, &format!("setting `{name}`"), nearest);
                }
            }
        }
    }

    fn setting<S: Settings>(&mut self, name: &str, key: &Spanned<DeString<'t>>, value: &Spanned<DeValue<'t>>) {
        let alone = alone(name, key, value);
        let problem = match S::deserialize(Deserializer::from(alone)) {
            Ok(_) => None,
            Err(error) => Some((error.span(), settings::one_line(error.message()))),
        };
        match problem {
            Some((span, problem)) => {
                let is_said = |span: &Range<usize>| self.renamed.iter().any(|start| span.contains(start));
                if !is_said(&value.span()) {
                    self.report(span.map_or(key.span().start, |span| span.start), format!("{name}: {problem}"));
                }
            }
            None => {
                if let Ok(value) = Value::deserialize(ValueDeserializer::from(value.clone())) {
                    put(&mut self.table, name, value);
                    self.given.insert(name.to_owned(), key.span().start);
                }
            }
        }
    }

    /// One variable after the other, as one that is refused hides none that comes later.
    fn apply<S: Settings>(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        for variable in environment {
            let Ok(settings) = self.table.clone().try_into::<S>() else { return };
            match settings::with_environment(settings, [variable]) {
                Ok(settings) => self.table = Table::try_from(settings).unwrap_or_default(),
                Err(error) => self.found.push(Problem { line: None, text: error.to_string() }),
            }
        }
    }

    /// What types cannot say. Only the first such problem is told, so what it is about is set back, and it is looked again.
    fn validate<S: Settings>(&mut self) {
        for _ in 0..=self.given.len() {
            let Some(problem) = problem_of::<S>(&self.table) else { return };
            let about = self.given.iter().rfind(|(key, _)| begins_with_key(&problem, key));
            let about = about.map(|(key, start)| (key.clone(), *start));
            let cause = about.clone().or_else(|| self.cause::<S>(&problem));
            let line = about.or_else(|| cause.clone()).map(|(_, start)| self.line(start));
            self.found.push(Problem { line, text: problem });
            let Some((key, _)) = cause else { return };
            self.set_back(&key);
        }
    }

    /// Of two listeners at one address, the second would find it taken.
    fn listeners(&mut self) {
        let mut keys_at: BTreeMap<String, String> = BTreeMap::new();
        for (key, value) in reload::leaves(&self.table) {
            let Some(address) = value.as_str().filter(|_| key.ends_with("listen")) else { continue };
            // With port 0 each has a port of its own.
            if address.is_empty() || address.ends_with(":0") {
                continue;
            }
            let Some(other) = keys_at.insert(address.to_owned(), key.clone()) else { continue };
            let line = self.given.get(&key).or(self.given.get(&other)).map(|start| self.line(*start));
            self.found.push(Problem { line, text: format!("{key}: `{address}` is the address of {other}, too") });
        }
    }

    /// The given key without which there is no such problem.
    fn cause<S: Settings>(&self, problem: &str) -> Option<(String, usize)> {
        let is_cause = |key: &str| {
            let mut table = self.table.clone();
            let default = get(&self.defaults, key).cloned();
            default.is_some_and(|default| {
                put(&mut table, key, default);
                problem_of::<S>(&table).as_deref() != Some(problem)
            })
        };
        self.given.iter().find(|(key, _)| is_cause(key)).map(|(key, start)| (key.clone(), *start))
    }

    fn set_back(&mut self, key: &str) {
        if let Some(default) = get(&self.defaults, key).cloned() {
            put(&mut self.table, key, default);
        }
        self.given.remove(key);
    }

    /// The names of the sections beside one that is not there.
    fn sections(&self, section: &str) -> impl Iterator<Item = String> {
        let parent =
            section.strip_suffix('.').map_or(Some(&self.defaults), |parent| get(&self.defaults, parent)?.as_table());
        let inner = parent.into_iter().flatten().filter(|(_, value)| value.is_table());
        inner.map(move |(key, _)| format!("{section}{key}"))
    }

    /// The same key in another section, where one alone has it.
    fn elsewhere(&self, key: &str) -> Option<String> {
        let top = self.defaults.contains_key(key).then(|| key.to_owned());
        let sections = self.defaults.iter().filter_map(|(section, value)| Some((section, value.as_table()?)));
        let inner =
            sections.filter(|(_, table)| table.contains_key(key)).map(|(section, _)| format!("{section}.{key}"));
        let mut all = top.into_iter().chain(inner);
        let first = all.next()?;
        all.next().is_none().then_some(first)
    }

    fn report_unknown(&mut self, start: usize, what: &str, nearest: Option<String>) {
        let nearest = nearest.map(|nearest| format!("; do you mean {nearest}?")).unwrap_or_default();
        self.report(start, format!("there is no {what}{nearest}"));
    }

    fn report(&mut self, start: usize, text: String) {
        self.found.push(Problem { line: Some(self.line(start)), text });
    }

    fn line(&self, start: usize) -> usize {
        let before = self.text.as_bytes().iter().take(start);
        before.filter(|byte| **byte == b'\n').count() + 1
    }
}

fn problem_of<S: Settings>(table: &Table) -> Option<String> {
    match settings::with_secrets(table.clone().try_into::<S>().ok()?) {
        Ok(settings) => settings.validate().err(),
        Err(SettingsError::Invalid(problem)) => Some(problem),
        Err(error) => Some(error.to_string()),
    }
}

/// Whether a problem is about this key, or something in it: `apps[1].logic: …` is about `apps`.
fn begins_with_key(problem: &str, key: &str) -> bool {
    problem.strip_prefix(key).is_some_and(|rest| rest.starts_with([':', '[', '.']))
}

/// A document with nothing in it but one setting, which stands where it stood.
fn alone<'t>(name: &str, key: &Spanned<DeString<'t>>, value: &Spanned<DeValue<'t>>) -> Spanned<DeTable<'t>> {
    let mut table = DeTable::new();
    table.insert(key.clone(), value.clone());
    for section in name.split('.').rev().skip(1) {
        let inner = Spanned::new(value.span(), DeValue::Table(std::mem::take(&mut table)));
        table.insert(Spanned::new(key.span(), section.to_owned().into()), inner);
    }
    Spanned::new(value.span(), table)
}

fn get<'t>(table: &'t Table, name: &str) -> Option<&'t Value> {
    match name.split_once('.') {
        Some((section, rest)) => get(table.get(section)?.as_table()?, rest),
        None => table.get(name),
    }
}

fn put(table: &mut Table, name: &str, value: Value) {
    match name.split_once('.') {
        Some((section, rest)) => {
            if let Some(Value::Table(inner)) = table.get_mut(section) {
                put(inner, rest, value);
            }
        }
        None => drop(table.insert(name.to_owned(), value)),
    }
}

/// The name that is most like this one.
fn nearest(name: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let of_key = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let key = of_key(name);
    let alike = names.map(|name| (strsim::normalized_damerau_levenshtein(&key, &of_key(&name)), name));
    alike
        .filter(|(alike, _)| *alike >= ALIKE_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}
