//! The host program of `scratch`: enumerates the bus, sets the function up as a driver does, and exercises its registers.
//!
//! What it does in which order, with which values and pauses, is drawn from a seed. It keeps its own account of what each register
//! must hold, and compares every value that it reads.
//!
//! Any error ends the exercise of its function, unless the settings allow recoveries: then the host waits until the function is ready (it isn't while nobody
//! emulates it), resets it (function-level reset), sets it up again, and goes on with its rounds.

use mlx5_twin_sim::host::Host;
use mlx5_twin_sim::rng::Rng;
use mlx5_twin_sim::time::Time;

use super::super::setup::{Driven, access_failed, side_by_side};
use super::super::{HostError, HostReport, HostSettings};
use super::{
    COUNTER, COUNTER_VECTOR, DEVICE, FIRST_LIMIT, IDENTITY, LIMIT, MAGIC, SCRATCH, TRIGGER, TRIGGER_VECTOR, VENDOR,
};

/// How many rounds a seed chooses from.
const ROUNDS: std::ops::RangeInclusive<u64> = 24..=40;
/// The longest pause between two rounds.
const PAUSE: Time = Time::us(5);
/// How long an interrupt may take.
const INTERRUPT_LIMIT: Time = Time::ms(1);
const VECTORS: u16 = 2;

/// What the registers must hold, by the host's own account.
#[derive(Debug)]
struct Expected {
    scratch: [u8; 4],
    counter: u32,
    limit: u32,
    triggered: u32,
}

impl Default for Expected {
    /// As after a reset.
    fn default() -> Expected {
        Expected { scratch: [0; 4], counter: 0, limit: FIRST_LIMIT, triggered: 0 }
    }
}

#[derive(Debug)]
struct Program {
    driven: Driven,
    bar: u64,
    rng: Rng,
    expected: Expected,
    report: HostReport,
}

/// Runs the program: on all functions of this kind, side by side.
///
/// # Errors
/// The bus can't be enumerated, the function isn't there or lacks something, an access fails, or an interrupt doesn't come. Of several functions this ends
/// the exercise of one, and is in the report, as long as another one's ends well.
/// Values that aren't as expected are no errors: they're in the report.
pub async fn run(host: Host, settings: HostSettings) -> Result<HostReport, HostError> {
    let (driven, mut report) = Driven::find_all(host, settings.enumeration, (VENDOR, DEVICE), VECTORS).await?;
    let ids: Vec<_> = driven.iter().map(Driven::id).collect();
    let programs = (0_u64..).zip(driven).map(|(number, driven)| {
        let name = if number == 0 { "scratch host".to_owned() } else { format!("scratch host {number}") };
        exercise(driven, Rng::stream(settings.seed, &name), settings.rounds, settings.recoveries)
    });
    let (mut first_error, mut ended_well) = (None, false);
    for (id, ended) in ids.into_iter().zip(side_by_side(programs.collect()).await) {
        match ended {
            Ok(exercised) => {
                ended_well = true;
                report.add(exercised);
            }
            Err(error) => {
                report.lost.push(format!("{id}: {error}"));
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if !ended_well => Err(error),
        _ => Ok(report),
    }
}

/// Exercises one function.
async fn exercise(
    driven: Driven,
    mut rng: Rng,
    rounds: Option<u64>,
    mut recoveries: u64,
) -> Result<HostReport, HostError> {
    let rounds = rounds.unwrap_or_else(|| rng.range(*ROUNDS.start(), *ROUNDS.end()));
    let report = HostReport { interrupts: vec![0; usize::from(VECTORS)], ..HostReport::default() };
    let mut program = Program { driven, bar: 0, rng, expected: Expected::default(), report };
    let mut begun = program.begin().await;
    loop {
        let ended = match begun {
            Ok(()) => program.rounds(rounds).await,
            Err(error) => Err(error),
        };
        let Err(error) = ended else { break };
        if recoveries == 0 {
            return Err(error);
        }
        recoveries -= 1;
        tracing::warn!(id = %program.driven.id(), %error, "the function is reset");
        program.report.recoveries.push(format!("{}: {error}", program.driven.id()));
        begun = program.begin_again().await;
    }
    program.report.finished_ps = program.driven.host.now().as_ps();
    Ok(program.report)
}

impl Program {
    /// Sets the function up, and looks whether it's the right one, as after a reset.
    async fn begin(&mut self) -> Result<(), HostError> {
        self.bar = self.driven.configure().await?;
        if self.report.configured_ps == 0 {
            self.report.configured_ps = self.driven.host.now().as_ps();
        }
        self.expected = Expected::default();
        self.read("identity", IDENTITY, 4, u64::from(MAGIC)).await?;
        self.all_registers().await
    }

    /// The same after an error: whoever emulates the function now, it's reset.
    async fn begin_again(&mut self) -> Result<(), HostError> {
        self.driven.ready().await?;
        self.driven.reset().await?;
        self.begin().await
    }

    /// The rounds that are left.
    async fn rounds(&mut self, rounds: u64) -> Result<(), HostError> {
        while self.report.rounds < rounds {
            self.round().await?;
            self.report.rounds += 1;
        }
        self.all_registers().await
    }

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
            self.driven.host.sleep(pause).await;
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
        let data = self.driven.host.read(self.bar, 24).await.map_err(access_failed("reading all registers"))?;
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
        self.driven.host.write(self.bar + offset, bytes).await.map_err(access_failed(what))?;
        self.report.writes += 1;
        Ok(())
    }

    async fn read(&mut self, what: &'static str, offset: u64, len: usize, expected: u64) -> Result<(), HostError> {
        let found = self.driven.host.read(self.bar + offset, len as u8).await.map_err(access_failed(what))?;
        self.report.reads += 1;
        self.report.compare(|| format!("{what}, {len} bytes at {offset:#x}"), expected, found.to_u64());
        Ok(())
    }

    async fn interrupt(&mut self, vector: u16, cause: &'static str) -> Result<(), HostError> {
        self.driven.interrupt(vector, cause, INTERRUPT_LIMIT).await?;
        if let Some(count) = self.report.interrupts.get_mut(usize::from(vector)) {
            *count += 1;
        }
        Ok(())
    }
}
