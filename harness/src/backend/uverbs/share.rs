//! Handing a context to another process: its file goes over a unix socket, and with it, as JSON, what there is in it.
//!
//! The names are those of rdma-core's exports (`mlx5dv_var_export`, `mlx5dv_devx_umem_export`, `mlx5dv_devx_obj_export`), so that a program that
//! uses rdma-core finds its way.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::backend::{ObjectHandle, UmemExport, VarExport};

/// Longest message, in bytes, and most files (ours).
const LONGEST: usize = 64 << 10;
const MOST_FILES: usize = 64;

/// What a process tells another one of what their context has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// VAR pages.
    #[serde(default)]
    pub vars: Vec<VarExport>,
    /// Registered memory. The files of the memory, if they are sent too, come after the context's, in this order.
    #[serde(default)]
    pub umems: Vec<UmemExport>,
    /// DEVX objects.
    #[serde(default)]
    pub objects: Vec<ObjectExport>,
}

/// A DEVX object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectExport {
    /// The kernel's handle of it.
    pub handle: ObjectHandle,
    /// The number by which commands name it.
    pub object_id: u32,
}

/// Sends a message over a unix socket: the context's file, then those of memory.
///
/// # Errors
/// What the operating system says; a message that is too long.
pub fn send(socket: impl AsFd, shared: &Shared, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(shared)?;
    if bytes.len() > LONGEST || files.len() > MOST_FILES {
        let text =
            format!("{} bytes and {} files to share: at most {LONGEST} and {MOST_FILES}", bytes.len(), files.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(files));
    let sent = sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    if sent < bytes.len() {
        return Err(io::Error::new(io::ErrorKind::WriteZero, format!("{sent} of {} bytes were sent", bytes.len())));
    }
    Ok(())
}

/// Receives a message.
///
/// # Errors
/// What the operating system says; what is no such message; the other end is closed.
pub fn receive(socket: impl AsFd) -> io::Result<(Shared, Vec<OwnedFd>)> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            files.extend(rights);
        }
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "what is shared is too long, or has too many files"));
    }
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((serde_json::from_slice(&bytes[..received.bytes])?, files))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn files_and_handles_go_over_a_socket() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let mut file = tempfile::tempfile().expect("a file");
        let shared = Shared {
            vars: vec![VarExport { handle: 1, page_id: 2, length: 4096, mmap_offset: 0x9000 }],
            umems: vec![UmemExport { handle: 3, umem_id: 4 }],
            objects: vec![ObjectExport { handle: ObjectHandle(5), object_id: 6 }],
        };
        send(&here, &shared, &[file.as_fd()]).expect("is sent");
        let (received, files) = receive(&there).expect("is received");
        assert_eq!(received, shared);
        let mut same: Vec<File> = files.into_iter().map(File::from).collect();
        same[0].write_all(b"here").expect("is written");
        let mut text = String::new();
        file.rewind().expect("a place");
        file.read_to_string(&mut text).expect("text");
        assert_eq!((same.len(), text.as_str()), (1, "here"));
    }

    /// What a program in another language writes.
    #[test]
    fn the_form_is_fixed() {
        let (mut here, there) = UnixStream::pair().expect("a pair");
        let text = br#"{"vars": [{"handle": 1, "page_id": 2, "length": 4096, "mmap_offset": 36864}], "objects": [{"handle": 7, "object_id": 8}]}"#;
        here.write_all(text).expect("is written");
        let (shared, files) = receive(&there).expect("is received");
        let object = ObjectExport { handle: ObjectHandle(7), object_id: 8 };
        assert_eq!((shared.vars[0].mmap_offset, shared.objects, files.len()), (36864, vec![object], 0));
        here.write_all(b"{").expect("is written");
        assert!(receive(&there).is_err());
        drop(here);
        assert_eq!(receive(&there).map(drop).map_err(|error| error.kind()), Err(io::ErrorKind::UnexpectedEof));
    }
}
