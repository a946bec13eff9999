//! Holds our tables beside a header.

use std::fmt;

use mlx5_twin_fw_cmds::layout::{FieldDesc, Kind, Layout, Source};

use super::header::{Header, Member, Shape, Struct, Style};

/// What was compared and what was found.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) layouts: usize,
    pub(crate) fields: usize,
    pub(crate) constants: usize,
    pub(crate) differences: Vec<Difference>,
    /// Whether the headers of MADs are there.
    pub(crate) rdma: bool,
    /// Names of layouts whose source is no header that's there.
    pub(crate) unjudged: Vec<&'static str>,
}

/// One thing that is not as in the header. Numbers are bits, `ours` the table's, `header` the
/// header's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    NoStruct { layout: String },
    Unreadable { layout: String, reason: String },
    Size { layout: String, ours: u32, header: u32 },
    NotInHeader { layout: String, field: String },
    NotInTable { layout: String, field: String },
    Offset { layout: String, field: String, ours: u32, header: u32 },
    Width { layout: String, field: String, ours: u32, header: u32 },
    Shape { layout: String, field: String, ours: String, header: String },
    NoConstant { name: String },
    Value { name: String, ours: u64, header: u64 },
    ConstantNotInTable { name: String },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStruct { layout } => write!(f, "{layout}: the header has no such struct"),
            Self::Unreadable { layout, reason } => write!(f, "{layout}: can't read the header: {reason}"),
            Self::Size { layout, ours, header } => {
                write!(f, "{layout}: size {ours:#x}, in the header {header:#x}")
            }
            Self::NotInHeader { layout, field } => write!(f, "{layout}.{field}: not in the header"),
            Self::NotInTable { layout, field } => write!(f, "{layout}.{field}: not in the table"),
            Self::Offset { layout, field, ours, header } => {
                write!(f, "{layout}.{field}: offset {ours:#x}, in the header {header:#x}")
            }
            Self::Width { layout, field, ours, header } => {
                write!(f, "{layout}.{field}: width {ours:#x}, in the header {header:#x}")
            }
            Self::Shape { layout, field, ours, header } => {
                write!(f, "{layout}.{field}: {ours}, in the header {header}")
            }
            Self::NoConstant { name } => write!(f, "{name}: not in the header"),
            Self::Value { name, ours, header } => {
                write!(f, "{name}: {ours:#x}, in the header {header:#x}")
            }
            Self::ConstantNotInTable { name } => write!(f, "{name}: not in the table"),
        }
    }
}

impl Report {
    /// Compares a layout with the struct it is taken from, both ways: every row with its member,
    /// every member that is not reserved with its row (of an unnamed union, one member).
    pub(crate) fn layout(&mut self, header: &Header, layout: &Layout) {
        let (name, style) = match layout.source {
            Source::KernelIfc(_) => (ifc_name(layout.name), Style::Bits),
            Source::KernelDevice(_) => (c_name(header, layout.name), Style::C),
            Source::KernelRdma(_) if self.rdma => (layout.name.to_owned(), Style::C),
            _ => return self.unjudged.push(layout.name),
        };
        self.layouts += 1;
        let layout_name = layout.name.to_owned();
        match header.find(&name, style) {
            Ok(Some(theirs)) => self.compare(layout, &theirs),
            Ok(None) => self.differences.push(Difference::NoStruct { layout: layout_name }),
            Err(reason) => self.differences.push(Difference::Unreadable { layout: layout_name, reason }),
        }
    }

    fn compare(&mut self, layout: &Layout, theirs: &Struct) {
        let name = || layout.name.to_owned();
        if layout.size_bits != theirs.size {
            let (ours, header) = (layout.size_bits, theirs.size);
            self.differences.push(Difference::Size { layout: name(), ours, header });
        }
        for desc in layout.fields {
            self.fields += 1;
            match theirs.members.iter().find(|member| member.name == desc.name) {
                Some(member) => self.field(layout.name, desc, member),
                None => {
                    let field = desc.name.to_owned();
                    self.differences.push(Difference::NotInHeader { layout: name(), field });
                }
            }
        }
        for member in theirs.members.iter().filter(|member| !member.is_reserved()) {
            // Of the members of an unnamed union, which start at the same bit, one is enough.
            let mut same_place = theirs.members.iter().filter(|other| other.offset == member.offset);
            if !same_place.any(|other| layout.desc(&other.name).is_some()) {
                let field = member.name.clone();
                self.differences.push(Difference::NotInTable { layout: name(), field });
            }
        }
    }

    fn field(&mut self, layout: &str, desc: &FieldDesc, member: &Member) {
        let (layout, field) = (layout.to_owned(), desc.name.to_owned());
        if desc.offset != member.offset {
            let (layout, field) = (layout.clone(), field.clone());
            let (ours, header) = (desc.offset, member.offset);
            self.differences.push(Difference::Offset { layout, field, ours, header });
        }
        if desc.width != member.width {
            let (layout, field) = (layout.clone(), field.clone());
            let (ours, header) = (desc.width, member.width);
            self.differences.push(Difference::Width { layout, field, ours, header });
        }
        if !same_shape(desc.kind, &member.shape) {
            let (ours, header) = (format!("{:?}", desc.kind), format!("{:?}", member.shape));
            self.differences.push(Difference::Shape { layout, field, ours, header });
        }
    }

    /// Compares a constant with the enumerator or macro of that name.
    pub(crate) fn constant(&mut self, header: &Header, name: &str, ours: u64) {
        self.constants += 1;
        let name = name.to_owned();
        match header.value(&name) {
            Some(value) if value == ours => {}
            Some(header) => self.differences.push(Difference::Value { name, ours, header }),
            None => self.differences.push(Difference::NoConstant { name }),
        }
    }

    /// Checks that a table has every name of the enum that `member` is in, but for `except`.
    pub(crate) fn complete_enum(&mut self, header: &Header, member: &str, table: &[&str], except: &[&str]) {
        let Some(items) = header.enums.iter().find(|items| items.iter().any(|(name, _)| name == member)) else {
            return self.differences.push(Difference::NoConstant { name: member.to_owned() });
        };
        for (name, _) in items {
            if !table.contains(&name.as_str()) && !except.contains(&name.as_str()) {
                self.differences.push(Difference::ConstantNotInTable { name: name.clone() });
            }
        }
    }
}

/// Our rows may take anything as bytes and a union as one integer, nothing else may differ.
fn same_shape(ours: Kind, theirs: &Shape) -> bool {
    match (ours, theirs) {
        // A union of parameter words (`Record(None)`) may be taken as one integer.
        (Kind::Bytes, _) | (Kind::Uint, Shape::Uint | Shape::Record(None)) => true,
        (Kind::Array { element, count }, Shape::Array { element: e, count: c }) => element == *e && count == *c,
        (Kind::Nested(layout), Shape::Record(Some(name))) => {
            *name == ifc_name(layout.name) || name.trim_start_matches("mlx5_") == layout.name
        }
        _ => false,
    }
}

/// The header's name of a layout of bits. A layout of bits that shares its name with a C struct is
/// called `*_bits` here.
fn ifc_name(layout: &str) -> String {
    format!("mlx5_ifc_{}_bits", layout.trim_end_matches("_bits"))
}

/// The header's name of a C struct: some have the prefix, some have not.
fn c_name(header: &Header, layout: &str) -> String {
    let prefixed = format!("mlx5_{layout}");
    match header.find(&prefixed, Style::C) {
        Ok(None) => layout.to_owned(),
        _ => prefixed,
    }
}
