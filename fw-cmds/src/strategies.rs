//! Property-test strategies.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::field::Field;
use crate::layout::{self, FieldDesc, Kind, Layout};
use crate::opcode::Opcode;

/// Any layout of the crate.
pub fn any_layout() -> impl Strategy<Value = &'static Layout> {
    select(layout::ALL)
}

/// Any integer of any layout: a field, or one of the first 16 elements of an array.
pub fn any_field() -> impl Strategy<Value = Field> {
    (select(all_fields()), 0..16u32).prop_map(|((layout, desc), index)| element(layout, desc, index))
}

/// Any integer of one layout, as [`any_field`]; `None` if the layout has none.
#[must_use]
pub fn field_of(layout: &'static Layout) -> Option<impl Strategy<Value = Field>> {
    let fields: Vec<_> = integers(layout).collect();
    if fields.is_empty() {
        return None;
    }
    let any = (select(fields), 0..16u32);
    Some(any.prop_map(move |(desc, index)| element(layout, desc, index)))
}

/// Any integer of any layout and a value that fits.
pub fn any_field_and_value() -> impl Strategy<Value = (Field, u64)> {
    any_field().prop_flat_map(|field| (Just(field), 0..=field.max()))
}

/// A field at any place and of any width, not only those of the layouts; it ends in the first
/// `bytes` bytes, which must be at least 8.
pub fn free_field(bytes: u32) -> impl Strategy<Value = Field> {
    (1..=64u32).prop_flat_map(move |width| {
        (0..=bytes * 8 - width).prop_map(move |offset| Field { layout: "free", name: "field", offset, width })
    })
}

/// Any bytes, as many as the layout has.
pub fn buffer_for(layout: &Layout) -> impl Strategy<Value = Vec<u8>> + use<> {
    vec(any::<u8>(), (layout.size_bits / 8) as usize)
}

/// Any bytes, 0 to `max` of them.
pub fn any_buffer(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

/// An opcode: mostly one that is known, sometimes any number.
pub fn any_opcode() -> impl Strategy<Value = Opcode> {
    prop_oneof![
        7 => select(Opcode::ALL).prop_map(|(_, opcode)| opcode),
        1 => any::<u16>().prop_map(Opcode),
    ]
}

/// The integers and arrays of one layout.
fn integers(layout: &'static Layout) -> impl Iterator<Item = &'static FieldDesc> {
    layout.fields.iter().filter(|desc| matches!(desc.kind, Kind::Uint | Kind::Array { .. }))
}

/// The integers and arrays of all layouts.
fn all_fields() -> Vec<(&'static Layout, &'static FieldDesc)> {
    let mut fields = Vec::new();
    for layout in layout::ALL {
        fields.extend(integers(layout).map(|desc| (*layout, desc)));
    }
    fields
}

/// The field of a row; for an array, one of its elements.
fn element(layout: &'static Layout, desc: &FieldDesc, index: u32) -> Field {
    let (offset, width) = match desc.kind {
        Kind::Array { element, count } => {
            let index = count.map_or(index, |count| index % count.max(1));
            (desc.offset + index * element, element)
        }
        _ => (desc.offset, desc.width),
    };
    Field { layout: layout.name, name: desc.name, offset, width }
}
