//! One emulation program on all three backends: the emulated function's link carries the same TLPs.

use std::collections::BTreeMap;
use std::path::Path;

use mlx5_twin_harness::capture::Reader;

use crate::common::{Folder, command, text};
use crate::rig::Guest;
use crate::vfio::{ACTIVE, TOOLS};

/// The seed of all runs.
const SEED: &str = "3";

/// What goes through `serial`: short and long lines, and bytes of all kinds.
fn input() -> Vec<u8> {
    let mut bytes =
        b"one line\n\nA line that is longer than any FIFO of a 16550A, by far: sixteen bytes it has.\n".to_vec();
    bytes.extend((0..=255).filter(|byte| *byte != b'\n'));
    bytes.push(b'\n');
    bytes
}

/// What went over the function's link: by direction and class (posted, non-posted, completion), the TLPs in their order, in hex. Their times don't count, and
/// neither does the order between classes: an interrupt may pass a completion, or not.
fn traffic(path: &str) -> BTreeMap<String, Vec<String>> {
    let mut reader = Reader::open(Path::new(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut traffic: BTreeMap<_, Vec<_>> = BTreeMap::new();
    while let Some(packet) = reader.next_packet().expect("a sound capture") {
        if packet.interface.name.contains("function 0") {
            let class = packet.tlp().expect("a sound TLP").header.class();
            let hex = packet.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            traffic.entry(format!("{:?} {class:?}", packet.direction)).or_default().push(hex);
        }
    }
    traffic
}

/// Runs a device in the simulation, on Linux's driver in a guest, and on VFIO in a guest: gives the three captures.
fn captures(device: &str, folder: &Folder, input: &str) -> Option<[String; 3]> {
    let file = |backend: &str| folder.file(&format!("{device}-{backend}.pcapng"));
    let [sim, uverbs, vfio] = ["sim", "uverbs", "vfio"].map(file);
    let stdin = std::fs::File::open(input).expect("the input");
    let ran = command(&["run", device, "--seed", SEED, "--capture", &sim]).stdin(stdin).output().expect("it runs");
    assert!(ran.status.success(), "{}", text(&ran.stderr));

    let host = ["--host", device, "--host-input", input, "--seed", SEED, "--timeout", "100"];
    let in_guest = |more: &[&str], script: &str| {
        let result = Guest::new()?.arguments(&host).arguments(more).json(script);
        assert_eq!(result["exit_code"], 0, "{result:#}");
        assert_eq!(result["server"]["host"]["ended"]["mismatches"], 0, "{result:#}");
        Some(())
    };
    in_guest(&["--capture", &uverbs], &format!("exec mlx5-twin run {device} --backend uverbs"))?;
    let script = format!("{ACTIVE}{TOOLS} to vfio-pci; run {device} --backend vfio");
    in_guest(&["--capture", &vfio, "--iommu"], &script)?;
    Some([sim, uverbs, vfio])
}

fn is_the_same_on_all(device: &str) {
    let folder = Folder::new(&format!("backends-{device}"));
    let input = folder.write("input", &input());
    let Some([sim, uverbs, vfio]) = captures(device, &folder, &input) else { return };
    let expected = traffic(&sim);
    assert!(expected.len() >= 4 && expected.values().map(Vec::len).sum::<usize>() > 100, "{expected:?}");
    for path in [uverbs, vfio] {
        let found = traffic(&path);
        assert!(found.keys().eq(expected.keys()), "{path}: {:?}", found.keys());
        for (lane, expected) in &expected {
            let found = &found[lane];
            let same = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
            let (count, all) = (found.len(), expected.len());
            assert!(
                same == all && count == all,
                "{path}, {lane}: TLP {same} is {:?}, not {:?}; {count} TLPs, not {all}",
                found.get(same),
                expected.get(same)
            );
        }
    }
}

#[test]
fn scratch_is_the_same_on_all_backends() {
    is_the_same_on_all("scratch");
}

#[test]
fn serial_is_the_same_on_all_backends() {
    is_the_same_on_all("serial");
}
