//! How far devices and users have read: the part of a transaction that notes it.
//!
//! Always holds: what is noted only rises, and never beyond the inbox.

use std::collections::{BTreeMap, HashMap};

use sqlx::{AnyConnection, Row as _};

use super::{
    columns::from_sql,
    dialect::Sql,
    inbox::{NEWEST_SEQS, newest_of},
    read_position::ReadPosition,
    script::Script,
    work::{Ack, AckOutcome, ReadMark, Work},
};

/// The newest seqs of the users who acked something.
pub(super) async fn newest_seqs(
    connection: &mut AnyConnection,
    sql: &Sql,
    works: &[&Work],
) -> Result<HashMap<u64, u64>, sqlx::Error> {
    let user_id = |work: &&Work| match work {
        Work::Ack(request) => Some(request.wants.user_id),
        _ => None,
    };
    let mut user_ids: Vec<u64> = works.iter().filter_map(user_id).collect();
    user_ids.sort_unstable();
    user_ids.dedup();
    let mut script = Script::new(sql.sends_text);
    script.add(NEWEST_SEQS, &user_ids, |row, user_id| row.id(*user_id));
    let rows = script.fetch(connection).await?;
    rows.iter().map(|row| Ok((from_sql(row.try_get(0)?), from_sql(row.try_get(1)?)))).collect()
}

/// Notes the acks that are not beyond their inbox.
pub(super) fn add_acks(script: &mut Script, sql: &Sql, works: &[&Work], newest_seqs: &HashMap<u64, u64>) {
    let mut acks: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for work in works {
        if let Work::Ack(request) = work
            && ack_outcome(&request.wants, newest_seqs) == AckOutcome::Noted
        {
            let ack = request.wants;
            let seq = acks.entry((ack.user_id, ack.device_id)).or_default();
            *seq = ack.seq.max(*seq);
        }
    }
    let rows: Vec<_> = acks.into_iter().collect();
    script.add(sql.raise_acks, &rows, |row, ((user_id, device_id), seq)| row.id(*user_id).id(*device_id).id(*seq));
}

/// Notes how far devices, and with them their users, have acknowledged large groups.
pub(super) fn add_group_acks(script: &mut Script, sql: &Sql, works: &[&Work]) {
    let mut of_users: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut of_devices: BTreeMap<(u64, u64, u64), u64> = BTreeMap::new();
    for work in works {
        let Work::GroupAcks(request) = work else { continue };
        for ack in &request.wants {
            let of_user = of_users.entry((ack.user_id, ack.group_id)).or_default();
            *of_user = ack.seq.max(*of_user);
            let of_device = of_devices.entry((ack.user_id, ack.group_id, ack.device_id)).or_default();
            *of_device = ack.seq.max(*of_device);
        }
    }
    let rows: Vec<_> = of_users.into_iter().collect();
    script
        .add(sql.raise_group_cursors, &rows, |row, ((user_id, group_id), seq)| row.id(*user_id).id(*group_id).id(*seq));
    let rows: Vec<_> = of_devices.into_iter().collect();
    script.add(sql.raise_group_acks, &rows, |row, ((user_id, group_id, device_id), seq)| {
        row.id(*user_id).id(*group_id).id(*device_id).id(*seq)
    });
}

/// Notes how far users read in conversations.
pub(super) fn add_reads(script: &mut Script, sql: &Sql, works: &[&Work]) {
    let mut marks: BTreeMap<(u64, bool, u64), (ReadPosition, u64)> = BTreeMap::new();
    for work in works {
        let Work::Read(request) = work else { continue };
        let ReadMark { user_id, peer, position } = request.wants;
        let (furthest, moved_id) = marks.entry((user_id, peer.is_group(), peer.id())).or_default();
        (*furthest, *moved_id) = (furthest.max(position), request.id.max(*moved_id));
    }
    let rows: Vec<_> = marks.into_iter().collect();
    script.add(sql.raise_read_positions, &rows, |row, ((user_id, is_group, peer_id), (position, moved_id))| {
        let row = row.id(*user_id).number(i64::from(*is_group)).id(*peer_id).id(position.seq).id(position.message_id);
        row.id(position.peer_seq).id(position.peer_message_id).id(*moved_id)
    });
}

/// What becomes of an ack.
pub(super) fn ack_outcome(ack: &Ack, newest_seqs: &HashMap<u64, u64>) -> AckOutcome {
    match newest_of(newest_seqs, ack.user_id) {
        newest_seq if ack.seq > newest_seq => AckOutcome::Beyond { newest_seq },
        _ => AckOutcome::Noted,
    }
}
