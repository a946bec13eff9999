//! What a layout table is made of: the data behind it and the macro that reads its rows.

use core::fmt;

use crate::field::{Bytes, Field, FieldArray};

/// Where the numbers of a layout come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A `struct mlx5_ifc_*_bits` of this kernel header in `include/linux/mlx5/`.
    KernelIfc(&'static str),
    /// A C struct of this kernel header in `include/linux/mlx5/`, its members big-endian.
    KernelDevice(&'static str),
    /// A C struct of this kernel header in `include/rdma/`, its members big-endian.
    KernelRdma(&'static str),
    /// This source file of the kernel's driver; no installed header has it.
    KernelDriver(&'static str),
    /// This file of rdma-core.
    RdmaCore(&'static str),
    /// This project. Nothing public describes it.
    Ours,
}

/// One layout as data: to print it, to find a field by name, to judge it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Name of the layout's module.
    pub name: &'static str,
    /// Size in bits, without the elements of an array that has no fixed end.
    pub size_bits: u32,
    /// Where the numbers come from.
    pub source: Source,
    /// The named fields, in the header's order.
    pub fields: &'static [FieldDesc],
}

/// One row of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDesc {
    /// Name in the header's spelling.
    pub name: &'static str,
    /// Bits from the most significant bit of the layout's first byte.
    pub offset: u32,
    /// Width in bits: of all elements of an array together, 0 for one without a fixed end.
    pub width: u32,
    /// What the bits are.
    pub kind: Kind,
}

/// What the bits of a [`FieldDesc`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An unsigned integer.
    Uint,
    /// Integers in a row.
    Array {
        /// Width of one element in bits.
        element: u32,
        /// Number of elements; `None` if the array goes on to the end of the command.
        count: Option<u32>,
    },
    /// Whole bytes.
    Bytes,
    /// Another layout.
    Nested(&'static Layout),
}

impl Layout {
    /// The row of that name, in the header's spelling.
    #[must_use]
    pub fn desc(&self, name: &str) -> Option<&'static FieldDesc> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The integer field of that name, in the header's spelling; `None` if there is none or it is
    /// not a single integer. A field of a nested layout is named by its path:
    /// `transport_page_fault_scheme_cap.rc_odp_caps.send`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Field> {
        if let Some((outer, inner)) = name.split_once('.') {
            let outer = self.desc(outer)?;
            let Kind::Nested(nested) = outer.kind else { return None };
            return Some(nested.field(inner)?.within(outer.offset));
        }
        let desc = self.desc(name)?;
        let Kind::Uint = desc.kind else { return None };
        Some(Field { layout: self.name, name: desc.name, offset: desc.offset, width: desc.width })
    }
}

/// The table, one line for each field: offset and width in hex bits, then the name.
impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({:#x} bits, {:?})", self.name, self.size_bits, self.source)?;
        self.fields.iter().try_for_each(|field| writeln!(f, "{field}"))
    }
}

impl fmt::Display for FieldDesc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:#06x} {:#06x} {}", self.offset, self.width, self.name)?;
        match self.kind {
            Kind::Uint => Ok(()),
            Kind::Array { element, count: Some(count) } => write!(f, "[{count}][{element:#x}]"),
            Kind::Array { element, count: None } => write!(f, "[][{element:#x}]"),
            Kind::Bytes => write!(f, " (bytes)"),
            Kind::Nested(layout) => write!(f, " ({})", layout.name),
        }
    }
}

impl Field {
    /// The row this field was declared by.
    pub(crate) const fn desc(self) -> FieldDesc {
        FieldDesc { name: self.name, offset: self.offset, width: self.width, kind: Kind::Uint }
    }
}

impl FieldArray {
    /// The row this array was declared by.
    pub(crate) const fn desc(self) -> FieldDesc {
        let width = match self.count {
            Some(count) => count * self.stride,
            None => 0,
        };
        let kind = Kind::Array { element: self.width, count: self.count };
        FieldDesc { name: self.name, offset: self.offset, width, kind }
    }
}

impl Bytes {
    /// The row this region was declared by.
    pub(crate) const fn desc(self) -> FieldDesc {
        let width = self.len * 8;
        FieldDesc { name: self.name, offset: self.bits(), width, kind: Kind::Bytes }
    }

    /// The row this region was declared by, if it is a nested layout.
    pub(crate) const fn nested(self, layout: &'static Layout) -> FieldDesc {
        FieldDesc { kind: Kind::Nested(layout), ..self.desc() }
    }
}

/// Stops the compiler at a row that can't be right: an integer of no bits or of more than 64, a
/// byte region or element that does not start at a byte, a field beyond the end of its layout.
pub(super) const fn check(layout: &Layout) {
    assert!(layout.size_bits.is_multiple_of(8), "a layout has whole bytes");
    let mut i = 0;
    while i < layout.fields.len() {
        let FieldDesc { offset, width, kind, .. } = layout.fields[i];
        match kind {
            Kind::Uint => assert!(width >= 1 && width <= 64, "an integer has 1 to 64 bits"),
            Kind::Array { element, .. } => {
                assert!(element >= 1 && element <= 64, "an element has 1 to 64 bits");
            }
            Kind::Bytes | Kind::Nested(_) => {
                assert!(offset.is_multiple_of(8), "bytes start at a whole byte");
            }
        }
        assert!(offset + width <= layout.size_bits, "a field ends inside its layout");
        i += 1;
    }
}

/// The ASCII text in lower case; `N` is its length.
pub(super) const fn lower<const N: usize>(text: &str) -> [u8; N] {
    let mut out = [0; N];
    let mut i = 0;
    while i < N {
        out[i] = text.as_bytes()[i].to_ascii_lowercase();
        i += 1;
    }
    out
}

/// The bytes as text. Used in constants only, where a failure is a compile error.
pub(super) const fn text(bytes: &'static [u8]) -> &'static str {
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("an identifier is UTF-8"),
    }
}

/// Number of layouts in all groups.
pub(super) const fn count(groups: &[&[&'static Layout]]) -> usize {
    let (mut sum, mut i) = (0, 0);
    while i < groups.len() {
        sum += groups[i].len();
        i += 1;
    }
    sum
}

/// The groups one after the other; `N` is their [`count`].
pub(super) const fn flatten<const N: usize>(groups: &[&[&'static Layout]]) -> [&'static Layout; N] {
    let mut out = [groups[0][0]; N];
    let (mut n, mut i) = (0, 0);
    while i < groups.len() {
        let mut j = 0;
        while j < groups[i].len() {
            out[n] = groups[i][j];
            n += 1;
            j += 1;
        }
        i += 1;
    }
    out
}

/// Declares layouts of one source and a list of them; the rows are described in the [module](crate::layout).
macro_rules! layout {
    (
        $list:ident = $source:expr;
        $(
            $(#[$doc:meta])*
            $layout:ident $bits:literal {
                $(
                    $(#[$field_doc:meta])*
                    $name:ident $(= $spelling:literal)? $offset:literal $shape:tt $($len:literal)?;
                )*
            }
        )+
    ) => {
        $(
            $(#[$doc])*
            #[doc = concat!("\n\nSource: `", stringify!($source), "`.")]
            pub mod $layout {
                #[allow(unused_imports, reason = "not every layout has every kind of row")]
                use crate::field::{Bytes, Field, FieldArray};
                use crate::layout::Layout;

                /// Size in bytes, without the elements of an array that has no fixed end.
                pub const SIZE: usize = $bits / 8;

                /// The table as data.
                pub const LAYOUT: &Layout = &Layout {
                    name: stringify!($layout),
                    size_bits: $bits,
                    source: {
                        use crate::layout::Source::*;
                        $source
                    },
                    fields: &[$(row!(desc $name $shape $($len)?),)*],
                };

                const _: () = crate::layout::table::check(LAYOUT);

                $(
                    row! {
                        const [$(#[$field_doc])*] $layout $name $(= $spelling)?;
                        $offset $shape $($len)?
                    }
                )*
            }
        )+

        /// The layouts of this table.
        pub(super) const $list: &[&crate::layout::Layout] = &[$($layout::LAYOUT),+];
    };
}

/// One row of a layout: its constant or its description.
macro_rules! row {
    (desc $name:ident bytes $len:literal) => { $name.desc() };
    (desc $name:ident $nested:ident) => { $name.nested(crate::layout::$nested::LAYOUT) };
    (desc $name:ident $shape:tt) => { $name.desc() };

    (const [$($doc:tt)*] $layout:ident $name:ident $(= $spelling:literal)?;
        $offset:literal bytes $len:literal) => {
        $($doc)*
        #[doc = concat!(
            "\n\nBit offset `", stringify!($offset), "`, `", stringify!($len), "` bytes."
        )]
        pub const $name: Bytes = Bytes {
            layout: stringify!($layout),
            name: row!(name $name $($spelling)?),
            offset: $offset / 8,
            len: $len,
        };
    };
    (const [$($doc:tt)*] $layout:ident $name:ident $(= $spelling:literal)?;
        $offset:literal $nested:ident) => {
        $($doc)*
        #[doc = concat!(
            "\n\nBit offset `", stringify!($offset), "`, a nested [`", stringify!($nested),
            "`](crate::layout::", stringify!($nested), ")."
        )]
        pub const $name: Bytes = Bytes {
            layout: stringify!($layout),
            name: row!(name $name $($spelling)?),
            offset: $offset / 8,
            len: crate::layout::$nested::SIZE as u32,
        };
    };
    (const [$($doc:tt)*] $layout:ident $name:ident $(= $spelling:literal)?;
        $offset:literal [$width:literal]) => {
        $($doc)*
        #[doc = concat!(
            "\n\nBit offset `", stringify!($offset), "`, elements of `", stringify!($width),
            "` bits to the end of the command."
        )]
        pub const $name: FieldArray = FieldArray {
            layout: stringify!($layout),
            name: row!(name $name $($spelling)?),
            offset: $offset,
            stride: $width,
            width: $width,
            count: None,
        };
    };
    (const [$($doc:tt)*] $layout:ident $name:ident $(= $spelling:literal)?;
        $offset:literal [$width:literal; $count:literal]) => {
        $($doc)*
        #[doc = concat!(
            "\n\nBit offset `", stringify!($offset), "`, ", stringify!($count), " elements of `",
            stringify!($width), "` bits."
        )]
        pub const $name: FieldArray = FieldArray {
            layout: stringify!($layout),
            name: row!(name $name $($spelling)?),
            offset: $offset,
            stride: $width,
            width: $width,
            count: Some($count),
        };
    };
    (const [$($doc:tt)*] $layout:ident $name:ident $(= $spelling:literal)?;
        $offset:literal $width:literal) => {
        $($doc)*
        #[doc = concat!(
            "\n\nBit offset `", stringify!($offset), "`, width `", stringify!($width), "`."
        )]
        pub const $name: Field = Field {
            layout: stringify!($layout),
            name: row!(name $name $($spelling)?),
            offset: $offset,
            width: $width,
        };
    };

    (name $name:ident $spelling:literal) => { $spelling };
    (name $name:ident) => {{
        const UPPER: &str = stringify!($name);
        const LOWER: [u8; UPPER.len()] = crate::layout::table::lower(UPPER);
        crate::layout::table::text(&LOWER)
    }};
}
