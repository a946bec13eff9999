//! What the kernel answers instead of success, as errors of the contract.

use mlx5_twin_fw_cmds::layout::{mbox_in, mbox_out};
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::Status;
use rustix::io::Errno;

use crate::backend::Error;

/// The kernel refuses something, or the firmware does and the kernel says no more than that.
pub(super) fn refused(what: &'static str, errno: Errno) -> Error {
    match errno {
        Errno::INVAL => Error::Invalid(format!("the kernel refuses {what}: an argument is wrong (EINVAL)")),
        Errno::IO => Error::Device(format!("{what}: the device is gone, or has failed (EIO)")),
        errno => Error::Kernel { what, errno: errno.raw_os_error() },
    }
}

/// A call about something that was made before was refused.
pub(super) fn handle_refused(what: &'static str, call: &'static str, handle: u32, errno: Errno) -> Error {
    match errno {
        Errno::NOENT => Error::NoHandle { what, handle },
        errno => refused(call, errno),
    }
}

/// A command was refused: by the firmware, whose output then says why (EREMOTEIO), or by the kernel.
pub(super) fn command_refused(what: &'static str, errno: Errno, input: &[u8], output: &[u8]) -> Error {
    let says = |field: mlx5_twin_fw_cmds::field::Field| field.get(output).unwrap_or(0);
    let status = Status(says(mbox_out::STATUS) as u8);
    if errno != Errno::REMOTEIO || status == Status::OK {
        return refused(what, errno);
    }
    let opcode = Opcode(mbox_in::OPCODE.get(input).unwrap_or(0) as u16);
    Error::Command { opcode, status, syndrome: says(mbox_out::SYNDROME) as u32 }
}

/// A page was refused: there's none of the kind, or none is left.
pub(super) fn page_refused(kinds: &'static str, kind: &'static str, errno: Errno) -> Error {
    match errno {
        Errno::OPNOTSUPP => Error::NotSupported(kinds),
        Errno::PROTONOSUPPORT => Error::NoMethod(kinds),
        Errno::NOSPC => Error::NoSpace(kind),
        errno => refused(kinds, errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_errno_comes_back() {
        for number in 1..134 {
            let errno = Errno::from_raw_os_error(number);
            assert_eq!(refused("this", errno).errno(), number);
            assert_eq!(handle_refused("object", "this", 1, errno).errno(), number);
            assert_eq!(page_refused("pages", "page", errno).errno(), number);
            assert_eq!(command_refused("this", errno, &[], &[]).errno(), number);
        }
    }

    #[test]
    fn the_firmwares_status_is_in_the_output() {
        let input = [0x0a, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let output = [3, 0, 0, 0, 0x00, 0x01, 0x02, 0x03, 0, 0, 0, 0, 0, 0, 0, 0];
        let opcode = Opcode::CREATE_GENERAL_OBJECT;
        let expected = Error::Command { opcode, status: Status::BAD_PARAM, syndrome: 0x01_0203 };
        assert_eq!(command_refused("this", Errno::REMOTEIO, &input, &output), expected);
        assert_eq!(expected.errno(), 22, "as rdma-core has it");
        // The kernel has refused before the firmware could.
        assert_eq!(command_refused("this", Errno::BUSY, &input, &output), Error::Kernel { what: "this", errno: 16 });
    }
}
