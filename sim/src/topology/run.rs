//! A topology that's running: its hosts have found and configured what is below them.

use super::build::{Built, Part, PartKind};
use crate::host::{EnumerationError, Found, Settings, Simulation, enumerate_virtual};
use crate::tlp::Bdf;

/// Why a fabric can't be put to use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// A root complex can't find or configure what's below it.
    #[error("{root}: {error}")]
    Enumeration {
        /// The root complex's name.
        root: String,
        /// Why.
        error: EnumerationError,
    },
    /// A host program never came to its end.
    #[error("{0}: enumeration waits for something that never comes")]
    Stuck(String),
    /// The hosts found something else than what is there.
    #[error("{name}: enumeration found {found} at its place")]
    Mismatch {
        /// The part.
        name: String,
        /// The function that was found instead; 0 if there were no more.
        found: Bdf,
    },
}

/// A simulation of a topology with what its hosts have found.
#[derive(Debug)]
pub struct Running {
    /// The simulation.
    pub simulation: Simulation,
    parts: Vec<Part>,
    /// Of each part: its functions. An endpoint's own; of a switch and a root complex its ports.
    functions: Vec<Vec<Found>>,
}

impl Built {
    /// Lets the host of each root complex find and configure what is below it, one after the other, and enable `virtual_functions` of each physical
    /// function.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn enumerate(self, settings: Settings, virtual_functions: u16) -> Result<Running, RunError> {
        let Built { fabric, parts, .. } = self;
        let mut simulation = Simulation::new(fabric);
        let mut functions = vec![Vec::new(); parts.len()];
        for (number, root) in parts.iter().enumerate().filter(|(_, part)| part.kind == PartKind::Root) {
            let host = simulation.host(root.node);
            let found = simulation.run(async move { enumerate_virtual(&host, settings, virtual_functions).await });
            let found = found.ok_or_else(|| RunError::Stuck(root.name.clone()))?;
            let found = found.map_err(|error| RunError::Enumeration { root: root.name.clone(), error })?;
            let mut walk =
                Walk { parts: &parts, found: found.into_iter(), virtual_functions, functions: &mut functions };
            walk.ports(number, root)?;
            if let Some(more) = walk.found.next() {
                return Err(RunError::Mismatch { name: root.name.clone(), found: more.id });
            }
        }
        Ok(Running { simulation, parts, functions })
    }
}

impl Running {
    /// All parts, those above before those below.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The part of that name.
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// The functions of a part as its host has found them: of an endpoint its own, each physical one followed by its virtual ones; of a switch its
    /// upstream port and its downstream ports; of a root complex its root ports. Empty if there's no such part, or if its slot was empty.
    pub fn functions(&self, name: &str) -> &[Found] {
        let place = self.parts.iter().position(|part| part.name == name);
        place.and_then(|place| self.functions.get(place)).map_or(&[], |functions| functions)
    }

    /// All endpoints that were there, with their functions.
    pub fn endpoints(&self) -> impl Iterator<Item = (&Part, &[Found])> {
        let all = self.parts.iter().zip(self.functions.iter().map(Vec::as_slice));
        all.filter(|(part, functions)| part.kind == PartKind::Endpoint && !functions.is_empty())
    }
}

/// Goes through what was found and what is there, both depth first.
struct Walk<'a> {
    parts: &'a [Part],
    found: std::vec::IntoIter<Found>,
    virtual_functions: u16,
    functions: &'a mut [Vec<Found>],
}

impl Walk<'_> {
    /// Takes the next function for a part.
    fn take(&mut self, number: usize, part: &Part, is_right: impl FnOnce(&Found) -> bool) -> Result<(), RunError> {
        let mismatch = |found| RunError::Mismatch { name: part.name.clone(), found };
        let found = self.found.next().ok_or_else(|| mismatch(Bdf(0)))?;
        if !is_right(&found) {
            return Err(mismatch(found.id));
        }
        if let Some(functions) = self.functions.get_mut(number) {
            functions.push(found);
        }
        Ok(())
    }

    /// The ports below a part, and what is below them.
    fn ports(&mut self, number: usize, part: &Part) -> Result<(), RunError> {
        let parts = self.parts;
        let first = u8::from(part.kind == PartKind::Root);
        for port in 0..part.ports {
            self.take(number, part, |found| found.bridge && usize::from(found.id.device() - first) == port)?;
            let below = part.below.get(port).and_then(|&below| parts.get(below).map(|part| (below, part)));
            let Some((number, below)) = below.filter(|(_, below)| below.present) else { continue };
            match below.endpoint {
                None => {
                    self.take(number, below, |found| found.bridge)?;
                    self.ports(number, below)?;
                }
                Some(endpoint) => {
                    let virtuals = endpoint.virtual_functions.min(self.virtual_functions);
                    for _ in 0..endpoint.functions {
                        self.take(number, below, |found| !found.bridge && found.physical.is_none())?;
                        for _ in 0..virtuals {
                            self.take(number, below, |found| found.physical.is_some())?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
