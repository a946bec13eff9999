//! Writes a capture: pcapng, one interface per link and direction.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, IntoInnerError, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mlx5_twin_sim::probe::{Direction, LinkId, Probe, Transmit};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};

use super::format::{LINK_TYPE, PacketHeader, TIMESTAMP_RESOLUTION, VERSION};

/// Bytes that are gathered before they are written.
pub const BLOCK_BYTES: usize = 256 * 1024;

/// The two ends of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkName {
    /// The end nearer to the root complex.
    pub upper: String,
    /// The other end.
    pub lower: String,
}

impl LinkName {
    /// A link from `upper` down to `lower`.
    pub fn new(upper: impl Into<String>, lower: impl Into<String>) -> LinkName {
        LinkName { upper: upper.into(), lower: lower.into() }
    }

    /// The name of a direction: `host-rc -> switch`.
    pub fn directed(&self, direction: Direction) -> String {
        match direction {
            Direction::Downstream => format!("{} -> {}", self.upper, self.lower),
            Direction::Upstream => format!("{} -> {}", self.lower, self.upper),
        }
    }
}

/// What the beginning of a capture says about the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The device that was run.
    pub device: String,
    /// The profile's name, without a folder.
    pub profile: String,
    /// Hash of the profile file.
    pub profile_hash: u64,
    /// The seed.
    pub seed: u64,
    /// The links' names, by number. A link beyond them is called by its number.
    pub links: Vec<LinkName>,
}

impl Description {
    /// The comment of the section. It holds nothing that differs from run to run.
    fn comment(&self) -> String {
        let Description { device, profile_hash, seed, .. } = self;
        let profile = self.profile.replace(char::is_control, "?");
        let version = env!("CARGO_PKG_VERSION");
        format!(
            "device {device}\nprofile {profile} {profile_hash:016x}\nseed {seed}\nmlx5-twin {version}\ncapture header {VERSION}"
        )
    }

    fn interface_name(&self, link: LinkId, direction: Direction) -> String {
        let name = self.links.get(usize::from(link.0)).cloned();
        name.unwrap_or_else(|| LinkName::new(format!("link {} top", link.0), format!("link {} bottom", link.0)))
            .directed(direction)
    }
}

/// Why a capture couldn't be written.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file couldn't be created.
    #[error("can't create the capture {}: {source}", path.display())]
    Create {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Writing failed: what came later is missing.
    #[error("can't write the capture {}, which is incomplete: {source}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a capture holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// TLPs on links: one that crosses three links counts three times.
    pub packets: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Counts what goes through.
#[derive(Debug)]
struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// An interface of the capture.
#[derive(Clone, Copy, Debug)]
struct Interface {
    id: u32,
    packets: u64,
}

/// A probe that writes each TLP on each link to a capture.
///
/// The bytes depend on nothing but the description and the TLPs. The first error of the file ends the recording;
/// [`Recorder::finish`] returns it.
pub struct Recorder<W: Write> {
    writer: PcapNgWriter<BufWriter<Counted<W>>>,
    path: PathBuf,
    description: Description,
    /// By link, then direction.
    interfaces: Vec<[Option<Interface>; 2]>,
    /// Reused: our header and the TLP.
    packet: Vec<u8>,
    seen: u64,
    error: Option<io::Error>,
    last_ns: u64,
}

impl<W: Write> std::fmt::Debug for Recorder<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("path", &self.path)
            .field("seen", &self.seen)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl Recorder<File> {
    /// Creates the file, or empties it, and begins the capture.
    ///
    /// # Errors
    /// [`CaptureError`] with the path and the reason.
    pub fn create(path: &Path, description: Description) -> Result<Recorder<File>, CaptureError> {
        let file = File::create(path).map_err(|source| CaptureError::Create { path: path.to_owned(), source })?;
        Recorder::new(file, path, description)
    }
}

impl<W: Write> Recorder<W> {
    /// Begins a capture in `output`. Errors will call it `path`.
    ///
    /// # Errors
    /// [`CaptureError::Write`].
    pub fn new(output: W, path: &Path, description: Description) -> Result<Recorder<W>, CaptureError> {
        let writer = BufWriter::with_capacity(BLOCK_BYTES, Counted { inner: output, bytes: 0 });
        let section = SectionHeaderBlock {
            // One byte order for all of the file, on every machine.
            endianness: Endianness::Big,
            options: vec![
                SectionHeaderOption::Comment(Cow::Owned(description.comment())),
                SectionHeaderOption::UserApplication(Cow::Borrowed(concat!("mlx5-twin ", env!("CARGO_PKG_VERSION")))),
            ],
            ..SectionHeaderBlock::default()
        };
        let failed = |error| CaptureError::Write { path: path.to_owned(), source: io_error(error) };
        let writer = PcapNgWriter::with_section_header(writer, section).map_err(failed)?;
        let mut recorder = Recorder {
            writer,
            path: path.to_owned(),
            description,
            interfaces: Vec::new(),
            packet: Vec::with_capacity(8192),
            seen: 0,
            error: None,
            last_ns: 0,
        };
        for link in 0..recorder.description.links.len() {
            let link = LinkId(link as u16);
            for direction in [Direction::Downstream, Direction::Upstream] {
                recorder.interface(link, direction).map_err(failed)?;
            }
        }
        Ok(recorder)
    }

    /// The interface of a link and direction; describes it in the capture if it's the first time.
    fn interface(&mut self, link: LinkId, direction: Direction) -> Result<u32, PcapError> {
        let index = usize::from(link.0);
        if let Some(interface) = self.interfaces.get(index).and_then(|both| both[direction as usize]) {
            return Ok(interface.id);
        }
        let name = self.description.interface_name(link, direction);
        let towards = match direction {
            Direction::Downstream => "downstream",
            Direction::Upstream => "upstream",
        };
        let id = self.writer.interfaces().len() as u32;
        self.writer.write_pcapng_block(InterfaceDescriptionBlock {
            linktype: DataLink::from(u32::from(LINK_TYPE)),
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Owned(name)),
                InterfaceDescriptionOption::IfDescription(Cow::Owned(format!("PCIe link {}, {towards}", link.0))),
                InterfaceDescriptionOption::IfTsResol(TIMESTAMP_RESOLUTION),
            ],
        })?;
        if self.interfaces.len() <= index {
            self.interfaces.resize(index + 1, [None; 2]);
        }
        self.interfaces[index][direction as usize] = Some(Interface { id, packets: 0 });
        Ok(id)
    }

    fn write(&mut self, event: &Transmit<'_>) -> Result<(), PcapError> {
        let interface_id = self.interface(event.link, event.direction)?;
        let Transmit { at: time, link, direction, sequence, header, payload, digest } = *event;
        self.packet.clear();
        self.packet.extend_from_slice(&PacketHeader { link, direction, flags: 0, sequence, time }.encode());
        self.packet.extend_from_slice(header);
        self.packet.extend_from_slice(payload);
        self.packet.extend_from_slice(digest.as_ref().map_or(&[], |digest| digest.as_slice()));
        self.last_ns = self.last_ns.max(time.as_ns());
        self.writer.write_pcapng_block(EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(time.as_ns()),
            original_len: self.packet.len() as u32,
            data: Cow::Borrowed(&self.packet),
            options: Vec::new(),
        })?;
        if let Some(Some(interface)) = self.interfaces[usize::from(link.0)].get_mut(direction as usize) {
            interface.packets += 1;
        }
        Ok(())
    }

    /// Says how many packets each interface had, so that a reader knows the end.
    fn write_end(&mut self) -> Result<(), PcapError> {
        let mut interfaces: Vec<_> = self.interfaces.iter().flatten().flatten().copied().collect();
        interfaces.sort_by_key(|interface| interface.id);
        for interface in interfaces {
            self.writer.write_pcapng_block(InterfaceStatisticsBlock {
                interface_id: interface.id,
                timestamp: self.last_ns,
                options: vec![InterfaceStatisticsOption::IsbIfRecv(interface.packets)],
            })?;
        }
        Ok(())
    }

    /// Ends the capture: writes what is left, and gives the output back.
    ///
    /// # Errors
    /// The first error since the capture began.
    pub fn finish(mut self) -> Result<(W, Summary), CaptureError> {
        if self.error.is_none() {
            self.error = self.write_end().err().map(io_error);
        }
        let Recorder { writer, path, seen, error, .. } = self;
        let ended = match error {
            Some(error) => Err(error),
            None => writer.into_inner().into_inner().map_err(IntoInnerError::into_error),
        };
        match ended.and_then(|mut output| output.flush().map(|()| output)) {
            Ok(output) => Ok((output.inner, Summary { packets: seen, bytes: output.bytes })),
            Err(source) => Err(CaptureError::Write { path, source }),
        }
    }
}

impl<W: Write + Send> Probe for Recorder<W> {
    fn transmit(&mut self, event: &Transmit<'_>) {
        self.seen += 1;
        if self.error.is_none() {
            self.error = self.write(event).err().map(io_error);
        }
    }
}

fn io_error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}
