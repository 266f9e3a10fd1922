//! Whether SIGHUP has something to say of every key: it is applied, or named as one that needs a restart.

use toml::{Table, Value};

use crate::{
    reload::{changed, copy, is_reloaded, leaves},
    settings::Settings,
};

/// Stands for a word that a setting may ask for by its refusal.
const WORD: &str = "x";

/// Texts of which some setting or other takes one in place of what it has.
const TEXTS: [&str; 5] = [WORD, "127.0.0.1:9", "http://127.0.0.1:9", "10.0.0.0/8", "https://a.example"];

/// Changes each key of a settings file, one at a time.
///
/// # Panics
/// Where a change is neither applied nor named, or a key that SIGHUP should apply is none.
pub fn assert_each_key_is_applied_or_named<S: Settings>(file: &str) {
    let held = Table::try_from(S::default()).expect("settings are a table");
    let documented: Table = file.parse().expect("it is TOML");
    let (keys, mut applied, mut unchanged) = (leaves(&documented), 0, Vec::new());
    for (key, value) in &keys {
        match others(value).iter().find_map(|other| settings_with::<S>(key, other)) {
            Some(now) => assert_eq!(changed(&held, &now), std::slice::from_ref(key), "its change is seen"),
            None => unchanged.push(key),
        }
        applied += usize::from(is_reloaded::<S>(key));
    }
    assert!(unchanged.is_empty(), "this test knows no other value of {unchanged:?}");
    for key in S::RELOADED {
        assert!(keys.contains_key(*key), "{key} is said to be applied, and is no key");
    }
    assert!(applied > 0 && applied < keys.len(), "some need a restart");
}

/// Settings that differ from the defaults in one key, if it takes this value, or this one with a word that its refusal asks for.
fn settings_with<S: Settings>(key: &str, value: &Value) -> Option<Table> {
    let is_other = |taken: &Table| Ok(taken) != Table::try_from(S::default()).as_ref();
    match taken::<S>(key, value.clone()) {
        Ok(taken) => Some(taken).filter(is_other),
        Err(refusal) => words(&refusal).find_map(|word| taken::<S>(key, with_word(value, word)).ok().filter(is_other)),
    }
}

fn taken<S: Settings>(key: &str, value: Value) -> Result<Table, String> {
    let mut table = Table::try_from(S::default()).map_err(|error| error.to_string())?;
    let mut with = Table::new();
    put(&mut with, key, value);
    copy(&mut table, &with, key);
    let settings = table.try_into::<S>().map_err(|error| error.to_string())?;
    Table::try_from(settings).map_err(|error| error.to_string())
}

/// What stands in backticks: among it what is expected.
fn words(refusal: &str) -> impl Iterator<Item = &str> {
    refusal.split('`').skip(1).step_by(2)
}

fn with_word(value: &Value, word: &str) -> Value {
    match value {
        Value::String(text) if text == WORD => word.into(),
        Value::Array(list) => Value::Array(list.iter().map(|value| with_word(value, word)).collect()),
        Value::Table(table) => {
            Value::Table(table.iter().map(|(key, value)| (key.clone(), with_word(value, word))).collect())
        }
        value => value.clone(),
    }
}

fn put(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => drop(table.insert(key.to_owned(), value)),
        Some((section, rest)) => {
            let mut inner = Table::new();
            put(&mut inner, rest, value);
            table.insert(section.to_owned(), Value::Table(inner));
        }
    }
}

/// Values that may stand in the place of this one.
fn others(value: &Value) -> Vec<Value> {
    let texts = || TEXTS.iter().map(|text| Value::from(*text));
    match value {
        Value::Integer(number) => vec![(number + 1).into(), (number / 2).into()],
        Value::Float(number) => vec![(number / 2.0 + 0.25).into(), (number / 2.0 + 0.125).into()],
        Value::Boolean(is_so) => vec![(!is_so).into()],
        Value::Array(list) => {
            let numbers = [vec![1.into()], vec![vec![0, 1].into()], Vec::new()];
            let lists = texts().chain(tables()).map(|one| vec![one]).chain(numbers);
            lists.filter(|other| other != list).map(Value::Array).collect()
        }
        _ => texts().collect(),
    }
}

/// Tables, as far as one can be made without knowing whose it is.
fn tables() -> impl Iterator<Item = Value> {
    let texts = [
        "id = 7\nlogic = ['http://127.0.0.1:9']",
        "certificate = 'a.pem'\nkey = 'a.key'",
        "kid = 'one'\nalgorithm = 'x'\nfile = 'a.pem'",
        "dialect = '2025-08'\ntcp = '127.0.0.1:9'",
        "dialect = '2025-08'\nlisten = '127.0.0.1:9'",
    ];
    texts.into_iter().filter_map(|text| Some(Value::Table(text.parse().ok()?)))
}
