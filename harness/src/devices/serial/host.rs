//! The host program of `serial`: finds the function, tests the chip, and moves text both ways by interrupts alone.
//!
//! It sends a line, or the first 4096 bytes of a longer one, and compares what comes back byte for byte; when all of it is back it
//! takes the next one. What is sent, and when, depends on the text alone and not on the pieces in which it's typed or piped. How long
//! the host takes from an interrupt to its handler is drawn from the seed.
//!
//! Any error ends it, unless the settings allow recoveries: then the function is reset (function-level reset), set up and tested
//! again, and the line is sent once more.

mod probe;

use mlx5_twin_sim::host::Host;
use mlx5_twin_sim::rng::Rng;
use mlx5_twin_sim::time::Time;

use super::super::setup::{Driven, access_failed};
use super::super::{Console, HostError, HostReport, HostSettings, TextReport};
use super::register::*;
use super::uart::{CLOCK, FIFO, TRIGGERS};
use super::{DEVICE, VECTOR, VENDOR};
use crate::hash::Fnv1a;

/// Rate of the line.
const BAUD: u64 = 115_200;
const DIVISOR: u16 = (CLOCK / 16 / BAUD) as u16;
/// A character: start bit, 8 bits, stop bit.
const CHARACTER: Time = Time::ps(10 * 1_000_000_000_000 / BAUD);
/// The longest part of the text that is sent before its echo is awaited, in bytes.
const LINE: usize = 4096;
/// How long it may take until something is sent or received: more characters than either FIFO and the far end keep back, and some time for software that
/// emulates the chip in a guest.
const PROGRESS_LIMIT: Time = Time::ps(CHARACTER.as_ps() * 100 + Time::ms(100).as_ps());
/// The longest time from an interrupt to its handler.
const LATENCY: Time = Time::us(2);
/// How many sources a handler looks after in one interrupt. It can't be kept busy for longer by a chip that works.
const PASSES: u64 = 256;
/// The received characters that an interrupt announces.
const TRIGGER: usize = TRIGGERS[3];

/// The port as its driver sees it.
#[derive(Debug)]
struct Serial {
    driven: Driven,
    bar: u64,
    rng: Rng,
    report: HostReport,
    text: TextReport,
    hash: Fnv1a,
}

/// A line under way.
#[derive(Debug)]
struct Exchange<'a> {
    line: &'a [u8],
    sent: usize,
    received: usize,
}

/// Runs the program.
///
/// # Errors
/// The bus can't be enumerated, the function isn't there or lacks something, an access fails, the chip fails a test or isn't a 16550A,
/// an interrupt doesn't come, a character is wrong or came with an error, or the console fails.
pub async fn run(host: Host, settings: HostSettings) -> Result<HostReport, HostError> {
    let HostSettings { enumeration, seed, rounds, mut recoveries, mut console } = settings;
    let (driven, report) = Driven::find(host, enumeration, (VENDOR, DEVICE), VECTOR + 1).await?;
    let rng = Rng::stream(seed, "serial host");
    let mut serial = Serial { driven, bar: 0, rng, report, text: TextReport::default(), hash: Fnv1a::default() };
    serial.open().await?;
    serial.report.configured_ps = serial.now().as_ps();
    while rounds.is_none_or(|rounds| serial.report.rounds < rounds) {
        let line = console.line(LINE).map_err(|error| console_failed("the text to send", &error))?;
        if line.is_empty() {
            break;
        }
        serial.talk(&line, &mut recoveries, &mut console).await?;
    }
    serial.report.finished_ps = serial.now().as_ps();
    let Serial { mut report, mut text, hash, .. } = serial;
    text.hash = format!("{:016x}", hash.value());
    report.text = Some(text);
    Ok(report)
}

fn console_failed(what: &'static str, error: &std::io::Error) -> HostError {
    HostError::Console { what, error: error.to_string() }
}

impl Serial {
    fn now(&self) -> Time {
        self.driven.host.now()
    }

    async fn read(&mut self, register: u64) -> Result<u8, HostError> {
        let what = access_failed(READING[register as usize & 7]);
        let data = self.driven.host.read(self.bar + register, 1).await.map_err(what)?;
        self.report.reads += 1;
        Ok(data.to_u64() as u8)
    }

    async fn write(&mut self, register: u64, value: u8) -> Result<(), HostError> {
        let what = access_failed(WRITING[register as usize & 7]);
        self.driven.host.write(self.bar + register, &[value]).await.map_err(what)?;
        self.report.writes += 1;
        Ok(())
    }

    /// Sets the function up, tests the chip, and starts it: 8 bits, no parity, one stop bit, FIFOs, interrupts.
    async fn open(&mut self) -> Result<(), HostError> {
        self.bar = self.driven.configure().await?;
        self.probe().await?;
        let [low, high] = DIVISOR.to_le_bytes();
        let fifos = FCR_ENABLE_FIFO | FCR_CLEAR_RCVR | FCR_CLEAR_XMIT | FCR_TRIGGER_14;
        for (register, value) in [(LCR, LCR_DLAB), (DLL, low), (DLM, high), (LCR, LCR_WLEN8), (FCR, fifos)] {
            self.write(register, value).await?;
        }
        // What the tests left is forgotten.
        for register in [LSR, RX, IIR, MSR] {
            self.read(register).await?;
        }
        self.write(MCR, MCR_DTR | MCR_RTS | MCR_OUT2).await?;
        self.write(IER, IER_RDI | IER_RLSI | IER_MSI).await?;
        self.text = TextReport { chip: "16550A".to_owned(), baud: BAUD, ..std::mem::take(&mut self.text) };
        Ok(())
    }

    /// The same after an error: whoever emulates the function now, it's reset.
    async fn open_again(&mut self) -> Result<(), HostError> {
        self.driven.ready().await?;
        self.driven.reset().await?;
        self.open().await
    }

    /// Sends a line and awaits its echo, by new starts after errors if `recoveries` are left.
    async fn talk(&mut self, line: &[u8], recoveries: &mut u64, console: &mut Console) -> Result<(), HostError> {
        let (mut shown, mut begun) = (0, Ok(()));
        loop {
            let ended = match begun {
                Ok(()) => self.exchange(line, &mut shown, console).await,
                Err(error) => Err(error),
            };
            let Err(error) = ended else { break };
            if *recoveries == 0 || matches!(error, HostError::Console { .. }) {
                return Err(error);
            }
            *recoveries -= 1;
            tracing::warn!(%error, "the function is reset");
            self.report.recoveries.push(error.to_string());
            begun = self.open_again().await;
        }
        self.report.rounds += 1;
        self.text.characters += line.len() as u64;
        self.hash.update(line);
        Ok(())
    }

    /// Sends a line and awaits its echo. What of it came back is shown from `shown` on.
    async fn exchange(&mut self, line: &[u8], shown: &mut usize, console: &mut Console) -> Result<(), HostError> {
        let mut exchange = Exchange { line, sent: 0, received: 0 };
        self.write(IER, IER_RDI | IER_RLSI | IER_MSI | IER_THRI).await?;
        let mut progress = (self.now(), 0);
        while exchange.received < line.len() {
            let done = exchange.sent + exchange.received;
            if done > progress.1 {
                progress = (self.now(), done);
            }
            let cause = if exchange.sent < line.len() { "an empty transmitter" } else { "received characters" };
            let left = (progress.0 + PROGRESS_LIMIT).since(self.now());
            self.driven.interrupt(VECTOR, cause, left).await?;
            self.report.interrupts[usize::from(VECTOR)] += 1;
            let latency = Time::ps(self.rng.range(0, LATENCY.as_ps()));
            self.driven.host.sleep(latency).await;
            self.handle(&mut exchange).await?;
            if let Some(new) = line.get(*shown..exchange.received) {
                console.show(new).map_err(|error| console_failed("the text that came back", &error))?;
                *shown = exchange.received;
            }
        }
        Ok(())
    }

    /// The interrupt handler: goes on until no source is left, so that the next one makes a new interrupt.
    async fn handle(&mut self, exchange: &mut Exchange<'_>) -> Result<(), HostError> {
        for _ in 0..PASSES {
            let source = self.read(IIR).await?;
            match source & !IIR_FIFO_ENABLED {
                IIR_NO_INT => return Ok(()),
                IIR_RLSI => drop(self.status(exchange).await?),
                IIR_RDI => self.receive(TRIGGER, exchange).await?,
                IIR_RX_TIMEOUT => self.receive(1, exchange).await?,
                IIR_THRI => self.transmit(exchange).await?,
                IIR_MSI => drop(self.read(MSR).await?),
                _ => return Err(HostError::InterruptSource { found: source }),
            }
        }
        Err(HostError::InterruptStuck { passes: PASSES })
    }

    /// Reads LSR, which must show no error.
    async fn status(&mut self, exchange: &Exchange<'_>) -> Result<u8, HostError> {
        let status = self.read(LSR).await?;
        if status & LSR_BRK_ERROR_BITS == 0 {
            return Ok(status);
        }
        Err(HostError::LineStatus { position: self.position(exchange), status })
    }

    fn position(&self, exchange: &Exchange<'_>) -> u64 {
        self.text.characters + exchange.received as u64
    }

    /// Reads the characters that are there: at least `sure` of them.
    async fn receive(&mut self, mut sure: usize, exchange: &mut Exchange<'_>) -> Result<(), HostError> {
        while self.status(exchange).await? & LSR_DR != 0 {
            // LSR shows the errors of all characters that are there, so these needn't be looked at one by one.
            for _ in 0..sure {
                let found = self.read(RX).await?;
                let position = self.position(exchange);
                match exchange.line[..exchange.sent].get(exchange.received) {
                    Some(&expected) if expected == found => exchange.received += 1,
                    Some(&expected) => return Err(HostError::WrongByte { position, expected, found }),
                    None => return Err(HostError::StrayByte { position, found }),
                }
            }
            sure = 1;
        }
        Ok(())
    }

    /// Fills the transmit FIFO, which is empty. When nothing is left to send, its interrupt is switched off.
    async fn transmit(&mut self, exchange: &mut Exchange<'_>) -> Result<(), HostError> {
        let rest = &exchange.line[exchange.sent..];
        let burst = &rest[..rest.len().min(FIFO)];
        for &byte in burst {
            self.write(TX, byte).await?;
        }
        exchange.sent += burst.len();
        if exchange.sent == exchange.line.len() {
            self.write(IER, IER_RDI | IER_RLSI | IER_MSI).await?;
        }
        Ok(())
    }
}

/// What an error says was done, by register.
const READING: [&str; 8] = [
    "reading RBR",
    "reading IER",
    "reading IIR",
    "reading LCR",
    "reading MCR",
    "reading LSR",
    "reading MSR",
    "reading SCR",
];
const WRITING: [&str; 8] = [
    "writing THR",
    "writing IER",
    "writing FCR",
    "writing LCR",
    "writing MCR",
    "writing LSR",
    "writing MSR",
    "writing SCR",
];
