//! A header as one line for people.

use super::{AddressType, Attr, Header, Kind, Route};
use std::fmt;

/// Printed as one line, for example
/// `MRd64 00:01.0 tag 0x03a addr 0x100000000 64 B`,
/// `CplD 01:00.0 -> 00:00.0 tag 0x000 SC 64 B left 64 lower 0x00`,
/// `CfgRd0 00:00.0 tag 0x001 -> 03:00.0 reg 0x010 be f`,
/// `Msg 05:00.0 LTR (0x10) local`.
/// Byte enables of memory requests are shown as first/last where they aren't full; TC, attributes, AT and flags where they aren't 0.
impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        if kind.is_completion() {
            self.write_completion(f)?;
        } else if kind.is_message() {
            self.write_message(f)?;
        } else {
            write!(f, "{kind} {} tag {:#05x}", self.requester(), self.tag())?;
            if kind.is_config() {
                let register = self.register() * 4;
                write!(f, " -> {} reg {register:#05x} be {:x}", self.target(), self.first_be())?;
            } else if kind.is_io() {
                write!(f, " addr {:#06x} be {:x}", self.address(), self.first_be())?;
            } else {
                self.write_memory(f)?;
            }
        }
        self.write_flags(f)
    }
}

impl Header {
    fn write_memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let enables = self.byte_enables();
        write!(f, " addr {:#x} {} B", self.address(), enables.enabled())?;
        if enables.enabled() != enables.length_dw * 4 {
            write!(f, " be {:x}/{:x}", enables.first, enables.last)?;
        }
        match self.at() {
            AddressType::Untranslated => {}
            AddressType::TranslationRequest => f.write_str(" translation-request")?,
            AddressType::Translated => f.write_str(" translated")?,
            AddressType::Reserved => f.write_str(" at 3")?,
        }
        if self.th() {
            write!(f, " ph {} st {:#04x}", self.processing_hint(), self.steering_tag())?;
        }
        Ok(())
    }

    fn write_completion(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.completer();
        let to = self.requester();
        write!(f, "{} {from} -> {to} tag {:#05x} {}", self.kind(), self.tag(), self.status())?;
        if self.has_data() {
            write!(f, " {} B", self.payload_len())?;
        }
        write!(f, " left {} lower {:#04x}", self.byte_count(), self.lower_address())
    }

    fn write_message(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.kind(), self.requester(), self.message_code())?;
        match self.route() {
            Route::ToRootComplex => f.write_str("to root complex")?,
            Route::Address => write!(f, "addr {:#x}", self.address())?,
            Route::Id => write!(f, "-> {}", self.target())?,
            Route::Broadcast => f.write_str("broadcast")?,
            Route::Local => f.write_str("local")?,
            Route::GatherToRootComplex => f.write_str("gathered to root complex")?,
            Route::ReservedImplicit(r) => write!(f, "reserved routing {r}")?,
        }
        if self.kind() == Kind::MsgD {
            write!(f, " {} B", self.payload_len())?;
        }
        Ok(())
    }

    fn write_flags(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tc() != 0 {
            write!(f, " tc {}", self.tc())?;
        }
        if self.attr() != Attr::NONE {
            write!(f, " {}", self.attr())?;
        }
        if self.ep() {
            f.write_str(" poisoned")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;

    #[test]
    fn prints_each_kind() {
        let root = Bdf(0);
        let device = Bdf::new(3, 0, 0);
        let read = Header::mem_read_bytes(Bdf::new(0, 1, 0), 0x3a, 0x1_0000_0000, 64).unwrap();
        let message = Header::message(device, 0, MessageCode::LTR, Route::Local, [0, 0], 0);
        let config = Header::config_read(ConfigType::Type0, root, 1, device, 4, 0xf);
        let mut ordered = read;
        ordered.set_tc(3).unwrap();
        ordered.set_attr(Attr::RO | Attr::IDO).unwrap();
        ordered.set_at(AddressType::Translated).unwrap();
        ordered.set_ep(true);
        let cases = [
            (Ok(read), "MRd64 00:01.0 tag 0x03a addr 0x100000000 64 B"),
            (Ok(ordered), "MRd64 00:01.0 tag 0x03a addr 0x100000000 64 B translated tc 3 RO+IDO poisoned"),
            (
                Header::completion_for(&read, device, Status::Successful),
                "CplD 03:00.0 -> 00:01.0 tag 0x03a SC 64 B left 64 lower 0x00",
            ),
            (
                Header::completion_for(&read, device, Status::UnsupportedRequest),
                "Cpl 03:00.0 -> 00:01.0 tag 0x03a UR left 64 lower 0x00",
            ),
            (config, "CfgRd0 00:00.0 tag 0x001 -> 03:00.0 reg 0x010 be f"),
            (message, "Msg 03:00.0 LTR (0x10) local"),
            (Header::io_write(root, 2, 0xcf8, 0x3), "IOWr 00:00.0 tag 0x002 addr 0x0cf8 be 3"),
            (Header::mem_read_bytes(root, 0, 0x1001, 6), "MRd32 00:00.0 tag 0x000 addr 0x1000 6 B be e/7"),
            (Header::atomic(Atomic::Cas, root, 0x3ff, 0x40, 16), "CAS32 00:00.0 tag 0x3ff addr 0x40 32 B"),
        ];
        for (header, line) in cases {
            assert_eq!(header.map(|h| h.to_string()).as_deref(), Ok(line));
        }
    }
}
