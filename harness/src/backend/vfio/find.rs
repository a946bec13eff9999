//! Which function: what sysfs says of the functions of this machine (Linux `Documentation/ABI/testing/sysfs-bus-pci`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::backend::Error;

/// Mellanox (`PCI_VENDOR_ID_MELLANOX` of Linux `include/linux/pci_ids.h`).
const VENDOR: u64 = 0x15b3;
/// The base class of network controllers, to which all functions of mlx5 belong, but not the bridges of a DPU (PCI code and ID assignment
/// specification).
const NETWORK: u64 = 0x02;
/// The driver that gives functions to user space.
const VFIO: &str = "vfio-pci";

/// A function that can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its address: `0000:05:00.0`.
    pub(super) address: String,
    /// Its folder in sysfs.
    pub(super) path: PathBuf,
    /// Its IOMMU group.
    pub(super) group: u32,
}

/// What sysfs says of a function.
#[derive(Clone, Debug)]
struct Function {
    address: String,
    path: PathBuf,
    driver: Option<String>,
    is_mlx5: bool,
}

/// A number in a file of sysfs: `0x15b3`.
fn number(path: &Path) -> Option<u64> {
    u64::from_str_radix(fs::read_to_string(path).ok()?.trim().strip_prefix("0x")?, 16).ok()
}

/// The last part of where a link leads.
fn target(path: &Path) -> Option<String> {
    Some(fs::read_link(path).ok()?.file_name()?.to_str()?.to_owned())
}

impl Function {
    fn look(path: PathBuf) -> Option<Function> {
        let address = path.file_name()?.to_str()?.to_owned();
        let class = number(&path.join("class"))? >> 16;
        let is_mlx5 = number(&path.join("vendor"))? == VENDOR && class == NETWORK;
        Some(Function { address, driver: target(&path.join("driver")), path, is_mlx5 })
    }

    /// Its driver, in words.
    fn driver(&self) -> String {
        self.driver.as_ref().map_or_else(|| "no driver".to_owned(), |driver| format!("driver {driver}"))
    }

    /// How it's bound to vfio-pci: commands for a shell of root's.
    fn how_to_bind(&self) -> String {
        let Function { address, driver, .. } = self;
        let folder = format!("/sys/bus/pci/devices/{address}");
        let unbind = match driver {
            Some(_) => format!("\n  echo {address} > {folder}/driver/unbind"),
            None => String::new(),
        };
        format!(
            "to bind it, as root:\n  modprobe vfio-pci\n  echo {VFIO} > {folder}/driver_override{unbind}\n  \
             echo {address} > /sys/bus/pci/drivers_probe"
        )
    }
}

/// All functions, by address.
fn functions(sysfs: &Path) -> Result<Vec<Function>, Error> {
    let folder = sysfs.join("bus/pci/devices");
    let entries = fs::read_dir(&folder).map_err(|error| {
        Error::Invalid(format!("this machine shows no PCI functions: {}: {error}", folder.display()))
    })?;
    let mut all: Vec<Function> = entries.flatten().filter_map(|entry| Function::look(entry.path())).collect();
    all.sort_by(|one, other| one.address.cmp(&other.address));
    Ok(all)
}

/// A PCI address as sysfs has it: domain, bus, device and function in hexadecimal digits. The domain may be left out if it's 0.
fn full_address(text: &str) -> Result<String, Error> {
    let wrong = || {
        Error::Invalid(format!(
            "{text:?} isn't the address of a PCI function: domain:bus:device.function, as 0000:05:00.0"
        ))
    };
    let (rest, function) = text.rsplit_once('.').ok_or_else(wrong)?;
    let (domain, bus, device) = match rest.split(':').collect::<Vec<_>>()[..] {
        [bus, device] => ("0000", bus, device),
        [domain, bus, device] => (domain, bus, device),
        _ => return Err(wrong()),
    };
    let hex = |part: &str, lens: std::ops::RangeInclusive<usize>, largest| {
        let digits = lens.contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        digits && u32::from_str_radix(part, 16).is_ok_and(|value| value <= largest)
    };
    // Domains of virtual bridges have more than four digits.
    let right = hex(domain, 4..=8, u32::MAX) && hex(bus, 2..=2, 0xff) && hex(device, 2..=2, 0x1f);
    if right && hex(function, 1..=1, 7) {
        return Ok(format!("{domain}:{bus}:{device}.{function}").to_lowercase());
    }
    Err(wrong())
}

/// What mlx5 functions there are, in words.
fn listed(all: &[Function]) -> String {
    let lines = all.iter().filter(|function| function.is_mlx5);
    let lines: Vec<_> = lines.map(|function| format!("\n  {}: {}", function.address, function.driver())).collect();
    match lines.is_empty() {
        true => "; this machine shows no mlx5 function".to_owned(),
        false => format!("; there are:{}", lines.concat()),
    }
}

/// Finds the function: the named one, or the only mlx5 function that is bound to vfio-pci.
pub(super) fn find(sysfs: &Path, address: Option<&str>) -> Result<Found, Error> {
    let address = address.map(full_address).transpose()?;
    let all = functions(sysfs)?;
    let function = match &address {
        Some(address) => named(&all, address)?,
        None => only(&all)?,
    };
    let group = target(&function.path.join("iommu_group")).and_then(|group| group.parse().ok()).ok_or_else(|| {
        let address = &function.address;
        Error::Invalid(format!(
            "{address} has no IOMMU group: VFIO needs an IOMMU that is switched on (intel_iommu=on)"
        ))
    })?;
    Ok(Found { address: function.address.clone(), path: function.path.clone(), group })
}

fn named<'a>(all: &'a [Function], address: &str) -> Result<&'a Function, Error> {
    let invalid = |message: String| Err(Error::Invalid(message));
    let Some(function) = all.iter().find(|function| function.address == address) else {
        return invalid(format!("there is no PCI function {address}{}", listed(all)));
    };
    if !function.is_mlx5 {
        return invalid(format!("{address} isn't an mlx5 function (vendor 15b3, a network controller){}", listed(all)));
    }
    match function.driver.as_deref() {
        Some(VFIO) => Ok(function),
        Some("mlx5_core") => invalid(format!(
            "{address} is bound to mlx5_core, Linux's own driver, and its network or RDMA device would go with it; {}",
            function.how_to_bind()
        )),
        _ => invalid(format!(
            "{address} isn't bound to {VFIO}, but has {}; {}",
            function.driver(),
            function.how_to_bind()
        )),
    }
}

fn only(all: &[Function]) -> Result<&Function, Error> {
    let invalid = |message: String| Err(Error::Invalid(message));
    let bound: Vec<_> =
        all.iter().filter(|function| function.is_mlx5 && function.driver.as_deref() == Some(VFIO)).collect();
    match bound[..] {
        [function] => Ok(function),
        [] => {
            let how = all.iter().find(|function| function.is_mlx5).map(Function::how_to_bind);
            let how = how.map(|how| format!("\n{how}")).unwrap_or_default();
            invalid(format!("no mlx5 function is bound to {VFIO}{}{how}", listed(all)))
        }
        _ => {
            let names: Vec<_> = bound.iter().map(|function| function.address.as_str()).collect();
            invalid(format!(
                "{} mlx5 functions are bound to {VFIO}, name one of them: {}",
                names.len(),
                names.join(", ")
            ))
        }
    }
}

/// The functions of an IOMMU group that another driver has, in words: VFIO gives a group to nobody as long as there are any.
pub(super) fn others(found: &Found) -> String {
    let entries = fs::read_dir(found.path.join("iommu_group/devices")).into_iter().flatten().flatten();
    let all = entries.filter_map(|entry| Function::look(entry.path()));
    let mut names: Vec<_> = all
        .filter(|function| function.driver.as_deref().is_some_and(|driver| driver != VFIO))
        .map(|function| format!("{} ({})", function.address, function.driver()))
        .collect();
    names.sort();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const CONNECTX: (&str, &str) = ("0x15b3", "0x020700");
    const BRIDGE: (&str, &str) = ("0x15b3", "0x060400");
    const OTHER: (&str, &str) = ("0x8086", "0x020000");

    /// A function: address, vendor and class, driver, group.
    type Row = (&'static str, (&'static str, &'static str), &'static str, Option<u32>);
    /// An address and a group that are found, or parts of the message.
    type Outcome = Result<(&'static str, u32), &'static [&'static str]>;

    /// A folder as sysfs with these functions.
    fn sysfs(functions: &[Row]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let devices = root.path().join("bus/pci/devices");
        fs::create_dir_all(&devices).expect("made");
        for (address, (vendor, class), driver, group) in functions {
            let folder = devices.join(address);
            fs::create_dir(&folder).expect("made");
            for (name, value) in [("vendor", vendor), ("class", class)] {
                fs::write(folder.join(name), format!("{value}\n")).expect("written");
            }
            if !driver.is_empty() {
                symlink(format!("../../../bus/pci/drivers/{driver}"), folder.join("driver")).expect("linked");
            }
            if let Some(group) = group {
                let group = root.path().join(format!("kernel/iommu_groups/{group}"));
                fs::create_dir_all(group.join("devices")).expect("made");
                symlink(&folder, group.join("devices").join(address)).expect("linked");
                symlink(&group, folder.join("iommu_group")).expect("linked");
            }
        }
        root
    }

    #[test]
    fn functions_are_found() {
        const BOUND: &[Row] = &[
            ("0000:00:01.0", BRIDGE, "pcieport", Some(1)),
            ("0000:01:00.0", OTHER, "vfio-pci", Some(2)),
            ("0000:02:00.0", CONNECTX, "mlx5_core", Some(3)),
            ("0000:03:00.0", CONNECTX, "vfio-pci", Some(14)),
            ("0000:04:00.0", CONNECTX, "", Some(15)),
            ("0000:05:00.0", CONNECTX, "pci-stub", Some(16)),
        ];
        const TWO: &[Row] =
            &[("0000:03:00.0", CONNECTX, "vfio-pci", Some(4)), ("0001:03:00.1", CONNECTX, "vfio-pci", None)];
        const BIND: &str = "/driver_override\n  echo 0000:02:00.0 > /sys/bus/pci/devices/0000:02:00.0/driver/unbind\n  \
                    echo 0000:02:00.0 > /sys/bus/pci/drivers_probe";
        let cases: &[(&[Row], Option<&str>, Outcome)] = &[
            (BOUND, None, Ok(("0000:03:00.0", 14))),
            (BOUND, Some("0000:03:00.0"), Ok(("0000:03:00.0", 14))),
            (BOUND, Some("03:00.0"), Ok(("0000:03:00.0", 14))),
            (BOUND, Some("02:00.0"), Err(&["0000:02:00.0 is bound to mlx5_core", BIND])),
            (
                BOUND,
                Some("04:00.0"),
                Err(&["isn't bound to vfio-pci, but has no driver; to bind it, as root:\n  modprobe vfio-pci"]),
            ),
            (BOUND, Some("05:00.0"), Err(&["but has driver pci-stub"])),
            (BOUND, Some("01:00.0"), Err(&["0000:01:00.0 isn't an mlx5 function", "0000:02:00.0: driver mlx5_core"])),
            (BOUND, Some("00:01.0"), Err(&["isn't an mlx5 function"])),
            (
                BOUND,
                Some("06:00.0"),
                Err(&["there is no PCI function 0000:06:00.0; there are:", "\n  0000:04:00.0: no driver"]),
            ),
            (TWO, None, Err(&["2 mlx5 functions are bound to vfio-pci, name one of them: 0000:03:00.0, 0001:03:00.1"])),
            (TWO, Some("0001:03:00.1"), Err(&["0001:03:00.1 has no IOMMU group"])),
            (
                &BOUND[..3],
                None,
                Err(&["no mlx5 function is bound to vfio-pci; there are:\n  0000:02:00.0: driver mlx5_core\n", BIND]),
            ),
            (&BOUND[..2], None, Err(&["no mlx5 function is bound to vfio-pci; this machine shows no mlx5 function"])),
        ];
        for (functions, address, expected) in cases {
            let root = sysfs(functions);
            match (find(root.path(), *address), expected) {
                (Ok(found), Ok((address, group))) => {
                    assert_eq!((found.address.as_str(), found.group), (*address, *group));
                }
                (Err(Error::Invalid(message)), Err(parts)) => {
                    for part in *parts {
                        assert!(message.contains(part), "{part:?} isn't in {message:?}");
                    }
                }
                (found, _) => panic!("{address:?}: {found:?}"),
            }
        }
        assert!(find(Path::new("/no/such"), None).is_err_and(|error| error.to_string().contains("no PCI functions")));
    }

    #[test]
    fn addresses_are_checked() {
        for (text, full) in
            [("00:05.0", "0000:00:05.0"), ("0001:AF:1f.7", "0001:af:1f.7"), ("10000:01:00.0", "10000:01:00.0")]
        {
            assert_eq!(full_address(text), Ok(full.to_owned()));
        }
        for text in [
            "",
            "5",
            "05.0",
            "0:5.0",
            "00:20.0",
            "00:05.8",
            "00:05",
            "0:0:05.0",
            "x:00:05.0",
            "../00:05.0",
            "00:05.0/",
            "00:+5.0",
        ] {
            assert!(full_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn others_of_a_group_are_named() {
        let root = sysfs(&[
            ("0000:03:00.0", CONNECTX, "vfio-pci", Some(7)),
            ("0000:03:00.1", CONNECTX, "mlx5_core", Some(7)),
            ("0000:03:00.2", CONNECTX, "", Some(7)),
            ("0000:04:00.0", CONNECTX, "mlx5_core", Some(8)),
        ]);
        let found = find(root.path(), None).expect("there is one");
        assert_eq!(others(&found), "0000:03:00.1 (driver mlx5_core)");
    }
}
