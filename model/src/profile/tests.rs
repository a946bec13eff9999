use super::*;

/// The default profile of the project.
const BLUEFIELD3_IB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/profiles/bluefield3-ib.toml");

fn file() -> toml::Table {
    let text = std::fs::read_to_string(BLUEFIELD3_IB).expect("the default profile can be read");
    text.parse().expect("the default profile is TOML")
}

/// What becomes of the default profile when the entry at a path has another value.
fn with(path: &str, value: toml::Value) -> Result<(), String> {
    let mut table = file();
    let (sections, key) = path.rsplit_once('.').expect("a path has sections");
    let mut at = &mut table;
    for section in sections.split('.') {
        at = at.get_mut(section).and_then(toml::Value::as_table_mut).expect("the section is there");
    }
    at.insert(key.to_owned(), value);
    let profile: Profile = table.try_into().map_err(|error: toml::de::Error| error.to_string())?;
    profile.validate().map_err(|error| error.to_string())
}

#[test]
fn the_default_profile_is_sound() {
    let profile: Profile = file().try_into().expect("the default profile fits");
    profile.validate().expect("the default profile is sound");
    assert_eq!((&profile.device, &profile.port), (&Device::default(), &Port::default()));

    let caps = Capabilities::build(&profile.capabilities).expect("was validated");
    let types: Vec<u16> = caps.types().map(|cap_type| cap_type.0).collect();
    assert_eq!(types, [0, 3, 0xc, 0xf, 0x13, 0x14, 0x2a]);

    let bar0 = profile.bar0(&caps).expect("was validated");
    assert_eq!(bar0.uars, 0x10_0000..0x100_0000);
    let var = Window { offset: 0x100_0000, stride: 4096, count: 256, size: 0x10_0000 };
    let tlp = Window { offset: 0x200_0000, stride: 4096, count: 15, size: 0xf000 };
    assert_eq!((bar0.virtio_vars, bar0.tlp_pages), (Some(var), Some(tlp)));
    assert_eq!((bar0.memic, bar0.memic_operations), (Some(0x300_0000..0x304_0000), 0x304_0000..0x30c_0000));
    assert_eq!(var.locate(0x100_1008), Some((1, 8)));
    assert_eq!((tlp.locate(0x1ff_ffff), tlp.locate(0x200_f000)), (None, None));
}

/// Capability bytes as Linux's accessors find them, offsets from the kernel header by hand.
#[test]
fn capability_pages_have_their_bytes() {
    use mlx5_twin_fw_cmds::cap::{CapMode, CapType};
    let profile: Profile = file().try_into().expect("the default profile fits");
    let caps = Capabilities::build(&profile.capabilities).expect("is sound");
    let page = |cap_type| caps.page(cap_type, CapMode::Current).expect("is listed");
    assert_eq!(page(CapType::GENERAL)[0x80..0x88], 0x40_0000_2000u64.to_be_bytes());
    assert_eq!(page(CapType::QOS)[0x20..0x24], [0, 0x11, 0, 1], "nic_element_type, nic_tsar_type");
    assert_eq!(page(CapType::DEV_MEM)[0x08..0x10], 0x300_0000u64.to_be_bytes());
    assert_eq!(page(CapType::GENERAL)[0x73], 0x80, "tlp_device_emulation_manager: dword 0x70, bit 7");
    assert_eq!(page(CapType::TLP_EMULATION)[0x38..0x40], 0x200_0000u64.to_be_bytes());
    assert_eq!(page(CapType::TLP_EMULATION)[0x20..0x24], (15u32 << 16).to_be_bytes());
    assert_eq!(page(CapType::DEV_EVENT)[0..8], (1u64 << 0x27).to_be_bytes());
    assert_eq!(page(CapType::GENERAL).len(), CAP_PAGE_BYTES);
}

#[test]
fn whatever_a_gate_announces_is_listed() {
    for gate in GATES {
        let mut sections = CapabilitySections::default();
        let bit = gate.mask & gate.mask.wrapping_neg();
        sections.general.insert(gate.field.name.to_owned(), CapabilityValue::One(bit));
        match Capabilities::build(&sections) {
            Ok(caps) => assert!(caps.lists(gate.cap_type), "{gate:?}"),
            Err(ProfileError::SectionMissing { .. }) => {}
            Err(error) => panic!("{gate:?}: {error}"),
        }
    }
}

#[test]
fn a_value_out_of_range_is_named() {
    let general = "capabilities.general";
    let tlp = "capabilities.tlp_emulation";
    let virtio = "capabilities.virtio_emulation";
    // Path, value, what the message starts with and what it must say besides.
    #[rustfmt::skip]
    let cases: Vec<(String, i64, &str)> = vec![
        ("device.class_code".into(), 0x100_0000, "allowed is 0 to 16777215"),
        ("device.bar0_size".into(), 16 << 20, "allowed is 33554432 to 1073741824"),
        ("device.bar0_size".into(), 2 << 30, "allowed is 33554432 to 1073741824"),
        ("device.bar0_size".into(), 48 << 20, "power of two"),
        ("device.msix_vectors".into(), 0, "allowed is 1 to 2048"),
        ("device.msix_vectors".into(), 2049, "allowed is 1 to 2048"),
        ("device.log_cmdq_size".into(), 6, "allowed is 0 to 5"),
        ("device.log_cmdq_stride".into(), 5, "allowed is 6 to 12"),
        ("device.log_cmdq_stride".into(), 13, "allowed is 6 to 12"),
        ("device.log_cmdq_stride".into(), 8, "at most 12"),
        ("device.first_uar".into(), 0, "allowed is 1 to"),
        ("device.node_guid".into(), 0, "must not be 0"),
        ("pages.boot".into(), -1, "allowed is 0 to 1048576"),
        ("pages.init".into(), (1 << 20) + 1, "allowed is 0 to 1048576"),
        ("pages.runtime".into(), 513, "allowed is 0 to 512"),
        ("pages.runtime_objects".into(), 0, "allowed is 1 to"),
        ("port.lid".into(), 0xc000, "allowed is 0 to 49151"),
        ("port.lmc".into(), 8, "allowed is 0 to 7"),
        ("port.sm_lid".into(), 0xffff, "allowed is 0 to 49151"),
        ("port.sm_sl".into(), 16, "allowed is 0 to 15"),
        ("port.subnet_timeout".into(), 32, "allowed is 0 to 31"),
        ("port.link_width".into(), 3, "1, 2, 4, 8 or 12"),
        ("port.mtu".into(), 1500, "256, 512, 1024, 2048 or 4096"),
        ("port.max_mtu".into(), 0, "256, 512, 1024, 2048 or 4096"),
        ("port.virtual_lanes".into(), 3, "1, 2, 4, 8 or 15"),
        (format!("{general}.max_flow_counter_31_16"), 16, "allowed is 0 to 15"),
        (format!("{general}.num_ports"), 2, "allowed is 0 to 1"),
        (format!("{general}.gid_table_size"), 5, "allowed is 0 to 4"),
        (format!("{general}.pkey_table_size"), 6, "allowed is 0 to 5"),
        ("firmware_timing.command_ns".into(), 60_000_000_001, "allowed is 0 to 60000000000"),
        ("firmware_timing.commands.NOP".into(), 60_000_000_001, "allowed is 0 to 60000000000"),
        ("firmware_timing.commands.NAP".into(), 1, "no command of Linux's mlx5_ifc.h"),
        (format!("{general}.no_such_field"), 1, "cmd_hca_cap of Linux's mlx5_ifc.h has no such field"),
        (format!("{general}.port_type"), 4, "the field has 2 bits"),
        (format!("{general}.log_max_pd"), 21, "allowed is 0 to 20"),
        (format!("{general}.log_max_umem"), 21, "allowed is 0 to 20"),
        (format!("{general}.log_max_uctx"), 17, "allowed is 0 to 16"),
        (format!("{general}.log_max_eq_sz"), 23, "allowed is 0 to 22"),
        (format!("{general}.max_num_eqs"), 256, "allowed is 0 to 255"),
        (format!("{tlp}.tlp_rsp_gw_num_pages"), 16, "the field has 4 bits"),
        (format!("{tlp}.tlp_rsp_gw_pages_bar_offset"), 0x200_0800, "multiple of 4096"),
        (format!("{virtio}.log_doorbell_stride"), 11, "at least 12"),
        (format!("{virtio}.log_doorbell_stride"), 21, "room for one page"),
        (format!("{virtio}.doorbell_bar_offset"), 0x100_0001, "multiple of 4096"),
    ];
    for (path, value, says) in cases {
        let error = with(&path, value.into()).expect_err(&path);
        assert!(error.contains(says), "{path} = {value}: {error}");
        let key = path.rsplit('.').next().expect("has parts");
        assert!(error.contains(key), "{path} = {value}: {error}");
    }
}

#[test]
fn what_does_not_fit_together_is_named() {
    #[rustfmt::skip]
    let cases = [
        // 15 pages of 8 MiB
        ("capabilities.tlp_emulation.log_tlp_rsp_gw_page_stride", 11, "BAR0 ends at 0x4000000"),
        ("capabilities.tlp_emulation.log_tlp_rsp_gw_page_stride", 31, "BAR0 ends at"),
        ("capabilities.tlp_emulation.tlp_rsp_gw_pages_bar_offset", 0x3ff_2000, "BAR0 ends at"),
        ("capabilities.tlp_emulation.tlp_rsp_gw_pages_bar_offset", 0x10f_f000, "overlaps the TLP response pages"),
        ("capabilities.virtio_emulation.doorbell_bar_offset", 0x200_e000, "overlaps the VirtIO doorbell pages"),
        ("capabilities.virtio_emulation.doorbell_bar_offset", 0x2000, "overlaps"),
        ("capabilities.virtio_emulation.doorbell_bar_offset", 0x10_0000, "overlaps"),
        ("capabilities.device_memory.memic_bar_start_addr", 0x300_0001, "must be a multiple of 4096"),
        ("capabilities.device_memory.memic_bar_start_addr", 0x3ff_0000, "BAR0 ends at"),
        ("capabilities.device_memory.memic_bar_start_addr", 0x200_e000, "overlaps the memory on the device"),
        ("capabilities.device_memory.memic_bar_size", 0x1_0000, "must be at most memic_bar_size and 16 MiB"),
        ("capabilities.device_memory.memic_bar_size", 0x4_0800, "must be a multiple of 4096"),
        ("capabilities.device_memory.max_memic_size", 0x200_0000, "must be at most memic_bar_size and 16 MiB"),
        ("capabilities.device_memory.memic", 0, ""),
        ("capabilities.device_memory.memic_operations", 4, "has a bit besides those that the model knows"),
        ("capabilities.device_memory.test_and_set_size_sup", 3, "of which the model knows one byte"),
        ("capabilities.device_memory.memic_operations", 0, ""),
        ("port.max_mtu", 2048, "port.mtu = 4096: must not be more than port.max_mtu"),
        ("pages.runtime", 1, "page_request_disable = 0"),
        ("device.first_uar", 1, "the initialization segment overlaps the UAR pages"),
        ("device.first_uar", 2, "the MSI-X table (device.msix_vectors) overlaps the UAR pages"),
        ("device.first_uar", 3, "the MSI-X pending bits (device.msix_vectors) overlaps the UAR pages"),
        ("device.first_uar", 0x4000, "BAR0 ends at"),
        ("capabilities.general.max_num_eqs", 0, ""),
        ("capabilities.general.uar_4k", 1, ""),
    ];
    for (path, value, says) in cases {
        match with(path, value.into()) {
            Ok(()) => assert_eq!(says, "", "{path} = {value} is allowed"),
            Err(error) => assert!(!says.is_empty() && error.contains(says), "{path} = {value}: {error}"),
        }
    }
}

#[test]
fn shapes_and_texts() {
    let event = "capabilities.event.user_affiliated_events";
    let error = with(event, 1.into()).expect_err("one number for a list");
    assert_eq!(error, format!("{event}: the field takes a list of 4 numbers, the profile has a number"));
    let error = with(event, vec![1, 2].into()).expect_err("too short a list");
    assert!(error.ends_with("the profile has a list of 2"), "{error}");
    let error = with("capabilities.general.rc", vec![1].into()).expect_err("a list for a number");
    assert!(error.ends_with("the field takes a number, the profile has a list of 1"), "{error}");
    let error = with("capabilities.general.rc", (-1).into()).expect_err("a negative capability");
    assert!(error.contains("a number from 0 on, or a list of such numbers, or a section"), "{error}");

    for version in ["32.43", "32.43.1014.1", "32.43.70000", "a.b.c", ""] {
        let error = with("device.firmware_version", version.into()).expect_err(version);
        assert!(error.contains("major.minor.subminor"), "{error}");
    }
    for psid in ["", "seventeen_letters", "with space", "ümlaut"] {
        let error = with("device.psid", psid.into()).expect_err(psid);
        assert!(error.contains("printable ASCII"), "{error}");
    }
    for prefix in ["", "fe80", "fe80::1", "10.0.0.1"] {
        let error = with("port.subnet_prefix", prefix.into()).expect_err(prefix);
        assert!(error.contains("an IPv6 address whose lower 64 bits are 0"), "{error}");
    }
    for description in ["x".repeat(65), "tab\t".to_owned(), "ümlaut".to_owned()] {
        let error = with("port.node_description", description.into()).expect_err("not a description");
        assert!(error.contains("at most 64 printable ASCII"), "{error}");
    }
    for (path, value) in [("port.state", "armed"), ("port.link_speed", "edr")] {
        let error = with(path, value.into()).expect_err(value);
        assert!(error.contains("unknown variant"), "{error}");
    }
    let error = with("port.alias_guids", vec![1; 8].into()).expect_err("too many GUIDs");
    assert!(error.contains("8 GUIDs: with port_guid they must fit the table"), "{error}");
    let error = with("port.alias_guids", vec![0].into()).expect_err("no GUID");
    assert!(error.contains("must not be 0"), "{error}");
    let error = with("port.pkeys", vec![1; 129].into()).expect_err("too many P_Keys");
    assert!(error.contains("129 P_Keys: they must fit the table"), "{error}");
    assert_eq!("32.43.1014".parse().map(|version: FirmwareVersion| version.to_string()), Ok("32.43.1014".to_owned()));
    let error = with("device.colour", 1.into()).expect_err("an unknown key");
    assert!(error.contains("unknown field `colour`"), "{error}");
}

#[test]
fn a_gate_without_its_section_is_refused() {
    for (section, gate) in
        [("virtio_emulation", "general_obj_types"), ("tlp_emulation", "tlp_device_emulation_manager")]
    {
        let mut table = file();
        let caps = table.get_mut("capabilities").and_then(toml::Value::as_table_mut).expect("is there");
        caps.remove(section).expect("was there");
        let profile: Profile = table.try_into().expect("still fits");
        let error = profile.validate().expect_err(section).to_string();
        assert!(error.contains(gate) && error.contains(section), "{error}");
    }
}

#[test]
fn many_vectors_move_the_pending_bits() {
    let mut profile: Profile = file().try_into().expect("the default profile fits");
    for (vectors, table_end, pba) in
        [(1, 0x2010, 0x3000..0x3008), (256, 0x3000, 0x3000..0x3020), (2048, 0xa000, 0xa000..0xa100)]
    {
        profile.device.msix_vectors = vectors;
        let caps = Capabilities::build(&profile.capabilities).expect("is sound");
        let bar0 = profile.bar0(&caps).expect("there is room");
        assert_eq!((bar0.msix_table.end, bar0.msix_pba), (table_end, pba));
    }
}

#[test]
fn an_added_page_is_a_page_of_its_own() {
    use mlx5_twin_fw_cmds::cap::CapType;
    let mut caps = Capabilities::build(&CapabilitySections::default()).expect("nothing is sound");
    assert_eq!(caps.add_page(CapType(0x7f00), vec![1, 2]), Ok(()));
    assert_eq!(caps.add_page(CapType(0x7f00), vec![]), Err(ProfileError::PageTaken { cap_type: 0x7f00 }));
    assert_eq!(caps.add_page(CapType::GENERAL, vec![]), Err(ProfileError::PageTaken { cap_type: 0 }));
    assert_eq!(caps.add_page(CapType(1), vec![0; 4097]), Err(ProfileError::PageTooLong { len: 4097 }));
}

#[test]
fn commands_have_their_times() {
    use mlx5_twin_fw_cmds::opcode::Opcode;
    let profile: Profile = file().try_into().expect("the default profile fits");
    assert_eq!(profile.firmware_timing.command_ns(Opcode::NOP), 2_000);
    assert_eq!(profile.firmware_timing.command_ns(Opcode::ALLOC_PD), 10_000);
    assert_eq!(profile.firmware_timing.command_ns(Opcode(0xffff)), 10_000);
}
