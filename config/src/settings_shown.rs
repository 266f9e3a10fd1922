//! What holds of settings, to be read by people: nothing secret is in it. For tools that run once.

use toml::{Table, Value};

use crate::settings::Settings;

/// In place of a secret.
pub const HIDDEN: &str = "(hidden)";

/// Keys whose values are secrets.
const SECRET_KEYS: [&str; 3] = ["internal_token", "accepted_tokens", "development_code"];

/// How the names of others end.
const SECRET_ENDS: [&str; 2] = ["_secret", "_secret_access_key"];

/// In the query of a URL: values of these are secrets.
const SECRET_PARAMETERS: [&str; 2] = ["password", "sentinel-password"];

/// Settings as a table; with `only_changed` without what is as it is by default.
pub fn shown<S: Settings>(settings: &S, only_changed: bool) -> Result<Table, toml::ser::Error> {
    let mut table = Table::try_from(settings)?;
    if only_changed {
        take_away(&mut table, &Table::try_from(S::default())?);
    }
    table.iter_mut().for_each(|(key, value)| hide(key, value));
    Ok(table)
}

/// Whether what stands under a key is for nobody's eyes.
pub fn is_secret(key: &str) -> bool {
    SECRET_KEYS.contains(&key) || SECRET_ENDS.iter().any(|end| key.ends_with(end))
}

fn take_away(table: &mut Table, defaults: &Table) {
    let is_other = |key: &str, value: &mut Value| match (value, defaults.get(key)) {
        (Value::Table(inner), Some(Value::Table(defaults))) => {
            take_away(inner, defaults);
            !inner.is_empty()
        }
        (value, default) => Some(&*value) != default,
    };
    let keys: Vec<String> = table.keys().cloned().collect();
    for key in keys {
        if table.get_mut(&key).is_some_and(|value| !is_other(&key, value)) {
            table.remove(&key);
        }
    }
}

fn hide(key: &str, value: &mut Value) {
    match value {
        Value::String(text) if is_secret(key) && !text.is_empty() => HIDDEN.clone_into(text),
        Value::String(text) => *text = without_password(text),
        Value::Array(entries) => entries.iter_mut().for_each(|entry| hide(key, entry)),
        Value::Table(table) => table.iter_mut().for_each(|(key, value)| hide(key, value)),
        _ => {}
    }
}

/// A URL without the password in it; other texts stay as they are. A password that is not escaped as it should be may hold any sign, so
/// it goes on to the last `@`.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (user.split_once(':').map_or(user, |(name, _)| name), rest),
        None => return format!("{scheme}://{}", without_parameters(rest)),
    };
    let is_with_password = text.len() > scheme.len() + "://@".len() + user.len() + rest.len();
    let password = if is_with_password { format!(":{HIDDEN}") } else { String::new() };
    format!("{scheme}://{user}{password}@{}", without_parameters(rest))
}

fn without_parameters(rest: &str) -> String {
    let Some((address, query)) = rest.split_once('?') else { return rest.to_owned() };
    let shown = query.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if SECRET_PARAMETERS.contains(&name) => format!("{name}={HIDDEN}"),
        _ => parameter.to_owned(),
    });
    format!("{address}?{}", shown.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_of_a_url_is_shown() {
        for (url, shown) in [
            (
                "mysql://gim:s3:c/r@t#@db:3306/gim?ssl-mode=REQUIRED",
                "mysql://gim:(hidden)@db:3306/gim?ssl-mode=REQUIRED",
            ),
            ("redis://:s3cret@cache:6379", "redis://:(hidden)@cache:6379"),
            ("mysql://gim@db/gim", "mysql://gim@db/gim"),
            (
                "redis+sentinel://a:1,b:2/main?sentinel-user=u&sentinel-password=s3cret",
                "redis+sentinel://a:1,b:2/main?sentinel-user=u&sentinel-password=(hidden)",
            ),
            ("http://127.0.0.1:8010", "http://127.0.0.1:8010"),
            ("a:b@c", "a:b@c"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn secrets_are_hidden_at_any_depth_and_defaults_can_be_left_out() {
        let mut table: Table =
            "[grpc]\ninternal_token = 's3cret'\n[[apps]]\ninternal_token = 's3cret'\nid = 7\n".parse().unwrap();
        table.iter_mut().for_each(|(key, value)| hide(key, value));
        let text = table.to_string();
        assert!(!text.contains("s3cret") && text.matches(HIDDEN).count() == 2 && text.contains("id = 7"), "{text}");
        let mut changed: Table = "a = 1\nb = 2\n[c]\nd = 3\ne = 4\n[f]\ng = 5\n".parse().unwrap();
        take_away(&mut changed, &"a = 1\nb = 3\n[c]\nd = 3\ne = 5\n[f]\ng = 5\n".parse().unwrap());
        assert_eq!(changed, "b = 2\n[c]\ne = 4\n".parse::<Table>().unwrap());
    }
}
