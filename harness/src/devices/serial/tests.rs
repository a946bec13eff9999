mod cases;
mod driver;
mod naive;

use mlx5_twin_sim::time::Time;

use super::port::CONNECTED;
use super::register::*;
use super::uart::Uart;

/// A divisor at which all times of the chip are whole picoseconds.
const DIVISOR: u8 = 9;
/// How long a bit takes then.
const BIT: u64 = 78_125_000;

fn bits(count: u64) -> Time {
    Time::ps(count * BIT)
}

/// A chip with a clock, 8 bits, no parity and one stop bit.
fn chip() -> Uart {
    let mut uart = Uart::new(CONNECTED);
    for (register, value) in [(LCR, LCR_DLAB | LCR_WLEN8), (DLL, DIVISOR), (DLM, 0), (LCR, LCR_WLEN8)] {
        uart.write(register, value, Time::ZERO);
    }
    uart
}
