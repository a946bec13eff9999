//! Where the bridges of a switch or root complex lead: their windows and bus numbers as sorted tables.

use crate::config::ConfigSpace;

/// The bridges below one upstream port or root complex, by address and bus number. Made anew after each configuration write to
/// one of them, so that routing a TLP is a look-up.
#[derive(Debug)]
pub(crate) struct Routes {
    /// Windows in order of their base: base, limit (inclusive), bridge.
    windows: Vec<(u64, u64, u8)>,
    /// Bridge by bus number.
    by_bus: Box<[u8; 256]>,
}

/// No bridge.
const NONE: u8 = u8::MAX;

impl Routes {
    pub(crate) fn new() -> Routes {
        Routes { windows: Vec::new(), by_bus: Box::new([NONE; 256]) }
    }

    /// Takes the windows and bus numbers from the bridges' configuration spaces.
    pub(crate) fn rebuild<'a>(&mut self, bridges: impl Iterator<Item = &'a ConfigSpace>) {
        self.windows.clear();
        self.by_bus.fill(NONE);
        for (number, bridge) in (0..NONE).zip(bridges) {
            if bridge.command().memory_space() {
                let windows = [bridge.memory_window(), bridge.prefetchable_window()];
                self.windows.extend(windows.into_iter().flatten().map(|window| (window.base, window.limit, number)));
            }
            let (secondary, subordinate) = (bridge.secondary(), bridge.subordinate());
            if secondary != 0 {
                for bus in secondary..=subordinate {
                    self.by_bus[usize::from(bus)] = number;
                }
            }
        }
        self.windows.sort_unstable();
    }

    /// The bridge whose memory window holds `address`.
    #[inline]
    pub(crate) fn by_address(&self, address: u64) -> Option<usize> {
        let after = self.windows.partition_point(|&(base, ..)| base <= address);
        let &(_, limit, bridge) = self.windows.get(after.checked_sub(1)?)?;
        (address <= limit).then_some(usize::from(bridge))
    }

    /// The bridge that `bus` lies behind.
    #[inline]
    pub(crate) fn by_bus(&self, bus: u8) -> Option<usize> {
        let bridge = self.by_bus[usize::from(bus)];
        (bridge != NONE).then_some(usize::from(bridge))
    }
}
