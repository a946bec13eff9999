//! Plays what the agents at the edges of a fabric sent.

use std::any::Any;
use std::sync::Arc;

use mlx5_twin_model::Machine;
use mlx5_twin_sim::Time;
use mlx5_twin_sim::fabric::{Core, Device, NodeId, PortId, TlpId};
use mlx5_twin_sim::host::Simulation;
use mlx5_twin_sim::probe::LinkId;
use mlx5_twin_sim::tlp::Tlp;

use super::tape::Tape;
use crate::replay::Agents;

/// A TLP to be sent.
#[derive(Clone, Copy, Debug)]
struct Cue {
    at: Time,
    port: PortId,
    lane: u16,
    number: u32,
}

/// Stands where an agent stood: takes all that comes, at once, as root complexes and devices do.
struct Sink;

impl Device for Sink {
    fn receive(&mut self, core: &mut Core, _: PortId, tlp: TlpId) {
        core.consume(tlp);
    }

    fn timer(&mut self, _: &mut Core, _: u64) {}

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// One of the sinks, which sends for all of them: so TLPs of one time enter in the order of the capture.
struct Player {
    node: NodeId,
    tape: Arc<Tape>,
    cues: Vec<Cue>,
    next: usize,
}

impl Player {
    /// Sends what is due, and asks to be called for the next.
    fn play(&mut self, core: &mut Core) {
        while let Some(&cue) = self.cues.get(self.next) {
            if cue.at > core.now() {
                return core.set_timer(self.node, cue.at, 0);
            }
            self.next += 1;
            if let Some(recorded) = self.tape.get(usize::from(cue.lane), u64::from(cue.number)) {
                send(core, cue.port, self.tape.bytes(recorded));
            }
        }
    }
}

impl Device for Player {
    fn receive(&mut self, core: &mut Core, _: PortId, tlp: TlpId) {
        core.consume(tlp);
    }

    fn timer(&mut self, core: &mut Core, _: u64) {
        self.play(core);
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// Sends a TLP as its bytes are. Bytes that are none were counted when the capture was read; nothing is sent then.
pub(in crate::replay) fn send(core: &mut Core, port: PortId, bytes: &[u8]) {
    let Ok(tlp) = Tlp::parse(bytes) else { return };
    let id = core.create(tlp.header);
    let room = core.payload_mut(id);
    if room.len() == tlp.payload.len() {
        room.copy_from_slice(tlp.payload);
    }
    let prefixes = bytes.get(..tlp.prefixes.wire_len()).unwrap_or_default();
    let digest = tlp.digest.map(u32::to_be_bytes);
    if !prefixes.is_empty() || digest.is_some() {
        // No TLP that was parsed has more prefixes than there's room for.
        let _ = core.decorate(id, prefixes, digest);
    }
    core.send(port, id);
}

/// Who sends what is on each lane: whether it's to be played.
pub(super) fn played(machine: &Machine, agents: Agents) -> Vec<bool> {
    let fabric = machine.simulation.fabric();
    let models = |node| node == machine.device || machine.endpoints.iter().any(|(_, endpoint)| *endpoint == node);
    let links = (0..machine.links.len()).filter_map(|link| fabric.ends(LinkId(link as u16)));
    links.flatten().map(|end| !end.is_switch && (agents == Agents::All || !models(end.node))).collect()
}

/// A machine whose agents play their parts.
pub(super) struct Play {
    pub(super) simulation: Simulation,
    /// Where the player stands.
    player: NodeId,
}

/// Puts sinks in the place of the agents, and a player in the place of one. What was sent on a lane that `met` faults by rule is handed over when its first
/// symbol left, since they may have kept the wire idle before that.
pub(super) fn prepare(machine: Machine, tape: &Arc<Tape>, agents: Agents, met: &[bool]) -> Play {
    let played = played(&machine, agents);
    let Machine { mut simulation, host, dpu, device, other_roots, endpoints, .. } = machine;
    let fabric = simulation.fabric_mut();
    let ports: Vec<_> = (0..tape.lanes.len() / 2)
        .filter_map(|link| fabric.ends(LinkId(link as u16)))
        .flat_map(|ends| ends.map(|end| end.port))
        .collect();
    let cue = |(&(lane, number), taken_up)| {
        let place = usize::from(lane);
        let port = *ports.get(place).filter(|_| played.get(place) == Some(&true))?;
        let left = tape.get(place, u64::from(number)).filter(|_| met.get(place) == Some(&true));
        Some(Cue { at: left.map_or(taken_up, |recorded| recorded.time), port, lane, number })
    };
    let mut cues: Vec<_> = tape.order.iter().zip(tape.taken_up()).filter_map(cue).collect();
    // At one time in the order of the file.
    cues.sort_by_key(|cue| cue.at);
    fabric.replace(host, Box::new(Player { node: host, tape: Arc::clone(tape), cues, next: 0 }));
    let nodes = |named: Vec<(String, NodeId)>| named.into_iter().map(|(_, node)| node);
    let models = std::iter::once(device).chain(nodes(endpoints)).filter(|_| agents == Agents::All);
    for node in std::iter::once(dpu).chain(nodes(other_roots)).chain(models) {
        fabric.replace(node, Box::new(Sink));
    }
    Play { simulation, player: host }
}

impl Play {
    /// Begins: what was sent at time 0 is sent now.
    pub(super) fn begin(&mut self) {
        self.simulation.fabric_mut().device(self.player, |player: &mut Player, core| player.play(core));
    }

    /// Where in the file the TLP is that is to be sent next. `None` if all have been.
    pub(super) fn offset(&mut self) -> Option<u64> {
        let next = |player: &mut Player, _: &mut Core| {
            let cue = player.cues.get(player.next)?;
            player.tape.get(usize::from(cue.lane), u64::from(cue.number)).map(|recorded| recorded.offset)
        };
        self.simulation.fabric_mut().device(self.player, next).flatten()
    }
}
