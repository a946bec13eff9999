//! Why bytes are no valid TLP, or why a TLP can't be built from given values.
//!
//! Each variant names one rule and the value that broke it. Its text says who has to mind the rule:
//! **must**: every receiver checks it; **may**: a receiver is permitted to check it, and [`Header::decode`] does;
//! **sender**: binds senders only, and [`Header::check_strict`] checks it; **ours**: a limit of this codec or of a constructor.
//!
//! [`Header::decode`]: super::Header::decode
//! [`Header::check_strict`]: super::Header::check_strict

use super::{AddressType, Bdf, Kind, MessageCode, Route, Status};
use std::fmt;

/// A part of a TLP, as [`Malformed::Truncated`] names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The prefixes.
    Prefix,
    /// The header.
    Header,
    /// The payload.
    Payload,
    /// The digest (ECRC).
    Digest,
    /// The buffer that a TLP is to be written to.
    Output,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Part::Prefix => "prefix",
            Part::Header => "header",
            Part::Payload => "payload",
            Part::Digest => "digest",
            Part::Output => "output buffer",
        })
    }
}

/// The rule that was broken and the value that broke it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    // Bytes.
    /// Must (2.2.2): the bytes end before the TLP does. Counted from the start of the TLP.
    #[error("truncated in the {part}: needs {needs} bytes, has {has}")]
    Truncated {
        /// Where the bytes end.
        part: Part,
        /// Bytes needed up to the end of this part.
        needs: usize,
        /// Bytes there.
        has: usize,
    },
    /// Must (2.2.2): more bytes than Length and TD call for.
    #[error("{has} bytes, but Length and TD make the TLP {needs} bytes long")]
    TrailingBytes {
        /// Bytes that the TLP needs.
        needs: usize,
        /// Bytes there.
        has: usize,
    },
    /// Must (2.2.2): the payload isn't as long as Length says.
    #[error("payload of {payload} bytes, but Length makes it {needs}")]
    PayloadLength {
        /// Bytes that Length calls for; 0 for a type without data.
        needs: usize,
        /// Bytes of payload given.
        payload: usize,
    },
    /// Must (2.2.3): TD says a digest is there and it isn't, or the reverse.
    #[error("TD is {td}, but a digest is {}", if *.td { "missing" } else { "present" })]
    DigestFlag {
        /// The TD bit.
        td: bool,
    },
    /// Must (2.2.2): more payload than Max_Payload_Size of the receiving function. Checked by [`Header::check_max_payload`](super::Header::check_max_payload).
    #[error("payload of {payload} bytes is larger than Max_Payload_Size {max}")]
    MaxPayload {
        /// Bytes of payload.
        payload: u32,
        /// The limit in bytes.
        max: u32,
    },

    // Fmt and Type, prefixes.
    /// Must (2.2.1): a reserved combination of Fmt and Type.
    #[error("Fmt/Type {fmt_type:#04x} is reserved")]
    ReservedType {
        /// The first byte of the header.
        fmt_type: u8,
    },
    /// Must (2.2.1): a prefix where the header should be.
    #[error("Fmt/Type {fmt_type:#04x} is a prefix, not a header")]
    PrefixForHeader {
        /// The first byte.
        fmt_type: u8,
    },
    /// Must (2.2.10): a local prefix after an end-to-end prefix.
    #[error("local prefix {fmt_type:#04x} at position {position} comes after an end-to-end prefix")]
    PrefixOrder {
        /// The first byte of the local prefix.
        fmt_type: u8,
        /// Its position among the prefixes, from 0.
        position: usize,
    },
    /// Must (2.2.10.2): more end-to-end prefixes than the spec permits.
    #[error("more than {max} end-to-end prefixes")]
    TooManyEndToEndPrefixes {
        /// The limit.
        max: usize,
    },
    /// Ours: more local prefixes than this codec holds.
    #[error("more than {max} local prefixes")]
    TooManyLocalPrefixes {
        /// The limit.
        max: usize,
    },

    // Byte enables and addresses of memory requests.
    /// May (2.2.5): a request for one DW has Last DW BE set.
    #[error("Last DW BE {last_be:#06b} of a request for 1 DW must be 0000b")]
    LastBeOfOneDw {
        /// Last DW BE.
        last_be: u8,
    },
    /// May (2.2.5): a request for more than one DW enables nothing in its first.
    #[error("First DW BE of a request for {length_dw} DWs must not be 0000b")]
    FirstBeZero {
        /// Length in DWs.
        length_dw: u32,
    },
    /// May (2.2.5): a request for more than one DW enables nothing in its last.
    #[error("Last DW BE of a request for {length_dw} DWs must not be 0000b")]
    LastBeZero {
        /// Length in DWs.
        length_dw: u32,
    },
    /// May (2.2.5): enabled bytes aren't contiguous where they have to be (3 DWs and more; 2 DWs not aligned to 8 bytes).
    #[error("byte enables {first_be:#06b}/{last_be:#06b} of {length_dw} DWs at {address:#x} leave a gap")]
    BeGap {
        /// First DW BE.
        first_be: u8,
        /// Last DW BE.
        last_be: u8,
        /// Length in DWs.
        length_dw: u32,
        /// Address of the first DW.
        address: u64,
    },
    /// May (2.2.7): address and length cross a 4 KiB boundary.
    #[error("{length_dw} DWs at {address:#x} cross a 4 KiB boundary")]
    Crosses4K {
        /// Address of the first DW.
        address: u64,
        /// Length in DWs.
        length_dw: u32,
    },
    /// Must, for who supports ATS (10.2.1): AT is `11b`.
    #[error("AT 11b of {kind} is reserved")]
    ReservedAt {
        /// The type of the TLP.
        kind: Kind,
    },
    /// Sender (2.2.4.1): a 64-bit address format for an address below 4 GiB.
    #[error("{kind} at {address:#x}: below 4 GiB the 32-bit format must be used")]
    Address64Below4G {
        /// The type of the TLP.
        kind: Kind,
        /// The address.
        address: u64,
    },

    // I/O and configuration requests.
    /// May (2.2.7): an I/O or configuration request whose Length isn't 1.
    #[error("{kind} of {length_dw} DWs: Length must be 1")]
    LengthNotOne {
        /// The type of the TLP.
        kind: Kind,
        /// Length in DWs.
        length_dw: u32,
    },
    /// May (2.2.7): an I/O or configuration request has TC, Attr (RO, NS) or AT set.
    #[error("{field} {value} of {kind} must be 0")]
    FieldNotZero {
        /// The type of the TLP.
        kind: Kind,
        /// The field's name in the spec.
        field: &'static str,
        /// Its value.
        value: u8,
    },

    // Atomics and deferrable writes.
    /// Must (2.2.7): an atomic whose Length fits no operand size: 1 or 2 DWs; for CAS 2, 4 or 8.
    #[error("{kind} of {length_dw} DWs: no operand has this size")]
    AtomicLength {
        /// The type of the TLP.
        kind: Kind,
        /// Length in DWs.
        length_dw: u32,
    },
    /// Must (2.2.7): the address of an atomic isn't aligned to its operand.
    #[error("{kind} at {address:#x} is not aligned to its operand of {operand} bytes")]
    AtomicAlignment {
        /// The type of the TLP.
        kind: Kind,
        /// The address.
        address: u64,
        /// Bytes of one operand.
        operand: u32,
    },
    /// May (2.2.7): a deferrable memory write of more than 128 bytes.
    #[error("{kind} of {length_dw} DWs: at most 32 DWs are permitted")]
    DmwrLength {
        /// The type of the TLP.
        kind: Kind,
        /// Length in DWs.
        length_dw: u32,
    },

    // Messages.
    /// May (2.2.8): a message with a routing that its code doesn't permit.
    #[error("{code} with routing {route:?}")]
    MessageRouting {
        /// The message code.
        code: MessageCode,
        /// The routing.
        route: Route,
    },
    /// May (2.2.8): Msg for a code that carries data, or MsgD for one that doesn't.
    #[error("{code} as {kind}")]
    MessageData {
        /// The message code.
        code: MessageCode,
        /// Msg or MsgD.
        kind: Kind,
    },
    /// May (2.2.8): a message with data of another length than its code's.
    #[error("{code} of {length_dw} DWs, must be {expected}")]
    MessageLength {
        /// The message code.
        code: MessageCode,
        /// Length in DWs.
        length_dw: u32,
        /// The length its code has.
        expected: u32,
    },
    /// Must (2.2.8): a message that has to use TC0 uses another traffic class.
    #[error("{code} in TC{tc}, must be TC0")]
    MessageTc {
        /// The message code.
        code: MessageCode,
        /// The traffic class.
        tc: u8,
    },

    // Completions.
    /// Sender (2.2.9): data with a status other than successful.
    #[error("{kind} with status {status}")]
    CompletionData {
        /// The type of the TLP.
        kind: Kind,
        /// The status.
        status: Status,
    },
    /// Sender (2.2.9): a reserved status.
    #[error("completion with status {status}")]
    CompletionStatus {
        /// The status.
        status: Status,
    },
    /// Sender (2.3.1.1): a completion carries more DWs than Byte Count and Lower Address leave to be sent.
    #[error(
        "completion of {length_dw} DWs, but Byte Count {byte_count} from Lower Address {lower_address:#04x} needs no more than {needs}"
    )]
    CompletionLength {
        /// Length in DWs.
        length_dw: u32,
        /// Bytes that remain, this completion's included.
        byte_count: u32,
        /// The low seven bits of the first byte's address.
        lower_address: u8,
        /// The largest length in DWs that fits.
        needs: u32,
    },

    // Constructors.
    /// Ours: a value that doesn't fit the field it is for.
    #[error("{field} {value:#x} is out of range {min:#x} to {max:#x}")]
    OutOfRange {
        /// The field's name in the spec.
        field: &'static str,
        /// The value.
        value: u64,
        /// The smallest value that fits.
        min: u64,
        /// The largest value that fits.
        max: u64,
    },
    /// Ours: an address whose low two bits aren't zero, where a header has no place for them.
    #[error("address {address:#x} is not aligned to 4 bytes")]
    Unaligned {
        /// The address.
        address: u64,
    },
    /// Ours: a completion was asked for a TLP that gets none.
    #[error("{kind} from {requester} gets no completion with data length {length_dw} DWs")]
    NoCompletion {
        /// The type of the TLP.
        kind: Kind,
        /// Who sent it.
        requester: Bdf,
        /// The length in DWs that the completion was to have.
        length_dw: u32,
    },
    /// Ours: an address type that this TLP can't have.
    #[error("address type {at:?} of {kind}")]
    AddressTypeOf {
        /// The type of the TLP.
        kind: Kind,
        /// The address type.
        at: AddressType,
    },
}

impl Malformed {
    /// The rule's name, without the value that broke it: that of the variant.
    pub const fn rule(&self) -> &'static str {
        match self {
            Malformed::Truncated { .. } => "Truncated",
            Malformed::TrailingBytes { .. } => "TrailingBytes",
            Malformed::PayloadLength { .. } => "PayloadLength",
            Malformed::DigestFlag { .. } => "DigestFlag",
            Malformed::MaxPayload { .. } => "MaxPayload",
            Malformed::ReservedType { .. } => "ReservedType",
            Malformed::PrefixForHeader { .. } => "PrefixForHeader",
            Malformed::PrefixOrder { .. } => "PrefixOrder",
            Malformed::TooManyEndToEndPrefixes { .. } => "TooManyEndToEndPrefixes",
            Malformed::TooManyLocalPrefixes { .. } => "TooManyLocalPrefixes",
            Malformed::LastBeOfOneDw { .. } => "LastBeOfOneDw",
            Malformed::FirstBeZero { .. } => "FirstBeZero",
            Malformed::LastBeZero { .. } => "LastBeZero",
            Malformed::BeGap { .. } => "BeGap",
            Malformed::Crosses4K { .. } => "Crosses4K",
            Malformed::ReservedAt { .. } => "ReservedAt",
            Malformed::Address64Below4G { .. } => "Address64Below4G",
            Malformed::LengthNotOne { .. } => "LengthNotOne",
            Malformed::FieldNotZero { .. } => "FieldNotZero",
            Malformed::AtomicLength { .. } => "AtomicLength",
            Malformed::AtomicAlignment { .. } => "AtomicAlignment",
            Malformed::DmwrLength { .. } => "DmwrLength",
            Malformed::MessageRouting { .. } => "MessageRouting",
            Malformed::MessageData { .. } => "MessageData",
            Malformed::MessageLength { .. } => "MessageLength",
            Malformed::MessageTc { .. } => "MessageTc",
            Malformed::CompletionData { .. } => "CompletionData",
            Malformed::CompletionStatus { .. } => "CompletionStatus",
            Malformed::CompletionLength { .. } => "CompletionLength",
            Malformed::OutOfRange { .. } => "OutOfRange",
            Malformed::Unaligned { .. } => "Unaligned",
            Malformed::NoCompletion { .. } => "NoCompletion",
            Malformed::AddressTypeOf { .. } => "AddressTypeOf",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_called_as_its_variant() {
        let rules = [
            Malformed::Truncated { part: Part::Header, needs: 12, has: 3 },
            Malformed::FirstBeZero { length_dw: 1024 },
            Malformed::Address64Below4G { kind: Kind::MRd64, address: 4 },
        ];
        for rule in rules {
            assert!(format!("{rule:?}").starts_with(&format!("{} {{", rule.rule())), "{rule:?}");
        }
    }
}
