//! How soon things must happen on a link (base spec 2.6.1.2, 3.4.2, 3.6.2.1, 3.6.3.1), in symbol times.

use crate::time::Time;

/// UpdateFCs of a class with finite credits go at least so often, -0 % / +50 %: so 45 us are still right (2.6.1.2). 120 us if Extended Synch is set.
pub const FC_REPEAT: Time = Time::us(30);
/// InitFCs and Data Link Feature DLLPs are repeated at least so often (3.3, 3.4.2).
pub const INIT_REPEAT_AT_MOST: Time = Time::us(34);

/// Bytes that a TLP has besides its payload, as the formulae count them.
const TLP_OVERHEAD: u64 = 28;

/// A symbol time, by generation (1 to 5): ten bits at 2.5 and 5 GT/s, then eight bits.
pub const fn symbol(generation: u8) -> Time {
    match generation {
        0 | 1 => Time::ns(4),
        2 => Time::ns(2),
        3 => Time::ns(1),
        4 => Time::ps(500),
        _ => Time::ps(250),
    }
}

/// The factor of the Ack and the UpdateFC formula in tenths, by Max_Payload_Size and lanes: how many maximum-size TLPs may go unacknowledged.
const fn factor_tenths(max_payload: u32, lanes: u8) -> u64 {
    match (max_payload, lanes) {
        (0..=256, 0..=4) => 14,
        (0..=256, 5..=8) => 25,
        (0..=256, _) => 30,
        (_, 0..=8) => 10,
        _ => 20,
    }
}

/// The limit for Acks, and for UpdateFCs after a buffer was freed, in symbol times: (Max_Payload_Size + 28) x factor / lanes + what the receiver
/// itself takes, rounded down as the spec's tables are.
pub const fn latency_symbols(generation: u8, lanes: u8, max_payload: u32) -> u64 {
    let internal = match generation {
        0 | 1 => 19,
        2 => 70,
        _ => 115,
    };
    let lanes_tenths = if lanes == 0 { 10 } else { 10 * lanes as u64 };
    (max_payload as u64 + TLP_OVERHEAD) * factor_tenths(max_payload, lanes) / lanes_tenths + internal
}

/// REPLAY_TIMER's limit in symbol times without an adjustment for L0s. Up to generation 3 three times the Ack limit; ports that can do
/// 16 GT/s use the simplified limit of 24,000 to 31,000, here the least.
pub const fn replay_symbols(generation: u8, lanes: u8, max_payload: u32) -> u64 {
    if generation >= 4 { 24_000 } else { 3 * latency_symbols(generation, lanes, max_payload) }
}

/// [`latency_symbols`] as a time.
pub const fn ack_latency(generation: u8, lanes: u8, max_payload: u32) -> Time {
    Time(latency_symbols(generation, lanes, max_payload) * symbol(generation).0)
}

/// [`replay_symbols`] as a time.
pub const fn replay_timeout(generation: u8, lanes: u8, max_payload: u32) -> Time {
    Time(replay_symbols(generation, lanes, max_payload) * symbol(generation).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANES: [u8; 7] = [1, 2, 4, 8, 12, 16, 32];

    /// The published table for 2.5 GT/s, rows by Max_Payload_Size.
    const TABLE: [(u32, [u64; 7]); 6] = [
        (128, [237, 128, 73, 67, 58, 48, 33]),
        (256, [416, 217, 118, 107, 90, 72, 45]),
        (512, [559, 289, 154, 86, 109, 86, 52]),
        (1024, [1071, 545, 282, 150, 194, 150, 84]),
        (2048, [2095, 1057, 538, 278, 365, 278, 148]),
        (4096, [4143, 2081, 1050, 534, 706, 534, 276]),
    ];

    #[test]
    fn latencies_of_the_table() {
        for (max_payload, row) in TABLE {
            assert_eq!(LANES.map(|lanes| latency_symbols(1, lanes, max_payload)), row, "{max_payload}");
            assert_eq!(LANES.map(|lanes| latency_symbols(2, lanes, max_payload)), row.map(|n| n + 51));
            assert_eq!(LANES.map(|lanes| latency_symbols(5, lanes, max_payload)), row.map(|n| n + 96));
        }
    }

    /// The row of the table of REPLAY_TIMER limits for 128 bytes at 2.5 GT/s.
    #[test]
    fn replay_limits() {
        assert_eq!(LANES.map(|lanes| replay_symbols(1, lanes, 128)), [711, 384, 219, 201, 174, 144, 99]);
        assert_eq!(replay_timeout(5, 16, 256), Time::us(6));
        assert_eq!(replay_timeout(4, 1, 4096), Time::us(12));
    }
}
