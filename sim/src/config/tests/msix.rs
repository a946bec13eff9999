//! The MSI-X table against a model that is a list of vectors.

use proptest::prelude::*;

use super::super::*;

const VECTORS: u16 = 70;
const PLACE: MsixCapability =
    MsixCapability { vectors: VECTORS, table_bar: 0, table_offset: 0x2000, pba_bar: 2, pba_offset: 0x3000 };

#[test]
fn windows_are_where_the_capability_says() -> Result<(), ConfigError> {
    let table = MsixTable::new(&PLACE)?;
    let at = |window, offset| Some(MsixRegion { window, offset });
    assert_eq!(table.region(0, 0x1fff), None);
    assert_eq!(table.region(0, 0x2000), at(MsixWindow::Table, 0));
    assert_eq!(table.region(0, 0x245c), at(MsixWindow::Table, 0x45c));
    assert_eq!(table.region(0, 0x2460), None);
    assert_eq!(table.region(2, 0x2000), None);
    assert_eq!(table.region(2, 0x300f), at(MsixWindow::PendingBits, 0xf));
    assert_eq!(table.region(2, 0x3010), None);
    assert_eq!(table.region(0, u64::MAX), None);
    Ok(())
}

#[test]
fn wrong_uses_are_errors() -> Result<(), ConfigError> {
    let mut table = MsixTable::new(&PLACE)?;
    let no = MsixError::NoSuchVector { vector: 70, vectors: 70 };
    assert_eq!(table.raise(70, true, false), Err(no));
    assert_eq!((table.masked(70), table.pending(70), table.withdraw(70)), (Err(no), Err(no), Err(no)));
    for (offset, length) in [(2, 4), (0, 3), (0x45c, 8), (0x460, 4), (u32::MAX - 3, 8)] {
        let window = MsixWindow::Table;
        let at = MsixRegion { window, offset };
        let error = MsixError::Access { window, offset, length, size: 0x460 };
        let mut bytes = vec![0; length];
        assert_eq!(table.read(at, &mut bytes), Err(error));
        assert_eq!(table.write(at, &bytes, 0xf, 0xf), Err(error));
    }
    Ok(())
}

#[test]
fn reads_and_writes_of_many_dwords() -> Result<(), Box<dyn std::error::Error>> {
    let mut table = MsixTable::new(&PLACE)?;
    let at = MsixRegion { window: MsixWindow::Table, offset: 16 };
    let mut entry = [0xff; 32];
    table.read(at, &mut entry)?;
    let fresh = [[0; 12].as_slice(), &[1, 0, 0, 0]].concat();
    assert_eq!(entry.as_slice(), [fresh.as_slice(), &fresh].concat());
    // First byte and last three not enabled; address bits 0 and 1, reserved bits do not take.
    table.write(at, &[0xff; 20], 0b1110, 0b0001)?;
    table.read(at, &mut entry)?;
    assert_eq!(entry[..20], [&[0x00; 1][..], &[0xff; 11], &[1, 0, 0, 0], &[0xfc, 0, 0, 0]].concat());
    Ok(())
}

#[derive(Clone, Debug)]
enum Step {
    Write { dword: usize, value: u32, enables: u8 },
    Mask { vector: u16, masked: bool },
    WritePending,
    Control { enabled: bool, masked: bool },
    Raise(u16),
    Withdraw(u16),
    Reset,
}

fn any_step() -> impl Strategy<Value = Step> {
    // Few vectors, around the end of a word of pending bits, so that steps meet.
    let vector = || 60u16..VECTORS + 1;
    let write = (0..usize::from(VECTORS) * 4, any::<u32>(), any::<u8>());
    prop_oneof![
        3 => write.prop_map(|(dword, value, enables)| Step::Write { dword, value, enables }),
        6 => (vector(), any::<bool>()).prop_map(|(vector, masked)| Step::Mask { vector, masked }),
        1 => Just(Step::WritePending),
        3 => (any::<bool>(), any::<bool>())
            .prop_map(|(enabled, masked)| Step::Control { enabled, masked }),
        8 => vector().prop_map(Step::Raise),
        1 => vector().prop_map(Step::Withdraw),
        1 => Just(Step::Reset),
    ]
}

#[derive(Clone, Copy, Debug, Default)]
struct Vector {
    dwords: [u32; 4],
    pending: bool,
}

proptest! {
    #[test]
    fn any_steps_do_as_the_model(steps in prop::collection::vec(any_step(), 0..120)) {
        let fresh = Vector { dwords: [0, 0, 0, 1], pending: false };
        let mut model = vec![fresh; usize::from(VECTORS)];
        let mut table = MsixTable::new(&PLACE)?;
        let (mut on, mut all_masked) = (false, false);
        for step in steps {
            match step {
                Step::Write { dword, value, enables } => {
                    let at = MsixRegion { window: MsixWindow::Table, offset: dword as u32 * 4 };
                    table.write(at, &value.to_le_bytes(), enables, 0)?;
                    let cell = &mut model[dword / 4].dwords[dword % 4];
                    for bit in (0..32).filter(|bit| enables >> (bit / 8) & 1 == 1) {
                        let there = match dword % 4 { 0 => bit >= 2, 3 => bit == 0, _ => true };
                        let one = 1 << bit;
                        if there { *cell = *cell & !one | value & one; }
                    }
                }
                Step::Mask { vector, masked } if vector < VECTORS => {
                    let offset = u32::from(vector) * 16 + 12;
                    let at = MsixRegion { window: MsixWindow::Table, offset };
                    table.write(at, &[u8::from(masked), 0, 0, 0], 0xf, 0)?;
                    model[usize::from(vector)].dwords[3] = u32::from(masked);
                }
                Step::Mask { .. } => {}
                Step::WritePending => {
                    let at = MsixRegion { window: MsixWindow::PendingBits, offset: 0 };
                    table.write(at, &[0xff; 16], 0xf, 0xf)?;
                }
                Step::Control { enabled, masked } => (on, all_masked) = (enabled, masked),
                Step::Raise(vector) => {
                    let outcome = table.raise(vector, on, all_masked);
                    let expected = match model.get_mut(usize::from(vector)) {
                        None => Err(MsixError::NoSuchVector { vector, vectors: VECTORS }),
                        Some(_) if !on => Ok(MsixOutcome::NotEnabled),
                        Some(entry) if all_masked || entry.dwords[3] == 1 => {
                            entry.pending = true;
                            Ok(MsixOutcome::Pending)
                        }
                        Some(entry) => Ok(MsixOutcome::Send(message(vector, entry))),
                    };
                    prop_assert_eq!(outcome, expected);
                }
                Step::Withdraw(vector) => {
                    let pending = model.get_mut(usize::from(vector)).map(|v| std::mem::take(&mut v.pending));
                    prop_assert_eq!(table.withdraw(vector).ok(), pending);
                }
                Step::Reset => {
                    table.reset();
                    model.fill(fresh);
                }
            }
            let mut expected = Vec::new();
            for (vector, entry) in (0..).zip(&mut model) {
                if on && !all_masked && entry.pending && entry.dwords[3] == 0 {
                    entry.pending = false;
                    expected.push(message(vector, entry));
                }
            }
            prop_assert_eq!(table.unmasked(on, all_masked).collect::<Vec<_>>(), expected);
            prop_assert_eq!(contents(&table)?, from_model(&model));
        }
    }
}

fn message(vector: u16, entry: &Vector) -> MsixMessage {
    let [low, high, data, _] = entry.dwords;
    MsixMessage { vector, address: u64::from(high) << 32 | u64::from(low), data }
}

/// Table and pending bits, as the bus reads them.
fn contents(table: &MsixTable) -> Result<(Vec<u8>, u128), MsixError> {
    let mut entries = vec![0; usize::from(VECTORS) * 16];
    let mut pending = [0; 16];
    table.read(MsixRegion { window: MsixWindow::Table, offset: 0 }, &mut entries)?;
    table.read(MsixRegion { window: MsixWindow::PendingBits, offset: 0 }, &mut pending)?;
    Ok((entries, u128::from_le_bytes(pending)))
}

fn from_model(model: &[Vector]) -> (Vec<u8>, u128) {
    let entries = model.iter().flat_map(|v| v.dwords).flat_map(u32::to_le_bytes).collect();
    let bits = model.iter().enumerate().map(|(at, v)| u128::from(v.pending) << at);
    (entries, bits.fold(0, |all, bit| all | bit))
}
