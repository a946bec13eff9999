//! Requests, and the completions that answer them.

use std::collections::{BTreeMap, VecDeque};

use mlx5_twin_sim::Time;
use mlx5_twin_sim::tlp::{Bdf, Class, Header, Status};

/// How many requests with the same transaction ID a completion is tried with, the oldest first. Ours.
const TRIED: usize = 16;

/// How long before its request a completion may have been captured: where the two directions are captured apart, the clock may have seen the answer
/// first. Ours; in NetTLP's public captures it's 3.5 us.
const EARLY: Time = Time::us(10);

/// A completion, as far as it's compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Bytes of its payload.
    pub(super) bytes: u32,
    /// Its Byte Count.
    pub(super) byte_count: u32,
    /// Its Lower Address.
    pub(super) lower_address: u8,
    /// Its status.
    pub(super) status: Status,
}

/// A request that asks for completions, and those that it got.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The request.
    pub(super) request: Header,
    /// When it was sent.
    pub(super) asked: Time,
    /// Its completions, in order.
    pub(super) parts: Vec<Part>,
    /// When the last one came that it needed. `None` if it isn't there.
    pub(super) done: Option<Time>,
    /// Dwords of data that have come.
    received: u32,
}

impl Answer {
    /// Whether a completion has the Byte Count and Lower Address that come next.
    fn fits(&self, completion: &Header) -> bool {
        !completion.has_data()
            || (completion.byte_count(), completion.lower_address()) == self.request.completion_remaining(self.received)
    }

    fn take(&mut self, completion: &Header, at: Time) {
        let data = completion.has_data();
        let bytes = completion.payload_len() as u32;
        self.parts.push(Part {
            bytes,
            byte_count: completion.byte_count(),
            lower_address: completion.lower_address(),
            status: completion.status(),
        });
        self.received = self.received.saturating_add(bytes / 4);
        let all = self.received >= self.request.completion_length_dw();
        if !data || completion.status() != Status::Successful || all {
            self.done = Some(at);
        }
    }
}

/// The way that a request went, and its transaction ID: requester and tag.
type Key = (u32, Bdf, u16);

/// Requests of one capture or simulation. A completion belongs to a request of the same requester ID and tag that went the other way: among
/// several, which break the rule that a tag is used once, to the oldest one whose next Byte Count and Lower Address it has; else to
/// the oldest. If there's none, it belongs to one that follows soon, and that it fits.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    open: BTreeMap<Key, VecDeque<u32>>,
    all: Vec<Answer>,
    /// Completions whose request hasn't come yet.
    waiting: BTreeMap<Key, Vec<(Header, Time)>>,
    /// Completions that came before their request.
    pub(super) early: u64,
    unexpected: u64,
    /// Requests whose tag was that of one still open.
    pub(super) reused: u64,
}

impl Answers {
    /// A request that went the way `flow`: gives its number, if it's one that is answered.
    pub(super) fn ask(&mut self, flow: u32, request: &Header, at: Time) -> Option<u32> {
        if request.class() != Class::NonPosted {
            return None;
        }
        // A capture of more than 2^32 requests doesn't fit into memory.
        let number = self.all.len() as u32;
        let key = (flow, request.requester(), request.tag());
        let mut answer = Answer { request: *request, asked: at, parts: Vec::new(), done: None, received: 0 };
        for (completion, came) in self.waiting.remove(&key).unwrap_or_default() {
            if at.since(came) <= EARLY && answer.done.is_none() && answer.fits(&completion) {
                answer.take(&completion, came);
                self.early += 1;
            } else {
                self.unexpected += 1;
            }
        }
        if answer.done.is_none() {
            let open = self.open.entry(key).or_default();
            self.reused += u64::from(!open.is_empty());
            open.push_back(number);
        }
        self.all.push(answer);
        Some(number)
    }

    /// A completion of a request that went the way `flow`: gives the request's number, if it has come.
    pub(super) fn complete(&mut self, flow: u32, completion: &Header, at: Time) -> Option<u32> {
        let key = (flow, completion.requester(), completion.tag());
        let found = self.open.get_mut(&key).and_then(|open| {
            let fits = |number: &u32| self.all.get(*number as usize).is_some_and(|answer| answer.fits(completion));
            let place = open.iter().take(TRIED).position(fits).unwrap_or(0);
            let number = *open.get(place)?;
            let answer = self.all.get_mut(number as usize)?;
            answer.take(completion, at);
            if answer.done.is_some() {
                open.remove(place);
            }
            Some((number, open.is_empty()))
        });
        match found {
            Some((number, empty)) => {
                if empty {
                    self.open.remove(&key);
                }
                Some(number)
            }
            None => {
                self.waiting.entry(key).or_default().push((*completion, at));
                None
            }
        }
    }

    /// Completions that answer no request.
    pub(super) fn unexpected(&self) -> u64 {
        self.unexpected + self.waiting.values().map(|waiting| waiting.len() as u64).sum::<u64>()
    }

    /// A request by its number.
    pub(super) fn get(&self, number: u32) -> Option<&Answer> {
        self.all.get(number as usize)
    }

    /// Whether the request with this number still waits.
    pub(super) fn is_open(&self, number: u32) -> bool {
        self.get(number).is_some_and(|answer| answer.done.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: Bdf = Bdf::new(0x19, 0, 0);
    const ROOT: Bdf = Bdf::new(0, 0, 0);

    fn read(tag: u16, address: u64, len: u32) -> Header {
        Header::mem_read_bytes(DEVICE, tag, address, len).unwrap()
    }

    fn part(request: &Header, from_dw: u32, length_dw: u32) -> Header {
        Header::completion_part(request, ROOT, Status::Successful, from_dw, length_dw).unwrap()
    }

    #[test]
    fn a_tag_is_free_again_when_its_request_is_complete() {
        let mut answers = Answers::default();
        let first = read(5, 0x1000, 512);
        assert_eq!(answers.ask(0, &first, Time::ns(1)), Some(0));
        assert_eq!(answers.complete(0, &part(&first, 0, 64), Time::ns(2)), Some(0));
        assert!(answers.is_open(0));
        assert_eq!(answers.complete(0, &part(&first, 64, 64), Time::ns(3)), Some(0));
        assert_eq!(answers.get(0).unwrap().done, Some(Time::ns(3)));
        assert_eq!(answers.complete(0, &part(&first, 64, 64), Time::ns(4)), None);
        assert_eq!(answers.ask(0, &first, Time::ns(5)), Some(1));
        assert_eq!((answers.unexpected(), answers.early, answers.reused), (1, 0, 0));
        let refused = Header::completion_for(&first, ROOT, Status::UnsupportedRequest).unwrap();
        assert_eq!(answers.complete(0, &refused, Time::ns(6)), Some(1));
        assert!(!answers.is_open(1));
    }

    #[test]
    fn a_completion_may_be_captured_a_little_before_its_request() {
        let request = read(5, 0x1000, 512);
        for (at, early) in [(Time::us(11), 1), (Time::us(12), 0)] {
            let mut answers = Answers::default();
            assert_eq!(answers.complete(0, &part(&request, 0, 64), Time::us(1)), None);
            answers.ask(0, &request, at);
            assert_eq!((answers.early, answers.unexpected()), (early, 1 - early));
            assert_eq!(answers.complete(0, &part(&request, 64, 64), Time::us(20)), Some(0));
            assert_eq!(answers.get(0).unwrap().done.is_some(), early == 1);
        }
    }

    #[test]
    fn of_two_with_the_same_tag_the_one_that_fits() {
        let mut answers = Answers::default();
        let (first, second) = (read(5, 0x1000, 512), read(5, 0x2000, 64));
        answers.ask(0, &first, Time::ZERO);
        answers.ask(0, &second, Time::ZERO);
        assert_eq!(answers.reused, 1);
        assert_eq!(answers.complete(0, &part(&second, 0, 16), Time::ZERO), Some(1));
        assert_eq!(answers.complete(0, &part(&first, 0, 128), Time::ZERO), Some(0));
        // The other way, and a posted request.
        answers.ask(1, &first, Time::ZERO);
        assert_eq!(answers.complete(0, &part(&first, 0, 128), Time::ZERO), None);
        assert_eq!(answers.ask(0, &Header::mem_write_bytes(DEVICE, 0, 0, 4).unwrap(), Time::ZERO), None);
    }
}
