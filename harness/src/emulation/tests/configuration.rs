use mlx5_twin_fw_cmds::layout::tlp_message;
use mlx5_twin_fw_cmds::twin_v1::{HotplugState, message};
use mlx5_twin_sim::config::{CapabilityId, Changed, ConfigSpace, PcieCapability, PowerCapability, PowerState, Reset};
use mlx5_twin_sim::rng::Rng;

use super::super::Error;
use super::*;
use crate::channel::twin_v1::fake::Device;

/// The configuration space of [`described`], made without it.
fn reference() -> ConfigSpace {
    let mut space = header().build().unwrap();
    space.add(&PcieCapability::new(PortType::Endpoint)).unwrap();
    let msix = MsixCapability { vectors: 3, table_bar: 0, table_offset: 0x2000, pba_bar: 0, pba_offset: 0x3000 };
    assert_eq!(space.add(&msix).unwrap(), MESSAGE_CONTROL * 4);
    space
}

#[test]
fn configuration_space_answers_as_it_is() {
    let mut rig = Rig::new(&described(1));
    let mut space = reference();
    let mut rng = Rng::new(11);
    let mut resets = 0;
    for step in 0..8_000_u32 {
        let register = if step % 8 == 0 { rng.range(0, 1023) } else { rng.range(0, 0x90 / 4) } as u16;
        if rng.range(0, 1) == 0 {
            let (enables, value) = (rng.range(0, 15) as u8, rng.next_u32());
            rig.config_write(register, enables, value);
            let changed = space.write(register, enables, value);
            let request = rig.poll();
            if changed.contains(Changed::FUNCTION_LEVEL_RESET) {
                space.reset(Reset::FunctionLevel);
                assert_eq!(request, Some(Request::Reset(Reset::FunctionLevel)));
                resets += 1;
            } else if let Some(request) = request {
                assert_eq!(request, Request::Configured(changed));
            } else {
                let reported = Changed::COMMAND | Changed::MSIX | Changed::DEVICE_CONTROL;
                assert!(!changed.intersects(reported), "{changed:?} isn't reported");
            }
            assert_eq!(rig.statuses(), [Status::Successful]);
        } else {
            rig.config_read(register);
            assert_eq!(rig.poll(), None);
            let sent = rig.sent();
            let data = sent[0].payload.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
            assert_eq!(data, Some(space.read(register)), "register {register:#x}");
        }
    }
    assert!(resets > 10);
    rig.assert_no_faults();
}

#[test]
fn bus_number_and_requester_come_from_the_last_configuration_write() {
    let mut rig = Rig::new(&described(1));
    rig.config_read(0);
    rig.poll();
    assert_eq!((rig.function.id().unwrap(), rig.sent()[0].header.completer()), (Bdf(0), ID));
    rig.set_up();
    assert_eq!(rig.function.id().unwrap(), ID);
    rig.read(0, 4);
    let Some(Request::Read(read)) = rig.poll() else { panic!("no read") };
    rig.function.complete(read.id, &[0; 4]).unwrap();
    assert_eq!(rig.sent()[0].header.completer(), ID);
}

#[test]
fn another_function_number_is_not_there() {
    let mut rig = Rig::new(&described(1));
    let request = Header::config_read(ConfigType::Type0, HOST, 3, Bdf(0x0301), 0, 0xf).unwrap();
    rig.deliver(request, &[]);
    assert_eq!(rig.poll(), None);
    assert_eq!(rig.statuses(), [Status::UnsupportedRequest]);
}

#[test]
fn perst_resets_everything_and_forgets_requests() {
    let mut rig = Rig::ready();
    rig.read(0, 4);
    let Some(Request::Read(read)) = rig.poll() else { panic!("no read") };
    assert!(rig.function.config().unwrap().command().bus_master());
    rig.fake.device().pci_event(1, 0);
    assert!(matches!(rig.poll(), Some(Request::PciEvent(_))));
    assert!(!rig.function.config().unwrap().command().bus_master());
    assert_eq!(rig.function.complete(read.id, &[0; 4]), Err(Error::UnknownRequest(read.id)));
}

#[test]
fn who_wants_configuration_requests_gets_them() {
    let mut rig = Rig::new(&described(1).forward_configuration());
    rig.config_write(COMMAND, 0b0011, 0b110);
    let Some(Request::Configuration(write)) = rig.poll() else { panic!("no request") };
    assert_eq!((write.register, write.enables, write.write), (COMMAND, 0b0011, Some(0b110)));
    assert!(rig.sent().is_empty());
    // Answered by configuration space at the author's word.
    assert_eq!(rig.function.answer(write.id), Ok(Some(Request::Configured(Changed::COMMAND))));
    assert!(rig.function.config().unwrap().command().bus_master());
    assert_eq!(rig.function.answer(write.id), Err(Error::UnknownRequest(write.id)));
    // By the author.
    rig.config_read(0x200);
    let Some(Request::Configuration(read)) = rig.poll() else { panic!("no request") };
    assert_eq!(read.write, None);
    let short = Error::Length { id: read.id, needs: 4, has: 0 };
    assert_eq!(rig.function.complete(read.id, &[]), Err(short));
    rig.function.complete(read.id, &[1, 2, 3, 4]).unwrap();
    // Not yet.
    rig.config_read(0);
    let Some(Request::Configuration(read)) = rig.poll() else { panic!("no request") };
    rig.function.abort(read.id, Status::ConfigRequestRetry).unwrap();
    let sent = rig.sent();
    assert_eq!(sent[1].payload, [1, 2, 3, 4]);
    assert_eq!(sent[2].header.status(), Status::ConfigRequestRetry);
    rig.assert_no_faults();
}

#[test]
fn a_function_level_reset_is_completed_before_it_happens() {
    let mut rig = Rig::ready();
    rig.config_write(DEVICE_CONTROL, 0b0010, 1 << 15);
    assert_eq!(rig.poll(), Some(Request::Reset(Reset::FunctionLevel)));
    assert_eq!(rig.statuses(), [Status::Successful]);
    assert!(!rig.function.config().unwrap().command().memory_space());
    // The device has followed: the BAR is gone.
    rig.read(0, 4);
    assert_eq!(rig.poll(), None);
    assert_eq!(rig.statuses(), [Status::UnsupportedRequest]);
    rig.assert_no_faults();
}

/// Requests that were open before the reset are forgotten, so that they don't count against the device's limit; what is taken after it is new.
#[test]
fn a_function_level_reset_forgets_requests() {
    let mut rig = Rig::ready();
    rig.read(0, 4);
    let Some(Request::Read(read)) = rig.poll() else { panic!("no read") };
    rig.config_write(DEVICE_CONTROL, 0b0010, 1 << 15);
    assert_eq!(rig.poll(), Some(Request::Reset(Reset::FunctionLevel)));
    assert_eq!(rig.function.complete(read.id, &[0; 4]), Err(Error::UnknownRequest(read.id)));
}

/// D3hot and back: told as what it is, or as the reset that it is without No_Soft_Reset. A suspended function doesn't send.
#[test]
fn suspended_and_woken() {
    for no_soft_reset in [false, true] {
        let mut rig = Rig::new(&described(1).power(&PowerCapability { no_soft_reset }));
        rig.set_up();
        let power = rig.function.config().unwrap().find(CapabilityId::POWER_MANAGEMENT).unwrap() / 4 + 1;
        rig.config_write(power, 0b0001, 3);
        assert_eq!(rig.poll(), Some(Request::Power(PowerState::D3Hot)));
        assert!(matches!(rig.function.memory_write(0x1000, &[1]), Err(Error::NotBusMaster(_))));
        rig.config_write(power, 0b0001, 1);
        assert_eq!(rig.poll(), None, "D1 isn't there");
        rig.config_write(power, 0b0001, 0);
        let woken = if no_soft_reset { Request::Power(PowerState::D0) } else { Request::Reset(Reset::FunctionLevel) };
        assert_eq!(rig.poll(), Some(woken));
        assert_eq!(rig.function.config().unwrap().command().bus_master(), no_soft_reset);
    }
}

#[test]
fn hotplug_states_are_told() {
    let mut rig = Rig::ready();
    for state in HotplugState::ALL {
        let mut head = Device::head(message::HOTPLUG_STATE, 1);
        tlp_message::EVENT.set(&mut head, state as u64).unwrap();
        rig.fake.device().push(head, &[]);
        assert_eq!(rig.poll(), Some(Request::Hotplug(state)));
    }
    let mut head = Device::head(message::HOTPLUG_STATE, 1);
    tlp_message::EVENT.set(&mut head, 4).unwrap();
    rig.fake.device().push(head, &[]);
    assert!(rig.function.poll().is_err());
}
