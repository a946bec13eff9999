//! Where TLPs live while they travel: slots of a fixed size with small ids, so that a hop copies nothing and allocates nothing.

use crate::time::Time;
use crate::tlp::Header;

/// Names a TLP in the arena. It's valid until the TLP is consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlpId(pub(crate) u32);

impl TlpId {
    /// No TLP: the end of a list.
    pub(crate) const NONE: TlpId = TlpId(u32::MAX);
}

/// The largest payload that a slot holds itself: a cache line.
const INLINE: usize = 64;
/// The largest payload of a TLP: 1,024 dwords (PCIe base specification, 'Length' field).
pub const MAX_PAYLOAD: usize = 4096;
/// Room for the prefixes of a TLP in bytes: the arena keeps up to eight.
pub(crate) const MAX_PREFIX_BYTES: usize = 32;
const NONE: u32 = u32::MAX;

/// What few TLPs have: prefixes and a digest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extra {
    pub(crate) prefix_bytes: [u8; MAX_PREFIX_BYTES],
    pub(crate) prefix_len: u8,
    pub(crate) digest: Option<[u8; 4]>,
}

/// A TLP under way: its decoded header, the header as the wire has it, and its payload.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Slot {
    pub(crate) header: Header,
    pub(crate) raw: [u8; 16],
    pub(crate) born: Time,
    /// Next in a queue, or in the list of free slots.
    pub(crate) next: TlpId,
    /// The port in whose receive buffer the TLP stands, or `NO_PORT`.
    pub(crate) held_by: u16,
    /// The CPU access that waits for this TLP to leave, or `NONE`.
    pub(crate) ticket: u32,
    /// Order of arrival at the queue it waits in.
    pub(crate) order: u32,
    long: u32,
    pub(crate) extra: u32,
    inline: [u8; INLINE],
}

/// The TLP isn't in a receive buffer: its source has just made it.
pub(crate) const NO_PORT: u16 = u16::MAX;
/// No CPU access waits for the TLP.
pub(crate) const NO_TICKET: u32 = u32::MAX;

/// All TLPs under way.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    slots: Vec<Slot>,
    free: Vec<u32>,
    long: Vec<Box<[u8; MAX_PAYLOAD]>>,
    long_free: Vec<u32>,
    extra: Vec<Extra>,
    extra_free: Vec<u32>,
}

impl Arena {
    /// Makes room for a TLP with this header; its payload is to be filled in by [`Arena::payload_mut`].
    #[inline]
    pub(crate) fn insert(&mut self, header: Header, born: Time) -> TlpId {
        let long = if header.payload_len() > INLINE { self.take_long() } else { NONE };
        let mut raw = [0; 16];
        header.encode(&mut raw);
        if let Some(id) = self.free.pop() {
            let slot = &mut self.slots[id as usize];
            slot.header = header;
            slot.raw = raw;
            slot.born = born;
            slot.held_by = NO_PORT;
            slot.ticket = NO_TICKET;
            slot.long = long;
            slot.extra = NONE;
            return TlpId(id);
        }
        let id = self.slots.len() as u32;
        self.slots.push(Slot {
            header,
            raw,
            born,
            next: TlpId::NONE,
            held_by: NO_PORT,
            ticket: NO_TICKET,
            order: 0,
            long,
            extra: NONE,
            inline: [0; INLINE],
        });
        TlpId(id)
    }

    fn take_long(&mut self) -> u32 {
        if let Some(id) = self.long_free.pop() {
            return id;
        }
        self.long.push(Box::new([0; MAX_PAYLOAD]));
        self.long.len() as u32 - 1
    }

    /// Gives a TLP prefixes and a digest.
    pub(crate) fn set_extra(&mut self, id: TlpId, extra: Extra) {
        let place = if let Some(place) = self.extra_free.pop() {
            self.extra[place as usize] = extra;
            place
        } else {
            self.extra.push(extra);
            self.extra.len() as u32 - 1
        };
        self.slots[id.0 as usize].extra = place;
    }

    /// The prefixes and digest of a TLP, if it has any.
    #[inline]
    pub(crate) fn extra(&self, slot: &Slot) -> Option<&Extra> {
        self.extra.get(slot.extra as usize)
    }

    /// Forgets a TLP.
    #[inline]
    pub(crate) fn remove(&mut self, id: TlpId) {
        let slot = &self.slots[id.0 as usize];
        if slot.long != NONE {
            self.long_free.push(slot.long);
        }
        if slot.extra != NONE {
            self.extra_free.push(slot.extra);
        }
        self.free.push(id.0);
    }

    #[inline]
    pub(crate) fn slot(&self, id: TlpId) -> &Slot {
        &self.slots[id.0 as usize]
    }

    #[inline]
    pub(crate) fn slot_mut(&mut self, id: TlpId) -> &mut Slot {
        &mut self.slots[id.0 as usize]
    }

    /// The payload of a TLP, in wire order.
    #[inline]
    pub(crate) fn payload(&self, id: TlpId) -> &[u8] {
        let slot = &self.slots[id.0 as usize];
        let len = slot.header.payload_len();
        match slot.long {
            NONE => &slot.inline[..len],
            long => &self.long[long as usize][..len],
        }
    }

    /// The payload of a TLP, to be filled in.
    #[inline]
    pub(crate) fn payload_mut(&mut self, id: TlpId) -> &mut [u8] {
        let slot = &mut self.slots[id.0 as usize];
        let len = slot.header.payload_len();
        match slot.long {
            NONE => &mut slot.inline[..len],
            long => &mut self.long[long as usize][..len],
        }
    }

    /// How many TLPs are under way.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
