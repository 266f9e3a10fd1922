//! The connections of one reactor: slabs in blocks of fixed size, so that growing never copies a connection and never holds
//! an old and a new table at once.
//!
//! Always holds: a slot is reused only in a later turn than the one that freed it; each owner of a slot has another
//! generation, so whoever comes late with (slot, generation) finds nothing.

use slab::Slab;

use crate::{connection::Connection, ids::SLOTS_MAX};

/// Slots per block: 4096 records of about a hundred bytes.
const BLOCK: usize = 4096;

/// All connections of a reactor.
#[derive(Debug, Default)]
pub struct Table {
    blocks: Vec<Slab<Connection>>,
    /// Every block below this one is full.
    first_free: usize,
    count: usize,
    next_generation: u32,
    /// How often a slot was looked up, for the test that counts them.
    #[cfg(test)]
    pub look_ups: usize,
}

impl Table {
    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One more than the highest slot that may be in use.
    pub fn slots_end(&self) -> usize {
        self.blocks.len() * BLOCK
    }

    /// Adds the connection that `make` builds from its slot and generation. `None` where every slot is taken.
    pub fn insert_with<E>(
        &mut self,
        make: impl FnOnce(usize, u32) -> Result<Connection, E>,
    ) -> Option<Result<usize, E>> {
        let block = self.free_block()?;
        let generation = self.next_generation;
        let entry = self.blocks[block].vacant_entry();
        let slot = block * BLOCK + entry.key();
        let connection = match make(slot, generation) {
            Ok(connection) => connection,
            Err(error) => return Some(Err(error)),
        };
        entry.insert(connection);
        self.next_generation = generation.wrapping_add(1);
        self.count += 1;
        Some(Ok(slot))
    }

    /// The connection in a slot of which the caller is sure, because it looked it up in this turn.
    pub fn get(&mut self, slot: usize) -> Option<&mut Connection> {
        #[cfg(test)]
        {
            self.look_ups += 1;
        }
        self.blocks.get_mut(slot / BLOCK)?.get_mut(slot % BLOCK)
    }

    /// As [`Table::get`], to look only.
    pub fn peek(&self, slot: usize) -> Option<&Connection> {
        self.blocks.get(slot / BLOCK)?.get(slot % BLOCK)
    }

    /// The connection that owns `slot` under this generation.
    pub fn get_owned(&mut self, slot: usize, generation: u32) -> Option<&mut Connection> {
        self.get(slot).filter(|connection| connection.generation == generation)
    }

    /// Frees a slot. Only the end of a turn may do this.
    pub fn remove(&mut self, slot: usize) -> Option<Connection> {
        let block = slot / BLOCK;
        let connection = self.blocks.get_mut(block)?.try_remove(slot % BLOCK)?;
        self.first_free = self.first_free.min(block);
        self.count -= 1;
        Some(connection)
    }

    fn free_block(&mut self) -> Option<usize> {
        while let Some(block) = self.blocks.get(self.first_free) {
            if block.len() < BLOCK {
                return Some(self.first_free);
            }
            self.first_free += 1;
        }
        if self.slots_end() >= SLOTS_MAX {
            return None;
        }
        self.blocks.push(Slab::with_capacity(BLOCK));
        Some(self.first_free)
    }
}
