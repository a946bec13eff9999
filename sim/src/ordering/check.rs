//! The checker: who passed whom within a node, and whether the table allows it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::report::{MAX_KEPT, Moved, Report, Violation};
use super::seen::{Appearance, Identity, Lane, Sketch};
use super::table::{Attributes, Row, rule};
use crate::fabric::Fabric;
use crate::probe::{Direction, LinkId, Probe, Transmit};
use crate::time::Time;
use crate::tlp::{Bdf, Class, Kind, Malformed, Route};

/// The most TLPs that are remembered of a node before the oldest one is taken for consumed.
const WINDOW: usize = 1 << 16;

/// The most transaction IDs whose latest request is remembered.
const TRANSACTIONS: usize = 1 << 20;

/// Which nodes a fabric's links join. Nodes have numbers of any kind; on a live fabric they're those of its `NodeId`s.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// Of each link the node nearer to the root complex, and the other one.
    links: BTreeMap<LinkId, [u16; 2]>,
    /// How many links a node has.
    degrees: BTreeMap<u16, usize>,
}

impl Topology {
    /// A topology of these links: of each the node nearer to the root complex, then the other one.
    pub fn new(links: impl IntoIterator<Item = (LinkId, [u16; 2])>) -> Topology {
        let mut topology = Topology { links: links.into_iter().collect(), degrees: BTreeMap::new() };
        for node in topology.links.values().flatten() {
            *topology.degrees.entry(*node).or_default() += 1;
        }
        topology
    }

    /// The topology of a fabric as it is now.
    pub fn of(fabric: &Fabric) -> Topology {
        let ends = (0..=u16::MAX).map_while(|link| {
            let ends = fabric.ends(LinkId(link))?;
            Some((LinkId(link), ends.map(|end| end.node.0)))
        });
        Topology::new(ends)
    }

    /// The node that sends on a lane, and the one that receives.
    fn nodes(&self, lane: Lane) -> Option<[u16; 2]> {
        let [above, below] = *self.links.get(&lane.link)?;
        Some(match lane.direction {
            Direction::Downstream => [above, below],
            Direction::Upstream => [below, above],
        })
    }

    /// Whether what has come into a node may go out of it by another link.
    fn passes_on(&self, node: u16) -> bool {
        self.degrees.get(&node).is_some_and(|links| *links > 1)
    }
}

/// A place in the order in which TLPs come into a node: by time, then by number.
type Place = (Time, u64);

/// A TLP that has come into a node.
#[derive(Debug)]
struct Inside {
    /// By which lane; `None` if the node made it.
    by: Option<Lane>,
    sketch: Sketch,
    /// The request that a completion answers, if it was seen.
    answers: Option<Kind>,
    /// When it left, and by which lane: several for a broadcast.
    left: Vec<(Time, Lane)>,
}

impl Inside {
    fn is_broadcast(&self) -> bool {
        self.sketch.header.route() == Route::Broadcast
    }

    fn left_by(&self, lane: Lane) -> Option<Time> {
        self.left.iter().find(|(_, by)| *by == lane).map(|(at, _)| *at)
    }

    /// Whether it may still leave by `lane`.
    fn may_leave_by(&self, lane: Lane) -> bool {
        self.left.is_empty() || self.is_broadcast() && self.left_by(lane).is_none()
    }

    fn moved(&self, entered: Time, left: Time) -> Moved {
        Moved { header: self.sketch.header, by: self.by, entered, left }
    }
}

/// What has come into a node, in order.
#[derive(Debug, Default)]
struct Node {
    inside: BTreeMap<Place, Inside>,
    /// Those that may still leave, oldest first.
    waiting: BTreeMap<Identity, Vec<Place>>,
}

impl Node {
    fn enter(&mut self, place: Place, tlp: Inside) -> bool {
        let places = self.waiting.entry(tlp.sketch.identity()).or_default();
        let at = places.partition_point(|other| *other < place);
        places.insert(at, place);
        self.inside.insert(place, tlp);
        let full = self.inside.len() > WINDOW;
        if full {
            self.forget_first();
        }
        full
    }

    fn forget_first(&mut self) {
        if let Some((place, tlp)) = self.inside.pop_first() {
            self.stop_waiting(&tlp.sketch.identity(), place);
        }
    }

    fn stop_waiting(&mut self, identity: &Identity, place: Place) {
        if let Some(places) = self.waiting.get_mut(identity) {
            places.retain(|other| *other != place);
            if places.is_empty() {
                self.waiting.remove(identity);
            }
        }
    }

    /// Forgets what nothing that's still here can have been passed by.
    fn trim(&mut self) {
        while let Some((_, first)) = self.inside.first_key_value()
            && !first.left.is_empty()
            && !first.is_broadcast()
        {
            self.forget_first();
        }
    }
}

/// Watches TLPs go through nodes.
///
/// It's shown every TLP on every link in an order in which nothing leaves a node before it has come in: that of a [`Probe`], or sorted by time. A TLP
/// is found again on the next link by its header, its end-to-end prefixes and a digest of its payload; the type of a configuration request
/// may change at a bridge, and EP anywhere. The pairs that count have come into a node one after the other, and left it by the same lane the other
/// way round:
///
/// - by the same lane, or made by the node itself ([`Checker::made`]): the order is that of the lane;
/// - by different ones: only if the later one's first symbol was sent when the earlier one had certainly come in. That takes the longest time
///   from a first symbol to the node's queues: [`Checker::with_transit`]. Without it such pairs aren't judged.
///
/// What it can't decide:
///
/// - Of TLPs that are the same in all that is compared any one may have left; only what's a violation whichever it was is one.
/// - Whether a completion without data answers an I/O or configuration write (D2b) if it wasn't shown the request: [`Report::undecided`].
/// - What came of a TLP that never leaves: it was consumed, lost, or changed. It counts in [`Report::inside`], and isn't said to be passed.
/// - Whether a TLP that had to be able to pass (A3, A4, D3, D4) would have been: only that something stands still shows that.
#[derive(Debug)]
pub struct Checker {
    topology: Topology,
    transit: Option<Time>,
    nodes: BTreeMap<u16, Node>,
    /// The latest request of each transaction ID.
    requests: BTreeMap<(Bdf, u16), Kind>,
    number: u64,
    report: Report,
}

impl Checker {
    /// A checker that has seen nothing yet.
    pub fn new(topology: Topology) -> Checker {
        let (nodes, requests) = (BTreeMap::new(), BTreeMap::new());
        Checker { topology, transit: None, nodes, requests, number: 0, report: Report::default() }
    }

    /// Judges pairs that came by different links, too: `transit` is the longest time from the first symbol of a TLP on any link to its
    /// place in the queues of the node at the other end.
    #[must_use]
    pub fn with_transit(mut self, transit: Time) -> Checker {
        self.transit = Some(transit);
        self
    }

    /// A TLP begins on a link.
    pub fn see(&mut self, appearance: &Appearance<'_>) {
        let Some([from, to]) = self.topology.nodes(appearance.lane) else {
            self.report.unknown_links += 1;
            return;
        };
        let Ok(sketch) = Sketch::of(appearance.header, appearance.payload) else {
            self.report.unreadable += 1;
            return;
        };
        self.report.seen += 1;
        self.leave(from, appearance.lane, appearance.at, &sketch);
        if self.topology.passes_on(to) {
            self.enter(to, Some(appearance.lane), appearance.at, sketch);
        }
    }

    /// A node hands a TLP of its own to one of its transmitters: what a link alone doesn't show. Comes before the TLP is seen on the link.
    ///
    /// # Errors
    /// The rule that prefixes or header break.
    pub fn made(&mut self, node: u16, at: Time, header: &[u8], payload: &[u8]) -> Result<(), Malformed> {
        let sketch = Sketch::of(header, payload)?;
        self.enter(node, None, at, sketch);
        Ok(())
    }

    /// What has been found.
    pub fn report(&self) -> Report {
        let mut report = self.report.clone();
        let inside = self.nodes.values().flat_map(|node| node.inside.values());
        report.inside = inside.filter(|tlp| tlp.left.is_empty()).count() as u64;
        report
    }

    fn enter(&mut self, node: u16, by: Option<Lane>, at: Time, sketch: Sketch) {
        let header = &sketch.header;
        let transaction = (header.requester(), header.tag());
        let answers = match header.class() {
            Class::Completion => self.requests.get(&transaction).copied(),
            Class::NonPosted => {
                self.remember(transaction, header.kind());
                None
            }
            Class::Posted => None,
        };
        self.number += 1;
        let place = (at, self.number);
        let tlp = Inside { by, sketch, answers, left: Vec::new() };
        let forgot = self.nodes.entry(node).or_default().enter(place, tlp);
        self.report.forgotten += u64::from(forgot);
    }

    /// Notes the request of a transaction, so that its completion is known for what it is.
    fn remember(&mut self, transaction: (Bdf, u16), kind: Kind) {
        self.requests.insert(transaction, kind);
        if self.requests.len() > TRANSACTIONS {
            self.requests.pop_first();
        }
    }

    fn leave(&mut self, number: u16, lane: Lane, at: Time, sketch: &Sketch) {
        if sketch.header.class() == Class::NonPosted {
            self.remember((sketch.header.requester(), sketch.header.tag()), sketch.header.kind());
        }
        let identity = sketch.identity();
        let node = self.nodes.entry(number).or_default();
        let places = node.waiting.get(&identity).map_or(&[][..], Vec::as_slice);
        let may_leave = |place: &Place| node.inside.get(place).is_some_and(|tlp| tlp.may_leave_by(lane));
        let mut candidates = places.iter().copied().filter(may_leave);
        let Some(place) = candidates.next() else {
            self.report.made += 1;
            return;
        };
        // Which one it was isn't known: it counts as the newest for what it let pass, and as the oldest for what it passed.
        let newest = candidates.next_back();
        self.report.ambiguous += u64::from(newest.is_some());
        let Some(tlp) = node.inside.get_mut(&place) else { return };
        tlp.left.push((at, lane));
        let (leaving, broadcast) = ((tlp.by, tlp.moved(place.0, at)), tlp.is_broadcast());
        if !broadcast {
            node.stop_waiting(&identity, place);
        }
        self.report.matched += 1;
        self.judge(number, lane, place, newest.unwrap_or(place), leaving);
        if let Some(node) = self.nodes.get_mut(&number) {
            node.trim();
        }
    }

    /// Judges all that have come into a node behind a TLP, and left it before.
    fn judge(&mut self, number: u16, lane: Lane, place: Place, newest: Place, (by, moved): (Option<Lane>, Moved)) {
        let Some(node) = self.nodes.get(&number) else { return };
        let Some(earlier) = node.inside.get(&place) else { return };
        for (&(entered, _), later) in node.inside.range((std::ops::Bound::Excluded(newest), std::ops::Bound::Unbounded))
        {
            let Some(left) = later.left_by(lane) else { continue };
            let certain = later.by == by || self.transit.is_some_and(|transit| entered >= newest.0 + transit);
            if !certain {
                continue;
            }
            let (a, b) = (&later.sketch, &earlier.sketch);
            let mut attributes = Attributes::of(&a.header, &a.prefixes, &b.header, &b.prefixes);
            if later.answers.is_some_and(is_io_or_config_write) {
                attributes = attributes | Attributes::WRITE_COMPLETION;
            }
            let ask = |attributes| rule(Row::of(a.header.kind()), Row::of(b.header.kind()), attributes);
            let (name, passing) = ask(attributes);
            if passing.is_allowed() {
                continue;
            }
            let maybe = a.header.kind() == Kind::Cpl && later.answers.is_none();
            let undecided = maybe && ask(attributes | Attributes::WRITE_COMPLETION).1.is_allowed();
            let (later, earlier) = (later.moved(entered, left), moved);
            let violation = Violation { node: number, lane, later, earlier, rule: name };
            let (list, more) = if undecided {
                (&mut self.report.undecided, &mut self.report.more_undecided)
            } else {
                (&mut self.report.violations, &mut self.report.more_violations)
            };
            if list.len() < MAX_KEPT {
                list.push(violation);
            } else {
                *more += 1;
            }
        }
    }
}

fn is_io_or_config_write(kind: Kind) -> bool {
    matches!(kind, Kind::IOWr | Kind::CfgWr0 | Kind::CfgWr1)
}

/// A checker as the observer of a live fabric. Its clones share one checker.
#[derive(Clone, Debug)]
pub struct OrderProbe(Arc<Mutex<Checker>>);

impl OrderProbe {
    /// An observer that shows a checker all that it's shown.
    pub fn new(checker: Checker) -> OrderProbe {
        OrderProbe(Arc::new(Mutex::new(checker)))
    }

    /// What has been found so far.
    pub fn report(&self) -> Report {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).report()
    }
}

impl Probe for OrderProbe {
    fn transmit(&mut self, event: &Transmit<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).see(&event.into());
    }
}
