//! Instructions of the TLP codec, counted by valgrind: `cargo bench -p mlx5-twin-sim --bench codec_instructions`.
//! Fails above 200 instructions for a header. Needs valgrind and `cargo install gungraun-runner --version 0.20.0`.
//!
//! Beside it, without a limit: all fields of a header by our decoder and by the crate rtlp-lib 0.5.1; `support/two_codecs.rs` says what each checks.
//! As last measured (Rust 1.95, x86-64, valgrind 3.19), ours and rtlp-lib's: MWr64 205 and 2,883; MRd64 207 and 2,883; CplD 170 and 2,374; CfgRd0 165
//! and 1,527; Msg 211 and 1,496; junk that both refuse 112 and 773.

#![allow(missing_docs, reason = "gungraun's macros make undocumented items")]

#[path = "support/two_codecs.rs"]
mod two_codecs;

use gungraun::prelude::*;
use gungraun::{Callgrind, EventKind};
use mlx5_twin_sim::tlp::{Bdf, ConfigType, Header, Malformed, MessageCode, Route, Status};
use rtlp_lib::TlpError;
use std::hint::black_box;
use two_codecs::Fields;

/// The most instructions that a decode or an encode of one header may take.
const GATE: u64 = 200;

fn write() -> Header {
    Header::mem_write_bytes(Bdf::new(3, 0, 1), 5, 0x1_2345_6000, 64).expect("a write of 64 bytes")
}

fn read() -> Header {
    Header::mem_read_bytes(Bdf::new(3, 0, 1), 0x2a5, 0x1_2345_6004, 256).expect("a read of 256 bytes")
}

fn completion() -> Header {
    Header::completion_for(&read(), Bdf(0), Status::Successful).expect("its completion")
}

fn config() -> Header {
    Header::config_read(ConfigType::Type0, Bdf(0), 1, Bdf::new(3, 0, 1), 4, 0xf).expect("a configuration read")
}

fn message() -> Header {
    let error = MessageCode::ERR_COR;
    Header::message(Bdf::new(3, 0, 1), 0, error, Route::ToRootComplex, [0, 0], 0).expect("an error message")
}

fn bytes(header: Header) -> [u8; 16] {
    let mut bytes = [0; 16];
    header.encode(&mut bytes);
    bytes
}

/// For what is only compared.
fn without_limit() -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    config.tool_override(Callgrind::with_args(["--cache-sim=no"]));
    config
}

#[library_benchmark]
#[bench::mwr64(bytes(write()))]
#[bench::mrd64(bytes(read()))]
#[bench::cpld(bytes(completion()))]
#[bench::cfgrd0(bytes(config()))]
#[bench::msg(bytes(message()))]
#[bench::junk([0xca; 16])]
fn decode(bytes: [u8; 16]) -> Result<Header, Malformed> {
    black_box(Header::decode(black_box(&bytes)))
}

#[library_benchmark]
#[bench::mwr64(write())]
#[bench::cpld(completion())]
fn encode(header: Header) -> ([u8; 16], usize) {
    let mut out = [0; 16];
    let len = black_box(&header).encode(&mut out);
    black_box((out, len))
}

#[library_benchmark]
#[bench::mrd64(read())]
fn complete(request: Header) -> Result<Header, Malformed> {
    black_box(Header::completion_for(black_box(&request), Bdf(0), Status::Successful))
}

#[library_benchmark(config = without_limit())]
#[bench::mwr64(bytes(write()))]
#[bench::mrd64(bytes(read()))]
#[bench::cpld(bytes(completion()))]
#[bench::cfgrd0(bytes(config()))]
#[bench::msg(bytes(message()))]
#[bench::junk([0xca; 16])]
fn fields_ours(bytes: [u8; 16]) -> Result<Fields, Malformed> {
    black_box(two_codecs::ours(black_box(&bytes)))
}

#[library_benchmark(config = without_limit())]
#[bench::mwr64(bytes(write()))]
#[bench::mrd64(bytes(read()))]
#[bench::cpld(bytes(completion()))]
#[bench::cfgrd0(bytes(config()))]
#[bench::msg(bytes(message()))]
#[bench::junk([0xca; 16])]
fn fields_rtlp(bytes: [u8; 16]) -> Result<Fields, TlpError> {
    black_box(two_codecs::rtlp(black_box(&bytes)))
}

library_benchmark_group!(name = codec, benchmarks = [decode, encode, complete, fields_ours, fields_rtlp]);

main!(
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::with_args(["--cache-sim=no"]).hard_limits([(EventKind::Ir, GATE)])),
    library_benchmark_groups = codec
);
