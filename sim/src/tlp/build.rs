//! Constructors: each gives a header that [`Header::decode`] takes, or the rule that it would break.

use super::header::{IDO, T8, T9};
use super::{Attr, Bdf, ByteEnables, ConfigType, Header, Kind, Malformed, MessageCode, Route, Status};

/// `Ok` if `value` lies within `min..=max`.
const fn within(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), Malformed> {
    if value < min || value > max {
        return Err(Malformed::OutOfRange { field, value, min, max });
    }
    Ok(())
}

/// T9 and T8 of a 10-bit tag, in DW 0.
const fn tag_high(tag: u16) -> u32 {
    (tag as u32) << 14 & T9 | (tag as u32) << 11 & T8
}

const fn dw0(kind: Kind, tag: u16, length_dw: u32) -> u32 {
    (kind.fmt_type() as u32) << 24 | tag_high(tag) | length_dw & 0x3ff
}

const fn dw1(requester: Bdf, tag: u16, low: u8) -> u32 {
    (requester.0 as u32) << 16 | (tag as u32 & 0xff) << 8 | low as u32
}

/// What makes a memory request: type for 32 and for 64 bits, who, what and where.
struct Memory {
    kinds: (Kind, Kind),
    requester: Bdf,
    tag: u16,
    address: u64,
    byte_enables: ByteEnables,
}

impl Memory {
    /// The header, checked.
    fn header(&self) -> Result<Header, Malformed> {
        let &Memory { address, byte_enables: ByteEnables { first, last, length_dw }, .. } = self;
        within("Length", u64::from(length_dw), 1, 1024)?;
        within("First DW BE", u64::from(first), 0, 15)?;
        within("Last DW BE", u64::from(last), 0, 15)?;
        if address & 3 != 0 {
            return Err(Malformed::Unaligned { address });
        }
        let header = self.header_of_range()?;
        header.check()?;
        Ok(header)
    }

    /// The header, where address, length and byte enables come from [`ByteEnables::of_range`] and so break no rule.
    #[inline]
    fn header_of_range(&self) -> Result<Header, Malformed> {
        let &Memory { kinds, requester, tag, address, byte_enables: ByteEnables { first, last, length_dw } } = self;
        within("Tag", u64::from(tag), 0, 0x3ff)?;
        let low = last << 4 | first;
        Ok(if address >> 32 == 0 {
            Header { dw: [dw0(kinds.0, tag, length_dw), dw1(requester, tag, low), address as u32, 0], kind: kinds.0 }
        } else {
            Header {
                dw: [dw0(kinds.1, tag, length_dw), dw1(requester, tag, low), (address >> 32) as u32, address as u32],
                kind: kinds.1,
            }
        })
    }
}

/// The two atomics with one operand, and the one with two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atomic {
    /// Adds the operand.
    FetchAdd,
    /// Stores the operand.
    Swap,
    /// Stores the second operand if memory holds the first.
    Cas,
}

/// Constructors. Memory requests, atomics and deferrable writes take the 32-bit format for addresses below 4 GiB, else the 64-bit one.
///
/// All leave TC, attributes, AT, TD and EP at 0 unless they take them as parameters; the setters change them.
/// Each refuses a `tag` above 1023 with [`Malformed::OutOfRange`].
impl Header {
    /// A memory read of `length_dw` (1..=1024) DWs from `address` (a multiple of 4) with these byte enables.
    ///
    /// # Errors
    /// [`Malformed::OutOfRange`], [`Malformed::Unaligned`], or a rule of byte enables or the 4 KiB rule.
    pub fn mem_read(
        requester: Bdf,
        tag: u16,
        address: u64,
        first_be: u8,
        last_be: u8,
        length_dw: u32,
    ) -> Result<Header, Malformed> {
        Memory {
            kinds: (Kind::MRd32, Kind::MRd64),
            requester,
            tag,
            address,
            byte_enables: ByteEnables { first: first_be, last: last_be, length_dw },
        }
        .header()
    }

    /// A memory write; parameters and errors as for [`mem_read`](Self::mem_read).
    ///
    /// # Errors
    /// As for [`mem_read`](Self::mem_read).
    pub fn mem_write(
        requester: Bdf,
        tag: u16,
        address: u64,
        first_be: u8,
        last_be: u8,
        length_dw: u32,
    ) -> Result<Header, Malformed> {
        Memory {
            kinds: (Kind::MWr32, Kind::MWr64),
            requester,
            tag,
            address,
            byte_enables: ByteEnables { first: first_be, last: last_be, length_dw },
        }
        .header()
    }

    /// A memory read of `len` (0..=4096) bytes from any `address`. `len` 0 is the read without data that flushes writes.
    ///
    /// # Errors
    /// [`Malformed::OutOfRange`], [`Malformed::Crosses4K`].
    pub fn mem_read_bytes(requester: Bdf, tag: u16, address: u64, len: u32) -> Result<Header, Malformed> {
        Memory {
            kinds: (Kind::MRd32, Kind::MRd64),
            requester,
            tag,
            address: address & !3,
            byte_enables: ByteEnables::of_range(address, len)?,
        }
        .header_of_range()
    }

    /// A memory write of `len` (0..=4096) bytes to any `address`. The payload begins at the DW that holds the first byte.
    ///
    /// # Errors
    /// [`Malformed::OutOfRange`], [`Malformed::Crosses4K`].
    pub fn mem_write_bytes(requester: Bdf, tag: u16, address: u64, len: u32) -> Result<Header, Malformed> {
        Memory {
            kinds: (Kind::MWr32, Kind::MWr64),
            requester,
            tag,
            address: address & !3,
            byte_enables: ByteEnables::of_range(address, len)?,
        }
        .header_of_range()
    }

    /// A deferrable memory write of `length_dw` (1..=32) DWs to `address` (a multiple of 4) with these byte enables.
    ///
    /// # Errors
    /// As for [`mem_read`](Self::mem_read), and [`Malformed::DmwrLength`].
    pub fn deferrable_write(
        requester: Bdf,
        tag: u16,
        address: u64,
        first_be: u8,
        last_be: u8,
        length_dw: u32,
    ) -> Result<Header, Malformed> {
        Memory {
            kinds: (Kind::DMWr32, Kind::DMWr64),
            requester,
            tag,
            address,
            byte_enables: ByteEnables { first: first_be, last: last_be, length_dw },
        }
        .header()
    }

    /// An atomic on `operand` bytes (4 or 8; for CAS 16 too) at `address`, a multiple of `operand`.
    /// The payload is one operand; for CAS two: compare, then swap.
    ///
    /// # Errors
    /// [`Malformed::OutOfRange`], [`Malformed::AtomicLength`], [`Malformed::AtomicAlignment`].
    pub fn atomic(
        operation: Atomic,
        requester: Bdf,
        tag: u16,
        address: u64,
        operand: u32,
    ) -> Result<Header, Malformed> {
        within("operand in bytes", u64::from(operand), 4, 16)?;
        let (kinds, operands) = match operation {
            Atomic::FetchAdd => ((Kind::FetchAdd32, Kind::FetchAdd64), 1),
            Atomic::Swap => ((Kind::Swap32, Kind::Swap64), 1),
            Atomic::Cas => ((Kind::Cas32, Kind::Cas64), 2),
        };
        if operand & 3 != 0 {
            return Err(Malformed::AtomicLength { kind: kinds.0, length_dw: operand.div_ceil(4) * operands });
        }
        Memory {
            kinds,
            requester,
            tag,
            address,
            byte_enables: ByteEnables { first: 0, last: 0, length_dw: operand / 4 * operands },
        }
        .header()
    }

    /// An I/O read of the bytes that `be` (4 bits) enables in the DW at `address` (a multiple of 4).
    ///
    /// # Errors
    /// [`Malformed::OutOfRange`], [`Malformed::Unaligned`].
    pub fn io_read(requester: Bdf, tag: u16, address: u32, be: u8) -> Result<Header, Malformed> {
        Header::io(Kind::IORd, requester, tag, address, be)
    }

    /// An I/O write; parameters and errors as for [`io_read`](Self::io_read).
    ///
    /// # Errors
    /// As for [`io_read`](Self::io_read).
    pub fn io_write(requester: Bdf, tag: u16, address: u32, be: u8) -> Result<Header, Malformed> {
        Header::io(Kind::IOWr, requester, tag, address, be)
    }

    fn io(kind: Kind, requester: Bdf, tag: u16, address: u32, be: u8) -> Result<Header, Malformed> {
        if address & 3 != 0 {
            return Err(Malformed::Unaligned { address: u64::from(address) });
        }
        Header::single(kind, requester, tag, address, be)
    }

    /// A configuration read of the bytes that `be` (4 bits) enables in `register`, a number of DWs 0..=1023.
    ///
    /// # Errors
    /// [`Malformed::OutOfRange`].
    pub fn config_read(
        config_type: ConfigType,
        requester: Bdf,
        tag: u16,
        target: Bdf,
        register: u16,
        be: u8,
    ) -> Result<Header, Malformed> {
        let kind = match config_type {
            ConfigType::Type0 => Kind::CfgRd0,
            ConfigType::Type1 => Kind::CfgRd1,
        };
        Header::config(kind, requester, tag, target, register, be)
    }

    /// A configuration write; parameters and errors as for [`config_read`](Self::config_read).
    ///
    /// # Errors
    /// As for [`config_read`](Self::config_read).
    pub fn config_write(
        config_type: ConfigType,
        requester: Bdf,
        tag: u16,
        target: Bdf,
        register: u16,
        be: u8,
    ) -> Result<Header, Malformed> {
        let kind = match config_type {
            ConfigType::Type0 => Kind::CfgWr0,
            ConfigType::Type1 => Kind::CfgWr1,
        };
        Header::config(kind, requester, tag, target, register, be)
    }

    fn config(kind: Kind, requester: Bdf, tag: u16, target: Bdf, register: u16, be: u8) -> Result<Header, Malformed> {
        within("Register Number", u64::from(register), 0, 1023)?;
        let dw2 = u32::from(target.0) << 16 | u32::from(register) << 2;
        Header::single(kind, requester, tag, dw2, be)
    }

    /// A request for one DW, in a header of three.
    fn single(kind: Kind, requester: Bdf, tag: u16, dw2: u32, be: u8) -> Result<Header, Malformed> {
        within("Tag", u64::from(tag), 0, 0x3ff)?;
        within("First DW BE", u64::from(be), 0, 15)?;
        Ok(Header { dw: [dw0(kind, tag, 1), dw1(requester, tag, be), dw2, 0], kind })
    }

    /// A message with `length_dw` (0..=1024) DWs of data; 0 makes a Msg, else it is a MsgD. `data` is DW 2 and DW 3 of the header:
    /// what they mean depends on the code. A message routed by ID has the target's ID in the upper half of `data[0]`.
    ///
    /// # Errors
    /// [`Malformed::OutOfRange`], a rule of the message's code, or [`Malformed::MessageRouting`] for a reserved routing.
    pub fn message(
        requester: Bdf,
        tag: u8,
        code: MessageCode,
        route: Route,
        data: [u32; 2],
        length_dw: u32,
    ) -> Result<Header, Malformed> {
        within("Length", u64::from(length_dw), 0, 1024)?;
        if let Route::ReservedImplicit(_) = route {
            return Err(Malformed::MessageRouting { code, route });
        }
        let kind = if length_dw == 0 { Kind::Msg } else { Kind::MsgD };
        let header = Header {
            dw: [
                dw0(kind, 0, length_dw) | u32::from(route.message_bits()) << 24,
                dw1(requester, u16::from(tag), code.0),
                data[0],
                data[1],
            ],
            kind,
        };
        header.check()?;
        Ok(header)
    }

    /// A completion: CplD if `length_dw` (0..=1024) isn't 0, else Cpl. `byte_count` (1..=4096) bytes remain, this completion's included;
    /// its first byte's address ends in the seven bits `lower_address`.
    ///
    /// # Errors
    /// [`Malformed::OutOfRange`], [`Malformed::CompletionData`], [`Malformed::CompletionStatus`], [`Malformed::CompletionLength`].
    #[expect(clippy::too_many_arguments, reason = "the fields of a completion")]
    pub fn completion(
        completer: Bdf,
        requester: Bdf,
        tag: u16,
        status: Status,
        byte_count: u32,
        lower_address: u8,
        length_dw: u32,
        tc: u8,
        attr: Attr,
    ) -> Result<Header, Malformed> {
        within("Tag", u64::from(tag), 0, 0x3ff)?;
        within("Byte Count", u64::from(byte_count), 1, 4096)?;
        within("Lower Address", u64::from(lower_address), 0, 0x7f)?;
        within("Length", u64::from(length_dw), 0, 1024)?;
        within("TC", u64::from(tc), 0, 7)?;
        let kind = if length_dw == 0 { Kind::Cpl } else { Kind::CplD };
        let header = Header {
            dw: [
                dw0(kind, tag, length_dw) | u32::from(tc) << 20 | attr_bits(attr),
                u32::from(completer.0) << 16 | u32::from(status.bits()) << 13 | byte_count & 0xfff,
                dw1(requester, tag, lower_address),
                0,
            ],
            kind,
        };
        header.check_strict()?;
        Ok(header)
    }

    /// Sets the traffic class, 0..=7.
    ///
    /// # Errors
    /// [`Malformed::OutOfRange`], or the rule that ties this TLP to TC0. The header is unchanged then.
    pub fn set_tc(&mut self, tc: u8) -> Result<(), Malformed> {
        within("TC", u64::from(tc), 0, 7)?;
        self.replace_dw0(7 << 20, u32::from(tc) << 20)
    }

    /// Sets the attributes.
    ///
    /// # Errors
    /// [`Malformed::FieldNotZero`] for RO or NS in I/O and configuration requests. The header is unchanged then.
    pub fn set_attr(&mut self, attr: Attr) -> Result<(), Malformed> {
        self.replace_dw0(IDO | 3 << 12, attr_bits(attr))
    }

    /// Sets the address type of a memory request.
    ///
    /// # Errors
    /// [`Malformed::AddressTypeOf`] for the reserved type, and for any but `Untranslated` where there is no memory address.
    /// The header is unchanged then.
    pub fn set_at(&mut self, at: super::AddressType) -> Result<(), Malformed> {
        use super::AddressType::{Reserved, Untranslated};
        if at == Reserved || at != Untranslated && !self.kind.is_memory() {
            return Err(Malformed::AddressTypeOf { kind: self.kind, at });
        }
        self.replace_dw0(3 << 10, (at as u32) << 10)
    }

    fn replace_dw0(&mut self, mask: u32, bits: u32) -> Result<(), Malformed> {
        let mut changed = *self;
        changed.dw[0] = self.dw[0] & !mask | bits;
        changed.check()?;
        *self = changed;
        Ok(())
    }
}

/// The three attribute bits at their places in DW 0.
const fn attr_bits(attr: Attr) -> u32 {
    (attr.bits() as u32 & 4) << 16 | (attr.bits() as u32 & 3) << 12
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn requests_for_bytes_break_no_rule(requester: u16, tag in 0..0x400_u16, address: u64, len in 0..=4096_u32) {
            for make in [Header::mem_read_bytes, Header::mem_write_bytes] {
                match make(Bdf(requester), tag, address, len) {
                    Ok(header) => prop_assert_eq!(header.check_strict(), Ok(())),
                    Err(error) => prop_assert!(matches!(error, Malformed::Crosses4K { .. }), "{error}"),
                }
            }
        }
    }
}
