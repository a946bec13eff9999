//! Flow-control credits of one class, as a transmitter counts them: headers and data in one word, and what is on its way back.

use super::dll::Amount;
use crate::time::Time;

/// One flow-control credit for data is four dwords (PCIe base specification, 'Flow Control Rules').
const DATA_CREDIT_BYTES: usize = 16;

/// Headers are counted from this bit on, data from bit 0.
const HEADERS: u32 = 32;
/// The bits above both counts: each is borrowed from if its count doesn't suffice.
const GUARDS: u64 = 1 << 63 | 1 << 31;

/// Credits that a TLP takes: one for its header, and one for each four dwords of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost(u64);

impl Cost {
    /// What a TLP with so many bytes of payload takes.
    #[inline]
    pub(crate) const fn of_payload(bytes: usize) -> Cost {
        Cost(1 << HEADERS | bytes.div_ceil(DATA_CREDIT_BYTES) as u64)
    }

    /// The same as two counts.
    pub(crate) const fn amount(self) -> Amount {
        Amount { headers: (self.0 >> HEADERS) as u32, data: self.0 as u32 }
    }
}

impl Cost {
    /// Both together. Neither count may get beyond what [`Credits`] can have.
    pub(crate) const fn and(self, other: Cost) -> Cost {
        Cost(self.0 + other.0)
    }
}

/// Returns that can be on their way at the same time in one class: more than there are finite header credits on a link whose data link layer is a
/// rate.
const RETURNS: usize = 128;

/// Credits on their way back, the first one first.
#[derive(Debug)]
struct Returns {
    /// When they arrive, and how many.
    ring: Box<[(Time, u64); RETURNS]>,
    /// How many have been put in and taken out.
    entered: usize,
    left: usize,
    /// When the last one arrives. `Time::MAX` if there may be more of them than there's room for.
    newest: Time,
}

impl Returns {
    /// None. Each has a header, of which there are so many, if that's not 0.
    fn new(headers: u32) -> Returns {
        let room = (1..RETURNS).contains(&(headers as usize));
        let newest = if room { Time::ZERO } else { Time::MAX };
        Returns { ring: Box::new([(Time::ZERO, 0); RETURNS]), entered: 0, left: 0, newest }
    }

    /// Adds credits, if there's always room and none arrive later.
    #[inline]
    fn push(&mut self, at: Time, credits: u64) -> bool {
        if self.newest > at {
            return false;
        }
        self.newest = at;
        self.ring[self.entered % RETURNS] = (at, credits);
        self.entered += 1;
        true
    }

    /// Adds credits before those that arrive later. Without room, which there is only where headers are infinite, they arrive with the newest.
    #[inline(never)]
    fn insert(&mut self, at: Time, credits: u64) {
        if self.entered - self.left == RETURNS {
            let (newest, freed) = &mut self.ring[(self.entered - 1) % RETURNS];
            *newest = at.max(*newest);
            *freed += credits;
            return;
        }
        let mut place = self.entered;
        while place > self.left && self.ring[(place - 1) % RETURNS].0 > at {
            self.ring[place % RETURNS] = self.ring[(place - 1) % RETURNS];
            place -= 1;
        }
        self.ring[place % RETURNS] = (at, credits);
        self.entered += 1;
    }

    fn first_after(&self, now: Time) -> Option<Time> {
        (self.left..self.entered).map(|place| self.ring[place % RETURNS].0).find(|at| *at > now)
    }

    /// Takes out what has arrived.
    #[inline]
    fn arrived(&mut self, now: Time) -> u64 {
        let (mut left, entered, mut sum) = (self.left, self.entered, 0);
        while left != entered {
            let (at, credits) = self.ring[left % RETURNS];
            if at > now {
                break;
            }
            sum += credits;
            left += 1;
        }
        self.left = left;
        sum
    }

    /// Takes out the first ones until there are enough for `cost`; `available` becomes what there is then, and what it gives says when that
    /// is. `None`, and nothing is taken out, if there will never be enough.
    #[inline]
    fn until_enough(&mut self, available: &mut u64, cost: u64) -> Option<Time> {
        let (mut sum, mut place) = (*available, self.left);
        while place != self.entered {
            let (at, credits) = self.ring[place % RETURNS];
            sum += credits;
            place += 1;
            if enough(sum, cost).is_some() {
                (self.left, *available) = (place, sum);
                return Some(at);
            }
        }
        None
    }
}

/// Credits left in one class. Infinite ones cost nothing and are never returned.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Credits {
    available: u64,
    /// The counts that are finite.
    finite: u64,
    /// All that the receiver has: more is never free.
    limit: u64,
    returning: Returns,
}

impl Credits {
    /// The credits that a receiver advertises; 0 means infinite. Both are at most 2,047.
    pub(crate) fn new(headers: u32, data: u32) -> Credits {
        let limit = u64::from(headers) << HEADERS | u64::from(data);
        let mask = |count: u32, at: u32| if count == 0 { 0 } else { (u64::from(u32::MAX) >> 1) << at };
        Credits {
            available: limit,
            finite: mask(headers, HEADERS) | mask(data, 0),
            limit,
            returning: Returns::new(headers),
        }
    }

    /// Whether all are free, or on their way back.
    pub(crate) fn are_whole(&self) -> bool {
        let Returns { ring, entered, left, .. } = &self.returning;
        let back: u64 = (*left..*entered).map(|place| ring[place % RETURNS].1).sum();
        self.available + back == self.limit
    }

    /// Whether no TLP can have any before more are given back: headers are finite, and none are left or on their way.
    #[inline]
    pub(crate) fn are_spent(&self) -> bool {
        self.returning.entered == self.returning.left && (self.available >> HEADERS) == 0 && self.finite >> HEADERS != 0
    }

    /// What of a cost is ever spent: infinite credits aren't.
    pub(crate) fn finite(&self, cost: Cost) -> Cost {
        Cost(cost.0 & self.finite)
    }

    /// Whether there may ever be so many.
    #[inline]
    pub(crate) fn can_ever_take(&self, cost: Cost) -> bool {
        enough(self.limit, cost.0 & self.finite).is_some()
    }

    /// Takes the credits of a TLP, if they're there.
    #[inline]
    pub(crate) fn take(&mut self, cost: Cost, now: Time) -> bool {
        let cost = cost.0 & self.finite;
        let Some(left) = enough(self.available, cost) else { return self.collect(cost, now) };
        self.available = left;
        true
    }

    /// Takes in what has come back, then the credits of a TLP, if that's enough.
    #[inline(never)]
    fn collect(&mut self, cost: u64, now: Time) -> bool {
        self.available += self.returning.arrived(now);
        let left = enough(self.available, cost);
        self.available = left.unwrap_or(self.available);
        left.is_some()
    }

    /// When the next credits after `now` come back, if any are on their way.
    pub(crate) fn next_return(&self, now: Time) -> Option<Time> {
        self.returning.first_after(now)
    }

    /// Takes the credits of a TLP as soon as they're there: gives when that is, not before `now`. `None` if it isn't known yet.
    #[inline]
    pub(crate) fn reserve(&mut self, cost: Cost, now: Time) -> Option<Time> {
        let cost = cost.0 & self.finite;
        if let Some(left) = enough(self.available, cost) {
            self.available = left;
            return Some(now);
        }
        let at = self.returning.until_enough(&mut self.available, cost)?;
        self.available -= cost;
        Some(at.max(now))
    }

    /// Lets the credits of a freed buffer come back at `at`. If it gives `false`, which it seldom does, nothing has been done, and
    /// [`Credits::give_back_in_all_cases`] must be called.
    #[inline]
    #[must_use]
    pub(crate) fn give_back(&mut self, cost: Cost, at: Time) -> bool {
        let cost = cost.0 & self.finite;
        // Of infinite credits there's nothing to be given back; without this, they would pile up.
        cost == 0 || self.returning.push(at, cost)
    }

    /// Lets the credits of a freed buffer come back at `at`, or a little later if very many are on their way.
    #[inline]
    pub(crate) fn give_back_in_all_cases(&mut self, cost: Cost, at: Time) {
        if !self.give_back(cost, at) {
            self.returning.insert(at, cost.0 & self.finite);
        }
    }
}

/// What is left of `available` without `cost`, if both counts suffice.
#[inline]
const fn enough(available: u64, cost: u64) -> Option<u64> {
    let left = (available | GUARDS) - cost;
    if left & GUARDS == GUARDS { Some(left ^ GUARDS) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_counts_must_suffice() {
        let mut credits = Credits::new(2, 4);
        let (none, all, more) = (Cost::of_payload(0), Cost::of_payload(64), Cost::of_payload(65));
        assert!(!credits.can_ever_take(more));
        assert!(credits.take(all, Time::ZERO));
        assert!(!credits.take(Cost::of_payload(1), Time::ZERO), "no data left");
        assert!(credits.take(none, Time::ZERO));
        assert!(!credits.take(none, Time::ZERO), "no header left");
        assert!(credits.give_back(none, Time::ns(1)));
        assert!(credits.give_back(all, Time::ns(2)));
        assert!(!credits.take(none, Time::ps(999)));
        assert!(credits.take(none, Time::ns(1)));
        assert!(credits.take(all, Time::ns(2)));
    }

    #[test]
    fn infinite_ones_are_never_spent_nor_returned() {
        for (headers, data) in [(0, 0), (0, 4), (1, 0)] {
            let mut credits = Credits::new(headers, data);
            let cost = Cost::of_payload(if data == 0 { 4096 } else { 0 });
            assert!(credits.take(cost, Time::ZERO));
            assert_eq!(credits.take(cost, Time::ZERO), headers == 0);
            assert!(credits.give_back(cost, Time::ns(1)));
            assert_eq!(credits.reserve(cost, Time::ZERO), Some(if headers == 0 { Time::ZERO } else { Time::ns(1) }));
        }
    }

    #[test]
    fn returns_beyond_the_ring_arrive_together() {
        let mut credits = Credits::new(0, 2047);
        let cost = Cost::of_payload(16);
        for n in 0..2 * RETURNS as u64 {
            assert!(credits.take(cost, Time::ZERO));
            credits.give_back_in_all_cases(cost, Time(n + 1));
        }
        assert!(!credits.take(Cost::of_payload(2047 * 16), Time(2 * RETURNS as u64 - 1)));
        assert!(credits.take(Cost::of_payload(2047 * 16), Time(2 * RETURNS as u64)));
    }

    #[test]
    fn what_arrives_earlier_counts_earlier() {
        let mut credits = Credits::new(3, 0);
        let cost = Cost::of_payload(0);
        for at in [50, 20, 40] {
            assert_eq!(credits.reserve(cost, Time::ZERO), Some(Time::ZERO));
            credits.give_back_in_all_cases(cost, Time(at));
        }
        assert_eq!(
            [1, 2, 3, 4].map(|_| credits.reserve(cost, Time(10))),
            [Some(Time(20)), Some(Time(40)), Some(Time(50)), None]
        );
    }
}
