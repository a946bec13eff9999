//! Counts and latencies of what went through the fabric.

use std::collections::BTreeMap;

use mlx5_twin_sim::probe::{Deliver, Probe, Transmit};
use mlx5_twin_sim::tlp::Kind;

use super::Histogram;

/// A probe that counts TLPs by type, with the time from their source to where they are consumed. Its memory is bounded by the number of
/// types and links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    latency: BTreeMap<Kind, Histogram>,
    links: Vec<[Traffic; 2]>,
}

/// What one direction of a link carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// TLPs.
    pub tlps: u64,
    /// Their bytes from the first prefix to the digest, without framing.
    pub bytes: u64,
}

impl Statistics {
    /// For each type of which a TLP arrived, in the order of [`Kind`]: how many, and their latencies in picoseconds.
    pub fn by_kind(&self) -> impl Iterator<Item = (Kind, &Histogram)> {
        self.latency.iter().map(|(kind, histogram)| (*kind, histogram))
    }

    /// TLPs that arrived.
    pub fn delivered(&self) -> u64 {
        self.latency.values().map(Histogram::count).sum()
    }

    /// For each link, by its number: downstream and upstream traffic.
    pub fn links(&self) -> &[[Traffic; 2]] {
        &self.links
    }
}

impl Probe for Statistics {
    fn transmit(&mut self, event: &Transmit<'_>) {
        let link = usize::from(event.link.0);
        if self.links.len() <= link {
            self.links.resize(link + 1, Default::default());
        }
        if let Some(traffic) = self.links.get_mut(link).and_then(|both| both.get_mut(event.direction as usize)) {
            traffic.tlps += 1;
            let digest = event.digest.map_or(0, |digest| digest.len());
            traffic.bytes += (event.header.len() + event.payload.len() + digest) as u64;
        }
    }

    fn deliver(&mut self, event: &Deliver<'_>) {
        let latency = event.at.since(event.born);
        self.latency.entry(event.header.kind()).or_default().add(latency.as_ps());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlx5_twin_sim::Time;
    use mlx5_twin_sim::probe::{Direction, LinkId};
    use mlx5_twin_sim::tlp::{Bdf, Header};

    #[test]
    fn counts_by_type_and_link() {
        let mut statistics = Statistics::default();
        let read = Header::mem_read_bytes(Bdf(0), 0, 0x1000, 4).unwrap();
        for (born, at) in [(100, 600), (200, 500), (0, 1000)] {
            statistics.deliver(&Deliver { at: Time::ps(at), born: Time::ps(born), header: &read });
        }
        let (kind, latency) = statistics.by_kind().next().unwrap();
        assert_eq!((kind, latency.count()), (Kind::MRd32, 3));
        assert_eq!((latency.min(), latency.percentile(50), latency.max()), (Some(300), Some(500), Some(1000)));

        let event = Transmit {
            at: Time::ZERO,
            link: LinkId(2),
            direction: Direction::Upstream,
            sequence: 0,
            header: &[0; 12],
            payload: &[0; 8],
            digest: Some([0; 4]),
        };
        statistics.transmit(&event);
        assert_eq!(statistics.links().len(), 3);
        assert_eq!(statistics.links()[2], [Traffic::default(), Traffic { tlps: 1, bytes: 24 }]);
        assert_eq!(statistics.delivered(), 3);
    }
}
