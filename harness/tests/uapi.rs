//! The judge of the backend `uverbs`: its numbers beside the kernel's own headers `include/uapi/rdma/`.
//!
//! The headers are not part of the project. They are those of the folder `MLX5_TWIN_UAPI`, or of Debian's `linux-libc-dev` (`/usr/include/rdma`). Without them
//! nothing is compared, and the test says so.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mlx5_twin_harness::backend::uverbs::abi;

const FILES: &[&str] = &[
    "ib_user_ioctl_cmds.h",
    "ib_user_ioctl_verbs.h",
    "rdma_user_ioctl_cmds.h",
    "mlx5-abi.h",
    "mlx5_user_ioctl_cmds.h",
    "mlx5_user_ioctl_verbs.h",
];

/// What older headers may lack; those of Linux 7.3.4 have it.
const NEW: &[&str] = &["MLX5_IB_ATTR_VAR_OBJ_ALLOC_FLAGS", "MLX5_IB_UAPI_VAR_ALLOC_FLAG_TLP"];

/// Numbers that aren't of the tables.
const OTHERS: &[(&str, u64)] = &[
    ("RDMA_DRIVER_MLX5", abi::RDMA_DRIVER_MLX5 as u64),
    ("UVERBS_ATTR_F_MANDATORY", abi::ATTR_F_MANDATORY as u64),
    ("MLX5_IB_ALLOC_UCTX_DEVX", abi::ALLOC_UCTX_DEVX as u64),
    ("MLX5_LIB_CAP_4K_UAR", abi::LIB_CAPS & 1),
    ("MLX5_LIB_CAP_DYN_UAR", abi::LIB_CAPS & 2),
    ("IB_UVERBS_ACCESS_LOCAL_WRITE", abi::ACCESS_LOCAL_WRITE as u64),
    ("MLX5_IB_UAPI_VAR_ALLOC_FLAG_TLP", abi::VAR_ALLOC_FLAG_TLP as u64),
    ("MLX5_IB_UAPI_UAR_ALLOC_TYPE_BF", abi::UAR_ALLOC_TYPE_BF),
    ("MLX5_IB_UAPI_UAR_ALLOC_TYPE_NC", abi::UAR_ALLOC_TYPE_NC),
    ("MLX5_IB_UAPI_DEVX_CR_EV_CH_FLAGS_OMIT_DATA", abi::EVENT_CHANNEL_OMIT_DATA as u64),
];

/// Structs, and their bytes.
const STRUCTS: &[(&str, usize)] = &[
    ("ib_uverbs_ioctl_hdr", 24),
    ("mlx5_ib_alloc_ucontext_req_v2", 32),
    ("mlx5_ib_alloc_ucontext_resp", abi::ALLOC_UCONTEXT_RESP),
    ("mlx5_ib_uapi_devx_async_cmd_hdr", 8),
];

/// Writes past the test harness, which hides what a passing test prints.
fn say(text: &str) {
    // Standard error is gone: nobody to tell.
    let _ = writeln!(io::stderr(), "judge: {text}");
}

fn headers() -> Option<PathBuf> {
    let complete = |folder: &Path| FILES.iter().all(|file| folder.join(file).is_file());
    if let Some(folder) = env::var_os("MLX5_TWIN_UAPI") {
        let folder = PathBuf::from(folder);
        assert!(complete(&folder), "MLX5_TWIN_UAPI is {}, which does not hold {FILES:?}", folder.display());
        return Some(folder);
    }
    Some(PathBuf::from("/usr/include/rdma")).filter(|folder| complete(folder))
}

/// A header without its comments.
fn stripped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/*") {
        out.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}

/// What the headers define.
#[derive(Debug, Default)]
struct Header {
    numbers: BTreeMap<String, u64>,
    /// By name, the bytes of their fields: none has holes.
    structs: BTreeMap<String, usize>,
}

impl Header {
    /// `(1U << UVERBS_ID_NS_SHIFT)`, `0x10`, another number's name.
    fn value(&self, text: &str) -> Option<u64> {
        let text: String = text.replace("(__u64)", "").chars().filter(|c| !c.is_whitespace()).collect();
        let text = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(&text);
        if let Some((left, right)) = text.split_once("<<") {
            return Some(self.value(left)? << self.value(right)?);
        }
        if let Some(number) = self.numbers.get(text) {
            return Some(*number);
        }
        let digits = text.trim_end_matches(['U', 'L']);
        match digits.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => digits.parse().ok(),
        }
    }

    fn add(&mut self, text: &str) {
        let text = stripped(text);
        for line in text.lines().filter_map(|line| line.strip_prefix("#define ")) {
            if let Some((name, value)) = line.split_once(char::is_whitespace)
                && let Some(value) = self.value(value.trim())
            {
                self.numbers.insert(name.to_owned(), value);
            }
        }
        for block in text.split("enum ").skip(1) {
            let Some((_, body)) = block.split_once('{') else { continue };
            let mut next = 0;
            for entry in body.split('}').next().unwrap_or_default().split(',') {
                let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
                if name.trim().is_empty() {
                    continue;
                }
                // An expression that isn't understood is no number, and what follows it neither.
                let value = if value.is_empty() { Some(next) } else { self.value(value) };
                let Some(value) = value else { break };
                self.numbers.insert(name.trim().to_owned(), value);
                next = value + 1;
            }
        }
        for block in text.split("struct ").skip(1) {
            let Some((name, body)) = block.split_once('{') else { continue };
            let width = |field: &str| match field.split_whitespace().next() {
                Some(_) if field.contains('[') => 0,
                Some("__u8") => 1,
                Some("__u16") => 2,
                Some("__u32") => 4,
                Some("__aligned_u64" | "__s64") => 8,
                _ => 0,
            };
            let bytes = body.split('}').next().unwrap_or_default().split(';').map(width).sum();
            self.structs.insert(name.trim().to_owned(), bytes);
        }
    }
}

#[test]
fn numbers_agree_with_the_kernels_headers() {
    let Some(folder) = headers() else {
        say(
            "SKIPPED, nothing was compared: no headers in MLX5_TWIN_UAPI or /usr/include/rdma (Debian's linux-libc-dev)",
        );
        return;
    };
    let mut header = Header::default();
    for file in FILES {
        header.add(&fs::read_to_string(folder.join(file)).expect("is there"));
    }
    let tables = abi::CORE.iter().chain(abi::MLX5).map(|number| (number.name, u64::from(number.value)));
    let (mut compared, mut missing) = (0, Vec::new());
    for (name, value) in tables.chain(OTHERS.iter().copied()) {
        match header.numbers.get(name) {
            Some(found) => assert_eq!((value, name), (*found, name)),
            None => missing.push(name),
        }
        compared += 1;
    }
    for (name, bytes) in STRUCTS {
        assert_eq!(header.structs.get(*name), Some(bytes), "struct {name}");
    }
    assert!(missing.iter().all(|name| NEW.contains(name)), "not in the headers: {missing:?}");
    assert!(compared > 75, "only {compared} numbers compared");
    say(&format!(
        "{compared} numbers and {} structs compared with {}; not in it: {missing:?}",
        STRUCTS.len(),
        folder.display()
    ));
}

/// The judge can fail.
#[test]
fn a_header_is_read() {
    let mut header = Header::default();
    header.add(
        "#define SHIFT 12\n/* enum none { NO, }; */ enum a { A, B = (1U << SHIFT), C, /* D, */ E = 0x10, F = B, };\n\
         struct s { __u32 length; __aligned_u64 data[]; __u16 x; };",
    );
    let numbers: Vec<_> = header.numbers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(numbers, [("A", 0), ("B", 4096), ("C", 4097), ("E", 16), ("F", 4096), ("SHIFT", 12)]);
    assert_eq!(header.structs.get("s"), Some(&6));
}
