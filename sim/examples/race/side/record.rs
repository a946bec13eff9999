//! What was delivered, in order, as lines of JSON.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use mlx5_twin_sim::probe::{Deliver, Direction, LinkId, Probe, Transmit};
use mlx5_twin_sim::tlp::{Bdf, Class, Header};
use serde::Serialize;

use super::workload::hash;

/// A TLP that came to its destination. Tags are left out: each side draws its own.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Delivered {
    pub(crate) direction: &'static str,
    pub(crate) class: &'static str,
    kind: &'static str,
    requester: u16,
    length: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enables: Option<[u8; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completer: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    byte_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lower_address: Option<u8>,
    /// FNV-1a of the payload, in hexadecimal.
    payload: String,
}

impl Delivered {
    /// All but direction and class as a line of text, as `race.py` makes it for its sums.
    #[allow(dead_code, reason = "the test uses it, the example doesn't")]
    pub(crate) fn text(&self) -> String {
        let shown = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        let enables = |at: usize| shown(self.enables.map(|enables| enables[at].into()));
        format!(
            "{} {} {} {} {} {} {} {} {} {} {}\n",
            self.kind,
            self.requester,
            self.length,
            shown(self.address),
            enables(0),
            enables(1),
            shown(self.completer.map(u64::from)),
            shown(self.status.map(u64::from)),
            shown(self.byte_count.map(u64::from)),
            shown(self.lower_address.map(u64::from)),
            self.payload
        )
    }
}

/// Looks at the last link of each way: there a TLP's payload is seen, and it counts when it's delivered.
pub(crate) struct Recorder {
    /// The endpoint.
    pub(crate) id: Bdf,
    /// Where its BAR begins.
    pub(crate) bar: u64,
    /// On their last link, by direction and class.
    pub(crate) under_way: [[VecDeque<(Header, Delivered)>; 3]; 2],
    pub(crate) delivered: Arc<Mutex<Vec<Delivered>>>,
}

/// The link above the switch, and the one below it.
const UPPER: LinkId = LinkId(0);
const LOWER: LinkId = LinkId(1);

impl Recorder {
    fn line(&self, direction: Direction, header: &Header, payload: &[u8]) -> Delivered {
        let (direction, base) = match direction {
            Direction::Downstream => ("down", self.bar),
            Direction::Upstream => ("up", 0),
        };
        let class = match header.kind().class() {
            Class::Posted => "P",
            Class::NonPosted => "NP",
            Class::Completion => "CPL",
        };
        let mut line = Delivered {
            direction,
            class,
            kind: header.kind().name(),
            requester: header.requester().0,
            length: header.length_dw(),
            payload: format!("{:016x}", hash(payload)),
            ..Delivered::default()
        };
        if header.kind().is_completion() {
            line.completer = Some(header.completer().0);
            line.status = Some(header.status().bits());
            line.byte_count = Some(header.byte_count());
            line.lower_address = Some(header.lower_address());
        } else {
            line.address = Some(header.address().wrapping_sub(base));
            line.enables = Some([header.first_be(), header.last_be()]);
        }
        line
    }
}

impl Probe for Recorder {
    fn transmit(&mut self, event: &Transmit<'_>) {
        if (event.link, event.direction) != (UPPER, Direction::Upstream)
            && (event.link, event.direction) != (LOWER, Direction::Downstream)
        {
            return;
        }
        let header = Header::decode(event.header).expect("a TLP of this fabric");
        let line = self.line(event.direction, &header, event.payload);
        let class = header.kind().class() as usize;
        self.under_way[event.direction as usize][class].push_back((header, line));
    }

    fn deliver(&mut self, event: &Deliver<'_>) {
        let header = event.header;
        let from_endpoint = (header.requester() == self.id) != header.kind().is_completion();
        let direction = if from_endpoint { Direction::Upstream } else { Direction::Downstream };
        let class = header.kind().class() as usize;
        let (sent, line) = self.under_way[direction as usize][class].pop_front().expect("it was on the last link");
        assert_eq!(&sent, header, "delivered in another order than sent");
        self.delivered.lock().expect("no panic").push(line);
    }
}
