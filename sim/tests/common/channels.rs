//! Plants whose links have virtual channels, the software that sets them up, and traffic over them.

use mlx5_twin_sim::Time;
use mlx5_twin_sim::fabric::PortId;
use mlx5_twin_sim::fabric::dll::Amount;
use mlx5_twin_sim::host::{Found, Host};
use mlx5_twin_sim::probe::LinkId;
use mlx5_twin_sim::profile::{Credits, DataLink, Timing, VirtualChannels};
use mlx5_twin_sim::tlp::{Attr, Bdf, Class, Header};
use proptest::prelude::*;
use proptest::sample::Index;

use super::agent::BAR;
use super::credits::SMALLEST;
use super::plant::{MEMORY, Plant, Recorder, Spec};

pub(crate) const MAX_PAYLOAD: u32 = 128;
pub(crate) const TRANSIT: Time = Time::ns(310);

/// A plant whose links have VC0 with the first credits, and a channel for each of the others.
pub(crate) fn spec(credits: &[Credits], low_priority: u8, timing: Timing, seed: u64) -> Spec {
    let virtual_channels = VirtualChannels::new(&credits[1..]).unwrap().with_low_priority(low_priority);
    let mut link = super::link(3, 1);
    (link.credits, link.virtual_channels) = (credits[0], virtual_channels);
    Spec { link, timing, seed, max_payload: MAX_PAYLOAD, max_read_request: 128, ..Spec::default() }
}

/// The same with links whose data link layer is exact, if `exact`.
pub(crate) fn with_data_link(mut spec: Spec, exact: bool) -> Spec {
    spec.link.data_link = if exact { DataLink::Exact } else { DataLink::Rated };
    spec
}

/// Offset of the capability in bytes, as a walk of the extended list finds it.
pub(crate) async fn capability(host: &Host, id: Bdf) -> Option<u16> {
    let mut at = 0x100;
    while at != 0 {
        let header = host.config_read(id, at / 4).await.unwrap();
        if header & 0xffff == 2 {
            return Some(at);
        }
        at = (header >> 20) as u16;
    }
    None
}

pub(crate) const ENABLE: u32 = 1 << 31;

/// Writes VC Resource Control of resource `number`: VC ID and traffic classes.
pub(crate) async fn set(host: &Host, id: Bdf, number: u16, channel: u8, map: u8) {
    let at = capability(host, id).await.unwrap() + 0x14 + 0xc * number;
    host.config_write(id, at / 4, ENABLE | u32::from(channel) << 24 | u32::from(map)).await.unwrap();
}

/// The VC resources that are pending, as a set of bits.
pub(crate) async fn pending(host: &Host, id: Bdf, count: u16) -> u32 {
    let at = capability(host, id).await.unwrap() + 0x18;
    let mut bits = 0;
    for number in 0..count {
        bits |= (host.config_read(id, (at + 0xc * number) / 4).await.unwrap() >> 17 & 1) << number;
    }
    bits
}

/// Enables a channel for each of `maps` in all functions, with its number as its ID; the first one is VC0's. `rotated` gives resources
/// beyond VC0's to other IDs in every second function.
pub(crate) async fn enable(host: &Host, functions: &[Found], maps: &[u8], rotated: bool) {
    for (place, function) in functions.iter().enumerate() {
        let count = maps.len() as u16 - 1;
        for number in 1..=count {
            let turn = if rotated && place % 2 == 1 { number % count + 1 } else { number };
            set(host, function.id, number, turn as u8, maps[usize::from(turn)]).await;
        }
    }
    for function in functions {
        set(host, function.id, 0, 0, maps[0]).await;
    }
}

pub(crate) fn enable_all(plant: &mut Plant, maps: &[u8], rotated: bool) {
    let (found, maps) = (plant.found.clone(), maps.to_vec());
    plant.run(|host| async move { enable(&host, &found, &maps, rotated).await });
    plant.settle();
}

pub(crate) fn write(me: Bdf, address: u64, len: u32, tc: u8) -> Header {
    let mut header = Header::mem_write_bytes(me, 0, address, len).unwrap();
    header.set_tc(tc).unwrap();
    header
}

/// Four writes of the first agent of each of TC0 and TC1, in turn: gives the traffic classes in the order in which they went.
pub(crate) fn four_of_each(plant: &mut Plant) -> Vec<u8> {
    let me = plant.function(0).0;
    let recorder = Recorder::default();
    plant.fabric().set_probe(Some(Box::new(recorder.clone())));
    for number in 0..4 {
        for tc in [0, 1] {
            let address = u64::from(tc) * 0x1000 + number * 128;
            plant.send(0, write(me, address, 128, tc), &[tc; 128]);
        }
    }
    plant.settle();
    classes(&recorder, plant)
}

/// The traffic classes of what the first agent sent, in the order of its link.
pub(crate) fn classes(recorder: &Recorder, plant: &mut Plant) -> Vec<u8> {
    let log = recorder.take();
    assert_eq!(plant.judge(&log, TRANSIT).violations, []);
    let up: Vec<_> = log.transmitted.iter().filter(|seen| !seen.down).collect();
    let first = up[0].link;
    up.iter().filter(|seen| seen.link == first).map(|seen| Header::decode(&seen.header).unwrap().tc()).collect()
}

/// What one agent does.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) from: Index,
    /// Another agent, or host memory.
    pub(crate) to: Option<Index>,
    pub(crate) write: bool,
    pub(crate) attr: Attr,
    pub(crate) tc: u8,
    pub(crate) dwords: u32,
    pub(crate) pause: u8,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let attr = prop_oneof![3 => Just(Attr::NONE), 1 => (0..8_u8).prop_map(Attr::from_bits)];
    let to = prop::option::weighted(0.6, any::<Index>());
    let pause = prop_oneof![Just(0), 0..20u8];
    (any::<Index>(), to, any::<bool>(), attr, 0..8_u8, 1..=MAX_PAYLOAD / 4, pause)
        .prop_map(|(from, to, write, attr, tc, dwords, pause)| Step { from, to, write, attr, tc, dwords, pause })
}

pub(crate) fn credits() -> impl Strategy<Value = Credits> {
    prop_oneof![2 => Just(SMALLEST), 3 => super::credits::credits()]
}

/// Credits of one to four channels, how many are in the low-priority group, and the channel of each traffic class beyond TC0.
pub(crate) fn channels() -> impl Strategy<Value = (Vec<Credits>, u8, Vec<u8>)> {
    (1..=4_usize).prop_flat_map(|count| {
        let all = prop::collection::vec(credits(), count);
        let channel = prop::collection::vec(0..count, 7);
        (all, 0..count as u8, channel).prop_map(move |(credits, low_priority, channel)| {
            let mut maps = vec![0; count];
            maps[0] = 1;
            for (tc, channel) in (1..8).zip(channel) {
                maps[channel] |= 1 << tc;
            }
            (credits, low_priority, maps)
        })
    })
}

pub(crate) fn perform(plant: &mut Plant, steps: &[Step]) -> usize {
    let agents = plant.agents.len();
    let mut asked = 0;
    for (number, step) in (0_u64..).zip(steps) {
        let from = step.from.index(agents);
        let me = plant.function(from).0;
        let base = match step.to.map(|to| to.index(agents)).filter(|&to| to != from) {
            Some(to) => plant.function(to).1,
            None => MEMORY / 2,
        };
        let (address, tag) = (base + number * 128 % BAR, number as u16);
        let make = if step.write { Header::mem_write } else { Header::mem_read };
        let last = if step.dwords == 1 { 0 } else { 0xf };
        let tag = if step.write { tag & 0xff } else { tag };
        let mut header = make(me, tag, address, 0xf, last, step.dwords).unwrap();
        header.set_attr(step.attr).unwrap();
        header.set_tc(step.tc).unwrap();
        asked += if step.write { 0 } else { step.dwords as usize * 4 };
        plant.send(from, header, &vec![number as u8; header.payload_len()]);
        for _ in 0..step.pause {
            plant.simulation.step();
        }
    }
    plant.settle();
    asked
}

/// The credits that each end of each exact link has of each class, by VC ID. Those of other links aren't among them.
pub(crate) fn exact_credits(plant: &mut Plant) -> Vec<Option<Amount>> {
    let links = (0..u16::MAX).map_while(|link| plant.fabric().ends(LinkId(link)));
    let ports: Vec<PortId> = links.flatten().map(|end| end.port).collect();
    plant.agent(0, |_, core| {
        let one = |port, id| Class::ALL.map(|class| core.exact_credits(port, id, class));
        ports.into_iter().flat_map(|port| (0..8).flat_map(move |id| one(port, id))).collect()
    })
}

/// Writes the VC Arbitration Table of a function, selects weighted round robin with all its phases and loads it: gives what the table's status showed
/// before and afterwards.
pub(crate) async fn load_table(host: &Host, id: Bdf, table: &[u8]) -> [u32; 2] {
    let base = capability(host, id).await.unwrap() / 4;
    let at = base + (host.config_read(id, base + 2).await.unwrap() >> 24) as u16 * 4;
    for (dword, entries) in (0..).zip(table.chunks(8)) {
        let value = entries.iter().rev().fold(0, |value, entry| value << 4 | u32::from(*entry));
        host.config_write(id, at + dword, value).await.unwrap();
    }
    let status = async |host: &Host| host.config_read(id, base + 3).await.unwrap() >> 16 & 1;
    let before = status(host).await;
    let select = match table.len() {
        32 => 1,
        64 => 2,
        _ => 3,
    };
    host.config_write_bytes(id, base + 3, 0x3, select << 1 | 1).await.unwrap();
    [before, status(host).await]
}
