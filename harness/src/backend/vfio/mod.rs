//! A real PCI function by Linux's VFIO: the function is bound to `vfio-pci`, and this crate's driver runs it from user space.
//!
//! VFIO's older interface is used, a container and the function's IOMMU group (`/dev/vfio/vfio`, `/dev/vfio/GROUP`): each kernel with VFIO has it, while
//! the newer one by device files is often left out. The function's programs are those of [`super::sim`]: only the [`Door`](crate::driver::Door) differs.
//!
//! | file | what |
//! |---|---|
//! | `find` | which function, by sysfs |
//! | `group` | opening it, and what can stand in the way |
//! | `door` | the driver's way to it |
//! | `bar`, `config` | its BAR 0 and its configuration space |
//! | `memory` | memory for DMA, and its addresses |
//! | `interrupts` | MSI-X by eventfds |
//! | `ioctl` | what vfio-ioctls doesn't do |

mod bar;
mod config;
mod door;
mod find;
mod group;
mod interrupts;
mod ioctl;
mod memory;

use std::path::Path;
use std::sync::Arc;

use self::door::VfioDoor;
use super::{Backend, Error, Stop};
use crate::driver::Driver;

/// Where Linux shows its devices (Linux `Documentation/filesystems/sysfs.rst`).
const SYSFS: &str = "/sys";

/// A function that this process has to itself, and whose device is up.
#[derive(Debug)]
pub struct Device {
    driver: Arc<Driver>,
}

impl Device {
    /// Opens the function at a PCI address (`0000:05:00.0`, or `05:00.0` of domain 0), or the only mlx5 function that is bound to `vfio-pci`, and brings it
    /// up. Once `stop` is requested, waits and polls of its contexts end as [`Stop`] says; commands don't. VFIO requests it too, when somebody wants the
    /// function back: to unbind or to remove it.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there's no such function, or if it isn't ready for VFIO: says what is to be done. [`Error::Device`] if VFIO or the function
    /// fails; otherwise as [`Driver::start`].
    pub fn open(address: Option<&str>, stop: Stop) -> Result<Device, Error> {
        let found = find::find(Path::new(SYSFS), address)?;
        let door = VfioDoor::open(&found, stop)?;
        Ok(Device { driver: Driver::start(Arc::new(door))? })
    }

    /// Opens a context.
    ///
    /// # Errors
    /// As [`Backend::open_context`].
    pub fn open_context(&self) -> Result<Arc<dyn Backend>, Error> {
        self.driver.open()
    }

    /// Gives everything back and disables the function. Dropping the last context and the device does the same, but tells nobody of errors.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a context is open; what the device refuses.
    pub fn shut_down(&self) -> Result<(), Error> {
        self.driver.shut_down()
    }
}
