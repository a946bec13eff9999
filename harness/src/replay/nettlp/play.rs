//! The device's side of a capture, played into a root complex.

use std::any::Any;
use std::sync::Arc;

use mlx5_twin_model::profile::Profile;
use mlx5_twin_model::{BuildError, Machine};
use mlx5_twin_sim::config::CapabilityId;
use mlx5_twin_sim::fabric::{Core, Device, Fabric, Faults, NodeId, PortId, RootSpec, TlpId};
use mlx5_twin_sim::host::Access;
use mlx5_twin_sim::memory::{MAX_SIZE, Memory};
use mlx5_twin_sim::tlp::Bdf;

use super::answers::Answers;
use super::trace::Trace;
use crate::replay::exact::send;
use crate::replay::{Options, PROGRESS_STEPS, Progress, ReplayError};

/// Draws the link's latency from its range.
const SEED: u64 = 1;

/// The root port.
const ROOT_PORT: Bdf = Bdf::new(0, 1, 0);

/// The Command register's dword, and Memory Space Enable and Bus Master Enable in it (PCI local bus specification, 'Command Register').
const COMMAND: u16 = 1;
const MEMORY_AND_MASTER: u32 = 3 << 1;

/// The end of the link where the device was.
struct Player {
    node: NodeId,
    port: PortId,
    trace: Arc<Trace>,
    /// Which TLPs of the trace are sent, by time.
    requests: Vec<u32>,
    next: usize,
    answers: Answers,
    completions: u64,
}

impl Player {
    /// Where in the file the TLP is that is sent next. `None` if all have been.
    fn offset(&self) -> Option<u64> {
        let next = *self.requests.get(self.next)?;
        self.trace.items.get(next as usize).map(|item| item.offset)
    }

    /// Sends what is due, and asks to be called for the next.
    fn play(&mut self, core: &mut Core) {
        while let Some(item) = self.requests.get(self.next).and_then(|&number| self.trace.items.get(number as usize)) {
            if item.time > core.now() {
                return core.set_timer(self.node, item.time, 0);
            }
            self.next += 1;
            self.answers.ask(0, &item.header, core.now());
            send(core, self.port, self.trace.bytes(item));
        }
    }
}

impl Device for Player {
    fn receive(&mut self, core: &mut Core, _: PortId, tlp: TlpId) {
        let header = *core.header(tlp);
        if header.kind().is_completion() {
            self.completions += 1;
            self.answers.complete(0, &header, core.now());
        }
        core.consume(tlp);
    }

    fn timer(&mut self, core: &mut Core, _: u64) {
        self.play(core);
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// What the simulation made of the requests.
#[derive(Debug, Default)]
pub(super) struct Played {
    /// In the order in which requests that are answered were played.
    pub(super) answers: Answers,
    /// Completions that reached the device.
    pub(super) completions: u64,
    pub(super) faults: Faults,
    /// When nothing more happened, in picoseconds.
    pub(super) end_ps: u64,
}

/// Plays the TLPs of `trace` with these numbers, which are in order of time.
pub(super) fn play(trace: &Arc<Trace>, requests: Vec<u32>, options: &Options<'_>) -> Result<Played, ReplayError> {
    let profile = &options.profile.profile;
    let (mut fabric, root) = root_complex(profile, memory(trace, &requests, profile)?)?;
    let player = |node, port| {
        let (trace, answers) = (Arc::clone(trace), Answers::default());
        Box::new(Player { node, port, trace, requests, next: 0, answers, completions: 0 }) as Box<dyn Device>
    };
    let device = fabric.plug(root, &profile.topology.host.link, player).map_err(BuildError::from)?;
    fabric.device(device, |player: &mut Player, core| player.play(core));
    let mut steps = 0_u64;
    while fabric.step() {
        steps += 1;
        if steps.is_multiple_of(PROGRESS_STEPS)
            && let Some(Some(offset)) = fabric.device(device, |player: &mut Player, _| player.offset())
        {
            (options.progress)(Progress::Played(offset));
        }
    }
    let taken = |player: &mut Player, _: &mut Core| (std::mem::take(&mut player.answers), player.completions);
    let (answers, completions) = fabric.device(device, taken).unwrap_or_default();
    Ok(Played { answers, completions, faults: fabric.faults(), end_ps: fabric.now().as_ps() })
}

/// A memory that reaches as far as the requests do.
fn memory(trace: &Trace, requests: &[u32], profile: &Profile) -> Result<Memory, BuildError> {
    let end = |&number: &u32| {
        let header = &trace.items.get(number as usize)?.header;
        let end = header.address().saturating_add(u64::from(header.length_dw()) * 4);
        header.kind().is_memory().then_some(end)
    };
    let size = profile.topology.host.memory_mib << 20;
    let reach = requests.iter().filter_map(end).max().unwrap_or(0);
    Ok(Memory::with_limit(reach.clamp(size, MAX_SIZE), size)?)
}

/// The profile's host: a root complex whose port is set up as enumeration does.
fn root_complex(profile: &Profile, memory: Memory) -> Result<(Fabric, NodeId), BuildError> {
    let spec = RootSpec { memory, ..Machine::root_complex(profile, &profile.topology.host)? };
    let device_control = spec.ports.first().and_then(|port| port.find(CapabilityId::PCIE)).map(|offset| offset / 4 + 2);
    let mut fabric = Fabric::new(profile.timing, SEED);
    let root = fabric.add_root(spec);
    let payload = (profile.topology.max_payload / 128).trailing_zeros() << 5;
    for (register, value) in [(Some(COMMAND), MEMORY_AND_MASTER), (device_control, payload)] {
        if let Some(register) = register {
            let write = Access::ConfigWrite { target: ROOT_PORT, register, byte_enables: 0x3, value };
            // A root port's own registers are there, and need no TLP: the result comes at once.
            let _ = fabric.access(root, write);
        }
    }
    while fabric.next_result(root).is_some() {}
    Ok((fabric, root))
}
