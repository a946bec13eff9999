//! The longest commands, in all slots at a time: what they make the device hold.

use std::sync::Arc;

use mlx5_twin_fw_cmds::layout::{cmd_layout, cmd_prot_block};
use mlx5_twin_model::Machine;
use mlx5_twin_sim::host::{Access, Data, Settings, enumerate};
use mlx5_twin_sim::memory::{Memory, MemoryError, Outside};

use crate::{Device, resident};

/// Where the entries of the queue are read, and where blocks are.
const QUEUE: u64 = 0x1000_0000;
const BLOCKS: u64 = 0x2000_0000;

/// Memory that a guest has filled with one endless chain of mailboxes, and entries that all name it.
#[derive(Debug)]
struct Endless {
    input: u32,
    output: u32,
}

impl Endless {
    fn entry(&self) -> Vec<u8> {
        let mut entry = vec![0; cmd_layout::SIZE];
        for (field, value) in [
            (cmd_layout::TYPE, 7),
            (cmd_layout::INLEN, self.input.into()),
            (cmd_layout::OUTLEN, self.output.into()),
            (cmd_layout::IN_PTR, BLOCKS),
            (cmd_layout::OUT_PTR, BLOCKS),
            (cmd_layout::STATUS_OWN, 1),
        ] {
            field.set(&mut entry, value).expect("fits");
        }
        entry
    }

    fn block(number: u64) -> Vec<u8> {
        let mut block = vec![0; cmd_prot_block::SIZE];
        cmd_prot_block::NEXT.set(&mut block, BLOCKS + 1024 * (number + 1)).expect("fits");
        cmd_prot_block::BLOCK_NUM.set(&mut block, number).expect("fits");
        block
    }
}

impl Outside for Endless {
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryError> {
        let (bytes, inside) = match address.checked_sub(BLOCKS) {
            Some(offset) => (Endless::block(offset / 1024), offset % 1024),
            None => (self.entry(), address % 64),
        };
        for (to, from) in out.iter_mut().zip(bytes.iter().skip(inside as usize)) {
            *to = *from;
        }
        Ok(())
    }

    fn write(&self, _: u64, _: &[u8]) -> Result<(), MemoryError> {
        Ok(())
    }

    fn has(&self, _: u64, _: u64) -> bool {
        true
    }
}

/// Sends commands of these lengths in all 32 slots: the most TLPs at a time, bytes of memory, and delivery errors.
fn send(input: u32, output: u32) -> (usize, u64, u64) {
    let memory = Memory::outside(Arc::new(Endless { input, output }));
    let mut machine = Machine::with_memory(&Device::Plain.profile(), 1, memory).expect("a machine");
    let dpu = machine.simulation.host(machine.dpu);
    let settings = Settings { map: Default::default(), max_payload: 256, max_read_request: 512 };
    let found = machine.simulation.run(async move { enumerate(&dpu, settings).await });
    let found = found.expect("an end").expect("enumeration");
    let function = found.into_iter().find(|function| !function.bridge).expect("the mlx5 function");
    let before = resident();
    let bus_master = Access::ConfigWrite { target: function.id, register: 1, byte_enables: 1, value: 6 };
    let mut accesses = vec![bus_master];
    let bar = function.bars[0].address;
    for (offset, value) in [(0x10, 0), (0x14, QUEUE as u32), (0x18, u32::MAX)] {
        accesses.push(Access::MemoryWrite { address: bar + offset, data: Data::new(&u32::to_be_bytes(value)) });
    }
    for access in accesses {
        let ticket = machine.simulation.access(machine.dpu, access).expect("a sound access");
        while machine.simulation.result(ticket).is_none() {
            assert!(machine.simulation.step(), "an access without end");
        }
    }
    let (mut most, mut grown, mut events) = (0, 0, 0_u64);
    while machine.simulation.step() {
        events += 1;
        most = most.max(machine.simulation.fabric().in_flight());
        if events.is_multiple_of(1 << 14) {
            grown = grown.max(resident().saturating_sub(before));
        }
        if machine.with_device(|dpu| dpu.counters().commands + dpu.counters().delivery_errors >= 32) == Some(true) {
            break;
        }
    }
    (most, grown, machine.with_device(|dpu| dpu.counters().delivery_errors).expect("the device"))
}

#[test]
fn the_longest_commands_are_bounded_together() {
    // Others of these tests run at the same time: what the process has grows by them, too.
    const OTHERS: u64 = 64 << 20;
    let (most, grown, refused) = send(16 << 20, 16);
    println!("inputs: {most} TLPs at most, {} MiB, {refused} refused", grown >> 20);
    assert!(refused == 28 && most < 200 && grown < (70 << 20) + OTHERS);
    let (most, grown, refused) = send(16, 1 << 20);
    println!("outputs: {most} TLPs at most, {} MiB, {refused} refused", grown >> 20);
    assert!(refused == 0 && most <= 4_096 + 300 && grown < (40 << 20) + OTHERS);
    let (most, grown, refused) = send(1 << 20, 64 << 10);
    println!("both: {most} TLPs at most, {} MiB, {refused} refused", grown >> 20);
    assert!(refused == 0 && most <= 32 * 256 + 300 && grown < (110 << 20) + OTHERS);
    assert_eq!(send(16, (1 << 20) + 1).2, 32);
    assert_eq!(send((16 << 20) + 1, 16).2, 32);
}
