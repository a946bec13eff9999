//! A whole machine: a host with an emulated function in it, the DPU that shows it, and the links between them.

use std::collections::{BTreeMap, BTreeSet};

use mlx5_twin_fw_cmds::field::FieldError;
use mlx5_twin_fw_cmds::twin_v1;
use mlx5_twin_sim::config::{
    AerCapability, Bar, ConfigError, ConfigSpace, MsixCapability, MsixTable, PcieCapability, PortType, PowerCapability,
    Type0,
};
use mlx5_twin_sim::fabric::rules::{Rule, RuleError, Rules};
use mlx5_twin_sim::fabric::{NodeId, PortId, PortIdentity, RootSpec, TopologyError, add_channels, port_config};
use mlx5_twin_sim::host::Simulation;
use mlx5_twin_sim::memory::{Memory, MemoryError};
use mlx5_twin_sim::probe::LinkId;
use mlx5_twin_sim::profile::{Link, Side, Topology};
use mlx5_twin_sim::topology::{Built, Ids, Part, PartKind, SpecError};

use crate::device::{Dpu, vsc};
use crate::emulation::{Emulation, TwinLimits};
use crate::firmware::Firmware;
use crate::profile::{Bar0Map, PortState, Profile, ProfileError, fabric};

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
    #[error(transparent)]
    Topology(#[from] Box<SpecError>),
    /// A link can't be connected.
    #[error("topology: {0}")]
    Connect(#[from] TopologyError),
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
    /// those at hot-plug ports. Those of the profile's `[fabric]` follow, wherever they are.
    pub host: NodeId,
    /// The root complex of the DPU's cores. Below it is the mlx5 function.
    pub dpu: NodeId,
    /// The device, a [`Dpu`].
    pub device: NodeId,
    /// The names of the links' two ends, upper end first, by link number.
    pub links: Vec<(String, String)>,
    /// By number of an emulated function: the root complex above it.
    pub functions: Vec<NodeId>,
    /// Further root complexes, by name.
    pub other_roots: Vec<(String, NodeId)>,
    /// Endpoints beside the card, by name.
    pub endpoints: Vec<(String, NodeId)>,
}

/// Where the card has its ports.
struct Seats<'a> {
    host: NodeId,
    dpu: NodeId,
    device: NodeId,
    /// The port of the mlx5 function.
    port: PortId,
    /// The ports of emulated functions, by number: first those of `[topology]`, then those of `[fabric]` in its order.
    functions: Vec<(PortId, &'a Part)>,
}

impl<'a> Seats<'a> {
    /// Of a fabric whose card has so many functions of `[topology]`. `None` if there's no card.
    fn new(built: &'a Built, own: u8) -> Option<Seats<'a>> {
        let seat = |part: &'a Part| Some((part.port?, part));
        let mut functions =
            (0..own).map(|number| seat(built.part(&fabric::function(number))?)).collect::<Option<Vec<_>>>()?;
        let own: BTreeSet<_> = functions.iter().map(|(port, _)| *port).collect();
        let mlx5 = built.part(fabric::MLX5)?;
        let others = built.parts().iter().filter(|part| part.name != fabric::MLX5).filter_map(seat);
        functions.extend(others.filter(|(port, _)| !own.contains(port)));
        Some(Seats {
            host: built.part(fabric::HOST)?.node,
            dpu: built.part(fabric::DPU)?.node,
            device: built.emulated?,
            port: mlx5.port?,
            functions,
        })
    }
}

/// The names of the links' ends. The `own` functions of `[topology]` are called `function 0` and so on.
fn link_names(built: &Built, own: u8) -> Vec<(String, String)> {
    let own: BTreeMap<_, _> = (0..own).map(|number| (fabric::function(number), format!("function {number}"))).collect();
    let named = |(upper, lower): (String, String)| {
        let lower = own.get(&lower).cloned().unwrap_or(lower);
        (upper, lower)
    };
    built.links().into_iter().map(named).collect()
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
        let memories = BTreeMap::from([(fabric::DPU, memory)]);
        let whole = profile.fabric_topology()?;
        let built = whole.build_around(profile.timing, seed, fabric::SECTION, memories).map_err(Box::new)?;
        let own = topology.static_functions.saturating_add(topology.hotplug_ports);
        let seats = Seats::new(&built, own);
        let Seats { host, dpu, device, port, functions } = seats.ok_or(ProfileError::NoCard)?;
        let links = link_names(&built, own);
        let (ports, roots): (Vec<_>, Vec<_>) = functions.iter().map(|seat| (seat.0, seat.1.root)).unzip();
        let emulation = emulation(&mut firmware, topology, &ports)?;
        let config = function_config(&firmware, &topology.dpu.link)?;
        let timeout = profile.timing.completion_timeout();
        let msix = MsixTable::new(&msix_capability(firmware.bar0(), profile.device.msix_vectors))?;
        let dpu_device = Dpu::new(device, port, config, msix, firmware, emulation, timeout)?;
        let of_kind = |kind| {
            let others = built.parts().iter().filter(|part| part.kind == kind && part.node != host && part.node != dpu);
            others.map(|part| (part.name.clone(), part.node)).collect()
        };
        let (other_roots, endpoints) = (of_kind(PartKind::Root), of_kind(PartKind::Endpoint));
        let mut fabric = built.fabric;
        fabric.install(device, Box::new(dpu_device));
        let simulation = Simulation::new(fabric);
        let mut machine = Machine { simulation, host, dpu, device, links, functions: roots, other_roots, endpoints };
        if !profile.faults.is_empty() {
            machine.set_faults(profile.faults.iter().cloned(), seed)?;
        }
        Ok(machine)
    }

    /// The number of the link with this lower end.
    pub fn link_of(&self, lower: &str) -> Option<LinkId> {
        let number = self.links.iter().position(|(_, name)| name == lower)?;
        u16::try_from(number).ok().map(LinkId)
    }

    /// Has these faults happen on the links from now on. `seed` draws what their rules leave open.
    ///
    /// # Errors
    /// [`BuildError::Fault`]: a rule for a link that there isn't, or that can't be.
    pub fn set_faults(&mut self, rules: impl IntoIterator<Item = Rule>, seed: u64) -> Result<(), BuildError> {
        let fault = |(number, error)| BuildError::Fault { number, error };
        let rules = Rules::new(rules, seed, |name| self.link_of(name)).map_err(fault)?;
        self.simulation.fabric_mut().set_rules(rules).map_err(fault)
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
        let Ids { vendor_id, device_id } = fabric::ROOT_PORT;
        let identity = PortIdentity { vendor_id, device_id, max_payload: profile.topology.max_payload };
        Ok(RootSpec {
            memory: Memory::new(side.memory_mib << 20)?,
            read_completion_boundary: profile.topology.read_completion_boundary,
            peer_to_peer: side.peer_to_peer,
            ports: vec![port_config(identity, PortType::RootPort, 0, &side.link)?],
        })
    }

    /// Looks at the device.
    pub fn with_device<T>(&mut self, look: impl FnOnce(&Dpu) -> T) -> Option<T> {
        self.simulation.fabric_mut().device(self.device, |dpu: &mut Dpu, _| look(dpu))
    }
}

/// The emulated functions of a device with these ports; a capability page says how many there are.
fn emulation(firmware: &mut Firmware, topology: &Topology, ports: &[PortId]) -> Result<Emulation, BuildError> {
    let (fixed, hot_plug) = (topology.static_functions.into(), topology.hotplug_ports.into());
    let mut limits = TwinLimits::new(topology.max_payload);
    if ports.is_empty() {
        // Nothing can be emulated: the device is as real ones are.
        limits.max_channels = 0;
    } else {
        firmware.add_page(twin_v1::TWIN_CAP, limits.page(ports.len(), fixed, hot_plug)?)?;
    }
    let pages = firmware.bar0().tlp_pages.as_ref().map_or(0, |window| window.count);
    Ok(Emulation::new(limits, ports, pages).with_slots_from(fixed, hot_plug))
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
    add_channels(&mut config, &link.virtual_channels, false)?;
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
