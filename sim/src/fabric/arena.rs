//! Where TLPs live while they travel: slots of a fixed size with small ids, so that a hop copies nothing and allocates nothing.

use super::credits::Cost;
use crate::time::Time;
use crate::tlp::{Class, Header};

/// Names a TLP in the arena. It's valid until the TLP is consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlpId(pub(crate) u32);

impl TlpId {
    /// No TLP: the end of a list.
    pub(crate) const NONE: TlpId = TlpId(u32::MAX);
}

/// The largest payload that a slot holds itself: a cache line.
const INLINE: usize = 64;
/// The smallest Max_Payload_Size that there is, in bytes.
const SMALLEST_LIMIT: u16 = 128;
/// The bits that the size of a payload has if it's no less than that: up to 4,096, and so apart from EP, TD and bit 0.
const SIZES: u16 = 0x1fff & !(SMALLEST_LIMIT - 1);
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

/// What a TLP is to a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight {
    pub(crate) class: Class,
    /// The flow-control credits that it takes.
    pub(crate) cost: Cost,
    /// Its bytes on the link, framing excluded.
    pub(crate) bytes: u16,
    /// The virtual channel of the link over which it came: the number of the receiver's VC resource. Plain ports leave it alone.
    pub(crate) channel: u8,
}

/// A TLP under way: its decoded header, the header as the wire has it, and its payload.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Slot {
    pub(crate) header: Header,
    /// The header as the wire has it.
    pub(crate) raw: [u8; 16],
    pub(crate) born: Time,
    /// Next in a queue, or in the list of free slots.
    pub(crate) next: TlpId,
    /// The port in whose receive buffer the TLP stands, or `NO_PORT`. On the wire it's the one that it came from.
    pub(crate) held_by: u16,
    /// The CPU access that waits for this TLP to leave, or `NONE`.
    pub(crate) ticket: u32,
    /// Order of arrival at the queue it waits in.
    pub(crate) order: u32,
    /// What every hop asks of the header, computed once.
    pub(crate) weight: Weight,
    /// Bytes of the payload.
    payload: u16,
    /// Not 0 if the TLP is one that receivers look at.
    special: u16,
    long: u32,
    pub(crate) extra: u32,
    inline: [u8; INLINE],
}

/// The TLP has prefixes or a digest in the arena.
const DECORATED: u16 = 1 << 0;
/// The bytes of the header have changed.
const CHANGED: u16 = 1 << 1;

/// What few TLPs have and a receiver looks at: EP and TD, which are bits 14 and 15 of DW 0, prefixes or a digest in the arena, and 128 bytes of
/// payload or more: no receiver takes less than that.
#[inline(always)]
const fn special(header: &Header, payload: usize) -> u16 {
    header.dws()[0] as u16 & 0xc000 | payload as u16 & SIZES
}

impl Slot {
    /// Whether the header's bytes aren't those any more that it was decoded from or encoded to.
    pub(crate) fn has_changed(&self) -> bool {
        self.special & CHANGED != 0
    }

    /// Puts other bytes in the place of the header's, as they may be after a fault on the wire: the next receiver decodes them.
    pub(crate) fn change_bytes(&mut self, raw: [u8; 16]) {
        self.raw = raw;
        self.special |= CHANGED;
    }

    /// Whether there's something about the TLP that few have: poisoned data, a digest, prefixes, or more data than every receiver takes.
    #[inline(always)]
    pub(crate) fn is_special(&self) -> bool {
        self.special_bits() != 0
    }

    /// Not 0 if the TLP is special.
    #[inline(always)]
    pub(crate) fn special_bits(&self) -> u32 {
        self.special.into()
    }

    /// Whether all that is special about the TLP is its size.
    #[inline]
    pub(crate) fn is_only_large(&self) -> bool {
        self.special & !SIZES == 0
    }

    /// Puts another header in the place of the TLP's own.
    pub(crate) fn replace_header(&mut self, header: Header) {
        self.header = header;
        header.encode(&mut self.raw);
        self.special = self.special & !CHANGED | special(&header, usize::from(self.payload));
    }
}

/// The TLP isn't in a receive buffer: its source has just made it.
pub(crate) const NO_PORT: u16 = u16::MAX;
/// No CPU access waits for the TLP.
pub(crate) const NO_TICKET: u32 = u32::MAX;

/// All TLPs under way.
#[derive(Debug)]
pub(crate) struct Arena {
    slots: Vec<Slot>,
    /// The first free slot; the others follow by their `next`.
    free: TlpId,
    live: usize,
    long: Vec<Box<[u8; MAX_PAYLOAD]>>,
    long_free: Vec<u32>,
    extra: Vec<Extra>,
    extra_free: Vec<u32>,
}

impl Arena {
    pub(crate) fn new() -> Arena {
        Arena {
            slots: Vec::new(),
            free: TlpId::NONE,
            live: 0,
            long: Vec::new(),
            long_free: Vec::new(),
            extra: Vec::new(),
            extra_free: Vec::new(),
        }
    }

    /// Makes room for a TLP with this header; its payload is to be filled in by [`Arena::payload_mut`].
    #[inline(always)]
    pub(crate) fn insert(&mut self, header: Header, born: Time) -> TlpId {
        self.live += 1;
        let payload = header.payload_len();
        let long = if payload > INLINE { self.take_long() } else { NONE };
        if self.free == TlpId::NONE {
            self.grow(header);
        }
        let id = self.free;
        let slot = &mut self.slots[id.0 as usize];
        self.free = slot.next;
        slot.header = header;
        let header_len = header.encode(&mut slot.raw);
        slot.born = born;
        slot.held_by = NO_PORT;
        slot.ticket = NO_TICKET;
        let bytes = (header_len + payload) as u16;
        slot.weight = Weight { class: header.class(), cost: Cost::of_payload(payload), bytes, channel: 0 };
        slot.payload = payload as u16;
        slot.special = special(&header, payload);
        slot.long = long;
        slot.extra = NONE;
        id
    }

    /// Adds a free slot. It holds some valid header.
    #[cold]
    fn grow(&mut self, header: Header) {
        self.free = TlpId(self.slots.len() as u32);
        self.slots.push(Slot {
            header,
            raw: [0; 16],
            born: Time::ZERO,
            next: TlpId::NONE,
            held_by: NO_PORT,
            ticket: NO_TICKET,
            order: 0,
            weight: Weight { class: header.class(), cost: Cost::of_payload(0), bytes: 0, channel: 0 },
            payload: 0,
            special: 0,
            long: NONE,
            extra: NONE,
            inline: [0; INLINE],
        });
    }

    /// A place for a payload that's too large for a slot, out of the way of those that aren't.
    #[cold]
    #[inline(never)]
    fn take_long(&mut self) -> u32 {
        if let Some(id) = self.long_free.pop() {
            return id;
        }
        self.long.push(Box::new([0; MAX_PAYLOAD]));
        self.long.len() as u32 - 1
    }

    /// Gives a TLP prefixes and a digest.
    pub(crate) fn set_extra(&mut self, id: TlpId, extra: Extra) {
        let slot = &mut self.slots[id.0 as usize];
        let digest = if extra.digest.is_some() { 4 } else { 0 };
        slot.weight.bytes = slot.header.header_len() as u16 + slot.payload + u16::from(extra.prefix_len) + digest;
        slot.special |= DECORATED;
        if let Some(old) = self.extra.get_mut(slot.extra as usize) {
            *old = extra;
            return;
        }
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

    /// Whether all of a TLP is in its slot: it has no long payload, no prefixes and no digest.
    #[inline]
    pub(crate) fn is_plain(&self, id: TlpId) -> bool {
        let slot = &self.slots[id.0 as usize];
        slot.long & slot.extra == NONE
    }

    /// Forgets the parts of a TLP that aren't in its slot.
    pub(crate) fn drop_parts(&mut self, id: TlpId) {
        let slot = &mut self.slots[id.0 as usize];
        for (part, free) in [(&mut slot.long, &mut self.long_free), (&mut slot.extra, &mut self.extra_free)] {
            if *part != NONE {
                free.push(std::mem::replace(part, NONE));
            }
        }
    }

    /// Forgets a TLP, which [is plain](Arena::is_plain): gives the port in whose receive buffer it stood, and what it took of that.
    #[inline]
    pub(crate) fn remove(&mut self, id: TlpId) -> (u16, Weight) {
        self.live -= 1;
        let slot = &mut self.slots[id.0 as usize];
        let held = (slot.held_by, slot.weight);
        slot.next = self.free;
        self.free = id;
        held
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
        let len = usize::from(slot.payload);
        match slot.long {
            NONE => &slot.inline[..len],
            long => &self.long[long as usize][..len],
        }
    }

    /// The payload of a TLP, to be filled in.
    #[inline]
    pub(crate) fn payload_mut(&mut self, id: TlpId) -> &mut [u8] {
        self.unfilled(id).1
    }

    /// What a TLP is to a link, and its payload to be filled in.
    #[inline]
    pub(crate) fn unfilled(&mut self, id: TlpId) -> (Weight, &mut [u8]) {
        let slot = &mut self.slots[id.0 as usize];
        let len = usize::from(slot.payload);
        match slot.long {
            NONE => (slot.weight, &mut slot.inline[..len]),
            long => (slot.weight, &mut self.long[long as usize][..len]),
        }
    }

    /// How many TLPs are under way.
    pub(crate) fn len(&self) -> usize {
        self.live
    }
}
