//! Each field out of its range, and files that are no profile.

use proptest::prelude::*;

use super::*;

/// The built-in profile with one line changed: everything after `field = ` in `section`, or the section's first line, where the field
/// is added.
fn changed(section: &str, field: &str, value: &str) -> (String, usize) {
    let mut lines: Vec<String> = DEFAULT.lines().map(str::to_owned).collect();
    let heading = format!("[{section}]");
    let first = lines.iter().position(|line| *line == heading).unwrap_or_else(|| panic!("no {heading}"));
    let end = lines[first + 1..].iter().position(|line| line.starts_with('[')).map_or(lines.len(), |at| first + 1 + at);
    let entry = format!("{field} = ");
    match lines[first..end].iter().position(|line| line.starts_with(&entry)) {
        Some(at) => lines[first + at] = entry + value,
        None => lines.insert(first + 1, entry + value),
    }
    let line = 1 + lines.iter().position(|line| *line == format!("{field} = {value}")).unwrap();
    (lines.join("\n"), line)
}

fn error(text: &str) -> String {
    parse("test", "test.toml", text).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn the_default_is_right() {
    let loaded = load(None).unwrap();
    assert_eq!((loaded.name.as_str(), loaded.hash), (DEFAULT_NAME, Fnv1a::of(DEFAULT.as_bytes())));
}

/// Section, field, a value that is wrong, and what the error must say beside file and line.
const WRONG: &[(&str, &str, &str, &str)] = &[
    ("device", "vendor_id", "65536", "device.vendor_id: invalid value: integer `65536`: allowed is 0 to 65535"),
    ("device", "device_id", "-1", "device.device_id: invalid value: integer `-1`: allowed is 0 to 65535"),
    ("device", "revision", "256", "device.revision: invalid value: integer `256`: allowed is 0 to 255"),
    ("device", "class_code", "0x1000000", "device.class_code = "),
    ("device", "firmware_version", "\"32.43\"", "device.firmware_version = 32.43"),
    ("device", "firmware_version", "32", "device.firmware_version: invalid type: integer `32`"),
    ("device", "bar0_size", "0x3000000", "device.bar0_size = "),
    ("device", "bar0_size", "0x80000000", "device.bar0_size = "),
    ("device", "msix_vectors", "0", "device.msix_vectors = 0"),
    ("device", "msix_vectors", "2049", "device.msix_vectors = 2049"),
    ("device", "log_cmdq_size", "6", "device.log_cmdq_size = 6"),
    ("device", "log_cmdq_stride", "5", "device.log_cmdq_stride = 5"),
    ("device", "log_cmdq_stride", "8", "device.log_cmdq_stride = "),
    ("device", "first_uar", "0", "device.first_uar = 0"),
    ("capabilities.general", "log_max_uctx", "17", "capabilities.general.log_max_uctx = 17"),
    ("capabilities.general", "log_max_qp", "32", "capabilities.general.log_max_qp = 0x20: the field has 5 bits"),
    ("capabilities.general", "log_max_qp", "-1", "capabilities.general.log_max_qp: "),
    ("capabilities.general", "log_max_pigs", "1", "capabilities.general.log_max_pigs: cmd_hca_cap"),
    ("capabilities.general", "max_num_eqs", "256", "capabilities.general.max_num_eqs = "),
    (
        "capabilities.virtio_emulation",
        "log_doorbell_stride",
        "11",
        "capabilities.virtio_emulation.log_doorbell_stride = 11",
    ),
    (
        "capabilities.tlp_emulation",
        "tlp_rsp_gw_num_pages",
        "16",
        "capabilities.tlp_emulation.tlp_rsp_gw_num_pages = 0x10",
    ),
    ("capabilities.tlp_emulation", "tlp_rsp_gw_pages_bar_offset", "0x4000000", "BAR0 ends at"),
    ("capabilities.event", "user_affiliated_events", "[1]", "capabilities.event.user_affiliated_events: "),
    ("pages", "boot", "-1", "pages.boot = -1"),
    ("pages", "init", "1048577", "pages.init = 1048577: allowed is 0 to 1048576"),
    ("firmware_timing", "command_ns", "-1", "firmware_timing.command_ns: "),
    ("firmware_timing.commands", "MAKE_COFFEE", "1", "firmware_timing.commands.MAKE_COFFEE: "),
    ("topology", "max_payload", "64", "topology.max_payload = 64 is out of range: 128, 256, 512, 1024, 2048 or 4096"),
    ("topology", "max_payload", "8192", "topology.max_payload = 8192"),
    ("topology", "max_read_request", "100", "topology.max_read_request = 100"),
    ("topology", "read_completion_boundary", "32", "topology.read_completion_boundary = 32 is out of range: 64 or 128"),
    ("topology", "downstream_ports", "0", "topology.downstream_ports = 0 is out of range: 1 to 32"),
    ("topology", "downstream_ports", "33", "topology.downstream_ports = 33"),
    ("topology", "static_functions", "2", "topology.static_functions = 2 is out of range: 0 to downstream_ports"),
    (
        "topology",
        "hotplug_ports",
        "1",
        "topology.hotplug_ports = 1 is out of range: 0 to downstream_ports less static_functions",
    ),
    ("timing", "link_training_us", "0", "timing.link_training_us = 0 is out of range: 1 to 1000000"),
    ("timing", "slot_command_us", "1000001", "timing.slot_command_us = 1000001"),
    ("topology.host", "memory_mib", "15", "topology.host.memory_mib = 15 is out of range: 16 to 2048"),
    ("topology.dpu", "memory_mib", "2049", "topology.dpu.memory_mib = 2049"),
    ("topology.host.link", "generation", "0", "topology.host.link.generation = 0"),
    ("topology.host.link", "generation", "6", "topology.host.link.generation = 6 is out of range: 1 to 5"),
    ("topology.dpu.link", "lanes", "3", "topology.dpu.link.lanes = 3"),
    (
        "topology.internal_link",
        "lanes",
        "300",
        "topology.internal_link.lanes: invalid value: integer `300`: allowed is 0 to 255",
    ),
    ("topology.host.link", "propagation", "{ min_ps = 2, max_ps = 1 }", "topology.host.link.propagation.min_ps = 2"),
    ("topology.host.link", "propagation", "{ min_ps = 2 }", "topology.host.link.propagation: missing field `max_ps`"),
    (
        "topology.host.link",
        "propagation",
        "{ min_ps = 0, max_ps = 1000000001 }",
        "topology.host.link.propagation.max_ps = 1000000001",
    ),
    ("topology.host.link.credits", "posted_headers", "128", "topology.host.link.credits.posted_headers = 128"),
    ("topology.host.link.credits", "posted_data", "15", "topology.host.link.credits.posted_data = 15"),
    ("topology.dpu.link.credits", "nonposted_headers", "128", "topology.dpu.link.credits.nonposted_headers = 128"),
    ("topology.dpu.link.credits", "nonposted_data", "7", "topology.dpu.link.credits.nonposted_data = 7"),
    (
        "topology.internal_link.credits",
        "completion_headers",
        "128",
        "topology.internal_link.credits.completion_headers = 128",
    ),
    (
        "topology.internal_link.credits",
        "completion_data",
        "2048",
        "topology.internal_link.credits.completion_data = 2048",
    ),
    ("timing", "endpoint_ns", "10001", "timing.endpoint_ns = 10001 is out of range: 0 to 10000"),
    ("timing", "switch_ns", "10001", "timing.switch_ns = 10001"),
    (
        "timing",
        "root_complex_ns",
        "-5",
        "timing.root_complex_ns: invalid value: integer `-5`: allowed is 0 to 9223372036854775807",
    ),
    ("timing", "memory_read_ns", "100001", "timing.memory_read_ns = 100001"),
    ("timing", "update_fc_ns", "100001", "timing.update_fc_ns = 100001"),
    ("timing", "completion_timeout_us", "49", "timing.completion_timeout_us = 49 is out of range: 50 to 64000000"),
    ("timing", "dllp_permille", "501", "timing.dllp_permille = 501"),
    ("timing", "poll_ns", "0", "timing.poll_ns = 0 is out of range: 1 to 1000000"),
    ("timing", "poll_ns", "1.5", "timing.poll_ns: invalid type: floating point `1.5`"),
    ("timing", "coffee_ns", "1", "timing.coffee_ns: unknown field `coffee_ns`, expected one of `endpoint_ns`"),
    ("topology.host", "cables", "1", "topology.host.cables: unknown field `cables`"),
];

#[test]
fn each_field_out_of_range_is_named_with_file_and_line() {
    for (section, field, value, expected) in WRONG {
        let (text, line) = changed(section, field, value);
        let error = error(&text);
        assert!(error.contains(expected), "{section}.{field} = {value}: {error}");
        assert!(error.starts_with(&format!("test.toml:{line}: ")), "{section}.{field} = {value}, line {line}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

/// What two fields break together has the line of the one that is named first.
#[test]
fn overlaps_name_both_fields() {
    let (text, _) = changed("capabilities.virtio_emulation", "doorbell_bar_offset", "0x2000000");
    let error = error(&text);
    let line = 1 + text.lines().position(|line| line.starts_with("tlp_rsp_gw_pages_bar_offset = ")).unwrap();
    assert!(error.starts_with(&format!("test.toml:{line}: ")), "{error}");
    assert!(error.contains("tlp_rsp_gw_pages_bar_offset") && error.contains("doorbell_bar_offset"), "{error}");
}

#[test]
fn no_toml_and_missing_sections() {
    assert!(error("[device]\nvendor_id = = 1\n").starts_with("test.toml:2: "));
    assert!(error("[timing]\n[timing]\n").starts_with("test.toml:2: "));
    assert!(parse("empty", "empty.toml", "").is_ok(), "each section has defaults");
    let known = "there is no section \"weather\", only device, port, ethernet, capabilities, pages, firmware_timing, timeouts, topology, fabric, timing, faults";
    assert_eq!(error("[timing]\npoll_ns = 0\n[weather]\n"), format!("test.toml:3: {known}"));
    let deep = format!("a = {}", "[".repeat(100_000));
    assert!(error(&deep).starts_with("test.toml:1: "));
}

#[test]
fn unreadable_files() {
    let folder = std::env::temp_dir().join(format!("mlx5-twin-profile-test-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        load(Some(&path)).map(|loaded| loaded.name).map_err(|error| error.to_string())
    };
    assert_eq!(file("mine.toml", DEFAULT.as_bytes()).as_deref(), Ok("mine"));
    let error = file("latin1.toml", b"[device]\n# \xe4\n").unwrap_err();
    assert!(error.ends_with("latin1.toml:2: not UTF-8"), "{error}");
    let error = file("long.toml", &vec![b'#'; MAX_BYTES as usize + 1]).unwrap_err();
    assert!(error.ends_with("long.toml has more than 1048576 bytes"), "{error}");
    let error = load(Some(&folder)).unwrap_err().to_string();
    assert!(error.starts_with("can't read the profile "), "{error}");
    let error = load(Some(&folder.join("none.toml"))).unwrap_err().to_string();
    assert!(error.contains("none.toml: ") && error.starts_with("can't read the profile "), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn timeouts_may_be_told() {
    let with = |text: &str| parse("t", "t.toml", &format!("{DEFAULT}\n[timeouts]\n{text}\n"));
    let error = |text| with(text).unwrap_err().to_string();
    let timeouts = with("init_ms = 1\ncommand_ms = 1048575\nhealth_poll_ms = 200").unwrap().profile.timeouts;
    assert_eq!(timeouts.map(|timeouts| timeouts.command_ms), Some(1_048_575));
    let wrong = error("init_ms = 1\ncommand_ms = 0\nhealth_poll_ms = 200");
    assert!(wrong.contains("timeouts.command_ms = 0: allowed is 1 to 1048575"), "{wrong}");
    assert!(error("init_ms = 1\ncommand_ms = 1").contains("health_poll_ms"));
}

/// The profile whose firmware asks for pages is the built-in one in all else.
#[test]
fn the_profile_with_pages_differs_in_pages_only() {
    let pages = include_str!("../../../fixtures/profiles/bluefield3-ib-pages.toml");
    assert!(parse("pages", "pages.toml", pages).is_ok());
    let lines =
        |text: &'static str| text.lines().skip_while(|line| line.starts_with("# ") && !line.contains("Sources"));
    assert_eq!(lines(DEFAULT).count(), lines(pages).count());
    let changed = lines(DEFAULT).zip(lines(pages)).filter(|(one, other)| one != other);
    let names: Vec<_> = changed.filter_map(|(_, line)| line.split(' ').next()).collect();
    assert_eq!(names, ["page_request_disable", "boot", "init", "runtime"]);
}

proptest! {
    #[test]
    fn any_text_does_no_harm(text in any::<String>()) {
        let _ = parse("any", "any.toml", &text);
    }

    /// Characters of the built-in profile replaced: still a profile, or an error with its place.
    #[test]
    fn any_change_does_no_harm(changes in prop::collection::vec((any::<prop::sample::Index>(), "[ -~\\n]"), 1..4)) {
        let mut bytes = DEFAULT.as_bytes().to_vec();
        for (index, text) in changes {
            let at = index.index(bytes.len());
            bytes.splice(at..=at, text.bytes());
        }
        if let Ok(text) = String::from_utf8(bytes)
            && let Err(error) = parse("any", "any.toml", &text)
        {
            prop_assert!(error.to_string().starts_with("any.toml:"), "{error}");
        }
    }
}
