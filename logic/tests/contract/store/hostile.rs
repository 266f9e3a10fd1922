//! A property: what clients choose is stored byte for byte, and is never taken for SQL.

use gim_logic::{
    domain::group::{Kind, Member, Profile},
    settings::InboxSettings,
    store::Limit,
};
use proptest::prelude::*;
use sqlx::{AssertSqlSafe, Executor as _};

use super::{StoreHarness, member, sent, sent_to_group, start};
use crate::support::backend;

/// What servers may be set to, and connections with them, beside what they are set to here.
const SETTINGS: [&str; 3] = ["", "SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'", "SET NAMES gbk"];

/// Bytes that end a literal in some setting of some database, beside any others.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let odd = proptest::sample::select(vec![
        &b"'"[..],
        b"\"",
        b"\\",
        b"\\'",
        b"''",
        b"`",
        b"\0",
        b"\x1a",
        b"?",
        b";",
        b"--",
        b"/*",
        b"X'",
        b"\xbf'",
        b"\x81\\",
        b"\xf0\x9f\x98\x80",
        b"'); DROP TABLE message; -- ",
    ]);
    let any = proptest::collection::vec(any::<u8>(), 0..20);
    let piece = prop_oneof![2 => odd.prop_map(<[u8]>::to_vec), 1 => any];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// A key of 1 to 64 bytes of UTF-8.
fn key() -> impl Strategy<Value = String> {
    let odd =
        proptest::sample::select("'\"\\`\0\n\r\t \u{1a}?;-%_é漢😀\u{feff}\u{10ffff}aA".chars().collect::<Vec<_>>());
    proptest::collection::vec(prop_oneof![3 => odd, 1 => any::<char>()], 1..16)
        .prop_map(|chars| chars.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn whatever_bytes_clients_choose_are_stored_as_they_are(
        messages in proptest::collection::vec((content(), key()), 1..20),
        name in key(),
        setting in proptest::sample::select(&SETTINGS[..]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check_stored(messages, name, setting));
    }
}

async fn check_stored(mut messages: Vec<(Vec<u8>, String)>, name: String, setting: &str) {
    messages.sort_by(|(_, one), (_, other)| one.cmp(other));
    messages.dedup_by(|(_, one), (_, other)| one == other);
    let database = gim_config::sql::DatabaseSettings { writers_max: 1, ..backend::database() };
    let harness = start(tempfile::tempdir().unwrap(), database, InboxSettings::default()).await;
    if backend::ON_SERVERS && !setting.is_empty() {
        harness.store.database.writer.execute(AssertSqlSafe(setting.to_owned())).await.unwrap();
    }
    for is_duplicate in [false, true] {
        let pending: Vec<_> = messages.iter().map(|(content, key)| harness.submit_content(content, key)).collect();
        for pending in pending {
            assert_eq!(sent(pending).await.is_duplicate, is_duplicate, "keys are told apart byte by byte");
        }
    }
    let stored = harness.store.inboxes.page(8, 0, Limit::messages(100)).await.unwrap();
    let stored: Vec<&[u8]> = stored.iter().map(|(_, message)| &message.content[..]).collect();
    assert_eq!(stored, messages.iter().map(|(content, _)| &content[..]).collect::<Vec<_>>());
    if setting != "SET NAMES gbk" {
        harness.check_names(name).await;
    }
}

impl StoreHarness {
    /// Texts of groups, which are bound to prepared statements.
    async fn check_names(&self, name: String) {
        let text = || name.clone();
        let profile = Profile { name: text(), avatar_url: text(), introduction: text(), extra: text() };
        let member = Member { nickname: text(), extra: text(), ..member(7, true) };
        let group_id = self.make_group(Kind::Normal, profile.clone(), vec![member.clone()]).await;
        assert_eq!(self.store.groups.get(group_id).await.unwrap().unwrap().profile, profile);
        assert_eq!(self.store.groups.members(group_id, 0, 10).await.unwrap(), [member]);
        sent_to_group(self.submit_to_group(7, group_id, "a")).await;
    }
}
