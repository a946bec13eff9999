//! Time of the TLP codec, and beside it of the crate rtlp-lib. `cargo bench -p mlx5-twin-sim --bench codec`; instruction counts are in
//! `codec_instructions`. What each of the two checks stands at the head of `support/two_codecs.rs`.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

#[path = "support/two_codecs.rs"]
mod two_codecs;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mlx5_twin_sim::tlp::{Bdf, ConfigType, Header, Status, Tlp};
use std::hint::black_box;

/// Headers by name: a write and a read with 64-bit addresses, the read's completion, a configuration read.
fn headers() -> [(&'static str, Header); 4] {
    let id = Bdf::new(3, 0, 1);
    let write = Header::mem_write_bytes(id, 5, 0x1_2345_6000, 64).expect("a write of 64 bytes");
    let read = Header::mem_read_bytes(id, 0x2a5, 0x1_2345_6004, 256).expect("a read of 256 bytes");
    let completion = Header::completion_for(&read, Bdf(0), Status::Successful).expect("its completion");
    let config = Header::config_read(ConfigType::Type0, Bdf(0), 1, id, 4, 0xf).expect("a configuration read");
    [("MWr64", write), ("MRd64", read), ("CplD", completion), ("CfgRd0", config)]
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("header");
    group.throughput(Throughput::Elements(1));
    for (name, header) in headers() {
        let mut bytes = [0; 16];
        header.encode(&mut bytes);
        group.bench_function(format!("decode/{name}"), |b| b.iter(|| Header::decode(black_box(&bytes))));
        group.bench_function(format!("encode/{name}"), |b| {
            let mut out = [0; 16];
            b.iter(|| black_box(&header).encode(black_box(&mut out)));
        });
    }
    group.finish();

    let mut group = c.benchmark_group("all fields of a header");
    group.throughput(Throughput::Elements(1));
    for (name, header) in headers() {
        let mut bytes = [0; 16];
        header.encode(&mut bytes);
        group.bench_function(format!("ours/{name}"), |b| b.iter(|| two_codecs::ours(black_box(&bytes))));
        group.bench_function(format!("rtlp-lib/{name}"), |b| b.iter(|| two_codecs::rtlp(black_box(&bytes))));
    }
    group.finish();

    let payload = [0x5a; 64];
    let tlp = Tlp::new(headers()[0].1, &payload).expect("64 bytes of payload");
    let bytes = tlp.to_vec().expect("a TLP");
    let with_ecrc = tlp.with_ecrc();
    let mut group = c.benchmark_group("tlp, MWr64 of 64 bytes");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("parse", |b| b.iter(|| Tlp::parse(black_box(&bytes)).map(|t| t.payload.len())));
    group.bench_function("emit", |b| {
        let mut out = [0; 96];
        b.iter(|| black_box(&tlp).emit(black_box(&mut out)));
    });
    group.bench_function("check ecrc", |b| b.iter(|| black_box(&with_ecrc).ecrc_is_good()));
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
