//! Strategies for property tests: any valid header, any valid TLP.

use super::{Data, Header, KINDS, Kind, MESSAGES, MessageCode, Prefix, Prefixes, Tlp, ecrc};
use proptest::prelude::*;
use proptest::sample::select;

/// A TLP that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedTlp {
    /// The prefixes.
    pub prefixes: Prefixes,
    /// The header.
    pub header: Header,
    /// The payload, in the order of the wire.
    pub payload: Vec<u8>,
    /// The digest, if TD is set.
    pub digest: Option<u32>,
}

impl OwnedTlp {
    /// The same, borrowed.
    pub fn as_tlp(&self) -> Tlp<'_> {
        Tlp { prefixes: self.prefixes, header: self.header, payload: &self.payload, digest: self.digest }
    }
}

/// The choices that are left once a type and random DWs are given.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Length in DWs, 1..=1024.
    length_dw: u32,
    /// Offset in its page of the first DW, in DWs, 0..=1023.
    offset_dw: u32,
    /// Picks among the byte enables that are permitted.
    byte_enables: u8,
    /// A message with a name, as an index of [`MESSAGES`]; `None` for a code without.
    message: Option<usize>,
}

fn any_shape() -> impl Strategy<Value = Shape> {
    let length_dw = prop_oneof![3 => Just(1_u32), 3 => Just(2), 6 => 1..=16_u32, 1 => 1..=1024_u32, 1 => Just(1024)];
    let message = proptest::option::weighted(0.8, 0..MESSAGES.len());
    (length_dw, 0..1024_u32, any::<u8>(), message).prop_map(|(length_dw, offset_dw, byte_enables, message)| Shape {
        length_dw,
        offset_dw,
        byte_enables,
        message,
    })
}

/// Any header that decodes: every type, every permitted value of every field, reserved bits at random.
pub fn any_header() -> impl Strategy<Value = Header> {
    (select(&KINDS[..]), any::<[u32; 4]>(), any_shape()).prop_map(|(row, random, shape)| {
        let dw = valid(row.kind, random, shape);
        Header::from_dws(dw).expect("the strategy makes valid headers")
    })
}

/// Any valid TLP: prefixes, header, payload, and a digest (right or wrong) if TD is set.
pub fn any_tlp() -> impl Strategy<Value = OwnedTlp> {
    let payload = proptest::collection::vec(any::<u8>(), 4096);
    let digest = proptest::option::of(any::<u32>());
    (any_prefixes(), any_header(), payload, digest).prop_map(|(prefixes, header, mut payload, wrong)| {
        payload.truncate(header.payload_len());
        let digest = header.td().then(|| wrong.unwrap_or_else(|| ecrc(&prefixes, &header, &payload)));
        OwnedTlp { prefixes, header, payload, digest }
    })
}

/// Any prefixes in a permitted order: up to four local, then up to four end-to-end.
pub fn any_prefixes() -> impl Strategy<Value = Prefixes> {
    let dws = || prop_oneof![2 => Just(Vec::new()), 1 => proptest::collection::vec(any::<u32>(), 0..=4)];
    (dws(), dws()).prop_map(|(local, end_to_end)| {
        let local = local.into_iter().map(|dw| 0x8000_0000 | dw & 0x0fff_ffff);
        let end_to_end = end_to_end.into_iter().map(|dw| 0x9000_0000 | dw & 0x0fff_ffff);
        let mut prefixes = Prefixes::NONE;
        for dw in local.chain(end_to_end) {
            let prefix = Prefix::from_dw(dw).expect("Fmt is that of a prefix");
            prefixes.push(prefix).expect("four of each, local ones first");
        }
        prefixes
    })
}

/// Random DWs, changed where the rules for `kind` leave no choice.
fn valid(kind: Kind, mut dw: [u32; 4], shape: Shape) -> [u32; 4] {
    dw[0] = dw[0] & 0x00ff_ffff | u32::from(kind.fmt_type()) << 24;
    match kind {
        Kind::IORd | Kind::IOWr | Kind::CfgRd0 | Kind::CfgWr0 | Kind::CfgRd1 | Kind::CfgWr1 => {
            // TC, RO, NS, AT, Last DW BE are 0, Length is 1.
            dw[0] = dw[0] & !(7 << 20 | 3 << 12 | 3 << 10 | 0x3ff) | 1;
            dw[1] &= !0xf0;
        }
        Kind::Msg | Kind::MsgD => message(&mut dw, shape),
        Kind::Cpl | Kind::CplLk => {}
        Kind::CplD | Kind::CplDLk => set_length(&mut dw, shape.length_dw),
        _ if kind.is_atomic() => {
            let cas = matches!(kind, Kind::Cas32 | Kind::Cas64);
            let operand = if cas { 4 << (shape.length_dw % 3) } else { 4 << (shape.length_dw % 2) };
            let length_dw = operand / 4 * if cas { 2 } else { 1 };
            set_length(&mut dw, length_dw);
            set_offset(&mut dw, shape.offset_dw & !(operand / 4 - 1));
        }
        _ => memory(kind, &mut dw, shape),
    }
    if kind.is_memory() && dw[0] >> 10 & 3 == 3 {
        dw[0] &= !(1 << 10);
    }
    dw
}

fn set_length(dw: &mut [u32; 4], length_dw: u32) {
    dw[0] = dw[0] & !0x3ff | length_dw & 0x3ff;
}

/// Puts the address at this offset in its page; the low two bits stay random.
fn set_offset(dw: &mut [u32; 4], offset_dw: u32) {
    let low = if dw[0] & 1 << 29 == 0 { 2 } else { 3 };
    dw[low] = dw[low] & !0xffc | offset_dw << 2;
}

fn memory(kind: Kind, dw: &mut [u32; 4], shape: Shape) {
    let longest = if matches!(kind, Kind::DMWr32 | Kind::DMWr64) { 32 } else { 1024 };
    let length_dw = shape.length_dw.min(longest);
    let offset_dw = shape.offset_dw.min(1024 - length_dw);
    set_length(dw, length_dw);
    set_offset(dw, offset_dw);
    let hints = dw[0] & 1 << 16 != 0;
    if hints && !matches!(kind, Kind::MWr32 | Kind::MWr64) {
        // The place of the byte enables is the steering tag's.
        return;
    }
    let pick = shape.byte_enables;
    let (first, last) = match length_dw {
        1 => (pick & 0xf, 0),
        2 if offset_dw.is_multiple_of(2) => ((pick & 0xf).max(1), (pick >> 4).max(1)),
        _ => (0xf << (pick & 3) & 0xf, 0xf >> (pick >> 2 & 3)),
    };
    dw[1] = dw[1] & !0xff | u32::from(last << 4 | first);
}

fn message(dw: &mut [u32; 4], shape: Shape) {
    set_length(dw, shape.length_dw);
    let r = dw[1] >> 8 & 7;
    let Some(row) = shape.message.and_then(|i| MESSAGES.get(i)) else {
        // The next code without a name, at any routing.
        let unnamed = |code: &u8| MessageCode(*code).row().is_none();
        let code = (dw[1] as u8..=u8::MAX).find(unnamed).unwrap_or(0xff);
        dw[1] = dw[1] & !0xff | u32::from(code);
        dw[0] |= r << 24;
        return;
    };
    let permitted = (0..8).cycle().skip(r as usize).find(|r| row.routings >> r & 1 != 0);
    dw[0] |= permitted.unwrap_or(0) << 24;
    dw[1] = dw[1] & !0xff | u32::from(row.code.0);
    if row.tc0 {
        dw[0] &= !(7 << 20);
    }
    match row.data {
        Data::Never => dw[0] &= !(1 << 30),
        Data::Always(length) => {
            dw[0] |= 1 << 30;
            set_length(dw, u32::from(length));
        }
        Data::Either(length) => set_length(dw, u32::from(length)),
        Data::Any => {}
    }
}
