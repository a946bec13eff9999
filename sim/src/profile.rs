//! The sections `[topology]` and `[timing]` of a profile: what the fabric looks like, and how long things take.

mod link;

use serde::{Deserialize, Serialize};

pub use self::link::{Credits, DataLink, Link, VirtualChannels};
use crate::fabric::PeerToPeer;
use crate::time::Time;

/// A value of a profile that no fabric can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value} is out of range: {allowed}")]
pub struct OutOfRange {
    /// The field, with its section: `topology.host.link.lanes`.
    pub field: String,
    /// What the profile says.
    pub value: u64,
    /// What would be right.
    pub allowed: &'static str,
}

/// Gives an error unless `ok`.
pub(crate) fn check(
    section: &str,
    field: &str,
    value: impl Into<u64>,
    ok: bool,
    allowed: &'static str,
) -> Result<(), OutOfRange> {
    if ok {
        return Ok(());
    }
    Err(OutOfRange { field: format!("{section}.{field}"), value: value.into(), allowed })
}

/// A latency that isn't known to the last digit. A seed draws one value of the range per link and direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The shortest, in picoseconds.
    pub min_ps: u64,
    /// The longest, in picoseconds.
    pub max_ps: u64,
}

/// One side of the device: a root complex with its memory, and the link to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// Memory of the root complex in MiB, a whole number from 16 to 2,048; it begins at address 0.
    pub memory_mib: u64,
    /// What the root complex does with requests from one root port to what is behind another: `"refused"` (if nothing is said), or
    /// `{ split = N }`. The profile's section `[fabric]` gives it more root ports.
    #[serde(default, skip_serializing_if = "PeerToPeer::is_refused")]
    pub peer_to_peer: PeerToPeer,
    /// The link below its root port.
    pub link: Link,
}

/// The section `[topology]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Max_Payload_Size that enumeration sets everywhere: 128 to 4,096 bytes.
    pub max_payload: u32,
    /// Max_Read_Request_Size that enumeration sets everywhere: 128 to 4,096 bytes.
    pub max_read_request: u32,
    /// Read Completion Boundary of the root complexes: 64 or 128 bytes.
    pub read_completion_boundary: u32,
    /// Downstream ports of the device's internal switch, 1 to 32.
    pub downstream_ports: u8,
    /// How many of them, from the first one on, have a static function behind them: 0 to `downstream_ports`.
    pub static_functions: u8,
    /// How many of the next ones have a slot into which functions can be plugged while the system runs: with `static_functions` 1 to
    /// `downstream_ports`. None if nothing is said.
    #[serde(default)]
    pub hotplug_ports: u8,
    /// The host.
    pub host: Side,
    /// The DPU's own cores.
    pub dpu: Side,
    /// The link between the internal switch and an emulated function.
    pub internal_link: Link,
}

/// The topology of the profile `bluefield3-ib`, whose file gives the source of each number.
impl Default for Topology {
    fn default() -> Topology {
        let edge = Credits {
            posted_headers: 127,
            posted_data: 1024,
            nonposted_headers: 127,
            nonposted_data: 128,
            completion_headers: 127,
            completion_data: 1024,
        };
        let dpu = Credits { completion_headers: 0, completion_data: 0, ..edge };
        let internal = Credits {
            posted_headers: 32,
            posted_data: 256,
            nonposted_headers: 32,
            nonposted_data: 64,
            completion_headers: 32,
            completion_data: 256,
        };
        let link = |credits, min_ps, max_ps| Link {
            generation: 5,
            lanes: 16,
            propagation: Range { min_ps, max_ps },
            credits,
            virtual_channels: VirtualChannels::NONE,
            data_link: DataLink::Rated,
        };
        Topology {
            max_payload: 256,
            max_read_request: 512,
            read_completion_boundary: 64,
            downstream_ports: 1,
            static_functions: 1,
            hotplug_ports: 0,
            host: Side { memory_mib: 256, peer_to_peer: PeerToPeer::Refused, link: link(edge, 1_000, 3_000) },
            dpu: Side { memory_mib: 256, peer_to_peer: PeerToPeer::Refused, link: link(dpu, 50, 150) },
            internal_link: link(internal, 50, 150),
        }
    }
}

impl Topology {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field that's out of its range.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        let size = |bytes: u32| bytes.is_power_of_two() && (128..=4096).contains(&bytes);
        let powers = "128, 256, 512, 1024, 2048 or 4096";
        check("topology", "max_payload", self.max_payload, size(self.max_payload), powers)?;
        check("topology", "max_read_request", self.max_read_request, size(self.max_read_request), powers)?;
        let rcb = self.read_completion_boundary;
        check("topology", "read_completion_boundary", rcb, [64, 128].contains(&rcb), "64 or 128")?;
        let ports = self.downstream_ports;
        check("topology", "downstream_ports", ports, (1..=32).contains(&ports), "1 to 32")?;
        let functions = self.static_functions;
        let slots = self.hotplug_ports;
        check("topology", "static_functions", functions, functions <= ports, "0 to downstream_ports")?;
        let ok = slots <= ports - functions;
        check("topology", "hotplug_ports", slots, ok, "0 to downstream_ports less static_functions")?;
        for (section, side) in [("topology.host", &self.host), ("topology.dpu", &self.dpu)] {
            let ok = (16..=2048).contains(&side.memory_mib);
            check(section, "memory_mib", side.memory_mib, ok, "16 to 2048")?;
            if let PeerToPeer::Split(split) = side.peer_to_peer {
                let ok = side.peer_to_peer.is_valid();
                check(section, "peer_to_peer.split", split, ok, "a power of two, 64 to 4096")?;
            }
            side.link.validate(&format!("{section}.link"), self.max_payload)?;
        }
        self.internal_link.validate("topology.internal_link", self.max_payload)
    }
}

/// The section `[timing]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// From the last symbol of a TLP at an endpoint's receiver to its use, in ns, 0 to 10,000.
    pub endpoint_ns: u64,
    /// From the last symbol at a switch's ingress to the egress queue, in ns, 0 to 10,000.
    pub switch_ns: u64,
    /// From the last symbol at a root port to the root complex, in ns, 0 to 10,000.
    pub root_complex_ns: u64,
    /// From a read at the root complex to its first completion, in ns, 0 to 100,000.
    pub memory_read_ns: u64,
    /// From a freed receive buffer to the credit at the transmitter, in ns, 0 to 100,000.
    pub update_fc_ns: u64,
    /// Completion timeout of every requester, in us: 50 to 64,000,000 (the ranges of Device Control 2).
    pub completion_timeout_us: u64,
    /// Share of a link's bytes that data link packets and ordered sets take, in thousandths, 0 to 500. Exact links have none of it.
    ///
    /// The profiles' 13 is derived for eight lanes whose two directions are full of TLPs with 256 bytes: per Ack limit, 203 symbols of eight bytes, an
    /// Ack and an UpdateFC of eight bytes each, which is 9.9 thousandths, and a SKP in 371 blocks, 2.7. The same sum gives 8.7 for 16 lanes, 21.4 for 4. A test
    /// holds exact links against it: with both directions full they are faster by 1 (x8), by 5 (x16), and slower by 4 (x4); by 10 if one is empty.
    pub dllp_permille: u64,
    /// Virtual time that one poll by software takes, in ns, 1 to 1,000,000.
    pub poll_ns: u64,
    /// From the moment at which nothing holds a link down to its data link layer being active, in us, 1 to 1,000,000. As in
    /// `bluefield3-ib` if nothing is said.
    #[serde(default = "link_training_us")]
    pub link_training_us: u64,
    /// From a write of Slot Control to Command Completed, in us, 1 to 1,000,000 (PCIe base specification 6.7.3.2: at most a second). As
    /// in `bluefield3-ib` if nothing is said.
    #[serde(default = "slot_command_us")]
    pub slot_command_us: u64,
}

const fn link_training_us() -> u64 {
    10_000
}

const fn slot_command_us() -> u64 {
    1_000
}

/// The timing of the profile `bluefield3-ib`, whose file gives the source of each number.
impl Default for Timing {
    fn default() -> Timing {
        Timing {
            endpoint_ns: 100,
            switch_ns: 105,
            root_complex_ns: 100,
            memory_read_ns: 150,
            update_fc_ns: 50,
            completion_timeout_us: 50_000,
            dllp_permille: 13,
            poll_ns: 100,
            link_training_us: link_training_us(),
            slot_command_us: slot_command_us(),
        }
    }
}

impl Timing {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field that's out of its range.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        for (field, value) in [
            ("endpoint_ns", self.endpoint_ns),
            ("switch_ns", self.switch_ns),
            ("root_complex_ns", self.root_complex_ns),
        ] {
            check("timing", field, value, value <= 10_000, "0 to 10000")?;
        }
        for (field, value) in [("memory_read_ns", self.memory_read_ns), ("update_fc_ns", self.update_fc_ns)] {
            check("timing", field, value, value <= 100_000, "0 to 100000")?;
        }
        let timeout = self.completion_timeout_us;
        check("timing", "completion_timeout_us", timeout, (50..=64_000_000).contains(&timeout), "50 to 64000000")?;
        check("timing", "dllp_permille", self.dllp_permille, self.dllp_permille <= 500, "0 to 500")?;
        for (field, value) in [
            ("poll_ns", self.poll_ns),
            ("link_training_us", self.link_training_us),
            ("slot_command_us", self.slot_command_us),
        ] {
            check("timing", field, value, (1..=1_000_000).contains(&value), "1 to 1000000")?;
        }
        Ok(())
    }

    /// How long a link is trained.
    pub fn link_training(&self) -> Time {
        Time::us(self.link_training_us)
    }

    /// How long a slot's hot-plug controller takes for a command.
    pub fn slot_command(&self) -> Time {
        Time::us(self.slot_command_us)
    }

    /// The completion timeout.
    pub fn completion_timeout(&self) -> Time {
        Time::us(self.completion_timeout_us)
    }
}
