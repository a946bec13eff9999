use mlx5_twin_sim::tlp::Malformed;

use super::super::{Doorbell, Error};
use super::*;

const TABLE: u32 = 0x2000;
const ENABLE: u32 = 1 << 31;
const FUNCTION_MASK: u32 = 1 << 30;

impl Rig {
    /// Sets up and unmasks a vector.
    fn set_vector(&mut self, vector: u32, masked: u32) {
        let entry = [0xfee0_0000, 0, 0x40 + vector, masked];
        for (number, dword) in (0..).zip(entry) {
            self.write(TABLE + vector * 16 + number * 4, 4, &u32::to_le_bytes(dword));
        }
    }

    fn message_control(&mut self, bits: u32) {
        self.config_write(MESSAGE_CONTROL, 0b1100, bits);
        while self.poll().is_some() {}
    }

    /// The interrupt messages among what was sent.
    fn interrupts(&self) -> Vec<u8> {
        let sent = self.sent();
        sent.iter().filter(|sent| sent.header.address() == 0xfee0_0000).map(|sent| sent.payload[0]).collect()
    }
}

#[test]
fn interrupts_follow_enable_and_masks() {
    let mut rig = Rig::ready();
    assert_eq!(rig.function.raise_msix(0), Err(Error::MsixDisabled(Port(1))));
    rig.set_vector(0, 0);
    rig.set_vector(1, 1);
    rig.message_control(ENABLE);
    rig.function.raise_msix(0).unwrap();
    rig.function.raise_msix(1).unwrap();
    assert_eq!(rig.interrupts(), [0x40], "vector 1 is masked");
    rig.set_vector(1, 0);
    assert_eq!(rig.interrupts(), [0x41], "and sent when it's unmasked");
    rig.message_control(ENABLE | FUNCTION_MASK);
    rig.function.raise_msix(0).unwrap();
    assert!(rig.interrupts().is_empty());
    rig.message_control(ENABLE);
    assert_eq!(rig.interrupts(), [0x40]);

    let error = Error::NoVector { port: Port(1), vector: 3, vectors: 3 };
    assert_eq!(rig.function.raise_msix(3), Err(error));
    rig.config_write(COMMAND, 0b0011, 0b010);
    rig.poll();
    assert_eq!(rig.function.raise_msix(0), Err(Error::NotBusMaster(Port(1))));
    rig.assert_no_faults();
}

#[test]
fn a_credit_is_spent_by_a_write_and_comes_back() {
    let mut rig = Rig::ready();
    assert_eq!(rig.function.memory_write(0x1000, &[1]), Err(Error::NoCredit));
    rig.fake.device().grant(70);
    rig.fake.device().grant(71);
    assert_eq!(rig.function.credits(), 0);
    assert_eq!((rig.poll(), rig.poll()), (Some(Request::Credit), Some(Request::Credit)));
    assert_eq!(rig.function.credits(), 2);

    rig.function.memory_write(0x1_2345_6787, &[1, 2, 3]).unwrap();
    assert_eq!(rig.function.credits(), 1);
    let sent = rig.sent();
    assert_eq!((sent[0].header.address(), sent[0].header.requester()), (0x1_2345_6784, ID));
    assert_eq!((sent[0].header.first_be(), sent[0].header.last_be()), (0b1000, 0b0011));
    assert_eq!(sent[0].payload, [0, 0, 0, 1, 2, 3, 0, 0]);
    assert_eq!(rig.poll(), Some(Request::Credit));
    assert_eq!(rig.function.credits(), 2);

    rig.function.memory_write(0x1000, &[]).unwrap();
    assert_eq!(rig.sent()[0].header.byte_enables().enabled(), 0);
    rig.poll();
    rig.function.flush_credit().unwrap();
    rig.function.flush_credit().unwrap();
    assert_eq!(rig.function.flush_credit(), Err(Error::NoCredit));
    assert_eq!(rig.poll(), None);
    rig.assert_no_faults();
}

#[test]
fn a_write_must_be_one_tlp_of_a_bus_master() {
    let mut rig = Rig::ready();
    rig.fake.device().grant(1);
    rig.poll();
    // Max_Payload_Size is 128 until the host sets it.
    let length = |address, len, needs, most| Error::WriteLength { address, len, needs, most };
    assert_eq!(rig.function.memory_write(0x1000, &[0; 129]), Err(length(0x1000, 129, 132, 128)));
    assert_eq!(rig.function.memory_write(0x1001, &[0; 128]), Err(length(0x1001, 128, 132, 128)));
    rig.config_write(DEVICE_CONTROL, 0b0011, 2 << 5 | 0x2810);
    rig.poll();
    assert_eq!(rig.function.memory_write(0x1000, &[0; 512]), Err(length(0x1000, 512, 512, 256)));
    let crosses = rig.function.memory_write(0x1ffc, &[0; 8]);
    assert!(matches!(crosses, Err(Error::Header(Malformed::Crosses4K { .. }))));
    rig.config_write(COMMAND, 0b0011, 0b010);
    rig.poll();
    assert_eq!(rig.function.memory_write(0x1000, &[0]), Err(Error::NotBusMaster(Port(1))));
    assert_eq!(rig.function.credits(), 1, "errors spend nothing");
    rig.assert_no_faults();
}

#[test]
fn stray_credits_are_found_out() {
    let mut rig = Rig::ready();
    for id in [1, 1] {
        rig.fake.device().grant(id);
    }
    assert_eq!(rig.poll(), Some(Request::Credit));
    assert_eq!(rig.function.poll(), Err(Error::StrayCredit { id: 1, held: 1, asked: 2 }));
    for id in [2, 3] {
        rig.fake.device().grant(id);
    }
    assert_eq!(rig.poll(), Some(Request::Credit));
    assert_eq!(rig.function.poll(), Err(Error::StrayCredit { id: 3, held: 2, asked: 2 }));
}

#[test]
fn doorbells_are_asked_for() {
    let mut rig = Rig::ready();
    rig.write(0x3804, 4, &0x1234_5678_u32.to_le_bytes());
    assert_eq!(rig.poll(), None, "they don't come through the channel");
    let values = [0, 0x1234_5678, 0, 0];
    let expected: Vec<Doorbell> =
        (0..).step_by(4).zip(values).map(|(n, value)| Doorbell { bar: 0, offset: 0x3800 + n, value }).collect();
    assert_eq!(rig.function.doorbells().unwrap(), expected);
}

#[test]
fn counters_name_the_faults() {
    let mut rig = Rig::ready();
    let counters = rig.function.counters().unwrap();
    assert_eq!((counters.messages, counters.responses, counters.faults), (2, 2, vec![]));
    rig.fake.device().faults[5] = 3;
    assert_eq!(rig.function.counters().unwrap().faults, [("Request".to_owned(), 3)]);
}
