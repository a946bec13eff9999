//! What a bridge forwards.

use super::super::*;
use super::{port, write};

#[test]
fn windows_forward_what_they_hold() -> Result<(), ConfigError> {
    let mut space = port(PortType::Downstream)?;
    write(&mut space, 0x18, 0x0005_0302); // below: buses 3 to 5
    write(&mut space, 0x20, 0x8010_8000); // memory 0x80000000 to 0x801fffff
    write(&mut space, 0x24, 0x0010_0000); // prefetchable, lower halves
    write(&mut space, 0x28, 0x20);
    write(&mut space, 0x2c, 0x21); // 0x2000000000 to 0x21001fffff
    write(&mut space, 0x1c, 0x2010); // I/O 0x1000 to 0x2fff
    assert_eq!((space.primary(), space.secondary(), space.subordinate()), (2, 3, 5));
    assert!(!space.forwards_address(0x8000_0000), "memory space is off");
    write(&mut space, 0x04, 0x7);

    #[rustfmt::skip]
    let addresses = [
        (0x7fff_ffff, false), (0x8000_0000, true), (0x801f_ffff, true), (0x8020_0000, false),
        (0x1f_ffff_ffff, false), (0x20_0000_0000, true), (0x21_001f_ffff, true),
        (0x21_0020_0000, false), (0, false), (u64::MAX, false),
    ];
    for (address, forwarded) in addresses {
        assert_eq!(space.forwards_address(address), forwarded, "{address:#x}");
    }
    for (bus, below) in [(0, false), (2, false), (3, true), (5, true), (6, false)] {
        assert_eq!(space.forwards_bus(bus), below, "bus {bus}");
    }
    for (address, forwarded) in [(0xfff, false), (0x1000, true), (0x2fff, true), (0x3000, false)] {
        assert_eq!(space.forwards_io(address), forwarded, "{address:#x}");
    }
    // ISA Enable keeps back the last 768 bytes of each KiB.
    write(&mut space, 0x3c, 1 << 18);
    for (address, forwarded) in [(0x10ff, true), (0x1100, false), (0x1200, false), (0x13ff, false), (0x1400, true)] {
        assert_eq!(space.forwards_io(address), forwarded, "{address:#x} with ISA Enable");
    }
    // D3hot forwards nothing.
    write(&mut space, 0x80, 3);
    assert_eq!(space.power_state(), PowerState::D3Hot);
    assert!(!space.forwards_address(0x8000_0000) && !space.forwards_io(0x1000));
    Ok(())
}

#[test]
fn closed_windows_forward_nothing() -> Result<(), ConfigError> {
    let mut space = port(PortType::Upstream)?;
    write(&mut space, 0x04, 0x7);
    write(&mut space, 0x20, 0x0000_fff0);
    write(&mut space, 0x24, 0x0000_fff0);
    write(&mut space, 0x1c, 0x00f0);
    assert_eq!((space.memory_window(), space.prefetchable_window(), space.io_window()), (None, None, None));
    assert!(!space.forwards_address(0xfff0_0000) && !space.forwards_bus(0));
    Ok(())
}

#[test]
fn an_endpoint_forwards_nothing() -> Result<(), ConfigError> {
    let mut space = super::physical_function()?;
    for register in 0..16 {
        space.write(register, 0xf, !0);
    }
    assert!(!space.forwards_address(0) && !space.forwards_address(u64::MAX));
    assert!(!space.forwards_bus(255) && !space.forwards_io(0) && !space.secondary_bus_reset());
    Ok(())
}

#[test]
fn bridge_control_and_secondary_status() -> Result<(), ConfigError> {
    let mut space = port(PortType::RootPort)?;
    assert_eq!(write(&mut space, 0x3c, 0x0042_0000), Changed::BRIDGE_CONTROL);
    assert!(space.secondary_bus_reset() && space.forwards_errors());
    assert_eq!(write(&mut space, 0x3c, 0x0002_0000), Changed::BRIDGE_CONTROL);
    assert!(!space.secondary_bus_reset());
    space.record_secondary_status(Status::RECEIVED_MASTER_ABORT);
    assert!(space.secondary_status().contains(Status::RECEIVED_MASTER_ABORT));
    assert!(!space.status().contains(Status::RECEIVED_MASTER_ABORT));
    space.write(0x1c / 4, 0b1000, 0x2000_0000);
    assert_eq!(space.secondary_status(), Status(0));
    Ok(())
}
