//! Bytes as messages of a client of the vfio-user server. The first byte's lowest bit chooses whether a sound greeting comes first.

#![no_main]

#[path = "../../tests/tests/serve/messages.rs"]
mod messages;

use std::os::unix::net::UnixStream;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use mlx5_twin_harness::faults::Record;
use mlx5_twin_harness::profile;
use mlx5_twin_harness::serve::{Options, Schedule, Server};
use tempfile::TempDir;

use messages::{Files, Messages, Villain, greeting};

struct Served {
    server: Server,
    folder: TempDir,
    files: Files,
}

static SERVED: LazyLock<Mutex<Served>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let profile = profile::load(None).expect("the built-in profile");
    let faults = Record::default();
    let options = Options { profile, seed: 1, capture: None, host: None, schedule: Schedule::default(), faults };
    let server = Server::start(&folder.path().join("socket"), options).expect("a server");
    Mutex::new(Served { server, folder, files: Files::new() })
});

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, script)) = bytes.split_first() else { return };
    let served = SERVED.lock().expect("nobody panics");
    let before = served.server.report().clients;
    let mut villain = Villain::new(UnixStream::connect(served.folder.path().join("socket")).expect("listens"));
    let greeted = first & 1 == 0 || villain.send(&served.files, &greeting());
    for message in Messages::new(script) {
        if !greeted || !villain.send(&served.files, &message) {
            break;
        }
    }
    villain.finish();
    let begun = Instant::now();
    while served.server.report().clients == before {
        assert!(begun.elapsed() < Duration::from_secs(5), "the client isn't let go");
        std::thread::sleep(Duration::from_micros(50));
    }
    assert!(served.server.report().balance.is_empty(), "something of a client's is left");
});
