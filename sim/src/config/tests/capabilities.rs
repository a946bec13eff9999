//! Lists of capabilities, and what the capabilities say and record.

use crate::time::Time;

use super::super::*;
use super::{MSIX, physical_function, port, read, write};

#[test]
fn lists_lead_to_every_capability() -> Result<(), ConfigError> {
    let space = physical_function()?;
    let mut found = Vec::new();
    let mut at = read(&space, 0x34) as u16 & 0xff;
    while at != 0 {
        let header = read(&space, at);
        found.push((header & 0xff, at));
        at = (header >> 8) as u16 & 0xff;
    }
    assert_eq!(found, [(0x10, 0x60), (0x11, 0x9c), (0x01, 0x40)]);
    assert_eq!(read(&space, 0x100), 0x0002_0001);
    assert_eq!(space.find(CapabilityId::AER), Some(0x100));
    assert_eq!(space.find(CapabilityId::VENDOR), None);
    Ok(())
}

#[test]
fn wrong_places_are_refused() -> Result<(), ConfigError> {
    let vendor = |id, length| CapabilityLayout { id, length, rows: vec![], watches: vec![], legal: vec![] };
    let pci = CapabilityId::VENDOR;
    let extended = CapabilityId::VENDOR_EXTENDED;
    let place = |offset, length| Err(ConfigError::CapabilityPlace { offset, length });
    let mut space = Type0::default().build()?;
    assert_eq!(space.add_at(0x3c, &vendor(pci, 8)), place(0x3c, 8));
    assert_eq!(space.add_at(0x42, &vendor(pci, 8)), place(0x42, 8));
    assert_eq!(space.add_at(0xfc, &vendor(pci, 8)), place(0xfc, 8));
    assert_eq!(space.add_at(0x40, &vendor(pci, 0)), place(0x40, 0));
    assert_eq!(space.add_at(0xffc, &vendor(extended, 8)), place(0xffc, 8));
    assert_eq!(space.add_at(0xfffc, &vendor(extended, 8)), place(0xfffc, 8));
    let first = Err(ConfigError::FirstExtended { offset: 0x140 });
    assert_eq!(space.add_at(0x140, &vendor(extended, 8)), first);
    assert_eq!(space.add(&vendor(pci, 0x10)), Ok(0x40));
    let overlap = ConfigError::CapabilityOverlap { offset: 0x4c, length: 8, other: 0x40 };
    assert_eq!(space.add_at(0x4c, &vendor(pci, 8)), Err(overlap));
    assert_eq!(space.add(&vendor(pci, 6)), Ok(0x50));
    assert_eq!(space.add(&MSIX), Ok(0x58));
    let twice = ConfigError::CapabilityTwice { id: CapabilityId::MSIX };
    assert_eq!(space.add(&MSIX), Err(twice));
    assert_eq!(space.add(&vendor(pci, 0xa0)), Err(ConfigError::CapabilityRoom { length: 0xa0 }));
    let mut wrong_row = vendor(pci, 8);
    wrong_row.watches.push(Watch::changed(8, 1, Changed::POWER));
    assert_eq!(space.add(&wrong_row), Err(ConfigError::RowOutside { offset: 8, length: 8 }));
    Ok(())
}

#[test]
fn wrong_descriptions_are_refused() {
    let endpoint = PcieCapability::new(PortType::Endpoint);
    let root = PcieCapability::new(PortType::RootPort);
    let wrong = [
        PcieCapability { max_payload: 100, ..endpoint },
        PcieCapability { max_payload: 64, ..endpoint },
        PcieCapability { max_payload: 8192, ..endpoint },
        PcieCapability { link_generation: 0, ..endpoint },
        PcieCapability { link_generation: 6, ..endpoint },
        PcieCapability { link_width: 3, ..endpoint },
        PcieCapability { completion_timeout_ranges: 5, ..endpoint },
        PcieCapability { ten_bit_tag_completer: false, ..endpoint },
        PcieCapability { interrupt_message: 32, ..endpoint },
        PcieCapability { slot: Some(Slot::default()), ..endpoint },
        PcieCapability { rcb_128: true, ..endpoint },
        PcieCapability { atomic_routing: true, ..endpoint },
        PcieCapability { crs_visibility: true, ..endpoint },
        PcieCapability { function_level_reset: true, ..root },
        PcieCapability { slot: Some(Slot { number: 1 << 13, ..Slot::default() }), ..root },
        PcieCapability { slot: Some(Slot { power_limit: 240, ..Slot::default() }), ..root },
    ];
    for capability in wrong {
        assert!(capability.layout().is_err(), "{capability:?}");
    }
    let wrong = [
        MsixCapability { vectors: 0, ..MSIX },
        MsixCapability { vectors: 2049, ..MSIX },
        MsixCapability { table_bar: 6, ..MSIX },
        MsixCapability { pba_bar: 6, ..MSIX },
        MsixCapability { table_offset: 0x2004, ..MSIX },
        MsixCapability { pba_offset: 0xffff_fff8, vectors: 65, ..MSIX },
        MsixCapability { pba_offset: 0x23f8, ..MSIX },
    ];
    for capability in wrong {
        assert!(capability.check().is_err(), "{capability:?}");
        assert!(MsixTable::new(&capability).is_err());
    }
}

#[test]
fn device_and_link_control_are_told() -> Result<(), ConfigError> {
    let mut space = physical_function()?;
    assert_eq!((space.max_payload(), space.max_read_request(), space.rcb()), (128, 512, 64));
    assert!(!space.extended_tag_enabled() && !space.ten_bit_tag_enabled());
    assert!(space.relaxed_ordering_enabled());
    write(&mut space, 0x68, 0x5140);
    write(&mut space, 0x70, 0x0008);
    write(&mut space, 0x88, 0x1046);
    assert_eq!((space.max_payload(), space.max_read_request(), space.rcb()), (512, 4096, 128));
    assert!(space.extended_tag_enabled() && space.ten_bit_tag_enabled());
    assert!(!space.relaxed_ordering_enabled() && space.atomic_requester_enabled());
    let timeout = CompletionTimeout { min: Time::ms(65), max: Time::ms(210) };
    assert_eq!(space.completion_timeout(), Some(timeout));
    write(&mut space, 0x88, 0x0010);
    assert_eq!(space.completion_timeout(), None);
    Ok(())
}

#[test]
fn without_the_capability_reset_values_hold() -> Result<(), ConfigError> {
    let space = Type0::default().build()?;
    let with = physical_function()?;
    let told = |space: &ConfigSpace| {
        let sizes = (space.max_payload(), space.max_read_request(), space.rcb());
        let tags = (space.extended_tag_enabled(), space.ten_bit_tag_enabled());
        (sizes, tags, space.relaxed_ordering_enabled(), space.completion_timeout())
    };
    assert_eq!(told(&space), told(&with));
    assert_eq!(space.power_state(), PowerState::D0);
    assert!(!space.msix_enabled());
    Ok(())
}

#[test]
fn leaving_d3hot_resets_unless_told_not_to() -> Result<(), ConfigError> {
    for (no_soft_reset, on_return) in [(true, Changed::POWER), (false, Changed::POWER | Changed::SOFT_RESET)] {
        let mut space = Type0::default().build()?;
        space.add(&PowerCapability { no_soft_reset })?;
        assert_eq!(write(&mut space, 0x44, 3), Changed::POWER);
        assert_eq!(write(&mut space, 0x44, 2), Changed::NONE);
        assert_eq!(space.power_state(), PowerState::D3Hot);
        assert_eq!(write(&mut space, 0x44, 0), on_return);
        assert_eq!(space.power_state(), PowerState::D0);
    }
    Ok(())
}

#[test]
fn a_slot_shows_who_is_in_it() -> Result<(), ConfigError> {
    let mut space = port(PortType::Downstream)?;
    assert!(space.slot_present() && space.slot_powered());
    space.set_slot_present(false);
    space.set_link(None);
    assert_eq!(read(&space, 0x58) >> 16, 0x0108, "presence and link changed, nobody there");
    assert_eq!(read(&space, 0x50) >> 16, 0x1000, "only the slot clock is left");
    space.write(0x58 / 4, 0b1100, 0xffff_0000);
    space.set_slot_present(false); // as before: no event
    assert_eq!(read(&space, 0x58) >> 16, 0);
    space.record_slot_event(capability::slot::SlotEvent::AttentionButton);
    assert_eq!(read(&space, 0x58) >> 16, 1);
    write(&mut space, 0x58, 0x0400);
    assert!(!space.slot_powered());
    // A port without a slot ignores all this.
    let mut upstream = port(PortType::Upstream)?;
    upstream.set_slot_present(true);
    assert_eq!((upstream.slot_present(), read(&upstream, 0x58)), (false, 0));
    Ok(())
}

#[test]
fn the_first_uncorrectable_error_holds_the_log() -> Result<(), ConfigError> {
    use UncorrectableError::{MalformedTlp, PoisonedTlp, SurpriseDown, UnsupportedRequest};
    let mut space = physical_function()?;
    let log = |space: &ConfigSpace| {
        let header = [0x11c, 0x120, 0x124, 0x128].map(|at| read(space, at));
        (read(space, 0x118) & 0x1f, header, read(space, 0x104))
    };
    let recorded = |message, masked, first| Some(Recorded { message, masked, first });

    // A poisoned completion as a real root port logged it.
    let header = [0x4a00_4010, 0x0000_0040, 0x0100_0000, 0xffff_ffff];
    let first = space.record_uncorrectable(PoisonedTlp, Some(header));
    assert_eq!(first, recorded(ErrorMessage::NonFatal, false, true));
    assert_eq!(log(&space), (12, header, 1 << 12));
    let second = space.record_uncorrectable(MalformedTlp, Some([1; 4]));
    assert_eq!(second, recorded(ErrorMessage::Fatal, false, false));
    assert_eq!(log(&space), (12, header, 1 << 12 | 1 << 18));

    // Cleared, the log is free for the next; a masked error leaves it alone.
    write(&mut space, 0x104, 1 << 12);
    write(&mut space, 0x108, 1 << 20);
    let masked = space.record_uncorrectable(UnsupportedRequest, Some([2; 4]));
    assert_eq!(masked, recorded(ErrorMessage::NonFatal, true, false));
    assert_eq!(log(&space), (12, header, 1 << 18 | 1 << 20));
    write(&mut space, 0x108, 1 << 12);
    space.record_uncorrectable(PoisonedTlp, Some([3; 4])); // masked, with the number in the pointer
    write(&mut space, 0x108, 0);
    let third = space.record_uncorrectable(MalformedTlp, None);
    assert_eq!(third, recorded(ErrorMessage::Fatal, false, true));
    assert_eq!(log(&space), (18, [0; 4], 1 << 12 | 1 << 18 | 1 << 20));

    assert_eq!(space.record_uncorrectable(SurpriseDown, None), None, "an endpoint has no link below");
    assert!(port(PortType::Downstream)?.record_uncorrectable(SurpriseDown, None).is_some());
    Ok(())
}

#[test]
fn correctable_and_root_errors_are_counted_once_and_again() -> Result<(), ConfigError> {
    let mut root = port(PortType::RootPort)?;
    let bad = root.record_correctable(CorrectableError::BadTlp);
    let message = ErrorMessage::Correctable;
    assert_eq!(bad, Some(Recorded { message, masked: false, first: true }));
    assert_eq!(read(&root, 0x110), 1 << 6);
    write(&mut root, 0x12c, 0b010);

    let registers = |root: &ConfigSpace| (read(root, 0x130), read(root, 0x134));
    // QEMU's root port shows 00000024 and the source in the high half for this.
    assert_eq!(root.record_root_error(ErrorMessage::NonFatal, 0x0200), Some(true));
    assert_eq!(registers(&root), (0x24, 0x0200_0000));
    assert_eq!(root.record_root_error(ErrorMessage::Fatal, 0x0300), Some(false));
    assert_eq!(registers(&root), (0x6c, 0x0200_0000));
    root.record_root_error(ErrorMessage::Correctable, 0x0400);
    root.record_root_error(ErrorMessage::Correctable, 0x0500);
    assert_eq!(registers(&root), (0x6f, 0x0200_0400));
    write(&mut root, 0x130, 0x7f);
    root.record_root_error(ErrorMessage::Fatal, 0x0600);
    assert_eq!(registers(&root), (0x54, 0x0600_0400));

    let mut endpoint = physical_function()?;
    assert_eq!(endpoint.record_root_error(ErrorMessage::Fatal, 0x0600), None);
    Ok(())
}

#[test]
fn every_error_sets_and_clears_its_own_bit() -> Result<(), ConfigError> {
    use CorrectableError as C;
    use UncorrectableError as U;
    // Names and bit numbers as the specification has them, in order.
    #[rustfmt::skip]
    let uncorrectable = [
        (U::DataLinkProtocol, 4), (U::SurpriseDown, 5), (U::PoisonedTlp, 12), (U::FlowControlProtocol, 13),
        (U::CompletionTimeout, 14), (U::CompleterAbort, 15), (U::UnexpectedCompletion, 16), (U::ReceiverOverflow, 17),
        (U::MalformedTlp, 18), (U::Ecrc, 19), (U::UnsupportedRequest, 20), (U::AcsViolation, 21), (U::Internal, 22),
        (U::PoisonedEgress, 26),
    ];
    #[rustfmt::skip]
    let correctable = [
        (C::Receiver, 0), (C::BadTlp, 6), (C::BadDllp, 7), (C::ReplayRollover, 8),
        (C::ReplayTimeout, 12), (C::AdvisoryNonFatal, 13), (C::Internal, 14), (C::HeaderLogOverflow, 15),
    ];
    let mut space = port(PortType::RootPort)?;
    for (error, bit) in uncorrectable {
        let fatal = read(&space, 0x10c) >> bit & 1 == 1;
        let masked = [22, 26].contains(&bit); // by default
        let message = if fatal { ErrorMessage::Fatal } else { ErrorMessage::NonFatal };
        let recorded = Recorded { message, masked, first: !masked };
        assert_eq!(space.record_uncorrectable(error, None), Some(recorded), "{error:?}");
        assert_eq!(read(&space, 0x104), 1 << bit, "{error:?}");
        write(&mut space, 0x104, 1 << bit);
        assert_eq!(read(&space, 0x104), 0, "{error:?}");
    }
    for (error, bit) in correctable {
        let masked = bit >= 13; // by default
        let recorded = Recorded { message: ErrorMessage::Correctable, masked, first: true };
        assert_eq!(space.record_correctable(error), Some(recorded), "{error:?}");
        assert_eq!(read(&space, 0x110), 1 << bit, "{error:?}");
        write(&mut space, 0x110, 1 << bit);
        assert_eq!(read(&space, 0x110), 0, "{error:?}");
    }
    Ok(())
}

/// What the MSI capability's registers take, and when there's a message.
#[test]
fn msi() -> Result<(), ConfigError> {
    let mut space = Type1::default().build()?;
    let at = space.add(&MsiCapability)?;
    assert_eq!(read(&space, at), 0x0080_0005);
    for (offset, takes) in [(0, 0x0081_0005), (4, 0xffff_fffc), (8, 0xffff_ffff), (12, 0xffff), (16, 0)] {
        let changed = write(&mut space, at + offset, u32::MAX);
        assert_eq!(read(&space, at + offset), takes, "{offset}");
        assert_eq!(changed, if offset == 0 { Changed::MSI } else { Changed::NONE });
    }
    let message = MsiMessage { address: 0xffff_ffff_ffff_fffc, data: 0xffff };
    assert_eq!(space.msi(), Some(message));
    write(&mut space, at, 0);
    assert_eq!(space.msi(), None);
    space.reset(Reset::Hot);
    assert_eq!(read(&space, at + 12), 0);
    assert_eq!(Type1::default().build()?.msi(), None, "without the capability");
    Ok(())
}

/// A slot's interrupt: each event with its own enable, and all with the interrupt enable.
#[test]
fn a_slot_interrupts() -> Result<(), ConfigError> {
    let slot = Slot { hot_plug: true, attention_button: true, power_controller: true, ..Slot::default() };
    let pcie = PcieCapability { slot: Some(slot), link_up: false, ..PcieCapability::new(PortType::Downstream) };
    let mut space = Type1::default().build()?;
    let at = space.add(&pcie)? + 0x18;
    assert!(space.is_hot_plug_slot() && space.reports_command_completed());
    #[rustfmt::skip]
    let events = [
        (SlotEvent::AttentionButton, 1 << 0), (SlotEvent::PresenceChanged, 1 << 3), (SlotEvent::CommandCompleted, 1 << 4),
        (SlotEvent::LinkChanged, 1 << 12),
    ];
    for (event, own) in events {
        space.record_slot_event(event);
        for (_, enable) in events {
            for interrupt in [0, 1 << 5] {
                space.write(at / 4, 0x3, enable | interrupt);
                assert_eq!(space.slot_interrupt(), interrupt != 0 && enable == own, "{event:?}, {enable:#x}");
            }
        }
        space.write(at / 4, 0xc, event as u32);
        assert!(!space.slot_interrupt(), "{event:?} is cleared");
    }
    Ok(())
}
