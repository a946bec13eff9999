//! The device behind a vfio-user socket, with the user-space driver in the place of a guest.

mod door;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use door::ClientDoor;
use mlx5_twin_harness::backend::Backend;
use mlx5_twin_harness::devices::{self, Console};
use mlx5_twin_harness::driver::{Door, Driver};
use mlx5_twin_harness::profile;
use mlx5_twin_harness::serve::{HostOutcome, Options, Report, Server};
use tempfile::TempDir;

/// A server at a socket of its own.
struct Rig {
    server: Server,
    folder: TempDir,
}

impl Rig {
    fn new(host: Option<(&str, Console)>) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let host = host.map(|(name, console)| (devices::find(name).unwrap(), console));
        let options = Options {
            profile: profile::load(None).unwrap(),
            seed: 1,
            capture: Some(folder.path().join("c.pcapng")),
            host,
        };
        let server = Server::start(&folder.path().join("socket"), options).unwrap();
        Rig { server, folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn finish(self) -> (Report, TempDir) {
        (self.server.finish().unwrap(), self.folder)
    }
}

#[test]
fn a_driver_comes_and_goes() {
    let rig = Rig::new(None);
    for _ in 0..3 {
        let door = Arc::new(ClientDoor::connect(&rig.socket()));
        let driver = Driver::start(Arc::clone(&door) as Arc<dyn Door>).unwrap();
        let context = driver.open().unwrap();
        drop(context);
        driver.shut_down().unwrap();
        drop(driver);
        door.with_client(|client| client.shutdown()).unwrap();
    }
    let (report, _folder) = rig.finish();
    println!("{report}");
    assert_eq!((report.lives.begun, report.lives.torn_down, report.lives.unclean), (3, 3, 0));
    assert!(report.balance.is_empty() && report.unknown.is_empty());
}

#[test]
fn a_device_with_its_host() {
    let text = b"One line.\nAnother\n";
    let screen = tempfile::NamedTempFile::new().unwrap();
    let console = Console::new(&text[..], screen.reopen().unwrap());
    let rig = Rig::new(Some(("serial", console)));
    let door = Arc::new(ClientDoor::connect(&rig.socket()));
    let driver = Driver::start(Arc::clone(&door) as Arc<dyn Door>).unwrap();
    let backend: Arc<dyn Backend> = driver.open().unwrap();
    let serial = devices::find("serial").unwrap();
    std::thread::spawn(move || (serial.emulate)(backend));
    let begun = Instant::now();
    while matches!(rig.server.report().host, Some(HostOutcome::Waiting)) && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let report = rig.server.report();
    println!("{report}");
    let Some(HostOutcome::Ended(host)) = report.host else { panic!("{:?}", report.host) };
    assert_eq!(host.mismatches, 0);
    assert_eq!(std::fs::read(screen.path()).unwrap(), text);
}
