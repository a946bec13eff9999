//! A run: the machine of a profile, the emulation program on the DPU's side of it, the host program on the other.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mlx5_twin_fw_cmds::cap::{CapMode, CapType};
use mlx5_twin_model::profile::Profile;
use mlx5_twin_model::{BuildError, Dpu, Machine};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::fabric::{Fabric, Faults, NodeId};
use mlx5_twin_sim::host::{AddressMap, Settings};

use crate::backend;
use crate::backend::sim::{Options, SimDevice};
use crate::capture::{CaptureError, LinkName, Maybe, Recorder, Shared, Statistics, Tee};
use crate::channel::inject;
use crate::devices::{Console, Device, HostError, HostReport, HostSettings, Summary};
use crate::emulation::{self, Serving};
use crate::faults::Record;
use crate::profile::Loaded;
use crate::report::{CaptureFile, OtherHost, ProfileId, Report, link_rows, tlp_rows};

/// What is to be run.
#[derive(Debug)]
pub struct Plan {
    /// The device.
    pub device: &'static Device,
    /// The profile.
    pub profile: Loaded,
    /// The seed.
    pub seed: u64,
    /// What the emulation program serves.
    pub serving: Serving,
    /// Where text comes from and goes to, for devices that have any.
    pub console: Console,
    /// How many rounds the host program goes: see [`HostSettings::rounds`].
    pub rounds: Option<u64>,
    /// How many errors it may answer by a reset: see [`HostSettings::recoveries`].
    pub recoveries: u64,
    /// What the emulation program does wrong.
    pub mistakes: Option<Arc<inject::Plan>>,
    /// Where TLPs are recorded.
    pub capture: Option<(PathBuf, Recorder<File>)>,
    /// Where the faults are recorded that the profile has happen on the fabric.
    pub faults: Record,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The profile gives no machine.
    #[error("the profile gives no machine: {0}")]
    Build(#[from] BuildError),
    /// The device couldn't be brought up, opened or shut down.
    #[error("the device: {0}")]
    Backend(#[from] backend::Error),
    /// The emulation program failed.
    #[error("the emulation program failed: {0}")]
    Emulation(#[from] emulation::Error),
    /// The host program failed.
    #[error("the host program failed: {0}")]
    Host(#[from] HostError),
    /// Nothing can happen any more, and the host program hasn't ended.
    #[error("the host program waits for something that will never happen")]
    HostWaits,
    /// The emulation program made mistakes on purpose: what came of them, in words.
    #[error("{0}")]
    Mistakes(String),
    /// The capture couldn't be written.
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

/// Runs the device on the backend `sim`: until the host program has ended and nothing can happen any more.
///
/// # Errors
/// What failed. What was captured until then is in the capture.
pub fn run(plan: Plan) -> Result<Report, RunError> {
    let begin = Instant::now();
    let Plan { device, profile, seed, serving, console, rounds, recoveries, mistakes, capture, faults } = plan;
    let (path, recorder) = capture.unzip();
    let mut machine = Machine::build(&profile.profile, seed)?;
    let names: Vec<_> = machine.links.iter().map(|(upper, lower)| LinkName::new(upper, lower)).collect();
    let roots = machine.other_roots.clone();
    let probe = Shared::new(Tee(Statistics::default(), Maybe(recorder)));
    machine.simulation.fabric_mut().set_probe(Some(Box::new(probe.clone())));
    let by_rule = machine.simulation.fabric_mut().witness_faults(faults.witness());

    let enumeration = Settings {
        map: AddressMap::default(),
        max_payload: profile.profile.topology.max_payload,
        max_read_request: profile.profile.topology.max_read_request,
    };
    let settings = HostSettings { rounds, recoveries, console, ..HostSettings::new(enumeration, seed) };
    let mut seen = Faults::default();
    let ran = programs(machine, &profile.profile, (device, &serving, settings), mistakes.as_ref(), &mut seen);
    let Tee(statistics, Maybe(recorder)) = probe.take().unwrap_or_default();
    let written = recorder.map(Recorder::finish).transpose();
    let Ran { played, end } = match (ran, &mistakes) {
        (Err(error), Some(plan)) => return Err(RunError::Mistakes(tell(plan, seen, Some(&error)))),
        (ran, _) => ran?,
    };
    let written = written?.zip(path);
    let Played { host, other_hosts, emulation } = played;
    let named = |(root, report)| OtherHost { root: root_name(&roots, root), report };
    let other_hosts = other_hosts.into_iter().map(named).collect();
    Ok(Report {
        device: device.name.to_owned(),
        backend: "sim".to_owned(),
        profile: ProfileId { name: profile.name, hash: format!("{:016x}", profile.hash) },
        seed,
        host,
        other_hosts,
        emulation,
        tlps: tlp_rows(&statistics),
        links: link_rows(&statistics, &names),
        faults: seen.into(),
        mistakes: mistakes.map(|plan| tell(&plan, seen, None)),
        fired: by_rule.then(|| faults.counts()),
        simulated_ps: end.as_ps(),
        real_ns: u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX),
        capture: written.map(|((_, summary), path)| CaptureFile {
            path: path.display().to_string(),
            packets: summary.packets,
            bytes: summary.bytes,
        }),
    })
}

/// What a root complex is called.
fn root_name(others: &[(String, NodeId)], root: NodeId) -> String {
    let found = others.iter().find(|(_, node)| *node == root);
    found.map_or_else(|| "host".to_owned(), |(name, _)| name.clone())
}

/// What the programs left behind.
struct Ran {
    played: Played,
    end: Time,
}

/// Brings the device up and runs both programs to their ends. `seen` is what went wrong on the fabric, whatever comes of it.
fn programs(
    machine: Machine,
    profile: &Profile,
    (device, serving, settings): (&Device, &Serving, HostSettings),
    mistakes: Option<&Arc<inject::Plan>>,
    seen: &mut Faults,
) -> Result<Ran, RunError> {
    let sim = SimDevice::with_machine(machine, profile, Options::default())?;
    tracing::info!(at = %sim.now(), "the device is up");
    let both = || play(&sim, device, serving, settings);
    let played = match mistakes {
        Some(plan) => inject::while_running(plan, both),
        None => both(),
    };
    let ran = played.and_then(|played| {
        sim.shut_down()?;
        Ok(Ran { played, end: sim.now() })
    });
    *seen = sim.with_simulation(|simulation| simulation.fabric().faults());
    ran
}

/// What the programs of a device have done.
#[derive(Clone, Debug)]
pub struct Played {
    /// What the host program did on the root complex above the first function that was served.
    pub host: HostReport,
    /// What it did on further root complexes above functions that were served, in the order of the functions.
    pub other_hosts: Vec<(NodeId, HostReport)>,
    /// What the emulation program did.
    pub emulation: Summary,
}

type Ended = Arc<Mutex<Option<Result<HostReport, HostError>>>>;

/// Runs the programs of a device against each other, on a machine whose device is up: until nothing can happen any more. There's a host program on each root
/// complex above functions that are served; the first one has the text, and each has a seed of its own.
///
/// # Errors
/// [`RunError::Backend`], [`RunError::Emulation`], [`RunError::Host`], [`RunError::HostWaits`].
pub fn play(sim: &SimDevice, device: &Device, serving: &Serving, settings: HostSettings) -> Result<Played, RunError> {
    let mut roots: Vec<NodeId> = Vec::new();
    for root in serving.ports.iter().filter_map(|&port| sim.root_of(port)) {
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    let HostSettings { enumeration, seed, rounds, recoveries, .. } = settings;
    let more = (1..).map(|number| HostSettings {
        rounds,
        recoveries,
        ..HostSettings::new(enumeration, seed.wrapping_add(number))
    });
    let settings = std::iter::once(settings).chain(more);
    let ended: Vec<(NodeId, Ended)> = roots.into_iter().map(|root| (root, Ended::default())).collect();
    for ((root, ended), settings) in ended.iter().zip(settings) {
        start_host(sim, device, serving.ports.len(), (*root, settings), Arc::clone(ended));
    }
    let emulation = (device.emulate)(sim.open()?, serving)?;
    let mut hosts = Vec::new();
    for (root, ended) in ended {
        let report = ended.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(RunError::HostWaits)??;
        hosts.push((root, report));
    }
    let mut hosts = hosts.into_iter();
    let (_, host) = hosts.next().ok_or(RunError::HostWaits)?;
    Ok(Played { host, other_hosts: hosts.collect(), emulation })
}

/// Switches a host on when so many functions are there, as where software outside of the simulation emulates them.
fn start_host(
    sim: &SimDevice,
    device: &Device,
    functions: usize,
    (root, settings): (NodeId, HostSettings),
    place: Ended,
) {
    let node = sim.device_node();
    let claimed = move |fabric: &mut Fabric| {
        fabric.device(node, |dpu: &mut Dpu, _| dpu.emulation().claimed()).is_some_and(|claimed| claimed >= functions)
    };
    sim.with_simulation(|simulation| {
        let program = (device.host)(simulation.host(root), settings);
        simulation.spawn_when(claimed, async move {
            let result = program.await;
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        });
    });
}

/// What came of mistakes, in words: how often they were made, what the device counted, what the host saw.
fn tell(plan: &inject::Plan, seen: Faults, failed: Option<&RunError>) -> String {
    let mut host = Vec::new();
    for (count, what) in [
        (seen.completion_timeout, "completion timeouts"),
        (seen.unexpected_completion, "unexpected completions"),
        (seen.malformed, "malformed TLPs"),
    ] {
        if count > 0 {
            host.push(format!("{what} {count}"));
        }
    }
    host.extend(failed.map(ToString::to_string));
    format!("{}; the host saw: {}", tell_software(plan), or_nothing(&host))
}

/// What software knows of the mistakes that it made, in words: how often they were made, what the device counted.
pub(crate) fn tell_software(plan: &inject::Plan) -> String {
    let outcome = plan.outcome();
    let injected = plan.injections().iter().zip(&outcome.made).map(|(injection, made)| match made {
        0 => format!("{injection} was never made: it didn't come to that"),
        1 => format!("{injection} was made once"),
        count => format!("{injection} was made {count} times"),
    });
    let injected: Vec<_> = injected.collect();
    let counted: Vec<_> = outcome.faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
    format!("{}; the device counted: {}", injected.join("; "), or_nothing(&counted))
}

fn or_nothing(list: &[String]) -> String {
    if list.is_empty() { "nothing".to_owned() } else { list.join(", ") }
}

/// The names of the links of a profile's machine, by number.
///
/// # Errors
/// The profile gives no machine.
pub fn link_names(profile: &Profile) -> Result<Vec<LinkName>, BuildError> {
    let machine = Machine::build(profile, 0)?;
    Ok(machine.links.into_iter().map(|(upper, lower)| LinkName { upper, lower }).collect())
}

/// The capability pages that the device of a profile answers with: type, and the largest values.
///
/// # Errors
/// The profile gives no machine.
pub fn capability_pages(profile: &Profile) -> Result<Vec<(CapType, Vec<u8>)>, BuildError> {
    let pages = |dpu: &Dpu| {
        let all = dpu.firmware().capabilities();
        all.types().filter_map(|cap_type| Some((cap_type, all.page(cap_type, CapMode::Max)?.to_vec()))).collect()
    };
    Ok(Machine::build(profile, 0)?.with_device(pages).unwrap_or_default())
}
