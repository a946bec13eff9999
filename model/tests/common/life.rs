//! A function at a hot-plug port that is in use, and all that the host can do to it.

use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::twin_v1::port_op;
use mlx5_twin_sim::config::CapabilityId;
use mlx5_twin_sim::fabric::NodeId;
use mlx5_twin_sim::host::{Access, Found};
use mlx5_twin_sim::time::Time;

use super::Rig;
use super::commands::{modify_port, plain};
use super::peer::machine;
use super::software::{Software, TABLE, suspendable};
use super::twin::{Channel, user};

/// What befalls the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    FunctionLevelReset,
    Suspend,
    /// D3hot and back, without No_Soft_Reset.
    SoftReset,
    BusMasterOff,
    MemorySpaceOff,
    SecondaryBusReset,
    LinkDisable,
    Perst,
    SlotPowerOff,
    /// The function is unplugged, and the host powers the slot off.
    Unplug,
    /// The claim is given back.
    Release,
    /// The context is gone with all it has.
    ContextGone,
}

impl Change {
    pub(crate) const ALL: [Change; 12] = [
        Change::FunctionLevelReset,
        Change::Suspend,
        Change::SoftReset,
        Change::BusMasterOff,
        Change::MemorySpaceOff,
        Change::SecondaryBusReset,
        Change::LinkDisable,
        Change::Perst,
        Change::SlotPowerOff,
        Change::Unplug,
        Change::Release,
        Change::ContextGone,
    ];

    /// Whether it's brought about by configuration writes that software completes.
    pub(crate) fn by_software(self) -> bool {
        use Change::{BusMasterOff, FunctionLevelReset, MemorySpaceOff, SoftReset, Suspend};
        matches!(self, FunctionLevelReset | Suspend | SoftReset | BusMasterOff | MemorySpaceOff)
    }

    pub(crate) fn takes_link(self) -> bool {
        use Change::{LinkDisable, Perst, SecondaryBusReset, SlotPowerOff, Unplug};
        matches!(self, SecondaryBusReset | LinkDisable | Perst | SlotPowerOff | Unplug)
    }
}

/// A function at a hot-plug port, its software, a peer that reads by DMA, and the bridges above.
pub(crate) struct Life {
    pub(crate) rig: Rig,
    pub(crate) software: Software,
    pub(crate) peer: NodeId,
    pub(crate) port: Found,
}

impl Life {
    /// The function created, claimed by software with a ring of `2^log_slots` slots and one credit, plugged in, enumerated and in use; vector
    /// 0 of MSI-X is on. The peer is bus master.
    pub(crate) fn new(log_slots: u32) -> Life {
        let profile = super::profile();
        let (machine, peer) = machine(&profile, true);
        let mut rig = Rig::of(machine, &profile).bring_up();
        let uid = user(&mut rig);
        rig.ok(&modify_port(uid, port_op::CREATE, 0));
        let channel = Channel::new(&mut rig, uid, 0, log_slots, 1);
        let (config, spec) = suspendable(channel.id, 0, false);
        let mut software = Software::claim_as(&mut rig, channel, config, &spec);
        rig.ok(&modify_port(uid, port_op::PLUG, 0));
        software.settle(&mut rig);
        let found = software.enumerate(&mut rig);
        let port = found.iter().find(|function| function.hot_plug).expect("the port").clone();
        let mut life = Life { rig, software, peer, port };
        life.set_up(&found);
        life
    }

    /// What drivers do after enumeration.
    fn set_up(&mut self, found: &[Found]) {
        let (rig, software) = (&mut self.rig, &mut self.software);
        software.set_command(rig, 6);
        let other = found.iter().find(|function| function.device == 0x9999).expect("the peer");
        let control = other.capability(0x10).expect("PCIe") / 4 + 2;
        for (register, value) in [(1, 6), (control, 1 << 5 | 4 << 12)] {
            let write = Access::ConfigWrite { target: other.id, register, byte_enables: 3, value };
            software.host(rig, write).expect("a configuration write");
        }
        let mut entry = [0; 16];
        entry[..4].copy_from_slice(&0xfee0_1000_u32.to_le_bytes());
        entry[8] = 0x40;
        software.write(rig, TABLE, &entry).expect("posted");
        let msix = software.config.find(CapabilityId::MSIX).expect("MSI-X") / 4;
        software.config_write(rig, msix, 0xc, 0x8000_0000);
        software.settle(rig);
        (software.seen, software.events) = (Vec::new(), Vec::new());
    }

    /// The configuration writes that bring a change about, if it's by those to the function itself: register, byte enables and value.
    pub(crate) fn writes(&self, change: Change) -> Vec<(u16, u8, u32)> {
        let find = |id| self.software.config.find(id).expect("is there") / 4;
        let control = find(CapabilityId::PCIE) + 2;
        let power = find(CapabilityId::POWER_MANAGEMENT) + 1;
        match change {
            Change::FunctionLevelReset => vec![(control, 0x3, 1 << 15 | 1 << 5)],
            Change::Suspend => vec![(power, 0x1, 3)],
            Change::SoftReset => vec![(power, 0x1, 3), (power, 0x1, 0)],
            Change::BusMasterOff => vec![(1, 0x3, 2)],
            Change::MemorySpaceOff => vec![(1, 0x3, 4)],
            _ => Vec::new(),
        }
    }

    /// Writes a register of the port above the function, as the host does.
    fn port_write(&mut self, (register, byte_enables, value): (u16, u8, u32)) {
        let write = Access::ConfigWrite { target: self.port.id, register, byte_enables, value };
        self.rig.access(self.rig.host(), write, |_| {}).expect("the port answers");
    }

    /// The write to the port above the function that takes its link down, or lets it up again: register, byte enables and value.
    pub(crate) fn link_write(&self, change: Change, down: bool) -> Option<(u16, u8, u32)> {
        let pcie = self.port.capability(0x10).expect("PCIe") / 4;
        let bit = |bit: u32| if down { 1 << bit } else { 0 };
        match change {
            Change::SecondaryBusReset => Some((15, 0xc, bit(22))),
            Change::LinkDisable => Some((pcie + 4, 0x3, bit(4))),
            Change::SlotPowerOff | Change::Unplug => Some((pcie + 6, 0x3, bit(10))),
            _ => None,
        }
    }

    pub(crate) fn set_perst(&mut self, asserted: bool) {
        let host = self.rig.machine.simulation.host(self.rig.host());
        self.rig.machine.simulation.run(async move { host.set_perst(asserted).await }).expect("an end");
    }

    /// Brings about a change that isn't software's to complete.
    pub(crate) fn apply(&mut self, change: Change) {
        let uid = self.software.channel.uid;
        if change == Change::Unplug {
            self.rig.ok(&modify_port(uid, port_op::UNPLUG, 0));
        }
        if let Some(write) = self.link_write(change, true) {
            return self.port_write(write);
        }
        let command = match change {
            Change::Perst => return self.set_perst(true),
            Change::Release => self.software.destroy(),
            Change::ContextGone => plain(Opcode::DESTROY_UCTX, 0, &[(destroy_uctx_in::UID, uid.into())]),
            other => panic!("{other:?} is software's to complete"),
        };
        self.rig.ok(&command);
    }

    /// Ends what was brought about: links are let up again, the function is claimed again if it has to be, and the host finds all of it.
    pub(crate) fn recover(&mut self, change: Change) {
        if let Some(write) = self.link_write(change, false) {
            self.port_write(write);
        }
        match change {
            Change::Perst => self.set_perst(false),
            Change::Unplug => drop(self.rig.ok(&modify_port(self.software.channel.uid, port_op::PLUG, 0))),
            Change::Suspend => {
                let power = self.software.config.find(CapabilityId::POWER_MANAGEMENT).expect("is there") / 4 + 1;
                self.software.config_write(&mut self.rig, power, 0x1, 0);
            }
            Change::Release | Change::ContextGone => {
                if change == Change::ContextGone {
                    let uid = user(&mut self.rig);
                    self.software.channel = Channel::new(&mut self.rig, uid, 0, 6, 1);
                } else {
                    std::iter::from_fn(|| self.software.channel.next(&self.rig)).count();
                    self.software.channel.free(&mut self.rig);
                }
                let (config, spec) = suspendable(self.software.channel.id, 0, false);
                self.software.config = config;
                let create = spec.create(self.software.channel.uid);
                self.software.function = self.rig.number(&create, general_obj_out_cmd_hdr::OBJ_ID);
            }
            _ => {}
        }
        self.software.settle(&mut self.rig);
        let found = self.software.enumerate(&mut self.rig);
        self.set_up(&found);
    }

    /// Lets 2 us pass: enough for any TLP to arrive.
    pub(crate) fn moment(&mut self) {
        let host = self.rig.machine.simulation.host(self.rig.machine.dpu);
        self.rig.machine.simulation.run(async move { host.sleep(Time::us(2)).await });
    }

    /// The interrupt messages that came to the host since the last look.
    pub(crate) fn interrupts(&mut self) -> Vec<u32> {
        let host = self.rig.host();
        std::iter::from_fn(|| self.rig.machine.simulation.next_interrupt(host)).collect()
    }
}
