//! Data link layer packets: six bytes, of which the last two check the first four (base spec 3.5).

use std::fmt;

use super::crc::crc16;
use super::flow::{Scale, Unit};
use crate::tlp::Class;

/// The sequence number of a TLP on a link: 12 bits that wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sequence(u16);

impl Sequence {
    /// How many there are.
    pub const COUNT: u16 = 4096;

    /// The number that the low 12 bits stand for.
    pub const fn new(value: u16) -> Sequence {
        Sequence(value % Sequence::COUNT)
    }

    /// The number, 0 to 4,095.
    pub const fn value(self) -> u16 {
        self.0
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Sequence {
        Sequence::new(self.0 + 1)
    }

    /// The one before it.
    #[must_use]
    pub const fn previous(self) -> Sequence {
        Sequence::new(self.0 + Sequence::COUNT - 1)
    }

    /// How many steps it is from `earlier` on to this one, 0 to 4,095.
    pub const fn after(self, earlier: Sequence) -> u16 {
        (self.0 + Sequence::COUNT - earlier.0) % Sequence::COUNT
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:03x}", self.0))
    }
}

/// What a flow control DLLP is for: its type's bits 7:6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FcStage {
    /// InitFC1.
    Init1 = 0b01,
    /// InitFC2.
    Init2 = 0b11,
    /// UpdateFC.
    Update = 0b10,
}

/// A count of credits as a flow control DLLP carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FcField {
    /// What one of `value` stands for; both fields of a DLLP have their own.
    pub scale: Scale,
    /// 8 bits for headers, 12 bits for data: the counter without the bits below the scale factor. 0 in an InitFC: infinite.
    pub value: u16,
}

/// The bits of a Data Link Feature DLLP that say what a port can do (3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u32);

impl Features {
    /// Scaled flow control.
    pub const SCALED_FLOW_CONTROL: Features = Features(1);

    /// The features that the low 23 bits stand for.
    pub const fn from_bits(bits: u32) -> Features {
        Features(bits & 0x7f_ffff)
    }

    /// The 23 bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Is scaled flow control supported?
    pub const fn scaled_flow_control(self) -> bool {
        self.0 & 1 != 0
    }
}

/// A DLLP of power management (5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerRequest {
    /// PM_Enter_L1.
    EnterL1 = 0x20,
    /// PM_Enter_L23.
    EnterL23 = 0x21,
    /// PM_Active_State_Request_L1.
    ActiveStateL1 = 0x23,
    /// PM_Request_Ack.
    Acknowledge = 0x24,
}

/// A data link layer packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dllp {
    /// TLPs up to this one have been received well.
    Ack(Sequence),
    /// TLPs up to this one have been received well, and the one after it hasn't.
    Nak(Sequence),
    /// What the sender can do.
    Feature {
        /// Whether it has received such a DLLP itself.
        acknowledges: bool,
        /// What it can do.
        features: Features,
    },
    /// Power management.
    Power(PowerRequest),
    /// A vendor's own, with three bytes.
    Vendor([u8; 3]),
    /// Nothing.
    Nop,
    /// Credits of one class of one virtual channel.
    FlowControl {
        /// Which of the three.
        stage: FcStage,
        /// The class.
        class: Class,
        /// The virtual channel, 0 to 7.
        channel: u8,
        /// Credits for headers.
        headers: FcField,
        /// Credits for data.
        data: FcField,
    },
}

/// Why six bytes are no DLLP that means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDllp {
    /// A Bad DLLP error: the packet is thrown away.
    #[error("DLLP with CRC {found:04x} instead of {expected:04x} (3.6.2.2)")]
    Crc {
        /// The check of its four bytes, as a number of which the first byte is the low one.
        expected: u16,
        /// What it carries.
        found: u16,
    },
    /// No error: a DLLP of a type that isn't known is thrown away without further action. Types of multi-root virtualization are here.
    #[error("DLLP of the reserved type {0:#04x} (3.5.1)")]
    Reserved(u8),
}

const ACK: u8 = 0x00;
const FEATURE: u8 = 0x02;
const NAK: u8 = 0x10;
const VENDOR: u8 = 0x30;
const NOP: u8 = 0x31;

/// Where the fields of a flow control DLLP are: HdrScale, HdrFC, DataScale, DataFC.
const HEADER_SCALE: u32 = 22;
const HEADER_FC: u32 = 14;
const DATA_SCALE: u32 = 12;

impl Dllp {
    /// Bytes of a DLLP with its check.
    pub const LEN: usize = 6;
    /// Bytes of a DLLP on the wire: SDP and END symbols (generations 1 and 2) or the two bytes of the SDP token (from 3 on) frame it (4.2.1, 4.2.2).
    pub const WIRE_BYTES: u64 = 8;

    /// The four bytes that the check covers, as a big-endian number.
    fn dword(&self) -> u32 {
        let typed = |kind: u8, rest: u32| u32::from(kind) << 24 | rest;
        match *self {
            Dllp::Ack(sequence) => typed(ACK, sequence.value().into()),
            Dllp::Nak(sequence) => typed(NAK, sequence.value().into()),
            Dllp::Feature { acknowledges, features } => typed(FEATURE, u32::from(acknowledges) << 23 | features.bits()),
            Dllp::Power(request) => typed(request as u8, 0),
            Dllp::Vendor([a, b, c]) => u32::from_be_bytes([VENDOR, a, b, c]),
            Dllp::Nop => typed(NOP, 0),
            Dllp::FlowControl { stage, class, channel, headers, data } => {
                let kind = (stage as u8) << 6 | (class as u8) << 4 | channel & 7;
                let count = |field: FcField, unit: Unit| u32::from(field.value) & ((1 << unit.field_bits()) - 1);
                let scales = (headers.scale as u32) << HEADER_SCALE | (data.scale as u32) << DATA_SCALE;
                typed(kind, scales | count(headers, Unit::Headers) << HEADER_FC | count(data, Unit::Data))
            }
        }
    }

    /// The six bytes. A count that's too large for its field loses its upper bits, as counters that wrap do.
    pub fn encode(&self) -> [u8; Dllp::LEN] {
        let [a, b, c, d] = self.dword().to_be_bytes();
        let [e, f] = crc16(&[a, b, c, d]);
        [a, b, c, d, e, f]
    }

    /// The packet that six bytes are. Reserved bits are ignored.
    ///
    /// # Errors
    /// The check is wrong, or the type is reserved.
    pub fn decode(bytes: &[u8; Dllp::LEN]) -> Result<Dllp, BadDllp> {
        let [kind, a, b, c, e, f] = *bytes;
        let (expected, found) = (crc16(&[kind, a, b, c]), [e, f]);
        if expected != found {
            return Err(BadDllp::Crc { expected: u16::from_le_bytes(expected), found: u16::from_le_bytes(found) });
        }
        let dword = u32::from_be_bytes([kind, a, b, c]);
        let sequence = Sequence::new(dword as u16);
        Ok(match kind {
            ACK => Dllp::Ack(sequence),
            NAK => Dllp::Nak(sequence),
            FEATURE => Dllp::Feature { acknowledges: dword >> 23 & 1 != 0, features: Features::from_bits(dword) },
            0x20 => Dllp::Power(PowerRequest::EnterL1),
            0x21 => Dllp::Power(PowerRequest::EnterL23),
            0x23 => Dllp::Power(PowerRequest::ActiveStateL1),
            0x24 => Dllp::Power(PowerRequest::Acknowledge),
            VENDOR => Dllp::Vendor([a, b, c]),
            NOP => Dllp::Nop,
            _ => Dllp::flow_control(kind, dword).ok_or(BadDllp::Reserved(kind))?,
        })
    }

    fn flow_control(kind: u8, dword: u32) -> Option<Dllp> {
        let stage = match kind >> 6 {
            0b01 => FcStage::Init1,
            0b10 => FcStage::Update,
            0b11 => FcStage::Init2,
            _ => return None,
        };
        let class = match kind >> 4 & 3 {
            0 => Class::Posted,
            1 => Class::NonPosted,
            2 => Class::Completion,
            _ => return None,
        };
        if kind & 8 != 0 {
            return None;
        }
        let field = |scale_at: u32, at: u32, unit: Unit| FcField {
            scale: Scale::from_bits((dword >> scale_at) as u8),
            value: (dword >> at & ((1 << unit.field_bits()) - 1)) as u16,
        };
        let headers = field(HEADER_SCALE, HEADER_FC, Unit::Headers);
        let data = field(DATA_SCALE, 0, Unit::Data);
        Some(Dllp::FlowControl { stage, class, channel: kind & 7, headers, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The types of table 3-1, and what they are.
    #[test]
    fn types_of_the_table() {
        let of_kind = |kind: u8| {
            let [e, f] = crc16(&[kind, 0, 0, 0]);
            Dllp::decode(&[kind, 0, 0, 0, e, f])
        };
        let known = [0x00, 0x02, 0x10, 0x20, 0x21, 0x23, 0x24, 0x30, 0x31];
        for kind in 0..=u8::MAX {
            let flow_control = kind >= 0x40 && kind & 8 == 0 && kind >> 4 & 3 != 3;
            let expected = known.contains(&kind) || flow_control;
            assert_eq!(of_kind(kind).is_ok(), expected, "{kind:#04x}");
            if let Ok(dllp) = of_kind(kind) {
                assert_eq!(dllp.encode()[0], kind);
            } else {
                assert_eq!(of_kind(kind), Err(BadDllp::Reserved(kind)));
            }
        }
    }

    fn dllps() -> impl Strategy<Value = Dllp> {
        let sequence = (0..4096_u16).prop_map(Sequence::new);
        let stage = prop_oneof![Just(FcStage::Init1), Just(FcStage::Init2), Just(FcStage::Update)];
        let class = prop_oneof![Just(Class::Posted), Just(Class::NonPosted), Just(Class::Completion)];
        let scale = || (0..4_u8).prop_map(Scale::from_bits);
        let headers = (scale(), 0..256_u16).prop_map(|(scale, value)| FcField { scale, value });
        let data = (scale(), 0..4096_u16).prop_map(|(scale, value)| FcField { scale, value });
        let power = prop_oneof![
            Just(PowerRequest::EnterL1),
            Just(PowerRequest::EnterL23),
            Just(PowerRequest::ActiveStateL1),
            Just(PowerRequest::Acknowledge)
        ];
        prop_oneof![
            sequence.clone().prop_map(Dllp::Ack),
            sequence.prop_map(Dllp::Nak),
            (any::<bool>(), any::<u32>())
                .prop_map(|(acknowledges, bits)| Dllp::Feature { acknowledges, features: Features::from_bits(bits) }),
            power.prop_map(Dllp::Power),
            any::<[u8; 3]>().prop_map(Dllp::Vendor),
            Just(Dllp::Nop),
            (stage, class, 0..8_u8, headers, data).prop_map(|(stage, class, channel, headers, data)| {
                Dllp::FlowControl { stage, class, channel, headers, data }
            }),
        ]
    }

    proptest! {
        #[test]
        fn there_and_back(dllp in dllps()) {
            prop_assert_eq!(Dllp::decode(&dllp.encode()), Ok(dllp));
        }

        /// A CRC-16 finds every single, double and triple wrong bit of so few.
        #[test]
        fn broken_bits_are_found(dllp in dllps(), bits in proptest::collection::hash_set(0..48_usize, 1..4)) {
            let mut bytes = dllp.encode();
            for bit in bits {
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            let is_crc = matches!(Dllp::decode(&bytes), Err(BadDllp::Crc { .. }));
            prop_assert!(is_crc);
        }

        #[test]
        fn any_six_bytes_do_no_harm(bytes in any::<[u8; 6]>()) {
            let _ = Dllp::decode(&bytes);
        }
    }

    #[test]
    fn sequence_numbers_wrap() {
        assert_eq!(Sequence::new(4095).next(), Sequence::new(0));
        assert_eq!(Sequence::new(0).previous(), Sequence::new(4095));
        assert_eq!(Sequence::new(2).after(Sequence::new(4094)), 4);
        assert_eq!(Sequence::new(4094).after(Sequence::new(2)), 4092);
    }
}
