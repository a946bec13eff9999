//! Our decoder beside that of the crate rtlp-lib: both say the same of all vectors in `fixtures/tlp-vectors`.

#[path = "../benches/support/two_codecs.rs"]
mod two_codecs;

use std::collections::BTreeMap;
use std::path::Path;

use mlx5_twin_sim::tlp::Header;
use rtlp_lib::{TlpError, TlpMode, TlpPacket, new_atomic_req};
use two_codecs::{ours, rtlp};

/// The bytes of all vectors.
fn vectors() -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tlp-vectors/cocotbext-pcie-0.2.16.jsonl");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let bytes = |line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let hex = line["tlp"].as_str().expect("a TLP");
        let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        (0..hex.len()).step_by(2).map(digits).collect()
    };
    text.lines().map(bytes).collect()
}

/// The Length field as rtlp-lib has it: it has no function for it, but shows it.
fn length(packet: &TlpPacket) -> u32 {
    let shown = format!("{:?}", packet.header());
    let digits = shown.split("length: ").nth(1).expect("a length");
    let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

#[test]
fn both_say_the_same() {
    let mut kinds = BTreeMap::new();
    for bytes in vectors() {
        let mine = ours(&bytes).unwrap_or_else(|e| panic!("{e}: {bytes:02x?}"));
        assert_eq!(rtlp(&bytes), Ok(mine), "{bytes:02x?}");
        let header = Header::decode(&bytes).expect("it's decoded above");
        let packet = TlpPacket::new(bytes, TlpMode::NonFlit).expect("at least four bytes");
        let has_length = !matches!(mine.kind, "Cpl" | "CplLk");
        assert!(!has_length || length(&packet) == header.length_dw() % 1024, "{mine:?}");
        assert_eq!(packet.header().get_tc(), u32::from(header.tc()), "{mine:?}");
        *kinds.entry(mine.kind).or_insert(0) += 1;
    }
    println!("{kinds:?}");
    assert_eq!(kinds.len(), 22);
}

/// A hole of rtlp-lib's: it takes the width of the address for that of an atomic's operand. Should a later version do otherwise, this says so.
#[test]
fn atomics_of_the_other_width_are_refused_by_rtlp() {
    let (mut taken, mut refused) = (0, 0);
    for bytes in vectors() {
        let header = Header::decode(&bytes).expect("a vector");
        let operands = match &header.kind().name()[..3] {
            "Fet" | "Swa" => 1,
            "CAS" => 2,
            _ => continue,
        };
        let fits = header.length_dw() as usize * 4 / operands == header.header_len() - 8;
        let packet = TlpPacket::new(bytes, TlpMode::NonFlit).expect("at least four bytes");
        match new_atomic_req(&packet) {
            Ok(atomic) => {
                assert!(fits, "{header}");
                assert_eq!((atomic.address(), atomic.req_id()), (header.address(), header.requester().0), "{header}");
                taken += 1;
            }
            Err(error) => {
                assert!(!fits && error == TlpError::InvalidLength, "{header}: {error}");
                refused += 1;
            }
        }
    }
    println!("{taken} taken, {refused} refused");
    assert!(taken > 0 && refused > 0);
}
