//! Numbers that stand for objects: of 4 bytes instead of 20 or 32.

use std::collections::HashMap;
use std::sync::Arc;

use gix_hash::{ObjectId, oid};

use crate::traversal::PackReader;

/// The objects in packs by their place there, and others that are named.
pub(crate) struct Numbers {
    packs: Arc<[PackReader]>,
    others: HashMap<ObjectId, u32>,
    ids: Vec<ObjectId>,
}

impl Numbers {
    /// Those of the objects in these packs.
    pub fn new(packs: Arc<[PackReader]>) -> Self {
        Self { packs, others: HashMap::new(), ids: Vec::new() }
    }

    /// How many objects are in packs: their numbers are lower.
    pub fn packed(&self) -> u32 {
        packed(&self.packs)
    }

    /// The number of an object, if it has one.
    pub fn get(&self, id: &oid) -> Option<u32> {
        in_packs(&self.packs, id).or_else(|| self.others.get(id).copied())
    }

    /// The number of an object that is in no pack.
    pub fn add(&mut self, id: &oid) -> u32 {
        let next = packed(&self.packs).saturating_add(self.ids.len() as u32);
        *self.others.entry(id.to_owned()).or_insert_with(|| {
            self.ids.push(id.to_owned());
            next
        })
    }

    /// The object with this number.
    pub fn id(&self, number: u32) -> &oid {
        let mut number = number as usize;
        for pack in self.packs.iter() {
            if number < pack.len() {
                return pack.id(number as u32);
            }
            number -= pack.len();
        }
        &self.ids[number]
    }
}

/// How many objects are in these packs.
fn packed(packs: &[PackReader]) -> u32 {
    packs.iter().fold(0, |sum, pack| sum.saturating_add(pack.len() as u32))
}

/// The number of an object in a pack.
pub(crate) fn in_packs(packs: &[PackReader], id: &oid) -> Option<u32> {
    let mut first = 0_u32;
    for pack in packs {
        if let Some(place) = pack.place(id) {
            return Some(first + place);
        }
        first = first.saturating_add(pack.len() as u32);
    }
    None
}
