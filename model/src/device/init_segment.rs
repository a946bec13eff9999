//! The initialization segment: what a driver reads before there is a command queue, and the registers that make one.

use mlx5_twin_fw_cmds::constants::{CMD_IF_REV, RFR_BIT_OFFSET};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{health_buffer, init_seg};
use mlx5_twin_sim::time::Time;

use super::command_queue::CommandQueue;
use crate::profile::{FirmwareVersion, Timeouts};

/// The interface state in bits 10:8 of `cmdq_addr_l_sz`: all is well (mlx5_ifc.h, `nic_interface`).
const FULL_DRIVER: u32 = 0;
/// The interface is down: what a driver sees after a reset.
const DISABLED: u32 = 1;
/// A driver asks for a reset.
const SW_RESET: u32 = 7;
/// Bit of `initializing`: a driver may ask for a reset by the interface state (health.c, `MLX5_FW_RESET_SUPPORTED_OFFSET`).
const FW_RESET_SUPPORTED: u32 = 1 << 30;
/// The health counter counts these, so that it changes between any two polls of a driver (every 2 s).
const HEALTH_TICK: Time = Time::ms(10);

/// What a store to the segment asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing: the place is read-only, or half of an address.
    Nothing,
    /// The store fits no register.
    Stray,
    /// The command queue is at this address from now on.
    QueueAddress(u64),
    /// The commands in these slots are to be carried out.
    Doorbell(u32),
    /// The driver asks for a reset.
    ResetRequest,
}

/// The segment's own state.
#[derive(Debug)]
pub(super) struct InitSegment {
    firmware_rev: u32,
    firmware_sub: u32,
    address_high: u32,
    interface: u32,
    timeouts: Option<Timeouts>,
}

const fn at(field: Field) -> u64 {
    (field.offset / 8) as u64
}

const FW_REV: u64 = at(init_seg::FW_REV);
const CMDIF_REV_FW_SUB: u64 = at(init_seg::CMDIF_REV_FW_SUB);
const CMDQ_ADDR_H: u64 = at(init_seg::CMDQ_ADDR_H);
const CMDQ_ADDR_L_SZ: u64 = at(init_seg::CMDQ_ADDR_L_SZ);
const CMD_DBELL: u64 = at(init_seg::CMD_DBELL);
const HEALTH_FW_VER: u64 = at(health_buffer::FW_VER.within(0x1000));
const HEALTH_RFR_SEVERITY: u64 = at(health_buffer::RFR_SEVERITY.within(0x1000));
/// The dword of `irisc_index`, `synd` and `ext_synd`.
const HEALTH_SYND: u64 = at(health_buffer::IRISC_INDEX.within(0x1000));
const INITIALIZING: u64 = at(init_seg::INITIALIZING);
const CMD_EXEC_TO: u64 = at(init_seg::CMD_EXEC_TO);
const CMD_Q_INIT_TO: u64 = at(init_seg::CMD_Q_INIT_TO);
const INTERNAL_TIMER_H: u64 = at(init_seg::INTERNAL_TIMER_H);
const INTERNAL_TIMER_L: u64 = at(init_seg::INTERNAL_TIMER_L);
const HEALTH_COUNTER: u64 = at(init_seg::HEALTH_COUNTER);

impl InitSegment {
    pub(super) fn new(version: FirmwareVersion, timeouts: Option<Timeouts>) -> InitSegment {
        InitSegment {
            firmware_rev: u32::from(version.minor) << 16 | u32::from(version.major),
            firmware_sub: u32::from(CMD_IF_REV) << 16 | u32::from(version.subminor),
            address_high: 0,
            interface: FULL_DRIVER,
            timeouts,
        }
    }

    /// Forgets the queue's address. The interface is down until a driver writes a new one: one that doesn't know of the reset learns of it by
    /// its health poll, and recovers (health.c, `mlx5_health_check_fatal_sensors`; that every reset shows itself so is ours).
    pub(super) fn reset(&mut self) {
        self.address_high = 0;
        self.interface = DISABLED;
    }

    /// A dword of the segment.
    /// `syndrome` is that of a firmware that has died, or 0.
    pub(super) fn read(&self, offset: u64, now: Time, queue: &CommandQueue, syndrome: u8) -> u32 {
        match offset {
            // The second is anything but all ones: a driver takes those for a device that's gone.
            FW_REV | HEALTH_FW_VER => self.firmware_rev,
            CMDIF_REV_FW_SUB => self.firmware_sub,
            CMDQ_ADDR_H => self.address_high,
            CMDQ_ADDR_L_SZ => {
                let address = queue.address() as u32 & 0xffff_f000;
                address | self.interface << 8 | u32::from(queue.log_size()) << 4 | u32::from(queue.log_stride())
            }
            INITIALIZING => FW_RESET_SUPPORTED,
            // A firmware that has died asks for a reset.
            HEALTH_RFR_SEVERITY if syndrome != 0 => 1 << (RFR_BIT_OFFSET + 24),
            HEALTH_SYND => u32::from(syndrome) << 16,
            // The unit is milliseconds.
            CMD_EXEC_TO => self.timeouts.map_or(0, |timeouts| timeouts.command_ms),
            CMD_Q_INIT_TO => self.timeouts.map_or(0, |timeouts| timeouts.init_ms),
            // A free-running clock of 1 GHz.
            INTERNAL_TIMER_H => (now.as_ns() >> 32) as u32,
            INTERNAL_TIMER_L => now.as_ns() as u32,
            HEALTH_COUNTER => 1 + (now.as_ps() / HEALTH_TICK.as_ps() % 0xff_ffff) as u32,
            _ => 0,
        }
    }

    /// A store to the segment.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Written {
        let Ok(dword) = bytes.try_into() else {
            // Two registers side by side may be written as one.
            return match (offset, bytes.split_first_chunk::<4>()) {
                (CMDQ_ADDR_H, Some((high, low))) if low.len() == 4 => {
                    self.write(CMDQ_ADDR_H, high);
                    self.write(CMDQ_ADDR_L_SZ, low)
                }
                _ => Written::Stray,
            };
        };
        let value = u32::from_be_bytes(dword);
        match offset {
            CMDQ_ADDR_H => {
                self.address_high = value;
                Written::Nothing
            }
            CMDQ_ADDR_L_SZ if value >> 8 & 7 == SW_RESET => Written::ResetRequest,
            CMDQ_ADDR_L_SZ => {
                // The low byte is the device's: sizes can't be chosen.
                self.interface = value >> 8 & 7;
                Written::QueueAddress(u64::from(self.address_high) << 32 | u64::from(value & 0xffff_f000))
            }
            CMD_DBELL => Written::Doorbell(value),
            _ if offset.is_multiple_of(4) => Written::Nothing,
            _ => Written::Stray,
        }
    }
}
