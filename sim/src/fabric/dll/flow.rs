//! Flow control with absolute counters (base spec 2.6.1): what a transmitter may send, and what a receiver has allowed.
//!
//! All counters are modulo 2 to the power of [Field Size]: 8 bits for headers and 12 for data, with scaled flow control two or four bits more.
//! DLLPs carry the upper 8 or 12 of them.

use std::fmt;

use super::dllp::FcField;
use crate::time::Time;

/// Scaled flow control (3.4.2): what one unit of a field in a flow control DLLP stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scale {
    /// Scaled flow control isn't used.
    Unscaled = 0,
    /// It's used, with the factor 1.
    One = 1,
    /// The factor 4.
    Four = 2,
    /// The factor 16.
    Sixteen = 3,
}

impl Scale {
    /// What the low two bits of HdrScale or DataScale stand for.
    pub const fn from_bits(bits: u8) -> Scale {
        match bits & 3 {
            0 => Scale::Unscaled,
            1 => Scale::One,
            2 => Scale::Four,
            _ => Scale::Sixteen,
        }
    }

    /// How many low bits of a counter a DLLP leaves out.
    pub const fn shift(self) -> u32 {
        match self {
            Scale::Unscaled | Scale::One => 0,
            Scale::Four => 2,
            Scale::Sixteen => 4,
        }
    }

    /// The smallest factor that can advertise so many credits; unscaled if `scaled` isn't negotiated.
    pub fn fitting(unit: Unit, credits: u32, scaled: bool) -> Scale {
        if !scaled {
            return Scale::Unscaled;
        }
        let fits = |scale: &Scale| credits <= unit.most(*scale);
        [Scale::One, Scale::Four].into_iter().find(fits).unwrap_or(Scale::Sixteen)
    }
}

/// What is counted: headers, or data in units of four dwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// One for each TLP.
    Headers,
    /// One for each 16 bytes of payload or part of them.
    Data,
}

impl Unit {
    /// Bits of the field in a flow control DLLP.
    pub const fn field_bits(self) -> u32 {
        match self {
            Unit::Headers => 8,
            Unit::Data => 12,
        }
    }

    /// Bits of the counters: the spec's [Field Size], 8 to 16.
    pub const fn counter_bits(self, scale: Scale) -> u32 {
        self.field_bits() + scale.shift()
    }

    /// The most credits that may be unused at any time, so that counters can be compared: 127, 508 or 2,032 headers; 2,047, 8,188 or
    /// 32,752 units of data (table 3-2).
    pub const fn most(self, scale: Scale) -> u32 {
        ((1 << (self.field_bits() - 1)) - 1) << scale.shift()
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Unit::Headers => "headers",
            Unit::Data => "data",
        })
    }
}

/// A rule of flow control that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FcError {
    /// A Receiver Overflow: a TLP came for which there was no credit.
    #[error("a TLP took {unit} beyond the credits allocated: {received} received of {allocated} (2.6.1.2)")]
    Overflow {
        /// Of what.
        unit: Unit,
        /// CREDITS_ALLOCATED.
        allocated: u32,
        /// CREDITS_RECEIVED with that TLP.
        received: u32,
    },
    /// A Flow Control Protocol Error: credits that were infinite are updated.
    #[error("UpdateFC with {unit} {value} though they were advertised as infinite (2.6.1)")]
    InfiniteUpdated {
        /// Of what.
        unit: Unit,
        /// The field.
        value: u16,
    },
    /// A Flow Control Protocol Error: more credits than may be unused.
    #[error("{unused} unused {unit}, more than {most} (2.6.1)")]
    TooMany {
        /// Of what.
        unit: Unit,
        /// How many would be unused.
        unused: u32,
        /// How many may be.
        most: u32,
    },
    /// A Flow Control Protocol Error: the scale isn't the one of the InitFCs.
    #[error("UpdateFC with the scale of {unit} {found:?} instead of {expected:?} (3.4.2)")]
    ScaleChanged {
        /// Of what.
        unit: Unit,
        /// The scale of the InitFCs.
        expected: Scale,
        /// The field.
        found: Scale,
    },
}

impl FcError {
    /// Is it a Receiver Overflow? If not, it's a Flow Control Protocol Error.
    pub const fn is_overflow(&self) -> bool {
        matches!(self, FcError::Overflow { .. })
    }
}

const fn mask(unit: Unit, scale: Scale) -> u32 {
    (1 << unit.counter_bits(scale)) - 1
}

/// What a transmitter knows of one count: CREDITS_CONSUMED and CREDIT_LIMIT (2.6.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    unit: Unit,
    scale: Scale,
    infinite: bool,
    consumed: u32,
    limit: u32,
}

impl Gate {
    /// The counters after an InitFC with this field.
    pub fn new(unit: Unit, initial: FcField) -> Gate {
        let scale = initial.scale;
        let limit = u32::from(initial.value) << scale.shift() & mask(unit, scale);
        Gate { unit, scale, infinite: limit == 0, consumed: 0, limit }
    }

    /// Were infinite credits advertised?
    pub const fn is_infinite(&self) -> bool {
        self.infinite
    }

    /// CREDITS_CONSUMED.
    pub const fn consumed(&self) -> u32 {
        self.consumed
    }

    /// Credits left, `u32::MAX` if they're infinite.
    pub const fn unused(&self) -> u32 {
        if self.infinite { u32::MAX } else { self.limit.wrapping_sub(self.consumed) & mask(self.unit, self.scale) }
    }

    /// The gating equation: whether a TLP that needs `need` may go. (CREDIT_LIMIT - (CREDITS_CONSUMED + need)) modulo 2^[Field Size] must be
    /// at most half of 2^[Field Size].
    pub const fn allows(&self, need: u32) -> bool {
        let cumulative = self.consumed.wrapping_add(need);
        let left = self.limit.wrapping_sub(cumulative) & mask(self.unit, self.scale);
        self.infinite || left <= 1 << (self.unit.counter_bits(self.scale) - 1)
    }

    /// A TLP that needs `need` goes.
    pub fn consume(&mut self, need: u32) {
        if !self.infinite {
            self.consumed = self.consumed.wrapping_add(need) & mask(self.unit, self.scale);
        }
    }

    /// An UpdateFC has come.
    ///
    /// # Errors
    /// It breaks a rule; nothing is changed.
    pub fn update(&mut self, field: FcField) -> Result<(), FcError> {
        let unit = self.unit;
        if field.scale != self.scale {
            return Err(FcError::ScaleChanged { unit, expected: self.scale, found: field.scale });
        }
        if self.infinite {
            return if field.value == 0 { Ok(()) } else { Err(FcError::InfiniteUpdated { unit, value: field.value }) };
        }
        let updated = Gate { limit: u32::from(field.value) << self.scale.shift() & mask(unit, self.scale), ..*self };
        let (unused, most) = (updated.unused(), unit.most(self.scale));
        if unused > most {
            return Err(FcError::TooMany { unit, unused, most });
        }
        *self = updated;
        Ok(())
    }
}

/// What a receiver knows of one count: CREDITS_ALLOCATED and CREDITS_RECEIVED (2.6.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ledger {
    unit: Unit,
    scale: Scale,
    infinite: bool,
    /// What was advertised at first.
    room: u32,
    allocated: u32,
    received: u32,
}

impl Ledger {
    /// The counters of a receiver with room for `credits`, of which it can advertise [`Unit::most`]; 0 means infinite.
    pub fn new(unit: Unit, credits: u32, scale: Scale) -> Ledger {
        // A factor leaves out the bits below it: what can't be advertised must not be counted as if it were.
        let credits = credits.min(unit.most(scale)) >> scale.shift() << scale.shift();
        Ledger { unit, scale, infinite: credits == 0, room: credits, allocated: credits, received: 0 }
    }

    /// Are infinite credits advertised?
    pub const fn is_infinite(&self) -> bool {
        self.infinite
    }

    /// The field of an InitFC or UpdateFC.
    pub const fn field(&self) -> FcField {
        let value = (self.allocated >> self.scale.shift()) as u16 & ((1 << self.unit.field_bits()) - 1) as u16;
        FcField { scale: self.scale, value: if self.infinite { 0 } else { value } }
    }

    /// Credits that the transmitter has and hasn't used, as far as the receiver knows; `u32::MAX` if they're infinite.
    pub const fn unused(&self) -> u32 {
        if self.infinite { u32::MAX } else { self.allocated.wrapping_sub(self.received) & mask(self.unit, self.scale) }
    }

    /// Whether the transmitter has all that was advertised at first, or will have it with the next UpdateFC.
    pub const fn is_whole(&self) -> bool {
        self.infinite || self.unused() == self.room
    }

    /// A TLP that takes `amount` has come.
    ///
    /// # Errors
    /// A Receiver Overflow: there was no credit for it. It isn't counted.
    pub fn receive(&mut self, amount: u32) -> Result<(), FcError> {
        if self.infinite {
            return Ok(());
        }
        let received = self.received.wrapping_add(amount) & mask(self.unit, self.scale);
        let left = self.allocated.wrapping_sub(received) & mask(self.unit, self.scale);
        if left >= 1 << (self.unit.counter_bits(self.scale) - 1) {
            return Err(FcError::Overflow { unit: self.unit, allocated: self.allocated, received });
        }
        self.received = received;
        Ok(())
    }

    /// A buffer of `amount` is free again.
    pub fn free(&mut self, amount: u32) {
        if !self.infinite {
            self.allocated = self.allocated.wrapping_add(amount) & mask(self.unit, self.scale);
        }
    }
}

/// Credits that a TLP takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Headers: 1 for a TLP.
    pub headers: u32,
    /// Units of 16 bytes.
    pub data: u32,
}

impl Amount {
    /// What a TLP with so many bytes of payload takes.
    pub const fn of_payload(bytes: u32) -> Amount {
        Amount { headers: 1, data: bytes.div_ceil(16) }
    }
}

/// The transmitter's counters of one class of one virtual channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassGate {
    /// Headers.
    pub headers: Gate,
    /// Data.
    pub data: Gate,
}

impl ClassGate {
    /// The counters after an InitFC with these fields.
    pub fn new(headers: FcField, data: FcField) -> ClassGate {
        ClassGate { headers: Gate::new(Unit::Headers, headers), data: Gate::new(Unit::Data, data) }
    }

    /// Whether a TLP may go.
    pub const fn allows(&self, need: Amount) -> bool {
        self.headers.allows(need.headers) && self.data.allows(need.data)
    }

    /// Takes the credits of a TLP, if they're there.
    pub fn take(&mut self, need: Amount) -> bool {
        let may = self.allows(need);
        if may {
            self.headers.consume(need.headers);
            self.data.consume(need.data);
        }
        may
    }

    /// An UpdateFC has come.
    ///
    /// # Errors
    /// One of its fields breaks a rule; nothing is changed.
    pub fn update(&mut self, headers: FcField, data: FcField) -> Result<(), FcError> {
        let mut updated = *self;
        updated.headers.update(headers)?;
        updated.data.update(data)?;
        *self = updated;
        Ok(())
    }
}

/// The receiver's counters of one class of one virtual channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassLedger {
    /// Headers.
    pub headers: Ledger,
    /// Data.
    pub data: Ledger,
}

impl ClassLedger {
    /// The counters of a receiver with room for so much; 0 means infinite. `scaled`: scaled flow control was negotiated.
    pub fn new(room: Amount, scaled: bool) -> ClassLedger {
        let ledger = |unit, credits| Ledger::new(unit, credits, Scale::fitting(unit, credits, scaled));
        ClassLedger { headers: ledger(Unit::Headers, room.headers), data: ledger(Unit::Data, room.data) }
    }

    /// A TLP has come.
    ///
    /// # Errors
    /// A Receiver Overflow. Nothing is counted.
    pub fn receive(&mut self, amount: Amount) -> Result<(), FcError> {
        let mut counted = *self;
        counted.headers.receive(amount.headers)?;
        counted.data.receive(amount.data)?;
        *self = counted;
        Ok(())
    }

    /// A buffer is free again.
    pub fn free(&mut self, amount: Amount) {
        self.headers.free(amount.headers);
        self.data.free(amount.data);
    }

    /// Whether all of both counts is free.
    pub const fn is_whole(&self) -> bool {
        self.headers.is_whole() && self.data.is_whole()
    }

    /// Whether nothing of this class is ever updated.
    pub const fn is_infinite(&self) -> bool {
        self.headers.is_infinite() && self.data.is_infinite()
    }

    /// Whether the transmitter may be waiting: it has no header, or less data than the largest TLP takes.
    pub const fn is_short(&self, largest: Amount) -> bool {
        self.headers.unused() < largest.headers || self.data.unused() < largest.data
    }
}

/// When UpdateFCs of one class must go: some time after a buffer was freed, and now and then in any case (2.6.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateTimer {
    sent: Time,
    owed: Time,
    repeat: Time,
}

impl UpdateTimer {
    /// For a class whose first UpdateFC has just been sent, or whose initialization is just over. Another follows within `repeat`.
    pub const fn new(now: Time, repeat: Time) -> UpdateTimer {
        UpdateTimer { sent: now, owed: Time::MAX, repeat }
    }

    /// A buffer was freed: an UpdateFC goes `within` this time.
    pub fn freed(&mut self, now: Time, within: Time) {
        self.owed = self.owed.min(now + within);
    }

    /// When the next UpdateFC goes for what was freed. `None` if nothing was.
    pub fn owed(&self) -> Option<Time> {
        (self.owed != Time::MAX).then_some(self.owed)
    }

    /// When the next UpdateFC goes at the latest.
    pub fn due(&self) -> Time {
        self.owed.min(self.repeat_due())
    }

    /// When the next one goes if nothing is freed.
    pub fn repeat_due(&self) -> Time {
        self.sent + self.repeat
    }

    /// An UpdateFC goes.
    pub fn sent(&mut self, now: Time) {
        self.sent = now;
        self.owed = Time::MAX;
    }
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
