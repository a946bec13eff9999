//! What a configuration write did that the function's owner may have to act upon (ours).

use std::ops::{BitOr, BitOrAssign};

/// A set of topics touched by one configuration write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Changed(u32);

impl Changed {
    /// Nothing to act upon.
    pub const NONE: Changed = Changed(0);
    /// A bit of the Command register changed.
    pub const COMMAND: Changed = Changed(1 << 0);
    /// A base address register or the Expansion ROM register changed.
    pub const BARS: Changed = Changed(1 << 1);
    /// A bridge's primary, secondary or subordinate bus number changed.
    pub const BUS_NUMBERS: Changed = Changed(1 << 2);
    /// A bridge's I/O, memory or prefetchable window changed.
    pub const WINDOWS: Changed = Changed(1 << 3);
    /// A bit of the Bridge Control register changed, perhaps Secondary Bus Reset.
    pub const BRIDGE_CONTROL: Changed = Changed(1 << 4);
    /// A bit of Device Control or Device Control 2 changed: payload and request sizes, tags,
    /// completion timeout, error reporting.
    pub const DEVICE_CONTROL: Changed = Changed(1 << 5);
    /// A bit of Link Control or Link Control 2 changed.
    pub const LINK_CONTROL: Changed = Changed(1 << 6);
    /// 1 was written to Retrain Link. The bit itself always reads 0.
    pub const RETRAIN_LINK: Changed = Changed(1 << 7);
    /// Slot Control was written, with the same value or another: each write is one command to the
    /// hot-plug controller (section 6.7.3.2).
    pub const SLOT_CONTROL: Changed = Changed(1 << 8);
    /// A bit of Root Control or of AER's Root Error Command changed.
    pub const ROOT_CONTROL: Changed = Changed(1 << 9);
    /// MSI-X Enable or Function Mask changed.
    pub const MSIX: Changed = Changed(1 << 10);
    /// The power state or PME Enable changed.
    pub const POWER: Changed = Changed(1 << 11);
    /// The function left D3hot for D0 without No_Soft_Reset: its owner resets it, as
    /// [`Reset::FunctionLevel`](super::Reset::FunctionLevel) does for the registers (section 5.3.1.4.1).
    pub const SOFT_RESET: Changed = Changed(1 << 12);
    /// 1 was written to Initiate Function Level Reset: the owner resets the function. The bit
    /// itself always reads 0 (section 6.6.2).
    pub const FUNCTION_LEVEL_RESET: Changed = Changed(1 << 13);
    /// MSI Enable changed.
    pub const MSI: Changed = Changed(1 << 14);
    /// A virtual channel was enabled or disabled, or has another ID or other traffic classes; or another arbitration was selected.
    pub const VIRTUAL_CHANNELS: Changed = Changed(1 << 15);
    /// A bit of ACS Control or of the Egress Control Vector changed.
    pub const ACS: Changed = Changed(1 << 16);
    /// A bit of DPC Control changed, or DPC Trigger Status was cleared.
    pub const CONTAINMENT: Changed = Changed(1 << 17);
    /// 1 was written to DPC Software Trigger. The bit itself always reads 0.
    pub const SOFTWARE_TRIGGER: Changed = Changed(1 << 18);
    /// An entry of the VC Arbitration Table was written, with the same value or another.
    pub const VC_TABLE: Changed = Changed(1 << 19);
    /// 1 was written to Load VC Arbitration Table. The bit itself always reads 0.
    pub const LOAD_VC_TABLE: Changed = Changed(1 << 20);

    /// A bit of SR-IOV Control, NumVFs, System Page Size or a VF BAR changed.
    pub const SRIOV: Changed = Changed(1 << 24);

    /// Nothing to act upon?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Are all topics of `other` in this set?
    pub const fn contains(self, other: Changed) -> bool {
        self.0 & other.0 == other.0
    }

    /// Is at least one topic of `other` in this set?
    pub const fn intersects(self, other: Changed) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Changed {
    type Output = Changed;

    fn bitor(self, other: Changed) -> Changed {
        Changed(self.0 | other.0)
    }
}

impl BitOrAssign for Changed {
    fn bitor_assign(&mut self, other: Changed) {
        self.0 |= other.0;
    }
}

/// What makes a [`Watch`] report its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A watched bit has another value than before.
    Changed,
    /// A byte with watched bits was written, even if no bit changed.
    Written,
    /// 1 was written to a watched bit. Such bits are not in the row's writable mask: they read 0.
    WrittenOne,
    /// The watched field went from one value to another; both are in place, not shifted down.
    Transition {
        /// The field's value before the write.
        from: u32,
        /// The field's value after it.
        to: u32,
    },
}

/// One rule of what to report: if `trigger` applies to the bits of `mask`, the write reports `topic`.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// Byte offset of the dword, from the start of the structure that the rule belongs to.
    pub offset: u16,
    /// The watched bits.
    pub mask: u32,
    /// When to report.
    pub trigger: Trigger,
    /// What to report.
    pub topic: Changed,
}

impl Watch {
    /// A rule that reports `topic` when a bit of `mask` changes.
    pub const fn changed(offset: u16, mask: u32, topic: Changed) -> Watch {
        Watch { offset, mask, trigger: Trigger::Changed, topic }
    }

    /// Does a write of `value` to the bits `written`, which took the dword from `before` to
    /// `after`, make this rule report?
    pub(super) fn applies(&self, written: u32, value: u32, before: u32, after: u32) -> bool {
        let mask = self.mask;
        match self.trigger {
            Trigger::Changed => (before ^ after) & mask != 0,
            Trigger::Written => written & mask != 0,
            Trigger::WrittenOne => written & value & mask != 0,
            Trigger::Transition { from, to } => before & mask == from && after & mask == to,
        }
    }
}
