//! Captures made up here: NetTLP's framing in each kind of file.

use mlx5_twin_sim::tlp::{Bdf, Header, Status};

pub(crate) const DEVICE: Bdf = Bdf::new(0x19, 0, 0);
pub(crate) const ROOT: Bdf = Bdf::new(0, 0, 0);

/// A TLP and its time in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) ns: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Ethernet, IPv4 and UDP around a TLP from the adapter to the software, or back.
fn framed(up: bool, header: &Header) -> Vec<u8> {
    let mut raw = [0; 16];
    let len = header.encode(&mut raw);
    let tlp = [&raw[..len], &vec![0xaa; header.payload_len()]].concat();
    let udp = (8 + 6 + tlp.len()) as u16;
    let (from, to) = if up { (1, 3) } else { (3, 1) };
    let mut bytes = vec![0; 12];
    bytes.extend([0x08, 0x00, 0x45, 0]);
    bytes.extend((20 + udp).to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, 17, 0, 0, 192, 168, 10, from, 192, 168, 10, to, 0x30, 0, 0x30, 0]);
    bytes.extend(udp.to_be_bytes());
    bytes.extend([0; 8]);
    bytes.extend(tlp);
    bytes
}

/// A request of the device.
pub(crate) fn request(ns: u64, header: &Header) -> Frame {
    Frame { ns, bytes: framed(true, header) }
}

/// A TLP towards the device.
pub(crate) fn back(ns: u64, header: &Header) -> Frame {
    Frame { ns, bytes: framed(false, header) }
}

pub(crate) fn read(tag: u16, address: u64, len: u32) -> Header {
    Header::mem_read_bytes(DEVICE, tag, address, len).expect("a read")
}

/// The completion of dwords `from..from + len` of a read.
pub(crate) fn part(request: &Header, from: u32, len: u32) -> Header {
    Header::completion_part(request, ROOT, Status::Successful, from, len).expect("a completion")
}

/// Three reads that a root complex with 256-byte payloads answers, a write, and an access of the host.
pub(crate) fn conversation() -> Vec<Frame> {
    let (first, second, third) = (read(1, 0x9000_0000, 512), read(2, 0x9000_01c0, 256), read(1, 0x1_0000_0002, 7));
    let write = Header::mem_write_bytes(DEVICE, 0, 0xa000_0000, 256).expect("a write");
    let host = Header::mem_read_bytes(ROOT, 9, 0xc000_0000, 4).expect("a read");
    vec![
        request(1_000, &first),
        request(1_100, &second),
        request(1_200, &write),
        back(1_300, &host),
        back(2_000, &part(&first, 0, 64)),
        back(2_100, &part(&second, 0, 64)),
        back(2_200, &part(&first, 64, 64)),
        request(3_000, &third),
        back(4_000, &part(&third, 0, 3)),
    ]
}

/// A pcap file: nanoseconds or microseconds, of either byte order, cut at `snap` bytes.
pub(crate) fn pcap(frames: &[Frame], nano: bool, big: bool, snap: usize) -> Vec<u8> {
    let u32_of = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let u16_of = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut file = Vec::new();
    file.extend(u32_of(if nano { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }));
    file.extend([u16_of(2), u16_of(4)].concat());
    file.extend([0, 0, snap as u32, 1].map(u32_of).concat());
    for Frame { ns, bytes } in frames {
        let kept = bytes.len().min(snap);
        let (seconds, fraction) = (1_500_000_000 + ns / 1_000_000_000, ns % 1_000_000_000);
        let fraction = if nano { fraction } else { fraction / 1_000 };
        file.extend([seconds as u32, fraction as u32, kept as u32, bytes.len() as u32].map(u32_of).concat());
        file.extend(&bytes[..kept]);
    }
    file
}

/// A block of a big-endian pcapng file.
pub(crate) fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padding = body.len().next_multiple_of(4) - body.len();
    let length = ((12 + body.len() + padding) as u32).to_be_bytes();
    [&kind.to_be_bytes()[..], &length, body, &vec![0; padding], &length].concat()
}

/// A pcapng file with one Ethernet interface whose times are in nanoseconds.
pub(crate) fn pcapng(frames: &[Frame]) -> Vec<u8> {
    let mut file = block(0x0a0d_0d0a, &[&[0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0][..], &[0xff; 8]].concat());
    file.extend(block(1, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0]));
    for Frame { ns, bytes } in frames {
        let time = 1_500_000_000_000_000_000 + ns;
        let fixed = [0, (time >> 32) as u32, time as u32, bytes.len() as u32, bytes.len() as u32];
        file.extend(block(6, &[&fixed.map(u32::to_be_bytes).concat()[..], bytes].concat()));
    }
    file
}
