//! Which chip is it? The tests of Linux's 8250 driver (`autoconfig` and `autoconfig_16550a` of
//! `drivers/tty/serial/8250/8250_port.c`), in their order, with the answers of a 16550A.

use mlx5_twin_sim::time::Time;

use super::super::super::HostError;
use super::super::register::*;
use super::super::uart::FIFO;
use super::Serial;

/// What a test does to a register.
#[derive(Clone, Copy, Debug)]
enum Access {
    /// Writes a value.
    Write(u64, u8),
    /// Reads: under the mask, the value must come.
    Expect(u64, u8, u8),
}

use Access::{Expect, Write};

/// A test: its name, and what it does.
type Test = (&'static str, &'static [Access]);

const IIR_FIFO_BITS: u8 = IIR_FIFO_ENABLED | IIR_64BYTE_FIFO;

const TESTS: &[Test] = &[
    (
        "interrupt enable test",
        &[Write(IER, 0), Expect(IER, IER_ALL, 0), Write(IER, IER_ALL), Expect(IER, IER_ALL, IER_ALL), Write(IER, 0)],
    ),
    (
        "loopback test",
        &[Write(MCR, MCR_LOOP | MCR_OUT2 | MCR_RTS), Expect(MSR, MSR_STATUS, MSR_DCD | MSR_CTS), Write(MCR, 0)],
    ),
    (
        "FIFO test",
        &[
            Write(LCR, LCR_CONF_MODE_B),
            Write(EFR, 0),
            Write(LCR, 0),
            Write(FCR, FCR_ENABLE_FIFO),
            Expect(IIR, IIR_FIFO_ENABLED, IIR_FIFO_ENABLED),
        ],
    ),
    // Linux makes this test with chips without FIFOs only; a 16550A passes it too.
    ("scratch register test", &[Write(SCR, 0xa5), Expect(SCR, 0xff, 0xa5), Write(SCR, 0x5a), Expect(SCR, 0xff, 0x5a)]),
    // Where a 16650 shows its Extended Features Register, a 16550A goes on showing IIR.
    ("16650 test", &[Write(LCR, LCR_DLAB), Expect(EFR, IIR_FIFO_ENABLED, IIR_FIFO_ENABLED)]),
    ("16650 version 2 test", &[Write(LCR, LCR_CONF_MODE_B), Expect(EFR, IIR_FIFO_ENABLED, IIR_FIFO_ENABLED)]),
    (
        "16750 test",
        &[
            Write(LCR, 0),
            Write(FCR, FCR_ENABLE_FIFO | FCR7_64BYTE),
            Expect(IIR, IIR_FIFO_BITS, IIR_FIFO_ENABLED),
            Write(FCR, FCR_ENABLE_FIFO),
            Write(LCR, LCR_DLAB),
            Write(FCR, FCR_ENABLE_FIFO | FCR7_64BYTE),
            Expect(IIR, IIR_FIFO_BITS, IIR_FIFO_ENABLED),
            Write(FCR, FCR_ENABLE_FIFO),
            Write(LCR, 0),
        ],
    ),
    ("XScale test", &[Write(IER, IER_UUE), Expect(IER, IER_UUE, 0), Write(IER, 0)]),
];

/// How long the FIFO's size test waits until all is through: Linux's 20 ms.
const SIZE_TEST_TIME: Time = Time::ms(20);
/// How many characters the FIFO's size test sends.
const SIZE_TEST_CHARACTERS: u8 = 255;

impl Serial {
    /// Makes all tests.
    pub(super) async fn probe(&mut self) -> Result<(), HostError> {
        for (test, accesses) in TESTS {
            for access in *accesses {
                match *access {
                    Write(register, value) => self.write(register, value).await?,
                    Expect(register, mask, expected) => self.expect(test, register, mask, expected).await?,
                }
            }
        }
        self.fifo_size().await
    }

    async fn expect(&mut self, test: &'static str, register: u64, mask: u8, expected: u8) -> Result<(), HostError> {
        let found = self.read(register).await?;
        if found & mask == expected {
            return Ok(());
        }
        Err(HostError::Probe { test, register: name(register, false), mask, expected, found })
    }

    /// Sends more than fits through the loopback: as much comes back as the FIFO is deep.
    async fn fifo_size(&mut self) -> Result<(), HostError> {
        const TEST: &str = "FIFO size test";
        let begin = [
            (FCR, FCR_ENABLE_FIFO | FCR_CLEAR_RCVR | FCR_CLEAR_XMIT),
            (MCR, MCR_LOOP),
            (LCR, LCR_DLAB),
            (DLL, 1),
            (DLM, 0),
            (LCR, LCR_WLEN8),
        ];
        for (register, value) in begin {
            self.write(register, value).await?;
        }
        for byte in 0..=SIZE_TEST_CHARACTERS {
            self.write(TX, byte).await?;
        }
        self.driven.host.sleep(SIZE_TEST_TIME).await;
        for byte in 0..FIFO as u8 {
            self.expect(TEST, LSR, LSR_DR, LSR_DR).await?;
            self.expect(TEST, RX, 0xff, byte).await?;
        }
        self.expect(TEST, LSR, LSR_DR, 0).await?;
        self.write(MCR, 0).await
    }
}
