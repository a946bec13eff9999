//! What is on the wire of one exact link, frame by frame.

use std::sync::{Arc, Mutex};

use mlx5_twin_sim::probe::{LinkFrame, LinkId, Probe, Transmit};

use super::plant::Plant;

/// The link between the switch and the agent of [`single`](super::plant::single).
pub(crate) const LOWER: LinkId = LinkId(1);

/// Sees the frames of [`LOWER`].
#[derive(Clone, Default)]
pub(crate) struct Frames(Arc<Mutex<Vec<LinkFrame>>>);

impl Probe for Frames {
    fn transmit(&mut self, _: &Transmit<'_>) {}

    fn frame(&mut self, frame: &LinkFrame) {
        if frame.link == LOWER {
            self.0.lock().unwrap().push(*frame);
        }
    }
}

impl Frames {
    pub(crate) fn of(plant: &mut Plant) -> Frames {
        let frames = Frames::default();
        plant.fabric().set_probe(Some(Box::new(frames.clone())));
        frames
    }

    pub(crate) fn take(&self) -> Vec<LinkFrame> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
