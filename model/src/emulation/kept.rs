//! The bytes of a function that the device keeps: those of its doorbell regions and of its stateful ones.

use mlx5_twin_fw_cmds::twin_v1::{MAX_DOORBELLS, scope};
use mlx5_twin_sim::tlp::ByteEnables;

/// Where the stateful regions' bytes begin: doorbells come first, as they are numbered.
pub(super) const STATEFUL: usize = 4 * MAX_DOORBELLS;

/// What software sets of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Values,
    Defaults,
    Both,
}

impl Scope {
    pub(super) fn of_op_mod(op_mod: u16) -> Option<Scope> {
        match op_mod {
            scope::VALUES => Some(Scope::Values),
            scope::DEFAULTS => Some(Scope::Defaults),
            scope::BOTH => Some(Scope::Both),
            _ => None,
        }
    }
}

/// The bytes, and what a reset makes of them. All are 0 at first.
#[derive(Debug)]
pub(super) struct Kept {
    values: Vec<u8>,
    defaults: Vec<u8>,
}

impl Kept {
    /// Room for all doorbells, and for `stateful` bytes of stateful regions.
    pub(super) fn new(stateful: usize) -> Kept {
        let zeros = vec![0; STATEFUL + stateful];
        Kept { values: zeros.clone(), defaults: zeros }
    }

    /// `len` bytes from `at` on; none, if they aren't there.
    pub(super) fn read(&self, at: usize, len: usize) -> &[u8] {
        self.values.get(at..).and_then(|bytes| bytes.get(..len)).unwrap_or_default()
    }

    /// The host writes the enabled bytes of `data`, whole dwords.
    pub(super) fn write(&mut self, at: usize, data: &[u8], enables: ByteEnables) {
        let Some(bytes) = self.values.get_mut(at..).and_then(|bytes| bytes.get_mut(..data.len())) else { return };
        for (dword, (old, new)) in (0..).zip(bytes.chunks_exact_mut(4).zip(data.chunks_exact(4))) {
            let enabled = enables.of_dw(dword);
            for (_, (old, new)) in (0..4).zip(old.iter_mut().zip(new)).filter(|(lane, _)| enabled >> lane & 1 != 0) {
                *old = *new;
            }
        }
    }

    /// Software sets bytes.
    pub(super) fn set(&mut self, at: usize, data: &[u8], scope: Scope) {
        let set = |bytes: &mut [u8]| {
            if let Some(bytes) = bytes.get_mut(at..).and_then(|bytes| bytes.get_mut(..data.len())) {
                bytes.copy_from_slice(data);
            }
        };
        if scope != Scope::Defaults {
            set(&mut self.values);
        }
        if scope != Scope::Values {
            set(&mut self.defaults);
        }
    }

    /// The doorbells' values, in the order of their numbers.
    pub(super) fn doorbells(&self) -> impl Iterator<Item = u32> {
        let (dwords, _) = self.values.as_chunks();
        dwords.iter().take(MAX_DOORBELLS).map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// The value of one doorbell; 0 if there's none with this number.
    pub(super) fn doorbell(&self, number: u32) -> u32 {
        self.doorbells().nth(number as usize).unwrap_or(0)
    }

    pub(super) fn reset(&mut self) {
        self.values.copy_from_slice(&self.defaults);
    }
}
