//! The vfio-user protocol, from the server's side: messages of a client become calls of a [`ServerBackend`].
//!
//! A client isn't trusted. The vfio_user crate's own server is not used: it allocates what a message says that it needs (4 GiB at most), waits
//! for ever for the rest of a message, takes a few bytes for a whole header, panics on some lengths, and loses its place in the stream after a
//! command that it doesn't know. Here each message is read as a whole before anything of it is done, and no more than [`MAX_MESSAGE`] bytes and
//! [`MAX_DESCRIPTORS`] descriptors of it: with the answer that is 2 MiB for a client. A message that breaks a rule of [`Violation`] ends its
//! client's connection.
//!
//! - `wire`: the messages' layout.
//! - `stream`: bytes and descriptors, each within a time.

mod stream;
mod wire;

#[cfg(test)]
mod tests;

use std::os::unix::net::UnixStream;
use std::time::Duration;

use vfio_bindings::bindings::vfio::{VFIO_DEVICE_FLAGS_PCI, VFIO_DEVICE_FLAGS_RESET, VFIO_IRQ_SET_DATA_BOOL};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, ServerBackend, ServerRegion};

use self::stream::Stream;
use self::wire::{Answer, Message, command};

pub(super) use self::stream::MAX_DESCRIPTORS;

/// The most bytes that one read or write of a region may have: what the server says in its answer to VERSION.
pub(super) const MAX_DATA: u32 = 1 << 20;
/// The longest message: a write of so many bytes.
pub(super) const MAX_MESSAGE: u32 = 32 + MAX_DATA;
/// How long the rest of a message may take, its answer, and the first message of a client.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The rule that a client has broken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Violation {
    /// A message is as long as it must be, and not longer than it may be.
    #[error("a message of {size} bytes with command {command}, which has {least} to {most}")]
    Size { command: u16, size: u32, least: u32, most: u32 },
    /// A client sends commands, and no other flags than those of one.
    #[error("a message with command {command} and flags {flags:#x}, which aren't a command's")]
    Flags { command: u16, flags: u32 },
    /// A command whose answer is all that it's for wants one.
    #[error("command {0} that wants no reply")]
    NoReply(u16),
    /// VERSION comes first, and once.
    #[error("command {0} where VERSION must be first, and only there")]
    Order(u16),
    /// What VERSION says of the client is JSON.
    #[error("VERSION with data that is no JSON object: {0}")]
    Version(String),
    /// A read or write has at most so many bytes, and a write as many as it says.
    #[error("command {command} for {count} bytes in a message of {size} bytes; at most {MAX_DATA} are allowed")]
    Count { command: u16, count: u32, size: u32 },
    /// Only some commands come with descriptors.
    #[error("command {command} with {count} descriptors; it may have {most}")]
    Descriptors { command: u16, count: usize, most: usize },
    /// No message has more.
    #[error("a message with more than {MAX_DESCRIPTORS} descriptors, or more than the process may have")]
    TooManyDescriptors,
    /// A message comes as a whole.
    #[error("the connection was closed after {have} of {want} bytes of a message")]
    Cut { have: usize, want: usize },
    /// And soon.
    #[error("{have} of {want} bytes of a message had come after {after:?}")]
    Late { have: usize, want: usize, after: Duration },
    /// A client takes its answers.
    #[error("{have} of {want} bytes of an answer were taken after {after:?}")]
    Unread { have: usize, want: usize, after: Duration },
    /// The system's own failure.
    #[error("the connection: {0}")]
    System(#[from] std::io::Error),
}

/// What a client may know of the device.
pub(super) struct Description {
    /// By index.
    pub(super) regions: Vec<ServerRegion>,
    /// By index.
    pub(super) interrupts: Vec<IrqInfo>,
}

/// Why a command has an error for an answer: its number there.
struct Refusal(u32);

impl Refusal {
    const INVALID: Refusal = Refusal(libc::EINVAL as u32);
    const UNKNOWN: Refusal = Refusal(libc::EOPNOTSUPP as u32);
    /// The device's own reasons have no number, as in the vfio_user crate; the log has them.
    const BACKEND: Refusal = Refusal(0);
}

fn backend(error: &std::io::Error) -> Refusal {
    tracing::debug!(%error, "a command of the client is refused");
    Refusal::BACKEND
}

/// Serves a client until it goes.
///
/// # Errors
/// The rule that it broke.
pub(super) fn serve(
    connection: UnixStream,
    description: &Description,
    device: &mut dyn ServerBackend,
    patience: Duration,
) -> Result<(), Violation> {
    let mut stream = Stream::new(connection, patience);
    let mut greeted = false;
    while let Some(message) = stream.receive(!greeted)? {
        if (message.command == command::VERSION) == greeted {
            return Err(Violation::Order(message.command));
        }
        greeted = true;
        let (id, number, reply) = (message.id, message.command, !message.no_reply());
        let answer = match carry_out(message, description, device)? {
            Ok(answer) if reply => answer.finish(id, number),
            Ok(_) => continue,
            Err(Refusal(error)) => Answer::refusal(id, number, error),
        };
        stream.send(&answer)?;
    }
    Ok(())
}

/// Carries out a command: gives its answer, or why it has none. What is wrong with the message itself was found before, but for what
/// only its contents show.
fn carry_out(
    message: Message,
    description: &Description,
    device: &mut dyn ServerBackend,
) -> Result<Result<Answer, Refusal>, Violation> {
    let Message { command: number, .. } = message;
    let word = |index: usize| message.word(index);
    let long = |index: usize| u64::from(word(index)) | u64::from(word(index + 1)) << 32;
    let done = |result: std::io::Result<()>, answer: Answer| result.map(|()| answer).map_err(|error| backend(&error));
    Ok(match number {
        command::VERSION => {
            wire::check_version(message.data(4)).map_err(Violation::Version)?;
            Ok(Answer::new().word(0).bytes(wire::VERSION_DATA))
        }
        command::DMA_MAP => {
            let (flags, offset, address, size) = (DmaMapFlags::from_bits_retain(word(1)), long(2), long(4), long(6));
            let mut files = message.files;
            done(device.dma_map(flags, offset, address, size, files.pop()), Answer::new())
        }
        command::DMA_UNMAP => {
            let answer = Answer::new().bytes(&message.payload[..24]);
            done(device.dma_unmap(DmaUnmapFlags::from_bits_retain(word(1)), long(2), long(4)), answer)
        }
        command::GET_INFO => {
            let flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
            let counts = [description.regions.len() as u32, description.interrupts.len() as u32];
            Ok(Answer::new().word(16).word(flags).word(counts[0]).word(counts[1]))
        }
        command::GET_REGION_INFO => match description.regions.get(word(2) as usize) {
            Some(ServerRegion { region_info: info, .. }) => Ok(Answer::new()
                .word(info.argsz)
                .word(info.flags)
                .word(info.index)
                .word(info.cap_offset)
                .long(info.size)
                .long(info.offset)),
            None => Err(Refusal::INVALID),
        },
        command::GET_IRQ_INFO => match description.interrupts.get(word(2) as usize) {
            Some(info) => Ok(Answer::new().word(16).word(info.flags).word(info.index).word(info.count)),
            None => Err(Refusal::INVALID),
        },
        command::SET_IRQS if word(2) as usize >= description.interrupts.len() => Err(Refusal::INVALID),
        command::SET_IRQS if word(1) & VFIO_IRQ_SET_DATA_BOOL != 0 => Err(Refusal::UNKNOWN),
        command::SET_IRQS => {
            let (flags, index, start, count) = (word(1), word(2), word(3), word(4));
            done(device.set_irqs(index, flags, start, count, message.files), Answer::new())
        }
        command::REGION_READ | command::REGION_WRITE if word(2) as usize >= description.regions.len() => {
            Err(Refusal::INVALID)
        }
        command::REGION_READ => {
            let (offset, region, count) = (long(0), word(2), word(3));
            let mut answer = Answer::new().long(offset).word(region).word(count);
            let result = device.region_read(region, offset, answer.room(count as usize));
            done(result, answer)
        }
        command::REGION_WRITE => {
            let (offset, region, count) = (long(0), word(2), word(3));
            let answer = Answer::new().long(offset).word(region).word(count);
            done(device.region_write(region, offset, message.data(16)), answer)
        }
        command::DEVICE_RESET => done(device.reset(), Answer::new()),
        _ => Err(Refusal::UNKNOWN),
    })
}
