//! NetTLP's framing: Ethernet, IPv4, UDP, 6 bytes, TLP (the NetTLP project's `libtlp`; ports as in its Wireshark dissector).

use mlx5_twin_sim::tlp::Malformed;

/// LINKTYPE_ETHERNET (tcpdump.org's list).
pub(crate) const ETHERNET: u32 = 1;

/// UDP ports that carry TLPs.
const PORTS: std::ops::RangeInclusive<u16> = 12288..=20479;

/// Sequence number (2 bytes) and time (4 bytes) between UDP's header and the TLP.
const HEADER: usize = 6;

/// IPv4 addresses from which a frame comes and to which it goes: by them is known which way a TLP went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Flow {
    /// From.
    pub(crate) source: [u8; 4],
    /// To.
    pub(crate) destination: [u8; 4],
}

impl Flow {
    /// The other way.
    pub(crate) fn reverse(self) -> Flow {
        Flow { source: self.destination, destination: self.source }
    }
}

/// A frame that should have a TLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// Which way it went.
    pub(crate) flow: Flow,
    /// What of the TLP was captured.
    pub(crate) tlp: &'a [u8],
}

/// Why a frame isn't taken as a TLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotTlp {
    /// The link type isn't Ethernet's.
    #[error("link type {0} is not Ethernet")]
    LinkType(u32),
    /// The block that holds it has no time.
    #[error("no time: an older packet block of pcapng")]
    NoTime,
    /// It was captured too long after the first frame, or before it.
    #[error("captured more than 100 days from the first frame")]
    Time,
    /// The frame ends in a header.
    #[error("ends in the {0} header")]
    Short(&'static str),
    /// Ethertype.
    #[error("Ethertype {0:#06x} is not IPv4")]
    NotIpv4(u16),
    /// Version and header length of IP.
    #[error("IP version and header length {0:#04x} are not IPv4's")]
    IpHeader(u8),
    /// A part of a datagram.
    #[error("a fragment of an IPv4 datagram")]
    Fragment,
    /// IP's protocol.
    #[error("IP protocol {0} is not UDP")]
    NotUdp(u8),
    /// UDP's length.
    #[error("UDP length {0} has no room for NetTLP's header")]
    UdpLength(u16),
    /// UDP's destination.
    #[error("UDP port {0} is not one of NetTLP's, 12288 to 20479")]
    Port(u16),
    /// The TLP breaks a rule.
    #[error("malformed TLP: {0}")]
    Malformed(#[from] Malformed),
}

impl NotTlp {
    /// The reason without the values: what is counted together.
    pub(crate) fn reason(&self) -> String {
        match self {
            NotTlp::LinkType(_) => "not Ethernet".to_owned(),
            NotTlp::NotIpv4(_) | NotTlp::IpHeader(_) => "not IPv4".to_owned(),
            NotTlp::NotUdp(_) => "not UDP".to_owned(),
            NotTlp::UdpLength(_) => "no room for NetTLP's header".to_owned(),
            NotTlp::Port(_) => "not a UDP port of NetTLP's".to_owned(),
            NotTlp::Malformed(Malformed::Truncated { part, .. }) => format!("too short: ends in the TLP's {part}"),
            NotTlp::Malformed(rule) => format!("malformed TLP: {}", rule.rule()),
            NotTlp::NoTime | NotTlp::Time | NotTlp::Short(_) | NotTlp::Fragment => self.to_string(),
        }
    }
}

impl<'a> Frame<'a> {
    /// Looks for a TLP in an Ethernet frame. The TLP itself isn't checked.
    pub(crate) fn decode(frame: &'a [u8]) -> Result<Frame<'a>, NotTlp> {
        let (mut kind, mut rest) = ethernet(frame).ok_or(NotTlp::Short("Ethernet"))?;
        // IEEE 802.1Q and 802.1ad tags.
        while let 0x8100 | 0x88a8 = kind {
            let (&[_, _, k0, k1], after) = rest.split_first_chunk().ok_or(NotTlp::Short("Ethernet"))?;
            (kind, rest) = (u16::from_be_bytes([k0, k1]), after);
        }
        if kind != 0x0800 {
            return Err(NotTlp::NotIpv4(kind));
        }
        let ip = rest.first_chunk::<20>().ok_or(NotTlp::Short("IPv4"))?;
        let &[version, _, _, _, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = ip;
        let header = usize::from(version & 0xf) * 4;
        if version >> 4 != 4 || header < 20 {
            return Err(NotTlp::IpHeader(version));
        }
        // More Fragments, or an offset.
        if u16::from_be_bytes([f0, f1]) & 0x3fff != 0 {
            return Err(NotTlp::Fragment);
        }
        if protocol != 17 {
            return Err(NotTlp::NotUdp(protocol));
        }
        let udp = rest.get(header..).ok_or(NotTlp::Short("IPv4"))?;
        let &[_, _, p0, p1, l0, l1, _, _] = udp.first_chunk().ok_or(NotTlp::Short("UDP"))?;
        let (port, length) = (u16::from_be_bytes([p0, p1]), u16::from_be_bytes([l0, l1]));
        if !PORTS.contains(&port) {
            return Err(NotTlp::Port(port));
        }
        let end = usize::from(length);
        if end < 8 + HEADER {
            return Err(NotTlp::UdpLength(length));
        }
        // What follows UDP's length fills the frame up; what is missing was cut.
        let udp = udp.get(..end).unwrap_or(udp);
        let tlp = udp.get(8 + HEADER..).ok_or(NotTlp::Short("NetTLP"))?;
        Ok(Frame { flow: Flow { source: [s0, s1, s2, s3], destination: [d0, d1, d2, d3] }, tlp })
    }
}

/// Ethertype, and what follows it.
fn ethernet(frame: &[u8]) -> Option<(u16, &[u8])> {
    let (header, rest) = frame.split_first_chunk::<14>()?;
    Some((u16::from_be_bytes([header[12], header[13]]), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethernet with a VLAN tag, IPv4, UDP, NetTLP, and a read of 64 bytes.
    pub(crate) const READ: [u8; 64] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x81, 0, 0, 100, 8, 0, // Ethernet
        0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 192, 168, 10, 1, 192, 168, 10, 3, // IPv4
        0x30, 2, 0x30, 2, 0, 26, 0, 0, 1, 2, 3, 4, 5, 6, // UDP, NetTLP
        0, 0, 0, 16, 0x19, 0, 2, 0xff, 0x90, 0, 0, 0, // MRd32
    ];

    #[test]
    fn finds_the_tlp() {
        let frame = Frame::decode(&READ).unwrap();
        assert_eq!(frame.flow.reverse().source, [192, 168, 10, 3]);
        assert_eq!(frame.tlp, &READ[52..]);
        // Without the tag, with IP options, and with a trailer.
        let untagged = [&READ[..12], &READ[16..], &[0; 4]].concat();
        assert_eq!(Frame::decode(&untagged).unwrap(), frame);
        let options = [&READ[..18], &[0x46], &READ[19..38], &[1; 4], &READ[38..]].concat();
        assert_eq!(Frame::decode(&options).unwrap(), frame);
    }

    #[test]
    fn what_is_no_tlp_has_its_reason() {
        let changed = |at: usize, byte: u8| {
            let mut frame = READ;
            frame[at] = byte;
            Frame::decode(&frame).unwrap_err()
        };
        let cases = [
            (changed(16, 6), NotTlp::NotIpv4(0x0600), "not IPv4"),
            (changed(18, 0x65), NotTlp::IpHeader(0x65), "not IPv4"),
            (changed(18, 0x44), NotTlp::IpHeader(0x44), "not IPv4"),
            (changed(24, 0x20), NotTlp::Fragment, "a fragment of an IPv4 datagram"),
            (changed(27, 6), NotTlp::NotUdp(6), "not UDP"),
            (changed(40, 0), NotTlp::Port(2), "not a UDP port of NetTLP's"),
            (changed(43, 13), NotTlp::UdpLength(13), "no room for NetTLP's header"),
        ];
        for (found, expected, reason) in cases {
            assert_eq!((found, found.reason().as_str()), (expected, reason));
        }
        for len in 0..52 {
            let part = match len {
                0..18 => "Ethernet",
                18..38 => "IPv4",
                38..46 => "UDP",
                _ => "NetTLP",
            };
            assert_eq!(Frame::decode(&READ[..len]), Err(NotTlp::Short(part)), "{len}");
        }
    }
}
