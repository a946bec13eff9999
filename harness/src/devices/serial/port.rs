//! The chip and the far end of its line on one clock.

use mlx5_twin_sim::time::Time;

use super::register::{LCR, LSR_BI, MSR_CTS, MSR_DCD, MSR_DSR};
use super::terminal::Terminal;
use super::uart::{Character, Uart};

/// What the far end of the line does to the modem lines as long as it's there: it's ready, and has a carrier.
pub const CONNECTED: u8 = MSR_CTS | MSR_DSR | MSR_DCD;

/// A serial port with somebody at the far end of the line.
///
/// The far end always has the rate and format of the chip.
#[derive(Clone, Debug)]
pub struct Port {
    uart: Uart,
    terminal: Terminal,
    now: Time,
}

impl Default for Port {
    fn default() -> Port {
        Port { uart: Uart::new(CONNECTED), terminal: Terminal::default(), now: Time::ZERO }
    }
}

impl Port {
    /// The chip.
    pub fn uart(&self) -> &Uart {
        &self.uart
    }

    /// When something happens next, if nobody touches a register before.
    fn next_event(&self) -> Option<Time> {
        [self.uart.next_event(), self.terminal.next_event()].into_iter().flatten().min()
    }

    /// Lets the one thing happen that happens first at `at`. What the chip does comes before what the far end does.
    fn event(&mut self, at: Time) {
        if self.uart.next_event().is_some_and(|next| next <= at) {
            if let Some(character) = self.uart.event(at) {
                self.terminal.take(character, self.uart.character_time().unwrap_or_default(), at);
            }
        } else if let Some(character) = self.terminal.event(at) {
            self.uart.receive(character, at);
        }
    }

    /// Lets time pass until `now`. A time that lies back changes nothing.
    pub fn advance(&mut self, now: Time) {
        while let Some(at) = self.next_event().filter(|at| *at <= now) {
            self.event(at);
        }
        self.now = self.now.max(now);
    }

    /// Lets time pass until nothing happens any more.
    pub fn settle(&mut self) {
        while let Some(at) = self.next_event() {
            self.event(at);
            self.now = self.now.max(at);
        }
    }

    /// Reads a register of the chip.
    pub fn read(&mut self, register: u64) -> u8 {
        self.uart.read(register, self.now)
    }

    /// Writes a register of the chip.
    pub fn write(&mut self, register: u64, value: u8) {
        let since = self.uart.break_since();
        self.uart.write(register, value, self.now);
        // The far end sees a break of at least a character's length when it ends.
        if register == LCR
            && let (Some(since), None, Some(time)) = (since, self.uart.break_since(), self.uart.character_time())
            && self.now.since(since) >= time
        {
            self.terminal.take(Character { byte: 0, errors: LSR_BI }, time, self.now);
        }
    }

    /// Whether the chip's interrupt is active.
    pub fn interrupt(&self) -> bool {
        self.uart.interrupt()
    }

    /// When the interrupt becomes active, if nobody touches a register before. `None` if it's active, or won't become so.
    pub fn next_interrupt(&self) -> Option<Time> {
        if self.interrupt() || !self.uart.may_interrupt() {
            return None;
        }
        // All that can happen on its own is finite: what the chip has to send, and what comes back.
        let mut ahead = self.clone();
        while let Some(at) = ahead.next_event() {
            ahead.event(at);
            if ahead.interrupt() {
                return Some(at);
            }
        }
        None
    }
}
