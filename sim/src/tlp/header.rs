//! The validated header of a TLP: its fields as shifts of the wire's DWs (PCIe base spec 2.2).

use super::{AddressType, Attr, Bdf, ByteEnables, Class, Kind, Malformed, MessageCode, Part, Route, Status, TYPES};

/// A valid header without prefixes: the DWs as they are on the wire, most significant byte first, and the type.
///
/// All bits of the wire are kept, reserved ones too, so that decode and encode are exact inverses. Some fields have a
/// meaning for some types only; the accessors say which, and give the bits at their place for any other type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// DW 0 to 3. DW 3 is 0 in a header of 3 DWs.
    pub(super) dw: [u32; 4],
    /// What DW 0 says.
    pub(super) kind: Kind,
}

// Bits of DW 0.
pub(super) const T9: u32 = 1 << 23;
pub(super) const T8: u32 = 1 << 19;
pub(super) const IDO: u32 = 1 << 18;
const RO: u32 = 1 << 13;
pub(super) const LN: u32 = 1 << 17;
pub(super) const TH: u32 = 1 << 16;
pub(super) const TD: u32 = 1 << 15;
pub(super) const EP: u32 = 1 << 14;

const fn dword(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes)
}

impl Header {
    /// Reads and checks the header at the start of `bytes`, which holds no prefixes. Bytes after the header are not looked at.
    ///
    /// # Errors
    /// Each rule that [`Malformed`] marks as 'must' or 'may' and that a header alone can break.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<Header, Malformed> {
        let Some((head, rest)) = bytes.split_first_chunk::<12>() else {
            return Err(too_short(bytes));
        };
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *head;
        let Some(info) = TYPES[usize::from(a)] else {
            return Err(no_type(a));
        };
        let last = if info.header_len == 16 {
            let Some(last) = rest.first_chunk::<4>() else {
                return Err(too_short(bytes));
            };
            dword(*last)
        } else {
            0
        };
        let header =
            Header { dw: [dword([a, b, c, d]), dword([e, f, g, h]), dword([i, j, k, l]), last], kind: info.kind };
        header.check()?;
        Ok(header)
    }

    /// As [`decode`](Self::decode), from DWs as AER's header log has them: DW 0 first, its most significant byte is Fmt/Type.
    /// DW 3 is dropped if the header has 3 DWs.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn from_dws(mut dw: [u32; 4]) -> Result<Header, Malformed> {
        let fmt_type = (dw[0] >> 24) as u8;
        let Some(info) = TYPES[usize::from(fmt_type)] else {
            return Err(no_type(fmt_type));
        };
        if info.header_len == 12 {
            dw[3] = 0;
        }
        let header = Header { dw, kind: info.kind };
        header.check()?;
        Ok(header)
    }

    /// The DWs in the order of the wire, as AER's header log has them. DW 3 is 0 if the header has 3 DWs.
    pub const fn dws(&self) -> [u32; 4] {
        self.dw
    }

    /// Writes the header to the start of `out` and returns its length: 12 or 16 bytes. Of 12, the other 4 become 0.
    #[inline]
    pub fn encode(&self, out: &mut [u8; 16]) -> usize {
        let (dws, _) = out.as_chunks_mut::<4>();
        for (bytes, dw) in dws.iter_mut().zip(self.dw) {
            *bytes = dw.to_be_bytes();
        }
        self.header_len()
    }

    /// The type.
    #[inline]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The class.
    #[inline]
    pub const fn class(&self) -> Class {
        self.kind.class()
    }

    /// How it is routed.
    #[inline]
    pub const fn route(&self) -> Route {
        if self.kind.is_message() {
            Route::of_message(self.message_routing())
        } else if self.kind.is_config() || self.kind.is_completion() {
            Route::Id
        } else {
            Route::Address
        }
    }

    /// Bytes of the header without prefixes: 12 or 16.
    #[inline]
    pub const fn header_len(&self) -> usize {
        12 + (self.dw[0] >> 29 & 1) as usize * 4
    }

    /// Does a payload follow?
    #[inline]
    pub const fn has_data(&self) -> bool {
        self.dw[0] & 1 << 30 != 0
    }

    /// Length in DWs, 1..=1024: of the payload, or of what is asked for. Reserved in Msg, Cpl and CplLk.
    #[inline]
    pub const fn length_dw(&self) -> u32 {
        ((self.dw[0].wrapping_sub(1)) & 0x3ff) + 1
    }

    /// Bytes of the payload: 0 if there is none, else 4..=4096.
    #[inline]
    pub const fn payload_len(&self) -> usize {
        if self.has_data() { self.length_dw() as usize * 4 } else { 0 }
    }

    /// Bytes of the TLP from header to digest, without prefixes.
    #[inline]
    pub const fn tlp_len(&self) -> usize {
        self.header_len() + self.payload_len() + self.td() as usize * 4
    }

    /// The traffic class, 0..=7.
    #[inline]
    pub const fn tc(&self) -> u8 {
        (self.dw[0] >> 20) as u8 & 7
    }

    /// The attributes RO, IDO and NS.
    #[inline]
    pub const fn attr(&self) -> Attr {
        Attr::from_bits((self.dw[0] >> 16 & 4 | self.dw[0] >> 12 & 3) as u8)
    }

    /// Whether Relaxed or ID-based Ordering is set, or a traffic class other than TC0.
    #[inline]
    pub(crate) const fn has_own_order(&self) -> bool {
        self.dw[0] & (IDO | RO | 7 << 20) != 0
    }

    /// The address type of a memory request.
    #[inline]
    pub const fn at(&self) -> AddressType {
        AddressType::from_bits((self.dw[0] >> 10) as u8)
    }

    /// TH: are there processing hints (and a steering tag)? Memory requests only.
    #[inline]
    pub const fn th(&self) -> bool {
        self.dw[0] & TH != 0
    }

    /// LN: lightweight notification. Memory requests and completions only; withdrawn in 6.0.
    #[inline]
    pub const fn ln(&self) -> bool {
        self.dw[0] & LN != 0
    }

    /// TD: does a digest (ECRC) follow?
    #[inline]
    pub const fn td(&self) -> bool {
        self.dw[0] & TD != 0
    }

    /// EP: is the payload poisoned?
    #[inline]
    pub const fn ep(&self) -> bool {
        self.dw[0] & EP != 0
    }

    /// Is there data, and is it poisoned? Without data EP says nothing.
    #[inline]
    pub const fn is_poisoned(&self) -> bool {
        self.ep() && self.has_data()
    }

    /// Who made the request; in a completion, whom it goes to.
    #[inline]
    pub const fn requester(&self) -> Bdf {
        if self.kind.is_completion() { Bdf((self.dw[2] >> 16) as u16) } else { Bdf((self.dw[1] >> 16) as u16) }
    }

    /// The tag, 10 bits: T9, T8, Tag\[7:0\]. Of no meaning in posted requests.
    #[inline]
    pub const fn tag(&self) -> u16 {
        let high = (self.dw[0] & T9) >> 14 | (self.dw[0] & T8) >> 11;
        let dw = if self.kind.is_completion() { self.dw[2] } else { self.dw[1] };
        (high | dw >> 8 & 0xff) as u16
    }

    /// First DW BE (4 bits) of memory, I/O and configuration requests. Bits of the steering tag in reads and atomics with [`th`](Self::th).
    #[inline]
    pub const fn first_be(&self) -> u8 {
        self.dw[1] as u8 & 0xf
    }

    /// Last DW BE (4 bits) of memory, I/O and configuration requests. Bits of the steering tag in reads and atomics with [`th`](Self::th).
    #[inline]
    pub const fn last_be(&self) -> u8 {
        self.dw[1] as u8 >> 4
    }

    /// The byte enables of a request: those of the header, or all bytes where the header has none (atomics; reads with
    /// [`th`](Self::th), base spec 2.2.5).
    #[inline]
    pub const fn byte_enables(&self) -> ByteEnables {
        let length_dw = self.length_dw();
        if self.kind.is_atomic() || self.th() && self.kind.is_memory_read() {
            return ByteEnables { first: 0xf, last: if length_dw == 1 { 0 } else { 0xf }, length_dw };
        }
        ByteEnables { first: self.first_be(), last: self.last_be(), length_dw }
    }

    /// The address of the first DW of a memory or I/O request or a message routed by address; its low two bits are 0.
    #[inline]
    pub const fn address(&self) -> u64 {
        if self.header_len() == 16 {
            (self.dw[2] as u64) << 32 | (self.dw[3] & !3) as u64
        } else {
            (self.dw[2] & !3) as u64
        }
    }

    /// The processing hint (PH, 2 bits) of a memory request with [`th`](Self::th).
    #[inline]
    pub const fn processing_hint(&self) -> u8 {
        (if self.header_len() == 16 { self.dw[3] } else { self.dw[2] }) as u8 & 3
    }

    /// Steering tag bits 7:0 of a memory request with [`th`](Self::th): in the place of the tag in writes, of the byte enables else.
    #[inline]
    pub const fn steering_tag(&self) -> u8 {
        match self.kind {
            Kind::MWr32 | Kind::MWr64 => (self.dw[1] >> 8) as u8,
            _ => self.dw[1] as u8,
        }
    }

    /// Who completed the request. Completions only.
    #[inline]
    pub const fn completer(&self) -> Bdf {
        Bdf((self.dw[1] >> 16) as u16)
    }

    /// The status. Completions only.
    #[inline]
    pub const fn status(&self) -> Status {
        Status::from_bits((self.dw[1] >> 13) as u8)
    }

    /// BCM: a PCI-X completer's Byte Count is that of this completion alone. Completions only.
    #[inline]
    pub const fn bcm(&self) -> bool {
        self.dw[1] & 1 << 12 != 0
    }

    /// Bytes that remain of the request, this completion's included: 1..=4096. Completions only.
    #[inline]
    pub const fn byte_count(&self) -> u32 {
        (self.dw[1].wrapping_sub(1) & 0xfff) + 1
    }

    /// The low seven bits of the address of this completion's first byte. Completions only.
    #[inline]
    pub const fn lower_address(&self) -> u8 {
        self.dw[2] as u8 & 0x7f
    }

    /// The function that a configuration request, completion or message routed by ID goes to.
    #[inline]
    pub const fn target(&self) -> Bdf {
        Bdf((self.dw[2] >> 16) as u16)
    }

    /// The number of a configuration register, in DWs: 0..=1023. Configuration requests only.
    #[inline]
    pub const fn register(&self) -> u16 {
        (self.dw[2] >> 2) as u16 & 0x3ff
    }

    /// The message code. Messages only.
    #[inline]
    pub const fn message_code(&self) -> MessageCode {
        MessageCode(self.dw[1] as u8)
    }

    /// The routing bits r\[2:0\]. Messages only.
    #[inline]
    pub const fn message_routing(&self) -> u8 {
        (self.dw[0] >> 24) as u8 & 7
    }

    /// Sets the tag to the low ten bits of `tag`. The byte enables and all else stay.
    #[inline]
    pub const fn set_tag(&mut self, tag: u16) {
        let tag = tag as u32;
        self.dw[0] = self.dw[0] & !(T9 | T8) | tag << 14 & T9 | tag << 11 & T8;
        let dw = if self.kind.is_completion() { 2 } else { 1 };
        self.dw[dw] = self.dw[dw] & !0xff00 | (tag & 0xff) << 8;
    }

    /// Sets who made the request; in a completion, whom it goes to.
    #[inline]
    pub const fn set_requester(&mut self, requester: Bdf) {
        let dw = if self.kind.is_completion() { 2 } else { 1 };
        self.dw[dw] = self.dw[dw] & 0xffff | (requester.0 as u32) << 16;
    }

    /// Poisons the TLP, or takes that back.
    #[inline]
    pub const fn set_ep(&mut self, ep: bool) {
        self.dw[0] = self.dw[0] & !EP | if ep { EP } else { 0 };
    }

    /// Says whether a digest follows.
    #[inline]
    pub const fn set_td(&mut self, td: bool) {
        self.dw[0] = self.dw[0] & !TD | if td { TD } else { 0 };
    }

    /// Makes a configuration request type 0 where the target's bus begins: what a bridge does when the request has arrived on the
    /// secondary bus that it names. `None` for all but CfgRd1 and CfgWr1.
    pub const fn to_config_type0(&self) -> Option<Header> {
        let kind = match self.kind {
            Kind::CfgRd1 => Kind::CfgRd0,
            Kind::CfgWr1 => Kind::CfgWr0,
            _ => return None,
        };
        let mut header = *self;
        header.kind = kind;
        header.dw[0] &= !(1 << 24);
        Some(header)
    }
}

#[cold]
fn no_type(fmt_type: u8) -> Malformed {
    if fmt_type >> 5 == 0b100 { Malformed::PrefixForHeader { fmt_type } } else { Malformed::ReservedType { fmt_type } }
}

#[cold]
fn too_short(bytes: &[u8]) -> Malformed {
    let needs = match bytes.first() {
        None => 12,
        Some(&fmt_type) => match TYPES[usize::from(fmt_type)] {
            Some(info) => usize::from(info.header_len),
            None => return no_type(fmt_type),
        },
    };
    Malformed::Truncated { part: Part::Header, needs, has: bytes.len() }
}
