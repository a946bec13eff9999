//! Our own captures: the same TLPs at the same picosecond.
//!
//! The machine is built anew from the profile and the seed, so its links, latencies and switches are those of the run. What root complexes and
//! devices sent is played at their ports; what the switches send is the fabric's own doing, credits and waiting included. Then each TLP on
//! each link, in both directions, is compared with the capture: its bytes, and the picosecond at which its first symbol left.
//!
//! - A capture has the time of a TLP's first symbol, not the time at which the agent handed it to its transmitter. That one decides what comes first
//!   where two TLPs meet. The capture's order of blocks is that of the handing over, so a TLP is handed over in that order, at the earliest
//!   time at which any later block's TLP left.
//! - Root complexes and devices take what reaches them at once, which gives its credits back. The one exception is an emulated function whose
//!   software keeps TLPs waiting: their credits come back when software has taken them, and the capture doesn't say when. With
//!   [`RootComplexes`](super::Agents::RootComplexes) the device's model decides that anew.
//! - Faults by rule happened to what root complexes and devices sent before it was captured, so that it's played as it came of them; where they may have held a
//!   transmitter up, a TLP is handed over when its first symbol left. On what switches send they happen again: for that the profile has the record of a
//!   run's faults, each with its link, direction and number.

mod compare;
mod faults;
mod play;
mod tape;

use std::io::Read;
use std::sync::Arc;

use mlx5_twin_model::Machine;

use self::compare::Comparison;
use self::faults::Faults;
use self::tape::{About, Tape};
use super::report::{Counts, Detail, Exact};
use super::{Options, PROGRESS_STEPS, Progress, ReplayError};
use crate::capture::{Reader, Shared};

pub(super) use self::play::send;

/// Plays a capture of ours.
pub(super) fn replay<R: Read>(
    mut reader: Reader<R>,
    options: &Options<'_>,
    counts: &mut Counts,
) -> Result<Detail, ReplayError> {
    let about = About::parse(reader.comment(), options.profile);
    let about = about.map_err(|reason| ReplayError::At { offset: 0, reason })?;
    let mut profile = options.profile.profile.clone();
    let rules = std::mem::take(&mut profile.faults);
    let mut machine = Machine::build(&profile, about.seed)?;
    let tape = Arc::new(Tape::read(&mut reader, &machine.links, counts, options.progress)?);
    let played = play::played(&machine, options.agents);
    let faults = Faults::new(rules, &machine, &played);
    if !faults.again.is_empty() {
        machine.set_faults(faults.again, about.seed)?;
    }
    let mut play = play::prepare(machine, &tape, options.agents, &faults.met);
    let comparison = Shared::new(Comparison::new(&tape));
    play.simulation.fabric_mut().set_probe(Some(Box::new(comparison.clone())));
    play.begin();
    let mut steps = 0_u64;
    while play.simulation.fabric_mut().step() {
        steps += 1;
        if steps.is_multiple_of(PROGRESS_STEPS)
            && let Some(offset) = play.offset()
        {
            (options.progress)(Progress::Played(offset));
        }
    }
    let comparison = comparison.take().unwrap_or_else(|| Comparison::new(&tape));
    counts.completions_simulated = comparison.completions();
    let simulated_ps = comparison.last().as_ps();
    let (links, first_difference) = comparison.finish(&played);
    let sum = |of: fn(&super::report::LaneRow) -> u64| links.iter().map(of).sum::<u64>();
    Ok(Detail::Exact(Exact {
        device: about.device,
        seed: about.seed,
        made_by: about.version,
        agents: options.agents,
        tlps_equal: sum(|row| row.equal),
        tlps_different: sum(|row| row.recorded.max(row.replayed) - row.equal),
        first_difference,
        links,
        simulated_ps,
    }))
}
