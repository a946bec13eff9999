//! A machine with a raw, polling driver on its DPU: nothing but loads, stores and memory, as any driver has them.

#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod commands;
pub(crate) mod group;
pub(crate) mod life;
pub(crate) mod peer;
pub(crate) mod software;
pub(crate) mod twin;

use std::sync::{Arc, Mutex};

use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_model::device::Counters;
use mlx5_twin_model::firmware::Failure;
use mlx5_twin_model::profile::Profile;
use mlx5_twin_model::{Dpu, Machine};
use mlx5_twin_sim::fabric::NodeId;
use mlx5_twin_sim::host::{Access, AccessError, Data, Found, Settings, enumerate};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::Bdf;

use commands::{OUTPUT, plain};

/// Where the driver has its command queue, and mailboxes and all else, in DPU memory.
pub(crate) const QUEUE: u64 = 0x1_0000;
const ARENA: u64 = 0x10_0000;
/// Registers of the initialization segment (`struct mlx5_init_seg` of device.h).
pub(crate) const CMDQ_ADDR_H: u64 = 0x10;
pub(crate) const CMDQ_ADDR_L: u64 = 0x14;
pub(crate) const CMD_DBELL: u64 = 0x18;
pub(crate) const MSIX_TABLE: u64 = 0x2000;
/// Events that any of these tests needs at most until it must have what it waits for.
const PATIENCE: usize = 2_000_000;
const MSIX: u8 = 0x11;
const PCIE: u8 = 0x10;

/// The project's default profile.
pub(crate) fn profile() -> Profile {
    toml::from_str(include_str!("../../../fixtures/profiles/bluefield3-ib.toml")).expect("the profile is sound")
}

/// What enumeration sets.
pub(crate) fn settings() -> Settings {
    Settings { map: Default::default(), max_payload: 256, max_read_request: 512 }
}

/// A command in its queue entry and mailboxes.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) slot: usize,
    /// Address of the entry.
    pub(crate) entry: u64,
    pub(crate) input: Vec<u64>,
    pub(crate) output: Vec<u64>,
    pub(crate) output_len: usize,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Delivery status.
    pub(crate) delivery: u8,
    pub(crate) output: Vec<u8>,
}

/// The machine and its driver.
pub(crate) struct Rig {
    pub(crate) machine: Machine,
    /// Address of the mlx5 function's BAR 0.
    pub(crate) bar0: u64,
    pub(crate) mlx5: Found,
    next: u64,
}

impl Rig {
    /// A machine whose DPU side is enumerated, with the function bus master.
    pub(crate) fn new(profile: &Profile) -> Rig {
        Rig::of(Machine::build(profile, 7).expect("a machine"), profile)
    }

    /// The same for a machine that's there already.
    pub(crate) fn of(mut machine: Machine, profile: &Profile) -> Rig {
        let dpu = machine.simulation.host(machine.dpu);
        machine.simulation.host(machine.host);
        let found = machine.simulation.run(async move { enumerate(&dpu, settings()).await });
        let found = found.expect("an end").expect("enumeration");
        let mlx5 = found.into_iter().find(|function| !function.bridge).expect("the mlx5 function");
        assert_eq!((mlx5.vendor, mlx5.device), (profile.device.vendor_id, profile.device.device_id));
        let mut rig = Rig { machine, bar0: mlx5.bars[0].address, mlx5, next: ARENA };
        rig.set_bus_master(true);
        rig
    }

    /// A machine of the default profile, after the commands up to INIT_HCA.
    pub(crate) fn initialised() -> Rig {
        Rig::new(&profile()).bring_up()
    }

    /// Tells the device of the queue and sends the commands that Linux's driver sends up to INIT_HCA.
    pub(crate) fn bring_up(mut self) -> Rig {
        self.start_queue();
        self.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
        self.ok(&plain(Opcode::SET_ISSI, 0, &[(set_issi_in::CURRENT_ISSI, 1)]));
        self.ok(&plain(Opcode::INIT_HCA, 0, &[]));
        self
    }

    pub(crate) fn dpu(&self) -> NodeId {
        self.machine.dpu
    }

    pub(crate) fn host(&self) -> NodeId {
        self.machine.host
    }

    pub(crate) fn device<T>(&mut self, look: impl FnOnce(&Dpu) -> T) -> T {
        self.machine.with_device(look).expect("the device")
    }

    /// Changes the device, as nothing outside of it could.
    pub(crate) fn with_device(&mut self, change: impl FnOnce(&mut Dpu)) {
        let device = self.machine.device;
        self.machine.simulation.fabric_mut().device(device, |dpu: &mut Dpu, _| change(dpu)).expect("a device");
    }

    pub(crate) fn counters(&mut self) -> Counters {
        self.device(Dpu::counters)
    }

    // --- Time ---

    /// Lets events happen until `done`. `false` if nothing more happens, or far too much.
    pub(crate) fn until(&mut self, mut done: impl FnMut(&mut Rig) -> bool) -> bool {
        for _ in 0..PATIENCE {
            if done(self) {
                return true;
            }
            if !self.machine.simulation.step() {
                return done(self);
            }
        }
        false
    }

    /// Lets everything happen that happens by itself. Afterwards no TLP is under way.
    pub(crate) fn settle(&mut self) {
        assert!(!self.until(|_| false));
        assert!(!self.machine.simulation.step(), "it never becomes quiet");
    }

    /// Lets 100 us pass: long enough for every TLP to get as far as it can, and too short for a completion timeout.
    pub(crate) fn pause(&mut self) {
        let host = self.machine.simulation.host(self.machine.dpu);
        self.machine.simulation.run(async move { host.sleep(Time::us(100)).await });
    }

    /// Runs a program to its end, and `serve` after each event. `None` if nothing more happens before its end.
    pub(crate) fn drive<T: Send + 'static>(
        &mut self,
        program: impl Future<Output = T> + Send + 'static,
        mut serve: impl FnMut(&mut Rig),
    ) -> Option<T> {
        let place = Arc::new(Mutex::new(None));
        let result = Arc::clone(&place);
        self.machine.simulation.spawn(async move {
            let value = program.await;
            *result.lock().expect("no panic") = Some(value);
        });
        self.until(|rig| {
            serve(rig);
            place.lock().expect("no panic").is_some()
        });
        place.lock().expect("no panic").take()
    }

    /// Makes one access, and waits for its end while `serve` is called after each event.
    pub(crate) fn access(
        &mut self,
        root: NodeId,
        access: Access,
        mut serve: impl FnMut(&mut Rig),
    ) -> Result<Data, AccessError> {
        let ticket = self.machine.simulation.access(root, access)?;
        let mut result = None;
        self.until(|rig| {
            serve(rig);
            result = rig.machine.simulation.result(ticket);
            result.is_some()
        });
        result.expect("every access ends")
    }

    // --- Memory of the DPU ---

    pub(crate) fn peek(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let memory = self.machine.simulation.fabric().memory(self.machine.dpu).expect("a root complex");
        memory.read(address, &mut bytes).expect("memory");
        bytes
    }

    pub(crate) fn poke(&mut self, address: u64, bytes: &[u8]) {
        let dpu = self.machine.dpu;
        let memory = self.machine.simulation.fabric_mut().memory_mut(dpu).expect("a root complex");
        memory.write(address, bytes).expect("memory");
    }

    /// Fresh pages of memory, all zero.
    pub(crate) fn pages(&mut self, len: usize) -> u64 {
        let address = self.next.next_multiple_of(4096);
        self.next = address + len.next_multiple_of(4096) as u64;
        self.poke(address, &vec![0; len.next_multiple_of(4096)]);
        address
    }

    // --- BAR 0 and configuration space ---

    /// Stores bytes to BAR 0; they arrive some time later.
    pub(crate) fn store(&mut self, offset: u64, bytes: &[u8]) {
        let access = Access::MemoryWrite { address: self.bar0 + offset, data: Data::new(bytes) };
        self.machine.simulation.access(self.machine.dpu, access).expect("a store within a line");
    }

    /// Stores a register, most significant byte first.
    pub(crate) fn store32(&mut self, offset: u64, value: u32) {
        self.store(offset, &value.to_be_bytes());
    }

    pub(crate) fn load32(&mut self, offset: u64) -> u32 {
        let access = Access::MemoryRead { address: self.bar0 + offset, len: 4 };
        let data = self.access(self.dpu(), access, |_| {}).expect("a register");
        u32::from_be_bytes(data.bytes().try_into().expect("four bytes"))
    }

    pub(crate) fn config_read(&mut self, root: NodeId, target: Bdf, register: u16) -> Result<u32, AccessError> {
        let data = self.access(root, Access::ConfigRead { target, register }, |_| {})?;
        Ok(data.to_u64() as u32)
    }

    pub(crate) fn config_write(&mut self, target: Bdf, register: u16, byte_enables: u8, value: u32) {
        let access = Access::ConfigWrite { target, register, byte_enables, value };
        self.access(self.dpu(), access, |_| {}).expect("a configuration write");
    }

    pub(crate) fn set_bus_master(&mut self, on: bool) {
        self.config_write(self.mlx5.id, 1, 0x1, if on { 6 } else { 2 });
    }

    /// Gives vector `n` the message `0x100 + n`, unmasked, and sets MSI-X Enable and Function Mask.
    pub(crate) fn enable_msix(&mut self, vectors: u64, function_mask: bool) {
        for vector in 0..vectors {
            self.msix_entry(vector, false);
        }
        let register = self.mlx5.capability(MSIX).expect("MSI-X") / 4;
        let value = 1 << 31 | u32::from(function_mask) << 30;
        self.config_write(self.mlx5.id, register, 0xc, value);
    }

    pub(crate) fn msix_entry(&mut self, vector: u64, masked: bool) {
        let mut entry = [0; 16];
        entry[..4].copy_from_slice(&0xfee0_0000_u32.to_le_bytes());
        entry[8..12].copy_from_slice(&(0x100 + vector as u32).to_le_bytes());
        entry[12] = u8::from(masked);
        self.store(MSIX_TABLE + vector * 16, &entry);
    }

    /// The interrupt messages that came to the DPU's cores since the last look.
    pub(crate) fn interrupts(&mut self) -> Vec<u32> {
        let dpu = self.dpu();
        std::iter::from_fn(|| self.machine.simulation.next_interrupt(dpu)).collect()
    }

    /// Function-level reset of the mlx5 function, and what a driver does after it: BARs, bus master.
    pub(crate) fn function_level_reset(&mut self) {
        let (id, register) = (self.mlx5.id, self.mlx5.capability(PCIE).expect("PCIe") / 4 + 2);
        let control = self.config_read(self.dpu(), id, register).expect("an answer") & 0xffff;
        self.config_write(id, register, 0x3, control | 1 << 15);
        assert_eq!(self.config_read(self.dpu(), id, 4), Ok(0xc), "the BAR is forgotten");
        self.config_write(id, 4, 0xf, self.bar0 as u32);
        self.config_write(id, 5, 0xf, (self.bar0 >> 32) as u32);
        self.set_bus_master(true);
    }

    // --- The command queue ---

    pub(crate) fn start_queue(&mut self) {
        self.store32(CMDQ_ADDR_H, (QUEUE >> 32) as u32);
        self.store32(CMDQ_ADDR_L, QUEUE as u32);
    }

    fn mailboxes(&mut self, bytes: &[u8], token: u8) -> Vec<u64> {
        let count = bytes.len().div_ceil(512);
        let first = self.next.next_multiple_of(1024);
        self.next = first + 1024 * count as u64;
        let addresses: Vec<u64> = (0..count as u64).map(|number| first + 1024 * number).collect();
        for (number, data) in bytes.chunks(512).enumerate() {
            let mut block = vec![0; cmd_prot_block::SIZE];
            block[..data.len()].copy_from_slice(data);
            cmd_prot_block::NEXT.set(&mut block, addresses.get(number + 1).copied().unwrap_or(0)).expect("fits");
            cmd_prot_block::BLOCK_NUM.set(&mut block, number as u64).expect("fits");
            cmd_prot_block::TOKEN.set(&mut block, u64::from(token)).expect("fits");
            self.poke(addresses[number], &block);
        }
        addresses
    }

    /// Fills the entry of a slot and the mailboxes it needs. The output's blocks are filled with 0xa5.
    pub(crate) fn enter(&mut self, slot: usize, input: &[u8], output_len: usize) -> Issued {
        let token = 0x40 + slot as u8;
        let (inline, rest) = input.split_at(input.len().min(16));
        let inputs = self.mailboxes(rest, token);
        let outputs = self.mailboxes(&vec![0xa5; output_len.saturating_sub(16)], token);
        let mut entry = vec![0; cmd_layout::SIZE];
        for (field, value) in [
            (cmd_layout::TYPE, 7),
            (cmd_layout::INLEN, input.len() as u64),
            (cmd_layout::IN_PTR, inputs.first().copied().unwrap_or(0)),
            (cmd_layout::OUT_PTR, outputs.first().copied().unwrap_or(0)),
            (cmd_layout::OUTLEN, output_len as u64),
            (cmd_layout::TOKEN, u64::from(token)),
            (cmd_layout::STATUS_OWN, 1),
        ] {
            field.set(&mut entry, value).expect("fits");
        }
        cmd_layout::IN.slice_mut(&mut entry).expect("is there")[..inline.len()].copy_from_slice(inline);
        let address = QUEUE + 64 * slot as u64;
        self.poke(address, &entry);
        Issued { slot, entry: address, input: inputs, output: outputs, output_len }
    }

    pub(crate) fn ring(&mut self, slots: u32) {
        self.store32(CMD_DBELL, slots);
    }

    /// The entry's owner and delivery status.
    pub(crate) fn status_own(&self, issued: &Issued) -> u8 {
        self.peek(issued.entry + 0x3f, 1)[0]
    }

    pub(crate) fn is_over(&self, issued: &Issued) -> bool {
        self.status_own(issued) & 1 == 0
    }

    pub(crate) fn ended(&self, issued: &Issued) -> Ended {
        let mut output = self.peek(issued.entry + 0x20, 16);
        for &block in &issued.output {
            output.extend(self.peek(block, 512));
        }
        output.truncate(issued.output_len);
        Ended { delivery: self.status_own(issued) >> 1, output }
    }

    /// Waits until the entry is the driver's again.
    pub(crate) fn wait(&mut self, issued: &Issued) -> Ended {
        assert!(self.until(|rig| rig.is_over(issued)), "the command in slot {} doesn't end", issued.slot);
        self.ended(issued)
    }

    /// Sends a command in slot 0: its output, whatever its status.
    pub(crate) fn command(&mut self, input: &[u8], output_len: usize) -> Vec<u8> {
        let mark = self.next;
        let issued = self.enter(0, input, output_len);
        self.ring(1);
        let ended = self.wait(&issued);
        assert_eq!(ended.delivery, 0, "delivery status");
        self.next = mark;
        ended.output
    }

    /// Sends a command: its answer, or why it was refused.
    pub(crate) fn outcome(&mut self, input: &[u8]) -> Result<Vec<u8>, (u8, u32)> {
        let output = self.command(input, OUTPUT);
        let syndrome = mbox_out::SYNDROME.get(&output).expect("is there") as u32;
        if output[0] == 0 { Ok(output) } else { Err((output[0], syndrome)) }
    }

    /// Sends a command that must be carried out.
    pub(crate) fn ok(&mut self, input: &[u8]) -> Vec<u8> {
        self.outcome(input).unwrap_or_else(|failure| panic!("opcode {:02x?}: {failure:#x?}", &input[..2]))
    }

    /// Sends a command that must be refused for this reason.
    pub(crate) fn refused(&mut self, input: &[u8], failure: Failure) {
        let expected = Err((failure.status.0, failure.syndrome.0));
        assert_eq!(self.outcome(input).map(drop), expected, "{failure}");
    }

    /// Sends a command that must be carried out and answers a number.
    pub(crate) fn number(&mut self, input: &[u8], field: mlx5_twin_fw_cmds::field::Field) -> u32 {
        field.get(&self.ok(input)).expect("is there") as u32
    }
}
