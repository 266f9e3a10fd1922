//! Secrets in files of their own, as Kubernetes, systemd and Docker hand them over. At a start, and wherever settings are read again.
//!
//! A setting `X` that may come from a file has a setting `X_file` beside it, in whichever section; that is the whole rule. Always holds: of
//! the two one alone is given, what a file says is never repeated, and nothing but its line break at the end is taken off.

use std::{fs, io::Read as _, path::Path};

use toml::{Table, Value};

/// What makes the name of the setting that names the file.
const FILE: &str = "_file";

/// No secret is longer.
const BYTES_MAX: u64 = 64 * 1024;

/// Puts what files say in the place of their settings, and tells whether there was one.
pub(crate) fn read(table: &mut Table) -> Result<bool, String> {
    read_section("", table)
}

fn read_section(section: &str, table: &mut Table) -> Result<bool, String> {
    let mut is_read = false;
    for file_key in table.keys().cloned().collect::<Vec<_>>() {
        let name = format!("{section}{file_key}");
        match table.get_mut(&file_key) {
            Some(Value::Table(inner)) => is_read |= read_section(&format!("{name}."), inner)?,
            Some(Value::Array(entries)) => {
                for (index, entry) in entries.iter_mut().enumerate() {
                    if let Value::Table(inner) = entry {
                        is_read |= read_section(&format!("{name}[{index}]."), inner)?;
                    }
                }
            }
            Some(Value::String(path)) if !path.is_empty() => {
                let path = path.clone();
                let value = file_key.strip_suffix(FILE).and_then(|key| table.get_mut(key));
                if let Some(value) = value {
                    take(value, Path::new(&path)).map_err(|problem| format!("{name}: {problem}"))?;
                    is_read = true;
                }
            }
            _ => {}
        }
    }
    Ok(is_read)
}

fn take(value: &mut Value, path: &Path) -> Result<(), String> {
    let is_given = match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(entries) => !entries.is_empty(),
        _ => true,
    };
    if is_given {
        return Err("the secret is given in the settings, too: one of the two has to go".into());
    }
    let text = text_of(path)?;
    *value = match value {
        Value::Array(_) => text.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().into(),
        _ => Value::String(text),
    };
    Ok(())
}

fn text_of(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let read = || {
        let mut text = String::new();
        fs::File::open(path)?.take(BYTES_MAX + 1).read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    let text = read().map_err(|error| format!("cannot read {shown}: {error}"))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(format!("{shown} has more than {BYTES_MAX} bytes, which no secret has"));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    match line.strip_suffix('\r').unwrap_or(line) {
        "" => Err(format!("{shown} is empty")),
        secret => Ok(secret.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Table, String> {
        let mut table: Table = text.parse().unwrap();
        read(&mut table).map(|_| table)
    }

    fn file(content: impl AsRef<[u8]>) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn a_file_takes_the_place_of_its_setting_without_its_line_break() {
        let (token, tokens) = (file("s3cret \r\n"), file("one\n\ntwo\n"));
        let text = format!(
            "[grpc]\ntoken = ''\ntoken_file = '{0}'\ntokens = []\ntokens_file = '{1}'\n[[apps]]\ntoken = ''\ntoken_file = '{0}'\n\
             [jwt]\nkey_file = '/nowhere'\n",
            token.path().display(),
            tokens.path().display()
        );
        let table = read_text(&text).unwrap();
        assert_eq!(table["grpc"]["token"].as_str(), Some("s3cret "));
        assert_eq!(table["grpc"]["tokens"], Value::from(vec!["one", "two"]));
        assert_eq!(table["apps"][0]["token"].as_str(), Some("s3cret "));
        assert_eq!(table["jwt"]["key_file"].as_str(), Some("/nowhere"), "a file that is read by whoever needs it");
    }

    #[test]
    fn files_of_no_use_are_refused_by_name_and_nothing_of_them_is_told() {
        let refused = |given: &str, path: &Path| {
            let text = format!("[[apps]]\ntoken = '{given}'\ntoken_file = '{}'\n", path.display());
            let problem = read_text(&text).unwrap_err();
            assert!(!problem.contains("s3cret"), "{problem}");
            problem.strip_prefix("apps[0].token_file: ").expect("its name").to_owned()
        };
        let (good, empty, binary) = (file("s3cret"), file("\n"), file(b"s3cret\xff"));
        assert!(refused("s3cret", good.path()).starts_with("the secret is given in the settings, too"));
        assert!(refused("", Path::new("/nowhere/x")).starts_with("cannot read /nowhere/x: No such file"));
        assert!(refused("", empty.path()).ends_with(" is empty"));
        assert!(refused("", binary.path()).starts_with("cannot read "));
        assert!(refused("", file("s3cret".repeat(20_000)).path()).contains("has more than 65536 bytes"));
    }
}
