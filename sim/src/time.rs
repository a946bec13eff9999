//! Virtual time: an integer number of picoseconds since the simulation began (ours).

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// A point in virtual time, or a span of it, in picoseconds. A `u64` lasts for 213 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The beginning of a simulation, and the empty span.
    pub const ZERO: Time = Time(0);
    /// The last point in time: no event lies there.
    pub const MAX: Time = Time(u64::MAX);

    /// `n` picoseconds.
    pub const fn ps(n: u64) -> Time {
        Time(n)
    }

    /// `n` nanoseconds; the longest span where that would overflow.
    pub const fn ns(n: u64) -> Time {
        Time(n.saturating_mul(1_000))
    }

    /// `n` microseconds; the longest span where that would overflow.
    pub const fn us(n: u64) -> Time {
        Time(n.saturating_mul(1_000_000))
    }

    /// `n` milliseconds; the longest span where that would overflow.
    pub const fn ms(n: u64) -> Time {
        Time(n.saturating_mul(1_000_000_000))
    }

    /// The number of picoseconds.
    pub const fn as_ps(self) -> u64 {
        self.0
    }

    /// The number of whole nanoseconds.
    pub const fn as_ns(self) -> u64 {
        self.0 / 1_000
    }

    /// `span` later, for spans that the fabric adds up itself: both lie far below [`Time::MAX`], so nothing is checked. A sum that wrapped
    /// all the same would be an event of the past, which every event queue takes for one of now.
    #[inline]
    pub(crate) const fn after(self, span: Time) -> Time {
        Time(self.0.wrapping_add(span.0))
    }

    /// The span from `earlier` to `self`; empty if `earlier` is the later one.
    pub const fn since(self, earlier: Time) -> Time {
        Time(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Time {
    type Output = Time;

    fn add(self, span: Time) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl AddAssign for Time {
    fn add_assign(&mut self, span: Time) {
        *self = *self + span;
    }
}

impl Sub for Time {
    type Output = Time;

    fn sub(self, span: Time) -> Time {
        self.since(span)
    }
}

/// Printed in the largest unit that leaves at least one whole digit: `812 ps`, `1.300 ns`, `2.450 us`, `17.000 ms`, `1.200 s`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            0..1_000 => return f.pad(&format!("{} ps", self.0)),
            1_000..1_000_000 => (1_000, "ns"),
            1_000_000..1_000_000_000 => (1_000_000, "us"),
            1_000_000_000..1_000_000_000_000 => (1_000_000_000, "ms"),
            _ => (1_000_000_000_000, "s"),
        };
        let thousandths = self.0 % unit / (unit / 1_000);
        f.pad(&format!("{}.{:03} {}", self.0 / unit, thousandths, name))
    }
}

#[cfg(test)]
mod tests {
    use super::Time;

    #[test]
    fn prints_in_a_fitting_unit() {
        let cases = [
            (Time::ps(812), "812 ps"),
            (Time::ps(1_300), "1.300 ns"),
            (Time::ns(2_450), "2.450 us"),
            (Time::ms(17), "17.000 ms"),
            (Time::ms(1_200), "1.200 s"),
        ];
        for (time, text) in cases {
            assert_eq!(time.to_string(), text);
        }
    }

    #[test]
    fn does_not_wrap() {
        assert_eq!(Time::MAX + Time::ns(1), Time::MAX);
        assert_eq!(Time::ps(1) - Time::ps(2), Time::ZERO);
    }
}
