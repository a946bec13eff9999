//! The serial port through the whole machine: text from the host to the far end of the line, and back.

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Rig, Screen};
use mlx5_twin_harness::backend::Backend;
use mlx5_twin_harness::capture::{Description, Recorder, Shared};
use mlx5_twin_harness::devices::serial::port::Port;
use mlx5_twin_harness::devices::serial::{self, register};
use mlx5_twin_harness::devices::{self, Device, HostError, HostReport, Summary};
use mlx5_twin_harness::emulation::{self, Function, Request, Serving};
use mlx5_twin_harness::profile;
use mlx5_twin_harness::run::{self, Played, RunError, play};
use mlx5_twin_model::Machine;
use mlx5_twin_sim::host::{AccessError, Found, Host, enumerate};
use mlx5_twin_sim::rng::Rng;
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::{Bdf, Status};

const TEXT: &[u8] = b"The first line.\nA second one\n\nand the end, which is no line";

impl Rig {
    /// Runs the host program against an emulation program.
    fn run(
        self,
        emulate: fn(Arc<dyn Backend>, &Serving) -> Result<Summary, emulation::Error>,
    ) -> Result<Run, RunError> {
        let device = Device { emulate, ..*devices::find("serial").unwrap() };
        let Played { host, emulation: summary, .. } = play(&self.sim, &device, &Serving::default(), self.settings)?;
        self.sim.shut_down().unwrap();
        let in_flight = self.sim.with_simulation(|simulation| simulation.fabric().in_flight());
        assert_eq!(in_flight, 0, "TLPs are left");
        Ok(Run { host, summary, shown: self.screen.bytes() })
    }

    /// The error with which the host program ends.
    fn error(self, emulate: fn(Arc<dyn Backend>, &Serving) -> Result<Summary, emulation::Error>) -> HostError {
        match self.run(emulate) {
            Err(RunError::Host(error)) => error,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("the host program found nothing wrong"),
        }
    }
}

#[derive(Debug)]
struct Run {
    host: HostReport,
    summary: Summary,
    shown: Vec<u8>,
}

#[test]
fn text_goes_both_ways_for_every_seed() {
    for seed in 1..=5 {
        let Run { host, summary, shown } = Rig::new(seed, TEXT).run(serial::run).unwrap();
        assert_eq!(shown, TEXT, "seed {seed}");
        let function = &host.functions[host.exercised[0]];
        assert_eq!((function.vendor, function.device, function.class), (serial::VENDOR, serial::DEVICE, serial::CLASS));
        assert_eq!((host.rounds, host.reads, host.writes), (4, summary.reads, summary.writes), "seed {seed}");
        // An interrupt that comes after the end of the last line's handler has nobody left.
        assert!((host.interrupts[0]..=host.interrupts[0] + 1).contains(&summary.interrupts), "{host:?} {summary:?}");
        let (text, characters) = (host.text.unwrap(), summary.characters.unwrap());
        assert_eq!((text.chip.as_str(), text.baud, text.characters), ("16550A", 115_200, TEXT.len() as u64));
        assert_eq!((characters.sent, characters.received), (text.characters, text.characters));
        assert_eq!((characters.overruns, characters.overflows, characters.cut_off), (0, 0, 0));
        assert_eq!((summary.interrupts_dropped, summary.resets, host.recoveries.len()), (0, 0, 0));
    }
}

#[test]
fn without_text_the_chip_is_only_tested() {
    let run = Rig::new(1, b"").run(serial::run).unwrap();
    assert_eq!((run.host.rounds, run.summary.interrupts, run.shown.len()), (0, 0, 0));
    assert!(run.host.reads > 40);
}

/// All byte values, lines of any length. The whole MiB is done by `.ci/run`, with the program built for release.
#[test]
fn much_text_by_interrupts_alone() {
    const BYTES: usize = 1 << 16;
    let mut rng = Rng::new(1);
    let text: Vec<u8> = (0..BYTES).map(|_| rng.next_u32() as u8).collect();
    let Run { host, summary, shown } = Rig::new(1, &text).run(serial::run).unwrap();
    assert!(shown == text, "what came back isn't what was sent");
    let characters = summary.characters.unwrap();
    assert_eq!((characters.sent, characters.received, characters.overruns), (BYTES as u64, BYTES as u64, 0));
    // Bursts, not character by character: an interrupt for each few characters each way, and no polling.
    let (bytes, interrupts) = (BYTES as u64, host.interrupts[0]);
    assert!((bytes / 16..bytes / 5).contains(&interrupts), "{interrupts} interrupts");
    assert!(host.reads < bytes * 3 / 2, "{} reads", host.reads);
    assert!(host.writes < bytes * 11 / 10, "{} writes", host.writes);
    // The line has a rate: ten bits a character, and as each line is awaited, not twice as many characters' time as there are.
    let took = Time::ps(host.finished_ps).since(Time::ps(host.configured_ps));
    let line = Time::ps(bytes * 10 * 1_000_000_000_000 / 115_200);
    assert!(took > line && took < line + line, "{took}, the line alone {line}");
}

#[test]
fn the_same_text_is_the_same_capture() {
    let capture = |seed: u64, text: &[u8]| {
        let loaded = profile::load(None).unwrap();
        let mut machine = Machine::build(&loaded.profile, seed).unwrap();
        let links = run::link_names(&loaded.profile).unwrap();
        let description =
            Description { device: "serial".to_owned(), profile: loaded.name, profile_hash: loaded.hash, seed, links };
        let file = Screen::default();
        let probe = Shared::new(Recorder::new(file.clone(), Path::new("memory"), description).unwrap());
        machine.simulation.fabric_mut().set_probe(Some(Box::new(probe.clone())));
        Rig::with_machine(machine, seed, text).run(serial::run).unwrap();
        probe.take().unwrap().finish().unwrap();
        file.bytes()
    };
    let first = capture(7, TEXT);
    assert!(first == capture(7, TEXT), "one seed, one text, two captures");
    assert!(first != capture(8, TEXT), "two seeds, one capture");
    assert!(first != capture(7, &TEXT[1..]), "two texts, one capture");
}

// --- Devices with faults ---

/// What a device with a fault does about a read of a register.
enum Answer {
    Value(u8),
    Abort(Status),
    Nothing,
}

/// Serves the function as `serial` does, but for what `fault` says: it's given each read's register, the value, and how many reads of
/// the register came before; and for each interrupt whether it's raised.
fn serve(
    backend: &Arc<dyn Backend>,
    mut fault: impl FnMut(u64, u8, u64) -> Answer,
    mut raises: impl FnMut(u64) -> bool,
) -> Result<Summary, emulation::Error> {
    let mut function = Function::claim(Arc::clone(backend), &serial::description(0))?;
    let (mut port, mut active, mut edges) = (Port::default(), false, 0);
    let mut reads = [0; 8];
    let now = || Time::ns(backend.now().as_nanos() as u64);
    loop {
        let wait = port.next_interrupt().map(|at| Duration::from_nanos(at.since(now()).as_ps().div_ceil(1000)));
        let request = match wait {
            Some(limit) => function.next_within(limit)?,
            None => function.next()?,
        };
        if request.is_none() && function.is_silent() {
            return Ok(Summary::default());
        }
        let mut look = |port: &Port, function: &mut Function| {
            let before = std::mem::replace(&mut active, port.interrupt());
            if active && !before {
                edges += 1;
                if raises(edges) {
                    function.raise_msix(serial::VECTOR).unwrap();
                }
            }
        };
        port.advance(now());
        look(&port, &mut function);
        match request {
            Some(Request::Read(read)) => {
                let offset = read.at.offset + u64::from(read.at.enables.first.trailing_zeros());
                let value = port.read(offset);
                match fault(offset, value, reads[offset as usize]) {
                    Answer::Value(value) => function.complete(read.id, &[value; 4])?,
                    Answer::Abort(status) => function.abort(read.id, status)?,
                    Answer::Nothing => {}
                }
                reads[offset as usize] += 1;
            }
            Some(Request::Write(write)) => {
                for dword in write.dwords() {
                    let lane = dword.enables.trailing_zeros();
                    port.write(dword.offset + u64::from(lane), (dword.value >> (8 * lane)) as u8);
                }
            }
            Some(Request::Reset(_)) => port = Port::default(),
            _ => {}
        }
        look(&port, &mut function);
    }
}

type Emulation = fn(Arc<dyn Backend>, &Serving) -> Result<Summary, emulation::Error>;

/// A device that answers reads of a register otherwise.
macro_rules! faulty {
    ($register:expr, $answer:expr) => {
        |backend: Arc<dyn Backend>, _: &Serving| {
            let fault = |register, value: u8, number: u64| {
                if register == $register { $answer(value, number) } else { Answer::Value(value) }
            };
            serve(&backend, fault, |_| true)
        }
    };
}

/// How often the tests of the chip, and what follows until it is started, read IIR, LSR and RBR: the numbers of the first reads for text.
const FIRST_SOURCE: u64 = 6;
const FIRST_STATUS: u64 = 18;
const FIRST_CHARACTER: u64 = 17;

#[test]
fn a_chip_that_is_none_fails_its_test() {
    use register::*;
    let probe = |test, register, mask, expected, found| HostError::Probe { test, register, mask, expected, found };
    let cases: [(Emulation, HostError); 9] = [
        (faulty!(IER, |_, _| Answer::Value(0xff)), probe("interrupt enable test", "IER", 0x0f, 0, 0xff)),
        (faulty!(IER, |value, _| Answer::Value(value & 0xfd)), probe("interrupt enable test", "IER", 0x0f, 0x0f, 0x0d)),
        (faulty!(MSR, |_, _| Answer::Value(0xb0)), probe("loopback test", "MSR", 0xf0, 0x90, 0xb0)),
        // A 16450, and a 16550 whose FIFOs don't work.
        (faulty!(IIR, |value, _| Answer::Value(value & 0x3f)), probe("FIFO test", "IIR", 0xc0, 0xc0, 0x01)),
        (faulty!(IIR, |value, _| Answer::Value(value & 0xbf)), probe("FIFO test", "IIR", 0xc0, 0xc0, 0x81)),
        (faulty!(SCR, |_, _| Answer::Value(0)), probe("scratch register test", "SCR", 0xff, 0xa5, 0)),
        // A 16650 with its other register, and a 16750.
        (
            faulty!(IIR, |value, number| Answer::Value(if number == 1 { 0 } else { value })),
            probe("16650 test", "IIR", 0xc0, 0xc0, 0),
        ),
        (
            faulty!(IIR, |value, number| Answer::Value(if number == 4 { value | 0x20 } else { value })),
            probe("16750 test", "IIR", 0xe0, 0xc0, 0xe1),
        ),
        (
            faulty!(RX, |value, number| Answer::Value(if number == 9 { 0x80 } else { value })),
            probe("FIFO size test", "RBR", 0xff, 9, 0x80),
        ),
    ];
    for (emulate, expected) in cases {
        assert_eq!(Rig::new(1, TEXT).error(emulate), expected);
    }
    let message = probe("16750 test", "IIR", 0xe0, 0xc0, 0xe1).to_string();
    assert_eq!(message, "16750 test: IIR reads 0xe1, but under the mask 0xe0 it must be 0xc0");
}

#[test]
fn what_goes_wrong_with_the_text_is_said() {
    use register::*;
    let wrong =
        faulty!(RX, |value, number| Answer::Value(if number == FIRST_CHARACTER + 5 { value ^ 0x20 } else { value }));
    let expected = HostError::WrongByte { position: 5, expected: TEXT[5], found: TEXT[5] ^ 0x20 };
    assert_eq!(Rig::new(1, TEXT).error(wrong), expected);

    let overrun =
        faulty!(LSR, |value, number| Answer::Value(if number == FIRST_STATUS + 2 { value | LSR_OE } else { value }));
    let error = Rig::new(1, TEXT).error(overrun);
    assert!(matches!(error, HostError::LineStatus { status, .. } if status & LSR_OE != 0), "{error}");
    assert!(error.to_string().ends_with(": overrun"), "{error}");

    let nonsense = faulty!(IIR, |value, number| Answer::Value(if number > FIRST_SOURCE + 1 { 0xc8 } else { value }));
    assert_eq!(Rig::new(1, TEXT).error(nonsense), HostError::InterruptSource { found: 0xc8 });

    let endless = faulty!(IIR, |value, number| Answer::Value(if number > FIRST_SOURCE + 1 {
        IIR_MSI | IIR_FIFO_ENABLED
    } else {
        value
    }));
    assert_eq!(Rig::new(1, TEXT).error(endless), HostError::InterruptStuck { passes: 256 });

    let silent: Emulation = |backend, _: &Serving| serve(&backend, |_, value, _| Answer::Value(value), |edge| edge < 3);
    let error = Rig::new(1, TEXT).error(silent);
    assert!(matches!(error, HostError::NoInterrupt { vector: 0, .. }), "{error}");

    let stray: Emulation = |backend, _: &Serving| {
        // The chip says that there's something before anything was sent.
        let fault = |register, value: u8, number: u64| match (register, number) {
            (IIR, FIRST_SOURCE) => Answer::Value(IIR_RDI | IIR_FIFO_ENABLED),
            (LSR, number) if number >= FIRST_STATUS => Answer::Value(value | LSR_DR),
            _ => Answer::Value(value),
        };
        serve(&backend, fault, |_| true)
    };
    assert_eq!(Rig::new(1, TEXT).error(stray), HostError::StrayByte { position: 0, found: 0 });
}

#[test]
fn each_answer_of_the_bus_reaches_the_result() {
    use register::*;
    let abort = faulty!(SCR, |_, _| Answer::Abort(Status::CompleterAbort));
    let error = Rig::new(1, TEXT).error(abort);
    assert!(
        matches!(error, HostError::Access { what: "reading SCR", error: AccessError::CompleterAbort(_) }),
        "{error}"
    );
    let unsupported = faulty!(LSR, |value, number| {
        if number == FIRST_STATUS + 2 { Answer::Abort(Status::UnsupportedRequest) } else { Answer::Value(value) }
    });
    let error = Rig::new(1, TEXT).error(unsupported);
    assert!(
        matches!(error, HostError::Access { what: "reading LSR", error: AccessError::UnsupportedRequest(_) }),
        "{error}"
    );
    let silent =
        faulty!(IIR, |value, number| if number > FIRST_SOURCE + 1 { Answer::Nothing } else { Answer::Value(value) });
    let error = Rig::new(1, TEXT).error(silent);
    assert!(matches!(error, HostError::Access { what: "reading IIR", error: AccessError::Timeout(_) }), "{error}");
}

#[test]
fn a_function_that_isn_t_there() {
    let error = Rig::new(1, TEXT).error(devices::scratch::run);
    assert!(matches!(error, HostError::NotFound { vendor: 0xfff1, device: 2, .. }), "{error}");
}

// --- Resets ---

/// Resets the function behind the back of its driver, when the line has text on it.
async fn meddle(host: Host, after: Time) {
    host.sleep(after).await;
    // The function is where every enumeration finds it.
    let id = Bdf::new(3, 0, 0);
    let capability = find_pcie(&host, id).await;
    let control = host.config_read(id, capability / 4 + 2).await.unwrap() & 0xffff;
    host.config_write(id, capability / 4 + 2, control | 1 << 15).await.unwrap();
}

/// The PCI Express capability of a function.
async fn find_pcie(host: &Host, id: Bdf) -> u16 {
    let mut offset = host.config_read(id, 0x34 / 4).await.unwrap() as u16 & 0xfc;
    loop {
        let entry = host.config_read(id, offset / 4).await.unwrap();
        if entry as u8 == 0x10 {
            return offset;
        }
        offset = (entry >> 8) as u16 & 0xfc;
        assert!(offset != 0, "no PCI Express capability");
    }
}

fn with_meddler(recoveries: u64) -> Result<Run, RunError> {
    let mut rig = Rig::new(1, TEXT);
    rig.settings.recoveries = recoveries;
    let meddler = meddle(rig.sim.host(), Time::ms(26));
    rig.sim.with_simulation(|simulation| simulation.spawn(meddler));
    rig.run(serial::run)
}

#[test]
fn after_a_reset_the_driver_starts_again_and_carries_on() {
    let Run { host, summary, shown } = with_meddler(1).unwrap();
    assert_eq!(shown, TEXT);
    let text = host.text.unwrap();
    assert_eq!((summary.resets, host.recoveries.len(), text.characters), (2, 1, TEXT.len() as u64), "{text:?}");
    assert!(host.finished_ps > Time::ms(100).as_ps());
}

#[test]
fn without_leave_to_recover_the_error_is_the_result() {
    match with_meddler(0) {
        Err(RunError::Host(HostError::Access { .. } | HostError::NoInterrupt { .. })) => {}
        other => panic!("{other:?}"),
    }
}

/// An error that comes again after each reset is the result in the end.
#[test]
fn recoveries_are_counted() {
    let mut rig = Rig::new(1, TEXT);
    rig.settings.recoveries = 3;
    let wrong = faulty!(register::RX, |value: u8, _| Answer::Value(if value == b's' { b'S' } else { value }));
    let error = rig.error(wrong);
    assert_eq!(error, HostError::WrongByte { position: 7, expected: b's', found: b'S' });
}

// --- A host that does as it likes ---

/// Runs `program` on the host's side once it has found the function by its class: gives what it gives, and what the software did.
fn by_hand<T: Send + 'static, P: Future<Output = T> + Send>(
    program: impl FnOnce(Host, Found) -> P + Send + 'static,
) -> (T, Summary) {
    let Rig { sim, settings, .. } = Rig::new(1, b"");
    let host = sim.host();
    let place = Arc::new(Mutex::new(None));
    let ended = Arc::clone(&place);
    sim.with_simulation(|simulation| {
        simulation.spawn(async move {
            let functions = enumerate(&host, settings.enumeration).await.unwrap();
            let found = functions.into_iter().find(|found| found.class == 0x07_0002).expect("a serial controller");
            *ended.lock().unwrap() = Some(program(host, found).await);
        });
    });
    let summary = serial::run(sim.open().unwrap(), &Serving::default()).unwrap();
    (place.lock().unwrap().take().expect("the program has ended"), summary)
}

#[test]
fn a_wide_access_is_one_to_each_byte() {
    use register::*;
    let ((), summary) = by_hand(|host, found| async move {
        assert_eq!((found.vendor, found.device, found.bars.len()), (0xfff1, 2, 1));
        let bar = found.bars[0].address;
        // DLL, DLM, FCR and LCR: what comes first is done first.
        host.write32(bar, u32::from_le_bytes([0, 0, FCR_ENABLE_FIFO, LCR_DLAB])).await.unwrap();
        host.write(bar + DLL, &[0x34, 0x12]).await.unwrap();
        assert_eq!(host.read32(bar).await.unwrap().to_le_bytes(), [0x34, 0x12, 0xc1, LCR_DLAB]);
        host.write(bar + LCR, &[LCR_WLEN8, 0]).await.unwrap();
        assert_eq!(host.read64(bar).await.unwrap().to_le_bytes(), [0, 0, 0xc1, 3, 0, 0x60, 0xb0, 0]);
        // Behind the registers there's nothing, and writing there does nothing.
        host.write64(bar + COUNT, u64::MAX).await.unwrap();
        assert_eq!(host.read64(bar + COUNT).await.unwrap(), 0);
    });
    assert_eq!((summary.reads, summary.interrupts), (3, 0));
}

#[test]
fn an_interrupt_waits_for_msix_and_bus_mastering() {
    use register::*;
    let (came, summary) = by_hand(|host, found| async move {
        let bar = found.bars[0].address;
        let msix = found.capability(0x11).unwrap() / 4;
        // Nothing is switched on, and what was active is active no longer: that one is dropped.
        for (register, value) in [(MCR, MCR_OUT2), (IER, IER_THRI), (IER, 0), (IER, IER_THRI)] {
            host.write(bar + register, &[value]).await.unwrap();
        }
        for (number, dword) in (0..).zip([0xfee0_0000, 0, 0x77, 0]) {
            host.write32(bar + 0x2000 + number * 4, dword).await.unwrap();
        }
        host.config_write_bytes(found.id, msix, 0b1100, 1 << 31).await.unwrap();
        host.sleep(Time::us(100)).await;
        let before = host.now();
        host.config_write_bytes(found.id, 1, 0b0011, 0b110).await.unwrap();
        host.interrupt(0x77).await;
        let took = host.now().since(before);
        assert_eq!(host.read(bar + IIR, 1).await.unwrap().to_u64(), u64::from(IIR_THRI));
        took
    });
    assert!(came < Time::us(100), "after {came}");
    assert_eq!((summary.interrupts, summary.interrupts_dropped), (1, 1));
}
