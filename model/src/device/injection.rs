//! Faults that are made on purpose, to see what a driver does (ours).

use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_sim::time::Time;
use serde::Serialize;

use super::Dpu;
use crate::firmware::Failure;

/// Most faults that wait at a time.
const MAX_WAITING: usize = 1024;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// The firmware dies: the health buffer has this syndrome and asks for a reset, and no command is carried out any more until there's one.
    Fatal {
        /// `synd` of the health buffer; `health.c` has a list of what they mean. Not 0, which is none.
        syndrome: u8,
    },
    /// The next command, or the next with this opcode, is answered too late, or never. Linux's driver can't be unloaded, and doesn't recover,
    /// while a command has no answer (`cmd.c`, 'only real completion can free the cmd slot').
    Hang {
        /// Which command.
        opcode: Option<Opcode>,
        /// How much later it's carried out. `None`: never; its slot is lost until a reset.
        late: Option<Time>,
    },
    /// The next command, or the next with this opcode, is answered with status INT_ERR and not carried out.
    InternalError {
        /// Which command.
        opcode: Option<Opcode>,
    },
    /// The next interrupt, or the next by this vector, isn't sent.
    LostInterrupt {
        /// Which vector.
        vector: Option<u16>,
    },
}

/// How many faults of each kind have happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Injected {
    /// [`Injection::Fatal`].
    pub fatal: u64,
    /// [`Injection::Hang`].
    pub hangs: u64,
    /// [`Injection::InternalError`].
    pub internal_errors: u64,
    /// [`Injection::LostInterrupt`].
    pub lost_interrupts: u64,
    /// Faults that were refused: 1,024 wait already.
    pub refused: u64,
}

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It's carried out.
    CarriedOut,
    /// It's refused.
    Refused(Failure),
    /// It's carried out after this time.
    Late(Time),
    /// It's never answered.
    Lost,
}

/// The faults that wait, and those that have happened. A reset doesn't change them, but brings a firmware that has died back to life.
#[derive(Debug, Default)]
pub(super) struct Faults {
    waiting: Vec<Injection>,
    /// The syndrome of a firmware that has died.
    dead: Option<u8>,
    count: Injected,
}

impl Faults {
    /// Whether nothing stands between software and the device.
    #[inline]
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.dead.is_none()
    }

    /// What becomes of a command with this opcode.
    #[inline]
    pub(super) fn command(&mut self, opcode: Opcode) -> Verdict {
        if self.is_idle() { Verdict::CarriedOut } else { self.judge(opcode) }
    }

    #[cold]
    fn judge(&mut self, opcode: Opcode) -> Verdict {
        if self.dead.is_some() {
            return Verdict::Lost;
        }
        let meant = |fault: &Injection| match fault {
            Injection::Hang { opcode: one, .. } | Injection::InternalError { opcode: one } => {
                one.is_none_or(|one| one == opcode)
            }
            _ => false,
        };
        match self.take(meant) {
            Some(Injection::Hang { late, .. }) => {
                self.count.hangs += 1;
                late.map_or(Verdict::Lost, Verdict::Late)
            }
            Some(_) => {
                self.count.internal_errors += 1;
                Verdict::Refused(Failure::INJECTED)
            }
            None => Verdict::CarriedOut,
        }
    }

    /// Whether an interrupt is lost.
    #[inline]
    pub(super) fn loses_interrupt(&mut self, vector: u16) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        let meant = |fault: &Injection| match fault {
            Injection::LostInterrupt { vector: one } => one.is_none_or(|one| one == vector),
            _ => false,
        };
        let lost = self.take(meant).is_some();
        self.count.lost_interrupts += u64::from(lost);
        lost
    }

    fn take(&mut self, meant: impl Fn(&Injection) -> bool) -> Option<Injection> {
        let at = self.waiting.iter().position(meant)?;
        Some(self.waiting.remove(at))
    }

    /// The syndrome of a firmware that has died; 0 while it's alive.
    pub(super) fn syndrome(&self) -> u8 {
        self.dead.unwrap_or(0)
    }

    /// The firmware starts anew.
    pub(super) fn reset(&mut self) {
        self.dead = None;
    }
}

impl Dpu {
    /// Makes a fault: at once, or as soon as what it's about comes.
    pub fn inject(&mut self, fault: Injection) {
        let faults = &mut self.faults;
        match fault {
            Injection::Fatal { syndrome } => {
                faults.dead = Some(syndrome);
                faults.count.fatal += 1;
            }
            _ if faults.waiting.len() < MAX_WAITING => faults.waiting.push(fault),
            _ => faults.count.refused += 1,
        }
    }

    /// How many faults of each kind have happened, and how many still wait for what they're about.
    pub fn injected(&self) -> (Injected, usize) {
        (self.faults.count, self.faults.waiting.len())
    }
}
