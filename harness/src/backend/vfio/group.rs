//! Opening a function by its IOMMU group, and what can stand in the way.

use std::io;
use std::sync::Arc;

use vfio_ioctls::{VfioContainer, VfioDevice, VfioError, VfioOps};

use super::find::{self, Found};
use crate::backend::Error;

/// Opens the function.
pub(super) fn open(found: &Found) -> Result<(Arc<VfioContainer>, VfioDevice), Error> {
    let container = VfioContainer::new(None).map_err(|error| told(found, error))?;
    let container = Arc::new(container);
    let iommu = Arc::clone(&container) as Arc<dyn VfioOps>;
    let device = VfioDevice::new(&found.path, iommu, false).map_err(|error| told(found, error))?;
    Ok((container, device))
}

/// What went wrong, and what is to be done.
fn told(found: &Found, error: VfioError) -> Error {
    let Found { address, group, .. } = found;
    match error {
        VfioError::OpenContainer(error) if error.kind() == io::ErrorKind::NotFound => Error::Invalid(
            "this kernel has no VFIO containers: /dev/vfio/vfio isn't there; perhaps modprobe vfio-pci makes it"
                .to_owned(),
        ),
        VfioError::OpenContainer(error) => refused("/dev/vfio/vfio", &error),
        VfioError::OpenGroup(error, _) if error.kind() == io::ErrorKind::ResourceBusy => {
            Error::Invalid(format!("another program has {address}: /dev/vfio/{group} is in use"))
        }
        VfioError::OpenGroup(error, _) => refused(&format!("/dev/vfio/{group}"), &error),
        VfioError::GroupViable => Error::Invalid(format!(
            "VFIO doesn't give {address} away: other functions of its IOMMU group {group} have drivers of the kernel: {}",
            find::others(found)
        )),
        VfioError::ContainerSetIOMMU(error) if error.errno() == libc::EPERM => Error::Invalid(format!(
            "VFIO doesn't give {address} away: the IOMMU doesn't remap interrupts; where the device is trusted, \
             echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
        )),
        error => Error::Device(format!("VFIO doesn't open {address}: {error}")),
    }
}

/// A file of VFIO's that isn't opened.
fn refused(path: &str, error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Error::Invalid(format!(
            "no access to {path}: be root, or have root give it to you (chown USER {path})"
        ));
    }
    Error::Invalid(format!("{path} can't be opened: {error}"))
}

#[cfg(test)]
mod tests {
    use vmm_sys_util::errno::Error as Errno;

    use super::*;

    #[test]
    fn errors_say_what_is_to_be_done() {
        let found = Found { address: "0000:05:00.0".to_owned(), path: "/no/such".into(), group: 12 };
        let io = |number| io::Error::from_raw_os_error(number);
        for (error, part) in [
            (VfioError::OpenContainer(io(libc::ENOENT)), "modprobe vfio-pci"),
            (VfioError::OpenContainer(io(libc::EACCES)), "no access to /dev/vfio/vfio: "),
            (VfioError::OpenGroup(io(libc::EACCES), "12".to_owned()), "(chown USER /dev/vfio/12)"),
            (VfioError::OpenGroup(io(libc::EBUSY), "12".to_owned()), "another program has 0000:05:00.0"),
            (VfioError::OpenGroup(io(libc::ENOENT), "12".to_owned()), "/dev/vfio/12 can't be opened: No such file"),
            (VfioError::GroupViable, "of its IOMMU group 12 have drivers"),
            (VfioError::ContainerSetIOMMU(Errno::new(libc::EPERM)), "allow_unsafe_interrupts"),
            (VfioError::ContainerSetIOMMU(Errno::new(libc::ENODEV)), "VFIO doesn't open 0000:05:00.0: "),
        ] {
            let message = told(&found, error).to_string();
            assert!(message.contains(part), "{part:?} isn't in {message:?}");
        }
    }
}
