use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use mlx5_twin_sim::memory::{MemoryError, Outside};
use proptest::prelude::*;
use tempfile::NamedTempFile;

use super::{ClientMemory, INTERRUPTS, MapError};

const PAGE: u64 = 4096;

fn file(len: u64) -> File {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(len).expect("room");
    file
}

fn again(file: &File) -> File {
    file.try_clone().expect("a descriptor")
}

/// The same file, opened for reading only.
fn read_only(file: &NamedTempFile) -> File {
    OpenOptions::new().read(true).open(file.path()).expect("a file")
}

fn map(memory: &ClientMemory, address: u64, size: u64, file: &File, offset: u64) -> Result<(), MapError> {
    memory.map(address, size, Some((again(file), offset)), true)
}

fn read<const N: usize>(memory: &ClientMemory, address: u64) -> Result<[u8; N], MemoryError> {
    let mut bytes = [0xaa; N];
    let read = memory.read(address, &mut bytes);
    assert!(read.is_ok() || bytes == [0xaa; N], "a read without success leaves all as it was");
    read.map(|()| bytes)
}

#[test]
fn what_is_written_is_in_the_file() {
    let (memory, file) = (ClientMemory::default(), file(4 * PAGE));
    map(&memory, 0x10_0000, 2 * PAGE, &file, PAGE).expect("maps");
    memory.write(0x10_0ffe, &[1, 2, 3, 4]).expect("is there");
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, 2 * PAGE - 2).expect("is there");
    assert_eq!(bytes, [1, 2, 3, 4]);
    file.write_all_at(&[9, 8], PAGE).expect("room");
    assert_eq!(read(&memory, 0x10_0000), Ok([9, 8]));
    assert_eq!(memory.counts(), (1, 1));
}

#[test]
fn nothing_beside_a_range_is_reached() {
    let (memory, file) = (ClientMemory::default(), file(4 * PAGE));
    map(&memory, 0x1000, PAGE, &file, PAGE).expect("maps");
    for address in [0, 0xffd, 0xffe, 0xfff, 0x1ffd, 0x1ffe, 0x1fff, 0x2000, u64::MAX - 3, u64::MAX] {
        let not = Err(MemoryError::NotMapped { address, length: 4 });
        assert_eq!((read::<4>(&memory, address), memory.write(address, &[1; 4])), (not.map(|()| [0; 4]), not));
        assert!(!memory.has(address, 4));
    }
    let mut bytes = vec![0; 4 * PAGE as usize];
    file.read_exact_at(&mut bytes, 0).expect("is there");
    assert!(bytes.iter().all(|&byte| byte == 0));
    assert!(memory.has(0x1000, PAGE) && !memory.has(0x1000, PAGE + 1) && !memory.has(0x1000, u64::MAX));
}

#[test]
fn ranges_do_not_overlap() {
    let (memory, file) = (ClientMemory::default(), file(8 * PAGE));
    map(&memory, 0x4000, 2 * PAGE, &file, 0).expect("maps");
    for (address, size) in [(0x4000, PAGE), (0x3000, 2 * PAGE), (0x5000, PAGE), (0x5fff, 1), (0x1000, 7 * PAGE)] {
        let error = map(&memory, address, size, &file, 0).expect_err("overlaps");
        assert!(matches!(error, MapError::Overlap { other: 0x4000, .. }), "{error}");
    }
    map(&memory, 0x3000, PAGE, &file, 0).expect("is before it");
    map(&memory, 0x6000, PAGE, &file, 0).expect("is after it");
    assert_eq!(memory.counts(), (3, 1));
}

#[test]
fn a_range_lies_in_the_address_space_and_in_its_file() {
    let (memory, file) = (ClientMemory::default(), file(2 * PAGE));
    for (address, size) in [(0, 0), (5, 0), (u64::MAX, 2), (u64::MAX - 0xfff, PAGE + 1), (2, u64::MAX)] {
        let wrong = |error| matches!(error, MapError::Range { .. });
        assert!(map(&memory, address, size, &file, 0).is_err_and(wrong), "{size:#x} bytes at {address:#x}");
        assert!(memory.unmap(address, size).is_err_and(wrong));
    }
    for (size, offset) in [(3 * PAGE, 0), (PAGE, 2 * PAGE), (PAGE, PAGE + 1), (PAGE, u64::MAX)] {
        let error = map(&memory, 0, size, &file, offset).expect_err("is too short");
        assert!(matches!(error, MapError::File { .. }), "{error}");
    }
    assert_eq!(memory.counts(), (0, 0));
    // The last page there is.
    map(&memory, u64::MAX - 0xfff, PAGE, &file, PAGE).expect("fits");
    memory.write(u64::MAX - 1, &[1, 2]).expect("is there");
    assert_eq!(read(&memory, u64::MAX - 1), Ok([1, 2]));
    assert!(read::<3>(&memory, u64::MAX - 1).is_err());
    assert_eq!(memory.unmap(1, u64::MAX).expect("is a range"), 1);
}

#[test]
fn unmapping_takes_whole_ranges() {
    let (memory, file) = (ClientMemory::default(), file(8 * PAGE));
    for page in 1..=4 {
        map(&memory, page * PAGE, PAGE, &file, page * PAGE).expect("maps");
    }
    assert_eq!(memory.unmap(0x1800, PAGE).expect("is a range"), 0);
    assert_eq!(memory.unmap(0x1800, 2 * PAGE).expect("is a range"), 1);
    assert_eq!((memory.has(0x1000, PAGE), memory.has(0x2000, 1), memory.has(0x3000, 2 * PAGE)), (true, false, true));
    assert_eq!(memory.unmap(0x1000, 4 * PAGE).expect("is a range"), 3);
    assert_eq!(memory.counts(), (0, 0));
    map(&memory, 0x1000, PAGE, &file, 0).expect("maps again");
    memory.clear();
    assert_eq!(memory.counts(), (0, 0));
    assert!(!memory.has(0x1000, 1));
}

/// A guest's IOMMU names a page at a time.
#[test]
fn a_file_is_mapped_once() {
    let (memory, one, other) = (ClientMemory::default(), file(512 * PAGE), file(PAGE));
    for page in 0..512 {
        map(&memory, page * 2 * PAGE, PAGE, &one, page * PAGE).expect("maps");
    }
    map(&memory, PAGE, PAGE, &other, 0).expect("maps");
    assert_eq!(memory.counts(), (513, 2));
    memory.unmap(0, 512 * 2 * PAGE).expect("is a range");
    assert_eq!(memory.counts(), (0, 0));
}

/// However it may be accessed: a client may ask for a file that is open for reading only to be writable.
#[test]
fn a_file_that_is_open_for_reading_only_is_mapped_once() {
    let (memory, named) = (ClientMemory::default(), NamedTempFile::new().expect("a file"));
    named.as_file().set_len(64 * PAGE).expect("room");
    for page in 0..64 {
        map(&memory, page * PAGE, PAGE, &read_only(&named), page * PAGE).expect("maps");
    }
    assert_eq!(memory.counts(), (64, 1));
    assert!(read::<1>(&memory, 0).is_ok() && memory.write(0, &[1]).is_err());
    // Another descriptor of the same file is a writable one: only its ranges are.
    map(&memory, 64 * PAGE, PAGE, named.as_file(), 0).expect("maps");
    map(&memory, 65 * PAGE, PAGE, &read_only(&named), 0).expect("maps");
    assert_eq!(memory.counts(), (66, 2));
    assert!(memory.write(64 * PAGE, &[1]).is_ok());
    assert!(memory.write(0, &[2]).is_err() && memory.write(65 * PAGE, &[2]).is_err());
    assert_eq!(read(&memory, 0), Ok([1]));
}

#[test]
fn a_range_may_be_for_reading_only() {
    let (memory, file) = (ClientMemory::default(), file(PAGE));
    file.write_all_at(&[7], 0).expect("room");
    memory.map(0, PAGE, Some((again(&file), 0)), false).expect("maps");
    map(&memory, PAGE, PAGE, &file, 0).expect("maps");
    assert_eq!(memory.write(0, &[1]), Err(MemoryError::NotMapped { address: 0, length: 1 }));
    assert_eq!(read(&memory, 0), Ok([7]));
    // Nothing of a write is done if some of it can't be.
    assert!(memory.write(PAGE - 1, &[1, 1]).is_err());
    assert_eq!(read(&memory, PAGE), Ok([7]));
    memory.write(PAGE, &[8]).expect("is writable");
    assert_eq!(read(&memory, 0), Ok([8]));
}

#[test]
fn a_range_without_a_file_is_known_but_not_reached() {
    let (memory, file) = (ClientMemory::default(), file(PAGE));
    memory.map(0, PAGE, None, true).expect("is known");
    assert!(map(&memory, 0, PAGE, &file, 0).is_err_and(|error| matches!(error, MapError::Overlap { .. })));
    assert!(!memory.has(0, 1) && read::<1>(&memory, 0).is_err() && memory.write(0, &[1]).is_err());
    assert_eq!(memory.counts(), (1, 0));
    assert_eq!(memory.unmap(0, PAGE).expect("is a range"), 1);
}

#[test]
fn an_access_may_cross_adjacent_ranges() {
    let (memory, one, other) = (ClientMemory::default(), file(PAGE), file(4 * PAGE));
    map(&memory, 0x1000, PAGE, &one, 0).expect("maps");
    map(&memory, 0x2000, PAGE, &other, 2 * PAGE).expect("maps");
    map(&memory, 0x3000, PAGE, &other, 0).expect("maps");
    let bytes: Vec<u8> = (0..=255).cycle().take(PAGE as usize + 20).collect();
    memory.write(0x1ff6, &bytes).expect("is there");
    let mut found = vec![0; bytes.len()];
    memory.read(0x1ff6, &mut found).expect("is there");
    assert_eq!(found, bytes);
    let mut end = [0; 10];
    other.read_exact_at(&mut end, 0).expect("is there");
    assert_eq!(end, bytes[bytes.len() - 10..]);
    assert!(memory.has(0x1000, 3 * PAGE) && memory.write(0x3fff, &[0; 2]).is_err());
}

#[test]
fn interrupt_messages_never_reach_memory() {
    let (memory, file) = (ClientMemory::default(), file(0x40_0000));
    let begin = INTERRUPTS.start - 0x10_0000;
    map(&memory, begin, 0x40_0000, &file, 0).expect("maps");
    for address in [INTERRUPTS.start, INTERRUPTS.start + 0x1000, INTERRUPTS.end - 4] {
        assert!(!memory.has(address, 4) && read::<4>(&memory, address).is_err());
        assert!(memory.write(address, &[1; 4]).is_err());
    }
    // Neither do those that only end there, or begin there.
    for address in [INTERRUPTS.start - 2, INTERRUPTS.end - 2] {
        assert!(!memory.has(address, 4) && read::<4>(&memory, address).is_err());
        assert!(memory.write(address, &[1; 4]).is_err());
    }
    assert!(!memory.has(begin, 0x40_0000));
    assert!(memory.has(begin, 0x10_0000) && memory.has(INTERRUPTS.end, 0x20_0000));
    memory.write(INTERRUPTS.start - 4, &[1; 4]).expect("is memory");
    memory.write(INTERRUPTS.end, &[1; 4]).expect("is memory");
}

/// What a client and a device may do.
#[derive(Clone, Debug)]
enum Act {
    Map { address: u64, size: u64, file: Option<(usize, u64)>, writable: bool },
    Unmap { address: u64, size: u64 },
    Read { address: u64, len: usize },
    Write { address: u64, byte: u8, len: usize },
}

/// Addresses lie in so many bytes, on both sides of the first interrupt message.
const SPAN: u64 = 64;
const FILE: u64 = 48;

fn act() -> impl Strategy<Value = Act> {
    let file = prop::option::weighted(0.9, (0..2_usize, 0..FILE));
    let address = || INTERRUPTS.start - SPAN..INTERRUPTS.start + 8;
    prop_oneof![
        (address(), 0..24_u64, file, prop::bool::weighted(0.8)).prop_map(|(address, size, file, writable)| Act::Map {
            address,
            size,
            file,
            writable
        }),
        (address(), 0..32_u64).prop_map(|(address, size)| Act::Unmap { address, size }),
        (address(), 0..24_usize).prop_map(|(address, len)| Act::Read { address, len }),
        (address(), any::<u8>(), 0..24_usize).prop_map(|(address, byte, len)| Act::Write { address, byte, len }),
    ]
}

/// Byte by byte: where each address leads, and what each byte of the files is.
#[derive(Default)]
struct Naive {
    ranges: Vec<(u64, u64)>,
    /// File and offset, if there's one, and whether it may be written.
    places: HashMap<u64, (Option<(usize, u64)>, bool)>,
    bytes: HashMap<(usize, u64), u8>,
}

impl Naive {
    fn map(&mut self, address: u64, size: u64, file: Option<(usize, u64)>, writable: bool) -> bool {
        let fits = file.is_none_or(|(_, offset)| offset + size <= FILE);
        if size == 0 || !fits || (0..size).any(|at| self.places.contains_key(&(address + at))) {
            return false;
        }
        self.ranges.push((address, size));
        let place = |at| (address + at, (file.map(|(file, offset)| (file, offset + at)), writable));
        self.places.extend((0..size).map(place));
        true
    }

    fn unmap(&mut self, address: u64, size: u64) -> usize {
        let within = |&(start, len): &(u64, u64)| start >= address && start + len <= address + size;
        let (gone, left): (Vec<_>, _) = self.ranges.iter().copied().partition(within);
        self.ranges = left;
        self.places.retain(|at, _| !gone.iter().any(|(start, len)| (*start..start + len).contains(at)));
        gone.len()
    }

    /// Where the bytes of an access are. `None` if some aren't there.
    fn find(&self, address: u64, len: usize, write: bool) -> Option<Vec<(usize, u64)>> {
        let place = |at: u64| {
            let (place, writable) = self.places.get(&at).filter(|_| !INTERRUPTS.contains(&at))?;
            place.filter(|_| *writable || !write)
        };
        (address..).take(len).map(place).collect()
    }
}

proptest! {
    #[test]
    fn it_is_as_a_map_of_bytes(acts in prop::collection::vec(act(), 1..80)) {
        let files = [file(FILE), file(FILE)];
        let (memory, mut naive) = (ClientMemory::default(), Naive::default());
        for act in acts {
            match act {
                Act::Map { address, size, file, writable } => {
                    let given = file.map(|(file, offset)| (again(&files[file]), offset));
                    let mapped = memory.map(address, size, given, writable).is_ok();
                    prop_assert_eq!(mapped, naive.map(address, size, file, writable));
                }
                Act::Unmap { address, size } => {
                    let gone = memory.unmap(address, size).unwrap_or(0);
                    prop_assert_eq!(gone, naive.unmap(address, size));
                }
                Act::Read { address, len } => {
                    let mut bytes = vec![0xaa; len];
                    let read = memory.read(address, &mut bytes);
                    let places = naive.find(address, len, false);
                    prop_assert_eq!(memory.has(address, len as u64), places.is_some());
                    prop_assert_eq!(read.is_ok(), places.is_some());
                    let expected = places.map_or(vec![0xaa; len], |places| {
                        places.iter().map(|place| naive.bytes.get(place).copied().unwrap_or(0)).collect()
                    });
                    prop_assert_eq!(bytes, expected);
                }
                Act::Write { address, byte, len } => {
                    let bytes: Vec<u8> = (0..len).map(|at| byte.wrapping_add(at as u8)).collect();
                    let written = memory.write(address, &bytes);
                    let places = naive.find(address, len, true);
                    prop_assert_eq!(written.is_ok(), places.is_some());
                    naive.bytes.extend(places.into_iter().flatten().zip(bytes));
                }
            }
            let (ranges, mapped) = memory.counts();
            prop_assert_eq!(ranges, naive.ranges.len());
            prop_assert!(mapped <= 4, "{} mappings", mapped);
        }
    }
}
