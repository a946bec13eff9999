//! All that the compiler can't check: the ioctl, memory that is mapped, and files that the kernel makes. The rest of the backend is built on these few functions.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::order;

/// Bytes of `struct ib_uverbs_ioctl_hdr` of `rdma_user_ioctl_cmds.h`, which the ioctl's number holds.
pub(super) const HEADER: usize = 24;

/// One call: header and attributes, which the kernel reads, and into which it writes handles.
struct Verbs<'a>(&'a mut [u64]);

// SAFETY: the opcode is RDMA_VERBS_IOCTL, which takes a pointer to a header that is followed by as many attributes as it says; `call` checks that the
// buffer has them. The kernel writes nothing but the data of attributes.
unsafe impl Ioctl for Verbs<'_> {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::read_write::<[u8; HEADER]>(0x1b, 1)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.0.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Makes a call. `buffer` is the header, and then the attributes.
///
/// # Safety
/// Each attribute that holds a pointer must point to as many bytes as it says, valid for reads, or for writes if the method writes them, until this returns.
pub(super) unsafe fn call(file: impl AsFd, buffer: &mut [u64]) -> Result<(), Errno> {
    // `length` is the header's first field.
    let [first, second, ..] = buffer.first().map_or([0; 8], |word| word.to_ne_bytes());
    if usize::from(u16::from_ne_bytes([first, second])) != size_of_val(buffer) {
        return Err(Errno::INVAL);
    }
    // SAFETY: the buffer is as long as its header says, and the caller vouches for the pointers in it.
    unsafe { ioctl::ioctl(file, Verbs(buffer)) }
}

/// Takes a file that the kernel has made in answer to a call.
///
/// # Safety
/// `number` must be a file's that nobody else has.
pub(super) unsafe fn own(number: i32) -> OwnedFd {
    // SAFETY: the caller vouches for it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Memory of this process that a file is mapped to: pages of the device, or memory that the device reads and writes.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it's memory, owned by this value and reached only by volatile and atomic accesses, which may come from any thread.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps a file, to read and to write.
    pub(super) fn new(file: impl AsFd, offset: u64, len: usize) -> io::Result<Mapping> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the kernel chooses where, so nothing that is there is replaced.
        let start = unsafe { mmap(ptr::null_mut(), len, protection, flags, file, offset)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Mapping { start, len })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where it begins.
    pub(super) fn address(&self) -> u64 {
        self.start.as_ptr().expose_provenance() as u64
    }

    /// The place of an aligned access; `None` if it doesn't lie inside.
    fn place<T>(&self, offset: usize) -> Option<NonNull<T>> {
        let inside = offset.checked_add(size_of::<T>()).is_some_and(|end| end <= self.len);
        if !inside || !offset.is_multiple_of(size_of::<T>()) {
            return None;
        }
        // SAFETY: it's inside of the mapping.
        Some(unsafe { self.start.byte_add(offset) }.cast())
    }

    /// Stores to the device, as one access of the value's width, after all that was written before.
    pub(super) fn store<T: Plain>(&self, offset: usize, value: T) -> Option<()> {
        let place = self.place::<T>(offset)?;
        order::release();
        // SAFETY: it's aligned and inside of the mapping, which lives as long as this value.
        unsafe { place.write_volatile(value) };
        Some(())
    }

    /// Loads from the device, as one access of the value's width, before all that is read afterwards.
    pub(super) fn load<T: Plain>(&self, offset: usize) -> Option<T> {
        let place = self.place::<T>(offset)?;
        // SAFETY: it's aligned and inside of the mapping, which lives as long as this value; any bytes are a value.
        let value = unsafe { place.read_volatile() };
        order::acquire();
        Some(value)
    }

    /// Memory that the device may change at any time, as numbers that may be changed at any time.
    pub(super) fn cells<T: Cell>(&self) -> &[T] {
        let count = self.len / size_of::<T>();
        // SAFETY: a mapping begins at a page, it's valid as long as this value, and no other reference to it is ever given but to such cells.
        unsafe { NonNull::slice_from_raw_parts(self.start.cast(), count).as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it's what `mmap` gave, and nobody has a reference to it any more.
        if let Err(error) = unsafe { munmap(self.start.as_ptr().cast(), self.len) } {
            tracing::warn!(%error, len = self.len, "memory wasn't unmapped");
        }
    }
}

/// Numbers that one access stores or loads.
pub(super) trait Plain: Copy {}
impl Plain for u32 {}
impl Plain for u64 {}

/// Numbers that another may change meanwhile.
pub(super) trait Cell {}
impl Cell for AtomicU8 {}
impl Cell for AtomicU32 {}
impl Cell for AtomicU64 {}
