//! What a write does to a register: a table of cases, and any rules against a model of single bits.

use proptest::prelude::*;

use super::super::*;
use super::{physical_function, port, read, write};

/// A case: byte offset, byte enables, value written; what the dword reads then, and what is reported.
type Case = (u16, u8, u32, u32, Changed);

#[test]
fn writes_to_an_endpoint() -> Result<(), ConfigError> {
    #[rustfmt::skip]
    let cases: [Case; 29] = [
        // Identity, class, subsystem and pointer are read-only.
        (0x00, 0xf, 0xffff_ffff, 0xa2dc_15b3, Changed::NONE),
        (0x08, 0xf, 0x0000_0000, 0x0207_0001, Changed::NONE),
        (0x2c, 0xf, 0xffff_ffff, 0x0051_15b3, Changed::NONE),
        (0x34, 0xf, 0x0000_00ff, 0x0000_0060, Changed::NONE),
        // Command has the bits of a PCI Express function; Status shows the list of capabilities.
        (0x04, 0xf, 0x0000_ffff, 0x0010_0547, Changed::COMMAND),
        (0x04, 0x1, 0x0000_0006, 0x0010_0006, Changed::COMMAND),
        (0x04, 0x2, 0x0000_ff00, 0x0010_0500, Changed::COMMAND),
        (0x04, 0xc, 0xffff_0000, 0x0010_0000, Changed::NONE),
        // Cache line size and interrupt line can be written, the pin can't.
        (0x0c, 0xf, 0xffff_ffff, 0x0000_00ff, Changed::NONE),
        (0x3c, 0xf, 0xffff_ffff, 0x0000_01ff, Changed::NONE),
        // Sizing of a 64 MiB BAR and a 1 MiB ROM.
        (0x10, 0xf, 0xffff_ffff, 0xfc00_000c, Changed::BARS),
        (0x14, 0xf, 0xffff_ffff, 0xffff_ffff, Changed::BARS),
        (0x18, 0xf, 0xffff_ffff, 0x0000_0000, Changed::NONE),
        (0x30, 0xf, 0xffff_ffff, 0xfff0_0001, Changed::BARS),
        // PMCSR: D3hot is taken, D1 and D2 are discarded.
        (0x44, 0xf, 0x0000_0003, 0x0000_000b, Changed::POWER),
        (0x44, 0xf, 0x0000_0001, 0x0000_0008, Changed::NONE),
        (0x44, 0xf, 0x0000_0002, 0x0000_0008, Changed::NONE),
        // Device Control: all that it has; the reset bit reads 0; a payload above 512 is discarded.
        (0x68, 0x3, 0x0000_515f, 0x0000_515f, Changed::DEVICE_CONTROL),
        (0x68, 0x3, 0x0000_a810, 0x0000_2810, Changed::FUNCTION_LEVEL_RESET),
        (0x68, 0x3, 0x0000_2870, 0x0000_2810, Changed::NONE),
        // Device Control 2: a reserved completion timeout is discarded.
        (0x88, 0xf, 0x0000_1003, 0x0000_1000, Changed::DEVICE_CONTROL),
        // MSI-X: enable and function mask; 64 vectors read as 63.
        (0x9c, 0xf, 0xffff_ffff, 0xc03f_4011, Changed::MSIX),
        // AER: status, masks, severity of the errors that an endpoint has, and ECRC's two enables.
        (0x104, 0xf, 0xffff_ffff, 0x0000_0000, Changed::NONE),
        (0x108, 0xf, 0xffff_ffff, 0x005f_f010, Changed::NONE),
        (0x10c, 0xf, 0xffff_ffff, 0x005f_f010, Changed::NONE),
        (0x114, 0xf, 0xffff_ffff, 0x0000_f1c1, Changed::NONE),
        (0x118, 0xf, 0xffff_ffff, 0x0000_01e0, Changed::NONE),
        // Link Control 2, target speed; and a register that isn't there.
        (0x90, 0xf, 0x0000_0003, 0x0000_0003, Changed::LINK_CONTROL),
        (0xffc, 0xf, 0xffff_ffff, 0x0000_0000, Changed::NONE),
    ];
    for case in cases {
        check(&mut physical_function()?, case);
    }
    Ok(())
}

#[test]
fn writes_to_a_root_port() -> Result<(), ConfigError> {
    #[rustfmt::skip]
    let cases: [Case; 15] = [
        (0x18, 0xf, 0xff05_0201, 0x0005_0201, Changed::BUS_NUMBERS),
        (0x1c, 0xf, 0x0000_ffff, 0x0000_f1f1, Changed::WINDOWS),
        (0x20, 0xf, 0xffff_ffff, 0xfff0_fff0, Changed::WINDOWS),
        (0x24, 0xf, 0xffff_ffff, 0xfff1_fff1, Changed::WINDOWS),
        (0x28, 0xf, 0x1234_5678, 0x1234_5678, Changed::WINDOWS),
        (0x30, 0xf, 0x1234_5678, 0x1234_5678, Changed::WINDOWS),
        // Bridge Control: secondary bus reset can be set, VGA can't.
        (0x3c, 0xc, 0xffff_0000, 0x0047_0000, Changed::BRIDGE_CONTROL),
        // Link Control: retrain reads 0, link disable stays. Read completion boundary is read-only.
        (0x50, 0x3, 0x0000_0020, 0x3105_0000, Changed::RETRAIN_LINK),
        (0x50, 0x3, 0x0000_0018, 0x3105_0010, Changed::LINK_CONTROL),
        // Slot Control: a write is a command, even of what is there already.
        (0x58, 0x3, 0x0000_01c0, 0x0040_01c0, Changed::SLOT_CONTROL),
        (0x58, 0x3, 0x0000_ffff, 0x0040_57ff, Changed::SLOT_CONTROL),
        // Root Control: CRS software visibility.
        (0x5c, 0xf, 0xffff_ffff, 0x0001_001f, Changed::ROOT_CONTROL),
        // AER: an error mask with Surprise Down and ACS Violation, and Root Error Command.
        (0x108, 0xf, 0xffff_ffff, 0x047f_f030, Changed::NONE),
        (0x10c, 0xf, 0x0000_0000, 0x0000_0000, Changed::NONE),
        (0x12c, 0xf, 0xffff_ffff, 0x0000_0007, Changed::ROOT_CONTROL),
    ];
    for case in cases {
        check(&mut port(PortType::RootPort)?, case);
    }
    Ok(())
}

fn check(space: &mut ConfigSpace, (offset, enables, value, after, changed): Case) {
    let reported = space.write(offset / 4, enables, value);
    let seen = (format!("{:08x}", read(space, offset)), reported);
    assert_eq!(seen, (format!("{after:08x}"), changed), "at {offset:#x}: {value:08x}/{enables:x}");
}

#[test]
fn status_is_cleared_by_ones() -> Result<(), ConfigError> {
    let mut space = physical_function()?;
    space.record_status(Status::RECEIVED_MASTER_ABORT);
    space.record_status(Status::DETECTED_PARITY_ERROR);
    space.record_status(Status::INTERRUPT); // not an error: ignored
    assert_eq!(space.status(), Status(0xa010));
    space.write(1, 0b0100, 0xffff_ffff);
    assert_eq!(space.status(), Status(0xa010), "byte 3 was not enabled");
    space.write(1, 0b1100, 0x2000_0000);
    assert_eq!(space.status(), Status(0x8010));
    Ok(())
}

#[test]
fn resets_keep_what_they_should() -> Result<(), ConfigError> {
    let mut before = physical_function()?;
    write(&mut before, 0x04, 0x0006);
    write(&mut before, 0x10, 0x8000_0000);
    write(&mut before, 0x68, 0x5050); // payload 512, read request 4096
    write(&mut before, 0x70, 0x0040); // common clock
    write(&mut before, 0x90, 0x0003); // target speed: sticky
    before.record_uncorrectable(UncorrectableError::MalformedTlp, Some([1, 2, 3, 4]));

    //                                   command  bar     devctl  lnkctl  lnkctl2  uncorrectable status
    let expected = [
        (Reset::Fundamental, [0x0010_0000, 0xc, 0x2810, 0x1105_0000, 0x5, 0x0000_0000]),
        (Reset::Hot, [0x0010_0000, 0xc, 0x2810, 0x1105_0000, 0x3, 0x0004_0000]),
        (Reset::FunctionLevel, [0x0010_0000, 0xc, 0x2850, 0x1105_0040, 0x3, 0x0004_0000]),
    ];
    for (kind, registers) in expected {
        let mut space = before.clone();
        space.reset(kind);
        let seen = [0x04, 0x10, 0x68, 0x70, 0x90, 0x104].map(|offset| read(&space, offset));
        assert_eq!(seen, registers, "{kind:?}");
        assert_eq!(read(&space, 0), 0xa2dc_15b3);
    }
    Ok(())
}

#[test]
fn hardware_state_outlives_resets() -> Result<(), ConfigError> {
    let mut space = port(PortType::Downstream)?;
    space.set_link(Some((3, 8)));
    space.set_slot_present(false);
    space.reset(Reset::Fundamental);
    assert_eq!(read(&space, 0x50) >> 16 & 0x3ff, 0x83);
    assert!(!space.slot_present());
    Ok(())
}

/// One bit of a register, the slow and obvious way.
#[derive(Clone, Copy, Debug, Default)]
struct Bit {
    value: bool,
    reset: bool,
    rw: bool,
    rw1c: bool,
    sticky: bool,
    flr_keeps: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Write { dword: u16, enables: u8, value: u32 },
    Reset(Reset),
}

const DWORDS: usize = 4;

fn any_row() -> impl Strategy<Value = Row> {
    any::<[u32; 5]>().prop_map(|[reset, rw, rw1c, sticky, flr]| Row::new(0, "any", reset, rw, rw1c & !rw, sticky, flr))
}

fn any_step() -> impl Strategy<Value = Step> {
    let write = (0..DWORDS as u16 + 2, any::<u8>(), any::<u32>());
    let reset = prop_oneof![Just(Reset::Fundamental), Just(Reset::Hot), Just(Reset::FunctionLevel)];
    prop_oneof![
        8 => write.prop_map(|(dword, enables, value)| Step::Write { dword, enables, value }),
        1 => reset.prop_map(Step::Reset),
    ]
}

proptest! {
    /// Any rules, any writes and resets: each bit does what its own rule says.
    #[test]
    fn any_writes_do_as_each_bit_says(
        rows in prop::collection::vec(any_row(), DWORDS),
        steps in prop::collection::vec(any_step(), 0..40),
    ) {
        // Behind the header dword of a vendor-specific capability at 0x40.
        let offset = |index: usize| 4 + 4 * index as u16;
        let rows: Vec<Row> =
            rows.iter().enumerate().map(|(i, row)| Row { offset: offset(i), ..*row }).collect();
        let mut space = Type0::default().build()?;
        space.add(&CapabilityLayout {
            id: CapabilityId::VENDOR,
            length: offset(DWORDS),
            rows: rows.clone(),
            watches: rows.iter().map(|r| Watch::changed(r.offset, !0, Changed::POWER)).collect(),
            legal: Vec::new(),
        })?;
        let bit_of = |word: u32, bit: usize| word >> bit & 1 == 1;
        let mut model: Vec<Bit> = (0..DWORDS * 32).map(|at| {
            let (row, bit) = (&rows[at / 32], at % 32);
            Bit {
                value: bit_of(row.reset, bit),
                reset: bit_of(row.reset, bit),
                rw: bit_of(row.rw, bit),
                rw1c: bit_of(row.rw1c, bit),
                sticky: bit_of(row.sticky, bit),
                flr_keeps: bit_of(row.flr_keeps, bit),
            }
        }).collect();

        for step in steps {
            let before: Vec<bool> = model.iter().map(|bit| bit.value).collect();
            let mut reported = None;
            match step {
                Step::Write { dword, enables, value } => {
                    reported = Some(space.write(0x44 / 4 + dword, enables, value));
                    for bit in 0..32 {
                        let Some(cell) = model.get_mut(usize::from(dword) * 32 + bit) else { break };
                        let one = bit_of(value, bit);
                        if enables >> (bit / 8) & 1 == 0 { continue }
                        if cell.rw { cell.value = one; }
                        if cell.rw1c && one { cell.value = false; }
                    }
                }
                Step::Reset(kind) => {
                    space.reset(kind);
                    for cell in &mut model {
                        let keep = match kind {
                            Reset::Fundamental => false,
                            Reset::Hot => cell.sticky,
                            Reset::FunctionLevel => cell.sticky || cell.flr_keeps,
                        };
                        if !keep { cell.value = cell.reset; }
                    }
                }
            }
            for (at, cell) in model.iter().enumerate() {
                let register = space.read(0x44 / 4 + (at / 32) as u16);
                prop_assert_eq!(bit_of(register, at % 32), cell.value, "bit {}", at);
            }
            if let Some(changed) = reported {
                let differs = model.iter().zip(&before).any(|(cell, &old)| cell.value != old);
                prop_assert_eq!(changed == Changed::POWER, differs);
            }
        }
    }

    /// What a space has become can be taken over by another one, from any other state; and any changes at all leave legal values.
    #[test]
    fn a_space_takes_over_what_another_has_become(
        writes in prop::collection::vec((0..0x140_u16 / 4, any::<u8>(), any::<u32>()), 0..60),
        other in prop::collection::vec((any::<u16>(), any::<u32>()), 0..20),
    ) {
        let (mut space, mut next, mut any) = (physical_function()?, physical_function()?, physical_function()?);
        for &(register, enables, value) in &writes {
            space.write(register, enables, value);
            next.write(register, 0xf, !value);
        }
        space.record_device_status(0xf);
        next.restore(space.changes());
        for register in 0..1024 {
            prop_assert_eq!(next.read(register), space.read(register), "register {:#x}", register);
        }
        any.restore(other);
        prop_assert!((128..=512).contains(&any.max_payload()));
        prop_assert_eq!(any.read(0), space.read(0));
    }

    /// Any access to any register, also those past the end, is answered.
    #[test]
    fn any_access_is_answered(
        accesses in prop::collection::vec((any::<u16>(), any::<u8>(), any::<u32>()), 0..200),
    ) {
        for mut space in [physical_function()?, port(PortType::RootPort)?] {
            for &(register, enables, value) in &accesses {
                space.write(register % 1100, enables, value);
                space.write(register, enables, value);
                prop_assert!(register < 1024 || space.read(register) == 0);
                // Every accessor copes with whatever was programmed.
                let sizes = 128..=4096;
                prop_assert!(sizes.contains(&space.max_payload()));
                prop_assert!(sizes.contains(&space.max_read_request()));
                let _ = (space.bars().count(), space.expansion_rom(), space.completion_timeout());
                let _ = (space.forwards_address(u64::MAX), space.forwards_io(value));
            }
        }
    }
}
