//! Ports that have more than the plain path: what they send and what they get back passes by here. A port without any of it never comes here, so
//! that what is off costs nothing.

use super::arena::{TlpId, Weight};
use super::channels::Channels;
use super::core::Core;
use super::exact::Exact;
use super::ids::PortId;
use crate::time::Time;

/// What a port has beyond the plain path.
#[derive(Debug, Default)]
pub(crate) struct Special {
    /// Virtual channels.
    pub(super) channels: Option<Channels>,
    /// The port's end of a link whose data link layer is exact.
    pub(super) exact: Option<Box<Exact>>,
}

impl Core {
    /// Sends a TLP from a port that has more than the plain path.
    #[cold]
    pub(super) fn send_specially(&mut self, port: PortId, tlp: TlpId) {
        if self.rules.is_some() {
            return self.send_by_rules(port, tlp);
        }
        self.send_past_rules(port, tlp);
    }

    /// Notes that what a TLP took at the other end of the link of `sender` is freed at `at`. `false`, and nothing is done, if that's as on a
    /// plain link.
    #[cold]
    pub(super) fn freed_specially(&mut self, sender: PortId, weight: Weight, at: Time) -> bool {
        if self.rules.is_some() && self.keeps_credits(sender, weight, at) {
            return true;
        }
        if self.is_exact(sender) {
            self.free_exactly(sender, weight, at);
            return true;
        }
        self.channel_freed(sender, weight, at)
    }

    /// Sends a TLP from a port that has more than the plain path, without a look at fault rules.
    pub(super) fn send_past_rules(&mut self, port: PortId, tlp: TlpId) {
        if self.is_exact(port) {
            return self.send_exactly(port, tlp);
        }
        let special = self.transmitters[usize::from(port.0)].special();
        if special.is_some_and(|special| special.channels.is_some()) {
            return self.send_by_channel(port, tlp);
        }
        self.send_in_turn(port, tlp);
    }
}
