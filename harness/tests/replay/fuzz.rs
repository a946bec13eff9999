//! Any bytes: no panic, no end that doesn't come, no memory beyond what the file has.
//!
//! A seeded mutator changes captures of all three kinds (NetTLP in pcap and in pcapng, our own) and makes up others; each input is replayed as a user
//! would, simulation included. `MLX5_TWIN_FUZZ` says how many inputs there are; the seed is the number of the input.

use std::time::Instant;

use mlx5_twin_harness::profile::Loaded;
use mlx5_twin_harness::replay::Agents;
use mlx5_twin_sim::rng::Rng;

use crate::frames::{conversation, pcap, pcapng};
use crate::programs::scratch;
use crate::{captures, play, profile};

/// Inputs without `MLX5_TWIN_FUZZ`.
const INPUTS: u64 = 4_000;

/// Longest capture of others that is taken as a beginning.
const LONGEST: usize = 4_096;

/// Packets of our own capture that are kept: the length of an input decides how long it takes.
const PACKETS: usize = 24;

/// Numbers that lengths and counts have where they go wrong.
const NUMBERS: [u32; 10] = [0, 1, 4, 12, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, u32::MAX - 3, u32::MAX];

/// Bytes of the virtual address space at its largest so far. `None` where nobody says.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? << 10)
}

/// The beginning of our own capture, with counts at its end that fit.
fn shortened(bytes: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let (mut packets, mut interfaces) = (Vec::new(), 0);
    let mut rest = bytes;
    while let Some(head) = rest.first_chunk::<8>() {
        let kind = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (block, after) = rest.split_at(length);
        rest = after;
        match kind {
            6 if packets.iter().sum::<u64>() < PACKETS as u64 => packets[block[11] as usize] += 1,
            6 => continue,
            // Of the statistics: the option with the count follows type, length, interface and time.
            5 => {
                let count = packets[block[11] as usize].to_be_bytes();
                let mut block = block.to_vec();
                block[24..32].copy_from_slice(&count);
                kept.extend(block);
                continue;
            }
            1 => {
                interfaces += 1;
                packets.resize(interfaces, 0_u64);
            }
            _ => {}
        }
        kept.extend(block);
    }
    kept
}

/// Captures from which inputs are made.
fn beginnings(profile: &Loaded) -> Vec<Vec<u8>> {
    let frames = conversation();
    let own = shortened(&scratch(profile, 1));
    assert!(play(&own, profile, Agents::All).is_ok());
    let mut beginnings = vec![pcap(&frames, true, false, 128), pcap(&frames, false, true, 65_535), pcapng(&frames)];
    beginnings.extend(captures().into_iter().map(|(_, bytes)| bytes).filter(|bytes| bytes.len() <= LONGEST));
    // As many of ours as of the others.
    let others = beginnings.len();
    beginnings.extend(std::iter::repeat_n(own, others / 2));
    beginnings
}

fn below(rng: &mut Rng, end: usize) -> usize {
    rng.range(0, end.saturating_sub(1) as u64) as usize
}

/// The input of that number.
fn input(number: u64, beginnings: &[Vec<u8>]) -> Vec<u8> {
    let mut rng = Rng::stream(number, "fuzz");
    let mut bytes = beginnings[below(&mut rng, beginnings.len())].clone();
    if rng.range(0, 19) == 0 {
        // Noise, half of it behind a capture's first bytes.
        let kept = if rng.range(0, 1) == 0 { 0 } else { below(&mut rng, 64.min(bytes.len())) };
        bytes.truncate(kept);
        bytes.extend((0..below(&mut rng, 400)).map(|_| rng.next_u32() as u8));
        return bytes;
    }
    for _ in 0..=rng.range(0, 5) {
        let len = bytes.len();
        let at = below(&mut rng, len.max(1));
        match rng.range(0, 9) {
            _ if len < 8 => bytes.push(rng.next_u32() as u8),
            0..=2 => bytes[at] ^= 1 << rng.range(0, 7),
            3 => bytes[at] = rng.next_u32() as u8,
            4..=5 => {
                let number = NUMBERS[below(&mut rng, NUMBERS.len())];
                let number = if rng.range(0, 1) == 0 { number.to_be_bytes() } else { number.to_le_bytes() };
                let at = at.min(len - 4);
                bytes[at..at + 4].copy_from_slice(&number);
            }
            6 => bytes.truncate(at),
            7 => {
                let end = (at + below(&mut rng, 100)).min(len);
                bytes.drain(at..end);
            }
            8 => {
                let end = (at + below(&mut rng, 300)).min(len);
                let copy = bytes[at..end].to_vec();
                let to = below(&mut rng, len);
                bytes.splice(to..to, copy);
            }
            _ => {
                let other = &beginnings[below(&mut rng, beginnings.len())];
                let from = below(&mut rng, other.len());
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
        }
    }
    bytes
}

#[test]
fn any_bytes_do_no_harm() {
    let wanted = std::env::var("MLX5_TWIN_FUZZ").ok();
    let inputs = wanted.map_or(INPUTS, |number| number.parse().expect("MLX5_TWIN_FUZZ is a number"));
    let profile = profile(&[("memory_mib = 256 ", "memory_mib = 16 ")]);
    let beginnings = beginnings(&profile);
    let (mut longest, mut replayed, mut bytes) = (0, 0_u64, 0_u64);
    let begin = Instant::now();
    // What every replay needs is there after the first ones.
    let warm = inputs.min(200);
    let mut before = None;
    for number in 0..inputs {
        let input = input(number, &beginnings);
        let agents = if number % 4 == 3 { Agents::RootComplexes } else { Agents::All };
        replayed += u64::from(play(&input, &profile, agents).is_ok());
        (longest, bytes) = (longest.max(input.len()), bytes + input.len() as u64);
        if number + 1 == warm {
            before = peak();
        }
        if number % 1_000_000 == 999_999 {
            println!("{} inputs, {} s, {replayed} replayed", number + 1, begin.elapsed().as_secs());
        }
    }
    let after = peak();
    println!(
        "{inputs} inputs of {} bytes on average, {longest} at most: {replayed} replayed, the others refused, in {:.1} s; \
         address space of {} MiB at most, {} MiB after the first {warm}",
        bytes / inputs.max(1),
        begin.elapsed().as_secs_f64(),
        after.unwrap_or(0) >> 20,
        before.unwrap_or(0) >> 20,
    );
    assert!(inputs < 1_000 || replayed > inputs / 50, "{replayed} of {inputs} were replayed");
    if let Some((before, after)) = before.zip(after) {
        // A 16 MiB memory on each side, and a table of 8 MiB for one of 1 TiB.
        assert!(after.saturating_sub(before) < 256 << 20, "{before} to {after} bytes");
    }
}
