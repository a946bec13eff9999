//! Producer and consumer: every place of flag and data, in time and too late.

use super::super::*;
use crate::probe::{Direction, LinkId};
use crate::time::Time;
use crate::tlp::{Bdf, Header, Status};

const TO_CONSUMER: Lane = Lane { link: LinkId(4), direction: Direction::Downstream };
const FROM_CONSUMER: Lane = Lane { link: LinkId(4), direction: Direction::Upstream };
const DATA: u64 = 0x1000;
const FLAG: u64 = 0x8000;
const CONSUMER: Bdf = Bdf(0x300);
const TRANSIT: u64 = 100;

struct Watched(Handshake);

impl Watched {
    fn new() -> Watched {
        Watched(Handshake::new(TO_CONSUMER, Time::ns(TRANSIT), DATA..DATA + 64, FLAG))
    }

    fn show(&mut self, at: u64, lane: Lane, header: &Header, versions: &[u32]) {
        let mut bytes = [0; 16];
        let len = header.encode(&mut bytes);
        let payload: Vec<u8> = versions.iter().flat_map(|version| version.to_le_bytes()).collect();
        self.0.see(&Appearance { at: Time::ns(at), lane, header: &bytes[..len], payload: &payload });
    }

    fn write(&mut self, at: u64, address: u64, versions: &[u32]) {
        let header = Header::mem_write_bytes(Bdf(0x200), 0, address, versions.len() as u32 * 4).unwrap();
        self.show(at, TO_CONSUMER, &header, versions);
    }

    /// The consumer asks at `asked`, and the answer comes at `at`, in one completion or in two halves.
    fn read(&mut self, asked: u64, at: u64, address: u64, versions: &[u32], halves: bool) {
        let dws = versions.len() as u32;
        let request = Header::mem_read_bytes(CONSUMER, 5, address, dws * 4).unwrap();
        self.show(asked, FROM_CONSUMER, &request, &[]);
        let middle = if halves { dws / 2 } else { dws };
        for (from, to) in [(0, middle), (middle, dws)].into_iter().filter(|(from, to)| from < to) {
            let part = Header::completion_part(&request, Bdf(0), Status::Successful, from, to - from).unwrap();
            self.show(at, TO_CONSUMER, &part, &versions[from as usize..to as usize]);
        }
    }

    fn stale(&self) -> Vec<(u32, u32, u64)> {
        self.0.stale().iter().map(|stale| (stale.flag, stale.data, stale.address)).collect()
    }
}

#[test]
fn flag_and_data_are_written_to_the_consumer() {
    let mut watched = Watched::new();
    watched.write(10, DATA, &[1; 16]);
    watched.write(11, FLAG, &[1]);
    watched.write(20, FLAG, &[2]);
    assert_eq!(watched.stale(), (0..16).map(|dw| (2, 1, DATA + 4 * dw)).collect::<Vec<_>>());
}

#[test]
fn the_first_data_come_after_their_flag() {
    let mut watched = Watched::new();
    watched.write(10, FLAG, &[1]);
    watched.write(11, DATA, &[1]);
    assert_eq!(watched.stale(), [(1, 0, DATA)]);
}

#[test]
fn the_flag_is_read_and_data_are_written() {
    let mut watched = Watched::new();
    watched.write(10, DATA + 60, &[1]);
    watched.read(11, 30, FLAG, &[1], false);
    watched.read(41, 50, FLAG, &[2], false);
    watched.write(51, DATA + 60, &[2]);
    assert_eq!(watched.stale(), [(2, 1, DATA + 60)]);
    assert_eq!(watched.0.compared(), 2);
}

#[test]
fn the_flag_is_written_and_data_are_read() {
    for halves in [false, true] {
        let mut watched = Watched::new();
        watched.write(10, FLAG, &[3]);
        // Asked for before the flag has come for sure.
        watched.read(10 + TRANSIT - 1, 300, DATA, &[2; 16], halves);
        assert_eq!(watched.stale(), []);
        watched.read(10 + TRANSIT, 300, DATA, &[4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 3, 1], halves);
        assert_eq!(watched.stale(), [(3, 2, DATA + 48), (3, 2, DATA + 52), (3, 1, DATA + 60)]);
    }
}

#[test]
fn both_are_read() {
    let mut watched = Watched::new();
    watched.read(10, 50, FLAG, &[1], false);
    watched.read(200, 250, DATA, &[1; 16], true);
    assert_eq!((watched.stale(), watched.0.compared()), (vec![], 16));
    watched.read(300, 350, FLAG, &[2], false);
    watched.read(460, 500, DATA, &[1], false);
    assert_eq!(watched.stale(), [(2, 1, DATA)]);
    assert_eq!(
        watched.0.stale()[0].to_string(),
        "at 500.000 ns the consumer got version 1 of the data at 0x1000, after it had seen version 2 of the flag"
    );
}

#[test]
fn what_a_cpu_sees() {
    let mut watched = Watched::new();
    watched.0.flag_seen(Time::ns(10), 2);
    watched.0.data_seen(Time::ns(9), Time::ns(11), DATA, 1);
    assert_eq!(watched.stale(), []);
    watched.0.data_seen(Time::ns(10), Time::ns(12), DATA, 1);
    assert_eq!(watched.stale(), [(2, 1, DATA)]);
}

/// Other links, other addresses and writes of less than a DW say nothing.
#[test]
fn what_does_not_count() {
    let mut watched = Watched::new();
    watched.write(10, FLAG, &[1]);
    watched.write(11, DATA + 64, &[0]);
    watched.write(11, DATA - 4, &[0]);
    let part = Header::mem_write_bytes(Bdf(0x200), 0, DATA, 3).unwrap();
    watched.show(12, TO_CONSUMER, &part, &[0]);
    let elsewhere = Lane { link: LinkId(5), ..TO_CONSUMER };
    let header = Header::mem_write_bytes(Bdf(0x200), 0, DATA, 4).unwrap();
    watched.show(13, elsewhere, &header, &[0]);
    watched.show(14, FROM_CONSUMER, &header, &[0]);
    assert_eq!((watched.stale(), watched.0.compared()), (vec![], 0));
}
