//! Any faults at any hop: nothing stands still, no TLP stays behind, credits and tags are all there afterwards, the same seed gives the same,
//! and the record the same again.

mod common;

use common::plant::{MEMORY, Plant, Recorder, Seen, Shape, Spec, configure, plant};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::fabric::rules::{Action, Fired, Rule, Rules};
use mlx5_twin_sim::host::{Access, AccessError, AddressMap, Data, Settings};
use mlx5_twin_sim::profile::{Credits, Link, Range, Timing};
use mlx5_twin_sim::rng::Rng;
use mlx5_twin_sim::tlp::Header;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct File {
    faults: Vec<Rule>,
}

/// TLPs that are sent under faults, with the environment's `MLX5_TWIN_FAULT_TLPS` another number.
const TLPS: usize = 100_000;

/// A plant is used for so many of them: bits that turn over can write to its registers, and then less and less works.
const TLPS_OF_A_PLANT: usize = 20_000;

/// Everything but links that fail.
const RULES: &str = "
[[faults]]
kind = 'drop'
probability_ppm = 3000
[[faults]]
kind = 'duplicate'
probability_ppm = 3000
delay_ps = [0, 3_000_000]
[[faults]]
kind = 'delay'
probability_ppm = 3000
delay_ps = [1, 2_000_000_000]
[[faults]]
kind = 'delay'
probability_ppm = 3000
delay_ps = [1, 2_000_000]
in_order = true
[[faults]]
kind = 'reorder'
probability_ppm = 3000
past = 3
for_ps = 500_000_000
[[faults]]
kind = 'corrupt-field'
probability_ppm = 1000
field = 'tag'
[[faults]]
kind = 'corrupt-field'
probability_ppm = 1000
field = 'address'
[[faults]]
kind = 'corrupt-field'
probability_ppm = 1000
field = 'length'
[[faults]]
kind = 'corrupt-field'
probability_ppm = 1000
field = 'type'
[[faults]]
kind = 'corrupt-field'
probability_ppm = 1000
field = 'fmt'
[[faults]]
kind = 'corrupt-header'
probability_ppm = 3000
[[faults]]
kind = 'corrupt-payload'
probability_ppm = 3000
[[faults]]
kind = 'poison'
probability_ppm = 3000
[[faults]]
kind = 'bad-lcrc'
probability_ppm = 3000
replays = 2
[[faults]]
kind = 'withhold-credits'
probability_ppm = 1000
for_ps = 20_000_000
";

fn parse(text: &str) -> Vec<Rule> {
    toml::from_str::<File>(text).unwrap().faults
}

/// Two switches and three agents, with few credits.
fn grown(seed: u64) -> Plant {
    let shapes = [Shape::Switch(vec![Shape::Switch(vec![Shape::Agent, Shape::Agent]), Shape::Agent])];
    let credits = Credits {
        posted_headers: 4,
        posted_data: 32,
        nonposted_headers: 4,
        nonposted_data: 8,
        completion_headers: if seed.is_multiple_of(2) { 4 } else { 0 },
        completion_data: if seed.is_multiple_of(3) { 32 } else { 0 },
    };
    let propagation = Range { min_ps: 500, max_ps: 5_000 };
    let (virtual_channels, data_link) = Default::default();
    let link = Link { generation: 3, lanes: 4, propagation, credits, virtual_channels, data_link };
    let timing = Timing { completion_timeout_us: 1_000, ..common::TIMING };
    plant(&shapes, &Spec { timing, link, seed, tags: 16, ..Spec::default() })
}

/// What the tests ask of each agent's DMA engine.
const READ: usize = 1_000;

/// A round of traffic in all directions: accesses of the host's CPUs to all agents, reads and writes of the agents in the host's memory and
/// in each other's BARs.
fn round(plant: &mut Plant, rng: &mut Rng) {
    let (root, agents) = (plant.root, plant.agents.len());
    let functions: Vec<_> = (0..agents).map(|number| plant.function(number)).collect();
    let mut tickets = Vec::new();
    for _ in 0..rng.range(1, 24) {
        let agent = rng.range(0, agents as u64 - 1) as usize;
        let (id, bar) = functions[agent];
        let len = 1 << rng.range(2, 6);
        let offset = rng.range(0, 255) * 64;
        match rng.range(0, 4) {
            0 => {
                let access = Access::MemoryRead { address: bar + offset, len };
                tickets.push(plant.simulation.access(root, access).unwrap());
            }
            1 => {
                let data = Data::new(&vec![0x5a; len as usize]);
                tickets
                    .push(plant.simulation.access(root, Access::MemoryWrite { address: bar + offset, data }).unwrap());
            }
            2 => plant.agent(agent, |agent, core| agent.dma_read(core, offset, READ, 0)),
            3 => {
                let header = Header::mem_write_bytes(id, 0, MEMORY / 2 + offset / 256 * 256, 256).unwrap();
                plant.send(agent, header, &[9; 256]);
            }
            _ => {
                let to = functions[(agent + 1) % agents].1 + offset;
                let header = Header::mem_write_bytes(id, 0, to, 64).unwrap();
                plant.send(agent, header, &[9; 64]);
            }
        }
        for _ in 0..rng.range(0, 20) {
            plant.simulation.step();
        }
    }
    plant.settle();
    for ticket in tickets {
        let _ = plant.simulation.result(ticket).expect("every access ends");
    }
    assert!(plant.fabric().is_at_rest(), "something is left: {:?}", plant.fabric());
    for number in 0..agents {
        plant.agent(number, |agent, _| {
            agent.ended.clear();
            agent.received.clear();
            agent.sent.clear();
        });
    }
}

/// All tags are free again: more reads at once than there are tags end well.
fn tags_are_there(plant: &mut Plant) {
    let functions = (0..plant.agents.len()).map(|number| plant.function(number));
    let functions: Vec<_> = functions.collect();
    plant.fabric().set_rules(Rules::new([], 0, |_| None).unwrap()).unwrap();
    // The rest of a tag that timed out is as long as its timeout.
    plant.run(move |host| async move {
        host.sleep(Time::ms(5)).await;
        // Whatever was written to registers.
        host.set_perst(true).await;
        host.set_perst(false).await;
        host.sleep(Time::ms(5)).await;
        let settings = Settings { map: AddressMap::default(), max_payload: 256, max_read_request: 512 };
        configure(&host, settings).await;
        for (_, bar) in functions {
            for offset in (0..3_000).step_by(4) {
                assert!(host.read32(bar + offset).await.is_ok());
            }
        }
    });
    for number in 0..plant.agents.len() {
        plant.agent(number, |agent, core| {
            for token in 0..64 {
                agent.dma_read(core, 0x1000, READ, token);
            }
        });
    }
    plant.settle();
    for number in 0..plant.agents.len() {
        let ended = plant.agent(number, |agent, _| std::mem::take(&mut agent.ended));
        assert_eq!(ended.iter().filter(|ended| ended.result.is_ok()).count(), 64);
    }
    assert!(plant.fabric().is_at_rest());
}

#[test]
fn nothing_is_lost_but_what_is_meant_to_be() {
    let tlps = std::env::var("MLX5_TWIN_FAULT_TLPS").ok().map_or(TLPS, |count| count.parse().unwrap());
    let (mut sent, mut fired, mut seed) = (0, 0, 0);
    let mut counts = [0; Action::NAMES.len()];
    let begin = std::time::Instant::now();
    while sent < tlps {
        seed += 1;
        let mut plant = grown(seed);
        let mut rng = Rng::stream(seed, "traffic");
        plant.fabric().set_rules(Rules::new(parse(RULES), seed, |_| None).unwrap()).unwrap();
        let seen = |plant: &mut Plant| plant.fabric().rules().map_or(0, Rules::seen) as usize;
        while seen(&mut plant) < TLPS_OF_A_PLANT.min(tlps) {
            round(&mut plant, &mut rng);
        }
        sent += seen(&mut plant);
        fired += plant.fabric().fired().len();
        for one in plant.fabric().fired() {
            counts[Action::NAMES.iter().position(|name| *name == one.action.name()).unwrap()] += 1;
        }
        tags_are_there(&mut plant);
    }
    println!("{sent} TLPs, {fired} faults, {seed} plants, {:?}: {counts:?}", begin.elapsed());
    // No digests, and no link that fails.
    let never = Action::NAMES.iter().zip(counts).filter(|(_, count)| *count == 0).map(|(name, _)| *name);
    assert_eq!(never.collect::<Vec<_>>(), ["ecrc", "link-down"]);
}

/// What was seen on the links in some rounds under rules, and what fired.
fn log(rules: Vec<Rule>, seed: u64) -> (Vec<Seen>, Vec<Fired>, u64) {
    let mut plant = grown(4);
    let mut rng = Rng::stream(1, "traffic");
    let recorder = Recorder::default();
    plant.fabric().set_probe(Some(Box::new(recorder.clone())));
    plant.fabric().set_rules(Rules::new(rules, seed, |_| None).unwrap()).unwrap();
    for _ in 0..150 {
        round(&mut plant, &mut rng);
    }
    let rules = plant.fabric().rules().unwrap();
    (recorder.take().transmitted, rules.fired().to_vec(), rules.differed())
}

#[test]
fn the_same_seed_and_the_record_give_the_same() {
    let text = format!("{RULES}\n[[faults]]\nkind = 'link-down'\nprobability_ppm = 50\nfor_ps = 1_000_000\n");
    let (seen, fired, _) = log(parse(&text), 3);
    let (again, fired_again, _) = log(parse(&text), 3);
    assert!(seen == again && fired == fired_again, "the same seed gives something else");
    assert!(fired.len() > 300, "{}", fired.len());
    let record = File { faults: fired.iter().map(Fired::rule).collect() };
    let text_of_record = toml::to_string(&record).unwrap();
    let (replayed, fired_again, differed) = log(parse(&text_of_record), 99);
    assert!(seen == replayed, "the record gives something else");
    assert_eq!((fired_again.len(), differed), (fired.len(), 0));
    let (other, _, _) = log(parse(&text), 4);
    assert!(seen != other, "another seed gives the same");
}

/// Links fail in the middle of everything.
#[test]
fn links_fail() {
    let mut down = 0;
    for seed in 0..40 {
        let mut plant = grown(seed);
        let mut rng = Rng::stream(seed, "traffic");
        let text = format!("{RULES}\n[[faults]]\nkind = 'link-down'\nprobability_ppm = 1000\nfor_ps = 3_000_000\n");
        plant.fabric().set_rules(Rules::new(parse(&text), seed, |_| None).unwrap()).unwrap();
        for _ in 0..20 {
            round(&mut plant, &mut rng);
        }
        down += plant.fabric().fired().iter().filter(|one| one.action.name() == "link-down").count();
        tags_are_there(&mut plant);
    }
    assert!(down >= 20, "{down}");
}

/// Each header bit of each kind of TLP turned over once, at each hop.
#[test]
fn every_bit_of_a_header() {
    for bit in 0..128 {
        for link in 0..5 {
            let mut plant = grown(1);
            let rule = Rule {
                link: Some(mlx5_twin_sim::probe::LinkId(link).into()),
                ..Rule::new(Action::CorruptHeader { bit: Some(bit) })
            };
            plant.fabric().set_rules(Rules::new([rule.every(2)], 1, |_| None).unwrap()).unwrap();
            let mut rng = Rng::stream(u64::from(bit), "traffic");
            for _ in 0..3 {
                round(&mut plant, &mut rng);
            }
        }
    }
}

/// Data that comes is right, as long as no bit of it is turned over and nothing of another read is taken for it.
#[test]
fn what_comes_is_right() {
    let text = RULES.split("[[faults]]").filter(|rule| !rule.contains("corrupt") && !rule.is_empty());
    let text: String = text.filter(|rule| rule.contains("kind")).map(|rule| format!("[[faults]]{rule}")).collect();
    let mut plant = grown(2);
    plant.fabric().set_rules(Rules::new(parse(&text), 5, |_| None).unwrap()).unwrap();
    let bars: Vec<u64> = (0..3).map(|number| plant.function(number).1).collect();
    let failed = plant.run(move |host| async move {
        let mut failed = 0;
        for n in 0..9_000_u64 {
            let offset = n * 4 % 4096;
            match host.read32(bars[n as usize % 3] + offset).await {
                Ok(value) => assert_eq!(value, u32::from_le_bytes([0, 1, 2, 3].map(|byte| (offset + byte) as u8))),
                Err(AccessError::Timeout(_) | AccessError::Poisoned(_)) => failed += 1,
                Err(other) => panic!("{other}"),
            }
        }
        failed
    });
    plant.settle();
    assert!(failed > 50 && plant.fabric().is_at_rest(), "{failed}");
}
