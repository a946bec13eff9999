//! `mlx5-twin caps`.

use std::fmt::Write;

use mlx5_twin_fw_cmds::cap::CapType;
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{FieldDesc, Kind, Layout, Source, twin_cap};
use mlx5_twin_fw_cmds::twin_v1;
use serde::Serialize;

use super::{CapsArguments, Failure, open, print, print_json};
use crate::backend::Choice;
use crate::hardware;
use crate::profile;
use crate::run;

/// All pages.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    of: Owner,
    pages: Vec<Page>,
}

/// Whose they are.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Owner {
    Profile(String),
    Device(String),
}

/// A capability page.
#[derive(Debug, Serialize)]
struct Page {
    /// Number by which QUERY_HCA_CAP names it.
    cap_type: u16,
    layout: Option<&'static str>,
    /// Where the layout is from.
    source: String,
    fields: Vec<Value>,
}

/// A field with its value.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Value {
    name: String,
    /// Offset in bits from the page's start, as in mlx5_ifc.h.
    offset: u32,
    width: u32,
    value: u64,
}

/// Shows the pages.
pub(super) fn caps(arguments: &CapsArguments) -> Result<(), Failure> {
    let choice = Choice::parse(&arguments.backend).map_err(Failure::Input)?;
    let (of, pages) = if choice == Choice::Sim { of_profile(arguments)? } else { of_device(&choice, arguments)? };
    let pages = pages.iter().map(|(cap_type, bytes)| page(*cap_type, bytes, arguments.all)).collect();
    let shown = Shown { of, pages };
    if arguments.json { print_json(&shown) } else { print(&text(&shown)) }
}

type Pages = Vec<(CapType, Vec<u8>)>;

fn of_profile(arguments: &CapsArguments) -> Result<(Owner, Pages), Failure> {
    let loaded = profile::load(arguments.profile.path.as_deref()).map_err(|error| Failure::Input(error.to_string()))?;
    let pages = run::capability_pages(&loaded.profile).map_err(|error| Failure::Input(error.to_string()))?;
    Ok((Owner::Profile(loaded.name), pages))
}

fn of_device(choice: &Choice, arguments: &CapsArguments) -> Result<(Owner, Pages), Failure> {
    let context = open(choice, &arguments.profile)?;
    let failed = |error| Failure::Run(format!("{choice}: {error}"));
    let pages = hardware::capability_pages(context.as_ref()).map_err(failed)?;
    Ok((Owner::Device(context.name()), pages))
}

/// The named fields of a page, those that are 0 only if `all`.
fn page(cap_type: CapType, bytes: &[u8], all: bool) -> Page {
    let layout = if cap_type == twin_v1::TWIN_CAP { Some(twin_cap::LAYOUT) } else { cap_type.layout() };
    let mut fields = Vec::new();
    if let Some(layout) = layout {
        collect(layout, "", 0, bytes, &mut fields);
    }
    fields.retain(|field| all || field.value != 0);
    let source = layout.map_or_else(|| "none of its fields is named here".to_owned(), |layout| source(layout.source));
    Page { cap_type: cap_type.0, layout: layout.map(|layout| layout.name), source, fields }
}

/// Adds the fields of a layout that begins `base` bits into the page.
fn collect(layout: &'static Layout, prefix: &str, base: u32, bytes: &[u8], fields: &mut Vec<Value>) {
    for &FieldDesc { name, offset, width, kind } in layout.fields {
        let offset = base + offset;
        let name = format!("{prefix}{name}");
        let mut add = |name: String, offset, width| {
            let field = Field { layout: layout.name, name: "", offset, width };
            // A page is longer than its layout; a field that it had not would not be shown.
            if let Ok(value) = field.get(bytes) {
                fields.push(Value { name, offset, width, value });
            }
        };
        match kind {
            Kind::Uint => add(name, offset, width),
            Kind::Array { element, .. } => {
                for index in 0..width / element {
                    add(format!("{name}[{index}]"), offset + index * element, element);
                }
            }
            Kind::Nested(inner) => collect(inner, &format!("{name}."), offset, bytes, fields),
            Kind::Bytes => {}
        }
    }
}

fn source(source: Source) -> String {
    match source {
        Source::KernelIfc(file) | Source::KernelDevice(file) | Source::KernelRdma(file) => format!("Linux {file}"),
        Source::KernelDriver(file) => format!("Linux driver, {file}"),
        Source::RdmaCore(file) => format!("rdma-core {file}"),
        Source::Ours => "ours".to_owned(),
    }
}

/// Where a field lies: the byte offset of its dword (or of its first byte, if it's longer), and its bits there, 31 being the first.
fn place(Value { offset, width, .. }: &Value) -> (u32, u32, u32) {
    let before = offset % 32;
    if before + width <= 32 {
        let high = 31 - before;
        (offset / 32 * 4, high, high + 1 - width)
    } else {
        (offset / 8, width - 1, 0)
    }
}

fn text(shown: &Shown) -> String {
    let of = match &shown.of {
        Owner::Profile(name) => format!("Profile {name}"),
        Owner::Device(name) => name.clone(),
    };
    let mut text = format!("{of}: {} capability pages\n", shown.pages.len());
    // Writing to a string doesn't fail.
    for Page { cap_type, layout, source, fields } in &shown.pages {
        let name = CapType(*cap_type).name().unwrap_or(if *cap_type == twin_v1::TWIN_CAP.0 { "TWIN" } else { "?" });
        let _ = writeln!(text, "\n{cap_type:#05x} {name}: {} ({source})", layout.unwrap_or("no layout"));
        if fields.is_empty() {
            text.push_str("  all fields are 0\n");
            continue;
        }
        let width = fields.iter().map(|field| field.name.len()).max().unwrap_or(0);
        let _ = writeln!(text, "  byte   bits   {:<width$}  value", "field");
        for field in fields {
            let (byte, high, low) = place(field);
            let bits = if high == low { high.to_string() } else { format!("{high}:{low}") };
            let hex = if field.value < 10 { String::new() } else { format!(" ({:#x})", field.value) };
            let _ = writeln!(text, "  {byte:#05x}  {bits:<5}  {:<width$}  {}{hex}", field.name, field.value);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlx5_twin_fw_cmds::layout::{cmd_hca_cap, odp_cap, odp_per_transport_service_cap, odp_scheme_cap};

    fn field(name: &str, offset: u32, width: u32, value: u64) -> Value {
        Value { name: name.to_owned(), offset, width, value }
    }

    #[test]
    fn places_as_in_the_reference_manuals() {
        // vhca_id is bits 15:0 of the second dword, node_desc-like 64-bit fields count from their first byte.
        let cases =
            [((0x30, 0x10), (4, 15, 0)), ((0x41, 1), (8, 30, 30)), ((0x40, 0x40), (8, 63, 0)), ((0x33, 5), (4, 12, 8))];
        for ((offset, width), expected) in cases {
            assert_eq!(place(&field("", offset, width, 0)), expected);
        }
    }

    #[test]
    fn shows_what_is_in_the_page() {
        let mut bytes = vec![0; 4096];
        cmd_hca_cap::VHCA_ID.set(&mut bytes, 7).unwrap();
        cmd_hca_cap::LOG_MAX_QP.set(&mut bytes, 17).unwrap();
        let shown = page(CapType::GENERAL, &bytes, false);
        let names: Vec<_> = shown.fields.iter().map(|field| (field.name.as_str(), field.value)).collect();
        assert_eq!(names, [("vhca_id", 7), ("log_max_qp", 17)]);
        assert_eq!((shown.layout, shown.source.as_str()), (Some("cmd_hca_cap"), "Linux mlx5_ifc.h"));
        assert!(page(CapType::GENERAL, &bytes, true).fields.len() > 300);
    }

    #[test]
    fn nested_and_array_fields_have_paths() {
        let mut bytes = vec![0; 4096];
        let rc = odp_cap::TRANSPORT_PAGE_FAULT_SCHEME_CAP.bits() + odp_scheme_cap::RC_ODP_CAPS.bits();
        odp_per_transport_service_cap::SEND.within(rc).set(&mut bytes, 1).unwrap();
        let shown = page(CapType::ODP, &bytes, false);
        assert_eq!(shown.fields, [field("transport_page_fault_scheme_cap.rc_odp_caps.send", rc, 1, 1)]);
        bytes[..16].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        let events = page(CapType::DEV_EVENT, &bytes, false);
        assert_eq!(events.fields[0], field("user_affiliated_events[1]", 64, 64, 9));
    }

    #[test]
    fn an_unknown_page_says_so() {
        let shown = page(CapType(0x123), &[1; 4096], true);
        assert_eq!((shown.layout, shown.fields.len()), (None, 0));
    }
}
