//! The rules of the data sheet, one by one.

use super::super::uart::{Character, Counts, FIFO};
use super::*;

/// A step of a case.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Writes a register.
    W(u64, u8),
    /// Reads a register: this must come.
    R(u64, u8),
    /// Characters from the line, counted up from the first one.
    In(u8, usize),
    /// A character from the line with errors.
    Bad(u8, u8),
    /// Characters to the line, counted up from the first one: all that came out since the last such step.
    Out(u8, usize),
    /// So many bit times pass.
    Bits(u64),
    /// CTS, DSR, RI and DCD.
    Lines(u8),
    /// The interrupt must be active, or not.
    Int(bool),
}

use Step::{Bad, Bits, In, Int, Lines, Out, R, W};

const FIFOS: Step = W(FCR, FCR_ENABLE_FIFO);
const TRIGGER_4: Step = W(FCR, FCR_ENABLE_FIFO | 0x40);
const NONE: u8 = IIR_FIFO_ENABLED | IIR_NO_INT;
const IDLE: u8 = LSR_THRE | LSR_TEMT;

const CASES: &[(&str, &[Step])] = &[
    (
        "after a reset nothing is pending and the transmitter is empty",
        &[R(IER, 0), R(IIR, IIR_NO_INT), R(LSR, IDLE), R(MSR, CONNECTED), R(MCR, 0), R(SCR, 0), R(RX, 0)],
    ),
    ("IER has four bits, MCR five", &[W(IER, 0xff), R(IER, 0x0f), W(MCR, 0xff), R(MCR, 0x1f)]),
    ("SCR and LCR keep all bits", &[W(SCR, 0x5a), R(SCR, 0x5a), W(LCR, 0xff), R(LCR, 0xff)]),
    (
        "DLAB shows the divisor, and hides RBR, THR and IER",
        &[
            In(7, 1),
            W(LCR, 0x83),
            W(DLL, 0x34),
            W(DLM, 0x12),
            R(DLL, 0x34),
            R(DLM, 0x12),
            W(LCR, 3),
            R(IER, 0),
            R(RX, 7),
        ],
    ),
    ("LSR and MSR can't be written", &[W(LSR, 0xff), W(MSR, 0xff), R(LSR, IDLE), R(MSR, CONNECTED)]),
    ("without FIFOs the receiver holds one", &[In(1, 1), R(LSR, IDLE | LSR_DR), R(RX, 1), R(LSR, IDLE)]),
    (
        "without FIFOs an overrun replaces the character",
        &[In(1, 2), R(LSR, IDLE | LSR_DR | LSR_OE), R(RX, 2), R(LSR, IDLE)],
    ),
    (
        "with FIFOs an overrun keeps the first 16",
        &[FIFOS, In(0, 17), R(LSR, IDLE | LSR_DR | LSR_OE), R(LSR, IDLE | LSR_DR), R(RX, 0), R(RX, 1)],
    ),
    ("changing the FIFO enable clears both", &[FIFOS, In(1, 3), W(TX, 1), W(TX, 2), W(FCR, 0), R(LSR, LSR_THRE)]),
    ("and so does switching it on", &[In(1, 1), FIFOS, R(LSR, IDLE), R(IIR, NONE)]),
    ("writing it again clears nothing", &[FIFOS, In(1, 3), FIFOS, R(LSR, IDLE | LSR_DR), R(RX, 1)]),
    ("the receive FIFO is cleared alone", &[FIFOS, In(1, 3), W(TX, 1), W(TX, 2), W(FCR, 3), R(LSR, 0)]),
    (
        "the transmit FIFO is cleared alone",
        &[FIFOS, In(1, 3), W(TX, 1), W(TX, 2), W(FCR, 5), R(LSR, LSR_THRE | LSR_DR)],
    ),
    ("FCR does nothing but switch on while the FIFOs are off", &[In(1, 1), W(FCR, 0xfe), R(IIR, IIR_NO_INT), R(RX, 1)]),
    (
        "a character takes ten bits, and the transmitter says where it is",
        &[
            W(TX, b'a'),
            R(LSR, LSR_THRE),
            W(TX, b'b'),
            R(LSR, 0),
            Bits(10),
            Out(b'a', 1),
            R(LSR, LSR_THRE),
            Bits(9),
            Out(0, 0),
            Bits(1),
            Out(b'b', 1),
            R(LSR, IDLE),
        ],
    ),
    (
        "seven bits, parity and two stop bits take eleven",
        &[W(LCR, 0x0e), W(TX, 0xff), Bits(10), Out(0, 0), Bits(1), Out(0x7f, 1)],
    ),
    (
        "five bits and one and a half stop bits take seven and a half",
        &[W(LCR, 0x04), W(TX, 0xff), Bits(7), Out(0, 0), Bits(1), Out(0x1f, 1)],
    ),
    (
        "without a clock nothing is sent until there's one",
        &[
            W(LCR, 0x83),
            W(DLL, 0),
            W(LCR, 3),
            W(TX, 1),
            Bits(99),
            Out(0, 0),
            R(LSR, 0),
            W(LCR, 0x83),
            W(DLL, DIVISOR),
            W(LCR, 3),
            Bits(10),
            Out(1, 1),
        ],
    ),
    (
        "OUT2 lets the interrupt out",
        &[W(IER, IER_RDI), In(1, 1), R(IIR, IIR_RDI), Int(false), W(MCR, MCR_OUT2), Int(true), W(MCR, 0), Int(false)],
    ),
    (
        "in loopback OUT2 is inactive",
        &[W(IER, IER_RDI), W(MCR, MCR_OUT2 | MCR_LOOP), W(TX, 1), Bits(10), R(IIR, IIR_RDI), Int(false)],
    ),
    (
        "received data: until it's read",
        &[W(IER, IER_RDI), In(1, 1), R(IIR, IIR_RDI), R(IIR, IIR_RDI), R(RX, 1), R(IIR, IIR_NO_INT)],
    ),
    (
        "received data: at the trigger level, until it's below",
        &[TRIGGER_4, W(IER, IER_RDI), In(0, 3), R(IIR, NONE), In(3, 1), R(IIR, 0xc4), R(RX, 0), R(IIR, NONE)],
    ),
    (
        "character timeout: four characters after the last one, until a read",
        &[
            TRIGGER_4,
            W(IER, IER_RDI),
            In(0, 2),
            Bits(39),
            R(IIR, NONE),
            Bits(1),
            R(IIR, 0xcc),
            R(IIR, 0xcc),
            R(RX, 0),
            R(IIR, NONE),
            Bits(40),
            R(IIR, 0xcc),
            R(RX, 1),
            R(IIR, NONE),
            Bits(99),
            R(IIR, NONE),
        ],
    ),
    (
        "character timeout: a new character starts it anew",
        &[TRIGGER_4, W(IER, IER_RDI), In(0, 1), Bits(30), In(1, 1), Bits(30), R(IIR, NONE), Bits(10), R(IIR, 0xcc)],
    ),
    (
        "character timeout: at the trigger level it's received data",
        &[TRIGGER_4, W(IER, IER_RDI), In(0, 1), Bits(40), R(IIR, 0xcc), In(1, 3), R(IIR, 0xc4)],
    ),
    ("character timeout: not without FIFOs", &[W(IER, IER_RDI), In(0, 1), Bits(99), R(IIR, IIR_RDI)]),
    (
        "transmitter empty: at once when it's switched on, cleared by IIR",
        &[W(IER, IER_THRI), R(IIR, IIR_THRI), R(IIR, IIR_NO_INT), W(IER, IER_THRI), R(IIR, IIR_NO_INT)],
    ),
    (
        "transmitter empty: switched off and on it comes again",
        &[W(IER, IER_THRI), R(IIR, IIR_THRI), W(IER, 0), W(IER, IER_THRI), R(IIR, IIR_THRI)],
    ),
    (
        "transmitter empty: cleared by a write",
        &[W(IER, IER_THRI), W(TX, 1), W(TX, 2), R(IIR, IIR_NO_INT), Bits(10), R(IIR, IIR_THRI)],
    ),
    (
        "transmitter empty: IIR clears it only if it names it",
        &[W(IER, IER_THRI | IER_RDI), In(1, 1), R(IIR, IIR_RDI), R(RX, 1), R(IIR, IIR_THRI)],
    ),
    (
        "transmitter empty: one character alone delays it by its bits before the stop bit",
        &[
            FIFOS,
            W(IER, IER_THRI),
            R(IIR, 0xc2),
            W(TX, 1),
            R(IIR, 0xc2),
            Bits(20),
            W(TX, 2),
            R(IIR, NONE),
            Bits(8),
            R(IIR, NONE),
            Bits(1),
            R(IIR, 0xc2),
            R(IIR, NONE),
            Bits(9),
            R(IIR, NONE),
        ],
    ),
    (
        "transmitter empty: not delayed after two",
        &[FIFOS, W(IER, IER_THRI), W(TX, 1), W(TX, 2), W(TX, 3), R(IIR, NONE), Bits(20), R(IIR, 0xc2), Out(1, 2)],
    ),
    (
        "transmitter empty: clearing the FIFO makes it so",
        &[FIFOS, W(IER, IER_THRI), W(TX, 1), W(TX, 2), R(IIR, NONE), W(FCR, 5), R(IIR, 0xc2)],
    ),
    (
        "a full transmit FIFO takes nothing more",
        &[
            FIFOS,
            W(TX, 0),
            W(TX, 1),
            W(TX, 2),
            W(TX, 3),
            W(TX, 4),
            W(TX, 5),
            W(TX, 6),
            W(TX, 7),
            W(TX, 8),
            W(TX, 9),
            W(TX, 10),
            W(TX, 11),
            W(TX, 12),
            W(TX, 13),
            W(TX, 14),
            W(TX, 15),
            W(TX, 16),
            W(TX, 99),
            Bits(999),
            Out(0, 17),
        ],
    ),
    (
        "line status: until LSR is read",
        &[
            W(IER, IER_RLSI | IER_RDI),
            Bad(1, LSR_PE),
            R(IIR, IIR_RLSI),
            R(RX, 1),
            R(IIR, IIR_RLSI),
            R(LSR, IDLE | LSR_PE),
            R(IIR, IIR_NO_INT),
        ],
    ),
    (
        "line status: an error shows when its character is the first",
        &[
            FIFOS,
            W(IER, IER_RLSI),
            In(1, 1),
            Bad(2, LSR_FE),
            R(IIR, NONE),
            R(LSR, IDLE | LSR_DR | LSR_FIFOE),
            R(RX, 1),
            R(IIR, 0xc6),
            R(LSR, IDLE | LSR_DR | LSR_FE | LSR_FIFOE),
            R(LSR, IDLE | LSR_DR),
            R(RX, 2),
            R(LSR, IDLE),
        ],
    ),
    (
        "line status: a break is a character of zeroes",
        &[FIFOS, Bad(0, LSR_BI), R(LSR, IDLE | LSR_DR | LSR_BI | LSR_FIFOE), R(RX, 0)],
    ),
    (
        "modem status: until MSR is read",
        &[
            W(IER, IER_MSI),
            Lines(MSR_DCD),
            R(IIR, IIR_MSI),
            R(IIR, IIR_MSI),
            R(MSR, MSR_DCD | MSR_DCTS | MSR_DDSR),
            R(IIR, IIR_NO_INT),
            R(MSR, MSR_DCD),
        ],
    ),
    (
        "modem status: of a ring only its end counts",
        &[
            W(IER, IER_MSI),
            Lines(CONNECTED | MSR_RI),
            R(IIR, IIR_NO_INT),
            R(MSR, CONNECTED | MSR_RI),
            Lines(CONNECTED),
            R(IIR, IIR_MSI),
            R(MSR, CONNECTED | MSR_TERI),
        ],
    ),
    (
        "modem status: back again still counts",
        &[Lines(0), Lines(CONNECTED), R(MSR, CONNECTED | MSR_DCTS | MSR_DDSR | MSR_DDCD), R(MSR, CONNECTED)],
    ),
    (
        "priorities: line status, data, transmitter, modem",
        &[
            W(IER, 0x0f),
            W(MCR, MCR_OUT2),
            Lines(0),
            Bad(1, LSR_PE),
            Int(true),
            R(IIR, IIR_RLSI),
            R(LSR, IDLE | LSR_DR | LSR_PE),
            R(IIR, IIR_RDI),
            R(RX, 1),
            R(IIR, IIR_THRI),
            R(IIR, IIR_MSI),
            Int(true),
            R(MSR, MSR_DCTS | MSR_DDSR | MSR_DDCD),
            R(IIR, IIR_NO_INT),
            Int(false),
        ],
    ),
    (
        "loopback: RTS, DTR, OUT1 and OUT2 are CTS, DSR, RI and DCD",
        &[
            W(MCR, 0x10),
            R(MSR, 0x0b),
            W(MCR, 0x11),
            R(MSR, 0x22),
            W(MCR, 0x12),
            R(MSR, 0x13),
            W(MCR, 0x14),
            R(MSR, 0x41),
            W(MCR, 0x18),
            R(MSR, 0x8c),
            W(MCR, 0x1a),
            R(MSR, 0x91),
        ],
    ),
    (
        "loopback: what is sent is received, and not on the line",
        &[FIFOS, W(MCR, MCR_LOOP), W(TX, 5), W(TX, 6), Bits(20), R(LSR, IDLE | LSR_DR), R(RX, 5), R(RX, 6), Out(0, 0)],
    ),
    ("loopback: the line is cut off", &[W(MCR, MCR_LOOP), In(1, 1), R(LSR, IDLE), W(MCR, 0), In(2, 1), R(RX, 2)]),
    (
        "a break cuts the line off",
        &[W(LCR, 0x43), W(TX, 1), Bits(10), Out(0, 0), R(LSR, IDLE), W(LCR, 3), W(TX, 2), Bits(10), Out(2, 1)],
    ),
];

/// Lets time pass, and notes what came out.
fn pass(uart: &mut Uart, until: Time, out: &mut Vec<u8>) {
    while let Some(at) = uart.next_event().filter(|at| *at <= until) {
        out.extend(uart.event(at).map(|character| character.byte));
    }
}

#[test]
fn rules_of_the_data_sheet() {
    for (case, steps) in CASES {
        let (mut uart, mut now, mut out) = (chip(), Time::ZERO, Vec::new());
        for (number, step) in steps.iter().enumerate() {
            let place = format!("{case}, step {number}: {step:?}");
            let counted = |first: u8, count: usize| (first..).take(count);
            match *step {
                W(register, value) => uart.write(register, value, now),
                R(register, expected) => assert_eq!(uart.read(register, now), expected, "{place}"),
                In(first, count) => {
                    counted(first, count).for_each(|byte| uart.receive(Character { byte, errors: 0 }, now));
                }
                Bad(byte, errors) => uart.receive(Character { byte, errors }, now),
                Out(first, count) => {
                    let expected: Vec<u8> = counted(first, count).collect();
                    assert_eq!(std::mem::take(&mut out), expected, "{place}");
                }
                Bits(count) => {
                    now += bits(count);
                    pass(&mut uart, now, &mut out);
                }
                Lines(lines) => uart.set_lines(lines),
                Int(active) => assert_eq!(uart.interrupt(), active, "{place}"),
            }
        }
    }
}

#[test]
fn trigger_levels() {
    for (code, level) in [(0x00, 1), (0x40, 4), (0x80, 8), (0xc0, 14)] {
        let mut uart = chip();
        uart.write(FCR, FCR_ENABLE_FIFO | code, Time::ZERO);
        uart.write(IER, IER_RDI, Time::ZERO);
        for number in 1..=FIFO {
            uart.receive(Character::default(), Time::ZERO);
            let expected = if number >= level { IIR_RDI } else { IIR_NO_INT };
            assert_eq!(uart.read(IIR, Time::ZERO), IIR_FIFO_ENABLED | expected, "level {level}, {number} characters");
        }
    }
}

#[test]
fn what_is_lost_is_counted() {
    let (mut uart, mut out) = (chip(), Vec::new());
    uart.write(FCR, FCR_ENABLE_FIFO, Time::ZERO);
    for byte in 0..20 {
        uart.receive(Character { byte, errors: 0 }, Time::ZERO);
        uart.write(TX, byte, Time::ZERO);
    }
    pass(&mut uart, bits(300), &mut out);
    let before = Counts { sent: 17, received: 20, overruns: 4, overflows: 3, ..Counts::default() };
    assert_eq!((uart.counts(), out.len()), (before, 17));
    uart.write(MCR, MCR_LOOP, Time::ZERO);
    uart.receive(Character::default(), bits(300));
    uart.write(TX, 1, bits(300));
    pass(&mut uart, bits(400), &mut out);
    assert_eq!(uart.counts(), Counts { received: 21, cut_off: 1, test_losses: 1, ..before });
}

/// Rate and format give the time: 115,200 baud at divisor 1, ten bits.
#[test]
fn character_times() {
    let cases = [
        (1, 0x03, 86_805_555),
        (12, 0x03, 1_041_666_666),
        (96, 0x1b, 9_166_666_666),
        (0xffff, 0x00, 3_982_161_458_333),
    ];
    for (divisor, format, expected) in cases {
        let mut uart = Uart::new(0);
        let [low, high] = u16::to_le_bytes(divisor);
        for (register, value) in [(LCR, LCR_DLAB), (DLL, low), (DLM, high), (LCR, format)] {
            uart.write(register, value, Time::ZERO);
        }
        assert_eq!(uart.character_time(), Some(Time::ps(expected)), "divisor {divisor}, format {format:#x}");
    }
    assert_eq!(Uart::new(0).character_time(), None);
}
