//! What software is told of a function beside its TLPs: resets by the link, and hot-plug states that it didn't ask for.

use std::collections::VecDeque;

use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::tlp_message;
use mlx5_twin_fw_cmds::twin_v1::{HotplugState, message};

/// Something to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announcement {
    /// PERST# asserted: the link went down.
    Asserted,
    /// PERST# deasserted: the link is up.
    Deasserted,
    /// The function at a hot-plug port is in this state now.
    Hotplug(HotplugState),
}

impl Announcement {
    /// The fields of its message.
    pub(super) fn fields(self) -> [(Field, u64); 2] {
        let (kind, event) = match self {
            Announcement::Asserted => (message::PCI_EVENT, message::PERST_ASSERTED),
            Announcement::Deasserted => (message::PCI_EVENT, message::PERST_DEASSERTED),
            Announcement::Hotplug(state) => (message::HOTPLUG_STATE, state as u32),
        };
        [(tlp_message::KIND, u64::from(kind)), (tlp_message::EVENT, u64::from(event))]
    }
}

/// Announcements that wait for a slot of the ring, oldest first: never more than three. A link that goes down before software has heard that it
/// came up never was up for it; of hot-plug states only the last one is left.
#[derive(Clone, Debug, Default)]
pub(super) struct Announcements(VecDeque<Announcement>);

impl Announcements {
    /// Adds one.
    pub(super) fn push(&mut self, announcement: Announcement) {
        let before = self.0.len();
        self.0.retain(|waiting| match announcement {
            Announcement::Asserted => *waiting != Announcement::Deasserted,
            Announcement::Deasserted => true,
            Announcement::Hotplug(_) => !matches!(waiting, Announcement::Hotplug(_)),
        });
        // What software hasn't heard to be over needn't be told to have begun again.
        let never_over = announcement == Announcement::Asserted && self.0.len() < before;
        if !never_over {
            self.0.push_back(announcement);
        }
    }

    /// These were told to somebody who went before he had freed them: they come before what waits.
    pub(super) fn put_back(&mut self, unheard: impl IntoIterator<Item = Announcement>) {
        let waiting = std::mem::take(&mut self.0);
        for announcement in unheard.into_iter().chain(waiting) {
            self.push(announcement);
        }
    }

    /// The next one to be told.
    pub(super) fn pop(&mut self) -> Option<Announcement> {
        self.0.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Link,
        Hotplug(HotplugState),
        Pop,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Link),
            prop::sample::select(HotplugState::ALL.to_vec()).prop_map(Step::Hotplug),
            Just(Step::Pop)
        ]
    }

    proptest! {
        /// However late software listens: it hears of down and up in turn, and in the end it knows what is.
        #[test]
        fn software_ends_up_with_the_truth(steps in prop::collection::vec(step(), 0..60)) {
            let mut announcements = Announcements::default();
            let (mut up, mut state) = (true, None);
            let (mut heard_up, mut heard_state) = (true, None);
            let hear = |announcement: Option<Announcement>, up: &mut bool, state: &mut Option<HotplugState>| {
                match announcement {
                    Some(Announcement::Asserted) => assert!(std::mem::replace(up, false), "down twice"),
                    Some(Announcement::Deasserted) => assert!(!std::mem::replace(up, true), "up twice"),
                    Some(Announcement::Hotplug(new)) => *state = Some(new),
                    None => {}
                }
                announcement.is_some()
            };
            for step in steps {
                match step {
                    Step::Link => {
                        up = !up;
                        announcements.push(if up { Announcement::Deasserted } else { Announcement::Asserted });
                    }
                    Step::Hotplug(new) => {
                        state = Some(new);
                        announcements.push(Announcement::Hotplug(new));
                    }
                    Step::Pop => {
                        hear(announcements.pop(), &mut heard_up, &mut heard_state);
                    }
                }
                prop_assert!(announcements.0.len() <= 3, "{announcements:?}");
            }
            while hear(announcements.pop(), &mut heard_up, &mut heard_state) {}
            prop_assert_eq!((heard_up, heard_state), (up, state));
        }
    }
}
