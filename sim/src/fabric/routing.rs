//! Where the bridges of a switch or root complex lead: their windows and bus numbers as tables.
//!
//! The tables are made anew after each configuration write to one of the bridges, so that routing a TLP is a look-up.

use crate::config::{ConfigSpace, PowerState};

/// What a bridge lets through, as its registers say now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gate {
    /// Memory and prefetchable window: first and last address. A closed one has a base above its limit.
    windows: [(u64, u64); 2],
    /// Secondary to subordinate bus number; none if secondary is 0, or if the link below is down.
    buses: (u8, u8),
    /// Whether it passes memory requests from its bus on upwards, or to a peer: Bus Master Enable, in D0.
    pub(crate) upwards: bool,
    /// Whether requests from its bus need no more than that: it has no access control turned on.
    direct: bool,
    /// The largest payload that the bridge sends just so: `Max_Payload_Size`, or nothing if there's something to do about it, a digest for one.
    plain_payload: u32,
}

/// The window of a bridge that passes no memory requests downwards.
const CLOSED: (u64, u64) = (u64::MAX, 0);

impl Gate {
    pub(crate) fn new(bridge: &ConfigSpace) -> Gate {
        // What is routed to a link that's down is an Unsupported Request (base specification 2.9.1): the bridge claims nothing.
        let active = bridge.link_active();
        let on = active && bridge.command().memory_space() && bridge.power_state() == PowerState::D0;
        let windows = [bridge.memory_window(), bridge.prefetchable_window()];
        let windows = windows.map(|window| window.filter(|_| on).map_or(CLOSED, |window| (window.base, window.limit)));
        let buses = if active { (bridge.secondary(), bridge.subordinate()) } else { (0, 0) };
        let upwards = bridge.may_request();
        let plain_payload = if bridge.generates_ecrc() { 0 } else { bridge.max_payload() };
        Gate { windows, buses, upwards, direct: upwards && bridge.acs().is_empty(), plain_payload }
    }

    /// Whether a memory request for `address` goes down through the bridge.
    #[inline]
    pub(crate) fn holds_address(&self, address: u64) -> bool {
        self.windows.iter().any(|&(base, limit)| base <= address && address <= limit)
    }

    /// Whether `bus` lies below the bridge.
    #[inline]
    pub(crate) fn holds_bus(&self, bus: u8) -> bool {
        let (secondary, subordinate) = self.buses;
        secondary != 0 && secondary <= bus && bus <= subordinate
    }
}

/// The bridges below one upstream port or root complex, by address and bus number.
#[derive(Debug)]
pub(crate) struct Routes {
    gates: Vec<Gate>,
    /// Open windows in order of their base: base, limit (inclusive), bridge.
    windows: Vec<(u64, u64, u8)>,
    /// From the lowest base to the highest limit.
    span: (u64, u64),
    /// Bridge by bus number.
    by_bus: Box<[u8; 256]>,
    /// Bridges with access control, as a set of bits; those from the 64th on share the last.
    controlled: u64,
}

/// No bridge.
const NONE: u8 = u8::MAX;

impl Routes {
    pub(crate) fn new() -> Routes {
        Routes { gates: Vec::new(), windows: Vec::new(), span: CLOSED, by_bus: Box::new([NONE; 256]), controlled: 0 }
    }

    /// Takes the windows and bus numbers from the bridges' configuration spaces.
    pub(crate) fn rebuild<'a>(&mut self, bridges: impl Iterator<Item = &'a ConfigSpace>) {
        self.gates.clear();
        self.controlled = 0;
        for (number, bridge) in bridges.enumerate() {
            self.gates.push(Gate::new(bridge));
            self.controlled |= u64::from(!bridge.acs().is_empty()) << number.min(63);
        }
        self.windows.clear();
        self.by_bus.fill(NONE);
        for (number, gate) in (0..NONE).zip(&self.gates) {
            let open = gate.windows.iter().filter(|(base, limit)| base <= limit);
            self.windows.extend(open.map(|&(base, limit)| (base, limit, number)));
            let (secondary, subordinate) = gate.buses;
            if secondary != 0 {
                for bus in secondary..=subordinate {
                    self.by_bus[usize::from(bus)] = number;
                }
            }
        }
        self.windows.sort_unstable();
        self.span = self.windows.iter().fold(CLOSED, |span, window| (span.0.min(window.0), span.1.max(window.1)));
    }

    /// The bridge whose memory window holds `address`.
    #[inline]
    pub(crate) fn by_address(&self, address: u64) -> Option<usize> {
        if address < self.span.0 || address > self.span.1 {
            return None;
        }
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

    /// Whether bridge `number` passes memory requests from its bus on, whatever they are. `false` before its first configuration write.
    #[inline]
    pub(crate) fn direct(&self, number: usize) -> bool {
        self.gates.get(number).is_some_and(|gate| gate.direct)
    }

    /// No bridge sends a payload until the tables are made anew that somebody hasn't looked at.
    pub(crate) fn look_at_payloads(&mut self) {
        for gate in &mut self.gates {
            gate.plain_payload = 0;
        }
    }

    /// The largest payload that bridge `number` sends just so, in bytes.
    #[inline]
    pub(crate) fn plain_payload(&self, number: usize) -> u64 {
        self.gates.get(number).map_or(128, |gate| u64::from(gate.plain_payload))
    }

    /// Whether bridge `number` may have access control to what comes from its bus.
    #[inline]
    pub(crate) fn is_controlled(&self, number: usize) -> bool {
        self.controlled >> number.min(63) & 1 != 0
    }

    /// Whether bridge `number` passes memory requests from its bus on. `false` before its first configuration write.
    #[inline]
    pub(crate) fn upwards(&self, number: usize) -> bool {
        self.gates.get(number).is_some_and(|gate| gate.upwards)
    }
}
