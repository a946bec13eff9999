//! Devices of several functions, ARI, and virtual functions: found by a host, reached by addresses and IDs, reset and taken away.

mod common;

use common::{TIMING, link};
use mlx5_twin_sim::config::{LspciDump, PortType};
use mlx5_twin_sim::endpoint::{MultiEndpoint, MultiShape};
use mlx5_twin_sim::fabric::{
    Dma, ErrorKind, FunctionKey, MultiError, MultiFunction, NodeId, PeerToPeer, PhysicalSpec, PortIdentity, RootSpec,
    port_config,
};
use mlx5_twin_sim::host::{AccessError, EnumerationError, Found, Host, Settings, Simulation, enumerate_virtual};
use mlx5_twin_sim::memory::Memory;
use mlx5_twin_sim::profile::VirtualChannels;
use mlx5_twin_sim::tlp::{Bdf, Header};
use mlx5_twin_sim::{Fabric, Time};

struct Rig {
    simulation: Simulation,
    root: NodeId,
    devices: Vec<NodeId>,
}

/// A root complex, a switch, and a device of each shape below it.
fn rig(shapes: &[MultiShape]) -> Rig {
    let mut fabric = Fabric::new(TIMING, 1);
    let link = link(4, 8);
    let identity = PortIdentity { vendor_id: 0xfff1, device_id: 1, max_payload: 512 };
    let port = |kind, number| port_config(identity, kind, number, &link).unwrap();
    let root = fabric.add_root(RootSpec {
        memory: Memory::new(64 << 20).unwrap(),
        read_completion_boundary: 64,
        peer_to_peer: PeerToPeer::Refused,
        ports: vec![port(PortType::RootPort, 0)],
    });
    let downstream = (0..shapes.len() as u8).map(|number| port(PortType::Downstream, number)).collect();
    let switch = fabric.add_switch(root, &link, port(PortType::Upstream, 0), downstream).unwrap();
    let plug = |shape: &MultiShape| {
        fabric.plug(switch, &link, |_, port| Box::new(MultiEndpoint::new(port, shape).unwrap())).unwrap()
    };
    let devices = shapes.iter().map(plug).collect();
    Rig { simulation: Simulation::new(fabric), root, devices }
}

impl Rig {
    fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(&mut self, program: impl FnOnce(Host) -> F) -> T {
        let host = self.simulation.host(self.root);
        self.simulation.run(program(host)).expect("the program ends")
    }

    fn find(&mut self, virtual_functions: u16) -> Result<Vec<Found>, EnumerationError> {
        let settings = Settings { map: Default::default(), max_payload: 256, max_read_request: 512 };
        self.run(move |host| async move { enumerate_virtual(&host, settings, virtual_functions).await })
    }

    fn device<T>(&mut self, number: usize, call: impl FnOnce(&mut MultiEndpoint) -> T) -> T {
        let node = self.devices[number];
        let fabric = self.simulation.fabric_mut();
        fabric.device(node, |device: &mut MultiEndpoint, _| call(device)).expect("a device")
    }
}

fn endpoints(found: &[Found]) -> Vec<&Found> {
    found.iter().filter(|function| !function.bridge).collect()
}

const SHAPE: MultiShape = MultiShape {
    vendor_id: 0xfff1,
    device_id: 3,
    bar: 1 << 16,
    functions: 1,
    virtual_functions: 0,
    ari: false,
    max_payload: 512,
    link: (4, 8),
    virtual_channels: VirtualChannels::NONE,
};

/// What enumeration finds: functions, ARI, virtual functions of each, asked for; and the IDs of all, on the bus 3 and further ones.
#[test]
fn functions_are_found_by_their_numbers() {
    #[rustfmt::skip]
    let cases: [(u16, bool, u16, u16, Vec<u16>); 8] = [
        (1, false, 0, 0, vec![0x300]),
        (3, false, 0, 9, vec![0x300, 0x301, 0x302]),
        (8, false, 0, 0, (0x300..0x308).collect()),
        (12, true, 0, 0, (0x300..0x30c).collect()),
        (256, true, 0, 0, (0x300..0x400).collect()),
        (1, true, 4, 9, vec![0x300, 0x301, 0x302, 0x303, 0x304]),
        // Each physical function is followed by its virtual ones, whose IDs are interleaved.
        (2, true, 3, 2, vec![0x300, 0x302, 0x304, 0x301, 0x303, 0x305]),
        // Without ARI they are on the next bus.
        (2, false, 3, 3, vec![0x300, 0x400, 0x402, 0x404, 0x301, 0x401, 0x403, 0x405]),
    ];
    for (functions, ari, virtual_functions, asked, ids) in cases {
        let mut rig = rig(&[MultiShape { functions, ari, virtual_functions, ..SHAPE }]);
        let found = rig.find(asked).unwrap();
        let seen: Vec<u16> = endpoints(&found).iter().map(|function| function.id.0).collect();
        assert_eq!(seen, ids, "{functions} functions, ARI {ari}, {asked} of {virtual_functions} virtual ones");
        for function in endpoints(&found) {
            let expected = if function.physical.is_some() { 4 } else { 3 };
            assert_eq!((function.vendor, function.device, function.bars.len()), (0xfff1, expected, 1));
        }
        // The buses above lead to the last one.
        let last = ids.iter().max().unwrap() >> 8;
        for bridge in found.iter().filter(|function| function.bridge) {
            let id = bridge.id;
            let buses = rig.run(move |host| async move { host.config_read(id, 6).await.unwrap() });
            assert_eq!(buses >> 16, u32::from(last), "{id}");
        }
    }
}

/// Every BAR of every function is memory of its own, next to those of the others.
#[test]
fn each_function_has_its_own_memory() {
    for ari in [false, true] {
        let shape = MultiShape { functions: 4, virtual_functions: 5, ari, ..SHAPE };
        let mut rig = rig(&[shape, MultiShape { bar: 256, ..shape }, SHAPE]);
        let found = rig.find(5).unwrap();
        let bars: Vec<(u64, u64)> =
            endpoints(&found).iter().map(|function| (function.bars[0].address, function.bars[0].size)).collect();
        assert_eq!(bars.len(), 24 + 24 + 1);
        let mut sorted = bars.clone();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "they overlap: {sorted:x?}");
        let places = bars.clone();
        rig.run(move |host| async move {
            for (number, (address, size)) in (1..).zip(&places) {
                host.write64(*address, number).await.unwrap();
                host.write64(address + size - 8, number << 32).await.unwrap();
            }
            for (number, (address, size)) in (1..).zip(&places) {
                assert_eq!(host.read64(*address).await, Ok(number), "{address:x}");
                assert_eq!(host.read64(address + size - 8).await, Ok(number << 32), "{address:x}");
            }
        });
        // The second device's virtual functions have a page each.
        let mut value = [0; 8];
        let key = FunctionKey::Virtual { physical: 1, number: 2 };
        rig.device(1, |device| device.memory_mut(key).unwrap().read(4088, &mut value)).unwrap();
        // 24 functions of the first device, 6 of physical function 0, physical function 1, and its third virtual one.
        assert_eq!(u64::from_le_bytes(value), (24 + 6 + 1 + 3) << 32);
        assert_eq!(rig.simulation.fabric().faults().malformed, 0);
    }
}

/// What a virtual function's registers say, and what of them can be written (section 9.3.4).
#[test]
fn registers_of_a_virtual_function() {
    let mut rig = rig(&[MultiShape { virtual_functions: 2, ari: true, ..SHAPE }]);
    let found = rig.find(2).unwrap();
    let (physical, id) = (found[3].id, found[4].id);
    assert_eq!((found[4].physical, id), (Some(physical), Bdf(0x301)));
    let pcie = found[4].capability(0x10).unwrap() / 4;
    #[rustfmt::skip]
    let rows = [
        // register, what it reads after ones were written
        (0, 0xffff_ffff),        // Vendor ID and Device ID
        (1, 0x0010_0004),        // Bus Master Enable; a list of capabilities
        (2, 0x0580_0000),        // the class of the physical function
        (3, 0),
        (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), (12, 0),
        (11, 0),
        (15, 0),                 // no pin
        (pcie + 2, 0),           // Device Control is the physical function's
        (pcie + 10, 0),
    ];
    rig.run(move |host| async move {
        for (register, _) in rows {
            // All but the reset of the function.
            let ones = if register == pcie + 2 { 0xffff_7fff } else { u32::MAX };
            host.config_write(id, register, ones).await.unwrap();
        }
        for (register, value) in rows {
            assert_eq!(host.config_read(id, register).await, Ok(value), "dword {register}");
        }
    });
    // It works with the settings of the physical one all the same.
    let key = FunctionKey::Virtual { physical: 0, number: 0 };
    let sizes = rig.device(0, |device| {
        let config = device.config(key).unwrap();
        (config.max_payload(), config.max_read_request(), config.extended_tag_enabled(), config.may_request())
    });
    assert_eq!(sizes, (256, 512, true, true));
}

/// NumVFs, VF MSE, System Page Size and ARI Capable Hierarchy: when they can be written, and what follows.
#[test]
fn controls_of_sriov() {
    let mut rig = rig(&[MultiShape { functions: 2, virtual_functions: 8, ari: true, bar: 4096, ..SHAPE }]);
    let found = rig.find(3).unwrap();
    let id = found[3].id;
    let at = found[3].extended_capability(0x10).unwrap() / 4;
    let first = found[4].bars[0].address;
    let beyond = found[10].bars[0].address + 4096;
    let second_at = found[7].extended_capability(0x10).unwrap() / 4;
    rig.run(move |host| async move {
        let read = async |dword: u16| host.config_read(id, at + dword).await.unwrap();
        let write = async |dword: u16, value: u32| host.config_write(id, at + dword, value).await.unwrap();
        assert_eq!(read(2).await & 0xffff, 0x19);
        // While they are enabled.
        write(4, 7).await;
        write(8, 0x10).await;
        write(2, 0x9).await;
        assert_eq!((read(4).await, read(8).await, read(2).await), (3, 1, 0x19));
        assert_eq!(read(5).await, 0x2_0002, "ARI: behind both functions");
        // Without memory space there's nobody.
        host.write32(first, 5).await.unwrap();
        write(2, 0x11).await;
        assert_eq!(host.read32(first).await, Err(AccessError::UnsupportedRequest(first)));
        assert_eq!(host.config_read(Bdf(0x302), 0).await, Ok(u32::MAX));
        write(2, 0x19).await;
        assert_eq!(host.read32(first).await, Ok(5));
        // One after the last has nothing.
        assert_eq!(host.read32(beyond).await, Err(AccessError::UnsupportedRequest(beyond)));
        // VF Enable is cleared.
        write(2, 0x10).await;
        assert_eq!(host.read32(first).await, Err(AccessError::UnsupportedRequest(first)));
        assert!(host.config_read(Bdf(0x302), 0).await.is_err());
        // A page of 64 KiB: VF BARs are no smaller. What isn't one supported size isn't taken.
        write(8, 0x10).await;
        for wrong in [0x11, 0, 0x4, 1 << 31] {
            write(8, wrong).await;
            assert_eq!(read(8).await, 0x10);
        }
        write(9, u32::MAX).await;
        assert_eq!(read(9).await, 0xffff_000c);
        // Outside of an ARI hierarchy they are on the next bus. The bit is in the lowest function only.
        write(2, 0).await;
        assert_eq!(read(5).await, 0x2_0100);
        host.config_write(Bdf(0x301), second_at + 2, 0x10).await.unwrap();
        assert_eq!(host.config_read(Bdf(0x301), second_at + 2).await, Ok(0));
        assert_eq!(host.config_read(Bdf(0x301), second_at + 5).await, Ok(0x2_0100));
        write(2, 0x10).await;
        assert_eq!(host.config_read(Bdf(0x301), second_at + 5).await, Ok(0x2_0002));
        // More than there are.
        write(8, 1).await;
        write(4, 100).await;
        write(2, 0x19).await;
    });
    assert_eq!(rig.device(0, |device| device.device().virtual_functions(0)), 8);
    assert_eq!(rig.device(0, |device| device.device().virtual_functions(1)), 0, "written above");
}

/// A function-level reset of a virtual function is its own affair; that of a physical one takes its virtual ones away, and no others.
#[test]
fn function_level_resets() {
    let mut rig = rig(&[MultiShape { functions: 2, virtual_functions: 2, ari: true, ..SHAPE }]);
    let found = rig.find(2).unwrap();
    let own = endpoints(&found).into_iter().cloned().collect::<Vec<_>>();
    let ids: Vec<u16> = own.iter().map(|function| function.id.0).collect();
    assert_eq!(ids, [0x300, 0x302, 0x304, 0x301, 0x303, 0x305]);
    let pcie = own[0].capability(0x10).unwrap() / 4;
    assert_eq!(own[1].capability(0x10).unwrap() / 4, pcie);
    rig.run(move |host| async move {
        let reset = async |id: Bdf| host.config_write_bytes(id, pcie + 2, 0x3, 1 << 15).await.unwrap();
        for function in &own {
            host.config_write_bytes(function.id, 1, 0x3, 0x6).await.unwrap();
            host.write32(function.bars[0].address, u32::from(function.id.0)).await.unwrap();
        }
        reset(Bdf(0x302)).await;
        assert_eq!(host.config_read(Bdf(0x302), 1).await.unwrap() & 0xffff, 0, "no bus master any more");
        assert_eq!(host.config_read(Bdf(0x304), 1).await.unwrap() & 0xffff, 4);
        assert_eq!(host.read32(own[1].bars[0].address).await, Ok(0x302), "its memory is still decoded");
        reset(Bdf(0x300)).await;
        for function in &own[..3] {
            assert!(host.read32(function.bars[0].address).await.is_err(), "{}", function.id);
        }
        assert!(host.config_read(Bdf(0x302), 0).await.is_err());
        for function in &own[3..] {
            assert_eq!(host.read32(function.bars[0].address).await, Ok(u32::from(function.id.0)));
        }
        // ARI Capable Hierarchy is kept: the others' IDs depend on it.
        let at = own[0].extended_capability(0x10).unwrap() / 4;
        assert_eq!(host.config_read(Bdf(0x300), at + 2).await, Ok(0x10));
        assert_eq!(host.config_read(Bdf(0x303), 0).await, Ok(u32::MAX));
    });
}

/// Requests of each function have its ID, and their completions find it.
#[test]
fn completions_find_their_function() {
    for ari in [false, true] {
        let mut rig = rig(&[SHAPE, MultiShape { functions: 3, virtual_functions: 4, ari, ..SHAPE }]);
        let found = rig.find(4).unwrap();
        let masters: Vec<Bdf> = endpoints(&found).iter().map(|function| function.id).collect();
        rig.run(move |host| async move {
            for id in masters {
                host.config_write_bytes(id, 1, 0x3, 0x6).await.unwrap();
            }
            host.store(0x1000, &[7; 64]).await.unwrap();
        });
        let (node, fabric) = (rig.devices[1], rig.simulation.fabric_mut());
        let ids = fabric
            .device(node, |device: &mut MultiEndpoint, core| {
                let keys: Vec<FunctionKey> = device.device().functions().collect();
                let ids: Vec<Bdf> = keys.iter().map(|&key| device.device().function(key).unwrap().id()).collect();
                for (number, &key) in keys.iter().enumerate() {
                    let function = device.device().function(key).unwrap();
                    Dma::write(core, function, 0x2000 + 64 * number as u64, &[number as u8; 64]).unwrap();
                    assert_eq!(device.device().by_id(function.id()), Some(key));
                }
                ids
            })
            .unwrap();
        let expected: Vec<Bdf> = endpoints(&found)[1..].iter().map(|function| function.id).collect();
        assert_eq!(ids, expected);
        assert_eq!(ids.len(), 15);
        while rig.simulation.step() {}
        let mut bytes = [0; 64];
        for number in 0..15 {
            rig.simulation.fabric().memory(rig.root).unwrap().read(0x2000 + 64 * number, &mut bytes).unwrap();
            assert_eq!(bytes, [number as u8; 64]);
        }
        let before = rig.simulation.fabric().faults().unexpected_completion;
        // A read of each: the completions are the device's own, so that it says nobody waits for them.
        let fabric = rig.simulation.fabric_mut();
        fabric.device(node, |device: &mut MultiEndpoint, core| {
            for key in device.device().functions().collect::<Vec<_>>() {
                let mut dma = Dma::new(8, Time::ms(10));
                dma.read(core, device.device().function(key).unwrap(), 0x1000, 64, 0);
            }
        });
        while rig.simulation.step() {}
        assert_eq!(rig.simulation.fabric().faults().unexpected_completion - before, 15);
        assert_eq!(rig.simulation.fabric().in_flight(), 0);
    }
}

/// Ports forward by ARI above devices that have it, and not above others: whatever was set before.
#[test]
fn ports_forward_by_ari_where_the_device_can() {
    let mut rig = rig(&[SHAPE, MultiShape { ari: true, functions: 9, ..SHAPE }]);
    for set in [0, 1 << 5, 1 << 5] {
        let ports: Vec<(Bdf, u16)> = rig
            .find(0)
            .unwrap()
            .iter()
            .filter(|function| function.bridge)
            .map(|port| (port.id, port.capability(0x10).unwrap() / 4 + 10))
            .collect();
        // The root port, the upstream port, the two downstream ports.
        let enabled = rig.run(move |host| async move {
            let mut enabled = Vec::new();
            for (id, register) in ports {
                enabled.push(host.config_read(id, register).await.unwrap() & 1 << 5 != 0);
                host.config_write(id, register, set).await.unwrap();
            }
            enabled
        });
        assert_eq!(enabled, [false, false, false, true]);
    }
    // Without forwarding there are eight functions, and nobody else is asked.
    let (ninth, faults) = (Bdf(0x408), rig.simulation.fabric().faults().unsupported_request);
    assert!(rig.run(move |host| async move { host.config_read(Bdf(0x407), 0).await.is_ok() }));
    rig.run(|host| async move { host.config_write(Bdf(0x208), 0x48 / 4 + 10, 0).await.unwrap() });
    assert!(rig.run(move |host| async move { host.config_read(ninth, 0).await.is_err() }));
    assert_eq!(rig.simulation.fabric().faults().unsupported_request, faults + 1, "the port itself refuses it");
}

/// A link that goes down takes virtual functions and addresses away.
#[test]
fn a_reset_of_the_link() {
    let mut rig = rig(&[MultiShape { functions: 2, virtual_functions: 4, ari: true, ..SHAPE }]);
    rig.find(4).unwrap();
    assert_eq!(rig.device(0, |device| device.device().functions().count()), 10);
    rig.run(|host| async move {
        host.set_perst(true).await;
        host.set_perst(false).await;
        host.sleep(Time::ms(10)).await;
    });
    assert_eq!(rig.device(0, |device| device.device().functions().count()), 2);
    let found = rig.find(1).unwrap();
    assert_eq!(endpoints(&found).len(), 4);
}

#[test]
fn more_buses_than_there_are() {
    // The device is on bus 4, and without an ARI hierarchy it would need 255 more.
    let shape = MultiShape { functions: 8, virtual_functions: 8_160, ari: false, bar: 128, ..SHAPE };
    assert_eq!(shape.further_buses(8_160, false), 255);
    let mut rig = rig(&[SHAPE, shape, SHAPE]);
    assert_eq!(rig.find(8_160).map(|found| found.len()), Err(EnumerationError::NoBus(Bdf(0x400))));
}

#[test]
fn what_is_no_device() {
    let specs = |shape: MultiShape| shape.specs().unwrap();
    let new = |functions: Vec<PhysicalSpec>| {
        let mut fabric = Fabric::new(TIMING, 1);
        let identity = PortIdentity { vendor_id: 1, device_id: 1, max_payload: 512 };
        let ports = vec![port_config(identity, PortType::RootPort, 0, &link(1, 1)).unwrap()];
        let memory = Memory::new(0).unwrap();
        let root = fabric.add_root(RootSpec {
            memory,
            read_completion_boundary: 64,
            peer_to_peer: PeerToPeer::Refused,
            ports,
        });
        let node = fabric.reserve();
        let port = fabric.attach(node, root, &link(1, 1)).unwrap();
        MultiFunction::new(port, functions).map(|_| ())
    };
    assert_eq!(new(Vec::new()), Err(MultiError::Number(0, 0)));
    assert_eq!(new(specs(MultiShape { functions: 2, ..SHAPE }).split_off(1)), Err(MultiError::Number(1, 0)));
    assert_eq!(new(specs(MultiShape { functions: 9, ..SHAPE })), Err(MultiError::NeedsAri(8)));
    let mut twice = specs(SHAPE);
    twice.extend(specs(SHAPE));
    assert_eq!(new(twice), Err(MultiError::Number(0, 1)));
    let mut without = specs(MultiShape { virtual_functions: 1, ..SHAPE });
    without[0].config = specs(SHAPE)[0].config.clone();
    assert_eq!(new(without), Err(MultiError::NoSriov(0)));
    // And one that can be printed.
    let text = LspciDump { bdf: 0, space: &specs(SHAPE)[0].config }.to_string();
    assert!(text.starts_with("00:00.0"));
}

/// A write with more data than Max_Payload_Size of its receiver is malformed (2.2.2). Which function's that is: its own; with ARI that of function 0; of a
/// virtual function its physical one's.
#[test]
fn what_is_too_large_for_its_receiver() {
    let physical = FunctionKey::Physical;
    let virtual_of = |physical| FunctionKey::Virtual { physical, number: 0 };
    #[rustfmt::skip]
    let table = [
        // ARI, Max_Payload_Size of functions 0 and 1 in bytes; receiver, place in the walk; bytes; whether it arrives.
        (false, [128, 256], physical(0),   0, 256, false),
        (false, [128, 256], physical(0),   0, 128, true),
        (false, [128, 256], physical(1),   2, 256, true),
        (false, [256, 128], physical(1),   2, 256, false),
        (false, [256, 128], virtual_of(0), 1, 256, true),
        (false, [256, 128], virtual_of(1), 3, 256, false),
        (true,  [128, 256], physical(0),   0, 256, false),
        (true,  [128, 256], physical(1),   2, 256, false),
        (true,  [256, 128], physical(1),   2, 256, true),
        (true,  [256, 128], virtual_of(1), 3, 256, true),
        (true,  [128, 256], virtual_of(1), 3, 256, false),
        (true,  [128, 256], virtual_of(1), 3, 128, true),
    ];
    for (ari, sizes, receiver, place, len, arrives) in table {
        let what = format!("ARI {ari}, {sizes:?}, {len} bytes to {receiver:?}");
        let mut rig = rig(&[MultiShape { functions: 2, virtual_functions: 1, ari, ..SHAPE }, SHAPE]);
        let found: Vec<Found> = rig.find(1).unwrap().into_iter().filter(|function| !function.bridge).collect();
        for (function, size) in [&found[0], &found[2]].into_iter().zip(sizes) {
            let (id, register) = (function.id, function.capability(0x10).unwrap() / 4 + 2);
            let code = (size / 128_u32).trailing_zeros() << 5;
            rig.run(move |host| async move { host.config_write_bytes(id, register, 0x1, code).await.unwrap() });
        }
        let (sender, address) = (found[4].id, found[place].bars[0].address);
        let header = Header::mem_write_bytes(sender, 0, address, len).unwrap();
        let node = rig.devices[1];
        rig.simulation.fabric_mut().device(node, |device: &mut MultiEndpoint, core| {
            core.send_new(device.device().port(), header, &[0x5a; 256]);
        });
        rig.run(|host| async move { host.sleep(Time::us(10)).await });
        let mut byte = [0];
        rig.device(0, |device| device.memory_mut(receiver).unwrap().read(0, &mut byte).unwrap());
        assert_eq!(byte[0] == 0x5a, arrives, "{what}");
        let malformed = rig.simulation.fabric().detected(ErrorKind::MalformedTlp);
        assert_eq!(malformed, u64::from(!arrives), "{what}");
    }
}
