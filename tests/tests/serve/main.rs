//! The device behind a vfio-user socket, with the user-space driver in the place of a guest.

#[path = "../../../model/tests/hostile/adversary/mod.rs"]
mod adversary;
mod clients;
mod door;
mod hand_over;
mod hostile;
mod interrupts;
mod memory;
mod messages;
mod removal;
mod replays;
mod resets;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use door::ClientDoor;
use mlx5_twin_harness::backend::Backend;
use mlx5_twin_harness::devices::{self, Console};
use mlx5_twin_harness::driver::{Door, Driver};
use mlx5_twin_harness::emulation::Serving;
use mlx5_twin_harness::faults::{self, Record};
use mlx5_twin_harness::profile::{self, Loaded};
use mlx5_twin_harness::replay::Agents;
use mlx5_twin_harness::serve::{HostOptions, HostOutcome, Options, Report, Schedule, Server};
use tempfile::TempDir;

/// A server at a socket of its own.
struct Rig {
    server: Server,
    profile: Loaded,
    folder: TempDir,
    faults: Record,
}

/// The built-in profile, where commands of these names take so many milliseconds.
fn slow(commands: &[(&str, u64)]) -> Loaded {
    let text = commands.iter().fold(profile::DEFAULT.to_owned(), |text, (name, ms)| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} = "))).expect("has a time").to_owned();
        text.replace(&line, &format!("{name} = {ms}_000_000"))
    });
    profile::parse("slow", "slow.toml", &text).unwrap()
}

impl Rig {
    fn new(host: Option<HostOptions>) -> Rig {
        Rig::with_profile(profile::load(None).unwrap(), host)
    }

    fn with_profile(profile: Loaded, host: Option<HostOptions>) -> Rig {
        Rig::start(profile, host, Schedule::default())
    }

    /// Whose device has faults: what it writes doesn't replay.
    fn with_schedule(schedule: Schedule) -> Rig {
        Rig::start(profile::load(None).unwrap(), None, schedule)
    }

    fn start(profile: Loaded, host: Option<HostOptions>, schedule: Schedule) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let faults = Record::default();
        let options = Options {
            faults: faults.clone(),
            profile: profile.clone(),
            seed: 1,
            capture: Some(folder.path().join("c.pcapng")),
            host,
            schedule,
        };
        let server = Server::start(&folder.path().join("socket"), options).unwrap();
        Rig { server, profile, folder, faults }
    }

    fn connect(&self) -> Arc<ClientDoor> {
        Arc::new(ClientDoor::connect(&self.socket()))
    }

    /// Waits until so many clients have come and gone.
    fn gone(&self, clients: u64) -> Report {
        let begun = Instant::now();
        while self.server.report().clients < clients && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let report = self.server.report();
        assert_eq!(report.clients, clients);
        report
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Ends it. What it has written replays exactly, whatever it was.
    fn finish(self) -> Report {
        let report = self.server.finish().unwrap();
        println!("{report}");
        // When software has let TLPs of the host wait, only the model knows when their credits came back.
        let agents =
            if report.host.is_some() { &[Agents::RootComplexes][..] } else { &[Agents::RootComplexes, Agents::All] };
        let mut profile = self.profile;
        profile.profile.faults = faults::parse("record.toml", &self.faults.text().unwrap()).unwrap();
        replays::is_exact(&self.folder.path().join("c.pcapng"), &profile, agents);
        report
    }
}

fn start(door: &Arc<ClientDoor>) -> Arc<Driver> {
    Driver::start(Arc::clone(door) as Arc<dyn Door>).unwrap()
}

#[test]
fn a_driver_comes_and_goes() {
    let rig = Rig::new(None);
    for _ in 0..3 {
        let door = rig.connect();
        let driver = start(&door);
        let context = driver.open().unwrap();
        drop(context);
        driver.shut_down().unwrap();
        drop(driver);
        door.hang_up();
    }
    let report = rig.finish();
    assert_eq!((report.lives.begun, report.lives.torn_down, report.lives.unclean), (3, 3, 0));
    assert!(report.balance.is_empty() && report.unknown.is_empty());
}

#[test]
fn a_device_with_its_host() {
    let text = "One line.\nAnother\n".repeat(20);
    let text = text.as_bytes();
    let screen = tempfile::NamedTempFile::new().unwrap();
    let console = Console::new(std::io::Cursor::new(text.to_vec()), screen.reopen().unwrap());
    let serial = devices::find("serial").unwrap();
    let rig = Rig::new(Some(HostOptions { console, ..HostOptions::new(serial) }));
    let door = rig.connect();
    let driver = start(&door);
    let backend: Arc<dyn Backend> = driver.open().unwrap();
    std::thread::spawn(move || (serial.emulate)(backend, &Serving::default()));
    let begun = Instant::now();
    while matches!(rig.server.report().host, Some(HostOutcome::Waiting)) && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    door.hang_up();
    let report = rig.finish();
    let Some(HostOutcome::Ended(host)) = report.host else { panic!("{:?}", report.host) };
    assert_eq!(host.mismatches, 0);
    assert_eq!(std::fs::read(screen.path()).unwrap(), text);
}
