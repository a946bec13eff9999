//! Registers of the 16550A and their bits, by the names of Linux's `include/uapi/linux/serial_reg.h` without its prefix `UART_`.

/// Receive buffer, when read. With [`LCR_DLAB`]: low byte of the divisor.
pub const RX: u64 = 0;
/// Transmit holding register, when written.
pub const TX: u64 = 0;
/// Low byte of the divisor, with [`LCR_DLAB`].
pub const DLL: u64 = 0;
/// Interrupt Enable Register.
pub const IER: u64 = 1;
/// High byte of the divisor, with [`LCR_DLAB`].
pub const DLM: u64 = 1;
/// Interrupt Identification Register, when read.
pub const IIR: u64 = 2;
/// FIFO Control Register, when written.
pub const FCR: u64 = 2;
/// Extended Features Register of later chips, which the 16550A hasn't got.
pub const EFR: u64 = 2;
/// Line Control Register.
pub const LCR: u64 = 3;
/// Modem Control Register.
pub const MCR: u64 = 4;
/// Line Status Register.
pub const LSR: u64 = 5;
/// Modem Status Register.
pub const MSR: u64 = 6;
/// Scratch Register.
pub const SCR: u64 = 7;
/// How many registers there are: one byte each, side by side.
pub const COUNT: u64 = 8;

/// IER: received data, and the character timeout.
pub const IER_RDI: u8 = 0x01;
/// IER: transmit holding register empty.
pub const IER_THRI: u8 = 0x02;
/// IER: receiver line status.
pub const IER_RLSI: u8 = 0x04;
/// IER: modem status.
pub const IER_MSI: u8 = 0x08;
/// All bits that IER has.
pub const IER_ALL: u8 = 0x0f;
/// IER: 'UART Unit Enable' of Intel's `XScale`, which the 16550A hasn't got.
pub const IER_UUE: u8 = 0x40;

/// IIR: modem status.
pub const IIR_MSI: u8 = 0x00;
/// IIR: nothing.
pub const IIR_NO_INT: u8 = 0x01;
/// IIR: transmit holding register empty.
pub const IIR_THRI: u8 = 0x02;
/// IIR: received data.
pub const IIR_RDI: u8 = 0x04;
/// IIR: receiver line status.
pub const IIR_RLSI: u8 = 0x06;
/// IIR: character timeout.
pub const IIR_RX_TIMEOUT: u8 = 0x0c;
/// IIR: the bits that tell the source.
pub const IIR_MASK: u8 = 0x0f;
/// IIR: both bits are set while the FIFOs are on. The 16550, whose FIFOs don't work, sets bit 7 alone.
pub const IIR_FIFO_ENABLED: u8 = 0xc0;
/// IIR: the FIFOs of a TI 16750 are in 64-byte mode.
pub const IIR_64BYTE_FIFO: u8 = 0x20;

/// FCR: FIFOs on.
pub const FCR_ENABLE_FIFO: u8 = 0x01;
/// FCR: clear the receive FIFO.
pub const FCR_CLEAR_RCVR: u8 = 0x02;
/// FCR: clear the transmit FIFO.
pub const FCR_CLEAR_XMIT: u8 = 0x04;
/// FCR: 64-byte mode of a TI 16750.
pub const FCR7_64BYTE: u8 = 0x20;
/// FCR: an interrupt at 14 received characters.
pub const FCR_TRIGGER_14: u8 = 0xc0;

/// LCR: the bits of the word length, 5 bits and their value more.
pub const LCR_WLEN_MASK: u8 = 0x03;
/// LCR: words of 8 bits.
pub const LCR_WLEN8: u8 = 0x03;
/// LCR: two stop bits, or one and a half with words of 5 bits.
pub const LCR_STOP: u8 = 0x04;
/// LCR: parity.
pub const LCR_PARITY: u8 = 0x08;
/// LCR: set break.
pub const LCR_SBC: u8 = 0x40;
/// LCR: divisor latch access.
pub const LCR_DLAB: u8 = 0x80;
/// LCR: the value at which later chips show their extended registers. To a 16550A it's an odd line format with DLAB.
pub const LCR_CONF_MODE_B: u8 = 0xbf;

/// MCR: data terminal ready.
pub const MCR_DTR: u8 = 0x01;
/// MCR: request to send.
pub const MCR_RTS: u8 = 0x02;
/// MCR: output 1.
pub const MCR_OUT1: u8 = 0x04;
/// MCR: output 2, which lets the interrupt out.
pub const MCR_OUT2: u8 = 0x08;
/// MCR: loopback.
pub const MCR_LOOP: u8 = 0x10;
/// All bits that MCR has.
pub const MCR_ALL: u8 = 0x1f;

/// LSR: there's a character to read.
pub const LSR_DR: u8 = 0x01;
/// LSR: overrun.
pub const LSR_OE: u8 = 0x02;
/// LSR: parity error.
pub const LSR_PE: u8 = 0x04;
/// LSR: framing error.
pub const LSR_FE: u8 = 0x08;
/// LSR: break.
pub const LSR_BI: u8 = 0x10;
/// LSR: transmit holding register, or transmit FIFO, empty.
pub const LSR_THRE: u8 = 0x20;
/// LSR: transmitter empty, shift register and all.
pub const LSR_TEMT: u8 = 0x40;
/// LSR: a character in the receive FIFO came with an error.
pub const LSR_FIFOE: u8 = 0x80;
/// LSR: all errors.
pub const LSR_BRK_ERROR_BITS: u8 = LSR_OE | LSR_PE | LSR_FE | LSR_BI;

/// MSR: delta clear to send.
pub const MSR_DCTS: u8 = 0x01;
/// MSR: delta data set ready.
pub const MSR_DDSR: u8 = 0x02;
/// MSR: trailing edge of the ring indicator.
pub const MSR_TERI: u8 = 0x04;
/// MSR: delta data carrier detect.
pub const MSR_DDCD: u8 = 0x08;
/// MSR: clear to send.
pub const MSR_CTS: u8 = 0x10;
/// MSR: data set ready.
pub const MSR_DSR: u8 = 0x20;
/// MSR: ring indicator.
pub const MSR_RI: u8 = 0x40;
/// MSR: data carrier detect.
pub const MSR_DCD: u8 = 0x80;
/// MSR: the four lines, without what has changed.
pub const MSR_STATUS: u8 = 0xf0;

/// Name of a register, as the data sheet has it, for messages.
pub fn name(register: u64, write: bool) -> &'static str {
    match (register, write) {
        (0, false) => "RBR",
        (0, true) => "THR",
        (1, _) => "IER",
        (2, false) => "IIR",
        (2, true) => "FCR",
        (3, _) => "LCR",
        (4, _) => "MCR",
        (5, _) => "LSR",
        (6, _) => "MSR",
        (7, _) => "SCR",
        _ => "no register",
    }
}
