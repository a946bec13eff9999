//! What the compiler can't check of the kernel's interface: the ioctl, and files that the kernel makes. The rest of the backend is built on these few functions, and on
//! [`Mapping`](crate::backend::mapping::Mapping).

use std::ffi::c_void;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode, opcode};

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
