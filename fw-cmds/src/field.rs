//! Access to one field of a big-endian structure, safe on any buffer.
//!
//! Offsets are in bits and count as in `mlx5_ifc.h`: bit 0 is the most significant bit of the first
//! byte, so offset and width of a field can be compared with the header at a glance. Multi-byte
//! values are big-endian, as the kernel's `MLX5_GET`, `MLX5_SET`, `MLX5_GET64` and `MLX5_SET64` have
//! them.

use thiserror::Error;

/// Why a field could not be read or written. The buffer is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FieldError {
    /// The buffer ends before the field does.
    #[error("{layout}.{field} needs a buffer of {needs} bytes, this one has {has}")]
    Short {
        /// Layout of the field.
        layout: &'static str,
        /// Name of the field.
        field: &'static str,
        /// Bytes from the start of the buffer to the end of the field.
        needs: usize,
        /// Bytes the buffer has.
        has: usize,
    },
    /// The value has bits set above the width of the field.
    #[error("{layout}.{field} is {width} bits wide, {value:#x} does not fit")]
    TooLarge {
        /// Layout of the field.
        layout: &'static str,
        /// Name of the field.
        field: &'static str,
        /// Width of the field in bits.
        width: u32,
        /// The value that does not fit.
        value: u64,
    },
    /// The array has no such element.
    #[error("{layout}.{field} has {count} elements, there is no element {index}")]
    Index {
        /// Layout of the array.
        layout: &'static str,
        /// Name of the array.
        field: &'static str,
        /// The index asked for, from 0.
        index: usize,
        /// Number of elements; for an array without a fixed end, the most that 32-bit bit offsets
        /// can address.
        count: usize,
    },
}

/// An unsigned integer of 1 to 64 bits at a fixed place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// Name of the layout that declares the field.
    pub layout: &'static str,
    /// Name of the field, in the header's spelling.
    pub name: &'static str,
    /// Bits from the most significant bit of the buffer's first byte.
    pub offset: u32,
    /// Width in bits, 1 to 64.
    pub width: u32,
}

impl Field {
    /// The same field of a layout that is nested `base_bits` bits into another.
    ///
    /// ```
    /// use mlx5_twin_fw_cmds::layout::{create_eq_in, eqc};
    /// let log_eq_size = eqc::LOG_EQ_SIZE.within(create_eq_in::EQ_CONTEXT_ENTRY.bits());
    /// assert_eq!(log_eq_size.offset, 0x80 + 0x63);
    /// ```
    ///
    /// # Panics
    /// If the sum does not fit in 32 bits; in a constant that is a compile error.
    #[must_use]
    pub const fn within(self, base_bits: u32) -> Self {
        Self { offset: moved(self.offset, base_bits), ..self }
    }

    /// The largest value that fits.
    #[must_use]
    pub const fn max(self) -> u64 {
        if self.width >= 64 { u64::MAX } else { (1 << self.width) - 1 }
    }

    /// First byte the field touches.
    const fn first(self) -> usize {
        (self.offset / 8) as usize
    }

    /// Number of bytes the field touches, 1 to 9.
    const fn span(self) -> usize {
        (self.offset % 8 + self.width).div_ceil(8) as usize
    }

    /// Bytes a buffer must have to hold the field: where its last byte ends.
    #[must_use]
    pub const fn end(self) -> usize {
        self.first() + self.span()
    }

    /// Unused bits below the field in its last byte.
    const fn shift(self) -> u32 {
        (8 - (self.offset % 8 + self.width % 8) % 8) % 8
    }

    /// The value of the field.
    ///
    /// # Errors
    /// [`FieldError::Short`] if the buffer ends before the field does.
    #[inline]
    pub fn get(&self, buffer: &[u8]) -> Result<u64, FieldError> {
        let Some(window) = buffer.get(self.first()..self.end()) else {
            return Err(self.short(buffer.len()));
        };
        Ok(load(window, self.shift()) & self.max())
    }

    /// Sets the field and leaves all other bits as they are.
    ///
    /// # Errors
    /// [`FieldError::TooLarge`] if the value has more bits than the field, [`FieldError::Short`] if
    /// the buffer ends before the field does. The buffer is unchanged then.
    #[inline]
    pub fn set(&self, buffer: &mut [u8], value: u64) -> Result<(), FieldError> {
        if value > self.max() {
            return Err(self.too_large(value));
        }
        let has = buffer.len();
        let Some(window) = buffer.get_mut(self.first()..self.end()) else {
            return Err(self.short(has));
        };
        merge(window, self.shift(), self.max(), value);
        Ok(())
    }

    #[cold]
    fn short(&self, has: usize) -> FieldError {
        FieldError::Short { layout: self.layout, field: self.name, needs: self.end(), has }
    }

    #[cold]
    fn too_large(&self, value: u64) -> FieldError {
        FieldError::TooLarge { layout: self.layout, field: self.name, width: self.width, value }
    }
}

/// An offset in the outer layout. Both numbers come from tables, so a sum that is too large is a
/// fault of the program, in most places a compile error.
const fn moved(offset: u32, base: u32) -> u32 {
    match offset.checked_add(base) {
        Some(sum) => sum,
        None => panic!("a nested field ends beyond 2^32"),
    }
}

/// The big-endian number in at most 9 bytes, shifted right, its low 64 bits.
#[inline]
fn load(window: &[u8], shift: u32) -> u64 {
    match *window {
        [a] => u64::from(a) >> shift,
        [a, b] => u64::from(u16::from_be_bytes([a, b])) >> shift,
        [a, b, c] => u64::from(u32::from_be_bytes([0, a, b, c])) >> shift,
        [a, b, c, d] => u64::from(u32::from_be_bytes([a, b, c, d])) >> shift,
        [a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> shift,
        _ => (window.iter().fold(0u128, |sum, byte| sum << 8 | u128::from(*byte)) >> shift) as u64,
    }
}

/// Replaces `mask << shift` of the big-endian number in at most 9 bytes by `value << shift`.
#[inline]
fn merge(window: &mut [u8], shift: u32, mask: u64, value: u64) {
    match window {
        [a] => *a = *a & !((mask << shift) as u8) | (value << shift) as u8,
        [a, b] => {
            let old = u16::from_be_bytes([*a, *b]);
            [*a, *b] = (old & !((mask << shift) as u16) | (value << shift) as u16).to_be_bytes();
        }
        [a, b, c, d] => {
            let old = u32::from_be_bytes([*a, *b, *c, *d]);
            let new = old & !((mask << shift) as u32) | (value << shift) as u32;
            [*a, *b, *c, *d] = new.to_be_bytes();
        }
        [a, b, c, d, e, f, g, h] => {
            let old = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            let new = old & !(mask << shift) | value << shift;
            [*a, *b, *c, *d, *e, *f, *g, *h] = new.to_be_bytes();
        }
        _ => {
            let mut mask = u128::from(mask) << shift;
            let mut value = u128::from(value) << shift;
            for byte in window.iter_mut().rev() {
                *byte = *byte & !(mask as u8) | value as u8;
                mask >>= 8;
                value >>= 8;
            }
        }
    }
}

/// A row of integers of equal width, such as `pas[]` or `event_bitmask[4]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldArray {
    /// Name of the layout that declares the array.
    pub layout: &'static str,
    /// Name of the array, in the header's spelling.
    pub name: &'static str,
    /// Bits from the most significant bit of the buffer's first byte to element 0.
    pub offset: u32,
    /// Bits from one element to the next.
    pub stride: u32,
    /// Width of an element in bits, 1 to 64.
    pub width: u32,
    /// Number of elements; `None` if the array goes on to the end of the command.
    pub count: Option<u32>,
}

impl FieldArray {
    /// The same array of a layout that is nested `base_bits` bits into another.
    ///
    /// # Panics
    /// If the sum does not fit in 32 bits; in a constant that is a compile error.
    #[must_use]
    pub const fn within(self, base_bits: u32) -> Self {
        Self { offset: moved(self.offset, base_bits), ..self }
    }

    /// The element at `index`, from 0.
    ///
    /// # Errors
    /// [`FieldError::Index`] if the array has no such element.
    #[inline]
    pub fn at(&self, index: usize) -> Result<Field, FieldError> {
        if index >= self.elements() {
            return Err(self.no_element(index));
        }
        Ok(self.element(index))
    }

    /// The value of the element at `index`, from 0.
    ///
    /// # Errors
    /// [`FieldError::Index`] if there is no such element, [`FieldError::Short`] if the buffer ends
    /// before it does.
    #[inline]
    pub fn get(&self, buffer: &[u8], index: usize) -> Result<u64, FieldError> {
        if index >= self.elements() {
            return Err(self.no_element(index));
        }
        self.element(index).get(buffer)
    }

    /// Sets the element at `index`, from 0, and leaves all other bits as they are.
    ///
    /// # Errors
    /// [`FieldError::Index`] if there is no such element, else as [`Field::set`].
    #[inline]
    pub fn set(&self, buffer: &mut [u8], index: usize, value: u64) -> Result<(), FieldError> {
        if index >= self.elements() {
            return Err(self.no_element(index));
        }
        self.element(index).set(buffer, value)
    }

    /// The element at `index`, which must be below [`Self::elements`]: that keeps the offset below
    /// 2^32.
    #[inline]
    fn element(&self, index: usize) -> Field {
        let offset = self.offset + index as u32 * self.stride;
        Field { layout: self.layout, name: self.name, offset, width: self.width }
    }

    /// How many elements there are. Without a fixed end: how many have all their bits at 32-bit
    /// offsets.
    #[inline]
    fn elements(&self) -> usize {
        let addressable = (u32::MAX - self.offset) / self.stride.max(1);
        self.count.map_or(addressable, |count| count.min(addressable)) as usize
    }

    #[cold]
    fn no_element(&self, index: usize) -> FieldError {
        FieldError::Index { layout: self.layout, field: self.name, index, count: self.elements() }
    }
}

/// A run of whole bytes: inline data, a nested layout, a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bytes {
    /// Name of the layout that declares the region.
    pub layout: &'static str,
    /// Name of the region, in the header's spelling.
    pub name: &'static str,
    /// Bytes from the start of the buffer.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Bytes {
    /// Where the region starts, in bits: what the fields of a nested layout are moved by.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.offset * 8
    }

    /// The same region of a layout that is nested `base_bits` bits into another.
    ///
    /// # Panics
    /// If `base_bits` is not a whole number of bytes or the sum does not fit in 32 bits; in a
    /// constant that is a compile error.
    #[must_use]
    pub const fn within(self, base_bits: u32) -> Self {
        assert!(base_bits.is_multiple_of(8), "a byte region starts at a whole byte");
        Self { offset: moved(self.offset, base_bits / 8), ..self }
    }

    /// The bytes of the region.
    ///
    /// # Errors
    /// [`FieldError::Short`] if the buffer ends before the region does.
    #[inline]
    pub fn slice<'a>(&self, buffer: &'a [u8]) -> Result<&'a [u8], FieldError> {
        buffer.get(self.range()).ok_or_else(|| self.short(buffer.len()))
    }

    /// The bytes of the region, to write to.
    ///
    /// # Errors
    /// [`FieldError::Short`] if the buffer ends before the region does.
    #[inline]
    pub fn slice_mut<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a mut [u8], FieldError> {
        let has = buffer.len();
        buffer.get_mut(self.range()).ok_or_else(|| self.short(has))
    }

    /// The region as a range of byte indices.
    #[must_use]
    pub const fn range(self) -> core::ops::Range<usize> {
        self.offset as usize..self.offset as usize + self.len as usize
    }

    #[cold]
    fn short(&self, has: usize) -> FieldError {
        let needs = self.range().end;
        FieldError::Short { layout: self.layout, field: self.name, needs, has }
    }
}

#[cfg(test)]
mod tests;
