//! Writer and reader together, and each beside other programs.

use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use mlx5_twin_sim::Time;
use mlx5_twin_sim::probe::{Direction, LinkId, Probe, Transmit};
use mlx5_twin_sim::tlp::{Bdf, Header, Tlp};
use pcap_file::pcapng::{Block, PcapNgReader};
use proptest::prelude::*;

use super::*;

fn description() -> Description {
    Description {
        device: "scratch".to_owned(),
        profile: "bluefield3-ib".to_owned(),
        profile_hash: 0x0123_4567_89ab_cdef,
        seed: 42,
        links: vec![LinkName::new("host-rc", "switch"), LinkName::new("dpu-rc", "mlx5")],
    }
}

/// One TLP on a link, as the fabric shows it.
#[derive(Clone, Debug)]
struct Sent {
    at: Time,
    link: LinkId,
    direction: Direction,
    sequence: u64,
    header: Vec<u8>,
    payload: Vec<u8>,
    digest: Option<[u8; 4]>,
}

impl Sent {
    fn bytes(&self) -> Vec<u8> {
        [&self.header[..], &self.payload, self.digest.as_ref().map_or(&[], |digest| &digest[..])].concat()
    }

    fn show(&self, probe: &mut impl Probe) {
        let Sent { at, link, direction, sequence, header, payload, digest } = self;
        let (at, link, direction, sequence, digest) = (*at, *link, *direction, *sequence, *digest);
        probe.transmit(&Transmit { at, link, direction, sequence, header, payload, digest });
    }
}

fn write(index: u64) -> Sent {
    let payload: Vec<u8> = (0..64).map(|byte| (index + byte) as u8).collect();
    let header = Header::mem_write_bytes(Bdf::new(1, 0, 0), 0, 0x1_0000_0000 + index * 64, 64).unwrap();
    let bytes = Tlp::new(header, &payload).unwrap().with_ecrc().to_vec().unwrap();
    Sent {
        at: Time::ps(index * 1_300 + 999),
        link: LinkId((index % 3) as u16),
        direction: if index.is_multiple_of(2) { Direction::Downstream } else { Direction::Upstream },
        sequence: index / 6,
        header: bytes[..16].to_vec(),
        payload,
        digest: Some(bytes[80..].try_into().unwrap()),
    }
}

fn capture(sent: &[Sent]) -> Vec<u8> {
    let mut recorder = Recorder::new(Vec::new(), Path::new("memory"), description()).unwrap();
    sent.iter().for_each(|sent| sent.show(&mut recorder));
    let (bytes, summary) = recorder.finish().unwrap();
    assert_eq!(summary, Summary { packets: sent.len() as u64, bytes: bytes.len() as u64 });
    bytes
}

#[test]
fn what_is_written_is_read() {
    let sent: Vec<Sent> = (0..5000).map(write).collect();
    let bytes = capture(&sent);
    let mut reader = Reader::new(&bytes[..]).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let comment = format!(
        "device scratch\nprofile bluefield3-ib 0123456789abcdef\nseed 42\nmlx5-twin {version}\ncapture header 1"
    );
    assert_eq!(reader.comment(), Some(&comment[..]));
    let names = ["host-rc -> switch", "switch -> host-rc", "dpu-rc -> mlx5", "mlx5 -> dpu-rc"];
    for sent in &sent {
        let packet = reader.next_packet().unwrap().unwrap();
        assert_eq!((packet.time, packet.link, packet.direction), (sent.at, sent.link, sent.direction));
        assert_eq!((packet.sequence, packet.bytes), (sent.sequence, &sent.bytes()[..]));
        assert_eq!(packet.tlp().unwrap().ecrc_is_good(), Some(true));
        let index = usize::from(sent.link.0) * 2 + sent.direction as usize;
        let name = names
            .get(index)
            .copied()
            .unwrap_or(["link 2 top -> link 2 bottom", "link 2 bottom -> link 2 top"][index % 2]);
        assert_eq!(packet.interface.name, name);
    }
    assert!(reader.next_packet().unwrap().is_none());
    assert!(reader.next_packet().unwrap().is_none());
    assert!(reader.is_complete());
}

#[test]
fn same_tlps_same_bytes() {
    let sent: Vec<Sent> = (0..100).map(write).collect();
    assert_eq!(capture(&sent), capture(&sent));
    assert_ne!(capture(&sent), capture(&sent[1..]));
}

#[test]
fn pcap_file_reads_the_same() {
    let sent: Vec<Sent> = (0..50).map(write).collect();
    let bytes = capture(&sent);
    let mut reader = PcapNgReader::new(&bytes[..]).unwrap();
    let mut count = 0;
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.unwrap() {
            let sent = &sent[count];
            assert_eq!(packet.timestamp.as_nanos() as u64, sent.at.as_ns());
            assert_eq!(packet.data[HEADER_LEN..], sent.bytes());
            count += 1;
        }
    }
    assert_eq!((count, reader.interfaces().len()), (50, 6));
}

#[test]
fn capinfos_and_tshark_read_it() {
    let path = std::env::temp_dir().join(format!("mlx5-twin-capture-test-{}.pcapng", std::process::id()));
    std::fs::write(&path, capture(&(0..50).map(write).collect::<Vec<_>>())).unwrap();
    let run = |program: &str, args: &[&str]| Command::new(program).args(args).arg(&path).output();
    match run("capinfos", &["-M", "-c", "-E", "-I"]) {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && text.contains("Number of packets:   50"), "{text}");
            assert!(text.contains("USER 11") && text.contains("host-rc -> switch"), "{text}");
        }
        Err(error) => println!("SKIPPED: capinfos isn't here ({error})"),
    }
    match run(
        "tshark",
        &["-T", "fields", "-e", "frame.time_relative", "-e", "frame.len", "-e", "frame.interface_name", "-r"],
    ) {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                text.starts_with("0.000000000\t108\thost-rc -> switch\n0.000000002\t108\tmlx5 -> dpu-rc\n"),
                "{text}"
            );
            assert_eq!(text.lines().count(), 50);
        }
        Err(error) => println!("SKIPPED: tshark isn't here ({error})"),
    }
    std::fs::remove_file(&path).unwrap();
}

/// Takes `room` bytes, then the disk is full.
#[derive(Debug)]
struct Disk {
    room: usize,
    writes: usize,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let written = bytes.len().min(self.room);
        self.room -= written;
        self.writes += 1;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error_that_says_where() {
    let path = Path::new("/captures/a.pcapng");
    for room in [0, 100, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES] {
        for count in [10, 10_000] {
            let mut recorder = Recorder::new(Disk { room, writes: 0 }, path, description()).unwrap();
            (0..count).map(write).for_each(|sent| sent.show(&mut recorder));
            if room >= BLOCK_BYTES && count == 10 {
                recorder.finish().unwrap();
                continue;
            }
            let error = recorder.finish().unwrap_err();
            let CaptureError::Write { path: named, source } = &error else { panic!("{error}") };
            assert_eq!((named.as_path(), source.kind()), (path, io::ErrorKind::StorageFull));
        }
    }
}

#[test]
fn it_is_written_in_blocks() {
    let disk = Disk { room: usize::MAX, writes: 0 };
    let mut recorder = Recorder::new(disk, Path::new("disk"), description()).unwrap();
    (0..20_000).map(write).for_each(|sent| sent.show(&mut recorder));
    let (disk, summary) = recorder.finish().unwrap();
    let blocks = summary.bytes as usize / BLOCK_BYTES;
    assert!(blocks > 5 && (blocks..=blocks + 2).contains(&disk.writes), "{} writes of {blocks} blocks", disk.writes);
}

#[test]
fn an_uncreatable_file_is_named() {
    let path = std::env::temp_dir().join("mlx5-twin-no-such-folder").join("a.pcapng");
    let error = Recorder::create(&path, description()).unwrap_err().to_string();
    assert!(error.contains("mlx5-twin-no-such-folder") && error.starts_with("can't create the capture "), "{error}");
}

#[test]
fn probes_can_be_joined_and_taken_back() {
    let shared = Shared::new(Tee(Statistics::default(), Maybe(Some(Statistics::default()))));
    let mut probe: Box<dyn Probe> = Box::new(shared.clone());
    let sent = write(0);
    let event = Transmit {
        at: sent.at,
        link: sent.link,
        direction: sent.direction,
        sequence: 0,
        header: &sent.header,
        payload: &sent.payload,
        digest: sent.digest,
    };
    probe.transmit(&event);
    let Tee(first, Maybe(second)) = shared.take().unwrap();
    assert_eq!(first.links()[0][0], Traffic { tlps: 1, bytes: 84 });
    assert_eq!(Some(first), second);
    probe.transmit(&event);
    assert!(shared.take().is_none());
}

/// Reads all of it: the number of packets, and how it ended.
fn read_all(bytes: &[u8]) -> (usize, Result<(), ReadError>) {
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (0, Err(error)),
    };
    let mut count = 0;
    loop {
        match reader.next_packet() {
            Ok(Some(packet)) => {
                let _ = packet.tlp();
                count += 1;
            }
            Ok(None) => return (count, Ok(())),
            Err(error) => {
                assert!(matches!(reader.next_packet(), Ok(None)), "nothing comes after an error");
                return (count, Err(error));
            }
        }
    }
}

#[test]
fn every_cut_is_noticed() {
    let sent: Vec<Sent> = (0..2).map(write).collect();
    let bytes = capture(&sent);
    let ends = |bytes: &[u8]| {
        let mut reader = Reader::new(bytes).unwrap();
        while reader.next_packet().unwrap().is_some() {}
        reader.is_complete()
    };
    let mut clean = 0;
    for len in 0..bytes.len() {
        match read_all(&bytes[..len]).1 {
            Ok(()) => {
                clean += 1;
                assert!(!ends(&bytes[..len]), "cut after {len} bytes");
            }
            Err(ReadError::Block { reason: Reason::Truncated { missing }, offset }) => {
                assert!(offset <= len as u64 && missing > 0 && missing <= (bytes.len() - len) as u64 + 28);
            }
            Err(error) => panic!("cut after {len} bytes: {error}"),
        }
    }
    // Between blocks: after the section, 4 interfaces, 2 packets, 4 statistics; the last one is the whole.
    assert_eq!(clean, 10);
    assert!(ends(&bytes));
}

/// The capture of one TLP, changed in one place of its packet block.
fn changed(change: impl FnOnce(&mut [u8])) -> Reason {
    let mut bytes = capture(&[write(0)]);
    let at = bytes.windows(4).position(|word| word == [0, 0, 0, 6]).unwrap();
    change(&mut bytes[at..]);
    match read_all(&bytes) {
        (0, Err(ReadError::Block { offset, reason })) => {
            assert_eq!(offset, at as u64);
            reason
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_broken_rule_has_its_reason() {
    // The block: type, length, interface, time high and low, captured, original, then our header.
    let length = 32 + 24 + 84;
    let kind = 6;
    assert_eq!(changed(|b| b[7] = 22), Reason::Length { kind, length: 22, min: 32 });
    assert_eq!(changed(|b| b[4] = 0x7f), Reason::Length { kind, length: 0x7f00_0000 | length, min: 32 });
    assert_eq!(changed(|b| b[11] = 9), Reason::Interface { found: 9, count: 4 });
    assert_eq!(changed(|b| b[19] = 1), Reason::Timestamp { block: 1, header: 0 });
    assert_eq!(changed(|b| b[22] = 1), Reason::Captured { original: 108, captured: 256 + 108, room: 108 });
    assert_eq!(changed(|b| b[27] = 7), Reason::Captured { original: 7, captured: 108, room: 108 });
    assert_eq!(changed(|b| b[28] = 0), Reason::Header(HeaderError::Magic { found: 0x57 }));
    assert_eq!(changed(|b| b[length as usize - 1] = 1), Reason::LengthsDiffer { first: length, last: 1 });

    let reason = |bytes: &[u8]| match read_all(bytes).1 {
        Err(ReadError::Block { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let whole = capture(&[write(0)]);
    let with = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(reason(b"GIF89a, and more"), Reason::NotPcapng { found: u32::from_be_bytes(*b"GIF8") });
    assert_eq!(reason(&with(8, 0)), Reason::ByteOrder { found: 0x002b_3c4d });
    assert_eq!(reason(&with(13, 2)), Reason::Version { major: 2, minor: 0 });
    assert_eq!(reason(&with(26, 0xff)), Reason::OptionLength { code: 1, length: 0xff00 | u16::from(whole[27]) });
    let name = whole.windows(7).position(|bytes| bytes == b"host-rc").unwrap();
    let link_type = name - 11;
    assert_eq!(whole[link_type], LINK_TYPE as u8);
    assert_eq!(reason(&with(link_type, 1)), Reason::LinkType { found: 1 });
    let resolution = whole.windows(5).position(|bytes| bytes == [0, 9, 0, 1, 9]).unwrap() + 4;
    assert_eq!(reason(&with(resolution, 6)), Reason::Resolution { found: 6 });
}

/// The section in the other byte order, as a program that rewrites captures may leave it.
#[test]
fn little_endian_files_are_read() {
    let bytes = capture(&[write(0), write(1)]);
    let mut from = PcapNgReader::new(&bytes[..]).unwrap();
    let mut section = from.section().clone();
    section.endianness = pcap_file::Endianness::Little;
    let mut to = pcap_file::pcapng::PcapNgWriter::with_section_header(Vec::new(), section).unwrap();
    while let Some(block) = from.next_block() {
        to.write_block(&block.unwrap()).unwrap();
    }
    let little = to.into_inner();
    assert_ne!(little, bytes);
    let mut reader = Reader::new(&little[..]).unwrap();
    for index in 0..2 {
        let sent = write(index);
        let packet = reader.next_packet().unwrap().unwrap();
        assert_eq!((packet.time, packet.bytes), (sent.at, &sent.bytes()[..]));
    }
    assert!(reader.next_packet().unwrap().is_none());
    assert!(reader.is_complete());
}

#[test]
fn blocks_of_other_types_are_skipped() {
    let bytes = capture(&[write(0)]);
    let at = bytes.windows(4).position(|word| word == [0, 0, 0, 6]).unwrap();
    let length = 3_u32 << 20;
    let custom =
        [&0xbad_u32.to_be_bytes()[..], &length.to_be_bytes(), &vec![7; length as usize - 12], &length.to_be_bytes()]
            .concat();
    let with = [&bytes[..at], &custom, &bytes[at..]].concat();
    assert!(matches!(read_all(&with), (1, Ok(()))));
    let cut = &with[..at + 100];
    let missing = u64::from(length) - 100;
    let expected = Reason::Truncated { missing };
    assert!(matches!(read_all(cut), (0, Err(ReadError::Block { reason, .. })) if reason == expected));
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = read_all(&bytes);
    }

    #[test]
    fn any_change_does_no_harm(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = capture(&[write(0), write(1), write(2)]);
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = read_all(&bytes);
    }

    #[test]
    fn any_tlp_survives(
        sent in prop::collection::vec(
            (any::<u64>(), 0..5_u16, any::<bool>(), any::<u64>(), prop::collection::vec(any::<u8>(), 12..40),
             prop::collection::vec(any::<u8>(), 0..200), any::<Option<[u8; 4]>>()),
            0..20,
        ),
    ) {
        let sent: Vec<Sent> = sent.into_iter().map(|(at, link, up, sequence, header, payload, digest)| Sent {
            at: Time::ps(at),
            link: LinkId(link),
            direction: if up { Direction::Upstream } else { Direction::Downstream },
            sequence, header, payload, digest,
        }).collect();
        let bytes = capture(&sent);
        let mut reader = Reader::new(&bytes[..]).unwrap();
        for sent in &sent {
            let packet = reader.next_packet().unwrap().unwrap();
            prop_assert_eq!((packet.time, packet.link, packet.direction), (sent.at, sent.link, sent.direction));
            prop_assert_eq!((packet.sequence, packet.bytes), (sent.sequence, &sent.bytes()[..]));
        }
        prop_assert!(reader.next_packet().unwrap().is_none());
        prop_assert!(reader.is_complete());
    }
}
