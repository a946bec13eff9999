//! One call of the kernel's verbs interface: a method of an object, and its attributes (`struct ib_uverbs_ioctl_hdr` and `struct ib_uverbs_attr` of
//! `include/uapi/rdma/rdma_user_ioctl_cmds.h`).

use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::abi::{ATTR_F_MANDATORY, RDMA_DRIVER_MLX5};
use super::raw;

/// 64-bit words of the header, and of an attribute.
const HEADER: usize = raw::HEADER / 8;
const ATTRIBUTE: usize = 2;
/// Longest list, in bytes: `ib_uverbs_ioctl` of `drivers/infiniband/core/uverbs_ioctl.c` takes no more than a page. No method has so many attributes.
const LONGEST: usize = 4096;
/// Inputs up to this many bytes stand in the attribute itself.
const INLINE: usize = 8;

/// What an attribute's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Told to the kernel.
    Given,
    /// A handle, into whose place the kernel writes.
    NewHandle,
    /// A file, into whose place the kernel writes its number.
    NewFile,
}

/// A call that is being put together. It borrows what its attributes point to.
#[derive(Debug)]
pub(super) struct Call<'a> {
    words: Vec<u64>,
    kinds: Vec<(u16, Kind)>,
    /// What keeps it from being made: an attribute that is too long.
    wrong: bool,
    buffers: PhantomData<&'a mut [u8]>,
}

/// What a call gave beside its outputs.
#[derive(Debug)]
pub(super) struct Done {
    handles: Vec<(u16, u32)>,
    files: Vec<(u16, OwnedFd)>,
}

/// Four 16-bit numbers, as they lie in memory.
fn word(parts: [u16; 4]) -> u64 {
    let mut bytes = [0; 8];
    for (place, part) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(parts) {
        *place = part.to_ne_bytes();
    }
    u64::from_ne_bytes(bytes)
}

/// Two 32-bit numbers, as they lie in memory.
fn pair(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

impl<'a> Call<'a> {
    /// A call of this method of this object, without attributes.
    pub(super) fn new(object: u16, method: u16) -> Call<'a> {
        // Length and number of attributes are set at the end.
        let words = vec![word([0, object, method, 0]), 0, pair(RDMA_DRIVER_MLX5, 0)];
        Call { words, kinds: Vec::new(), wrong: false, buffers: PhantomData }
    }

    fn attribute(mut self, id: u16, len: usize, kind: Kind, data: u64) -> Call<'a> {
        let fits = u16::try_from(len);
        self.wrong |= fits.is_err();
        self.words.extend([word([id, fits.unwrap_or(0), ATTR_F_MANDATORY, 0]), data]);
        self.kinds.push((id, kind));
        self
    }

    /// Bytes that the kernel reads.
    pub(super) fn input(self, id: u16, bytes: &'a [u8]) -> Call<'a> {
        if bytes.len() <= INLINE {
            let mut data = [0; INLINE];
            data[..bytes.len()].copy_from_slice(bytes);
            return self.attribute(id, bytes.len(), Kind::Given, u64::from_ne_bytes(data));
        }
        self.attribute(id, bytes.len(), Kind::Given, bytes.as_ptr().expose_provenance() as u64)
    }

    /// A 32-bit number that the kernel reads.
    pub(super) fn number32(self, id: u16, value: u32) -> Call<'a> {
        self.attribute(id, 4, Kind::Given, pair(value, 0))
    }

    /// A 64-bit number that the kernel reads.
    pub(super) fn number64(self, id: u16, value: u64) -> Call<'a> {
        self.attribute(id, 8, Kind::Given, value)
    }

    /// Bytes that the kernel writes.
    pub(super) fn output(self, id: u16, bytes: &'a mut [u8]) -> Call<'a> {
        self.attribute(id, bytes.len(), Kind::Given, bytes.as_mut_ptr().expose_provenance() as u64)
    }

    /// The handle of what the call is about.
    pub(super) fn handle(self, id: u16, handle: u32) -> Call<'a> {
        self.attribute(id, 0, Kind::Given, u64::from(handle))
    }

    /// The handle of what the call makes.
    pub(super) fn new_handle(self, id: u16) -> Call<'a> {
        self.attribute(id, 0, Kind::NewHandle, 0)
    }

    /// The file that the call is about: one that another call has made.
    pub(super) fn file(self, id: u16, file: BorrowedFd<'a>) -> Call<'a> {
        self.attribute(id, 0, Kind::Given, i64::from(file.as_raw_fd()).cast_unsigned())
    }

    /// The file that the call makes.
    pub(super) fn new_file(self, id: u16) -> Call<'a> {
        self.attribute(id, 0, Kind::NewFile, 0)
    }

    /// The call as the kernel reads it.
    fn encode(&mut self) -> Result<&mut [u64], Errno> {
        let len = size_of_val(self.words.as_slice());
        if self.wrong || len > LONGEST {
            return Err(Errno::INVAL);
        }
        let [object, method] = {
            let bytes = self.words[0].to_ne_bytes();
            let parts = bytes.as_chunks::<2>().0;
            [u16::from_ne_bytes(parts[1]), u16::from_ne_bytes(parts[2])]
        };
        // Both fit: the list is no longer than a page.
        self.words[0] = word([len as u16, object, method, self.kinds.len() as u16]);
        Ok(&mut self.words)
    }

    /// Makes the call on the file of a device.
    pub(super) fn run(mut self, file: impl AsFd) -> Result<Done, Errno> {
        let buffer = self.encode()?;
        // SAFETY: pointers are those of `input` and `output`, to bytes that are borrowed for as long as `self` is, and as many as their attributes say.
        unsafe { raw::call(file, buffer) }?;
        let mut done = Done { handles: Vec::new(), files: Vec::new() };
        for (&(id, kind), attribute) in self.kinds.iter().zip(self.words[HEADER..].as_chunks::<ATTRIBUTE>().0) {
            let data = attribute[1];
            match kind {
                Kind::Given => {}
                Kind::NewHandle => done.handles.push((id, data as u32)),
                // SAFETY: the kernel has just made it for this process, and only this attribute names it.
                Kind::NewFile => done.files.push((id, unsafe { raw::own(data.cast_signed() as i32) })),
            }
        }
        Ok(done)
    }
}

impl Done {
    /// The handle that the kernel has given.
    pub(super) fn handle(&self, id: u16) -> Result<u32, Errno> {
        self.handles.iter().find(|(found, _)| *found == id).map(|(_, handle)| *handle).ok_or(Errno::INVAL)
    }

    /// The file that the kernel has made.
    pub(super) fn file(mut self, id: u16) -> Result<OwnedFd, Errno> {
        let at = self.files.iter().position(|(found, _)| *found == id).ok_or(Errno::INVAL)?;
        Ok(self.files.swap_remove(at).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    /// By hand from the structs of the header, on a little-endian machine.
    #[test]
    #[cfg(target_endian = "little")]
    fn a_call_has_its_bytes() {
        let input = [7_u8; 16];
        let mut output = [0_u8; 12];
        let (from, to) = (input.as_ptr() as u64, output.as_ptr() as u64);
        let mut call = Call::new(0x1006, 0x1002)
            .new_handle(0x1000)
            .number32(0x1001, 0x0102_0304)
            .number64(0x1002, 0x0102_0304_0506_0708)
            .input(0x1003, b"abc")
            .input(0x1004, &input)
            .output(0x1005, &mut output)
            .handle(0x1006, 9);
        let encoded = bytes(call.encode().expect("fits"));
        let mut expected = vec![
            24 + 7 * 16,
            0,
            0x06,
            0x10,
            0x02,
            0x10,
            7,
            0, // length, object, method, number of attributes
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0, // reserved1
            1,
            0,
            0,
            0,
            0,
            0,
            0,
            0, // driver, reserved2
        ];
        for (id, len, data) in [
            (0, 0, 0),
            (1, 4, 0x0102_0304),
            (2, 8, 0x0102_0304_0506_0708),
            (3, 3, 0x63_6261),
            (4, 16, from),
            (5, 12, to),
            (6, 0, 9_u64),
        ] {
            expected.extend([id, 0x10, len, 0, 1, 0, 0, 0]);
            expected.extend(data.to_le_bytes());
        }
        assert_eq!(encoded, expected);
    }

    #[test]
    fn inputs_stand_in_the_attribute_if_they_fit() {
        for len in 0..=9 {
            let input = vec![0x5a; len];
            let call = Call::new(0, 0).input(1, &input);
            let pointer = input.as_ptr() as u64;
            assert_eq!(call.words[HEADER + 1] == pointer, len > 8, "{len} bytes");
        }
    }

    #[test]
    fn what_no_attribute_can_hold_is_refused() {
        let long = vec![0; 0x1_0000];
        assert_eq!(Call::new(0, 0).input(1, &long).encode().map(drop), Err(Errno::INVAL));
        assert_eq!(Call::new(0, 0).input(1, &long[1..]).encode().map(drop), Ok(()));
        let many = (0..255).fold(Call::new(0, 0), |call, id| call.handle(id, 0));
        assert_eq!(many.words.len() * 8, 4104);
        assert_eq!({ many }.encode().map(drop), Err(Errno::INVAL));
    }

    #[test]
    fn a_file_that_is_no_device_refuses() {
        let file = std::fs::File::open("/dev/null").expect("is there");
        assert_eq!(Call::new(0, 4).run(&file).map(drop), Err(Errno::NOTTY));
    }
}
