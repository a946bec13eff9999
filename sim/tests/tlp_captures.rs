//! Headers captured from real devices by NetTLP (Ethernet, IPv4, UDP ports 12288 to 20479; after UDP 6 bytes, then the TLP).
//! The captures carry no licence, so they aren't in this project: without them the test says so and passes.
//! `MLX5_TWIN_NETTLP` names their folder; else it is `shared/captures/nettlp` beside the checkout.

mod common;

use common::nettlp::{folder, packets, tlp};
use mlx5_twin_sim::tlp::{Header, Kind, Malformed};
use std::collections::BTreeMap;

#[test]
fn captured_headers_decode_and_encode_to_the_same_bytes() {
    let folder = folder();
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("SKIPPED: no NetTLP captures in {}", folder.display());
        return;
    };
    let mut files: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "pcap"));
    files.sort();
    let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
    let mut junk: BTreeMap<(String, String), usize> = BTreeMap::new();
    for path in &files {
        let file = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for bytes in packets(&file).into_iter().filter_map(tlp) {
            match Header::decode(bytes) {
                Ok(header) => {
                    *kinds.entry(header.kind()).or_default() += 1;
                    let mut out = [0; 16];
                    let len = header.encode(&mut out);
                    assert_eq!(out[..len], bytes[..len], "{name}: {header}");
                    let expected = [Kind::MRd32, Kind::MRd64, Kind::MWr32, Kind::MWr64, Kind::CplD, Kind::Cpl];
                    assert!(expected.contains(&header.kind()), "{name}: {header}");
                }
                Err(reason) => {
                    if let Malformed::FirstBeZero { .. } = reason {
                        assert!(bytes.iter().take(8).all(|b| *b == 0), "{name}: {bytes:02x?}");
                    }
                    *junk.entry((name.clone(), reason.to_string())).or_default() += 1;
                }
            }
        }
    }
    println!("{} files: {kinds:?}", files.len());
    for ((file, reason), count) in &junk {
        println!("{file}: {count} x {reason}");
    }
    // Only the two captures that are known to hold junk do.
    for (file, _) in junk.keys() {
        assert!(["pm1725-read-16blk.pcap", "pm1725-read-8blk.pcap"].contains(&file.as_str()), "{file}: {junk:?}");
    }
    let (good, bad): (usize, usize) = (kinds.values().sum(), junk.values().sum());
    assert!(good > 10 * bad, "{good} headers, {bad} junk");
}
