//! What an enumeration has assigned, whoever made it, and the rules that it must keep.
//!
//! The rules are those of the PCI-to-PCI bridge architecture: bus numbers nest; an address range lies at a multiple of its size, within the window
//! of each bridge above it and of no other; windows of bridges side by side are disjoint, and each lies in that of the bridge above.

use std::collections::BTreeMap;

use mlx5_twin_sim::tlp::Bdf;

use crate::shape::Kind;

/// First and last address of a bridge's window. `None` if it's closed.
pub(crate) type Window = Option<(u64, u64)>;

/// What a bridge's registers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bridge {
    /// Primary, secondary and subordinate bus number.
    pub(crate) buses: (u8, u8, u8),
    pub(crate) memory: Window,
    pub(crate) prefetchable: Window,
    pub(crate) io: Window,
}

/// A BAR that has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) index: u8,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    pub(crate) address: u64,
}

/// What a function's registers say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) bars: Vec<Bar>,
    /// Size and address of the expansion ROM.
    pub(crate) rom: Option<(u64, u64)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) bridges: BTreeMap<Bdf, Bridge>,
    pub(crate) functions: BTreeMap<Bdf, Function>,
}

/// A range of addresses that a function takes.
#[derive(Clone, Copy, Debug)]
struct Range {
    id: Bdf,
    io: bool,
    /// Whether it may lie in a prefetchable window.
    prefetchable: bool,
    first: u64,
    last: u64,
}

fn disjoint(a: (u64, u64), b: (u64, u64)) -> bool {
    a.1 < b.0 || b.1 < a.0
}

fn within(inner: (u64, u64), outer: Window) -> bool {
    outer.is_some_and(|outer| outer.0 <= inner.0 && inner.1 <= outer.1)
}

impl Bridge {
    fn is_above(&self, bus: u8) -> bool {
        self.buses.1 <= bus && bus <= self.buses.2
    }

    /// Memory windows, then the I/O window.
    fn windows(&self) -> [Window; 3] {
        [self.memory, self.prefetchable, self.io]
    }
}

impl Assignment {
    /// Gives the first rule that is broken, and by what.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.check_buses()?;
        let ranges = self.ranges()?;
        for (place, a) in ranges.iter().enumerate() {
            for b in ranges.iter().skip(place + 1).filter(|b| b.io == a.io) {
                if !disjoint((a.first, a.last), (b.first, b.last)) {
                    return Err(format!("{a:x?} and {b:x?} overlap"));
                }
            }
            self.check_windows_around(a)?;
        }
        self.check_windows()
    }

    /// The bridge whose secondary bus is `bus`.
    fn above(&self, bus: u8) -> Option<&Bridge> {
        self.bridges.values().find(|bridge| bridge.buses.1 == bus)
    }

    fn check_buses(&self) -> Result<(), String> {
        for (id, bridge) in &self.bridges {
            let (primary, secondary, subordinate) = bridge.buses;
            if primary != id.bus() || secondary <= primary || subordinate < secondary {
                return Err(format!("{id}: buses {:?}", bridge.buses));
            }
            let above = self.above(primary);
            if primary != 0 && above.is_none_or(|above| above.buses.2 < subordinate) {
                return Err(format!("{id}: buses {:?} below {above:?}", bridge.buses));
            }
            let beside = self.bridges.iter().filter(|(other, _)| *other != id && other.bus() == id.bus());
            for (other, beside) in beside {
                if beside.is_above(secondary) || beside.is_above(subordinate) {
                    return Err(format!("{id} and {other}: buses {:?} and {:?}", bridge.buses, beside.buses));
                }
            }
        }
        let alone = self.functions.keys().find(|id| self.above(id.bus()).is_none());
        alone.map_or(Ok(()), |id| Err(format!("{id} is on no bridge's bus")))
    }

    /// All ranges, each at a multiple of its size and where its kind lets it be.
    fn ranges(&self) -> Result<Vec<Range>, String> {
        let mut ranges = Vec::new();
        for (&id, function) in &self.functions {
            let roms = function.rom.map(|(size, address)| Bar { index: 6, kind: Kind::Memory32, size, address });
            for bar in function.bars.iter().copied().chain(roms) {
                let Bar { kind, size, address: first, .. } = bar;
                let highest = if kind.is_64bit() { u64::MAX } else { u64::from(u32::MAX) };
                let last = first.checked_add(size - 1).filter(|last| *last <= highest);
                let Some(last) = last.filter(|_| size.is_power_of_two() && first % size == 0) else {
                    return Err(format!("{id}: {bar:x?} can't be there"));
                };
                ranges.push(Range { id, io: kind.is_io(), prefetchable: kind.is_prefetchable(), first, last });
            }
        }
        Ok(ranges)
    }

    /// A range lies in a window of its kind of each bridge above, and in no window of any other.
    fn check_windows_around(&self, range: &Range) -> Result<(), String> {
        let inside = (range.first, range.last);
        for (id, bridge) in &self.bridges {
            let [memory, prefetchable, io] = bridge.windows();
            let right = if bridge.is_above(range.id.bus()) {
                match range.io {
                    true => within(inside, io),
                    false => within(inside, memory) || range.prefetchable && within(inside, prefetchable),
                }
            } else {
                let windows = if range.io { [io, None] } else { [memory, prefetchable] };
                windows.into_iter().flatten().all(|window| disjoint(inside, window))
            };
            if !right {
                return Err(format!("{range:x?} and the windows of {id}: {bridge:x?}"));
            }
        }
        Ok(())
    }

    /// Windows lie in those of their kind above, and apart from those beside them.
    fn check_windows(&self) -> Result<(), String> {
        for (id, bridge) in &self.bridges {
            let [memory, prefetchable, _] = bridge.windows();
            let wrong = || Err(format!("{id}: {bridge:x?}"));
            if memory.zip(prefetchable).is_some_and(|(memory, prefetchable)| !disjoint(memory, prefetchable)) {
                return wrong();
            }
            if memory.is_some_and(|(_, last)| last > u64::from(u32::MAX)) {
                return wrong();
            }
            for (kind, window) in bridge.windows().into_iter().enumerate() {
                let Some(window) = window else { continue };
                if self.above(id.bus()).is_some_and(|above| !within(window, above.windows()[kind])) {
                    return Err(format!("{id}: {bridge:x?} below {:x?}", self.above(id.bus())));
                }
                let beside = self.bridges.iter().filter(|(other, _)| *other != id && other.bus() == id.bus());
                for (other, beside) in beside {
                    // The two memory windows share one space.
                    let others = if kind == 2 { [beside.io, None] } else { [beside.memory, beside.prefetchable] };
                    if !others.into_iter().flatten().all(|other| disjoint(window, other)) {
                        return Err(format!("{id}: {bridge:x?} and {other}: {beside:x?}"));
                    }
                }
            }
        }
        Ok(())
    }
}
