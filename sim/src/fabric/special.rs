//! Ports that have more than the plain path: what they send and what they get back passes by here. A port without any of it never comes here, so
//! that what is off costs nothing.

use super::arena::TlpId;
use super::core::{Core, PortId};
use super::exact::Exact;

/// What a port has beyond the plain path.
#[derive(Debug, Default)]
pub(crate) struct Special {
    /// The port's end of a link whose data link layer is exact.
    pub(super) exact: Option<Box<Exact>>,
}

impl Core {
    /// Sends a TLP from a port that has more than the plain path.
    #[cold]
    pub(super) fn send_specially(&mut self, port: PortId, tlp: TlpId) {
        if self.is_exact(port) {
            return self.send_exactly(port, tlp);
        }
        self.send_in_turn(port, tlp);
    }
}
