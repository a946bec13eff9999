//! Emulation software: a function whose configuration space is a [`ConfigSpace`], with some memory behind its BAR.

use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::twin_v1::{EMULATED_FUNCTION, bar, message, region};
use mlx5_twin_sim::config::{
    Bar, CapabilityId, Changed, ConfigSpace, MsixCapability, PcieCapability, PortType, PowerCapability, Reset, Type0,
};
use mlx5_twin_sim::host::{Access, AccessError, Data, Found, enumerate};
use mlx5_twin_sim::tlp::{Bdf, Kind};

use super::commands::object;
use super::twin::{Channel, FunctionSpec, Message, modify_region, query_region};
use super::{Rig, settings};

/// BAR 0 of the function: where its regions are.
pub(crate) const BAR_SIZE: u64 = 0x1_0000;
pub(crate) const REGISTERS: u64 = 0;
pub(crate) const DOORBELLS: u64 = 0x1000;
pub(crate) const TABLE: u64 = 0x2000;
pub(crate) const PBA: u64 = 0x3000;
/// Memory behind a transaction region, 16 KiB.
pub(crate) const MEMORY: u64 = 0x4000;
pub(crate) const VECTORS: u16 = 4;

/// Where a stateful region is, in functions that have one.
pub(crate) const STATE: u64 = 0x8000;
pub(crate) const STATE_SIZE: usize = 0x400;
/// Numbers of the doorbell region and of the stateful one.
pub(crate) const DOORBELL_REGION: u64 = 1;
pub(crate) const STATE_REGION: u64 = 5;

/// Gives a function a stateful region, and lets it and the doorbells notify.
pub(crate) fn with_state(_: &mut ConfigSpace, spec: &mut FunctionSpec) {
    spec.regions.push((region::STATEFUL, 0, STATE as u32, STATE_SIZE as u64));
    spec.notify = vec![DOORBELL_REGION as usize, STATE_REGION as usize];
}

/// A function and the software behind it.
pub(crate) struct Software {
    pub(crate) channel: Channel,
    pub(crate) port: u8,
    pub(crate) function: u32,
    pub(crate) config: ConfigSpace,
    pub(crate) memory: Vec<u8>,
    /// Every message that was taken.
    pub(crate) seen: Vec<Message>,
    /// Credits that it holds.
    pub(crate) credits: Vec<u32>,
    /// Events of its link and hot-plug states that it was told: kind and event of each message.
    pub(crate) events: Vec<(u8, u32)>,
    /// As the last configuration write said.
    pub(crate) id: Bdf,
    /// Where BAR 0 is, once the host has enumerated it.
    pub(crate) bar: u64,
}

/// The configuration space, and what the device is told of the function.
pub(crate) fn description(channel: u32, port: u8) -> (ConfigSpace, FunctionSpec) {
    let mut bars = [None; 6];
    bars[0] = Some(Bar::memory64(BAR_SIZE));
    let header = Type0 { vendor_id: 0xfff1, device_id: 0x0042, class_code: 0xff_0000, bars, ..Type0::default() };
    let mut config = header.build().expect("a header");
    let pcie_offset = config.add(&PcieCapability::new(PortType::Endpoint)).expect("room");
    let place = MsixCapability {
        vectors: VECTORS,
        table_bar: 0,
        table_offset: TABLE as u32,
        pba_bar: 0,
        pba_offset: PBA as u32,
    };
    let msix_offset = config.add(&place).expect("room");
    let mut spec = FunctionSpec { channel, port, vectors: VECTORS, msix_offset, pcie_offset, ..Default::default() };
    spec.bars[0] = (bar::MEMORY64, BAR_SIZE.ilog2() as u8);
    spec.regions = vec![
        (region::TRANSACTION, 0, REGISTERS as u32, 0x1000),
        (region::DOORBELL, 0, DOORBELLS as u32, 0x40),
        (region::MSIX_TABLE, 0, TABLE as u32, 16 * u64::from(VECTORS)),
        (region::MSIX_PBA, 0, PBA as u32, 8),
        (region::TRANSACTION, 0, MEMORY as u32, 0x4000),
    ];
    (config, spec)
}

/// The same with a power management capability.
pub(crate) fn suspendable(channel: u32, port: u8, no_soft_reset: bool) -> (ConfigSpace, FunctionSpec) {
    let (mut config, mut spec) = description(channel, port);
    spec.pm_offset = config.add(&PowerCapability { no_soft_reset }).expect("room");
    spec.no_soft_reset = no_soft_reset;
    (config, spec)
}

impl Software {
    /// Claims the function at `port` for a channel.
    pub(crate) fn claim(rig: &mut Rig, channel: Channel, port: u8) -> Software {
        let (config, spec) = description(channel.id, port);
        Software::claim_as(rig, channel, config, &spec)
    }

    /// Claims a function of this description.
    pub(crate) fn claim_as(rig: &mut Rig, channel: Channel, config: ConfigSpace, spec: &FunctionSpec) -> Software {
        let function = rig.number(&spec.create(channel.uid), general_obj_out_cmd_hdr::OBJ_ID);
        let memory = vec![0; 7 * BAR_SIZE as usize];
        let (port, id) = (spec.port, Bdf(0));
        Software {
            channel,
            port,
            function,
            config,
            memory,
            seen: Vec::new(),
            credits: Vec::new(),
            events: Vec::new(),
            id,
            bar: 0,
        }
    }

    /// Index of a byte of a BAR in `memory`.
    pub(crate) fn at((bar, offset): (u8, u64)) -> usize {
        usize::from(bar) * BAR_SIZE as usize + offset as usize
    }

    /// A machine, one user context, a channel of `2^log_slots` slots, and the function at port 0, enumerated by the host.
    pub(crate) fn ready(log_slots: u32, credits: u16) -> (Rig, Software) {
        Software::ready_as(log_slots, credits, |_, _| {})
    }

    /// The same with another description.
    pub(crate) fn ready_as(
        log_slots: u32,
        credits: u16,
        change: impl FnOnce(&mut ConfigSpace, &mut FunctionSpec),
    ) -> (Rig, Software) {
        let mut rig = Rig::initialised();
        let uid = super::twin::user(&mut rig);
        let channel = Channel::new(&mut rig, uid, 0, log_slots, credits);
        let (mut config, mut spec) = description(channel.id, 0);
        change(&mut config, &mut spec);
        let mut software = Software::claim_as(&mut rig, channel, config, &spec);
        software.enumerate(&mut rig);
        software.set_command(&mut rig, 6);
        software.seen.clear();
        (rig, software)
    }

    /// Lets the host find and configure everything.
    pub(crate) fn enumerate(&mut self, rig: &mut Rig) -> Vec<Found> {
        let host = rig.machine.simulation.host(rig.host());
        let found = rig.drive(async move { enumerate(&host, settings()).await }, |rig| self.serve(rig));
        let found = found.expect("an end").expect("enumeration");
        let own = found.iter().find(|function| (function.vendor, function.device) == (0xfff1, 0x0042));
        let own = own.expect("the function is found");
        (self.id, self.bar) = (own.id, own.bars[0].address);
        found
    }

    /// Takes and answers what the ring holds.
    pub(crate) fn serve(&mut self, rig: &mut Rig) {
        while let Some(message) = self.channel.next(rig) {
            self.channel.free(rig);
            self.take(rig, &message);
            self.seen.push(message);
        }
    }

    /// Acts upon one message.
    pub(crate) fn take(&mut self, rig: &mut Rig, message: &Message) {
        if message.is_credit() {
            return self.credits.push(message.request);
        }
        if message.notice().is_some() {
            return;
        }
        if message.kind != message::TLP {
            self.events.push((message.kind, message.event));
            if (message.kind, message.event) == (message::PCI_EVENT, message::PERST_ASSERTED) {
                self.config.reset(Reset::Fundamental);
            }
            return;
        }
        let header = message.header();
        match header.kind() {
            Kind::CfgRd0 => {
                let value = self.config.read(header.register()).to_le_bytes();
                self.channel.answer(rig, message, header.target(), Ok(&value));
            }
            Kind::CfgWr0 => {
                let value = u32::from_le_bytes(message.payload[..].try_into().expect("a dword"));
                let changed = self.config.write(header.register(), header.first_be(), value);
                self.channel.answer(rig, message, header.target(), Ok(&[]));
                if changed.intersects(Changed::FUNCTION_LEVEL_RESET | Changed::SOFT_RESET) {
                    self.config.reset(Reset::FunctionLevel);
                }
            }
            Kind::MRd32 | Kind::MRd64 => {
                let begin = Software::at(message.place.expect("a place"));
                let data = self.memory[begin..][..header.length_dw() as usize * 4].to_vec();
                self.channel.answer(rig, message, self.id, Ok(&data));
            }
            Kind::MWr32 | Kind::MWr64 => {
                let begin = Software::at(message.place.expect("a place"));
                let (skip, len) = header.byte_enables().range(0);
                let (skip, len) = (skip as usize, len as usize);
                self.memory[begin + skip..][..len].copy_from_slice(&message.payload[skip..skip + len]);
            }
            kind => panic!("an unexpected {kind:?}"),
        }
    }

    /// An access of the host, with the software at work.
    pub(crate) fn host(&mut self, rig: &mut Rig, access: Access) -> Result<Data, AccessError> {
        rig.access(rig.host(), access, |rig| self.serve(rig))
    }

    pub(crate) fn read(&mut self, rig: &mut Rig, offset: u64, len: u8) -> Result<Data, AccessError> {
        self.host(rig, Access::MemoryRead { address: self.bar + offset, len })
    }

    pub(crate) fn write(&mut self, rig: &mut Rig, offset: u64, bytes: &[u8]) -> Result<Data, AccessError> {
        self.host(rig, Access::MemoryWrite { address: self.bar + offset, data: Data::new(bytes) })
    }

    pub(crate) fn config_read(&mut self, rig: &mut Rig, register: u16) -> Result<u32, AccessError> {
        let data = self.host(rig, Access::ConfigRead { target: self.id, register })?;
        Ok(data.to_u64() as u32)
    }

    pub(crate) fn config_write(&mut self, rig: &mut Rig, register: u16, byte_enables: u8, value: u32) {
        let access = Access::ConfigWrite { target: self.id, register, byte_enables, value };
        self.host(rig, access).expect("a configuration write");
    }

    /// Sets the Command register of the function.
    pub(crate) fn set_command(&mut self, rig: &mut Rig, value: u32) {
        self.config_write(rig, 1, 0x3, value);
    }

    /// Lets everything happen, with the software at work.
    pub(crate) fn settle(&mut self, rig: &mut Rig) {
        assert!(!rig.until(|rig| {
            self.serve(rig);
            false
        }));
        self.serve(rig);
        rig.settle();
    }

    /// The answer to a query of the function's object.
    pub(crate) fn query(&self, rig: &mut Rig) -> Vec<u8> {
        let query = object(Opcode::QUERY_GENERAL_OBJECT, self.channel.uid, EMULATED_FUNCTION, self.function, &[]);
        rig.ok(&query)[16..].to_vec()
    }

    /// The bytes that the device keeps of a region.
    pub(crate) fn region(&self, rig: &mut Rig, region: u64, offset: u64, length: usize) -> Vec<u8> {
        let query = query_region(self.channel.uid, self.function, region, offset, length as u64);
        let output = rig.command(&query, query_emulated_region_out::SIZE + length);
        assert_eq!(output[0], 0, "status");
        assert_eq!(query_emulated_region_out::LENGTH.get(&output), Ok(length as u64));
        output[query_emulated_region_out::SIZE..].to_vec()
    }

    /// Sets bytes that the device keeps of a region.
    pub(crate) fn set_region(&self, rig: &mut Rig, scope: u16, region: u64, offset: u64, bytes: &[u8]) {
        rig.ok(&modify_region(self.channel.uid, self.function, scope, region, offset, bytes));
    }

    /// Function-level reset by the host, and what its driver does after it: BAR 0, memory space.
    pub(crate) fn function_level_reset(&mut self, rig: &mut Rig) {
        self.config_write(rig, self.pcie() / 4 + 2, 0x3, 1 << 15);
        self.config.reset(Reset::FunctionLevel);
        let bar = self.bar;
        self.config_write(rig, 4, 0xf, bar as u32);
        self.config_write(rig, 5, 0xf, (bar >> 32) as u32);
        self.set_command(rig, 6);
    }

    fn pcie(&self) -> u16 {
        self.config.find(CapabilityId::PCIE).expect("is there")
    }

    pub(crate) fn destroy(&self) -> Vec<u8> {
        object(Opcode::DESTROY_GENERAL_OBJECT, self.channel.uid, EMULATED_FUNCTION, self.function, &[])
    }
}
