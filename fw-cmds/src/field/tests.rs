//! Fields against a reading bit by bit.

use proptest::prelude::*;

use super::*;
use crate::layout::{cmd_hca_cap, create_eq_in, eqc, query_hca_cap_out};
use crate::strategies::{any_buffer, any_field, any_field_and_value, free_field};

/// Bit `at` of the buffer, 0 being the most significant bit of the first byte.
fn bit(buffer: &[u8], at: u32) -> bool {
    buffer[at as usize / 8] >> (7 - at % 8) & 1 == 1
}

/// The value of a field, one bit after the other.
fn oracle(field: Field, buffer: &[u8]) -> u64 {
    (field.offset..field.offset + field.width).fold(0, |sum, at| sum << 1 | u64::from(bit(buffer, at)))
}

proptest! {
    #[test]
    fn get_is_what_the_bits_say(field in free_field(40), buffer in proptest::array::uniform32(any::<u8>())) {
        let buffer = [&buffer[..], &buffer[..8]].concat();
        prop_assert_eq!(field.get(&buffer), Ok(oracle(field, &buffer)));
    }

    #[test]
    fn set_changes_the_field_and_no_other_bit(
        (field, value) in free_field(40).prop_flat_map(|field| (Just(field), 0..=field.max())),
        before in proptest::array::uniform32(any::<u8>()),
    ) {
        let before = [&before[..], &before[..8]].concat();
        let mut after = before.clone();
        prop_assert_eq!(field.set(&mut after, value), Ok(()));
        prop_assert_eq!(oracle(field, &after), value);
        let inside = field.offset..field.offset + field.width;
        for at in (0..320).filter(|at| !inside.contains(at)) {
            prop_assert_eq!(bit(&before, at), bit(&after, at), "bit {}", at);
        }
    }

    #[test]
    fn any_field_of_any_layout_goes_round((field, value) in any_field_and_value(), fill in any::<u8>()) {
        let mut buffer = vec![fill; field.end()];
        prop_assert_eq!(field.set(&mut buffer, value), Ok(()));
        prop_assert_eq!(field.get(&buffer), Ok(value));
        prop_assert_eq!(field.set(&mut buffer, oracle(field, &vec![fill; field.end()])), Ok(()));
        prop_assert_eq!(buffer, vec![fill; field.end()]);
    }

    #[test]
    fn a_short_buffer_is_an_error_that_names_field_and_length(field in any_field(), mut buffer in any_buffer(4200)) {
        let (needs, has) = (field.end(), buffer.len());
        let short = FieldError::Short { layout: field.layout, field: field.name, needs, has };
        let before = buffer.clone();
        let got = field.get(&buffer);
        let set = field.set(&mut buffer, 0);
        if has < needs {
            prop_assert_eq!(got, Err(short.clone()));
            prop_assert_eq!(set, Err(short));
            prop_assert_eq!(buffer, before);
        } else {
            prop_assert!(got.is_ok() && set.is_ok());
        }
    }

    #[test]
    fn a_value_that_does_not_fit_is_an_error(field in any_field(), excess in any::<u64>()) {
        prop_assume!(field.width < 64);
        let value = excess | 1 << field.width;
        let mut buffer = vec![0x5a; field.end()];
        let too_large = FieldError::TooLarge { layout: field.layout, field: field.name, width: field.width, value };
        prop_assert_eq!(field.set(&mut buffer, value), Err(too_large));
        prop_assert_eq!(buffer, vec![0x5a; field.end()]);
    }

    #[test]
    fn an_element_is_where_the_stride_puts_it(index in any::<usize>(), count in proptest::option::of(0..9u32)) {
        let array = FieldArray { layout: "made_up", name: "pas", offset: 0x80, stride: 0x40, width: 0x20, count };
        match array.at(index) {
            Ok(field) => {
                prop_assert!(count.is_none_or(|count| index < count as usize));
                prop_assert_eq!(u64::from(field.offset), 0x80 + 0x40 * index as u64);
                prop_assert_eq!(field.width, 0x20);
            }
            Err(FieldError::Index { index: named, count: elements, .. }) => {
                prop_assert_eq!(named, index);
                prop_assert!(index >= elements);
                prop_assert_eq!(elements, count.map_or((u32::MAX as usize - 0x80) / 0x40, |count| count as usize));
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}

#[test]
fn bytes_are_big_endian_and_bits_count_from_the_top() {
    let mut page = [0; 4096];
    cmd_hca_cap::VHCA_ID.set(&mut page, 0x1234).unwrap();
    cmd_hca_cap::HCA_CAP_2.set(&mut page, 1).unwrap();
    assert_eq!(page[4..8], [0x80, 0, 0x12, 0x34]);
    cmd_hca_cap::GENERAL_OBJ_TYPES.set(&mut page, 1 << 13).unwrap();
    assert_eq!(page[0x80..0x88], [0, 0, 0, 0, 0, 0, 0x20, 0]);
}

#[test]
fn the_last_bits_of_the_largest_offset_do_not_overflow() {
    let field = Field { layout: "made_up", name: "last", offset: u32::MAX, width: 64 };
    assert_eq!(field.end(), (1 << 29) + 8);
    assert!(matches!(field.get(&[0; 16]), Err(FieldError::Short { .. })));
    let array =
        FieldArray { layout: "made_up", name: "far", offset: u32::MAX - 63, stride: 64, width: 64, count: Some(2) };
    assert!(array.at(0).is_err());
}

#[test]
fn nesting_moves_fields_arrays_and_bytes() {
    let base = create_eq_in::EQ_CONTEXT_ENTRY.bits();
    let mut input = [0; create_eq_in::SIZE];
    eqc::LOG_EQ_SIZE.within(base).set(&mut input, 8).unwrap();
    let context = create_eq_in::EQ_CONTEXT_ENTRY.slice(&input).unwrap();
    assert_eq!(eqc::LOG_EQ_SIZE.get(context), Ok(8));
    assert_eq!(create_eq_in::PAS.within(0x100).offset, create_eq_in::PAS.offset + 0x100);
    assert_eq!(create_eq_in::EQ_CONTEXT_ENTRY.within(0x100).offset, 0x10 + 0x20);
}

#[test]
fn errors_say_which_field_and_why() {
    let error = create_eq_in::EVENT_BITMASK.at(4).unwrap_err();
    assert_eq!(error.to_string(), "create_eq_in.event_bitmask has 4 elements, there is no element 4");
    let error = eqc::LOG_EQ_SIZE.set(&mut [0; 64], 32).unwrap_err();
    assert_eq!(error.to_string(), "eqc.log_eq_size is 5 bits wide, 0x20 does not fit");
    let error = query_hca_cap_out::CAPABILITY.slice_mut(&mut [0; 100]).unwrap_err();
    assert_eq!(error.to_string(), "query_hca_cap_out.capability needs a buffer of 4112 bytes, this one has 100");
}
