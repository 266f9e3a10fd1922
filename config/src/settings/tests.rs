use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sample {
    listen: Endpoint,
    peer: Endpoint,
    data_dir: PathBuf,
    limits: Limits,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Limits {
    frame_bytes_max: u32,
    hosts: Vec<String>,
    token: String,
    token_file: PathBuf,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            listen: Endpoint::new("127.0.0.1:8000"),
            peer: Endpoint::new("http://127.0.0.1:8010"),
            data_dir: "data".into(),
            limits: Limits { frame_bytes_max: 4096, ..Limits::default() },
        }
    }
}

impl Settings for Sample {
    const SERVICE: &'static str = "sample";
    const RENAMED: &'static [RenamedKey] = &[("limits.size", "limits.frame_bytes_max"), ("folder", "data_dir")];
    const REMOVED: &'static [RemovedKey] = &[("limits.age", "nothing grows old any more")];

    fn listeners(&mut self) -> Vec<&mut Endpoint> {
        vec![&mut self.listen]
    }

    fn admin(&self) -> &Endpoint {
        &self.listen
    }

    fn peers(&mut self) -> Vec<&mut Endpoint> {
        vec![&mut self.peer]
    }

    fn validate(&self) -> Result<(), String> {
        Ok(())
    }
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn file_error(text: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let error = load::<Sample>(Some(file.path()), pairs(&[])).unwrap_err().to_string();
    error.replace(&file.path().display().to_string(), "FILE")
}

#[test]
fn environment_overrides_values_of_every_type() {
    let environment = pairs(&[
        ("GIM_SAMPLE_LISTEN", "127.0.0.1:9"),
        ("GIM_SAMPLE_LIMITS__FRAME_BYTES_MAX", "7"),
        ("GIM_SAMPLE_LIMITS__HOSTS", "[\"a\"]"),
        ("GIM_SAMPLE_DATA_DIR", "123"),
        ("OTHER", "x"),
    ]);
    let settings: Sample = load(None, environment).unwrap();
    assert_eq!(settings.listen, Endpoint::new("127.0.0.1:9"));
    assert_eq!(settings.limits, Limits { frame_bytes_max: 7, hosts: vec!["a".into()], ..Limits::default() });
    assert_eq!(settings.data_dir, PathBuf::from("123"));
}

#[test]
fn the_port_offset_moves_what_the_file_names_and_nothing_that_was_given() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "peer = \"http://127.0.0.1:8030\"\n").unwrap();
    let shifted = |file: Option<&Path>, given: &[(&str, &str)]| {
        let settings: Sample = load_shifted(file, pairs(given), 6000).unwrap();
        (settings.listen.to_string(), settings.peer.to_string())
    };
    let (listen, peer) = shifted(Some(file.path()), &[("GIM_SAMPLE_LISTEN", "127.0.0.1:9000")]);
    assert_eq!((listen.as_str(), peer.as_str()), ("127.0.0.1:15000", "http://127.0.0.1:14030"));
    let peer_given = |text: &str| shifted(None, &[("GIM_SAMPLE_PEER", text)]).1;
    assert_eq!(peer_given("http://10.0.0.7:9000"), "http://10.0.0.7:9000");
    assert_eq!(peer_given("http://10.0.0.7:65000"), "http://10.0.0.7:65000", "no port over 65535");
    assert_eq!(peer_given("http://[::1]:8010"), "http://[::1]:14010", "the port that the file names");
    assert_eq!(peer_given(""), "");
}

#[test]
fn an_address_that_the_offset_was_taken_off_is_found() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = |port: u16| format!("http://127.0.0.1:{port}");
    let given = |peer: String| {
        let environment = [("GIM_SAMPLE_PEER".to_owned(), peer)];
        load_shifted::<Sample>(None, environment, 500).unwrap().peer.to_string()
    };
    assert_eq!(given(text(port - 500)), text(port));
    assert_eq!(given(text(port)), text(port));
}

#[test]
fn a_secret_comes_from_a_file_that_file_or_environment_names() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "s3cret\n").unwrap();
    let named = [("GIM_SAMPLE_LIMITS__TOKEN_FILE", secret.path().to_str().unwrap())];
    let settings: Sample = load(None, pairs(&named)).unwrap();
    assert_eq!(settings.limits.token, "s3cret");
    let both = [named[0], ("GIM_SAMPLE_LIMITS__TOKEN", "s3cret")];
    let problem = load::<Sample>(None, pairs(&both)).unwrap_err().to_string();
    assert!(problem.starts_with("settings: limits.token_file: the secret is given in the settings, too"), "{problem}");
}

#[test]
fn a_section_given_in_part_keeps_the_defaults_for_the_rest() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "[limits]\nhosts = [\"a\"]\n").unwrap();
    let settings: Sample = load(Some(file.path()), pairs(&[])).unwrap();
    assert_eq!(settings.limits, Limits { frame_bytes_max: 4096, hosts: vec!["a".into()], ..Limits::default() });
}

#[test]
fn unknown_keys_are_refused_by_name_and_line() {
    let error = file_error("[limits]\nframe_bytes = 3\n");
    assert!(error.starts_with("settings file FILE, line 2: unknown field `frame_bytes`"), "{error}");
}

#[test]
fn renamed_keys_are_refused_with_their_new_name() {
    let error = file_error("data_dir = \"x\"\n[limits]\nsize = 3\nother = 4\n");
    assert_eq!(error, "settings file FILE, line 3: `limits.size` is now `limits.frame_bytes_max`");
    let error = |name: &str| load::<Sample>(None, pairs(&[(name, "1")])).unwrap_err().to_string();
    assert_eq!(
        error("GIM_SAMPLE_LIMITS__SIZE"),
        "environment variable GIM_SAMPLE_LIMITS__SIZE: is now GIM_SAMPLE_LIMITS__FRAME_BYTES_MAX"
    );
    assert!(error("GIM_SAMPLE_FOLDER").ends_with("is now GIM_SAMPLE_DATA_DIR"));
}

#[test]
fn keys_that_are_gone_are_refused_with_a_sentence() {
    let error = file_error("[limits]\nage = 3\n");
    assert_eq!(error, "settings file FILE, line 2: `limits.age` is gone: nothing grows old any more");
    let error = load::<Sample>(None, pairs(&[("GIM_SAMPLE_LIMITS__AGE", "1")])).unwrap_err().to_string();
    assert_eq!(error, "environment variable GIM_SAMPLE_LIMITS__AGE: is gone: nothing grows old any more");
}

#[test]
#[should_panic(expected = "`folder` is said to be `data_dir` now, but is still a key")]
fn the_table_of_renamed_keys_is_checked() {
    #[derive(Debug, Default, Serialize, Deserialize)]
    struct Wrong {
        folder: u32,
        data_dir: u32,
    }
    impl Settings for Wrong {
        const SERVICE: &'static str = "wrong";
        const RENAMED: &'static [RenamedKey] = &[("folder", "data_dir")];

        fn listeners(&mut self) -> Vec<&mut Endpoint> {
            Vec::new()
        }

        fn admin(&self) -> &Endpoint {
            unreachable!("nobody asks")
        }

        fn peers(&mut self) -> Vec<&mut Endpoint> {
            Vec::new()
        }

        fn validate(&self) -> Result<(), String> {
            Ok(())
        }
    }
    assert_documents_defaults::<Wrong>("folder = 0\ndata_dir = 0\n");
}

#[test]
fn broken_toml_and_wrong_types_name_their_line() {
    assert!(file_error("\nlisten = ").starts_with("settings file FILE, line 2:"));
    let error = file_error("[limits]\n\nframe_bytes_max = \"many\"");
    assert!(error.starts_with("settings file FILE, line 3: invalid type"), "{error}");
    assert!(file_error("listen = \"nowhere\"").contains("line 1"));
}

#[test]
fn unknown_or_unfit_variables_are_refused_by_name() {
    let error = |name: &str, value: &str| load::<Sample>(None, pairs(&[(name, value)])).unwrap_err().to_string();
    assert_eq!(
        error("GIM_SAMPLE_LIMIT__X", "1"),
        "environment variable GIM_SAMPLE_LIMIT__X: there is no settings section `limit`"
    );
    assert_eq!(error("GIM_SAMPLE_TYPO", "1"), "environment variable GIM_SAMPLE_TYPO: there is no setting `typo`");
    let unfit = error("GIM_SAMPLE_LIMITS__FRAME_BYTES_MAX", "-1");
    assert!(unfit.starts_with("environment variable GIM_SAMPLE_LIMITS__FRAME_BYTES_MAX: "), "{unfit}");
    assert!(error("GIM_SAMPLE_LIMITS__FRAME_BYTES_MAX", "1\nlisten = \"x\"").contains("FRAME_BYTES_MAX"));
}

#[test]
fn what_an_environment_variable_holds_is_never_repeated() {
    let error = |name: &str, value: &str| {
        let error = load::<Sample>(None, pairs(&[(name, value)])).unwrap_err().to_string();
        error.strip_prefix(&format!("environment variable {name}: ")).expect("its name").to_owned()
    };
    for value in ["secret-1", "\"secret-1\"", "12345", "a,b", "", "[\"secret-1\"]\nother = 1"] {
        assert_eq!(error("GIM_SAMPLE_LIMITS__HOSTS", value), NO_LIST, "{value}");
    }
    assert_eq!(error("GIM_SAMPLE_LIMITS__HOSTS", "[12345]"), "invalid type, expected a string");
    assert_eq!(error("GIM_SAMPLE_LIMITS__FRAME_BYTES_MAX", "secret-1"), NO_VALUE);
    let unfit = error("GIM_SAMPLE_LIMITS__FRAME_BYTES_MAX", "\"secret, expected nothing\"");
    assert_eq!(unfit, "invalid type, expected u32");
}

#[test]
fn variables_of_kubernetes_services_are_no_settings_and_typos_still_are() {
    let links = |service: &str| {
        let url = "tcp://10.96.14.7:8010";
        let pair = |suffix: &str, value: &str| (format!("{service}_{suffix}"), value.to_owned());
        vec![
            pair("SERVICE_HOST", "10.96.14.7"),
            pair("SERVICE_PORT", "8010"),
            pair("SERVICE_PORT_GRPC_INT", "8010"),
            pair("PORT", url),
            pair("PORT_8010_TCP", url),
            pair("PORT_8010_TCP_PROTO", "tcp"),
            pair("PORT_8010_TCP_PORT", "8010"),
            pair("PORT_8010_TCP_ADDR", "10.96.14.7"),
            pair("PORT_53_UDP", "udp://10.96.14.7:53"),
        ]
    };
    for service in ["GIM_SAMPLE", "GIM_SAMPLE_GRPC", "GIM_SAMPLE_0"] {
        assert_eq!(load::<Sample>(None, links(service)).unwrap(), Sample::default(), "{service}");
    }
    for (name, value) in [
        ("GIM_SAMPLE_PORT", "8010"),
        ("GIM_SAMPLE_GRPC__PORT", "tcp://10.96.14.7:8010"),
        ("GIM_SAMPLE_SERVICE_HOSTS", "a"),
        ("GIM_SAMPLE_PORT_TCP", "a"),
        ("GIM_SAMPLE_PORT_8010_TCP_TYPO", "a"),
        ("GIM_SAMPLE_LIMITS__SERVICE_HOST", "a"),
        ("GIM_SAMPLE_LISTENER", "a"),
    ] {
        let error = load::<Sample>(None, pairs(&[(name, value)])).unwrap_err().to_string();
        assert!(error.starts_with(&format!("environment variable {name}: ")), "{error}");
    }
}

#[test]
fn a_missing_file_is_one_sentence() {
    let error = load::<Sample>(Some(Path::new("/nonexistent/x.toml")), pairs(&[])).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the settings file /nonexistent/x.toml: "), "{error}");
}
