//! What becomes of frames on their way: errors that are planned, and those that come by chance.

use super::super::arena::TlpId;
use super::super::core::Core;
use super::super::dll::{Dllp, FcStage, Frame};
use super::super::ids::PortId;
use super::{Exact, Marked};
use crate::rng::Rng;

/// What becomes of a frame on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It comes as it was sent.
    Good,
    /// Its LCRC or CRC is wrong.
    Broken,
    /// Its sender takes it back: the LCRC is inverted, the end is bad. A DLLP is broken by that.
    Nullified,
    /// It isn't recognized at all.
    Lost,
}

/// Which frames of a port something happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// TLPs, those that are sent again among them.
    Tlp,
    /// Any DLLP.
    Dllp,
    /// Acks and Naks.
    AckNak,
    /// UpdateFCs.
    UpdateFc,
}

impl FrameKind {
    pub(super) const COUNT: usize = 4;

    fn fits(self, frame: &Frame<TlpId>) -> bool {
        matches!(
            (self, frame),
            (FrameKind::Tlp, Frame::Tlp { .. })
                | (FrameKind::Dllp, Frame::Dllp(_))
                | (FrameKind::AckNak, Frame::Dllp(Dllp::Ack(_) | Dllp::Nak(_)))
                | (FrameKind::UpdateFc, Frame::Dllp(Dllp::FlowControl { stage: FcStage::Update, .. }))
        )
    }

    const ALL: [FrameKind; FrameKind::COUNT] =
        [FrameKind::Tlp, FrameKind::Dllp, FrameKind::AckNak, FrameKind::UpdateFc];
}

/// How often frames of a port are broken or lost by chance, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// TLPs with a wrong LCRC.
    pub broken_tlps: u32,
    /// TLPs that aren't recognized.
    pub lost_tlps: u32,
    /// DLLPs with a wrong CRC.
    pub broken_dllps: u32,
    /// DLLPs that aren't recognized.
    pub lost_dllps: u32,
}

impl Exact {
    /// What becomes of the next frame.
    pub(super) fn fate(&mut self, frame: &Frame<TlpId>) -> Fate {
        let mut fate = Fate::Good;
        for kind in FrameKind::ALL.into_iter().filter(|kind| kind.fits(frame)) {
            let number = &mut self.sent[kind as usize];
            let now = *number;
            *number += 1;
            if let Some(at) = self.planned.iter().position(|plan| (plan.0, plan.1) == (kind, now)) {
                fate = self.planned.swap_remove(at).2;
            }
        }
        if let Frame::Tlp { item, sequence, again, .. } = *frame {
            // A TLP that has been taken may have left its place in the arena to the one that's marked: what is sent again goes by its number.
            let is_it = |marked: &&mut Marked| match marked.sequence {
                None => !again && marked.tlp == item,
                Some(number) => number == sequence,
            };
            if let Some(marked) = self.marked.iter_mut().find(is_it) {
                fate = Fate::Broken;
                marked.sequence = Some(sequence);
                marked.times -= 1;
            }
            self.marked.retain(|marked| marked.times > 0);
        }
        let (broken, lost) = match frame {
            Frame::Tlp { .. } => (self.noise.broken_tlps, self.noise.lost_tlps),
            Frame::Dllp(_) => (self.noise.broken_dllps, self.noise.lost_dllps),
        };
        if fate == Fate::Good && (broken | lost) != 0 {
            let luck = self.rng.range(0, 999_999);
            let (broken, lost) = (u64::from(broken), u64::from(lost));
            if luck < broken {
                fate = Fate::Broken;
            } else if luck < broken + lost {
                fate = Fate::Lost;
            }
        }
        fate
    }
}

impl Core {
    /// Breaks the LCRC of a TLP that `port` is going to send: the next one if `nth` is 0. TLPs that are sent again count, too. `false` if the link
    /// isn't an exact one.
    pub fn break_lcrc(&mut self, port: PortId, nth: u64) -> bool {
        self.meddle(port, FrameKind::Tlp, nth, Fate::Broken)
    }

    /// Breaks the LCRC of a TLP each time that `port` sends it, for so many times. To be called before it's sent. `false` if the link isn't an exact one.
    pub fn break_lcrc_of(&mut self, port: PortId, tlp: TlpId, times: u32) -> bool {
        self.exact(port).is_some_and(|exact| {
            if times > 0 {
                exact.marked.push(Marked { tlp, sequence: None, times });
            }
            true
        })
    }

    /// Decides what becomes of a frame that `port` is going to send: the next one of its kind if `nth` is 0. `false` if the link isn't an exact one.
    pub fn meddle(&mut self, port: PortId, kind: FrameKind, nth: u64, fate: Fate) -> bool {
        self.exact(port).is_some_and(|exact| {
            let number = exact.sent[kind as usize] + nth;
            exact.planned.push((kind, number, fate));
            true
        })
    }

    /// Lets frames that `port` sends be broken or lost by chance, as `seed` decides. `false` if the link isn't an exact one.
    pub fn set_noise(&mut self, port: PortId, noise: Noise, seed: u64) -> bool {
        self.exact(port).is_some_and(|exact| {
            exact.noise = noise;
            exact.rng = Rng::stream(seed, "noise");
            true
        })
    }
}

/// A DLLP with a wrong bit.
pub(super) const fn broken(bytes: [u8; Dllp::LEN]) -> [u8; Dllp::LEN] {
    let [a, b, c, d, e, f] = bytes;
    [a, b, c, d ^ 1, e, f]
}
