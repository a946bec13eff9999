//! The rules that a header alone can break (PCIe base spec 2.2.5 to 2.2.9).

use super::header::Header;
use super::message::Data;
use super::{AddressType, Kind, Malformed, Status};

/// TC, Attr\[1:0\], AT and Length of DW 0: what an I/O or configuration request has no choice in.
const FIXED: u32 = 7 << 20 | 3 << 12 | 3 << 10 | 0x3ff;

/// First DW BE values that leave no gap up to the end of the DW: `1000 1100 1110 1111`, as a set of bits.
const UP_TO_END: u32 = 1 << 8 | 1 << 12 | 1 << 14 | 1 << 15;
/// Last DW BE values that leave no gap from the start of the DW: `0001 0011 0111 1111`, as a set of bits.
const FROM_START: u32 = 1 << 1 | 1 << 3 | 1 << 7 | 1 << 15;

impl Header {
    /// The rules that receivers must or may check.
    #[inline]
    pub(super) fn check(&self) -> Result<(), Malformed> {
        match self.kind {
            Kind::MWr32 | Kind::MWr64 => self.check_memory(true),
            Kind::MRd32 | Kind::MRd64 | Kind::MRdLk32 | Kind::MRdLk64 => self.check_memory(!self.th()),
            Kind::Cpl | Kind::CplD | Kind::CplLk | Kind::CplDLk => Ok(()),
            Kind::IORd | Kind::IOWr | Kind::CfgRd0 | Kind::CfgWr0 | Kind::CfgRd1 | Kind::CfgWr1 => self.check_single(),
            Kind::DMWr32 | Kind::DMWr64 => {
                if self.length_dw() > 32 {
                    return Err(Malformed::DmwrLength { kind: self.kind, length_dw: self.length_dw() });
                }
                self.check_memory(!self.th())
            }
            Kind::FetchAdd32 | Kind::FetchAdd64 | Kind::Swap32 | Kind::Swap64 | Kind::Cas32 | Kind::Cas64 => {
                self.check_atomic()
            }
            Kind::Msg | Kind::MsgD => self.check_message(),
        }
    }

    /// Byte enables (if the header has them), AT, 4 KiB.
    #[inline]
    fn check_memory(&self, byte_enables: bool) -> Result<(), Malformed> {
        let length_dw = self.length_dw();
        let address = self.address();
        if byte_enables {
            let first_be = self.first_be();
            let last_be = self.last_be();
            if length_dw == 1 {
                if last_be != 0 {
                    return Err(Malformed::LastBeOfOneDw { last_be });
                }
            } else if UP_TO_END >> first_be & FROM_START >> last_be & 1 == 0 {
                // Not without a gap: a mistake, but for two DWs that are aligned to 8 bytes.
                if first_be == 0 {
                    return Err(Malformed::FirstBeZero { length_dw });
                }
                if last_be == 0 {
                    return Err(Malformed::LastBeZero { length_dw });
                }
                if length_dw > 2 || address & 4 != 0 {
                    return Err(Malformed::BeGap { first_be, last_be, length_dw, address });
                }
            }
        }
        if (address as u32 & 0xfff) + length_dw * 4 > 4096 {
            return Err(Malformed::Crosses4K { address, length_dw });
        }
        self.check_at()
    }

    #[inline]
    fn check_at(&self) -> Result<(), Malformed> {
        if self.at() == AddressType::Reserved {
            return Err(Malformed::ReservedAt { kind: self.kind });
        }
        Ok(())
    }

    /// I/O and configuration: one DW, TC0, no attributes, AT 0.
    #[inline]
    fn check_single(&self) -> Result<(), Malformed> {
        if self.dw[0] & FIXED != 1 {
            return Err(self.not_single());
        }
        match self.last_be() {
            0 => Ok(()),
            last_be => Err(Malformed::LastBeOfOneDw { last_be }),
        }
    }

    #[cold]
    fn not_single(&self) -> Malformed {
        let kind = self.kind;
        let length_dw = self.length_dw();
        if length_dw != 1 {
            return Malformed::LengthNotOne { kind, length_dw };
        }
        let (field, value) = if self.tc() != 0 {
            ("TC", self.tc())
        } else if self.at() != AddressType::Untranslated {
            ("AT", self.at() as u8)
        } else {
            ("Attr[1:0]", self.attr().bits() & 3)
        };
        Malformed::FieldNotZero { kind, field, value }
    }

    /// Bytes of one operand of an atomic, if Length is that of an operand.
    pub(super) const fn operand(&self) -> Option<u32> {
        match (self.kind, self.length_dw()) {
            (Kind::Cas32 | Kind::Cas64, length @ (2 | 4 | 8)) => Some(length * 2),
            (Kind::Cas32 | Kind::Cas64, _) => None,
            (_, length @ (1 | 2)) => Some(length * 4),
            _ => None,
        }
    }

    fn check_atomic(&self) -> Result<(), Malformed> {
        let kind = self.kind;
        let address = self.address();
        let Some(operand) = self.operand() else {
            return Err(Malformed::AtomicLength { kind, length_dw: self.length_dw() });
        };
        if address & u64::from(operand - 1) != 0 {
            return Err(Malformed::AtomicAlignment { kind, address, operand });
        }
        self.check_at()
    }

    /// Messages whose code has a name; any other code passes, for a receiver to answer as unsupported.
    fn check_message(&self) -> Result<(), Malformed> {
        let code = self.message_code();
        let Some(row) = code.row() else {
            return Ok(());
        };
        let route = self.route();
        if !row.permits(route) {
            return Err(Malformed::MessageRouting { code, route });
        }
        let expected = match (row.data, self.has_data()) {
            (Data::Never, true) | (Data::Always(_), false) => {
                return Err(Malformed::MessageData { code, kind: self.kind });
            }
            (Data::Always(length) | Data::Either(length), true) => Some(u32::from(length)),
            _ => None,
        };
        match expected {
            Some(expected) if expected != self.length_dw() => {
                return Err(Malformed::MessageLength { code, length_dw: self.length_dw(), expected });
            }
            _ => {}
        }
        if row.tc0 && self.tc() != 0 {
            return Err(Malformed::MessageTc { code, tc: self.tc() });
        }
        Ok(())
    }

    /// The rules that bind a sender but aren't a receiver's to enforce: the 64-bit format is for addresses from 4 GiB on; only a
    /// successful completion carries data, and no more than Byte Count leaves; no reserved status or routing.
    ///
    /// # Errors
    /// The rule of [`Malformed`], marked there as 'sender', that is broken.
    pub fn check_strict(&self) -> Result<(), Malformed> {
        let kind = self.kind;
        if kind.is_memory() && self.header_len() == 16 && self.dw[2] == 0 {
            return Err(Malformed::Address64Below4G { kind, address: self.address() });
        }
        if kind.is_message() {
            let route = self.route();
            if let super::Route::ReservedImplicit(_) = route {
                return Err(Malformed::MessageRouting { code: self.message_code(), route });
            }
        }
        if !kind.is_completion() {
            return Ok(());
        }
        let status = self.status();
        if let Status::Reserved(_) = status {
            return Err(Malformed::CompletionStatus { status });
        }
        if !self.has_data() {
            return Ok(());
        }
        if status != Status::Successful {
            return Err(Malformed::CompletionData { kind, status });
        }
        let needs = (u32::from(self.lower_address() & 3) + self.byte_count()).div_ceil(4);
        if self.length_dw() > needs {
            return Err(Malformed::CompletionLength {
                length_dw: self.length_dw(),
                byte_count: self.byte_count(),
                lower_address: self.lower_address(),
                needs,
            });
        }
        Ok(())
    }

    /// Is the payload within a receiver's Max_Payload_Size of `max` bytes?
    ///
    /// # Errors
    /// [`Malformed::MaxPayload`].
    pub const fn check_max_payload(&self, max: u32) -> Result<(), Malformed> {
        let payload = self.payload_len() as u32;
        if payload > max {
            return Err(Malformed::MaxPayload { payload, max });
        }
        Ok(())
    }
}
