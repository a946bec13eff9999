//! Memory against a map of single bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[test]
fn untouched_memory_is_zero_and_costs_nothing() -> Result<(), MemoryError> {
    let memory = Memory::new(MAX_SIZE)?;
    let mut bytes = [0xa5; 64];
    memory.read(MAX_SIZE - 64, &mut bytes)?;
    assert_eq!((bytes, memory.resident()), ([0; 64], 0));
    Ok(())
}

#[test]
fn what_leaves_the_memory_is_refused() -> Result<(), MemoryError> {
    let size = EXTENT + 10;
    let mut memory = Memory::new(size)?;
    for (address, length) in [(size - 1, 2), (size, 1), (size + 1, 0), (u64::MAX, 2), (u64::MAX - 1, 2)] {
        let error = MemoryError::OutOfRange { address, length, size };
        let mut bytes = vec![0xa5; length];
        assert_eq!(memory.write(address, &bytes), Err(error));
        assert_eq!(memory.read(address, &mut bytes), Err(error));
        assert!(bytes.iter().all(|&byte| byte == 0xa5));
    }
    assert_eq!(memory.resident(), 0);
    assert_eq!(memory.write(size - 2, &[1, 2]), Ok(()));
    assert_eq!(memory.read(size, &mut []), Ok(()));
    let size = MAX_SIZE + 1;
    assert_eq!(Memory::new(size).map(|_| ()), Err(MemoryError::TooLarge { size }));
    Ok(())
}

#[test]
fn the_resident_limit_holds_and_half_a_write_is_never_done() -> Result<(), MemoryError> {
    let mut memory = Memory::with_limit(8 * EXTENT, 2 * EXTENT)?;
    memory.write(0, &[1])?;
    // Three extents are needed for this one, of which one is there.
    let data = vec![7; EXTENT as usize + 2];
    let limit = 2 * EXTENT;
    let error = MemoryError::ResidentLimit { address: EXTENT - 1, needed: 3 * EXTENT, limit };
    assert_eq!(memory.write(EXTENT - 1, &data), Err(error));
    assert_eq!(memory.write_masked(EXTENT - 4, &[7; 8], 0xe, 0xf), Ok(()));
    assert_eq!(memory.resident(), 2 * EXTENT);
    let error = MemoryError::ResidentLimit { address: 2 * EXTENT - 4, needed: 3 * EXTENT, limit };
    assert_eq!(memory.write_masked(2 * EXTENT - 4, &[7; 8], 0xe, 0xf), Err(error));
    assert_eq!(memory.read_u32_le(2 * EXTENT - 4), Ok(0));
    assert_eq!(memory.write_masked(4 * EXTENT, &[7; 4], 0, 0), Ok(()), "no byte is enabled");
    assert_eq!(memory.write(5 * EXTENT, &[]), Ok(()));
    assert_eq!(memory.write(2 * EXTENT - 4, &[9; 4]), Ok(()), "resident already");
    Ok(())
}

#[test]
fn words_in_both_byte_orders() -> Result<(), MemoryError> {
    let mut memory = Memory::new(4096)?;
    memory.write_u32_le(0, 0x0102_0304)?;
    memory.write_u32_be(4, 0x0506_0708)?;
    memory.write_u64_le(8, 0x1112_1314_1516_1718)?;
    memory.write_u64_be(16, 0x2122_2324_2526_2728)?;
    let mut bytes = [0; 24];
    memory.read(0, &mut bytes)?;
    let expected = [
        [4, 3, 2, 1, 5, 6, 7, 8],
        [0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11],
        [0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28],
    ];
    assert_eq!(bytes.as_slice(), expected.concat());
    assert_eq!((memory.read_u32_le(0)?, memory.read_u32_be(4)?), (0x0102_0304, 0x0506_0708));
    assert_eq!(memory.read_u64_le(8)?, 0x1112_1314_1516_1718);
    assert_eq!(memory.read_u64_be(16)?, 0x2122_2324_2526_2728);
    Ok(())
}

#[test]
fn masked_writes_are_whole_dwords() -> Result<(), MemoryError> {
    let mut memory = Memory::new(4096)?;
    for (address, length) in [(2, 4), (0, 6)] {
        let error = MemoryError::Unaligned { address, length };
        assert_eq!(memory.write_masked(address, &[0xff; 6][..length], 0xf, 0xf), Err(error));
    }
    Ok(())
}

const SIZE: u64 = 3 * EXTENT + 100;

#[derive(Clone, Debug)]
enum Step {
    Write { address: u64, data: Vec<u8> },
    Masked { dword: u64, data: Vec<u8>, first_be: u8, last_be: u8 },
    Read { address: u64, length: usize },
}

/// Addresses near the borders of extents and the end, where things go wrong.
fn any_address() -> impl Strategy<Value = u64> {
    let border = (0..=3u64, 0..600u64).prop_map(|(extent, near)| (extent * EXTENT + near).saturating_sub(300));
    prop_oneof![4 => border, 1 => 0..SIZE + 50]
}

fn any_step() -> impl Strategy<Value = Step> {
    let data = |most| prop::collection::vec(any::<u8>(), 0..most);
    let masked = (any_address(), data(32), any::<u8>(), any::<u8>());
    prop_oneof![
        (any_address(), data(300)).prop_map(|(address, data)| Step::Write { address, data }),
        masked.prop_map(|(address, data, first_be, last_be)| Step::Masked {
            dword: address / 4,
            data: data[..data.len() / 4 * 4].to_vec(),
            first_be,
            last_be,
        }),
        (any_address(), 0..600usize).prop_map(|(address, length)| Step::Read { address, length }),
    ]
}

proptest! {
    #[test]
    fn any_accesses_do_as_a_map_of_bytes(steps in prop::collection::vec(any_step(), 0..60)) {
        let mut memory = Memory::new(SIZE)?;
        let mut model: BTreeMap<u64, u8> = BTreeMap::new();
        let fits = |address: u64, length: usize| address + length as u64 <= SIZE;
        for step in steps {
            match step {
                Step::Write { address, data } => {
                    let inside = fits(address, data.len());
                    prop_assert_eq!(memory.write(address, &data).is_ok(), inside);
                    if inside {
                        model.extend((address..).zip(data));
                    }
                }
                Step::Masked { dword, data, first_be, last_be } => {
                    let address = dword * 4;
                    let inside = fits(address, data.len());
                    let result = memory.write_masked(address, &data, first_be, last_be);
                    prop_assert_eq!(result.is_ok(), inside);
                    let dwords = data.len() / 4;
                    for (at, &byte) in data.iter().enumerate().filter(|_| inside) {
                        let enables = if at < 4 { first_be } else if at / 4 + 1 == dwords { last_be } else { 0xf };
                        if enables >> (at % 4) & 1 == 1 {
                            model.insert(address + at as u64, byte);
                        }
                    }
                }
                Step::Read { address, length } => {
                    let mut seen = vec![0xa5; length];
                    let inside = fits(address, length);
                    prop_assert_eq!(memory.read(address, &mut seen).is_ok(), inside);
                    let at = |address: u64| model.get(&address).copied().unwrap_or(0);
                    let expected: Vec<u8> = (address..).take(length).map(|a| if inside { at(a) } else { 0xa5 }).collect();
                    prop_assert_eq!(seen, expected);
                }
            }
        }
        for (&address, &byte) in &model {
            let mut one = [0];
            memory.read(address, &mut one)?;
            prop_assert_eq!(one[0], byte);
        }
        prop_assert!(memory.resident() <= 4 * EXTENT);
    }
}
