//! Messages that keep the rules, and those that don't.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vfio_user::{DmaMapFlags, DmaUnmapFlags, ServerBackend};

use super::wire::command;
use super::{Description, MAX_DATA, Violation, serve};
use crate::serve::client;

const PATIENCE: Duration = Duration::from_millis(80);

/// A device that notes what is asked of it.
#[derive(Debug, Default)]
struct Notes(Vec<String>);

impl ServerBackend for Notes {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.0.push(format!("read {region} {offset} {}", data.len()));
        data.fill(7);
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.push(format!("write {region} {offset} {data:?}"));
        Ok(())
    }

    fn dma_map(&mut self, _: DmaMapFlags, offset: u64, at: u64, size: u64, file: Option<File>) -> io::Result<()> {
        self.0.push(format!("map {offset} {at} {size} {}", file.is_some()));
        if size == 0 { Err(io::Error::other("nothing")) } else { Ok(()) }
    }

    fn dma_unmap(&mut self, _: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        self.0.push(format!("unmap {address} {size}"));
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.0.push("reset".to_owned());
        Ok(())
    }

    fn set_irqs(&mut self, index: u32, _: u32, start: u32, count: u32, files: Vec<File>) -> io::Result<()> {
        self.0.push(format!("irqs {index} {start} {count} {}", files.len()));
        Ok(())
    }
}

fn message(command: u16, size: u32, flags: u32, words: &[u32]) -> Vec<u8> {
    let head = [5, 0].into_iter().chain(command.to_ne_bytes());
    let words = [size, flags, 0].into_iter().chain(words.iter().copied()).flat_map(u32::to_ne_bytes);
    head.chain(words).collect()
}

/// A message with a true length.
fn sound(command: u16, words: &[u32]) -> Vec<u8> {
    message(command, 16 + 4 * words.len() as u32, 0, words)
}

fn version(data: &[u8]) -> Vec<u8> {
    [message(command::VERSION, 20 + data.len() as u32, 0, &[0]), data.to_vec()].concat()
}

/// Sends pieces with pauses between them: how it ended, what was asked of the device, and the answers' bytes.
fn ended(pieces: &[&[u8]], stays: bool) -> (Result<(), Violation>, Vec<String>, Vec<u8>) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let about = || Description { regions: client::regions(1 << 16), interrupts: client::interrupts(4) };
    let server = std::thread::spawn(move || {
        let mut notes = Notes::default();
        let result = serve(theirs, &about(), &mut notes, PATIENCE);
        (result, notes.0)
    });
    for piece in pieces {
        // It may have hung up already.
        let _ = ours.write_all(piece);
        if pieces.len() < 10 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    if !stays {
        ours.shutdown(std::net::Shutdown::Write).unwrap();
    }
    let mut answers = Vec::new();
    let _ = ours.read_to_end(&mut answers);
    let (result, notes) = server.join().unwrap();
    (result, notes, answers)
}

#[test]
fn rules_are_named_with_their_values() {
    let all = u32::MAX;
    let hello = version(b"{}\0");
    let cases: &[(&[u8], &str)] = &[
        (&message(1, 4, 0, &[0]), "a message of 4 bytes with command 1, which has 20 to 4116"),
        (&message(1, all, 0, &[0]), "a message of 4294967295 bytes with command 1, which has 20 to 4116"),
        (&version(b"{}"), "VERSION with data that is no JSON object: no 0 at its end"),
        (&version(b"[]\0"), "VERSION with data that is no JSON object: invalid type"),
        (&version(b"{}\0\0"), "VERSION with data that is no JSON object: trailing characters"),
        (&version(&[&[b'['; 4000][..], &[0]].concat()), "VERSION with data that is no JSON object: "),
        (&sound(13, &[]), "command 13 where VERSION must be first, and only there"),
        (&[&hello[..], &hello].concat(), "command 1 where VERSION must be first, and only there"),
        (&hello[..9], "the connection was closed after 9 of 16 bytes of a message"),
        (&hello[..21], "the connection was closed after 21 of 23 bytes of a message"),
    ];
    for (bytes, rule) in cases {
        let (result, notes, _) = ended(&[bytes], false);
        let text = result.unwrap_err().to_string();
        assert!(text.starts_with(rule), "{text}");
        assert!(notes.is_empty());
    }
    let cases: &[(&[u8], &str)] = &[
        (&sound(9, &[0, 0, 0, all]), "command 9 for 4294967295 bytes in a message of 32 bytes; at most 1048576 are"),
        (&sound(9, &[0, 0, 0, MAX_DATA + 1]), "command 9 for 1048577 bytes"),
        (&sound(10, &[0, 0, 0, 5, 1]), "command 10 for 5 bytes in a message of 36 bytes"),
        (&sound(10, &[0, 0, 0, 3, 1]), "command 10 for 3 bytes in a message of 36 bytes"),
        (&message(10, 33 + MAX_DATA, 0, &[]), "a message of 1048609 bytes with command 10, which has 32 to 1048608"),
        (&message(99, all, 0, &[]), "a message of 4294967295 bytes with command 99, which has 16 to 4112"),
        (&message(8, 20, 0, &[]), "a message of 20 bytes with command 8, which has 36 to 4132"),
        (&message(13, 16, 1, &[]), "a message with command 13 and flags 0x1, which aren't a command's"),
        (&message(13, 16, 0x20, &[]), "a message with command 13 and flags 0x20"),
        (&message(9, 32, 0x10, &[]), "command 9 that wants no reply"),
    ];
    for (bytes, rule) in cases {
        let (result, notes, answers) = ended(&[&hello, bytes], false);
        let text = result.unwrap_err().to_string();
        assert!(text.starts_with(rule), "{text}");
        // VERSION was answered, and nothing else.
        assert!(notes.is_empty() && answers[..4] == [5, 0, 1, 0] && answers.len() < 200);
    }
}

#[test]
fn messages_come_in_pieces_and_in_heaps() {
    let hello = version(b"{\"capabilities\":{\"max_msg_fds\":8}}\0");
    let rest = [
        sound(4, &[16, 0, 0, 0]),
        sound(77, &[1, 2, 3]),
        sound(9, &[8, 0, 400, 4]),
        sound(10, &[8, 0, 0, 4, 0x0403_0201]),
        message(10, 36, 0x10, &[8, 0, 7, 4, 1]),
        sound(2, &[32, 3, 0, 0, 0, 0, 0, 0]),
        sound(3, &[24, 0, 64, 0, 4096, 0]),
        sound(8, &[20, 0x24, 2, 0, 0]),
        sound(8, &[20, 0x24, 9, 0, 0]),
        sound(9, &[8, 0, 0, 3]),
        sound(13, &[]),
    ]
    .concat();
    let whole = [&hello[..], &rest].concat();
    let bytes: Vec<&[u8]> = whole.chunks(1).collect();
    let expected = [
        "write 0 8 [1, 2, 3, 4]",
        "write 7 8 [1, 0, 0, 0]",
        "map 0 0 0 false",
        "unmap 64 4096",
        "irqs 2 0 0 0",
        "read 0 8 3",
        "reset",
    ];
    let mut before = None;
    for pieces in [&[&whole[..]][..], &[&whole[..20], &whole[20..]], &bytes] {
        let (result, notes, answers) = ended(pieces, false);
        result.unwrap();
        assert_eq!(notes, expected);
        // Each answer has its command, flags and error.
        let mut at = 0;
        let mut heads = Vec::new();
        while at < answers.len() {
            let word = |index: usize| u32::from_ne_bytes(answers[at + index..at + index + 4].try_into().unwrap());
            heads.push((word(0) >> 16, word(8), word(12)));
            at += word(4) as usize;
        }
        let (done, invalid, unknown) = ((1, 0), (0x21, 22), (0x21, 95));
        let ends = [done, done, unknown, invalid, done, (0x21, 0), done, done, invalid, done, done];
        let commands = [1, 4, 77, 9, 10, 2, 3, 8, 8, 9, 13];
        let expected: Vec<_> =
            commands.into_iter().zip(ends).map(|(number, (flags, error))| (number, flags, error)).collect();
        assert_eq!(heads, expected);
        assert!(answers.windows(3).any(|bytes| bytes == [7; 3]));
        assert_eq!(*before.get_or_insert(answers.clone()), answers);
    }
}

#[test]
fn nobody_is_waited_for_for_ever() {
    let hello = version(b"");
    let cases: &[(&[u8], &str)] = &[
        (&[], "0 of 16 bytes of a message had come after 80ms"),
        (&hello[..5], "5 of 16 bytes of a message had come after 80ms"),
        (&hello[..17], "17 of 20 bytes of a message had come after 80ms"),
    ];
    for (bytes, rule) in cases {
        let begun = Instant::now();
        let (result, ..) = ended(&[bytes], true);
        assert_eq!(result.unwrap_err().to_string(), *rule);
        assert!(begun.elapsed() >= PATIENCE);
    }
    // One that takes no answers: each is a MiB, far more than the socket holds.
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let about = Description { regions: client::regions(1 << 16), interrupts: client::interrupts(4) };
    let reads = sound(9, &[0, 0, 0, MAX_DATA]).repeat(8);
    ours.write_all(&[&hello[..], &reads].concat()).unwrap();
    let result = serve(theirs, &about, &mut Notes::default(), PATIENCE);
    assert!(matches!(result, Err(Violation::Unread { want: 0x10_0020, .. })), "{result:?}");
    // Whoever is idle between messages is left in peace.
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let server = std::thread::spawn(move || serve(theirs, &about, &mut Notes::default(), PATIENCE));
    ours.write_all(&hello).unwrap();
    std::thread::sleep(3 * PATIENCE);
    assert!(!server.is_finished());
    drop(ours);
    server.join().unwrap().unwrap();
}

#[test]
fn descriptors_are_counted() {
    use std::os::fd::AsFd;

    let file = tempfile::tempfile().unwrap();
    let sent = |command: u16, words: &[u32], count: usize| {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&version(b"")).unwrap();
        let files = vec![file.as_fd(); count];
        let mut space = vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(32))];
        let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
        assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&files)));
        let bytes = sound(command, words);
        rustix::net::sendmsg(&ours, &[io::IoSlice::new(&bytes)], &mut control, rustix::net::SendFlags::empty())
            .unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let about = Description { regions: client::regions(1 << 16), interrupts: client::interrupts(4) };
        let mut notes = Notes::default();
        (serve(theirs, &about, &mut notes, PATIENCE).map_err(|error| error.to_string()), notes.0)
    };
    let map = [32, 3, 0, 0, 64, 0, 64, 0];
    assert_eq!(sent(2, &map, 1), (Ok(()), vec!["map 0 64 64 true".to_owned()]));
    assert_eq!(sent(2, &map, 2).0, Err("command 2 with 2 descriptors; it may have 1".to_owned()));
    assert_eq!(sent(13, &[], 1).0, Err("command 13 with 1 descriptors; it may have 0".to_owned()));
    assert_eq!(sent(8, &[20, 0x24, 2, 0, 16], 16), (Ok(()), vec!["irqs 2 0 16 16".to_owned()]));
    let many = "a message with more than 16 descriptors, or more than the process may have";
    assert_eq!(sent(8, &[20, 0x24, 2, 0, 17], 17).0, Err(many.to_owned()));
}
