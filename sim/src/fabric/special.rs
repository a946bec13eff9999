//! Ports that have more than the plain path: what they send and what they get back passes by here. A port without any of it never comes here, so
//! that what is off costs nothing.

use super::arena::TlpId;
use super::channels::Channels;
use super::core::{Core, PortId};

/// What a port has beyond the plain path.
#[derive(Debug, Default)]
pub(crate) struct Special {
    /// Virtual channels.
    pub(super) channels: Option<Channels>,
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

    /// Sends a TLP from a port that has more than the plain path, without a look at fault rules.
    pub(super) fn send_past_rules(&mut self, port: PortId, tlp: TlpId) {
        let special = self.transmitters[usize::from(port.0)].special();
        if special.is_some_and(|special| special.channels.is_some()) {
            return self.send_by_channel(port, tlp);
        }
        self.send_in_turn(port, tlp);
    }
}
