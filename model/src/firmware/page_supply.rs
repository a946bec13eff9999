//! Pages while the function runs: when more are needed, who waits for them, and what is offered back.
//!
//! With more objects alive the firmware needs more of the driver's pages, as `[pages]` of the profile says (ours: what a real
//! device stores where is not public). It asks by an event; a command that makes an object waits until the driver has given
//! them, and fails if the driver can't. When objects are gone, pages that are no longer needed are offered back by an event. The
//! model keeps the pages' books only: it stores nothing in them.

use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::layout::cmd_hca_cap;

use super::dispatch::{Answer, Command};
use super::syndrome::Failure;
use super::{Executed, Firmware, State};

/// Whether a command has to wait for pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageNeed {
    /// It can be carried out.
    None,
    /// It waits for pages that have been asked for.
    Wait,
    /// It waits; an event has to ask for so many pages first.
    Ask(u32),
}

impl Firmware {
    /// Pages the firmware needs before INIT_HCA.
    pub(super) fn startup_pages(&self) -> usize {
        let wanted = self.profile.pages;
        usize::try_from(i64::from(wanted.boot) + i64::from(wanted.init)).unwrap_or(0)
    }

    /// Pages the firmware needs in all with so many objects alive.
    fn pages_for(&self, objects: usize) -> usize {
        let wanted = self.profile.pages;
        let groups = objects.div_ceil((wanted.runtime_objects as usize).max(1));
        self.startup_pages().saturating_add(groups.saturating_mul(wanted.runtime as usize))
    }

    /// Pages the driver may give now, those it has given already included.
    pub(super) fn pages_wanted(&self) -> usize {
        let pages = &self.resources.pages;
        self.startup_pages().max(pages.given() + pages.asked())
    }

    /// Pages that the firmware can give back now.
    pub(super) fn pages_spare(&self) -> usize {
        let given = self.resources.pages.given();
        match self.state {
            State::Initialised => given.saturating_sub(self.pages_for(self.resources.alive())),
            State::Disabled | State::Enabled | State::TornDown => given,
        }
    }

    /// Whether pages are asked for by events: the profile says so, and some event queue listens. Without one the firmware does
    /// with what it has.
    fn asks_for_pages(&self) -> bool {
        self.profile.pages.runtime > 0
            && self.state == State::Initialised
            && self.capabilities.general(cmd_hca_cap::PAGE_REQUEST_DISABLE) == 0
            && self.resources.eqs_for_event(EventType::PAGE_REQUEST).next().is_some()
    }

    /// Whether a command, about to be carried out, has to wait for pages. One that would be refused anyhow, or that makes no
    /// object, does not. After [`PageNeed::Ask`] the pages count as asked for.
    pub fn page_need(&mut self, input: &[u8]) -> PageNeed {
        if !self.asks_for_pages() {
            return PageNeed::None;
        }
        let command = Command::new(input);
        if !makes_object(&command) || self.judge(&command).is_err() {
            return PageNeed::None;
        }
        let needed = self.pages_for(self.resources.alive() + 1);
        let pages = &mut self.resources.pages;
        match needed.checked_sub(pages.given()) {
            None | Some(0) => PageNeed::None,
            Some(_) if pages.asked() > 0 => PageNeed::Wait,
            Some(missing) => {
                pages.ask(missing);
                PageNeed::Ask(u32::try_from(missing).unwrap_or(u32::MAX))
            }
        }
    }

    /// How many pages an event has to offer back now, if any: those that are not needed, but for `[pages] runtime` of them, so
    /// that an object that comes and goes does not move pages each time. They count as offered then.
    pub fn page_offer(&mut self) -> Option<u32> {
        if !self.asks_for_pages() || self.resources.pages.offered() > 0 {
            return None;
        }
        let offer = self.pages_spare().checked_sub(self.profile.pages.runtime as usize).filter(|offer| *offer > 0)?;
        self.resources.pages.offer(offer);
        u32::try_from(offer).ok()
    }

    /// Answers a command with a failure, without looking at it: one that has waited in vain.
    pub fn refuse(&mut self, input: &[u8], output: &mut [u8], failure: Failure) -> Executed {
        let command = Command::new(input);
        let mut answer = Answer::new(output);
        answer.finish(failure.status, failure.syndrome);
        Executed::new(&command, Err(failure))
    }
}

/// Whether a command makes an object: by its name, CREATE or ALLOC.
fn makes_object(command: &Command<'_>) -> bool {
    let name = command.opcode().name().unwrap_or_default();
    name.starts_with("CREATE_") || name.starts_with("ALLOC_")
}
