//! Faults by rule in a replay: which happen again, and which are in the capture already.

use mlx5_twin_model::Machine;
use mlx5_twin_sim::fabric::rules::{Action, LinkRef, Rule};
use mlx5_twin_sim::probe::{Direction, LinkId};

use super::tape::lane_of;

/// The rules of a run, for its replay.
#[derive(Debug)]
pub(super) struct Faults {
    /// Those that happen again, on what is sent anew.
    pub(super) again: Vec<Rule>,
    /// By lane: whether what's played there may have met others.
    pub(super) met: Vec<bool>,
}

impl Faults {
    /// What `rules` mean for a replay on `machine`; `played` says by lane what is played.
    pub(super) fn new(rules: Vec<Rule>, machine: &Machine, played: &[bool]) -> Faults {
        let (again, done): (Vec<Rule>, Vec<Rule>) =
            rules.into_iter().partition(|rule| happens_again(rule, machine, played));
        let meets = |lane: usize| done.iter().any(|rule| is_about(rule, machine, lane));
        let met = played.iter().enumerate().map(|(lane, &played)| played && meets(lane)).collect();
        Faults { again, met }
    }
}

/// The link that a rule names. `None` if it names none, or one that isn't there.
fn link_of(rule: &Rule, machine: &Machine) -> Option<LinkId> {
    match rule.link.as_ref()? {
        LinkRef::Number(number) => Some(LinkId(*number)),
        LinkRef::Name(name) => machine.link_of(name),
    }
}

/// Whether a fault is to happen again. A rule that doesn't say on which lane is about those too that are played, and left out; only a link that goes
/// down has no direction.
fn happens_again(rule: &Rule, machine: &Machine, played: &[bool]) -> bool {
    match (link_of(rule, machine), rule.direction) {
        (Some(link), Some(direction)) => played.get(lane_of(link, direction)) == Some(&false),
        (Some(_), None) => matches!(rule.action, Action::LinkDown { .. }),
        (None, _) => false,
    }
}

/// Whether a rule may be about what is sent on a lane.
fn is_about(rule: &Rule, machine: &Machine, lane: usize) -> bool {
    let [down, up] = [Direction::Downstream, Direction::Upstream];
    let direction = if lane.is_multiple_of(2) { down } else { up };
    let link = rule.link.is_none() || link_of(rule, machine).is_some_and(|link| lane_of(link, direction) == lane);
    link && rule.direction.is_none_or(|named| named == direction)
}
