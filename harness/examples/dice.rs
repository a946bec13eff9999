//! A PCI function that throws dice, made of software: the device of harness/GUIDE.md, and a program of its own with the whole command line.
//!
//! `cargo run -p mlx5-twin-harness --example dice -- run dice`

use std::process::ExitCode;
use std::sync::Arc;

use mlx5_twin_harness::backend::Backend;
use mlx5_twin_harness::devices::{Device, Driven, HostError, HostReport, HostSettings, Summary, access_failed};
use mlx5_twin_harness::emulation::{
    Behaviour, Channel, Description, Dword, Error, PciEvent, Port, Request, Serving, serve,
};
use mlx5_twin_sim::config::{Bar, MsixCapability, PcieCapability, PortType, Type0};
use mlx5_twin_sim::host::Host;
use mlx5_twin_sim::time::Time;

// What it looks like.

const VENDOR: u16 = 0xfff1;
const DEVICE: u16 = 0x0d1c;
/// Registers of BAR 0: where the throws go in the host's memory, and how many dice to throw, which throws them.
const ADDRESS: u64 = 0x00;
const THROW: u64 = 0x08;
/// The most dice of one throw: what fits the smallest `Max_Payload_Size`.
const MOST: u32 = 128;

fn description(port: u16) -> Description {
    let header = Type0 {
        vendor_id: VENDOR,
        device_id: DEVICE,
        class_code: 0xff_0000, // of no class
        bars: [Some(Bar::memory32(0x4000)), None, None, None, None, None],
        ..Type0::default()
    };
    Description::new(port, header)
        .pcie(&PcieCapability::new(PortType::Endpoint))
        .msix(MsixCapability { vectors: 1, table_bar: 0, table_offset: 0x2000, pba_bar: 0, pba_offset: 0x3000 })
        .transaction(0, 0x0000, 0x1000)
        .credits(16)
}

// What it does: a state machine without any I/O.

#[derive(Clone, Debug, Default)]
struct Dice {
    address: [u32; 2],
    thrown: u64,
}

impl Dice {
    fn read(&self, offset: u64) -> u32 {
        match offset {
            0x00 => self.address[0],
            0x04 => self.address[1],
            THROW => self.thrown as u32,
            _ => 0,
        }
    }

    /// Writes a dword of a register: gives where dice go and how they fell, if that threw any.
    fn write(&mut self, dword: Dword) -> Option<(u64, Vec<u8>)> {
        match dword.offset {
            0x00 => self.address[0] = dword.over(self.address[0]),
            0x04 => self.address[1] = dword.over(self.address[1]),
            THROW => {
                let eyes = (0..dword.over(0).min(MOST)).map(|_| self.throw()).collect();
                return Some((u64::from(self.address[1]) << 32 | u64::from(self.address[0]), eyes));
            }
            _ => {}
        }
        None
    }

    /// Middle bits of a Weyl sequence: good enough for a game, and the same each time.
    fn throw(&mut self) -> u8 {
        self.thrown += 1;
        let mixed = self.thrown.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed >> 32) % 6) as u8 + 1
    }
}

// How it is served.

/// The registers, and what was done.
#[derive(Debug, Default)]
struct Served {
    dice: Dice,
    summary: Summary,
}

impl Behaviour for Served {
    fn description(port: u16) -> Description {
        description(port)
    }

    fn request(&mut self, channel: &mut Channel, port: Port, request: Request, _now: Time) -> Result<(), Error> {
        let Served { dice, summary } = self;
        match request {
            Request::Read(read) => {
                summary.reads += 1;
                channel.complete(read.id, &read.data(|offset, _| dice.read(offset)))?;
            }
            Request::Write(write) => {
                summary.writes += 1;
                for (address, eyes) in write.dwords().filter_map(|dword| dice.write(dword)) {
                    match channel.memory_write(port, address, &eyes).and_then(|()| channel.raise_msix(port, 0)) {
                        Ok(()) => summary.interrupts += 1,
                        // The host has bus mastering or MSI-X off, or wants more than fits one write: its mistake, not ours.
                        Err(Error::NotBusMaster(_) | Error::MsixDisabled(_) | Error::WriteLength { .. }) => {
                            summary.interrupts_dropped += 1;
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            Request::Reset(_) | Request::PciEvent(PciEvent::PerstAsserted) => {
                summary.resets += 1;
                *dice = Dice::default();
            }
            _ => {}
        }
        Ok(())
    }
}

fn emulate(backend: Arc<dyn Backend>, serving: &Serving) -> Result<Summary, Error> {
    Ok(serve::<Served>(backend, serving)?.into_values().map(|served| served.summary).sum())
}

// The host's side: a driver in a few lines, on virtual time.

async fn host(host: Host, settings: HostSettings) -> Result<HostReport, HostError> {
    const BUFFER: u64 = 0x10_0000;
    const DICE: u32 = 20;
    let (function, mut report) = Driven::find(host.clone(), settings.enumeration, (VENDOR, DEVICE), 1).await?;
    let registers = function.configure().await?;
    report.configured_ps = host.now().as_ps();
    report.rounds = settings.rounds.unwrap_or(6);
    let mut fair = Dice::default();
    for _ in 0..report.rounds {
        host.write64(registers + ADDRESS, BUFFER).await.map_err(access_failed("writing ADDRESS"))?;
        host.write32(registers + THROW, DICE).await.map_err(access_failed("writing THROW"))?;
        function.interrupt(0, "THROW", Time::ms(1)).await?;
        report.interrupts[0] += 1;
        report.writes += 2;
        let eyes = host.load(BUFFER, DICE as usize).await.map_err(access_failed("reading the throw"))?;
        for eye in eyes {
            report.compare(|| "a die".to_owned(), fair.throw().into(), eye.into());
        }
    }
    let thrown = host.read32(registers + THROW).await.map_err(access_failed("reading THROW"))?;
    report.reads += 1;
    report.compare(|| "THROW".to_owned(), report.rounds * u64::from(DICE), thrown.into());
    report.finished_ps = host.now().as_ps();
    Ok(report)
}

// The program: the command line of mlx5-twin, with one more device.

const DICE: Device = Device {
    name: "dice",
    description: "throws dice into the host's memory",
    text: false,
    emulate,
    host: |machine, settings| Box::pin(host(machine, settings)),
};

fn main() -> ExitCode {
    mlx5_twin_harness::cli::main_with(&[DICE])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(offset: u64, value: u32) -> Dword {
        Dword { offset, enables: 0xf, value }
    }

    #[test]
    fn dice_fall_where_the_host_wants_them() {
        let mut dice = Dice::default();
        assert_eq!(dice.write(write(0x00, 0x1000)), None);
        assert_eq!(dice.write(write(0x04, 1)), None);
        let (address, eyes) = dice.write(write(THROW, 3)).expect("a throw");
        assert_eq!((address, eyes.len(), dice.read(THROW)), (0x1_0000_1000, 3, 3));
        assert!(eyes.iter().all(|eye| (1..=6).contains(eye)));
    }

    #[test]
    fn no_throw_is_larger_than_a_tlp() {
        let (_, eyes) = Dice::default().write(write(THROW, u32::MAX)).expect("a throw");
        assert_eq!(eyes.len(), MOST as usize);
    }
}
