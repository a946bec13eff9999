//! The codec against an independent encoder: the vectors in `fixtures/tlp-vectors`, both ways.

use mlx5_twin_sim::tlp::{AddressType, Atomic, Attr, Bdf, ConfigType, Header, Kind, Malformed, Status, Tlp};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// One line: the fields as the encoder was given them (absent ones are 0), and its bytes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    kind: String,
    requester: u16,
    tag: u16,
    length: u32,
    tlp: String,
    #[serde(default)]
    tc: u8,
    #[serde(default)]
    attr: u8,
    #[serde(default)]
    at: u8,
    #[serde(default)]
    ph: u8,
    #[serde(default)]
    ln: bool,
    #[serde(default)]
    th: bool,
    #[serde(default)]
    td: bool,
    #[serde(default)]
    ep: bool,
    #[serde(default)]
    first_be: u8,
    #[serde(default)]
    last_be: u8,
    #[serde(default)]
    address: u64,
    #[serde(default)]
    target: u16,
    #[serde(default)]
    register: u16,
    #[serde(default)]
    completer: u16,
    #[serde(default)]
    status: u8,
    #[serde(default)]
    byte_count: u32,
    #[serde(default)]
    lower_address: u8,
    #[serde(default)]
    bcm: bool,
    /// Byte address and length, where the encoder computed the byte enables.
    range: Option<(u64, u32)>,
    /// The encoder's Byte Count for the first completion.
    first_byte_count: Option<u32>,
    /// Bytes of an atomic's operand.
    operand: Option<u32>,
}

fn vectors() -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tlp-vectors/cocotbext-pcie-0.2.16.jsonl");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let parse = |(i, line)| serde_json::from_str(line).unwrap_or_else(|e| panic!("line {}: {e}", i + 1));
    text.lines().enumerate().map(parse).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

#[test]
fn decoding_gives_the_fields() {
    let vectors = vectors();
    let mut counts = BTreeMap::new();
    for v in &vectors {
        let bytes = bytes(&v.tlp);
        let h = Header::decode(&bytes).unwrap_or_else(|e| panic!("{e}: {v:?}"));
        *counts.entry(h.kind().name()).or_insert(0) += 1;
        assert_eq!(h.kind().name(), v.kind, "{v:?}");
        assert_eq!((h.requester(), h.tag()), (Bdf(v.requester), v.tag), "{v:?}");
        assert_eq!((h.tc(), h.attr().bits(), h.at() as u8), (v.tc, v.attr, v.at), "{v:?}");
        assert_eq!((h.ln(), h.th(), h.td(), h.ep()), (v.ln, v.th, v.td, v.ep), "{v:?}");
        if !matches!(h.kind(), Kind::Cpl | Kind::CplLk) {
            assert_eq!(h.length_dw(), v.length, "{v:?}");
        }
        if h.kind().is_completion() {
            assert_eq!((h.completer(), h.status().bits()), (Bdf(v.completer), v.status), "{v:?}");
            assert_eq!((h.byte_count(), h.bcm(), h.lower_address()), (v.byte_count, v.bcm, v.lower_address), "{v:?}");
        } else {
            assert_eq!((h.first_be(), h.last_be()), (v.first_be, v.last_be), "{v:?}");
        }
        if h.kind().is_config() {
            assert_eq!((h.target(), h.register()), (Bdf(v.target), v.register), "{v:?}");
        } else if !h.kind().is_completion() {
            assert_eq!(h.address(), v.address, "{v:?}");
        }
        if v.th {
            assert_eq!(h.processing_hint(), v.ph, "{v:?}");
        }
        if let (Some((address, len)), Some(count)) = (v.range, v.first_byte_count) {
            let enables = h.byte_enables();
            assert_eq!((enables.byte_count(), enables.enabled()), (count, len), "{v:?}");
            assert!(len == 0 || enables.range(h.address()) == (address, len), "{v:?}");
        }
        assert_eq!(bytes.len(), h.header_len() + h.payload_len(), "{v:?}");
        let mut out = [0; 16];
        let len = h.encode(&mut out);
        assert_eq!(out[..len], bytes[..len], "{v:?}");
        // The encoder sets TD but writes no digest.
        if v.td {
            assert!(matches!(Tlp::parse(&bytes), Err(Malformed::Truncated { .. })), "{v:?}");
        } else {
            let tlp = Tlp::parse(&bytes).unwrap_or_else(|e| panic!("{e}: {v:?}"));
            assert_eq!(tlp.to_vec().as_ref(), Ok(&bytes), "{v:?}");
        }
    }
    println!("{} vectors: {counts:?}", vectors.len());
    assert_eq!(counts.len(), 22, "types in the vectors: {counts:?}");
    assert!(vectors.len() >= 1000);
}

/// Our constructor's header for a vector; `None` for what has no constructor: locked reads and their completions, TH, LN, BCM.
fn construct(v: &Vector) -> Option<Result<Header, Malformed>> {
    let (id, tag, address) = (Bdf(v.requester), v.tag, v.address);
    if v.th || v.ln || v.bcm {
        return None;
    }
    let config = |config_type, write: bool| {
        let make = if write { Header::config_write } else { Header::config_read };
        make(config_type, id, tag, Bdf(v.target), v.register, v.first_be)
    };
    let atomic = |operation| Header::atomic(operation, id, tag, address, v.operand.unwrap_or(0));
    Some(match v.kind.as_str() {
        "MRd32" | "MRd64" => Header::mem_read(id, tag, address, v.first_be, v.last_be, v.length),
        "MWr32" | "MWr64" => Header::mem_write(id, tag, address, v.first_be, v.last_be, v.length),
        "IORd" => Header::io_read(id, tag, address as u32, v.first_be),
        "IOWr" => Header::io_write(id, tag, address as u32, v.first_be),
        "CfgRd0" => config(ConfigType::Type0, false),
        "CfgWr0" => config(ConfigType::Type0, true),
        "CfgRd1" => config(ConfigType::Type1, false),
        "CfgWr1" => config(ConfigType::Type1, true),
        "FetchAdd32" | "FetchAdd64" => atomic(Atomic::FetchAdd),
        "Swap32" | "Swap64" => atomic(Atomic::Swap),
        "CAS32" | "CAS64" => atomic(Atomic::Cas),
        "Cpl" | "CplD" => Header::completion(
            Bdf(v.completer),
            id,
            tag,
            Status::from_bits(v.status),
            v.byte_count,
            v.lower_address,
            v.length,
            v.tc,
            Attr::from_bits(v.attr),
        ),
        _ => return None,
    })
}

#[test]
fn constructing_gives_the_bytes() {
    let mut made = 0;
    for v in vectors() {
        let Some(header) = construct(&v) else { continue };
        let from_range = v.range.map(|(address, len)| {
            let make = if v.kind.starts_with("MRd") { Header::mem_read_bytes } else { Header::mem_write_bytes };
            make(Bdf(v.requester), v.tag, address, len)
        });
        for header in [Some(header), from_range].into_iter().flatten() {
            let mut header = header.unwrap_or_else(|e| panic!("{e}: {v:?}"));
            header.set_tc(v.tc).expect("TC");
            header.set_attr(Attr::from_bits(v.attr)).expect("Attr");
            header.set_at(AddressType::from_bits(v.at)).expect("AT");
            header.set_td(v.td);
            header.set_ep(v.ep);
            let mut out = [0; 16];
            let len = header.encode(&mut out);
            assert_eq!(out[..len], bytes(&v.tlp)[..len], "{v:?}");
        }
        made += 1;
    }
    println!("{made} headers constructed");
    assert!(made >= 900);
}
