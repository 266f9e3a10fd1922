//! Which connection a device has, within one reactor. Only slots are stored; the devices stand in the connections.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::table::Table;

/// The index. A device's newest connection wins.
#[derive(Debug, Default)]
pub struct Devices {
    slots: HashTable<u32>,
    hasher: RandomState,
}

impl Devices {
    /// How many devices have a connection here.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// `slot` now has this device.
    pub fn insert(&mut self, device_id: u64, slot: usize, table: &Table) {
        let hasher = &self.hasher;
        let hash = hasher.hash_one(device_id);
        if let Some(found) = self.slots.find_mut(hash, |&other| device_of(table, other) == Some(device_id)) {
            *found = slot as u32;
            return;
        }
        // A slot without a device was removed before its connection ended; only then would the hash be wrong.
        self.slots.insert_unique(hash, slot as u32, |&other| hasher.hash_one(device_of(table, other).unwrap_or(0)));
    }

    /// `slot` has this device no more; harmless where a newer connection has it.
    pub fn remove(&mut self, device_id: u64, slot: usize) {
        let hash = self.hasher.hash_one(device_id);
        if let Ok(entry) = self.slots.find_entry(hash, |&other| other as usize == slot) {
            entry.remove();
        }
    }

    /// The slot that has this device.
    pub fn find(&self, device_id: u64, table: &Table) -> Option<usize> {
        let hash = self.hasher.hash_one(device_id);
        let found = self.slots.find(hash, |&other| device_of(table, other) == Some(device_id));
        found.map(|&slot| slot as usize)
    }
}

fn device_of(table: &Table, slot: u32) -> Option<u64> {
    table.peek(slot as usize)?.session.identity().map(|identity| identity.device_id)
}
