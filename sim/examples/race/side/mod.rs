//! Our side: a root complex, a switch, an endpoint, and the workload on them.

mod device;
mod record;
mod workload;

use std::error::Error;
use std::sync::{Arc, Mutex};

use device::Runner;
use mlx5_twin_sim::Fabric;
use mlx5_twin_sim::config::PortType;
use mlx5_twin_sim::fabric::{Device, NodeId, PortIdentity, RootSpec, port_config};
use mlx5_twin_sim::host::{Host, Settings, Simulation, enumerate};
use mlx5_twin_sim::memory::Memory;
use mlx5_twin_sim::profile::{Credits, DataLink, Link, Timing, Topology};
use mlx5_twin_sim::tlp::Bdf;
use record::Recorder;
use workload::{What, prefilled, written};

pub(crate) use record::Delivered;
pub(crate) use workload::{Workload, hash};

/// What the receivers of cocotbext-pcie's ports have room for.
const CREDITS: Credits = Credits {
    posted_headers: 64,
    posted_data: 1024,
    nonposted_headers: 64,
    nonposted_data: 64,
    completion_headers: 64,
    completion_data: 1024,
};

/// The fabric and the workload.
pub(crate) struct Race {
    simulation: Simulation,
    root: NodeId,
    endpoint: NodeId,
    id: Bdf,
    bar: u64,
    work: Arc<Workload>,
    /// What the host's writes send.
    data: Arc<Vec<Vec<u8>>>,
}

impl Race {
    /// Builds the fabric and enumerates it.
    pub(crate) fn new(work: Workload, data_link: DataLink) -> Result<Race, Box<dyn Error>> {
        let link = Link {
            generation: work.generation,
            lanes: work.lanes,
            credits: CREDITS,
            data_link,
            ..Topology::default().internal_link
        };
        let identity = PortIdentity { vendor_id: 0x1234, device_id: 1, max_payload: work.max_payload };
        let port = |port, number| port_config(identity, port, number, &link);
        let mut memory = Memory::new(work.high + 2 * work.area)?;
        for base in [work.low, work.high] {
            memory.write(base, &prefilled(0, work.area as usize))?;
        }
        let timing = Timing::default();
        let mut fabric = Fabric::new(timing, 1);
        let ports = vec![port(PortType::RootPort, 0)?];
        let root =
            fabric.add_root(RootSpec { memory, read_completion_boundary: 64, ports, peer_to_peer: Default::default() });
        let upstream = port(PortType::Upstream, 0)?;
        let switch = fabric.add_switch(root, &link, upstream, vec![port(PortType::Downstream, 0)?])?;
        let send = |(number, request): (usize, &workload::Request)| match request.0 {
            What::Write => written(number, request.2),
            What::Read => Vec::new(),
        };
        let device_data: Vec<_> = work.device.iter().enumerate().map(send).collect();
        let data: Vec<_> = work.host.iter().enumerate().map(send).collect();
        let (work, device_data) = (Arc::new(work), Arc::new(device_data));
        let endpoint = fabric.plug(switch, &link, |node, port| -> Box<dyn Device> {
            Box::new(Runner::new(node, port, Arc::clone(&work), device_data, &timing))
        })?;

        let mut simulation = Simulation::new(fabric);
        let host = simulation.host(root);
        let (max_payload, max_read_request) = (work.max_payload, work.max_read_request);
        let found = simulation.run(async move {
            let settings = Settings { map: Default::default(), max_payload, max_read_request };
            let found = enumerate(&host, settings).await?;
            for function in &found {
                host.config_write(function.id, 1, 0b110).await.expect("the command register");
            }
            Ok::<_, mlx5_twin_sim::host::EnumerationError>(found)
        });
        let found = found.ok_or("enumeration waits for ever")??;
        let function = found.iter().find(|function| !function.bridge).ok_or("no endpoint was found")?;
        let bar = function.bars.first().ok_or("the endpoint has no BAR")?.address;
        Ok(Race { simulation, root, endpoint, id: function.id, bar, work, data: Arc::new(data) })
    }

    /// Runs the workload once: endpoint and host at the same time.
    pub(crate) fn run(&mut self) {
        let host = self.simulation.host(self.root);
        self.simulation.spawn(program(host, self.bar, Arc::clone(&self.work), Arc::clone(&self.data)));
        let start = |runner: &mut Runner, core: &mut _| runner.start(core);
        self.simulation.fabric_mut().device(self.endpoint, start);
        while self.simulation.step() {}
        assert_eq!(self.simulation.running(), 0, "the host still waits");
        assert!(self.runner(|runner| runner.is_done()), "the endpoint still waits");
    }

    fn runner<T>(&mut self, call: impl FnOnce(&mut Runner) -> T) -> T {
        let called = self.simulation.fabric_mut().device(self.endpoint, |runner: &mut Runner, _| call(runner));
        called.expect("it's the endpoint")
    }

    /// Runs it once, and gives what was delivered.
    pub(crate) fn record(&mut self) -> Vec<Delivered> {
        self.runner(|runner| runner.check = true);
        let delivered = Arc::new(Mutex::new(Vec::new()));
        let id = self.runner(|runner| runner.id());
        assert_eq!(id, self.id);
        let recorder = Recorder { id, bar: self.bar, under_way: Default::default(), delivered: Arc::clone(&delivered) };
        self.simulation.fabric_mut().set_probe(Some(Box::new(recorder)));
        self.run();
        self.simulation.fabric_mut().set_probe(None);
        self.runner(|runner| runner.check = false);
        std::mem::take(&mut delivered.lock().expect("no panic"))
    }

    /// Hashes of what was written: host memory below and above 4 GiB, and the BAR.
    pub(crate) fn written(&mut self) -> Result<[u64; 3], Box<dyn Error>> {
        let mut bytes = vec![0; self.work.area as usize];
        let mut hashes = [0; 3];
        let memory = self.simulation.fabric().memory(self.root).ok_or("it's the root complex")?;
        for (hashed, base) in hashes.iter_mut().zip([self.work.low, self.work.high]) {
            memory.read(base + self.work.area, &mut bytes)?;
            *hashed = hash(&bytes);
        }
        bytes.resize(self.work.bar as usize, 0);
        self.runner(|runner| runner.bar().read(0, &mut bytes))?;
        hashes[2] = hash(&bytes);
        Ok(hashes)
    }
}

/// The host's part: one access after the other.
async fn program(host: Host, bar: u64, work: Arc<Workload>, data: Arc<Vec<Vec<u8>>>) {
    for (request, data) in work.host.iter().zip(data.iter()) {
        let address = bar + request.1;
        match request.0 {
            What::Write => host.write(address, data).await.expect("a write to the BAR"),
            What::Read => {
                let read = host.read(address, request.2 as u8).await.expect("a read of the BAR");
                std::hint::black_box(read);
            }
        }
    }
}
