//! Notices: messages that tell software of the host's writes to what the device keeps, at most one of each source in the ring.
//!
//! A write is told of at once, if no notice of its source waits or is in the ring; otherwise when software has freed that one, once for all
//! writes that came in between, with what the last of them left. So software hears of the last write, whatever comes before, and a
//! host's write never waits for software.
//!
//! A notice has the place of the write that it tells of in the order of what the function received: it overtakes no earlier TLP, and tells
//! nothing that a later write changed.

use std::collections::BTreeMap;

use mlx5_twin_sim::time::Time;

/// What the host has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// A doorbell, by its number among all of the function.
    Doorbell(u32),
    /// A stateful region, by its number among all regions.
    Region(u32),
}

/// A write of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct News {
    /// Its place in the order of what the function received.
    pub(super) order: u64,
    /// When it came.
    pub(super) time: Time,
    /// What it left: a doorbell's value, or 0.
    pub(super) value: u32,
}

/// Where the notice of a source is.
#[derive(Clone, Copy, Debug, Default)]
enum Notice {
    /// There's nothing to tell.
    #[default]
    Nothing,
    /// It may go into the ring.
    Due(News),
    /// It's in the ring as this message, and software hasn't freed it: what it tells, unless that's no news any more.
    InRing(u32, Option<News>),
}

/// The notices of a function: each with the last write that came after the one it tells of.
#[derive(Debug)]
pub(super) struct Notices {
    all: BTreeMap<Source, (Notice, Option<News>)>,
    /// Those that are due, by their places.
    due: BTreeMap<u64, Source>,
}

impl Notices {
    /// Notices of these sources; writes to others are nobody's business.
    pub(super) fn new(sources: impl IntoIterator<Item = Source>) -> Notices {
        Notices { all: sources.into_iter().map(|source| (source, Default::default())).collect(), due: BTreeMap::new() }
    }

    /// The source was written.
    pub(super) fn written(&mut self, source: Source, news: News) {
        let Some((notice, later)) = self.all.get_mut(&source) else { return };
        if matches!(notice, Notice::Nothing) {
            *notice = Notice::Due(news);
            self.due.insert(news.order, source);
        } else {
            *later = Some(news);
        }
    }

    /// What notices are of, in their order.
    pub(super) fn sources(&self) -> impl Iterator<Item = Source> {
        self.all.keys().copied()
    }

    /// The place of the oldest notice that's due.
    pub(super) fn first_due(&self) -> Option<u64> {
        self.due.first_key_value().map(|(&order, _)| order)
    }

    /// The oldest notice that's due goes into the ring as message `sequence`.
    pub(super) fn send(&mut self, sequence: u32) -> Option<(Source, News)> {
        let (_, source) = self.due.pop_first()?;
        let (notice, _) = self.all.get_mut(&source)?;
        let Notice::Due(news) = *notice else { return None };
        *notice = Notice::InRing(sequence, Some(news));
        Some((source, news))
    }

    /// Software has freed the message `sequence`, if it's of this source.
    pub(super) fn freed(&mut self, source: Source, sequence: u32) {
        self.leaves_ring(source, sequence, false);
    }

    /// Software is gone and hasn't freed the message `sequence`: the last write is to be told of again, to whoever comes next.
    pub(super) fn returned(&mut self, source: Source, sequence: u32) {
        self.leaves_ring(source, sequence, true);
    }

    fn leaves_ring(&mut self, source: Source, sequence: u32, again: bool) {
        let Some((notice, later)) = self.all.get_mut(&source) else { return };
        let Notice::InRing(number, told) = *notice else { return };
        if number == sequence {
            *notice = later.take().or(told.filter(|_| again)).map_or(Notice::Nothing, |news| {
                self.due.insert(news.order, source);
                Notice::Due(news)
            });
        }
    }

    /// What was written is no news any more. What is in the ring stays there.
    pub(super) fn forget(&mut self) {
        self.due.clear();
        for (notice, later) in self.all.values_mut() {
            *later = None;
            *notice = match *notice {
                Notice::InRing(sequence, _) => Notice::InRing(sequence, None),
                Notice::Nothing | Notice::Due(_) => Notice::Nothing,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// What can happen.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Write(u32),
        /// The ring has a slot, and takes one notice.
        Send,
        /// Software frees so many messages.
        Free(usize),
        /// The ring goes, with what software hasn't freed.
        Leave,
        Reset,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..4_u32).prop_map(Step::Write),
            3 => Just(Step::Send),
            2 => (1..4_usize).prop_map(Step::Free),
            1 => Just(Step::Leave),
            1 => Just(Step::Reset),
        ]
    }

    /// A source, said plainly.
    #[derive(Clone, Copy, Default)]
    struct Naive {
        in_ring: bool,
        /// What the one in the ring tells, until a reset.
        told: Option<u64>,
        waits: Option<u64>,
        later: Option<u64>,
    }

    proptest! {
        /// Against the rule said plainly. A write's value and time are its place here.
        #[test]
        fn coalescing(steps in prop::collection::vec(any_step(), 0..200)) {
            let mut notices = Notices::new((0..3).map(Source::Doorbell));
            let mut naive = [Naive::default(); 4];
            let mut ring = VecDeque::new();
            let (mut order, mut sequence) = (0, 0);
            for step in steps {
                order += 1;
                match step {
                    Step::Write(number) => {
                        let news = News { order, time: Time(order), value: order as u32 };
                        notices.written(Source::Doorbell(number), news);
                        let entry = &mut naive[number as usize];
                        if entry.in_ring || entry.waits.is_some() {
                            entry.later = Some(order);
                        } else {
                            entry.waits = Some(order);
                        }
                    }
                    Step::Send => {
                        // The last one isn't asked for.
                        let waiting = (0..3).filter_map(|number| Some((naive[number].waits?, number)));
                        let oldest = waiting.min();
                        prop_assert_eq!(notices.first_due(), oldest.map(|(order, _)| order));
                        let sent = notices.send(sequence);
                        let told = sent.map(|(source, news)| (source, news.order, news.time, news.value));
                        let expected = oldest.map(|(order, number)| {
                            (Source::Doorbell(number as u32), order, Time(order), order as u32)
                        });
                        prop_assert_eq!(told, expected);
                        let Some((_, number)) = oldest else { continue };
                        (naive[number].in_ring, naive[number].waits) = (true, None);
                        naive[number].told = Some(oldest.map_or(0, |(order, _)| order));
                        ring.push_back((number, sequence));
                        sequence += 1;
                    }
                    Step::Free(count) => {
                        for (number, sequence) in ring.drain(..count.min(ring.len())) {
                            // A message of another number, or of another source, frees nothing.
                            notices.freed(Source::Doorbell(number as u32), sequence + 1);
                            notices.freed(Source::Region(number as u32), sequence);
                            notices.freed(Source::Doorbell(number as u32), sequence);
                            let entry = &mut naive[number];
                            (entry.in_ring, entry.waits, entry.later) = (false, entry.later, None);
                        }
                    }
                    Step::Leave => {
                        for (number, sequence) in ring.drain(..) {
                            notices.returned(Source::Doorbell(number as u32), sequence + 1);
                            notices.returned(Source::Doorbell(number as u32), sequence);
                            // Too late.
                            notices.freed(Source::Doorbell(number as u32), sequence);
                            let entry = &mut naive[number];
                            (entry.in_ring, entry.waits, entry.later) = (false, entry.later.or(entry.told), None);
                        }
                    }
                    Step::Reset => {
                        notices.forget();
                        for entry in &mut naive {
                            (entry.waits, entry.later, entry.told) = (None, None, None);
                        }
                    }
                }
            }
        }
    }
}
