//! The 16550A as a state machine: registers on one side, a line on the other, and time.
//!
//! It follows the chip's public data sheet (National Semiconductor PC16550D). It does nothing by itself: whoever owns it asks
//! [`Uart::next_event`] when something happens next, and lets it happen by [`Uart::event`]; characters from the line are given to
//! [`Uart::receive`]. Times never go back.
//!
//! Where the data sheet is silent, this is how it is here (ours):
//! - A divisor of 0, which it has after a reset, is no clock: nothing is sent.
//! - An empty receiver reads 0. A character written to a full transmit FIFO is lost, and counted.
//! - In loopback OUT2 is inactive, as all modem outputs are, so no interrupt gets out. The line is cut off: what comes is counted as lost.
//! - Errors that a read of LSR hasn't shown stay in LSR, even if their character is read or cleared.
//! - The pins RXRDY and TXRDY don't exist, so the DMA mode means nothing.

use std::collections::VecDeque;

use mlx5_twin_sim::time::Time;
use serde::Serialize;

use super::register::*;

/// Depth of both FIFOs.
pub const FIFO: usize = 16;
/// Frequency of the chip's clock in Hz; 16 times the baud rate at divisor 1.
pub const CLOCK: u64 = 1_843_200;
/// Trigger levels of the receive FIFO, by bits 7:6 of FCR.
pub const TRIGGERS: [usize; 4] = [1, 4, 8, 14];
/// Silence after which characters below the trigger level raise an interrupt, in characters.
pub const TIMEOUT_CHARACTERS: u64 = 4;

/// A character on the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Character {
    /// Its bits, the first one lowest.
    pub byte: u8,
    /// What is wrong with it: [`LSR_PE`], [`LSR_FE`], [`LSR_BI`].
    pub errors: u8,
}

/// What became of characters since the reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Sent to the line.
    pub sent: u64,
    /// Received from the line, those that were then lost included.
    pub received: u64,
    /// Lost because the receiver was full.
    pub overruns: u64,
    /// Lost because the transmitter was full.
    pub overflows: u64,
    /// Lost because the line was cut off: by loopback, or by a break.
    pub cut_off: u64,
    /// Lost in loopback, because receiver or transmitter was full. A driver's test of the FIFO loses some on purpose.
    pub test_losses: u64,
}

/// The chip.
#[derive(Clone, Debug)]
pub struct Uart {
    ier: u8,
    lcr: u8,
    mcr: u8,
    scr: u8,
    divisor: u16,
    fifos: bool,
    trigger: usize,
    received: VecDeque<Character>,
    /// The error bits of LSR, until LSR is read.
    errors: u8,
    /// When the character timeout comes.
    timeout_at: Option<Time>,
    timed_out: bool,
    to_send: VecDeque<u8>,
    /// What is on its way out, and when its last bit is.
    shift: Option<(u8, Time)>,
    /// The interrupt 'transmit holding register empty'.
    empty: bool,
    /// When that interrupt comes, if it's delayed.
    empty_at: Option<Time>,
    /// Two characters were in the transmit FIFO since it was last empty.
    had_two: bool,
    /// The lines CTS, DSR, RI and DCD, as bits of MSR.
    lines: u8,
    deltas: u8,
    /// Since when the line is held in the break condition.
    break_since: Option<Time>,
    counts: Counts,
}

impl Uart {
    /// The chip after a reset, with the lines CTS, DSR, RI and DCD as bits of MSR.
    pub fn new(lines: u8) -> Uart {
        Uart {
            ier: 0,
            lcr: 0,
            mcr: 0,
            scr: 0,
            divisor: 0,
            fifos: false,
            trigger: TRIGGERS[0],
            received: VecDeque::new(),
            errors: 0,
            timeout_at: None,
            timed_out: false,
            to_send: VecDeque::new(),
            shift: None,
            empty: false,
            empty_at: None,
            had_two: true,
            lines: lines & MSR_STATUS,
            deltas: 0,
            break_since: None,
            counts: Counts::default(),
        }
    }

    /// What became of characters.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How long a character takes: start bit, word, parity and stop bits. `None` without a clock.
    pub fn character_time(&self) -> Option<Time> {
        let halves = 2 * self.bits_before_stop() + self.stop_halves();
        self.half_bits(halves)
    }

    /// The line is held in the break condition since then.
    pub fn break_since(&self) -> Option<Time> {
        self.break_since
    }

    fn bits_before_stop(&self) -> u64 {
        1 + 5 + u64::from(self.lcr & LCR_WLEN_MASK) + u64::from(self.lcr & LCR_PARITY != 0)
    }

    fn stop_halves(&self) -> u64 {
        match (self.lcr & LCR_STOP != 0, self.lcr & LCR_WLEN_MASK) {
            (false, _) => 2,
            (true, 0) => 3,
            (true, _) => 4,
        }
    }

    fn half_bits(&self, count: u64) -> Option<Time> {
        // A bit is 16 cycles of the divided clock. 24 half bits of the largest divisor are below 2^64 half periods.
        const HALF_BIT: u64 = 8 * 1_000_000_000_000;
        (self.divisor != 0).then(|| Time::ps(count * u64::from(self.divisor) * HALF_BIT / CLOCK))
    }

    fn capacity(&self) -> usize {
        if self.fifos { FIFO } else { 1 }
    }

    // --- Interrupts ---

    /// The source with the highest priority, as IIR tells it.
    fn source(&self) -> Option<u8> {
        let enabled = |bit| self.ier & bit != 0;
        let level = if self.fifos { self.trigger } else { 1 };
        if enabled(IER_RLSI) && self.errors != 0 {
            Some(IIR_RLSI)
        } else if enabled(IER_RDI) && self.received.len() >= level {
            Some(IIR_RDI)
        } else if enabled(IER_RDI) && self.timed_out {
            Some(IIR_RX_TIMEOUT)
        } else if enabled(IER_THRI) && self.empty {
            Some(IIR_THRI)
        } else if enabled(IER_MSI) && self.deltas != 0 {
            Some(IIR_MSI)
        } else {
            None
        }
    }

    /// Whether the interrupt gets out: some source is there, and OUT2 lets it through, as on every PC's board.
    pub fn interrupt(&self) -> bool {
        self.may_interrupt() && self.source().is_some()
    }

    /// Whether any interrupt could get out.
    pub fn may_interrupt(&self) -> bool {
        self.ier != 0 && self.mcr & (MCR_OUT2 | MCR_LOOP) == MCR_OUT2
    }

    // --- Registers ---

    /// Reads a register, 0 to 7; there are no others.
    pub fn read(&mut self, register: u64, now: Time) -> u8 {
        let [low, high] = self.divisor.to_le_bytes();
        match register {
            DLL if self.lcr & LCR_DLAB != 0 => low,
            DLM if self.lcr & LCR_DLAB != 0 => high,
            RX => self.read_character(now),
            IER => self.ier,
            IIR => self.identify(),
            LCR => self.lcr,
            MCR => self.mcr,
            LSR => self.line_status(),
            MSR => {
                let deltas = std::mem::take(&mut self.deltas);
                self.modem_lines() | deltas
            }
            SCR => self.scr,
            _ => 0,
        }
    }

    fn read_character(&mut self, now: Time) -> u8 {
        let Some(character) = self.received.pop_front() else { return 0 };
        self.timed_out = false;
        self.restart_timeout(now);
        self.reveal();
        character.byte
    }

    fn identify(&mut self) -> u8 {
        let source = self.source();
        if source == Some(IIR_THRI) {
            self.empty = false;
        }
        let fifos = if self.fifos { IIR_FIFO_ENABLED } else { 0 };
        fifos | source.unwrap_or(IIR_NO_INT)
    }

    fn line_status(&mut self) -> u8 {
        let damaged = self.fifos && self.received.iter().any(|character| character.errors != 0);
        let bits = [
            (!self.received.is_empty(), LSR_DR),
            (self.to_send.is_empty(), LSR_THRE),
            (self.to_send.is_empty() && self.shift.is_none(), LSR_TEMT),
            (damaged, LSR_FIFOE),
        ];
        let status = bits.iter().filter(|(set, _)| *set).fold(self.errors, |status, (_, bit)| status | bit);
        self.errors = 0;
        if let Some(first) = self.received.front_mut() {
            first.errors = 0;
        }
        status
    }

    /// Writes a register, 0 to 7; to others it does nothing.
    pub fn write(&mut self, register: u64, value: u8, now: Time) {
        match register {
            DLL | DLM if self.lcr & LCR_DLAB != 0 => {
                let mut bytes = self.divisor.to_le_bytes();
                bytes[usize::from(register == DLM)] = value;
                self.divisor = u16::from_le_bytes(bytes);
                self.start(now);
            }
            TX => self.send(value, now),
            IER => {
                // Switched on while the transmitter is empty, the interrupt comes at once.
                if value & !self.ier & IER_THRI != 0 && self.to_send.is_empty() {
                    self.empty = true;
                    self.empty_at = None;
                }
                self.ier = value & IER_ALL;
            }
            FCR => self.control_fifos(value, now),
            LCR => {
                self.lcr = value;
                let since = self.break_since.unwrap_or(now);
                self.break_since = (value & LCR_SBC != 0).then_some(since);
            }
            MCR => {
                let before = self.modem_lines();
                self.mcr = value & MCR_ALL;
                self.lines_changed(before);
            }
            SCR => self.scr = value,
            // LSR and MSR are read-only to software; the chip's test mode isn't modelled.
            _ => {}
        }
    }

    fn send(&mut self, byte: u8, now: Time) {
        self.empty = false;
        self.empty_at = None;
        if self.to_send.len() < self.capacity() {
            self.to_send.push_back(byte);
        } else {
            self.lost(|counts| &mut counts.overflows);
            if !self.fifos {
                self.to_send[0] = byte;
            }
        }
        self.had_two |= self.to_send.len() >= 2;
        self.start(now);
    }

    fn control_fifos(&mut self, value: u8, now: Time) {
        let fifos = value & FCR_ENABLE_FIFO != 0;
        let mut clear = value;
        if fifos != self.fifos {
            self.fifos = fifos;
            clear = FCR_CLEAR_RCVR | FCR_CLEAR_XMIT;
            // The first interrupt after the change isn't delayed.
            self.had_two = true;
        } else if !fifos {
            return;
        }
        if fifos {
            self.trigger = TRIGGERS[usize::from(value >> 6)];
        }
        if clear & FCR_CLEAR_RCVR != 0 {
            self.received.clear();
            self.timed_out = false;
            self.restart_timeout(now);
        }
        if clear & FCR_CLEAR_XMIT != 0 && !self.to_send.is_empty() {
            self.to_send.clear();
            self.empty = true;
        }
    }

    // --- Modem lines ---

    /// CTS, DSR, RI and DCD. In loopback they are RTS, DTR, OUT1 and OUT2.
    fn modem_lines(&self) -> u8 {
        if self.mcr & MCR_LOOP == 0 {
            return self.lines;
        }
        let looped = [(MCR_RTS, MSR_CTS), (MCR_DTR, MSR_DSR), (MCR_OUT1, MSR_RI), (MCR_OUT2, MSR_DCD)];
        looped.iter().filter(|(output, _)| self.mcr & output != 0).fold(0, |lines, (_, input)| lines | input)
    }

    /// Sets CTS, DSR, RI and DCD, as bits of MSR.
    pub fn set_lines(&mut self, lines: u8) {
        let before = self.modem_lines();
        self.lines = lines & MSR_STATUS;
        self.lines_changed(before);
    }

    fn lines_changed(&mut self, before: u8) {
        let now = self.modem_lines();
        let changed = before ^ now;
        // Of RI only the end of a ring counts.
        let deltas = changed >> 4 & !MSR_TERI | (before & !now & MSR_RI) >> 4;
        self.deltas |= deltas;
    }

    // --- The line ---

    /// When something happens next, if nothing else does before.
    pub fn next_event(&self) -> Option<Time> {
        let sent = self.shift.map(|(_, at)| at);
        [sent, self.empty_at, self.timeout_at].into_iter().flatten().min()
    }

    /// Lets happen what happens at `now`, the time that [`Uart::next_event`] gave: one thing. Gives the character that left for the
    /// line, if one did.
    pub fn event(&mut self, now: Time) -> Option<Character> {
        if let Some((byte, _)) = self.shift.take_if(|(_, at)| *at <= now) {
            // The next one follows without a gap.
            self.start(now);
            let character = Character { byte: byte & 0xff >> (3 - (self.lcr & LCR_WLEN_MASK)), errors: 0 };
            if self.mcr & MCR_LOOP != 0 {
                self.take(character, now);
                return None;
            }
            self.counts.sent += 1;
            if self.break_since.is_some() {
                self.counts.cut_off += 1;
                return None;
            }
            return Some(character);
        }
        if self.empty_at.take_if(|at| *at <= now).is_some() {
            self.empty = true;
        } else if self.timeout_at.take_if(|at| *at <= now).is_some() {
            self.timed_out = true;
        }
        None
    }

    /// Moves the next character into the shift register, if that is free.
    fn start(&mut self, now: Time) {
        let Some(time) = self.character_time().filter(|_| self.shift.is_none()) else { return };
        let Some(byte) = self.to_send.pop_front() else { return };
        self.shift = Some((byte, now + time));
        if self.to_send.is_empty() {
            // A transmitter that never held two characters would otherwise interrupt as soon as the first one is written.
            let delay = self.half_bits(2 * self.bits_before_stop()).filter(|_| self.fifos && !self.had_two);
            self.empty = delay.is_none();
            self.empty_at = delay.map(|delay| now + delay);
            self.had_two = false;
        }
    }

    /// A character came from the line, all its bits.
    pub fn receive(&mut self, character: Character, now: Time) {
        self.counts.received += 1;
        if self.mcr & MCR_LOOP != 0 {
            self.counts.cut_off += 1;
        } else {
            self.take(character, now);
        }
    }

    fn take(&mut self, character: Character, now: Time) {
        if self.received.len() < self.capacity() {
            self.received.push_back(character);
            if self.received.len() == 1 {
                self.reveal();
            }
        } else {
            self.lost(|counts| &mut counts.overruns);
            self.errors |= LSR_OE;
            if !self.fifos {
                self.received[0] = character;
                self.reveal();
            }
        }
        self.restart_timeout(now);
    }

    /// Counts a character that is lost because something is full.
    fn lost(&mut self, count: impl FnOnce(&mut Counts) -> &mut u64) {
        let looped = self.mcr & MCR_LOOP != 0;
        *(if looped { &mut self.counts.test_losses } else { count(&mut self.counts) }) += 1;
    }

    /// The errors of the first character of the FIFO show in LSR.
    fn reveal(&mut self) {
        self.errors |= self.received.front().map_or(0, |first| first.errors);
    }

    /// A character came or was read: the time of silence begins anew.
    fn restart_timeout(&mut self, now: Time) {
        let waits = self.fifos && !self.received.is_empty() && !self.timed_out;
        let silence = self.character_time().filter(|_| waits);
        self.timeout_at = silence.map(|time| now + Time::ps(time.as_ps() * TIMEOUT_CHARACTERS));
    }
}
