//! Tests of configuration space: rules by table, properties against naive models, and lspci's reading.

mod bars;
mod bridge;
mod capabilities;
mod lspci;
mod msix;
mod registers;
mod sriov;
mod vc;

use super::*;

/// A physical function as the model builds it: 15b3:a2dc with one BAR, MSI-X in it, and the
/// capabilities of this module.
fn physical_function() -> Result<ConfigSpace, ConfigError> {
    let mut space = Type0 {
        vendor_id: 0x15b3,
        device_id: 0xa2dc,
        revision: 1,
        class_code: 0x02_0700,
        subsystem_vendor_id: 0x15b3,
        subsystem_id: 0x0051,
        bars: [Some(Bar::memory64(64 << 20)), None, None, None, None, None],
        expansion_rom: Some(1 << 20),
        interrupt_pin: 1,
        multi_function: false,
    }
    .build()?;
    space.add_at(0x60, &PcieCapability::new(PortType::Endpoint))?;
    space.add_at(0x9c, &MSIX)?;
    space.add_at(0x40, &PowerCapability { no_soft_reset: true })?;
    space.add(&AerCapability::default())?;
    Ok(space)
}

const MSIX: MsixCapability =
    MsixCapability { vectors: 64, table_bar: 0, table_offset: 0x2000, pba_bar: 0, pba_offset: 0x3000 };

/// As [`physical_function`], the first of two, each with 16 virtual functions.
fn sriov_function() -> Result<ConfigSpace, ConfigError> {
    let mut space = physical_function()?;
    space.add(&AriCapability { next_function: 1 })?;
    space.add(&SRIOV)?;
    Ok(space)
}

const SRIOV: SriovCapability = SriovCapability {
    total: 16,
    device_id: 0xa2de,
    ari: (2, 2),
    plain: (0x100, 2),
    bars: [Some(Bar::memory64(1 << 20)), None, None, None, None, None],
    lowest: true,
};

/// A port of a switch or root complex, with a hot-plug slot if it has a link below it.
fn port(kind: PortType) -> Result<ConfigSpace, ConfigError> {
    let mut space = Type1 { vendor_id: 0x15b3, device_id: 0x197b, ..Type1::default() }.build()?;
    let below = kind.is_downstream_facing();
    let slot = Slot {
        number: 7,
        hot_plug: true,
        surprise: true,
        attention_button: true,
        mrl_sensor: true,
        attention_indicator: true,
        power_indicator: true,
        power_controller: true,
        interlock: true,
        in_band_disable: true,
        no_command_completed: false,
        power_limit: 25,
        present: true,
    };
    space.add(&PcieCapability { slot: below.then_some(slot), port_number: 3, ..PcieCapability::new(kind) })?;
    space.add(&PowerCapability { no_soft_reset: true })?;
    space.add(&AerCapability {
        downstream_facing: below,
        root_port: kind == PortType::RootPort,
        interrupt_message: 0,
    })?;
    Ok(space)
}

/// Reads the dword at a byte offset, as the bus does.
fn read(space: &ConfigSpace, offset: u16) -> u32 {
    space.read(offset / 4)
}

/// Writes a whole dword at a byte offset, as the bus does.
fn write(space: &mut ConfigSpace, offset: u16, value: u32) -> Changed {
    space.write(offset / 4, 0xf, value)
}
