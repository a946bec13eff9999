//! Links whose data link layer is exact: the state machines of [`dll`](super::dll) at both ends, and the frames on the wire between them.
//!
//! A TLP stays in its slot of the arena until the other end has taken it. The replay buffer holds its number and its size: what the other end has
//! taken already is sent again as time on the wire only.
//!
//! What waits does so as on rated links, in a queue for each virtual channel ([`Channels`](super::channels::Channels)): a TLP takes its credits when the wire is free for
//! it and its turn has come. Channels beyond VC0 are initialized when both ends have enabled them, while others carry TLPs.
//!
//! Ordered sets are all that's still a rate: one SKP in so many bytes.

mod fate;
mod life;
mod wire;

use std::collections::VecDeque;

pub use fate::{Fate, FrameKind, Noise};

use super::arena::{TlpId, Weight};
use super::dll::{Amount, Frame, LinkError, Port, Sequence, Settings, ack_latency};
use crate::config::MAX_CHANNELS;
use crate::profile;
use crate::rng::Rng;
use crate::time::Time;
use crate::tlp::Class;

/// How long a link is retrained when REPLAY_NUM has rolled over (ours: Recovery takes some microseconds).
const RECOVERY: Time = Time::us(4);
/// TLPs of the largest size that the replay buffer holds beyond what is on its way (ours).
const REPLAY_TLPS: u64 = 4;
/// The receive buffer of a TLP whose channel has ended while it was on the wire: no receiver has that.
const NO_CHANNEL: u8 = u8::MAX;
/// Bytes of the largest TLP.
const LARGEST: u64 = 4096 + 32;

/// What happens at a port of an exact link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkAffair {
    /// The first frame on the wire towards it has come.
    Frame,
    /// It's time to look at what it has to send.
    Serve,
    /// So much of the receive buffer of a VC resource is free: at most 2,047 headers and 32,767 units of data.
    Free { channel: u8, class: Class, amount: Amount },
}

impl LinkAffair {
    /// As the number that an event carries, so that events stay as simple as they are. What is freed has bit 0, then channel, class, headers and data.
    #[inline(always)]
    fn token(self) -> u32 {
        match self {
            LinkAffair::Frame => 0,
            LinkAffair::Serve => 2,
            LinkAffair::Free { channel, class, amount } => {
                let Amount { headers, data } = amount;
                1 | (u32::from(channel) & 7) << 1
                    | (class as u32) << 4
                    | headers.min(0x7ff) << 6
                    | data.min(0x7fff) << 17
            }
        }
    }

    /// What a number stands for.
    const fn of(token: u32) -> LinkAffair {
        let class = match token >> 4 & 3 {
            0 => Class::Posted,
            1 => Class::NonPosted,
            _ => Class::Completion,
        };
        match token & 3 {
            0 => LinkAffair::Frame,
            2 => LinkAffair::Serve,
            _ => {
                let amount = Amount { headers: token >> 6 & 0x7ff, data: token >> 17 };
                LinkAffair::Free { channel: (token >> 1 & 7) as u8, class, amount }
            }
        }
    }
}

/// What a port of an exact link has sent and what went wrong there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// TLPs that were sent, each once.
    pub tlps: u64,
    /// TLPs that were sent again.
    pub replayed: u64,
    /// DLLPs that were sent.
    pub dllps: u64,
    /// Errors that the port found, by the numbers of [`LinkError`].
    pub errors: [u64; LinkError::COUNT],
}

impl LinkCounters {
    /// How often the port found an error.
    pub fn errors_of(&self, error: LinkError) -> u64 {
        self.errors.get(error as usize).copied().unwrap_or(0)
    }
}

/// A frame on the wire.
#[derive(Clone, Copy, Debug)]
struct Flying {
    frame: Frame<TlpId>,
    fate: Fate,
}

/// A TLP whose LCRC is to be broken so often, with its number as soon as it has one.
#[derive(Clone, Copy, Debug)]
struct Marked {
    tlp: TlpId,
    sequence: Option<Sequence>,
    times: u32,
}

/// A virtual channel beyond VC0 that both ends have: its VC ID, and the number of the VC resource at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) id: u8,
    pub(crate) far: u8,
}

/// One end of an exact link.
#[derive(Debug)]
pub(crate) struct Exact {
    port: Port<TlpId>,
    ps_per_byte_q16: u64,
    framing_bytes: u64,
    flight: Time,
    /// How long the other end takes to act on a TLP of each class.
    reaction: [Time; 3],
    busy_until: Time,
    /// When all that was taken by the other end has been acted upon.
    quiet_at: Time,
    /// What is on the wire, in order. After the link was down, so many of the first ones don't count.
    flying: VecDeque<Flying>,
    dead: usize,
    /// The channels beyond VC0, by the number of the VC resource here.
    pairs: [Option<Pair>; MAX_CHANNELS],
    /// When the next `Serve` comes.
    serve_at: Time,
    counters: LinkCounters,
    /// Frames of each kind so far, and what happens to which.
    sent: [u64; FrameKind::COUNT],
    planned: Vec<(FrameKind, u64, Fate)>,
    marked: Vec<Marked>,
    noise: Noise,
    rng: Rng,
}

impl Exact {
    /// The end of a link that sends to a port which takes `reaction` to act on a TLP of each class. Its link is down.
    pub(crate) fn new(link: &profile::Link, flight: Time, reaction: [Time; 3]) -> Exact {
        let beyond = link.virtual_channels.credits().iter();
        let rooms = std::iter::once(&link.credits).chain(beyond).map(room).collect();
        let ps_per_byte_q16 = with_skips(link.ps_per_byte_q16(), link.generation);
        // What is sent until an Ack can be there: two flights, and the largest Ack limit at both ends.
        let away = flight + flight + ack_latency(link.generation, link.lanes, 4096);
        let on_its_way = (u128::from(away.0) << 17) / u128::from(ps_per_byte_q16.max(1));
        let replay_bytes = (on_its_way as u64 + REPLAY_TLPS * LARGEST).min(u64::from(u32::MAX)) as u32;
        let settings = Settings {
            generation: link.generation,
            lanes: link.lanes,
            rooms,
            replay_bytes,
            round_trip: flight + flight,
        };
        Exact {
            port: Port::new(settings),
            ps_per_byte_q16,
            framing_bytes: link.framing_bytes(),
            flight,
            reaction,
            busy_until: Time::ZERO,
            quiet_at: Time::ZERO,
            flying: VecDeque::new(),
            dead: 0,
            pairs: [None; MAX_CHANNELS],
            serve_at: Time::MAX,
            counters: LinkCounters::default(),
            sent: [0; FrameKind::COUNT],
            planned: Vec::new(),
            marked: Vec::new(),
            noise: Noise::default(),
            rng: Rng::new(0),
        }
    }

    /// How long so many bytes take on the wire.
    fn wire(&self, bytes: u64) -> Time {
        Time((bytes * self.ps_per_byte_q16) >> 16)
    }

    /// Takes the credits of a TLP for the channel of a VC ID, if they're there.
    pub(crate) fn take_credits(&mut self, id: u8, weight: Weight) -> bool {
        self.port.take_credits(id, weight.class, weight.cost.amount())
    }

    /// Whether nothing stands in this end's receive buffers, of which all is advertised.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.port.buffers_are_free()
    }

    /// When all that was sent so far has arrived.
    pub(crate) fn quiet_at(&self) -> Time {
        self.quiet_at.max(self.busy_until + self.flight)
    }
}

/// A receive buffer by class.
fn room(credits: &profile::Credits) -> [Amount; 3] {
    [
        Amount { headers: credits.posted_headers, data: credits.posted_data },
        Amount { headers: credits.nonposted_headers, data: credits.nonposted_data },
        Amount { headers: credits.completion_headers, data: credits.completion_data },
    ]
}

/// The time of a byte with the ordered sets that come between: a SKP of four symbols in 1,180 symbols at least (8b/10b), one block in 370
/// (128b/130b) (base spec 4.2.7).
fn with_skips(ps_per_byte_q16: u64, generation: u8) -> u64 {
    if generation >= 3 { ps_per_byte_q16 * 371 / 370 } else { ps_per_byte_q16 * 1184 / 1180 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_were_written() {
        let frees = Class::ALL.into_iter().flat_map(|class| {
            let some = [(0, 1, 0), (7, 1, 256), (3, 2032, 32_752)];
            some.map(|(channel, headers, data)| LinkAffair::Free { channel, class, amount: Amount { headers, data } })
        });
        for affair in [LinkAffair::Frame, LinkAffair::Serve].into_iter().chain(frees) {
            assert_eq!(LinkAffair::of(affair.token()), affair);
        }
    }
}
