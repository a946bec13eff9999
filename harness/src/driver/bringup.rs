//! From reset to a device that takes commands of users, and back: the order of Linux's `mlx5_core` (`mlx5_function_enable`,
//! `mlx5_function_open`, `mlx5_load` in `core/main.c`), which rdma-core's `mlx5_vfio_setup_function` follows too.

use std::time::Duration;

use mlx5_twin_fw_cmds::cap::{CapMode, CapType};
use mlx5_twin_fw_cmds::constants::{
    ACCESS_REGISTER_WRITE, ADAPTER_PAGE_SIZE, CMD_IF_REV, INITIALIZING_BIT, QUERY_PAGES_BOOT, QUERY_PAGES_INIT,
    REG_HOST_ENDIANNESS, SHARED_RESOURCE_UID, TEARDOWN_GRACEFUL_CLOSE,
};
use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    access_register_in, access_register_out, alloc_uar_in, alloc_uar_out, cmd_hca_cap, create_eq_out, dealloc_uar_in,
    disable_hca_in, disable_hca_out, enable_hca_in, enable_hca_out, init_hca_in, init_hca_out, init_seg, initial_seg,
    query_hca_cap_in, query_hca_cap_out, query_issi_in, query_issi_out, query_pages_in, query_pages_out,
    register_host_endianness, set_hca_cap_in, set_hca_cap_out, set_issi_in, set_issi_out, teardown_hca_in,
    teardown_hca_out,
};
use mlx5_twin_fw_cmds::opcode::Opcode;

use super::cmdq::{CommandQueue, Mode};
use super::command::{Command, HEADER};
use super::eq::{EventQueue, Spec};
use super::pages::{self, MOST_AT_ONCE, Pages};
use super::var::Vars;
use super::{Driver, OWN_EVENTS};
use crate::backend::Error;

/// How long the firmware may take to get ready (`MLX5_TO_FW_PRE_INIT_TIMEOUT_MS`, 120 s).
const INIT_TIMEOUT: Duration = Duration::from_secs(120);
/// The driver's own function.
const FUNCTION: u16 = 0;

/// log2 of the entries of event queues, as Linux sizes them: commands, everything asynchronous, completions.
const COMMAND_EQ: u32 = 8;
const ASYNC_EQ: u32 = 13;
const COMPLETION_EQ: u32 = 11;

/// Events that Linux always asks for (`MLX5_ASYNC_EVENT_MASK` of `core/eq.c`).
const ASYNC_EVENTS: &[EventType] = &[
    EventType::PATH_MIG,
    EventType::COMM_EST,
    EventType::SQ_DRAINED,
    EventType::CQ_ERROR,
    EventType::WQ_CATAS_ERROR,
    EventType::PATH_MIG_FAILED,
    EventType::PORT_CHANGE,
    EventType::WQ_INVAL_REQ_ERROR,
    EventType::WQ_ACCESS_ERROR,
    EventType::SRQ_CATAS_ERROR,
    EventType::SRQ_LAST_WQE,
    EventType::SRQ_RQ_LIMIT,
];

/// A mask with a bit for each event type.
fn mask(events: impl IntoIterator<Item = EventType>) -> [u64; 4] {
    let mut mask = [0; 4];
    for event in events {
        mask[usize::from(event.0 / 64)] |= 1 << (event.0 % 64);
    }
    mask
}

impl Driver {
    pub(super) fn bring_up(&self) -> Result<(), Error> {
        self.wait_initialized()?;
        let revision = self.segment(initial_seg::CMD_INTERFACE_REV)?;
        if revision != u64::from(CMD_IF_REV) {
            return Err(Error::Device(format!(
                "command interface revision {revision}, this driver speaks {CMD_IF_REV}"
            )));
        }
        self.open_command_queue()?;
        self.send(&Command::new(Opcode::ENABLE_HCA, enable_hca_in::SIZE)?, enable_hca_out::SIZE)?;
        self.choose_issi()?;
        self.give_startup_pages(QUERY_PAGES_BOOT)?;
        self.write_host_endianness()?;
        self.set_capabilities()?;
        self.give_startup_pages(QUERY_PAGES_INIT)?;
        self.send(&Command::new(Opcode::INIT_HCA, init_hca_in::SIZE)?, init_hca_out::SIZE)?;
        self.read_capabilities()?;
        self.open_event_queues()
    }

    /// A field of the first dwords of the initialization segment.
    fn segment(&self, field: Field) -> Result<u64, Error> {
        let dword = field.offset / 32;
        let bytes = self.door.read32(u64::from(dword) * 4)?;
        let inside = Field { offset: field.offset % 32, ..field };
        Ok(inside.get(&bytes)?)
    }

    fn write_segment(&self, field: Field, value: u32) -> Result<(), Error> {
        self.door.write32(u64::from(field.offset / 8), value.to_be_bytes())
    }

    /// Waits until the firmware is ready.
    fn wait_initialized(&self) -> Result<(), Error> {
        let deadline = self.door.now() + INIT_TIMEOUT;
        loop {
            if self.segment(init_seg::INITIALIZING)? >> INITIALIZING_BIT & 1 == 0 {
                return Ok(());
            }
            if self.door.now() >= deadline {
                return Err(Error::Device(format!("the firmware isn't ready after {} s", INIT_TIMEOUT.as_secs())));
            }
            self.door.pause()?;
        }
    }

    fn open_command_queue(&self) -> Result<(), Error> {
        let log_size = self.segment(initial_seg::LOG_CMDQ_SIZE)? as u32;
        let log_stride = self.segment(initial_seg::LOG_CMDQ_STRIDE)? as u32;
        // Requests by DMA begin with the first command.
        self.door.enable()?;
        self.door.enable_vector(0)?;
        let queue = CommandQueue::new(&self.door, log_size, log_stride)?;
        let iova = queue.iova();
        self.write_segment(init_seg::CMDQ_ADDR_H, (iova >> 32) as u32)?;
        self.write_segment(init_seg::CMDQ_ADDR_L_SZ, iova as u32)?;
        {
            let mut state = self.lock();
            state.vectors = self.door.vectors();
            state.queue = Some(queue);
        }
        self.wait_initialized()
    }

    /// Interface 1 if the firmware has it, otherwise 0.
    fn choose_issi(&self) -> Result<(), Error> {
        let query = Command::new(Opcode::QUERY_ISSI, query_issi_in::SIZE)?;
        let output = match self.send(&query, query_issi_out::SIZE) {
            Ok(output) => output,
            // Firmware that doesn't know the command has interface 0 only.
            Err(Error::Command { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        if query_issi_out::SUPPORTED_ISSI_DW0.get(&output)? & 1 << 1 != 0 {
            let set = Command::new(Opcode::SET_ISSI, set_issi_in::SIZE)?.set(set_issi_in::CURRENT_ISSI, 1)?;
            self.send(&set, set_issi_out::SIZE)?;
        }
        Ok(())
    }

    /// Gives the pages that the firmware wants at this stage; none is a number too.
    fn give_startup_pages(&self, stage: u16) -> Result<(), Error> {
        let query = Command::new(Opcode::QUERY_PAGES, query_pages_in::SIZE)?.op_mod(stage)?;
        let output = self.send(&query, query_pages_out::SIZE)?;
        let wanted = query_pages_out::NUM_PAGES.get(&output)? as u32 as i32;
        let function = query_pages_out::FUNCTION_ID.get(&output)? as u16;
        // A negative number offers pages back; at these stages there are none.
        let wanted = usize::try_from(wanted).unwrap_or(0);
        if wanted == 0 {
            return Ok(());
        }
        let given = pages::give(&self.door, function, wanted);
        if let Err(Error::NoMemory { .. }) = given {
            self.send(&pages::refuse(function)?, HEADER)?;
        }
        let (memory, command) = given?;
        self.send(&command, HEADER)?;
        self.lock().pages.add(memory);
        Ok(())
    }

    /// Tells the device the host's byte order (little-endian: 0). Linux does so for physical functions.
    fn write_host_endianness(&self) -> Result<(), Error> {
        let length = access_register_in::SIZE + register_host_endianness::SIZE;
        let command = Command::new(Opcode::ACCESS_REG, length)?
            .op_mod(ACCESS_REGISTER_WRITE)?
            .set(access_register_in::REGISTER_ID, u64::from(REG_HOST_ENDIANNESS))?;
        self.send(&command, access_register_out::SIZE + register_host_endianness::SIZE).map(drop)
    }

    /// A capability page.
    fn query_page(&self, cap_type: CapType, mode: CapMode) -> Result<Vec<u8>, Error> {
        let query = Command::new(Opcode::QUERY_HCA_CAP, query_hca_cap_in::SIZE)?.op_mod(cap_type.op_mod(mode))?;
        let output = self.send(&query, query_hca_cap_out::SIZE)?;
        Ok(query_hca_cap_out::CAPABILITY.slice(&output)?.to_vec())
    }

    /// Chooses among what the device can do (`handle_hca_cap`): no checksums over commands, and UARs of 4 KiB on hosts with larger pages.
    fn set_capabilities(&self) -> Result<(), Error> {
        let largest = self.query_page(CapType::GENERAL, CapMode::Max)?;
        let mut page = self.query_page(CapType::GENERAL, CapMode::Current)?;
        cmd_hca_cap::CMDIF_CHECKSUM.set(&mut page, 0)?;
        if self.door.page_size() > ADAPTER_PAGE_SIZE && cmd_hca_cap::UAR_4K.get(&largest)? == 1 {
            cmd_hca_cap::UAR_4K.set(&mut page, 1)?;
        }
        let mut command = vec![0; set_hca_cap_in::SIZE];
        set_hca_cap_in::OPCODE.set(&mut command, u64::from(Opcode::SET_HCA_CAP.0))?;
        set_hca_cap_in::OP_MOD.set(&mut command, u64::from(CapType::GENERAL.op_mod(CapMode::Max)))?;
        set_hca_cap_in::CAPABILITY.slice_mut(&mut command)?.copy_from_slice(&page);
        self.execute(&command, set_hca_cap_out::SIZE).map(drop)
    }

    /// Reads the pages that are there.
    fn read_capabilities(&self) -> Result<(), Error> {
        let general = self.query_page(CapType::GENERAL, CapMode::Current)?;
        let announced: Vec<CapType> = {
            let mut state = self.lock();
            state.caps.insert(CapType::GENERAL, general);
            state.caps.announced().collect()
        };
        for cap_type in announced {
            let page = self.query_page(cap_type, CapMode::Current)?;
            self.lock().caps.insert(cap_type, page);
        }
        let mut state = self.lock();
        state.vars = Vars::new(&state.caps, self.door.page_size(), self.door.bar_len());
        Ok(())
    }

    /// The driver's UAR, the command queue's event queue, from which on commands complete by events, and the asynchronous one.
    fn open_event_queues(&self) -> Result<(), Error> {
        let output = self.send(&Command::new(Opcode::ALLOC_UAR, alloc_uar_in::SIZE)?, alloc_uar_out::SIZE)?;
        let uar = alloc_uar_out::UAR.get(&output)? as u32;
        let end = (u64::from(uar) + 1) * ADAPTER_PAGE_SIZE as u64;
        if uar == 0 || end > self.door.bar_len() {
            return Err(Error::Device(format!("ALLOC_UAR gave page {uar:#x}, which isn't a UAR of BAR0")));
        }
        self.lock().uar = uar;
        self.add_eq(COMMAND_EQ, 0, mask([EventType::CMD]), 0)?;
        self.lock().queue()?.mode = Mode::Events;
        let events = {
            let state = self.lock();
            let requests = state.caps.general(cmd_hca_cap::PAGE_REQUEST_DISABLE) == 0;
            let pages = requests.then_some(EventType::PAGE_REQUEST);
            let mut events = mask(ASYNC_EVENTS.iter().copied().chain(pages));
            for (word, user) in events.iter_mut().zip(state.caps.user_events()) {
                *word |= user;
            }
            // Whatever the device says that users may have: this one would go to two queues.
            events[usize::from(EventType::CMD.0 / 64)] &= !(1 << (EventType::CMD.0 % 64));
            events
        };
        self.add_eq(ASYNC_EQ, 0, events, 0).map(drop)
    }

    /// Creates an event queue: gives its number.
    fn add_eq(&self, log_size: u32, vector: u32, events: [u64; 4], uid: u16) -> Result<u8, Error> {
        let (mut eq, command) = {
            let state = self.lock();
            let most = state.caps.general(cmd_hca_cap::LOG_MAX_EQ_SZ) as u32;
            let spec = Spec { log_size: log_size.min(most), vector, uar: state.uar, events, uid };
            EventQueue::prepare(&self.door, spec)?
        };
        let output = self.send(&command, create_eq_out::SIZE)?;
        let mut state = self.lock();
        eq.created(&output)?;
        let number = eq.number();
        state.eqs.push(eq);
        Ok(number)
    }

    /// The event queue of a completion vector, created when it's first asked for. Vector 0 of the function is the driver's own.
    pub(super) fn completion_eq(&self, vector: u32) -> Result<u32, Error> {
        // `mlx5_comp_eqn_get` of Linux takes no more of it.
        let vector = vector & 0xffff;
        let (msix, uid) = {
            let state = self.lock();
            let vectors = state.vectors.saturating_sub(1);
            if vector >= vectors {
                return Err(Error::Invalid(format!("completion vector {vector}: there are {vectors}")));
            }
            let users = state.caps.general(cmd_hca_cap::LOG_MAX_UCTX) != 0;
            if let Some(eq) = state.eqs.iter().find(|eq| eq.vector() == vector + 1) {
                return Ok(u32::from(eq.number()));
            }
            // Every user context may name it.
            (vector + 1, if users { SHARED_RESOURCE_UID } else { 0 })
        };
        self.door.enable_vector(msix)?;
        let number = self.add_eq(COMPLETION_EQ, msix, [0; 4], uid)?;
        let first = self.lock().eqs.iter().find(|eq| eq.vector() == msix).map_or(number, EventQueue::number);
        if first != number {
            // Another thread asked at the same time and was faster.
            self.destroy_eq(number)?;
        }
        Ok(u32::from(first))
    }

    pub(super) fn tear_down(&self) -> Result<(), Error> {
        let eqs: Vec<u8> = self.lock().eqs.iter().rev().map(EventQueue::number).collect();
        for (left, number) in (0..eqs.len()).rev().zip(eqs) {
            if left == 0 {
                // The last one is the command queue's own.
                self.lock().queue()?.mode = Mode::Polling;
            }
            self.destroy_eq(number)?;
        }
        let uar = self.lock().uar;
        let dealloc =
            Command::new(Opcode::DEALLOC_UAR, dealloc_uar_in::SIZE)?.set(dealloc_uar_in::UAR, u64::from(uar))?;
        self.send(&dealloc, HEADER)?;
        let teardown = Command::new(Opcode::TEARDOWN_HCA, teardown_hca_in::SIZE)?
            .set(teardown_hca_in::PROFILE, u64::from(TEARDOWN_GRACEFUL_CLOSE))?;
        self.send(&teardown, teardown_hca_out::SIZE)?;
        self.reclaim_pages()?;
        self.send(&Command::new(Opcode::DISABLE_HCA, disable_hca_in::SIZE)?, disable_hca_out::SIZE)?;
        self.door.disable()?;
        self.lock().queue = None;
        Ok(())
    }

    /// Destroys an event queue. From the command on the driver no longer looks at it, since its doorbells may lead nowhere.
    fn destroy_eq(&self, number: u8) -> Result<(), Error> {
        let (place, eq) = {
            let mut state = self.lock();
            let Some(place) = state.eqs.iter().position(|eq| eq.number() == number) else { return Ok(()) };
            (place, state.eqs.remove(place))
        };
        let destroyed = self.send(&eq.destroy()?, HEADER);
        if destroyed.is_err() {
            let mut state = self.lock();
            let place = place.min(state.eqs.len());
            state.eqs.insert(place, eq);
        }
        destroyed.map(drop)
    }

    fn reclaim_pages(&self) -> Result<(), Error> {
        loop {
            let asked = self.lock().pages.lent().min(MOST_AT_ONCE);
            if asked == 0 {
                self.lock().pages = Pages::default();
                return Ok(());
            }
            let (command, output_len) = pages::take(FUNCTION, asked)?;
            let output = self.send(&command, output_len)?;
            let mut state = self.lock();
            if state.pages.returned(&output, asked)? == 0 {
                return Err(Error::Device(format!("the firmware keeps {} pages", state.pages.lent())));
            }
        }
    }

    /// Whether an event type is one of the driver's own.
    pub(super) fn keeps(event: EventType) -> bool {
        OWN_EVENTS.contains(&event)
    }
}
