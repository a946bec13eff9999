mod configuration;
mod description;
mod ending;
mod handover;
mod memory;
mod mistakes;
mod order;
mod plant;
mod regions;
mod sending;

use std::time::Duration;

use mlx5_twin_fw_cmds::twin_v1::{FAULT_COUNTERS, MESSAGE_HEAD};
use mlx5_twin_sim::config::{Bar, MsixCapability, PcieCapability, PortType, Type0};
use mlx5_twin_sim::tlp::{Bdf, ConfigType, Header, Status};

use super::{Channel, Description, Function, Port, Request, Settings};
use crate::channel::twin_v1::fake::{Fake, Sent};

/// Who asks.
const HOST: Bdf = Bdf(0x0008);
/// The function, as the host calls it.
const ID: Bdf = Bdf(0x0300);
/// Where the host puts BAR 0.
const BAR: u32 = 0xc000_0000;
const COMMAND: u16 = 1;
const MESSAGE_CONTROL: u16 = 0x7c / 4;
const DEVICE_CONTROL: u16 = 0x40 / 4 + 2;

fn header() -> Type0 {
    Type0 {
        vendor_id: 0xfff1,
        device_id: 2,
        bars: [Some(Bar::memory32(0x4000)), None, None, None, None, None],
        ..Type0::default()
    }
}

fn described(port: u16) -> Description {
    Description::new(port, header())
        .pcie(&PcieCapability::new(PortType::Endpoint))
        .msix(MsixCapability { vectors: 3, table_bar: 0, table_offset: 0x2000, pba_bar: 0, pba_offset: 0x3000 })
        .transaction(0, 0, 0x2000)
        .doorbells(0, 0x3800, 16)
        .credits(2)
}

/// A function on an honest device, and the host that talks to it.
struct Rig {
    fake: Fake,
    function: Function,
    tag: u16,
}

impl Rig {
    fn new(description: &Description) -> Rig {
        let fake = Fake::new();
        let function = Function::claim(fake.backend(), description).unwrap();
        Rig { fake, function, tag: 0 }
    }

    /// A rig whose function has an address and is bus master.
    fn ready() -> Rig {
        let mut rig = Rig::new(&described(1));
        rig.set_up();
        rig
    }

    fn set_up(&mut self) {
        self.config_write(4, 0xf, BAR);
        self.config_write(COMMAND, 0b0011, 0b110);
        while self.poll().is_some() {}
        self.fake.device().sent.clear();
    }

    fn poll(&mut self) -> Option<Request> {
        self.function.poll().unwrap()
    }

    fn deliver(&mut self, mut request: Header, payload: &[u8]) -> Header {
        self.tag = (self.tag + 1) & 0x3ff;
        request.set_tag(self.tag);
        self.fake.device().deliver(1, &request, payload);
        request
    }

    fn config_write(&mut self, register: u16, enables: u8, value: u32) {
        let request = Header::config_write(ConfigType::Type0, HOST, 0, ID, register, enables).unwrap();
        self.deliver(request, &value.to_le_bytes());
    }

    fn config_read(&mut self, register: u16) {
        let request = Header::config_read(ConfigType::Type0, HOST, 0, ID, register, 0xf).unwrap();
        self.deliver(request, &[]);
    }

    fn read(&mut self, offset: u32, len: u32) -> Header {
        self.deliver(Header::mem_read_bytes(HOST, 0, u64::from(BAR + offset), len).unwrap(), &[])
    }

    fn write(&mut self, offset: u32, len: u32, payload: &[u8]) {
        self.deliver(Header::mem_write_bytes(HOST, 0, u64::from(BAR + offset), len).unwrap(), payload);
    }

    fn sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.fake.device().sent)
    }

    /// The statuses of what was sent.
    fn statuses(&self) -> Vec<Status> {
        self.sent().iter().map(|sent| sent.header.status()).collect()
    }

    /// The device refused nothing.
    fn assert_no_faults(&self) {
        assert_eq!(self.fake.device().faults, [0; FAULT_COUNTERS]);
    }
}

#[test]
fn functions_share_a_channel_and_a_loop() {
    let fake = Fake::new();
    let mut channel = Channel::open(fake.backend(), &Settings::default()).unwrap();
    let ports = [1, 2, 3].map(|port| channel.claim(&described(port)).unwrap());
    for port in [3, 1, 2, 1] {
        let read = Header::config_read(ConfigType::Type0, HOST, port, ID, 0, 0xf).unwrap();
        fake.device().deliver(port, &read, &[]);
        fake.device().pci_event(port, 1);
    }
    let mut seen = Vec::new();
    while let Some((port, request)) = channel.next().unwrap() {
        assert!(matches!(request, Request::PciEvent(_)));
        seen.push(port.0);
    }
    assert!(channel.is_silent());
    assert_eq!(seen, [3, 1, 2, 1]);
    let answered: Vec<u16> = fake.device().sent.iter().map(|sent| sent.function).collect();
    assert_eq!(answered, [3, 1, 2, 1]);
    channel.release(ports[1]).unwrap();
    assert!(channel.config(Port(2)).is_err());
    channel.close().unwrap();
    assert_eq!(fake.device().gone, ["function", "function", "function", "channel", "umem", "page"]);
}

#[test]
fn waiting_ends_with_the_next_request() {
    let mut rig = Rig::ready();
    let mut left = 3;
    rig.fake.on_wait(move |device| {
        left -= 1;
        if left == 0 {
            device.pci_event(1, 1);
        }
        left >= 0
    });
    assert!(matches!(rig.function.next(), Ok(Some(Request::PciEvent(_)))));
    assert_eq!(rig.function.next(), Ok(None));
    assert!(rig.function.is_silent());
}

#[test]
fn a_wait_with_a_limit_ends_by_request_or_time() {
    let mut rig = Rig::ready();
    let clock = rig.fake.backend();
    rig.fake.on_wait(|_| true);
    let limit = Duration::from_micros(5);
    let begin = clock.now();
    assert_eq!(rig.function.next_within(limit), Ok(None));
    assert!(clock.now() - begin >= limit && !rig.function.is_silent());

    // A configuration request is answered meanwhile: the wait may end early, with nothing for the author.
    rig.config_read(0);
    let begin = clock.now();
    assert_eq!(rig.function.next_within(limit), Ok(None));
    assert!(clock.now() - begin <= limit);
    assert_eq!(rig.statuses(), [Status::Successful]);

    rig.fake.on_wait(|device| {
        device.pci_event(1, 1);
        true
    });
    assert!(matches!(rig.function.next_within(limit), Ok(Some(Request::PciEvent(_)))));
    rig.fake.on_wait(|_| false);
    assert_eq!(rig.function.next_within(limit), Ok(None));
    assert!(rig.function.is_silent());
}

#[test]
fn a_broken_message_is_an_error_and_the_next_one_comes() {
    let mut rig = Rig::ready();
    rig.fake.device().push([0; MESSAGE_HEAD], &[]);
    rig.fake.device().pci_event(1, 1);
    assert!(rig.function.next().is_err());
    assert!(matches!(rig.function.next(), Ok(Some(Request::PciEvent(_)))));
}
