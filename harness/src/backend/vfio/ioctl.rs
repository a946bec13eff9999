//! What of VFIO's interface the crate vfio-ioctls doesn't do (Linux `include/uapi/linux/vfio.h`).
//!
//! Its way to set interrupts always begins with vector 0, so that one more would take those away for a moment that are on; its reset says nothing of failure;
//! and it doesn't tell which addresses the IOMMU can translate.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use vfio_bindings::bindings::vfio::{
    VFIO_BASE, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD,
    VFIO_IRQ_SET_DATA_NONE, VFIO_TYPE,
};

/// Numbers of requests: `_IO(VFIO_TYPE, VFIO_BASE + n)`, which holds neither a direction nor a size.
const fn request(number: u32) -> u32 {
    (VFIO_TYPE as u32) << 8 | (VFIO_BASE + number)
}
const DEVICE_SET_IRQS: u32 = request(10);
const DEVICE_RESET: u32 = request(11);
const IOMMU_GET_INFO: u32 = request(12);

/// The head of `struct vfio_iommu_type1_info` up to `cap_offset`, in bytes, and where that is.
const INFO_HEAD: usize = 24;
const INFO_CAP_OFFSET: usize = 16;
/// The longest answer that is asked for. Ours: the kernel's has three capabilities and some ten ranges.
const LONGEST_INFO: usize = 1 << 16;

/// Makes a request whose argument is a structure that begins with its own length (`argsz`). The kernel writes nothing beyond that length.
fn call(fd: BorrowedFd<'_>, request: u32, argument: &mut [u8]) -> io::Result<()> {
    let length = u32::try_from(argument.len()).map_err(io::Error::other)?;
    let head = argument.get_mut(..4).ok_or_else(|| io::Error::other("an argument without a length"))?;
    head.copy_from_slice(&length.to_ne_bytes());
    // SAFETY: the argument begins with its length and lives until the call returns; the requests of this file take no pointers in it.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::Ioctl::from(request), argument.as_mut_ptr()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets interrupts of a kind (`VFIO_PCI_*_IRQ_INDEX`), from `first` on, write to their eventfds; -1 takes one's away. No eventfds at all switch the kind off.
pub(super) fn set_interrupts(device: BorrowedFd<'_>, kind: u32, first: u32, eventfds: &[i32]) -> io::Result<()> {
    let data = if eventfds.is_empty() { VFIO_IRQ_SET_DATA_NONE } else { VFIO_IRQ_SET_DATA_EVENTFD };
    let count = u32::try_from(eventfds.len()).map_err(io::Error::other)?;
    // struct vfio_irq_set: argsz, flags, index, start, count, data.
    let head = [0, data | VFIO_IRQ_SET_ACTION_TRIGGER, kind, first, count];
    let words = head.into_iter().map(u32::to_ne_bytes).chain(eventfds.iter().map(|fd| fd.to_ne_bytes()));
    call(device, DEVICE_SET_IRQS, &mut words.flatten().collect::<Vec<u8>>())
}

/// Resets the function.
pub(super) fn reset(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: this request has no argument.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::Ioctl::from(DEVICE_RESET)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The ranges of addresses that the IOMMU can translate, each the first and the last one. `None` if the kernel doesn't tell.
pub(super) fn address_ranges(container: BorrowedFd<'_>) -> io::Result<Option<Vec<(u64, u64)>>> {
    let mut info = vec![0; INFO_HEAD];
    call(container, IOMMU_GET_INFO, &mut info)?;
    // It says how long the whole answer is.
    let whole = word(&info, 0).unwrap_or(0) as usize;
    if whole <= INFO_HEAD {
        return Ok(None);
    }
    info = vec![0; whole.min(LONGEST_INFO)];
    call(container, IOMMU_GET_INFO, &mut info)?;
    Ok(ranges(&info))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The ranges in an answer: a list of capabilities, each with its ID, its version and the offset of the next one (`struct vfio_info_cap_header`).
fn ranges(info: &[u8]) -> Option<Vec<(u64, u64)>> {
    let mut at = word(info, INFO_CAP_OFFSET)? as usize;
    // Offsets rise, so that no answer can go round in circles.
    while at >= INFO_HEAD {
        let id = word(info, at)? & 0xffff;
        if id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE {
            // struct vfio_iommu_type1_info_cap_iova_range: head, count, reserved, pairs.
            let count = word(info, at + 8)? as usize;
            return (0..count).map(|n| Some((long(info, at + 16 + n * 16)?, long(info, at + 24 + n * 16)?))).collect();
        }
        let next = word(info, at + 4)? as usize;
        if next <= at {
            return None;
        }
        at = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_kernels_numbers() {
        assert_eq!([DEVICE_SET_IRQS, DEVICE_RESET, IOMMU_GET_INFO], [0x3b6e, 0x3b6f, 0x3b70]);
    }

    /// An answer with these capabilities, each an ID and what follows its head.
    fn answer(capabilities: &[(u32, Vec<u64>)]) -> Vec<u8> {
        let mut bytes = vec![0; INFO_HEAD];
        let mut link = INFO_CAP_OFFSET;
        for (id, content) in capabilities {
            let at = bytes.len();
            bytes[link..link + 4].copy_from_slice(&(at as u32).to_ne_bytes());
            bytes.extend([id | 1 << 16, 0].into_iter().flat_map(u32::to_ne_bytes));
            bytes.extend(content.iter().flat_map(|value| value.to_ne_bytes()));
            link = at + 4;
        }
        bytes
    }

    #[test]
    fn ranges_are_found_among_capabilities() {
        let other = (2, vec![1, 2, 3]);
        let wanted = (VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, vec![2, 0, 0xfedf_ffff, 0xfef0_0000, 0x7f_ffff_ffff]);
        let expected = vec![(0, 0xfedf_ffff), (0xfef0_0000, 0x7f_ffff_ffff)];
        assert_eq!(ranges(&answer(&[other.clone(), wanted.clone()])), Some(expected.clone()));
        assert_eq!(ranges(&answer(&[wanted.clone(), other.clone()])), Some(expected));
        assert_eq!(ranges(&answer(&[other])), None);
        assert_eq!(ranges(&answer(&[])), None);
        let whole = answer(&[wanted]);
        for len in 0..whole.len() {
            assert_eq!(ranges(&whole[..len]), None, "cut to {len}");
        }
        let mut circle = answer(&[(2, vec![]), (3, vec![])]);
        circle[INFO_HEAD + 12..INFO_HEAD + 16].copy_from_slice(&(INFO_HEAD as u32).to_ne_bytes());
        assert_eq!(ranges(&circle), None);
    }

    #[test]
    fn errors_are_the_operating_systems() {
        use std::os::fd::AsFd;
        let file = std::fs::File::open("/dev/null").expect("there is one");
        for done in
            [set_interrupts(file.as_fd(), 2, 0, &[-1]), reset(file.as_fd()), address_ranges(file.as_fd()).map(drop)]
        {
            assert_eq!(done.expect_err("no VFIO").raw_os_error(), Some(libc::ENOTTY));
        }
    }
}
