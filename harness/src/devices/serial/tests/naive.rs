//! The chip against a model that knows no events: it does a bit time's work after the other.

use proptest::prelude::*;

use super::super::uart::Character;
use super::*;

/// The naive chip, at ten bits a character. All of it is plain lists and counters.
#[derive(Debug, Default)]
struct Naive {
    ier: u8,
    mcr: u8,
    scr: u8,
    fifos: bool,
    level: usize,
    received: Vec<(u8, u8)>,
    errors: u8,
    silent_bits: u64,
    timed_out: bool,
    to_send: Vec<u8>,
    shift: Option<(u8, u64)>,
    most_waiting: usize,
    empty: bool,
    empty_in: Option<u64>,
    deltas: u8,
    out: Vec<u8>,
    lost: u64,
}

impl Naive {
    fn new() -> Naive {
        Naive { level: 1, most_waiting: 2, ..Naive::default() }
    }

    fn depth(&self) -> usize {
        if self.fifos { 16 } else { 1 }
    }

    fn status(&self) -> u8 {
        if self.mcr & 0x10 == 0 {
            return 0xb0;
        }
        let bit = |from: u8, to: u8| if self.mcr & from != 0 { to } else { 0 };
        bit(2, 0x10) + bit(1, 0x20) + bit(4, 0x40) + bit(8, 0x80)
    }

    fn load(&mut self) {
        if self.shift.is_none() && !self.to_send.is_empty() {
            self.shift = Some((self.to_send.remove(0), 10));
            if self.to_send.is_empty() {
                if self.fifos && self.most_waiting < 2 {
                    (self.empty, self.empty_in) = (false, Some(9));
                } else {
                    (self.empty, self.empty_in) = (true, None);
                }
                self.most_waiting = 0;
            }
        }
    }

    fn arrive(&mut self, byte: u8, errors: u8) {
        self.silent_bits = 0;
        if self.received.len() == self.depth() {
            self.lost += 1;
            self.errors |= 2;
            if !self.fifos {
                self.received = vec![(byte, errors)];
                self.errors |= errors;
            }
            return;
        }
        self.received.push((byte, errors));
        if self.received.len() == 1 {
            self.errors |= errors;
        }
    }

    fn line(&mut self, byte: u8, errors: u8) {
        if self.mcr & 0x10 == 0 {
            self.arrive(byte, errors);
        }
    }

    fn bit(&mut self) {
        let mut sent = None;
        if let Some((byte, left)) = &mut self.shift {
            *left -= 1;
            if *left == 0 {
                sent = Some(*byte);
            }
        }
        let was_pending = self.empty_in;
        self.silent_bits += 1;
        if let Some(byte) = sent {
            self.shift = None;
            self.load();
            if self.mcr & 0x10 == 0 { self.out.push(byte) } else { self.arrive(byte, 0) }
        }
        if let Some(left) = was_pending {
            self.empty_in = Some(left - 1);
            if left == 1 {
                (self.empty, self.empty_in) = (true, None);
            }
        }
        if self.fifos && !self.received.is_empty() && self.silent_bits == 40 {
            self.timed_out = true;
        }
    }

    fn source(&self) -> u8 {
        let level = if self.fifos { self.level } else { 1 };
        let candidates = [
            (4, self.errors != 0, 6),
            (1, self.received.len() >= level, 4),
            (1, self.timed_out, 0xc),
            (2, self.empty, 2),
            (8, self.deltas != 0, 0),
        ];
        candidates
            .iter()
            .find(|(enable, active, _)| self.ier & enable != 0 && *active)
            .map_or(1, |(.., source)| *source)
    }

    fn interrupt(&self) -> bool {
        self.mcr & 0x18 == 8 && self.source() != 1
    }

    fn read(&mut self, register: u64) -> u8 {
        match register {
            0 if self.received.is_empty() => 0,
            0 => {
                let (byte, _) = self.received.remove(0);
                self.errors |= self.received.first().map_or(0, |first| first.1);
                (self.timed_out, self.silent_bits) = (false, 0);
                byte
            }
            1 => self.ier,
            2 => {
                let source = self.source();
                self.empty &= source != 2;
                source + if self.fifos { 0xc0 } else { 0 }
            }
            3 => 3,
            4 => self.mcr,
            5 => {
                let mut status = self.errors;
                status |= u8::from(!self.received.is_empty());
                status |= if self.to_send.is_empty() { 0x20 } else { 0 };
                status |= if self.to_send.is_empty() && self.shift.is_none() { 0x40 } else { 0 };
                status |= if self.fifos && self.received.iter().any(|(_, errors)| *errors != 0) { 0x80 } else { 0 };
                self.errors = 0;
                self.received.iter_mut().take(1).for_each(|first| first.1 = 0);
                status
            }
            6 => self.status() | std::mem::take(&mut self.deltas),
            _ => self.scr,
        }
    }

    fn write(&mut self, register: u64, value: u8) {
        match register {
            0 => {
                (self.empty, self.empty_in) = (false, None);
                if self.to_send.len() == self.depth() {
                    self.lost += 1;
                    if !self.fifos {
                        self.to_send = vec![value];
                    }
                } else {
                    self.to_send.push(value);
                }
                self.most_waiting = self.most_waiting.max(self.to_send.len());
                self.load();
            }
            1 => {
                if self.ier & 2 == 0 && value & 2 != 0 && self.to_send.is_empty() {
                    (self.empty, self.empty_in) = (true, None);
                }
                self.ier = value & 15;
            }
            2 => {
                let changed = self.fifos != (value & 1 != 0);
                self.fifos = value & 1 != 0;
                if self.fifos {
                    self.level = [1, 4, 8, 14][usize::from(value / 64)];
                }
                if changed {
                    self.most_waiting = 2;
                }
                if changed || self.fifos && value & 2 != 0 {
                    self.received.clear();
                    self.timed_out = false;
                }
                if (changed || self.fifos && value & 4 != 0) && !self.to_send.is_empty() {
                    self.to_send.clear();
                    self.empty = true;
                }
            }
            4 => {
                let before = self.status();
                self.mcr = value & 31;
                let changed = before ^ self.status();
                self.deltas |= (changed & 0xb0) >> 4 | (changed & before & 0x40) >> 4;
            }
            7 => self.scr = value,
            _ => {}
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Read(u64),
    Write(u64, u8),
    Character(u8, u8),
    Bits(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let errors = prop_oneof![8 => Just(0), 1 => Just(LSR_PE), 1 => Just(LSR_FE), 1 => Just(LSR_BI)];
    // OUT2 and loopback, and FIFOs on, are more likely than by chance.
    let mcr = prop_oneof![2 => Just(MCR_OUT2), 1 => Just(MCR_LOOP), 2 => 0..0x20_u8];
    let fcr = prop_oneof![3 => any::<u8>().prop_map(|value| value & 0xf9 | 1), 1 => any::<u8>()];
    prop_oneof![
        8 => (0..8_u64).prop_map(Step::Read),
        4 => any::<u8>().prop_map(|value| Step::Write(TX, value)),
        2 => any::<u8>().prop_map(|value| Step::Write(IER, value)),
        1 => fcr.prop_map(|value| Step::Write(FCR, value)),
        1 => mcr.prop_map(|value| Step::Write(MCR, value)),
        1 => any::<u8>().prop_map(|value| Step::Write(SCR, value)),
        4 => (any::<u8>(), errors).prop_map(|(byte, errors)| Step::Character(byte, errors)),
        4 => prop_oneof![0..12_u64, 0..60_u64].prop_map(Step::Bits),
    ]
}

proptest! {
    /// Whatever the host and the line do, registers, interrupt and what leaves are those of the naive model, at each bit time.
    #[test]
    fn the_chip_agrees_with_a_naive_model(steps in prop::collection::vec(step(), 1..200)) {
        let (mut uart, mut naive, mut now, mut out) = (chip(), Naive::new(), Time::ZERO, Vec::new());
        for step in steps {
            match step {
                Step::Read(register) => prop_assert_eq!(uart.read(register, now), naive.read(register), "register {}", register),
                Step::Write(register, value) => {
                    uart.write(register, value, now);
                    naive.write(register, value);
                }
                Step::Character(byte, errors) => {
                    uart.receive(Character { byte, errors }, now);
                    naive.line(byte, errors);
                }
                Step::Bits(count) => {
                    for _ in 0..count {
                        now += bits(1);
                        while let Some(at) = uart.next_event().filter(|at| *at <= now) {
                            prop_assert_eq!(at, now, "an event between two bits");
                            out.extend(uart.event(at).map(|character| character.byte));
                        }
                        naive.bit();
                        prop_assert_eq!(uart.interrupt(), naive.interrupt());
                    }
                }
            }
            prop_assert_eq!(uart.interrupt(), naive.interrupt());
        }
        prop_assert_eq!(out, naive.out);
        let counts = uart.counts();
        prop_assert_eq!(counts.overruns + counts.overflows + counts.test_losses, naive.lost);
    }
}
