//! What tests of devices with text share.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use mlx5_twin_harness::backend::sim::{Options, SimDevice};
use mlx5_twin_harness::devices::{Console, HostSettings};
use mlx5_twin_harness::profile;
use mlx5_twin_model::Machine;
use mlx5_twin_sim::host::{AddressMap, Settings};

/// What was shown.
#[derive(Clone, Default)]
pub(crate) struct Screen(Arc<Mutex<Vec<u8>>>);

impl Screen {
    /// All of it so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A machine whose device is up, and the settings of a host program that sends `text` and shows what comes back on the screen.
pub(crate) struct Rig {
    pub(crate) sim: Arc<SimDevice>,
    pub(crate) settings: HostSettings,
    pub(crate) screen: Screen,
}

impl Rig {
    pub(crate) fn new(seed: u64, text: &[u8]) -> Rig {
        let profile = profile::load(None).unwrap().profile;
        Rig::with_machine(Machine::build(&profile, seed).unwrap(), seed, text)
    }

    pub(crate) fn with_machine(machine: Machine, seed: u64, text: &[u8]) -> Rig {
        let profile = profile::load(None).unwrap().profile;
        let sim = SimDevice::with_machine(machine, &profile, Options::default()).unwrap();
        let enumeration = Settings { map: AddressMap::default(), max_payload: 256, max_read_request: 512 };
        let screen = Screen::default();
        let console = Console::new(io::Cursor::new(text.to_vec()), screen.clone());
        Rig { sim, settings: HostSettings { console, ..HostSettings::new(enumeration, seed) }, screen }
    }
}
