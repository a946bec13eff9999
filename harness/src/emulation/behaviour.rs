//! The loop of an emulation program, written once: functions that behave alike, at one or several ports, which may go over to another process while the
//! host uses them.
//!
//! A device implements [`Behaviour`]; [`serve`] claims its functions and calls it. Who wants a loop of his own uses [`Function`](super::Function) or
//! [`Channel`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mlx5_twin_sim::time::Time;

use super::succession::{Offer, Succession, take_over};
use super::{Channel, Description, DeviceClock, Error, Port, Request};
use crate::backend::Backend;

/// How often is looked whether a successor has come (ours): what a hand-over may take longer.
const LOOK: Duration = Duration::from_millis(20);

/// How the functions of one kind behave: registers, and what is done at which request. One for each function.
pub trait Behaviour: Default {
    /// Whether it has times of its own. If not, nobody looks at the clock for it, and the times that it's given are zero.
    const KEEPS_TIME: bool = false;

    /// What the function at downstream port `port` looks like.
    fn description(port: u16) -> Description;

    /// Carries out a request, and answers it if it waits for an answer: by `channel`, for the function at `port`.
    ///
    /// # Errors
    /// They end the program.
    fn request(&mut self, channel: &mut Channel, port: Port, request: Request, now: Time) -> Result<(), Error>;

    /// When it has something to do although nobody asks, on the [clock](DeviceClock) of the functions. `None`: never.
    fn next_time(&self) -> Option<Time> {
        None
    }

    /// Does what is due by `now`. Called before each request, and at the time that [`Behaviour::next_time`] gives or later.
    ///
    /// # Errors
    /// They end the program.
    fn advance(&mut self, _channel: &mut Channel, _port: Port, _now: Time) -> Result<(), Error> {
        Ok(())
    }

    /// All that another process needs to go on in its place. `None` if that can't be.
    fn save(&self) -> Option<Vec<u8>> {
        None
    }

    /// Goes on from what was saved. `None` if these bytes aren't that.
    fn restore(_saved: &[u8]) -> Option<Self> {
        None
    }
}

/// Which functions a program serves, and whom it takes them from and gives them to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The downstream ports, at least one.
    pub ports: Vec<u16>,
    /// A Unix socket at which another process serves these functions and hands them over.
    pub take_over: Option<PathBuf>,
    /// Where this process listens for one that takes over. The path must not exist: one that takes over listens at another path than it takes over by.
    pub hand_over: Option<PathBuf>,
}

impl Default for Serving {
    /// The function at port 0, from its beginning to its end.
    fn default() -> Serving {
        Serving { ports: vec![0], take_over: None, hand_over: None }
    }
}

impl Serving {
    /// The port, for a device that can only serve one, and not hand it over.
    ///
    /// # Errors
    /// [`Error::Serving`] if more is asked for.
    pub fn only_port(&self) -> Result<u16, Error> {
        match self {
            Serving { ports, take_over: None, hand_over: None } if ports.len() == 1 => Ok(ports[0]),
            Serving { ports, .. } if ports.len() != 1 => {
                Err(Error::Serving(format!("this device serves one port, not {}", ports.len())))
            }
            _ => Err(Error::Serving("this device can't be handed over".to_owned())),
        }
    }
}

/// The functions of a program, on one channel.
pub(super) struct Service<B> {
    pub(super) channel: Channel,
    pub(super) functions: BTreeMap<Port, B>,
}

/// Serves functions until nothing will ever happen again, somebody asks for the end, or another process has taken over. Gives how they were then, by port. A host
/// that is always busy doesn't keep it from ending ([`Channel::next`]); what it asks afterwards is ended by the device.
///
/// # Errors
/// The device doesn't speak our protocol, refuses a function, or is gone; what a [`Behaviour`] gives; [`Error::Serving`]; a hand-over that failed so that
/// nobody serves the functions.
pub fn serve<B: Behaviour>(backend: Arc<dyn Backend>, serving: &Serving) -> Result<BTreeMap<Port, B>, Error> {
    let Some(&first) = serving.ports.first() else {
        return Err(Error::Serving("there's no port to serve".to_owned()));
    };
    let settings = *B::description(first).settings();
    // What can't be had is found out before the other process has given anything away.
    let mut offer = serving.hand_over.as_deref().map(Offer::listen).transpose()?;
    let mut service = match &serving.take_over {
        Some(path) => take_over(Arc::clone(&backend), &serving.ports, &settings, path)?,
        None => Service::begin(Channel::open(Arc::clone(&backend), &settings)?, &serving.ports)?,
    };
    let mut clock = DeviceClock::new(backend, Port(first))?;
    loop {
        let look = offer.as_ref().map(|_| LOOK);
        let found = match (service.next_time().map(|at| clock.left(at)), look) {
            (None, None) => service.channel.next()?,
            (due, look) => service.channel.next_within(due.into_iter().chain(look).min().unwrap_or_default())?,
        };
        if found.is_none() && service.channel.is_silent() {
            break;
        }
        let now = if B::KEEPS_TIME { clock.look()? } else { Time::ZERO };
        service.advance(now)?;
        if let Some((port, request)) = found {
            service.request(port, request, now)?;
        }
        if let Some(offer) = &mut offer
            && offer.attend(&mut service, now)? == Succession::Done
        {
            break;
        }
    }
    service.channel.close()?;
    Ok(service.functions)
}

impl<B: Behaviour> Service<B> {
    /// Claims the functions at these ports.
    pub(super) fn begin(mut channel: Channel, ports: &[u16]) -> Result<Service<B>, Error> {
        let mut functions = BTreeMap::new();
        for &port in ports {
            functions.insert(channel.claim(&B::description(port))?, B::default());
        }
        Ok(Service { channel, functions })
    }

    fn next_time(&self) -> Option<Time> {
        self.functions.values().filter_map(Behaviour::next_time).min()
    }

    fn advance(&mut self, now: Time) -> Result<(), Error> {
        self.functions.iter_mut().try_for_each(|(port, function)| function.advance(&mut self.channel, *port, now))
    }

    pub(super) fn request(&mut self, port: Port, request: Request, now: Time) -> Result<(), Error> {
        match self.functions.get_mut(&port) {
            Some(function) => function.request(&mut self.channel, port, request, now),
            None => Err(Error::NoFunction(port)),
        }
    }
}
