//! The steps that are about people: users, devices, tokens, friends, groups.

use std::collections::HashSet;

use gim_business::{ImportedFriend, ImportedToken, ImportedUser};
use gim_logic::{
    domain::group::{Group, Kind, Profile},
    store::import::{ImportedDevice, ImportedGroup},
};
use gim_proto::check;

use super::{
    context::{BAD_ID, Import, ImportError},
    source::{FriendRow, GroupRow, PAGE_ROWS},
    tokens::{TokenRow, Tokens},
};
use crate::progress::Progress;

const USERS: &str = "users";
const DEVICES: &str = "devices";
const TOKENS: &str = "tokens";
const FRIENDS: &str = "friends and requests";
const GROUPS: &str = "groups";
pub const KINDS: &[&str] = &[USERS, DEVICES, TOKENS, FRIENDS, GROUPS];

impl Import {
    pub async fn users(&mut self) -> Result<(), ImportError> {
        let progress = Progress::of(USERS, self.source.about("user").await);
        let mut after = 0;
        loop {
            let mut users = self.source.users(after).await?;
            let Some(last) = users.last() else { return Ok(()) };
            after = last.user_id;
            progress.add(users.len());
            self.report.of(USERS).found += users.len() as u64;
            users.retain(|user| self.is_id(USERS, user.user_id));
            self.take_users(&users).await?;
        }
    }

    async fn take_users(&mut self, users: &[ImportedUser]) -> Result<(), ImportError> {
        let Some(target) = &self.target else {
            self.report.of(USERS).taken += users.len() as u64;
            return Ok(());
        };
        self.report.of(USERS).taken += target.business.import_users(users).await?;
        let user_ids: Vec<u64> = users.iter().map(|user| user.user_id).collect();
        let phone_numbers = target.business.phone_numbers(&user_ids).await?;
        for user in users {
            let which = format!("user {}", user.user_id);
            match phone_numbers.get(&user.user_id) {
                None => self.report.refuse(USERS, "another user has the phone number", which),
                Some(phone_number) if *phone_number != user.phone_number => {
                    self.report.note("users: the phone number is another one here, and stays", which);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    pub async fn devices(&mut self) -> Result<(), ImportError> {
        let progress = Progress::of(DEVICES, self.source.about("device").await);
        let mut after = 0;
        loop {
            let mut devices = self.source.devices(after).await?;
            let Some(last) = devices.last() else { return Ok(()) };
            after = last.device.id;
            progress.add(devices.len());
            self.report.of(DEVICES).found += devices.len() as u64;
            devices.retain(|device| self.is_device(device));
            self.report.of(DEVICES).taken += match &self.target {
                Some(target) => target.logic.store.imports.devices(&devices).await?,
                None => devices.len() as u64,
            };
        }
    }

    fn is_device(&mut self, device: &ImportedDevice) -> bool {
        // Of nobody, where nobody has signed in on it.
        self.is_id(DEVICES, device.device.id) && (device.user_id == 0 || self.is_id(DEVICES, device.user_id))
    }

    pub async fn tokens(&mut self, mut tokens: Tokens) -> Result<(), ImportError> {
        let progress = Progress::of(TOKENS, self.source.about("device").await);
        // A scan may tell the same twice.
        let mut seen = HashSet::new();
        while let Some(rows) = tokens.next().await? {
            progress.add(rows.len());
            let mut taken = Vec::with_capacity(rows.len());
            for row in rows {
                if row.ids.is_none_or(|ids| seen.insert(ids)) {
                    self.report.of(TOKENS).found += 1;
                    taken.extend(self.judge_token(row));
                }
            }
            self.report.of(TOKENS).taken += match &self.target {
                Some(target) => target.business.import_tokens(&taken).await?,
                None => taken.len() as u64,
            };
        }
        if seen.is_empty() {
            self.report.note("tokens: gim's Redis has none (auth:*), is it the right database of it?", "all users");
        }
        Ok(())
    }

    fn judge_token(&mut self, row: TokenRow) -> Option<ImportedToken> {
        let which = format!("{} {}", row.key, row.field);
        let ids = row.ids.filter(|&(user_id, device_id)| check::ids("", &[user_id, device_id], 2).is_ok());
        let Some((user_id, device_id)) = ids else {
            self.report.refuse(TOKENS, "the key or the field is no id", which);
            return None;
        };
        let token = match row.token {
            Ok(token) if !token.token.is_empty() => token,
            Ok(_) | Err(_) => {
                self.report.refuse(TOKENS, "the value is no token", which);
                return None;
            }
        };
        let expires_at_ms = token.expire.saturating_mul(1_000);
        if expires_at_ms <= self.now_ms {
            self.report.refuse(TOKENS, "it has expired", which);
            return None;
        }
        let created_at_ms = self.begun_s.saturating_mul(1_000);
        Some(ImportedToken { user_id, device_id, text: token.token, created_at_ms, expires_at_ms })
    }

    pub async fn friends(&mut self) -> Result<(), ImportError> {
        let progress = Progress::of(FRIENDS, self.source.about("friend").await);
        let mut after = (0, 0);
        loop {
            let rows = self.source.friends(after).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = (last.friend.user_id, last.friend.friend_id);
            progress.add(rows.len());
            self.report.of(FRIENDS).found += rows.len() as u64;
            let taken: Vec<ImportedFriend> = rows.into_iter().filter_map(|row| self.judge_friend(row)).collect();
            self.report.of(FRIENDS).taken += match &self.target {
                Some(target) => target.business.import_friends(&taken).await?,
                None => taken.len() as u64,
            };
        }
    }

    fn judge_friend(&mut self, row: FriendRow) -> Option<ImportedFriend> {
        let FriendRow { friend, status, status_back } = row;
        let which = format!("user {} and {}", friend.user_id, friend.friend_id);
        let why = match status {
            _ if check::ids("", &[friend.user_id, friend.friend_id], 2).is_err() => BAD_ID,
            FriendRow::AGREED if status_back != FriendRow::AGREED => "only one of the two agreed to be friends",
            FriendRow::AGREED | FriendRow::ASKED => return Some(friend),
            _ => "the status is neither 1 nor 2",
        };
        self.report.refuse(FRIENDS, why, which);
        None
    }

    pub async fn groups(&mut self) -> Result<(), ImportError> {
        let progress = Progress::of(GROUPS, self.source.about("group").await);
        let mut after = 0;
        loop {
            let rows = self.source.groups(after).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.id;
            progress.add(rows.len());
            self.report.of(GROUPS).found += rows.len() as u64;
            // Few at once: groups may have many members.
            for rows in rows.chunks(PAGE_ROWS / 10) {
                let mut groups = Vec::with_capacity(rows.len());
                for row in rows {
                    if self.is_id(GROUPS, row.id) {
                        groups.push(self.with_members(row.clone()).await?);
                    }
                }
                self.report.of(GROUPS).taken += match &self.target {
                    Some(target) => target.logic.store.imports.groups(&groups).await?,
                    None => groups.len() as u64,
                };
            }
        }
    }

    async fn with_members(&mut self, row: GroupRow) -> Result<ImportedGroup, ImportError> {
        let GroupRow { id, name, avatar_url, introduction, extra, times } = row;
        let mut members = self.source.members(id).await?;
        members.retain(|(member, _)| {
            let is_user = check::id("", member.user_id).is_ok();
            if !is_user {
                self.report.note("groups: a member is left out: the id is 0 or too large", format!("group {id}"));
            }
            is_user
        });
        let profile = Profile { name, avatar_url, introduction, extra };
        let admin_count = members.iter().filter(|(member, _)| member.is_admin).count() as u64;
        let member_count = members.len() as u64;
        let group = Group { member_count, admin_count, version: 1, ..Group::new(id, Kind::Normal, profile) };
        Ok(ImportedGroup { group, members, times })
    }
}
