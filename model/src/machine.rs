//! A whole machine: a host with an emulated function in it, the DPU that shows it, and the links between them.

use mlx5_twin_fw_cmds::field::FieldError;
use mlx5_twin_fw_cmds::twin_v1;
use mlx5_twin_sim::config::{
    AerCapability, Bar, ConfigError, ConfigSpace, MsixCapability, MsixTable, PcieCapability, PortType, PowerCapability,
    Type0,
};
use mlx5_twin_sim::fabric::rules::{RuleError, Rules};
use mlx5_twin_sim::fabric::{
    Fabric, NodeId, PeerToPeer, PortIdentity, RootSpec, TopologyError, hot_plug_port_config, port_config,
};
use mlx5_twin_sim::host::Simulation;
use mlx5_twin_sim::memory::{Memory, MemoryError};
use mlx5_twin_sim::probe::LinkId;
use mlx5_twin_sim::profile::{Link, Side};

use crate::device::{Dpu, vsc};
use crate::emulation::{Emulation, TwinLimits};
use crate::firmware::Firmware;
use crate::profile::{Bar0Map, PortState, Profile, ProfileError};

/// Identity of the root ports (ours: the vendor ID isn't assigned).
const ROOT_PORT: (u16, u16) = (0xfff1, 0x8000);
/// Identity of the ports of the device's internal switch: the vendor is the device's own; the device ID is ours.
const SWITCH_PORT: u16 = 0x197b;

/// Why a profile gives no machine.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The profile breaks a rule.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A function's registers can't be what the profile says.
    #[error("configuration space: {0}")]
    Config(#[from] ConfigError),
    /// The topology can't be.
    #[error("topology: {0}")]
    Topology(#[from] TopologyError),
    /// A root complex's memory can't be.
    #[error("memory: {0}")]
    Memory(#[from] MemoryError),
    /// A fault of the profile can't happen in this topology.
    #[error("faults: number {number}: {error}")]
    Fault {
        /// Its number, from 1 on.
        number: usize,
        /// Why not.
        error: RuleError,
    },
    /// A limit doesn't fit the capability page that tells of it.
    #[error("capability page of twin-v1: {0}")]
    Limit(#[from] FieldError),
}

/// A machine that's ready to run: nothing has been enumerated yet.
#[derive(Debug)]
pub struct Machine {
    /// The fabric, and the programs on it.
    pub simulation: Simulation,
    /// The host's root complex. Below it is the device's internal switch, and below that the emulated functions: static ones first, then
    /// those at hot-plug ports.
    pub host: NodeId,
    /// The root complex of the DPU's cores. Below it is the mlx5 function.
    pub dpu: NodeId,
    /// The device, a [`Dpu`].
    pub device: NodeId,
    /// The names of the links' two ends, upper end first, by link number.
    pub links: Vec<(String, String)>,
}

impl Machine {
    /// Builds the machine that `profile` describes. `seed` draws what the profile gives as a range.
    ///
    /// # Errors
    /// What the profile breaks.
    pub fn build(profile: &Profile, seed: u64) -> Result<Machine, BuildError> {
        let memory = Memory::new(profile.topology.dpu.memory_mib << 20)?;
        Machine::with_memory(profile, seed, memory)
    }

    /// As [`Machine::build`], but the memory of the DPU's cores is this.
    ///
    /// # Errors
    /// What the profile breaks.
    pub fn with_memory(profile: &Profile, seed: u64, memory: Memory) -> Result<Machine, BuildError> {
        let mut firmware = Firmware::new(profile)?;
        let topology = &profile.topology;
        let mut fabric = Fabric::new(profile.timing, seed);
        let host = fabric.add_root(Machine::root_complex(profile, &topology.host)?);
        let dpu = fabric.add_root(RootSpec { memory, ..Machine::root_complex(profile, &topology.dpu)? });

        let vendor_id = profile.device.vendor_id;
        let identity = PortIdentity { vendor_id, device_id: SWITCH_PORT, max_payload: topology.max_payload };
        let upstream = port_config(identity, PortType::Upstream, 0, &topology.host.link)?;
        let fixed = topology.static_functions;
        let used = fixed + topology.hotplug_ports;
        let downstream = (0..topology.downstream_ports)
            .map(|number| match number {
                _ if (fixed..used).contains(&number) => hot_plug_port_config(identity, number, &topology.internal_link),
                _ => port_config(identity, PortType::Downstream, number, &topology.internal_link),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let switch = fabric.add_switch(host, &topology.host.link, upstream, downstream)?;
        let mut links = vec![("host".to_owned(), "switch".to_owned())];

        let device = fabric.reserve();
        let port = fabric.attach(device, dpu, &topology.dpu.link)?;
        links.push(("dpu".to_owned(), "mlx5".to_owned()));
        let mut ports = Vec::new();
        for number in 0..used {
            ports.push(fabric.attach(device, switch, &topology.internal_link)?);
            links.push(("switch".to_owned(), format!("function {number}")));
        }
        let mut limits = TwinLimits::new(topology.max_payload);
        if used == 0 {
            // Nothing can be emulated: the device is as real ones are.
            limits.max_channels = 0;
        } else {
            firmware.add_page(twin_v1::TWIN_CAP, limits.page(fixed.into(), topology.hotplug_ports.into())?)?;
        }
        let pages = firmware.bar0().tlp_pages.as_ref().map_or(0, |window| window.count);
        let emulation = Emulation::new(limits, &ports, pages).with_slots_from(fixed.into());
        let config = function_config(&firmware, &topology.dpu.link)?;
        let timeout = profile.timing.completion_timeout();
        let msix = MsixTable::new(&msix_capability(firmware.bar0(), profile.device.msix_vectors))?;
        let dpu_device = Dpu::new(device, port, config, msix, firmware, emulation, timeout)?;
        fabric.install(device, Box::new(dpu_device));
        if !profile.faults.is_empty() {
            let link_of = |name: &str| {
                let number = links.iter().position(|(_, lower)| lower == name)?;
                u16::try_from(number).ok().map(LinkId)
            };
            let fault = |(number, error)| BuildError::Fault { number, error };
            let rules = Rules::new(profile.faults.iter().cloned(), seed, link_of).map_err(fault)?;
            fabric.set_rules(rules).map_err(fault)?;
        }
        Ok(Machine { simulation: Simulation::new(fabric), host, dpu, device, links })
    }

    /// Gives the link of the device's port another state; its driver is told by an event.
    pub fn set_port_state(&mut self, link: PortState) {
        self.simulation.fabric_mut().device(self.device, |dpu: &mut Dpu, core| dpu.set_port_state(core, link));
    }

    /// The root complex of one side of a profile's machine, with one port.
    ///
    /// # Errors
    /// What the profile breaks.
    pub fn root_complex(profile: &Profile, side: &Side) -> Result<RootSpec, BuildError> {
        let (vendor_id, device_id) = ROOT_PORT;
        let identity = PortIdentity { vendor_id, device_id, max_payload: profile.topology.max_payload };
        Ok(RootSpec {
            memory: Memory::new(side.memory_mib << 20)?,
            read_completion_boundary: profile.topology.read_completion_boundary,
            peer_to_peer: PeerToPeer::Refused,
            ports: vec![port_config(identity, PortType::RootPort, 0, &side.link)?],
        })
    }

    /// Looks at the device.
    pub fn with_device<T>(&mut self, look: impl FnOnce(&Dpu) -> T) -> Option<T> {
        self.simulation.fabric_mut().device(self.device, |dpu: &mut Dpu, _| look(dpu))
    }
}

/// The registers of the mlx5 function.
fn function_config(firmware: &Firmware, link: &Link) -> Result<ConfigSpace, ConfigError> {
    let device = &firmware.profile().device;
    let mut bars = [None; 6];
    bars[0] = Some(Bar::memory64(firmware.bar0().size));
    let mut config = Type0 {
        vendor_id: device.vendor_id,
        device_id: device.device_id,
        revision: device.revision,
        class_code: device.class_code,
        subsystem_vendor_id: device.subsystem_vendor_id,
        subsystem_id: device.subsystem_id,
        bars,
        ..Type0::default()
    }
    .build()?;
    config.add(&PowerCapability { no_soft_reset: true })?;
    config.add(&PcieCapability {
        max_payload: firmware.profile().topology.max_payload,
        link_generation: link.generation,
        link_width: link.lanes,
        ..PcieCapability::new(PortType::Endpoint)
    })?;
    config.add(&msix_capability(firmware.bar0(), device.msix_vectors))?;
    config.add(&vsc::capability())?;
    config.add(&AerCapability::default())?;
    Ok(config)
}

/// Where BAR 0 has the MSI-X table and its pending bits.
fn msix_capability(map: &Bar0Map, vectors: u16) -> MsixCapability {
    MsixCapability {
        vectors,
        table_bar: 0,
        table_offset: map.msix_table.start as u32,
        pba_bar: 0,
        pba_offset: map.msix_pba.start as u32,
    }
}
