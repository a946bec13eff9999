//! Captures of NetTLP: Ethernet, IPv4, UDP ports 12288 to 20479; after UDP 6 bytes, then the TLP. They carry no licence, so they aren't in this project.

use std::path::{Path, PathBuf};

/// Their folder: `MLX5_TWIN_NETTLP` names it; else it is `shared/captures/nettlp` beside the checkout.
pub(crate) fn folder() -> PathBuf {
    std::env::var_os("MLX5_TWIN_NETTLP")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures/nettlp"), PathBuf::from)
}

/// The packets of a pcap file with nanoseconds or microseconds, of either byte order.
pub(crate) fn packets(file: &[u8]) -> Vec<&[u8]> {
    let swapped = match file[..4] {
        [0x4d, 0x3c, 0xb2, 0xa1] | [0xd4, 0xc3, 0xb2, 0xa1] => true,
        [0xa1, 0xb2, 0x3c, 0x4d] | [0xa1, 0xb2, 0xc3, 0xd4] => false,
        _ => panic!("no pcap file"),
    };
    let mut packets = Vec::new();
    let mut rest = &file[24..];
    while let Some((record, after)) = rest.split_at_checked(16) {
        let len: [u8; 4] = record[8..12].try_into().expect("four bytes");
        let len = if swapped { u32::from_le_bytes(len) } else { u32::from_be_bytes(len) };
        let (packet, after) = after.split_at(len as usize);
        packets.push(packet);
        rest = after;
    }
    packets
}

/// Whether a packet has a VLAN tag: in the captures of a root complex and a switch that's what the devices send.
pub(crate) fn is_tagged(packet: &[u8]) -> bool {
    packet.get(12..14) == Some(&[0x81, 0x00])
}

/// What UDP carries on a port of NetTLP's, without the 6 bytes in front of the TLP.
pub(crate) fn tlp(packet: &[u8]) -> Option<&[u8]> {
    let ip = packet.get(if is_tagged(packet) { 18 } else { 14 }..)?;
    let options = usize::from(ip.first()? & 0xf) * 4;
    let udp = ip.get(options..)?;
    let port = u16::from_be_bytes([*udp.get(2)?, *udp.get(3)?]);
    let len = usize::from(u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?]));
    // Captures are cut at 128 bytes.
    let udp = udp.get(..len).unwrap_or(udp);
    let is_udp = ip[0] >> 4 == 4 && ip.get(9) == Some(&17);
    (is_udp && (12288..=20479).contains(&port)).then(|| udp.get(14..)).flatten()
}
