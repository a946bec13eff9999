//! A driver that lives by interrupts alone, against chip and far end: whatever the times between what it does, nothing is lost
//! without being counted, and it never waits for an interrupt that doesn't come.

use mlx5_twin_sim::rng::Rng;
use proptest::prelude::*;

use super::super::port::Port;
use super::super::uart::{FIFO, TRIGGERS};
use super::*;

/// A driver whose accesses take time: between any two of them the line goes on.
struct Driver {
    port: Port,
    now: Time,
    rng: Rng,
    /// The longest time between two accesses.
    slow: u64,
    /// The interrupt was active when it was last looked at.
    active: bool,
    /// An interrupt message was sent.
    message: bool,
    enabled: u8,
    to_send: Vec<u8>,
    received: Vec<u8>,
    overruns: bool,
}

impl Driver {
    fn look(&mut self) {
        let before = std::mem::replace(&mut self.active, self.port.interrupt());
        self.message |= self.active && !before;
    }

    /// Lets time pass until `now`, and sends a message when the interrupt becomes active on the way.
    fn until(&mut self, now: Time) {
        if let Some(at) = self.port.next_interrupt().filter(|at| *at <= now) {
            self.port.advance(at);
            assert!(self.port.interrupt(), "the interrupt was to be active at {at}");
            self.look();
        }
        self.port.advance(now);
        self.now = now;
        self.look();
    }

    fn pause(&mut self) {
        let pause = self.rng.range(0, self.slow);
        self.until(self.now + Time::ps(pause));
    }

    fn read(&mut self, register: u64) -> u8 {
        self.pause();
        let value = self.port.read(register);
        self.look();
        value
    }

    fn write(&mut self, register: u64, value: u8) {
        self.pause();
        self.port.write(register, value);
        self.look();
    }

    fn handle(&mut self) {
        loop {
            match self.read(IIR) & IIR_MASK {
                IIR_NO_INT => return,
                IIR_THRI => {
                    let burst: Vec<u8> = self.to_send.drain(..self.to_send.len().min(FIFO)).collect();
                    burst.into_iter().for_each(|byte| self.write(TX, byte));
                    if self.to_send.is_empty() {
                        self.enabled &= !IER_THRI;
                        self.write(IER, self.enabled);
                    }
                }
                IIR_RDI | IIR_RX_TIMEOUT => {
                    while self.status() & LSR_DR != 0 {
                        let byte = self.read(RX);
                        self.received.push(byte);
                    }
                }
                IIR_RLSI => drop(self.status()),
                _ => drop(self.read(MSR)),
            }
        }
    }

    fn status(&mut self) -> u8 {
        let status = self.read(LSR);
        self.overruns |= status & LSR_OE != 0;
        status
    }
}

/// Sends text, and gives the driver when nothing happens any more.
fn play(text: &[u8], seed: u64, trigger: usize, slow: u64) -> Driver {
    let enabled = IER_RDI | IER_RLSI | IER_THRI;
    let mut driver = Driver {
        port: Port::default(),
        now: Time::ZERO,
        rng: Rng::new(seed),
        slow,
        active: false,
        message: false,
        enabled,
        to_send: text.to_vec(),
        received: Vec::new(),
        overruns: false,
    };
    let fifos = FCR_ENABLE_FIFO | (trigger as u8) << 6;
    for (register, value) in [(LCR, LCR_DLAB), (DLL, 1), (DLM, 0), (LCR, LCR_WLEN8), (FCR, fifos), (MCR, MCR_OUT2)] {
        driver.write(register, value);
    }
    driver.write(IER, enabled);
    loop {
        if std::mem::take(&mut driver.message) {
            driver.pause();
            driver.handle();
        } else if let Some(at) = driver.port.next_interrupt() {
            driver.until(at);
        } else {
            driver.port.settle();
            assert!(!driver.port.interrupt(), "an interrupt came that nobody was told of");
            return driver;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Accesses within 0 to 2 us, interleaved with the line in any way: all bytes come back.
    #[test]
    fn a_quick_driver_loses_nothing(text in prop::collection::vec(any::<u8>(), 0..600), seed in any::<u64>(), trigger in 0..TRIGGERS.len()) {
        let driver = play(&text, seed, trigger, Time::us(2).as_ps());
        prop_assert_eq!(&driver.received, &text);
        let counts = driver.port.uart().counts();
        prop_assert_eq!((counts.sent, counts.received, counts.overruns), (text.len() as u64, text.len() as u64, 0));
        prop_assert!(!driver.overruns);
    }

    /// A driver that is slower than the line loses characters: they're counted, LSR says so, and the rest comes in order.
    #[test]
    fn a_slow_driver_knows_what_it_lost(text in prop::collection::vec(any::<u8>(), 0..600), seed in any::<u64>(), trigger in 0..TRIGGERS.len(), slow in 20_u64..2_000) {
        let driver = play(&text, seed, trigger, Time::us(slow).as_ps());
        let counts = driver.port.uart().counts();
        prop_assert_eq!((counts.sent, counts.received, counts.overflows), (text.len() as u64, text.len() as u64, 0));
        prop_assert_eq!(driver.received.len() as u64 + counts.overruns, text.len() as u64);
        prop_assert_eq!(driver.overruns, counts.overruns > 0);
        let mut rest = text.iter();
        prop_assert!(driver.received.iter().all(|byte| rest.any(|sent| sent == byte)), "not in order");
    }
}
