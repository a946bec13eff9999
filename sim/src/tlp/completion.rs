//! The completions of a request (PCIe base spec 2.2.9 and 2.3.1.1).

use super::header::{T8, T9};
use super::{Attr, Bdf, Header, Kind, Malformed, Status};

impl Header {
    /// Byte Count of a request's first completion, 1..=4096: what a memory read asks for, an atomic's operand, 4 for all else.
    pub const fn completion_byte_count(&self) -> u32 {
        if self.kind.is_memory_read() {
            return self.byte_enables().byte_count();
        }
        match self.operand() {
            Some(operand) if self.kind.is_atomic() => operand,
            _ => 4,
        }
    }

    /// Lower Address of a request's first completion: for all but memory reads 0.
    pub const fn completion_lower_address(&self) -> u8 {
        if self.kind.is_memory_read() { self.byte_enables().lower_address(self.address()) } else { 0 }
    }

    /// DWs of data that a request gets back in all its completions: 0 for writes.
    pub const fn completion_length_dw(&self) -> u32 {
        match self.kind {
            Kind::MRd32 | Kind::MRd64 | Kind::MRdLk32 | Kind::MRdLk64 => self.length_dw(),
            Kind::IORd | Kind::CfgRd0 | Kind::CfgRd1 => 1,
            _ => match self.operand() {
                Some(operand) if self.kind.is_atomic() => operand / 4,
                _ => 0,
            },
        }
    }

    /// Byte Count and Lower Address of the completion that follows when `from_dw` DWs of what this request asks for have been sent.
    pub const fn completion_remaining(&self, from_dw: u32) -> (u32, u8) {
        let byte_count = self.completion_byte_count();
        let lower_address = self.completion_lower_address();
        if from_dw == 0 {
            return (byte_count, lower_address);
        }
        let sent = from_dw * 4 - (lower_address & 3) as u32;
        let address = (lower_address & 0x7c) as u32 + from_dw * 4;
        (byte_count.saturating_sub(sent), (address & 0x7f) as u8)
    }

    /// How many of `len` bytes from `address` on the next completion takes: all of them if they fit `max_payload`, else as many as
    /// end at the last multiple of `boundary` (the Read Completion Boundary) that fits.
    #[inline]
    pub const fn completion_len(address: u64, len: u64, max_payload: u64, boundary: u64) -> u64 {
        if len <= max_payload { len } else { (address + max_payload) / boundary * boundary - address }
    }

    /// The one completion that answers all of `request`: with data if the request asks for some and `status` is successful.
    /// Tag, TC, RO and NS are the request's.
    ///
    /// # Errors
    /// [`Malformed::NoCompletion`] if `request` is posted or itself a completion; [`Malformed::CompletionStatus`].
    #[inline]
    pub fn completion_for(request: &Header, completer: Bdf, status: Status) -> Result<Header, Malformed> {
        let length_dw = match status {
            Status::Successful => request.completion_length_dw(),
            _ => 0,
        };
        Header::completion_part(request, completer, status, 0, length_dw)
    }

    /// A completion of `request` with `length_dw` DWs of data, after the first `from_dw` DWs of what it asks for have been sent
    /// in others. Where reads may be split is the caller's affair (RCB, Max_Payload_Size).
    ///
    /// `length_dw` is 0 in the completion of a write and where `status` isn't successful.
    ///
    /// # Errors
    /// [`Malformed::NoCompletion`] if `request` is posted or itself a completion, or doesn't ask for so many DWs;
    /// [`Malformed::CompletionData`], [`Malformed::CompletionStatus`].
    pub fn completion_part(
        request: &Header,
        completer: Bdf,
        status: Status,
        from_dw: u32,
        length_dw: u32,
    ) -> Result<Header, Malformed> {
        let asked = request.completion_length_dw();
        if from_dw == 0 && length_dw == asked && status == Status::Successful && request.is_plain_read() {
            return Ok(whole_read(request, completer));
        }
        Header::checked_part(request, completer, status, from_dw, length_dw, asked)
    }

    /// The one completion that brings all that an unlocked memory read asks for. `None` for any other type.
    #[inline]
    pub(crate) fn whole_completion(&self, completer: Bdf) -> Option<Header> {
        self.is_plain_read().then(|| whole_read(self, completer))
    }

    /// Whether it's an unlocked memory read.
    const fn is_plain_read(&self) -> bool {
        matches!(self.kind, Kind::MRd32 | Kind::MRd64)
    }

    fn checked_part(
        request: &Header,
        completer: Bdf,
        status: Status,
        from_dw: u32,
        length_dw: u32,
        asked: u32,
    ) -> Result<Header, Malformed> {
        let fits = length_dw <= asked.saturating_sub(from_dw) && (from_dw < asked || from_dw == 0);
        let data_missing = length_dw == 0 && asked != 0 && status == Status::Successful;
        if request.class() != super::Class::NonPosted || !fits || data_missing {
            return Err(Malformed::NoCompletion { kind: request.kind, requester: request.requester(), length_dw });
        }
        let (byte_count, lower_address) = request.completion_remaining(from_dw);
        let attr = Attr::from_bits(request.attr().bits() & !Attr::IDO.bits());
        let mut header = Header::completion(
            completer,
            request.requester(),
            request.tag(),
            status,
            byte_count,
            lower_address,
            length_dw,
            request.tc(),
            attr,
        )?;
        if matches!(request.kind, Kind::MRdLk32 | Kind::MRdLk64) {
            header.kind = if length_dw == 0 { Kind::CplLk } else { Kind::CplDLk };
            header.dw[0] |= 1 << 24;
        }
        Ok(header)
    }
}

/// The completion that answers all of a memory read. Every field comes from a request that has been checked, so there's nothing to check here.
#[inline]
fn whole_read(request: &Header, completer: Bdf) -> Header {
    /// Tag bits 9 and 8, TC, RO and NS: all that a completion has of its request in DW 0.
    const KEPT: u32 = T9 | T8 | 7 << 20 | 3 << 12;
    let enables = request.byte_enables();
    let lower_address = enables.lower_address(request.address()) & 0x7f;
    Header {
        dw: [
            u32::from(Kind::CplD.fmt_type()) << 24 | request.dw[0] & KEPT | enables.length_dw & 0x3ff,
            u32::from(completer.0) << 16 | enables.byte_count() & 0xfff,
            request.dw[1] & !0xff | u32::from(lower_address),
            0,
        ],
        kind: Kind::CplD,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Atomic, ConfigType, MessageCode, Route};
    use super::*;

    const REQUESTER: Bdf = Bdf::new(1, 0, 0);
    const COMPLETER: Bdf = Bdf::new(2, 0, 0);

    /// Each type of request: what its successful completion is: type, Byte Count, Lower Address, DWs.
    #[test]
    fn each_request_gets_its_completion() {
        let config = |write: bool| {
            let make = if write { Header::config_write } else { Header::config_read };
            make(ConfigType::Type0, REQUESTER, 9, COMPLETER, 4, 0x2)
        };
        let atomic = |operation, operand| Header::atomic(operation, REQUESTER, 9, 0x40, operand);
        let locked = Header::mem_read_bytes(REQUESTER, 9, 0x1_0000_0044, 5).map(|mut read| {
            read.kind = Kind::MRdLk64;
            read.dw[0] |= 1 << 24;
            read
        });
        let table = [
            (Header::mem_read_bytes(REQUESTER, 9, 0x10fe, 7), Kind::CplD, 7, 0x7e, 3),
            (Header::mem_read_bytes(REQUESTER, 9, 0x1003, 0), Kind::CplD, 1, 0, 1),
            (locked, Kind::CplDLk, 5, 0x44, 2),
            (config(false), Kind::CplD, 4, 0, 1),
            (config(true), Kind::Cpl, 4, 0, 0),
            (Header::io_read(REQUESTER, 9, 0xcfc, 0x8), Kind::CplD, 4, 0, 1),
            (Header::io_write(REQUESTER, 9, 0xcfc, 0x8), Kind::Cpl, 4, 0, 0),
            (Header::deferrable_write(REQUESTER, 9, 0x44, 0xf, 0xf, 2), Kind::Cpl, 4, 0, 0),
            (atomic(Atomic::FetchAdd, 8), Kind::CplD, 8, 0, 2),
            (atomic(Atomic::Cas, 16), Kind::CplD, 16, 0, 4),
        ];
        for (request, kind, byte_count, lower_address, length_dw) in table {
            let request = request.unwrap();
            let done = Header::completion_for(&request, COMPLETER, Status::Successful).unwrap();
            assert_eq!((done.kind(), done.byte_count(), done.lower_address()), (kind, byte_count, lower_address));
            assert_eq!(done.payload_len(), length_dw * 4, "{request}");
            assert_eq!((done.requester(), done.completer(), done.tag()), (REQUESTER, COMPLETER, 9));
            let refused = Header::completion_for(&request, COMPLETER, Status::UnsupportedRequest).unwrap();
            assert_eq!((refused.status(), refused.payload_len()), (Status::UnsupportedRequest, 0), "{request}");
            assert_eq!(Header::from_dws(done.dws()), Ok(done));
            assert_eq!(Header::from_dws(refused.dws()), Ok(refused));
        }
    }

    #[test]
    fn traffic_class_and_attributes_are_the_requests_but_for_ido() {
        let mut request = Header::mem_read_bytes(REQUESTER, 0x3ff, 0, 4).unwrap();
        request.set_tc(5).unwrap();
        request.set_attr(Attr::RO | Attr::NS | Attr::IDO).unwrap();
        let done = Header::completion_for(&request, COMPLETER, Status::Successful).unwrap();
        assert_eq!((done.tc(), done.attr(), done.tag()), (5, Attr::RO | Attr::NS, 0x3ff));
    }

    #[test]
    fn what_is_not_asked_for_is_refused() {
        let refused = |request: &Header, status, from_dw, length_dw| {
            let made = Header::completion_part(request, COMPLETER, status, from_dw, length_dw);
            assert!(matches!(made, Err(Malformed::NoCompletion { .. })), "{made:?}");
        };
        let write = Header::mem_write_bytes(REQUESTER, 0, 0, 4).unwrap();
        let message = Header::message(REQUESTER, 0, MessageCode::PM_PME, Route::ToRootComplex, [0, 0], 0).unwrap();
        let read = Header::mem_read_bytes(REQUESTER, 0, 0, 16).unwrap();
        let done = Header::completion_for(&read, COMPLETER, Status::Successful).unwrap();
        for no_request in [write, message, done] {
            refused(&no_request, Status::Successful, 0, 0);
        }
        refused(&read, Status::Successful, 0, 5);
        refused(&read, Status::Successful, 3, 2);
        refused(&read, Status::Successful, u32::MAX, 1);
        refused(&read, Status::Successful, 0, 0);
        refused(&read, Status::CompleterAbort, 4, 0);
        let data = Header::completion_part(&read, COMPLETER, Status::CompleterAbort, 0, 4);
        assert_eq!(data, Err(Malformed::CompletionData { kind: Kind::CplD, status: Status::CompleterAbort }));
    }

    proptest::proptest! {
        #[test]
        fn a_whole_read_is_what_its_parts_are_made_of(header in crate::tlp::strategy::any_header(), completer: u16) {
            if header.is_plain_read() {
                let asked = header.completion_length_dw();
                let completer = Bdf(completer);
                let checked = Header::checked_part(&header, completer, Status::Successful, 0, asked, asked);
                proptest::prop_assert_eq!(checked, Ok(whole_read(&header, completer)));
            }
        }
    }
}
