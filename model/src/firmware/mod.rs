//! The firmware as a state machine: a command in, an answer out.
//!
//! Nothing here knows of PCIe, of mailboxes or of time. [`Firmware::execute`] gets the bytes of a
//! command and fills the bytes of its answer; what the engine around it must then react to comes
//! back as an [`Effect`].
//!
//! A command is judged in this order: its header is there; the opcode is known; the state allows
//! it; its uid exists; it is not the driver's own and sent by a user context; the input is long
//! enough; the op_mod is known; the output is long enough. Then its own rules are checked, all of them before anything
//! changes. A refused command changes nothing.

mod commands;
mod dispatch;
pub mod nic_vport;
mod objects;
mod page_supply;
pub mod port;
pub mod resources;
pub mod syndrome;

use core::fmt;

use mlx5_twin_fw_cmds::cap::CapType;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::Status;

pub use dispatch::{COMMANDS, Caller, OpMods, Spec, spec};
pub use nic_vport::NicVport;
pub use objects::{NoObjects, ObjectKinds};
pub use page_supply::PageNeed;
pub use port::Port;
pub use resources::{Balance, Held, Limits, Resources};
pub use syndrome::{Failure, Syndrome};

use crate::profile::{Bar0Map, Capabilities, PortState, Profile, ProfileError};
use dispatch::{Answer, Command};

/// Bytes an output must have for status and syndrome to fit: less is an error of the command
/// queue's delivery, not of the command.
pub const MIN_OUTPUT: usize = 8;

/// Where a function is between two probes of its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// After reset, or after DISABLE_HCA. Only ENABLE_HCA leads on.
    Disabled,
    /// After ENABLE_HCA: the driver gives pages and sets capabilities.
    Enabled,
    /// After INIT_HCA: resources can be made.
    Initialised,
    /// After TEARDOWN_HCA: nothing is left but pages to take back.
    TornDown,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
            Self::Initialised => "initialised",
            Self::TornDown => "torn down",
        })
    }
}

/// What the engine around the firmware must react to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// ENABLE_HCA was carried out.
    HcaEnabled,
    /// DISABLE_HCA was carried out: the driver frees the command queue next.
    HcaDisabled,
    /// INIT_HCA was carried out.
    HcaInitialised,
    /// TEARDOWN_HCA was carried out: all resources are gone, event queues among them.
    HcaTornDown,
    /// The driver gave this many pages.
    PagesGiven(usize),
    /// The driver took this many pages back.
    PagesTaken(usize),
    /// The driver can't give the pages it was asked for.
    PagesRefused,
    /// The driver took the port up or down: it has this state now.
    PortChanged(PortState),
    /// An event queue was made.
    EqCreated(u8),
    /// An event queue is gone.
    EqDestroyed(u8),
    /// A user context was made.
    UidCreated(u16),
    /// A user context is gone, and with it all it had, among that these event queues.
    UidDestroyed {
        /// Its uid.
        uid: u16,
        /// Its event queues.
        eqs: Vec<u8>,
    },
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The command's opcode; 0 if the input did not even hold that.
    pub opcode: Opcode,
    /// Its operation modifier; for general objects their type, which has the same place.
    pub op_mod: u16,
    /// The uid in its header.
    pub uid: u16,
    /// Command status, as in the answer.
    pub status: Status,
    /// Syndrome, as in the answer.
    pub syndrome: u32,
    /// What the engine must react to.
    pub effect: Effect,
}

impl Executed {
    /// How a command ended.
    fn new(command: &Command<'_>, outcome: Result<Effect, Failure>) -> Self {
        let (status, syndrome, effect) = match outcome {
            Ok(effect) => (Status::OK, 0, effect),
            Err(failure) => (failure.status, failure.syndrome.0, Effect::None),
        };
        let (opcode, op_mod, uid) = (command.opcode(), command.op_mod(), command.uid());
        Self { opcode, op_mod, uid, status, syndrome, effect }
    }
}

/// The firmware of one function.
#[derive(Clone, Debug)]
pub struct Firmware {
    profile: Profile,
    bar0: Bar0Map,
    capabilities: Capabilities,
    state: State,
    issi: u16,
    resources: Resources,
    port: Port,
    /// What is an Ethernet port's own; none if the port is of another type.
    nic_vport: Option<NicVport>,
}

impl Firmware {
    /// The firmware of a function after reset.
    ///
    /// # Errors
    /// [`ProfileError`] if the profile breaks a rule.
    pub fn new(profile: &Profile) -> Result<Self, ProfileError> {
        profile.validate()?;
        let capabilities = Capabilities::build(&profile.capabilities)?;
        let bar0 = profile.bar0(&capabilities)?;
        let limits = Limits::new(profile, &capabilities)?;
        Ok(Self {
            profile: profile.clone(),
            bar0,
            capabilities,
            state: State::Disabled,
            issi: 0,
            resources: Resources::new(limits),
            port: Port::new(&profile.port),
            nic_vport: NicVport::new(profile),
        })
    }

    /// Adds a capability page that no section of the profile describes; it stays over resets.
    ///
    /// # Errors
    /// [`ProfileError::PageTaken`], [`ProfileError::PageTooLong`].
    pub fn add_page(&mut self, cap_type: CapType, bytes: Vec<u8>) -> Result<(), ProfileError> {
        self.capabilities.add_page(cap_type, bytes)
    }

    /// Carries out one command.
    ///
    /// `input` is the command without padding; `output` is exactly what the driver provided. All
    /// of `output` is written: the answer, then zeros. An output shorter than [`MIN_OUTPUT`] is
    /// left alone and the command is not carried out.
    pub fn execute(&mut self, input: &[u8], output: &mut [u8], objects: &mut dyn ObjectKinds) -> Executed {
        let command = Command::new(input);
        let mut answer = Answer::new(output);
        let outcome = if answer.len() < MIN_OUTPUT {
            Err(Failure::OUTPUT_TOO_SHORT)
        } else {
            self.judge(&command).and_then(|spec| {
                if answer.len() < spec.output {
                    return Err(Failure::OUTPUT_TOO_SHORT);
                }
                (spec.handler)(self, &command, &mut answer, objects)
            })
        };
        let (status, syndrome) = match &outcome {
            Ok(_) => (Status::OK, Syndrome::NONE),
            Err(failure) => (failure.status, failure.syndrome),
        };
        answer.finish(status, syndrome);
        Executed::new(&command, outcome)
    }

    /// Back to the state after power-on or a function-level reset: all resources and pages are
    /// forgotten, the capabilities are those of the profile.
    pub fn reset(&mut self, objects: &mut dyn ObjectKinds) {
        self.tear_down(objects);
        self.resources.pages = resources::Pages::default();
        self.disable();
    }

    /// Where the function is between two probes.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The profile this firmware was made from.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Where everything is in BAR0.
    #[must_use]
    pub fn bar0(&self) -> &Bar0Map {
        &self.bar0
    }

    /// The capability pages.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What the driver set of an Ethernet port; none if the port is of another type.
    #[must_use]
    pub fn nic_vport(&self) -> Option<&NicVport> {
        self.nic_vport.as_ref()
    }

    /// Everything the firmware owns.
    #[must_use]
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// Everything the firmware owns, for the engine to keep its event queues' progress in.
    pub fn resources_mut(&mut self) -> &mut Resources {
        &mut self.resources
    }

    /// How long a command takes, in nanoseconds of virtual time.
    #[must_use]
    pub fn command_ns(&self, opcode: Opcode) -> u64 {
        self.profile.firmware_timing.command_ns(opcode)
    }

    /// Checks what is the same for all commands, the output's length excepted.
    fn judge(&self, command: &Command<'_>) -> Result<&'static Spec, Failure> {
        if command.len() < dispatch::MIN_INPUT {
            return Err(Failure::INPUT_TOO_SHORT);
        }
        let spec = spec(command.opcode()).ok_or(Failure::UNKNOWN_OPCODE)?;
        if !spec.states.contains(&self.state) {
            return Err(Failure::WRONG_STATE);
        }
        if !self.resources.knows(command.uid()) {
            return Err(Failure::UID_UNKNOWN);
        }
        if spec.caller == Caller::Driver && !command.actor().is_driver() {
            return Err(Failure::DRIVER_ONLY);
        }
        if command.len() < spec.input {
            return Err(Failure::INPUT_TOO_SHORT);
        }
        if spec.op_mods == OpMods::Zero && command.op_mod() != 0 {
            return Err(Failure::OP_MOD);
        }
        Ok(spec)
    }

    /// Gives up all resources, pages excepted: general objects newest first, then all the rest.
    fn tear_down(&mut self, objects: &mut dyn ObjectKinds) {
        for (id, owner, kind) in self.resources.objects_by_age() {
            objects.dropped(kind, id, owner.uid());
        }
        self.capabilities.reset();
        let limits = *self.resources.limits();
        self.resources.clear(limits);
        self.state = State::TornDown;
    }

    fn disable(&mut self) {
        self.capabilities.reset();
        self.issi = 0;
        self.port.reset(&self.profile.port);
        self.nic_vport = NicVport::new(&self.profile);
        self.state = State::Disabled;
    }
}

#[cfg(test)]
mod tests;
