//! What a server has to say at its end: as text for people, and as one JSON object.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_model::device::{Injected, Lives, Tally};
use mlx5_twin_model::firmware::Balance;
use mlx5_twin_sim::Time;
use serde::Serialize;

use super::engine::{Engine, Traffic};
use crate::capture::{Description, Statistics, Summary};
use crate::devices::HostReport;
use crate::faults;
use crate::report::{CaptureFile, FaultCounts, LinkRow, ProfileId, TlpRow, link_rows, tlp_rows, write_errors};

/// All that a server has to say.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The profile.
    pub profile: ProfileId,
    /// The seed.
    pub seed: u64,
    /// Clients that came and went.
    pub clients: u64,
    /// What they asked for.
    pub traffic: Traffic,
    /// Commands by opcode, in rising order.
    pub commands: Vec<CommandRow>,
    /// Commands that Linux's headers name, or nobody does, and that the model hasn't got: answered with BAD_OP.
    pub unknown: Vec<CommandRow>,
    /// How often drivers came and went, and what they left.
    pub lives: LivesReport,
    /// What is alive now, by kind; nothing that isn't.
    pub balance: BTreeMap<&'static str, usize>,
    /// Commands that could not be delivered, stray accesses, full event queues, failed DMA: what the device counted.
    pub device: BTreeMap<&'static str, u64>,
    /// Faults that were made on purpose.
    pub injected: InjectedReport,
    /// What came of the program on the host's side, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostOutcome>,
    /// TLPs that arrived, by type.
    pub tlps: Vec<TlpRow>,
    /// What each link carried.
    pub links: Vec<LinkRow>,
    /// What went wrong on the fabric.
    pub faults: FaultCounts,
    /// The faults that happened on the links by rule, by kind, if there were rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fired: Option<BTreeMap<String, u64>>,
    /// Virtual time, in picoseconds.
    pub simulated_ps: u64,
    /// Real time, in nanoseconds.
    pub real_ns: u64,
    /// CPU time of the server's threads, in nanoseconds; 0 where the system doesn't tell.
    pub cpu_ns: u64,
    /// The capture, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureFile>,
}

/// The commands of one opcode.
#[derive(Clone, Debug, Serialize)]
pub struct CommandRow {
    /// Its name, if it has one.
    pub name: &'static str,
    /// Its number.
    pub opcode: u16,
    /// How many there were.
    pub count: u64,
    /// How many ended without success.
    pub failed: u64,
    /// From doorbell to answer, all together, in picoseconds of virtual time.
    pub time_ps: u64,
}

/// How often drivers came and went.
#[derive(Clone, Debug, Serialize)]
pub struct LivesReport {
    /// INIT_HCA.
    pub begun: u64,
    /// TEARDOWN_HCA.
    pub torn_down: u64,
    /// How many of these, or of DISABLE_HCA, found something left.
    pub unclean: u64,
    /// What the last one of them found.
    pub left: BTreeMap<&'static str, usize>,
    /// Resets of the function.
    pub resets: u64,
}

/// Faults that were made on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InjectedReport {
    /// Those that have happened.
    #[serde(flatten)]
    pub happened: Injected,
    /// How often the card was removed.
    pub removals: u64,
    /// How many there are whose time, or whose command or interrupt, hasn't come.
    pub waiting: usize,
}

/// What came of a program on the host's side.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostOutcome {
    /// It waits for a function that software emulates, or hasn't ended.
    Waiting,
    /// It has ended.
    Ended(Box<HostReport>),
    /// It has failed.
    Failed(String),
}

/// CPU time of the calling thread, in nanoseconds, from the kernel's scheduler statistics. 0 if it doesn't tell.
pub(super) fn cpu_time_ns() -> u64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    statistics.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0)
}

fn alive(balance: &Balance) -> BTreeMap<&'static str, usize> {
    balance.rows().into_iter().filter(|(_, count)| *count > 0).collect()
}

fn row((opcode, tally): (Opcode, Tally)) -> CommandRow {
    let Tally { count, failed, time, .. } = tally;
    CommandRow { name: opcode.name().unwrap_or("-"), opcode: opcode.0, count, failed, time_ps: time.as_ps() }
}

impl Report {
    pub(super) fn new(about: &Description, engine: &mut Engine, statistics: &Statistics, clients: u64) -> Report {
        let look = |dpu: &mut mlx5_twin_model::Dpu| {
            let all: Vec<_> = dpu.tallies().iter().collect();
            (all, dpu.lives(), dpu.firmware().resources().balance(), dpu.counters(), dpu.injected())
        };
        let (tallies, lives, balance, counters, (happened, waiting)) = engine.with_device(look).unwrap_or_default();
        let Lives { begun, torn_down, unclean, left, resets } = lives;
        let unknown = tallies.iter().copied().filter(|(_, tally)| tally.unknown > 0).map(row).collect();
        let host = engine.host.as_ref().map(|host| match host.result() {
            None => HostOutcome::Waiting,
            Some(Ok(report)) => HostOutcome::Ended(Box::new(report)),
            Some(Err(error)) => HostOutcome::Failed(error.to_string()),
        });
        let profile = ProfileId { name: about.profile.clone(), hash: format!("{:016x}", about.profile_hash) };
        Report {
            profile,
            seed: about.seed,
            clients,
            traffic: engine.traffic,
            commands: tallies.into_iter().map(row).collect(),
            unknown,
            lives: LivesReport { begun, torn_down, unclean, left: alive(&left), resets },
            balance: alive(&balance),
            device: [
                ("commands", counters.commands),
                ("delivery_errors", counters.delivery_errors),
                ("busy_doorbells", counters.busy_doorbells),
                ("stray_accesses", counters.stray_accesses),
                ("gateway_unbound", counters.gateway_unbound),
                ("eq_overruns", counters.eq_overruns),
                ("cq_overruns", counters.cq_overruns),
                ("dma_errors", counters.dma_errors),
            ]
            .into(),
            injected: InjectedReport { happened, removals: engine.removals(), waiting: waiting + engine.scheduled() },
            host,
            tlps: tlp_rows(statistics),
            links: link_rows(statistics, &about.links),
            faults: engine.simulation.fabric().faults().into(),
            fired: None,
            simulated_ps: engine.now().as_ps(),
            real_ns: 0,
            cpu_ns: 0,
            capture: None,
        }
    }

    pub(super) fn captured(&mut self, path: Option<&Path>, summary: Summary) {
        let path = path.map(|path| path.display().to_string()).unwrap_or_default();
        self.capture = Some(CaptureFile { path, packets: summary.packets, bytes: summary.bytes });
    }

    /// How many commands there were.
    pub fn command_count(&self) -> u64 {
        self.commands.iter().map(|row| row.count).sum()
    }
}

fn list(counts: &BTreeMap<&'static str, usize>) -> String {
    let rows: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    if rows.is_empty() { "nothing".to_owned() } else { rows.join(", ") }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (total, opcodes) = (self.command_count(), self.commands.len());
        writeln!(f, "Commands  {total} of {opcodes} opcodes")?;
        for row in &self.commands {
            let CommandRow { name, opcode, count, failed, time_ps } = row;
            let mean = Time::ps(time_ps / count.max(&1)).to_string();
            let failed = if *failed > 0 { format!("  {failed} failed") } else { String::new() };
            writeln!(f, "  {opcode:#06x}  {name:<32} {count:>8}  {mean:>12} each{failed}")?;
        }
        for row in &self.unknown {
            writeln!(
                f,
                "  not in the model: {:#06x} {}, answered with BAD_OP {} times",
                row.opcode, row.name, row.count
            )?;
        }
        let lives = &self.lives;
        writeln!(
            f,
            "Drivers   INIT_HCA {}, TEARDOWN_HCA {}, {} of them left something; {} resets",
            lives.begun, lives.torn_down, lives.unclean, lives.resets
        )?;
        if lives.unclean > 0 {
            writeln!(f, "          the last that was left: {}", list(&lives.left))?;
        }
        writeln!(f, "Left      {}", list(&self.balance))?;
        let Traffic { reads, writes, maps, unmaps, interrupts } = self.traffic;
        writeln!(
            f,
            "Client    {reads} reads, {writes} writes, {interrupts} interrupts, {maps} ranges mapped, {unmaps} unmapped"
        )?;
        let counted: Vec<_> = self
            .device
            .iter()
            .filter(|(name, count)| **count > 0 && **name != "commands")
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        if !counted.is_empty() {
            writeln!(f, "Device    {}", counted.join(", "))?;
        }
        if self.injected != InjectedReport::default() {
            let InjectedReport { happened, removals, waiting } = self.injected;
            let Injected { fatal, hangs, internal_errors, lost_interrupts, refused } = happened;
            write!(f, "Faults    {fatal} fatal, {hangs} hangs, {internal_errors} internal errors, ")?;
            writeln!(
                f,
                "{lost_interrupts} lost interrupts, {removals} removals; {waiting} still to come, {refused} refused"
            )?;
        }
        if let Some(fired) = &self.fired {
            writeln!(f, "By rule   {}", faults::in_words(fired))?;
        }
        match &self.host {
            None => {}
            Some(HostOutcome::Waiting) => writeln!(f, "Host      waits")?,
            Some(HostOutcome::Failed(error)) => writeln!(f, "Host      {error}")?,
            Some(HostOutcome::Ended(host)) => {
                writeln!(
                    f,
                    "Host      {} rounds, {} reads, {} writes, {} mismatches",
                    host.rounds, host.reads, host.writes, host.mismatches
                )?;
                write_errors(host, f)?;
            }
        }
        if let Some(CaptureFile { path, packets, bytes }) = &self.capture {
            writeln!(f, "Capture   {packets} TLPs on links, {bytes} bytes: {path}")?;
        }
        let (real, cpu) = (Time::ns(self.real_ns), Time::ns(self.cpu_ns));
        writeln!(f, "Time      {} simulated in {real}, CPU {cpu}", Time::ps(self.simulated_ps))
    }
}
