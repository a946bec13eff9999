//! Links: speed, length, buffers, virtual channels, and how their data link layer is simulated.

use serde::{Deserialize, Serialize};

use super::{OutOfRange, Range, check};

/// Flow-control credits that a receiver advertises, per class. A data credit is 16 bytes. 0 means infinite, as in InitFC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credits {
    /// Posted headers, 0 to 127. All six may be larger if the link is exact and can do 16 GT/s: 2,032 headers, 32,752 units of data.
    pub posted_headers: u32,
    /// Posted data, 0 to 2,047.
    pub posted_data: u32,
    /// Non-posted headers, 0 to 127.
    pub nonposted_headers: u32,
    /// Non-posted data, 0 to 2,047.
    pub nonposted_data: u32,
    /// Completion headers, 0 to 127.
    pub completion_headers: u32,
    /// Completion data, 0 to 2,047.
    pub completion_data: u32,
}

impl Credits {
    /// All infinite.
    pub const INFINITE: Credits = Credits {
        posted_headers: 0,
        posted_data: 0,
        nonposted_headers: 0,
        nonposted_data: 0,
        completion_headers: 0,
        completion_data: 0,
    };

    /// Checks each of them. Scaled ones may be sixteen times as many.
    fn validate(&self, section: &str, max_payload: u32, scaled: bool) -> Result<(), OutOfRange> {
        let data = max_payload.div_ceil(16);
        let (headers_most, data_most) = if scaled { (2032, 32_752) } else { (127, 2047) };
        for (field, value) in [
            ("posted_headers", self.posted_headers),
            ("nonposted_headers", self.nonposted_headers),
            ("completion_headers", self.completion_headers),
        ] {
            let allowed = "0 (infinite) to 127, or 2032 if the link is exact and can do 16 GT/s";
            check(section, field, value, value <= headers_most, allowed)?;
        }
        for (field, value) in [("posted_data", self.posted_data), ("completion_data", self.completion_data)] {
            let enough = value == 0 || (data..=data_most).contains(&value);
            let allowed =
                "0 (infinite), or max_payload / 16 to 2047, or to 32752 if the link is exact and can do 16 GT/s";
            check(section, field, value, enough, allowed)?;
        }
        // The largest non-posted request is a 128-byte deferrable memory write; an atomic has up to 32 bytes.
        let enough = self.nonposted_data == 0 || (8..=2047).contains(&self.nonposted_data);
        check(section, "nonposted_data", self.nonposted_data, enough, "0 (infinite), or 8 to 2047")
    }
}

/// How the data link layer of a link is simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataLink {
    /// As a rate: data link packets take `timing.dllp_permille` of the bytes, and credits come back after `timing.update_fc_ns`. Nothing is lost.
    #[default]
    Rated,
    /// Packet by packet: sequence numbers, Ack and Nak, replays, InitFC and UpdateFC, all of which take their time on the wire and can be broken or
    /// lost there. `timing.dllp_permille` and `timing.update_fc_ns` mean nothing; only ordered sets are still a rate (a SKP in 370 blocks).
    Exact,
}

impl DataLink {
    /// Is it a rate?
    pub fn is_rated(&self) -> bool {
        *self == DataLink::Rated
    }
}

/// The virtual channels of a link beyond VC0: for each the credits that the receiver at each end advertises for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ChannelList", into = "ChannelList")]
pub struct VirtualChannels {
    credits: [Credits; VirtualChannels::MOST],
    count: u8,
    low_priority: u8,
    phases: u8,
}

/// The same as a profile has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChannelList {
    #[serde(default)]
    low_priority: u8,
    #[serde(default, skip_serializing_if = "is_zero")]
    phases: u8,
    credits: Vec<Credits>,
}

fn is_zero(value: &u8) -> bool {
    *value == 0
}

impl VirtualChannels {
    /// The most that a link may have beyond VC0.
    pub const MOST: usize = 7;
    /// None: VC0 carries everything.
    pub const NONE: VirtualChannels =
        VirtualChannels { credits: [Credits::INFINITE; VirtualChannels::MOST], count: 0, low_priority: 0, phases: 0 };

    /// These, at most seven: `None` if they're more.
    pub fn new(channels: &[Credits]) -> Option<VirtualChannels> {
        let mut all = VirtualChannels { count: channels.len() as u8, ..VirtualChannels::NONE };
        all.credits.get_mut(..channels.len())?.copy_from_slice(channels);
        Some(all)
    }

    /// The same with VC IDs up to `count` in the low-priority group, where VC0 is: they take turns, and those with higher IDs come before them, a higher
    /// ID first. The ports say so as Low Priority Extended VC Count, of at most the number of channels.
    #[must_use]
    pub fn with_low_priority(self, count: u8) -> VirtualChannels {
        VirtualChannels { low_priority: count.min(self.count), ..self }
    }

    /// The same with ports that can let the low-priority group take turns by weighted round robin, if software selects that, with tables of up to
    /// `phases` phases: 32, 64 or 128. `None` if it's another number, but for 0, which means none, or the group has no channel beyond VC0.
    #[must_use]
    pub fn with_phases(self, phases: u8) -> Option<VirtualChannels> {
        let ok = phases == 0 || [32, 64, 128].contains(&phases) && self.low_priority > 0;
        ok.then_some(VirtualChannels { phases, ..self })
    }

    /// Phases of the longest table for weighted round robin: 32, 64 or 128; 0 if there's none.
    pub fn phases(&self) -> u8 {
        self.phases
    }

    /// The highest VC ID in the low-priority group.
    pub fn low_priority(&self) -> u8 {
        self.low_priority
    }

    /// The credits of each: those of the second VC resource of the ports first.
    pub fn credits(&self) -> &[Credits] {
        self.credits.get(..usize::from(self.count)).unwrap_or(&[])
    }

    /// Whether VC0 carries everything.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Default for VirtualChannels {
    fn default() -> VirtualChannels {
        VirtualChannels::NONE
    }
}

impl TryFrom<ChannelList> for VirtualChannels {
    type Error = OutOfRange;

    fn try_from(list: ChannelList) -> Result<VirtualChannels, OutOfRange> {
        let ChannelList { low_priority, phases, credits } = list;
        let wrong = |field: &str, value: u64, allowed| OutOfRange { field: field.to_owned(), value, allowed };
        let number = credits.len() as u64;
        let channels = VirtualChannels::new(&credits);
        let channels = channels.ok_or_else(|| wrong("number of virtual_channels.credits", number, "0 to 7"))?;
        if low_priority > channels.count {
            let allowed = "0 to the number of virtual_channels.credits";
            return Err(wrong("virtual_channels.low_priority", low_priority.into(), allowed));
        }
        let allowed = "0; or 32, 64 or 128 if virtual_channels.low_priority isn't 0";
        let channels = channels.with_low_priority(low_priority).with_phases(phases);
        channels.ok_or_else(|| wrong("virtual_channels.phases", phases.into(), allowed))
    }
}

impl From<VirtualChannels> for ChannelList {
    fn from(channels: VirtualChannels) -> ChannelList {
        let VirtualChannels { low_priority, phases, .. } = channels;
        ChannelList { low_priority, phases, credits: channels.credits().to_vec() }
    }
}

/// A link: its speed, its length, and the buffers at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// 1 (2.5 GT/s) to 5 (32 GT/s).
    pub generation: u8,
    /// 1, 2, 4, 8, 12, 16 or 32.
    pub lanes: u8,
    /// Time of flight.
    pub propagation: Range,
    /// What the receiver at each end advertises, for VC0.
    pub credits: Credits,
    /// The virtual channels beyond VC0; none if nothing is said. They're used if the ports at both ends have the capability, and software enables
    /// them.
    #[serde(default, skip_serializing_if = "VirtualChannels::is_empty")]
    pub virtual_channels: VirtualChannels,
    /// How the data link layer is simulated: `rated` if nothing is said.
    #[serde(default, skip_serializing_if = "DataLink::is_rated")]
    pub data_link: DataLink,
}

impl Link {
    pub(crate) fn validate(&self, section: &str, max_payload: u32) -> Result<(), OutOfRange> {
        check(section, "generation", self.generation, (1..=5).contains(&self.generation), "1 to 5")?;
        check(
            section,
            "lanes",
            self.lanes,
            [1, 2, 4, 8, 12, 16, 32].contains(&self.lanes),
            "1, 2, 4, 8, 12, 16 or 32",
        )?;
        let Range { min_ps, max_ps } = self.propagation;
        check(section, "propagation.max_ps", max_ps, max_ps <= 1_000_000_000, "0 to 1000000000 (1 ms)")?;
        check(section, "propagation.min_ps", min_ps, min_ps <= max_ps, "0 to propagation.max_ps")?;
        // An exact link of ports that can do 16 GT/s scales its credits (3.4.2): then there may be sixteen times as many.
        let scaled = self.data_link == DataLink::Exact && self.generation >= 4;
        self.credits.validate(&format!("{section}.credits"), max_payload, scaled)?;
        for (number, credits) in self.virtual_channels.credits().iter().enumerate() {
            credits.validate(&format!("{section}.virtual_channels.credits[{number}]"), max_payload, scaled)?;
        }
        Ok(())
    }

    /// Picoseconds per byte on the wire in 1/65,536, encoding included (8b/10b up to generation 2, 128b/130b from 3).
    pub fn ps_per_byte_q16(&self) -> u64 {
        // Lane rate in MT/s, and bits on the wire for one byte, as a fraction.
        let (mega_transfers, line_bits, data_bits) = match self.generation {
            1 => (2_500_u64, 10, 8),
            2 => (5_000, 10, 8),
            3 => (8_000, 130, 128),
            4 => (16_000, 130, 128),
            _ => (32_000, 130, 128),
        };
        let ps_numerator = 8 * 1_000_000 * line_bits;
        (ps_numerator << 16) / (mega_transfers * data_bits * u64::from(self.lanes))
    }

    /// Bytes that frame a TLP on the wire: sequence number and LCRC, and STP and END symbols (generations 1 and 2) or the
    /// STP token that holds the sequence number (from 3 on).
    pub fn framing_bytes(&self) -> u64 {
        8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(generation: u8, lanes: u8) -> Link {
        Link {
            generation,
            lanes,
            propagation: Range { min_ps: 0, max_ps: 0 },
            credits: Credits::INFINITE,
            virtual_channels: VirtualChannels::NONE,
            data_link: DataLink::Rated,
        }
    }

    #[test]
    fn wire_rate_by_generation() {
        // Raw rates: 0.25 GB/s, 0.5 GB/s a lane; 7.877 GB/s for 3 x8; 31.508 and 63.015 GB/s for 4 and 5 x16.
        for (generation, lanes, bytes_per_us) in
            [(1, 1, 250), (2, 1, 500), (3, 8, 7_877), (4, 16, 31_508), (5, 16, 63_015)]
        {
            let ps = (link(generation, lanes).ps_per_byte_q16() * bytes_per_us) >> 16;
            assert!((999_000..=1_001_000).contains(&ps), "generation {generation} x{lanes}: {ps} ps");
        }
    }

    #[test]
    fn exact_links_scale_their_credits() {
        let mut link = link(5, 8);
        link.credits.posted_headers = 2032;
        link.credits.posted_data = 32_752;
        assert!(link.validate("topology.host.link", 256).is_err());
        link.data_link = DataLink::Exact;
        assert_eq!(link.validate("topology.host.link", 256), Ok(()));
        link.generation = 3;
        assert!(link.validate("topology.host.link", 256).is_err());
        // What's usual isn't written down.
        let text = serde_json::to_string(&link).unwrap();
        assert!(text.contains("\"data_link\":\"exact\""), "{text}");
        assert_eq!(serde_json::from_str::<Link>(&text).unwrap(), link);
        let text = serde_json::to_string(&Link { data_link: DataLink::Rated, ..link }).unwrap();
        assert!(!text.contains("data_link"), "{text}");
    }

    #[test]
    fn credits_must_hold_the_largest_payload() {
        let mut link = link(3, 8);
        link.credits.posted_data = 15;
        assert!(link.validate("topology.host.link", 256).is_err());
        link.credits.posted_data = 16;
        assert_eq!(link.validate("topology.host.link", 256), Ok(()));
    }

    #[test]
    fn virtual_channels_are_credits_too() {
        let mut link = link(3, 8);
        let few = Credits { completion_data: 15, ..Credits::INFINITE };
        link.virtual_channels = VirtualChannels::new(&[Credits::INFINITE, few]).unwrap().with_low_priority(1);
        let error = link.validate("topology.host.link", 256).unwrap_err();
        assert_eq!(error.field, "topology.host.link.virtual_channels.credits[1].completion_data");
        assert_eq!(link.validate("topology.host.link", 128), Ok(()));
        assert_eq!(VirtualChannels::new(&[few; 8]), None);
        assert_eq!(VirtualChannels::new(&[few; 7]).unwrap().credits(), [few; 7]);
        let text = serde_json::to_string(&link).unwrap();
        assert_eq!(serde_json::from_str::<Link>(&text).unwrap(), link);
        for (low_priority, number, wrong) in [
            (0, 8, "number of virtual_channels.credits = 8 is out of range: 0 to 7"),
            (3, 2, "virtual_channels.low_priority = 3 is out of range: 0 to the number of virtual_channels.credits"),
        ] {
            let list = ChannelList { low_priority, phases: 0, credits: vec![few; number] };
            let text = serde_json::to_string(&list).unwrap();
            let error = serde_json::from_str::<VirtualChannels>(&text).unwrap_err();
            assert!(error.to_string().contains(wrong), "{error}");
        }
        for (low_priority, phases, ok) in [(0, 32, false), (1, 16, false), (1, 32, true), (2, 128, true)] {
            let text = serde_json::to_string(&ChannelList { low_priority, phases, credits: vec![few; 2] }).unwrap();
            match serde_json::from_str::<VirtualChannels>(&text) {
                Ok(channels) => assert!(ok && channels.phases() == phases, "{text}"),
                Err(error) => {
                    let wrong = format!("virtual_channels.phases = {phases} is out of range: 0; or 32, 64 or 128");
                    assert!(!ok && error.to_string().contains(&wrong), "{error}");
                }
            }
        }
        let exact = super::Link { data_link: DataLink::Exact, ..link };
        assert_eq!(exact.validate("topology.host.link", 128), Ok(()));
        let without = serde_json::to_string(&super::Link { virtual_channels: VirtualChannels::NONE, ..link }).unwrap();
        assert!(!without.contains("virtual"), "{without}");
        assert!(serde_json::from_str::<Link>(&without).unwrap().virtual_channels.is_empty());
    }
}
