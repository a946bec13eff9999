//! The judge judged: a made-up header that agrees with made-up tables, and one planted difference
//! at a time. The parser's own cases stand below.

use mlx5_twin_fw_cmds::layout::{FieldDesc, Kind, Layout, Source};

use super::compare::{Difference, Report};
use super::header::{Header, Shape, Style};

const HEADER: &str = "
    /* struct mlx5_ifc_ghost_bits { u8 none[0x20]; }; */
    #define MLX5_BLOCK_SIZE (1 << 9) // bytes
    #define MLX5_TWICE(x) (2 * (x))
    enum {
        MLX5_OP_FIRST   = 0x100,
        MLX5_OP_SECOND,
        MLX5_OP_BIT     = 1UL << 13,
        MLX5_OP_SUM     = MLX5_OP_FIRST + BIT(3) | (u64)1,
        MLX5_OP_UNKNOWN = sizeof(int),
        MLX5_OP_AFTER,
    };
    struct mlx5_ifc_inner_bits {
        u8 low[0x8]; u8 reserved_at_8[0x18];
    };
    struct mlx5_ifc_other_bits { u8 low[0x20]; };
    struct mlx5_ifc_sample_in_bits {
        u8         opcode[0x10];
        u8         reserved_at_10[0x10];
        struct     mlx5_ifc_inner_bits inner;
        u8         mask[4][0x40];
        union {
            struct mlx5_ifc_inner_bits first;
            u8     second[0x20];
        } param;
        union {
            u8     key_raw[0x40];
            u8     key[2][0x20];
        };
        u8         pas[][0x40];
    };
    struct mlx5_part {
        u8      kind;
        __be32  number;
    };
    struct mlx5_entry {
        u8               type;
        u8               rsvd0[3];
        __be64           address;
        struct mlx5_part part;
        u8               data[MLX5_BLOCK_SIZE];
    };
    struct mlx5_tight { u8 kind; __be32 number; } __packed;
    static inline int mlx5_ignored(void) { return 1; }
";

const INNER: &Layout = &Layout {
    name: "inner",
    size_bits: 0x20,
    source: Source::KernelIfc("made_up.h"),
    fields: &[field("low", 0, 8, Kind::Uint)],
};

const SAMPLE: &Layout = &Layout {
    name: "sample_in",
    size_bits: 0x1a0,
    source: Source::KernelIfc("made_up.h"),
    fields: &[
        field("opcode", 0, 0x10, Kind::Uint),
        field("inner", 0x20, 0x20, Kind::Nested(INNER)),
        field("mask", 0x40, 0x100, Kind::Array { element: 0x40, count: Some(4) }),
        field("param", 0x140, 0x20, Kind::Uint),
        field("key_raw", 0x160, 0x40, Kind::Uint),
        field("key", 0x160, 0x40, Kind::Array { element: 0x20, count: Some(2) }),
        field("pas", 0x1a0, 0, Kind::Array { element: 0x40, count: None }),
    ],
};

const ENTRY: &Layout = &Layout {
    name: "entry",
    size_bits: 0x10c0,
    source: Source::KernelDevice("made_up.h"),
    fields: &[
        field("type", 0, 8, Kind::Uint),
        field("address", 0x40, 0x40, Kind::Uint),
        field("part", 0x80, 0x40, Kind::Bytes),
        field("data", 0xc0, 0x1000, Kind::Bytes),
    ],
};

const fn field(name: &'static str, offset: u32, width: u32, kind: Kind) -> FieldDesc {
    FieldDesc { name, offset, width, kind }
}

fn header(text: &str) -> Header {
    let mut header = Header::default();
    header.add(text);
    header
}

/// Both layouts and two constants beside a header.
fn differences(text: &str) -> Vec<Difference> {
    let header = header(text);
    let mut report = Report::default();
    for layout in [INNER, SAMPLE, ENTRY] {
        report.layout(&header, layout);
    }
    report.constant(&header, "MLX5_OP_FIRST", 0x100);
    report.constant(&header, "MLX5_OP_SECOND", 0x101);
    let table = ["MLX5_OP_FIRST", "MLX5_OP_SECOND", "MLX5_OP_BIT", "MLX5_OP_SUM", "MLX5_OP_UNKNOWN"];
    report.complete_enum(&header, "MLX5_OP_FIRST", &table, &["MLX5_OP_AFTER"]);
    report.differences
}

/// What the judge says, a difference on each line, after `from` in the header became `to`.
fn planted(from: &str, to: &str) -> Vec<String> {
    assert_eq!(HEADER.matches(from).count(), 1, "{from:?} must be in the header once");
    differences(&HEADER.replace(from, to)).iter().map(ToString::to_string).collect()
}

#[test]
fn no_difference_is_found_where_there_is_none() {
    assert_eq!(differences(HEADER), []);
}

#[test]
fn a_moved_field_is_found() {
    let (from, to) = ("u8 low[0x8]; u8 reserved_at_8[0x18];", "u8 reserved_at_0[0x18]; u8 low[0x8];");
    assert_eq!(planted(from, to), ["inner.low: offset 0x0, in the header 0x18"]);
    let moved = planted("rsvd0[3];", "rsvd0[8];");
    let fields = ["size", "address", "part", "data"];
    assert_eq!(moved.len(), fields.len(), "{moved:?}");
}

#[test]
fn a_changed_width_is_found() {
    let wider = planted("reserved_at_10[0x10];", "reserved_at_14[0xc];");
    assert_eq!(wider.len(), 7, "{wider:?}");
    let wider = planted("u8         opcode[0x10];\n        u8         reserved_at_10[0x10];", "u8 opcode[0x20];");
    assert_eq!(wider, ["sample_in.opcode: width 0x10, in the header 0x20"]);
    let count = planted("mask[4][0x40];", "mask[2][0x80];");
    assert_eq!(count.len(), 1, "{count:?}");
    assert!(count[0].starts_with("sample_in.mask: Array"), "{count:?}");
    let typed = planted("u8               type;\n        u8               rsvd0[3];", "__be32 type;");
    assert_eq!(typed, ["entry.type: width 0x8, in the header 0x20"]);
}

#[test]
fn a_missing_or_new_field_is_found() {
    let renamed = planted("opcode[0x10]", "op_code[0x10]");
    assert_eq!(renamed, ["sample_in.opcode: not in the header", "sample_in.op_code: not in the table"]);
    let new = planted("u8         reserved_at_10[0x10];", "u8 uid[0x10];");
    assert_eq!(new, ["sample_in.uid: not in the table"]);
}

#[test]
fn a_changed_array_or_nested_struct_is_found() {
    let fixed = planted("pas[][0x40]", "pas[0x40]");
    assert_eq!(fixed.len(), 3, "{fixed:?}");
    let other = planted("mlx5_ifc_inner_bits inner;", "mlx5_ifc_other_bits inner;");
    assert_eq!(other.len(), 1, "{other:?}");
    assert!(other[0].starts_with("sample_in.inner: Nested"), "{other:?}");
}

#[test]
fn a_missing_struct_is_found() {
    let gone = planted("struct mlx5_ifc_sample_in_bits {", "struct mlx5_ifc_simple_in_bits {");
    assert_eq!(gone, ["sample_in: the header has no such struct"]);
    let unreadable = planted("__be64           address;", "atomic_t address;");
    assert_eq!(unreadable, ["entry: can't read the header: mlx5_entry: unknown type atomic_t"]);
}

#[test]
fn a_changed_or_missing_constant_is_found() {
    let value = planted("MLX5_OP_FIRST   = 0x100", "MLX5_OP_FIRST = 0x200");
    assert_eq!(value, ["MLX5_OP_FIRST: 0x100, in the header 0x200", "MLX5_OP_SECOND: 0x101, in the header 0x201"]);
    let renamed = planted("MLX5_OP_SECOND,", "MLX5_OP_THIRD,");
    assert_eq!(renamed, ["MLX5_OP_SECOND: not in the header", "MLX5_OP_THIRD: not in the table"]);
    let new = planted("MLX5_OP_AFTER,", "MLX5_OP_AFTER, MLX5_OP_LAST");
    assert_eq!(new, ["MLX5_OP_LAST: not in the table"]);
}

#[test]
fn constants_are_computed() {
    let header = header(HEADER);
    for (name, value) in [
        ("MLX5_BLOCK_SIZE", Some(512)),
        ("MLX5_TWICE", None),
        ("MLX5_OP_SECOND", Some(0x101)),
        ("MLX5_OP_BIT", Some(0x2000)),
        ("MLX5_OP_SUM", Some(0x109)),
        ("MLX5_OP_UNKNOWN", None),
        ("MLX5_OP_AFTER", None),
    ] {
        assert_eq!(header.value(name), value, "{name}");
    }
}

#[test]
fn c_structs_are_placed_as_c_places_them() {
    let header = header(HEADER);
    let offsets = |name| {
        let found = header.find(name, Style::C).unwrap().unwrap();
        let offsets: Vec<_> = found.members.iter().map(|member| member.offset).collect();
        (offsets, found.size)
    };
    assert_eq!(offsets("mlx5_part"), (vec![0, 32], 64));
    assert_eq!(offsets("mlx5_tight"), (vec![0, 8], 40));
    assert_eq!(offsets("mlx5_entry"), (vec![0, 8, 64, 128, 192], 192 + 4096));
}

#[test]
fn members_of_unnamed_unions_are_members_of_the_parent() {
    let header = header(HEADER);
    let sample = header.find("mlx5_ifc_sample_in_bits", Style::Bits).unwrap().unwrap();
    let key = sample.members.iter().find(|member| member.name == "key").unwrap();
    assert_eq!((key.offset, key.width), (0x160, 0x40));
    assert_eq!(key.shape, Shape::Array { element: 0x20, count: Some(2) });
}

#[test]
fn comments_hide_what_is_in_them() {
    assert_eq!(header(HEADER).find("mlx5_ifc_ghost_bits", Style::Bits), Ok(None));
}
