//! The host program of `scratch`: enumerates the bus, sets the function up as a driver does, and exercises its registers.
//!
//! What it does in which order, with which values and pauses, is drawn from a seed. It keeps its own account of what each register
//! must hold, and compares every value that it reads.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use mlx5_twin_sim::host::{AccessError, Found, Host, enumerate};
use mlx5_twin_sim::rng::Rng;
use mlx5_twin_sim::time::Time;

use super::super::{FoundFunction, HostError, HostReport, HostSettings};
use super::{
    COUNTER, COUNTER_VECTOR, DEVICE, FIRST_LIMIT, IDENTITY, LIMIT, MAGIC, SCRATCH, TRIGGER, TRIGGER_VECTOR, VENDOR,
};

/// How many rounds a seed chooses from.
const ROUNDS: std::ops::RangeInclusive<u64> = 24..=40;
/// The longest pause between two rounds.
const PAUSE: Time = Time::us(5);
/// How long an interrupt may take.
const INTERRUPT_LIMIT: Time = Time::ms(1);
/// The MSI-X capability.
const MSIX: u8 = 0x11;
/// Where the vectors' messages go: the local APIC's range, as x86 has it. The data is a number of the host's choice.
const MESSAGE_ADDRESS: u64 = 0xfee0_0000;
const FIRST_MESSAGE: u32 = 0x40;
const VECTORS: u32 = 2;

/// What the registers must hold, by the host's own account.
#[derive(Debug)]
struct Expected {
    scratch: [u8; 4],
    counter: u32,
    limit: u32,
    triggered: u32,
}

#[derive(Debug)]
struct Program {
    host: Host,
    bar: u64,
    rng: Rng,
    expected: Expected,
    report: HostReport,
}

/// Runs the program.
///
/// # Errors
/// The bus can't be enumerated, the function isn't there or lacks something, an access fails, or an interrupt doesn't come.
/// Values that aren't as expected are no errors: they're in the report.
pub async fn run(host: Host, settings: HostSettings) -> Result<HostReport, HostError> {
    let mut rng = Rng::stream(settings.seed, "scratch host");
    let rounds = settings.rounds.unwrap_or_else(|| rng.range(*ROUNDS.start(), *ROUNDS.end()));
    let functions = enumerate(&host, settings.enumeration).await?;
    let ours = |found: &Found| (found.vendor, found.device) == (VENDOR, DEVICE);
    let Some(number) = functions.iter().position(ours) else {
        return Err(HostError::NotFound { vendor: VENDOR, device: DEVICE, found: functions.len() });
    };
    let bar = configure(&host, &functions[number]).await?;
    let report = HostReport {
        functions: functions.iter().map(FoundFunction::from).collect(),
        function: number,
        rounds,
        interrupts: vec![0; VECTORS as usize],
        configured_ps: host.now().as_ps(),
        ..HostReport::default()
    };
    let expected = Expected { scratch: [0; 4], counter: 0, limit: FIRST_LIMIT, triggered: 0 };
    let mut program = Program { host, bar, rng, expected, report };
    program.read("identity", IDENTITY, 4, u64::from(MAGIC)).await?;
    program.all_registers().await?;
    for _ in 0..rounds {
        program.round().await?;
    }
    program.all_registers().await?;
    program.report.finished_ps = program.host.now().as_ps();
    Ok(program.report)
}

/// Gives the error for a failed access.
fn failed(what: &'static str) -> impl Fn(AccessError) -> HostError {
    move |error| HostError::Access { what, error }
}

/// Sets bus mastering, the MSI-X table and MSI-X enable. Gives the address of BAR 0.
async fn configure(host: &Host, found: &Found) -> Result<u64, HostError> {
    let id = found.id;
    let missing = |what| HostError::Missing { id: id.to_string(), what };
    let bar = |index: u32| found.bars.iter().find(|bar| u32::from(bar.index) == index).map(|bar| bar.address);
    let registers = bar(0).ok_or_else(|| missing("BAR 0"))?;
    let msix = found.capability(MSIX).ok_or_else(|| missing("MSI-X capability"))? / 4;

    const COMMAND: u16 = 1;
    const MEMORY_AND_BUS_MASTER: u32 = 0b110;
    let command = host.config_read(id, COMMAND).await.map_err(failed("reading Command"))?;
    let command = command & 0xffff | MEMORY_AND_BUS_MASTER;
    host.config_write_bytes(id, COMMAND, 0b0011, command).await.map_err(failed("setting bus master"))?;

    // Message Control in the high half; table offset with the BAR's number in its low three bits.
    let control = host.config_read(id, msix).await.map_err(failed("reading MSI-X Message Control"))?;
    if (control >> 16 & 0x7ff) + 1 < VECTORS {
        return Err(missing("second MSI-X vector"));
    }
    let table = host.config_read(id, msix + 1).await.map_err(failed("reading MSI-X Table Offset"))?;
    let table = bar(table & 7).ok_or_else(|| missing("BAR for the MSI-X table"))? + u64::from(table & !7);
    for vector in 0..VECTORS {
        let entry = table + u64::from(vector) * 16;
        let message = [MESSAGE_ADDRESS as u32, (MESSAGE_ADDRESS >> 32) as u32, FIRST_MESSAGE + vector, 0];
        for (number, dword) in (0_u64..).zip(message) {
            host.write32(entry + number * 4, dword).await.map_err(failed("writing the MSI-X table"))?;
        }
        let data = host.read32(entry + 8).await.map_err(failed("reading the MSI-X table"))?;
        if data != FIRST_MESSAGE + vector {
            return Err(missing("working MSI-X table"));
        }
    }
    let enable = host.config_write_bytes(id, msix, 0b1100, control & 0x3fff_ffff | 1 << 31).await;
    enable.map_err(failed("enabling MSI-X"))?;
    Ok(registers)
}

impl Program {
    /// One thing, then perhaps a pause.
    async fn round(&mut self) -> Result<(), HostError> {
        match self.rng.range(0, 5) {
            0 | 1 => self.scratch().await?,
            2 => self.add().await?,
            3 => self.trigger().await?,
            4 => self.set_limit().await?,
            _ => self.all_registers().await?,
        }
        if self.rng.range(0, 1) == 1 {
            let pause = Time::ps(self.rng.range(0, PAUSE.as_ps()));
            self.host.sleep(pause).await;
        }
        Ok(())
    }

    /// Some bytes of SCRATCH are written, then read in any width.
    async fn scratch(&mut self) -> Result<(), HostError> {
        let (at, len) = self.part();
        let bytes = self.rng.next_u32().to_le_bytes();
        self.expected.scratch[at..at + len].copy_from_slice(&bytes[..len]);
        self.write("writing SCRATCH", SCRATCH + at as u64, &bytes[..len]).await?;
        let (at, len) = self.part();
        let part = &self.expected.scratch[at..at + len];
        let expected = part.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        self.read("reading SCRATCH", SCRATCH + at as u64, len, expected).await
    }

    /// One, two or four naturally aligned bytes of a dword: offset and length.
    fn part(&mut self) -> (usize, usize) {
        let len = 1 << self.rng.range(0, 2);
        let at = self.rng.range(0, 4 / len - 1) * len;
        (at as usize, len as usize)
    }

    /// Adds to the counter; beyond its limit, that's an interrupt.
    async fn add(&mut self) -> Result<(), HostError> {
        let value = self.rng.range(0, u64::from(self.expected.limit)) as u32;
        self.write("adding to COUNTER", COUNTER, &value.to_le_bytes()).await?;
        match self.expected.counter.checked_add(value) {
            Some(sum) if sum <= self.expected.limit => self.expected.counter = sum,
            _ => {
                self.expected.counter = 0;
                self.interrupt(COUNTER_VECTOR, "COUNTER").await?;
            }
        }
        let expected = u64::from(self.expected.counter);
        self.read("reading COUNTER", COUNTER, 4, expected).await
    }

    async fn trigger(&mut self) -> Result<(), HostError> {
        let value = self.rng.next_u32();
        self.write("writing TRIGGER", TRIGGER, &value.to_le_bytes()).await?;
        self.expected.triggered = self.expected.triggered.wrapping_add(1);
        self.interrupt(TRIGGER_VECTOR, "TRIGGER").await?;
        let expected = u64::from(self.expected.triggered);
        self.read("reading TRIGGER", TRIGGER, 4, expected).await
    }

    async fn set_limit(&mut self) -> Result<(), HostError> {
        let limit = self.rng.range(1, 2 * u64::from(FIRST_LIMIT)) as u32;
        self.expected.limit = limit;
        self.write("writing LIMIT", LIMIT, &limit.to_le_bytes()).await?;
        self.read("reading LIMIT", LIMIT, 4, u64::from(limit)).await
    }

    /// All registers in one read.
    async fn all_registers(&mut self) -> Result<(), HostError> {
        let data = self.host.read(self.bar, 24).await.map_err(failed("reading all registers"))?;
        self.report.reads += 1;
        let Expected { scratch, counter, limit, triggered } = self.expected;
        let expected = [MAGIC, u32::from_le_bytes(scratch), counter, limit, triggered, 0];
        let (dwords, _) = data.bytes().as_chunks::<4>();
        for (number, (expected, found)) in expected.into_iter().zip(dwords).enumerate() {
            let found = u32::from_le_bytes(*found);
            self.report.compare(|| format!("register {:#x} of all", number * 4), u64::from(expected), u64::from(found));
        }
        Ok(())
    }

    async fn write(&mut self, what: &'static str, offset: u64, bytes: &[u8]) -> Result<(), HostError> {
        self.host.write(self.bar + offset, bytes).await.map_err(failed(what))?;
        self.report.writes += 1;
        Ok(())
    }

    async fn read(&mut self, what: &'static str, offset: u64, len: usize, expected: u64) -> Result<(), HostError> {
        let found = self.host.read(self.bar + offset, len as u8).await.map_err(failed(what))?;
        self.report.reads += 1;
        self.report.compare(|| format!("{what}, {len} bytes at {offset:#x}"), expected, found.to_u64());
        Ok(())
    }

    async fn interrupt(&mut self, vector: u16, cause: &'static str) -> Result<(), HostError> {
        let came = self.host.interrupt(FIRST_MESSAGE + u32::from(vector));
        if !within(&self.host, INTERRUPT_LIMIT, came).await {
            return Err(HostError::NoInterrupt { vector, cause, within: INTERRUPT_LIMIT });
        }
        if let Some(count) = self.report.interrupts.get_mut(usize::from(vector)) {
            *count += 1;
        }
        Ok(())
    }
}

/// Waits for `event`, but no longer than `limit`: says whether it came.
async fn within(host: &Host, limit: Time, event: impl Future<Output = ()>) -> bool {
    let (mut event, mut end) = (pin!(event), pin!(host.sleep(limit)));
    poll_fn(|context| {
        if event.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        end.as_mut().poll(context).map(|()| false)
    })
    .await
}
