//! Ports that have more than the plain path: what they send and what they get back passes by here. A port without any of it never comes here, so
//! that what is off costs nothing.

use super::arena::TlpId;
use super::core::{Core, PortId};

/// What a port has beyond the plain path.
#[derive(Debug, Default)]
pub(crate) struct Special {}

impl Core {
    /// Sends a TLP from a port that has more than the plain path.
    #[cold]
    pub(super) fn send_specially(&mut self, port: PortId, tlp: TlpId) {
        self.send_in_turn(port, tlp);
    }
}
