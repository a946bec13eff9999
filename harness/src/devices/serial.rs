//! `serial`: a serial port with a 16550A, whose far end sends each line back.
//!
//! | offset in BAR 0 | read | write |
//! |---|---|---|
//! | 0x00 | RBR; with DLAB the divisor's low byte | THR; with DLAB the divisor's low byte |
//! | 0x01 | IER; with DLAB the divisor's high byte | IER; with DLAB the divisor's high byte |
//! | 0x02 | IIR | FCR |
//! | 0x03 | LCR | LCR |
//! | 0x04 | MCR | MCR |
//! | 0x05 | LSR | nothing |
//! | 0x06 | MSR | nothing |
//! | 0x07 | SCR | SCR |
//!
//! The registers are a byte each. A wider access is one to each of its bytes, the lowest address first. All other bytes of the region
//! read 0.
//!
//! The line keeps *virtual time*: a character takes as long as divisor and format say, with the clock of a PC's serial port, so that
//! 115,200 baud are the most. The program's own clock counts, not the time at which a TLP reached the function; between the two lies
//! how long software took to take it up.
//!
//! The chip's interrupt line is a level, and MSI-X is a message: vector 0 is raised each time the line becomes active. A handler
//! therefore goes on until IIR names no source. What couldn't be raised because MSI-X or bus mastering was off is raised when they are
//! switched on, if the line is still active.
//!
//! The class code says '16550-compatible serial controller'. Linux's `8250_pci` looks at every function of that class, but guesses only
//! where registers are in I/O space, which an emulated function hasn't got; with registers in memory it wants the IDs in its table, with a
//! board of one port in BAR 0 (`new_id` can add them). It then asks for INTx, unless its list of functions with MSI names the IDs, and
//! INTx there isn't either: the host program here uses MSI-X. Vendor and device ID are ours: nobody is assigned 0xfff1.

use std::sync::Arc;

use mlx5_twin_sim::config::{Bar, MsixCapability, PcieCapability, PortType, Type0};
use mlx5_twin_sim::time::Time;

use super::Summary;
use crate::backend::Backend;
use crate::emulation::{Description, DeviceClock, Error, Function, PciEvent, Request, Serving};

pub mod host;
pub mod port;
pub mod register;
pub mod terminal;
#[cfg(test)]
mod tests;
pub mod uart;

use port::Port;

/// Vendor ID (ours).
pub const VENDOR: u16 = 0xfff1;
/// Device ID (ours).
pub const DEVICE: u16 = 0x0002;
/// Class code: communication controller, serial, 16550-compatible.
pub const CLASS: u32 = 0x07_0002;
/// The vector of the chip's interrupt.
pub const VECTOR: u16 = 0;

/// What the function looks like: registers in the first page of BAR 0, MSI-X table and pending bits in pages of their own.
pub fn description(port: u16) -> Description {
    let header = Type0 {
        vendor_id: VENDOR,
        device_id: DEVICE,
        class_code: CLASS,
        bars: [Some(Bar::memory32(0x4000)), None, None, None, None, None],
        ..Type0::default()
    };
    Description::new(port, header)
        .pcie(&PcieCapability::new(PortType::Endpoint))
        .msix(MsixCapability { vectors: 1, table_bar: 0, table_offset: 0x2000, pba_bar: 0, pba_offset: 0x3000 })
        .transaction(0, 0x0000, 0x1000)
}

/// The bytes of a dword that are enabled: lane, and offset in the BAR.
fn bytes(offset: u64, enables: u8) -> impl Iterator<Item = (u32, u64)> {
    (0..4).filter(move |lane| enables >> lane & 1 != 0).map(move |lane| (lane, offset + u64::from(lane)))
}

/// The emulation program's state.
struct Program {
    clock: DeviceClock,
    function: Function,
    port: Port,
    /// The interrupt was active when it was last looked at.
    active: bool,
    /// It became active, but couldn't be raised.
    owed: bool,
    summary: Summary,
}

/// The emulation program: serves the function until nothing will ever happen again.
///
/// # Errors
/// The device doesn't speak our protocol, refuses the function, or is gone.
pub fn run(backend: Arc<dyn Backend>, serving: &Serving) -> Result<Summary, Error> {
    let function = Function::claim(Arc::clone(&backend), &description(serving.only_port()?))?;
    let clock = DeviceClock::new(backend, function.port())?;
    let port = Port::default();
    let mut program = Program { clock, function, port, active: false, owed: false, summary: Summary::default() };
    loop {
        let request = program.next()?;
        if request.is_none() && program.function.is_silent() {
            break;
        }
        let mut now = program.clock.look()?;
        if let Some(at) = program.port.next_interrupt().filter(|at| *at < now) {
            program.clock.set_back(at);
            now = program.clock.shown();
        }
        let raised = program.summary.interrupts;
        program.port.advance(now);
        program.interrupt()?;
        if let Some(request) = request {
            program.serve(request, now)?;
        }
        if program.summary.interrupts > raised && !program.clock.is_simulated() {
            // The interrupt is with the host now, and not earlier.
            program.clock.look()?;
            program.clock.set_back(now);
        }
    }
    program.port.settle();
    program.count();
    program.function.close()?;
    Ok(program.summary)
}

impl Program {
    /// The next request; `None` when the interrupt becomes active before, or perhaps earlier.
    fn next(&mut self) -> Result<Option<Request>, Error> {
        match self.port.next_interrupt() {
            None => self.function.next(),
            Some(at) => self.function.next_within(self.clock.left(at)),
        }
    }

    fn serve(&mut self, request: Request, now: Time) -> Result<(), Error> {
        match request {
            Request::Read(read) => {
                self.summary.reads += 1;
                let mut edges = 0;
                let data = read.data(|offset, enables| {
                    bytes(offset, enables).fold(0, |dword, (lane, register)| {
                        let byte = self.port.read(register);
                        edges += u32::from(self.edge());
                        dword | u32::from(byte) << (8 * lane)
                    })
                });
                self.function.complete(read.id, &data)?;
                (0..edges).try_for_each(|_| self.raise())
            }
            Request::Write(write) => {
                self.summary.writes += 1;
                for dword in write.dwords() {
                    for (lane, register) in bytes(dword.offset, dword.enables) {
                        self.port.write(register, (dword.value >> (8 * lane)) as u8);
                        self.interrupt()?;
                    }
                }
                Ok(())
            }
            Request::Configured(_) if self.owed => self.raise(),
            Request::Reset(_) | Request::PciEvent(PciEvent::PerstAsserted) => {
                self.summary.resets += 1;
                self.count();
                (self.port, self.active, self.owed) = (Port::default(), false, false);
                self.port.advance(now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether the interrupt has become active since it was last looked at.
    fn edge(&mut self) -> bool {
        let before = std::mem::replace(&mut self.active, self.port.interrupt());
        if !self.active && std::mem::take(&mut self.owed) {
            self.summary.interrupts_dropped += 1;
        }
        self.active && !before
    }

    /// Raises the interrupt if it has become active.
    fn interrupt(&mut self) -> Result<(), Error> {
        if self.edge() { self.raise() } else { Ok(()) }
    }

    fn raise(&mut self) -> Result<(), Error> {
        match self.function.raise_msix(VECTOR) {
            Ok(()) => {
                self.owed = false;
                self.summary.interrupts += 1;
                Ok(())
            }
            Err(Error::MsixDisabled(_) | Error::NotBusMaster(_)) => {
                self.owed = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Adds the chip's counts, which end with it, to the summary.
    fn count(&mut self) {
        let counts = self.port.uart().counts();
        let sum = self.summary.characters.get_or_insert_default();
        sum.sent += counts.sent;
        sum.received += counts.received;
        sum.overruns += counts.overruns;
        sum.overflows += counts.overflows;
        sum.cut_off += counts.cut_off;
        sum.test_losses += counts.test_losses;
    }
}
