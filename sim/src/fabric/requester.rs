//! What a requester keeps of its own non-posted requests: tags, how much data is still to come, and deadlines.

use std::collections::VecDeque;

use crate::time::Time;
use crate::tlp::{Header, Kind, Status};

/// No tag: the end of a list.
const NONE: u16 = u16::MAX;

/// What's behind a tag.
#[derive(Clone, Copy, Debug)]
struct Tag {
    /// Whether a request is outstanding under it.
    live: bool,
    /// Lower address of the next completion, 7 bits.
    lower_address: u8,
    /// Neighbours among the outstanding requests, in the order of issue.
    older: u16,
    newer: u16,
    /// Bytes still to come, counted as in the Byte Count field; 0 for a request without data in its answer.
    remaining: u32,
    /// Bytes that have come.
    received: u32,
    /// The owner's name for the request.
    token: u64,
    deadline: Time,
}

/// What a completion means to the requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Data for the request `token`: it belongs at `offset` of the request's data and is `len` bytes long, after `skip`
    /// bytes of the payload's first dword that weren't asked for. `done` if it's the last.
    Data {
        /// The request.
        token: u64,
        /// Where the data belongs, in bytes from the first byte asked for.
        offset: u32,
        /// Bytes of the payload that aren't data, at its beginning.
        skip: u32,
        /// Bytes of data.
        len: u32,
        /// Whether the request is complete.
        done: bool,
    },
    /// The request `token`, which expects no data, is complete.
    Done {
        /// The request.
        token: u64,
    },
    /// The request `token` ended with a status other than success.
    Failed {
        /// The request.
        token: u64,
        /// The completion's status.
        status: Status,
    },
    /// The completion answers no request of ours, or doesn't fit the one whose tag it has.
    Unexpected,
}

/// The table of outstanding requests of one requester. All requests have the same timeout, so their order of issue is that of
/// their deadlines, and one pending call is enough for all of them.
#[derive(Debug)]
pub struct Requester {
    tags: Vec<Tag>,
    free: VecDeque<u16>,
    oldest: u16,
    newest: u16,
    live: usize,
    /// Tags of requests that timed out. Each rests for one more timeout, so that a late completion can't go to the tag's next owner.
    quarantine: VecDeque<(Time, u16)>,
    timeout: Time,
    /// Whether a call of `expire` is pending.
    armed: bool,
}

impl Requester {
    /// A requester with `tags` tags (32, 256, or up to 768 of the 10-bit ones).
    pub fn new(tags: u16, timeout: Time) -> Requester {
        let tag = Tag {
            live: false,
            lower_address: 0,
            older: NONE,
            newer: NONE,
            remaining: 0,
            received: 0,
            token: 0,
            deadline: Time::ZERO,
        };
        Requester {
            tags: vec![tag; usize::from(tags)],
            free: (0..tags).collect(),
            oldest: NONE,
            newest: NONE,
            live: 0,
            quarantine: VecDeque::new(),
            timeout,
            armed: false,
        }
    }

    /// Whether a tag is free.
    #[inline]
    pub fn has_tag(&self) -> bool {
        !self.free.is_empty()
    }

    /// Requests that wait for their completion.
    pub fn outstanding(&self) -> usize {
        self.live
    }

    /// Takes a tag for a request whose answer has `expected` bytes (0 if it has no data), the first at `lower_address`.
    /// `None` if no tag is free. The second value is the time at which [`Requester::expire`] must be called; it's given only
    /// if no such call is pending.
    #[inline]
    pub fn begin(&mut self, token: u64, expected: u32, lower_address: u8, now: Time) -> Option<(u16, Option<Time>)> {
        let tag = self.free.pop_front()?;
        let deadline = now + self.timeout;
        let older = self.newest;
        self.tags[usize::from(tag)] =
            Tag { live: true, lower_address, older, newer: NONE, remaining: expected, received: 0, token, deadline };
        match older {
            NONE => self.oldest = tag,
            _ => self.tags[usize::from(older)].newer = tag,
        }
        self.newest = tag;
        self.live += 1;
        let call = (!self.armed).then_some(deadline);
        self.armed = true;
        Some((tag, call))
    }

    /// Finds the request that a completion belongs to.
    #[inline]
    pub fn complete(&mut self, completion: &Header) -> Outcome {
        let tag = usize::from(completion.tag());
        let Some(request) = self.tags.get_mut(tag).filter(|tag| tag.live) else {
            return Outcome::Unexpected;
        };
        let token = request.token;
        let status = completion.status();
        if status != Status::Successful {
            self.finish(tag);
            return Outcome::Failed { token, status };
        }
        if matches!(completion.kind(), Kind::Cpl | Kind::CplLk) {
            if request.remaining != 0 {
                return Outcome::Unexpected;
            }
            self.finish(tag);
            return Outcome::Done { token };
        }
        // Every completion says how much is left and where it begins: both must be what we wait for.
        let fits = completion.byte_count() == request.remaining && completion.lower_address() == request.lower_address;
        if !fits || request.remaining == 0 {
            return Outcome::Unexpected;
        }
        let skip = u32::from(completion.lower_address() & 3);
        let len = (completion.payload_len() as u32 - skip).min(request.remaining);
        let offset = request.received;
        request.received += len;
        request.remaining -= len;
        request.lower_address = request.lower_address.wrapping_add(len as u8) & 0x7f;
        let done = request.remaining == 0;
        if done {
            self.finish(tag);
        }
        Outcome::Data { token, offset, skip, len, done }
    }

    /// Ends the request that a completion belongs to without its data: gives the request's token. Its tag rests as that of a late one does, as more
    /// completions may come. `None` if there's no such request.
    pub fn abandon(&mut self, completion: &Header, now: Time) -> Option<u64> {
        let tag = completion.tag();
        let token = self.tags.get(usize::from(tag)).filter(|tag| tag.live)?.token;
        // What came last rests longest. The call that was pending for the request comes no later than that.
        self.unlink(usize::from(tag));
        self.quarantine.push_back((now + self.timeout, tag));
        Some(token)
    }

    /// The requests that wait for their completion, the oldest first.
    pub fn tokens(&self) -> impl Iterator<Item = u64> + '_ {
        let live = |tag: u16| self.tags.get(usize::from(tag)).filter(|tag| tag.live);
        let mut next = self.oldest;
        std::iter::from_fn(move || {
            let tag = live(next)?;
            next = tag.newer;
            Some(tag.token)
        })
    }

    /// Ends the oldest request `token` without an answer. Its tag rests as that of a late one does. `false` if there's none.
    pub fn forget(&mut self, token: u64, now: Time) -> bool {
        let mut tag = self.oldest;
        while let Some(request) = self.tags.get(usize::from(tag)) {
            if request.token == token {
                self.unlink(usize::from(tag));
                self.quarantine.push_back((now + self.timeout, tag));
                return true;
            }
            tag = request.newer;
        }
        false
    }

    #[inline]
    fn finish(&mut self, tag: usize) {
        self.unlink(tag);
        self.free.push_back(tag as u16);
    }

    #[inline]
    fn unlink(&mut self, tag: usize) {
        let Tag { older, newer, .. } = self.tags[tag];
        self.tags[tag].live = false;
        self.live -= 1;
        match older {
            NONE => self.oldest = newer,
            _ => self.tags[usize::from(older)].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            _ => self.tags[usize::from(newer)].older = older,
        }
    }

    /// Ends the requests whose time is over, and calls `expired` with the token of each. Gives the time at which it must be
    /// called again, if it must.
    pub fn expire(&mut self, now: Time, mut expired: impl FnMut(u64)) -> Option<Time> {
        while let Some(&(_, tag)) = self.quarantine.front().filter(|(until, _)| *until <= now) {
            self.quarantine.pop_front();
            self.free.push_back(tag);
        }
        while self.oldest != NONE && self.tags[usize::from(self.oldest)].deadline <= now {
            let tag = self.oldest;
            self.unlink(usize::from(tag));
            self.quarantine.push_back((now + self.timeout, tag));
            expired(self.tags[usize::from(tag)].token);
        }
        let deadline = (self.oldest != NONE).then(|| self.tags[usize::from(self.oldest)].deadline);
        let rest = self.quarantine.front().map(|&(until, _)| until);
        let call = [deadline, rest].into_iter().flatten().min();
        self.armed = call.is_some();
        call
    }

    /// Forgets all requests, as a reset does; their tags rest, so that what still comes is unexpected. The pending call of
    /// [`Requester::expire`] stays pending.
    pub fn reset(&mut self, now: Time) {
        while self.oldest != NONE {
            let tag = self.oldest;
            self.unlink(usize::from(tag));
            self.quarantine.push_back((now + self.timeout, tag));
        }
    }
}
