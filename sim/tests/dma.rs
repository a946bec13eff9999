//! The DMA engine: transfers that succeed, and all the ways in which they don't.

mod common;

use common::plant::{MEMORY, Plant, Spec, single};
use mlx5_twin_sim::fabric::{Dma, DmaError, Progress};
use mlx5_twin_sim::profile::Timing;
use mlx5_twin_sim::tlp::Status;
use mlx5_twin_sim::{Fabric, Time};

/// A completion timeout of 1 ms.
const TIMING: Timing = Timing { completion_timeout_us: 1_000, ..common::TIMING };

fn read(plant: &mut Plant, address: u64, len: usize, token: u64) {
    plant.agent(0, |agent, core| agent.dma_read(core, address, len, token));
}

fn ended(plant: &mut Plant) -> Vec<(u64, Result<Vec<u8>, DmaError>)> {
    let ended = plant.agent(0, |agent, _| std::mem::take(&mut agent.ended));
    ended.into_iter().map(|Progress { token, result }| (token, result)).collect()
}

/// Writes the Command register of the agent.
fn command(plant: &mut Plant, value: u32) {
    let id = plant.function(0).0;
    plant.run(move |host| async move { host.config_write_bytes(id, 1, 0x3, value).await }).unwrap();
}

#[test]
fn more_reads_than_tags_all_end_in_order() {
    let mut plant = single(&Spec { tags: 2, ..Spec::default() });
    let root = plant.root;
    for block in 0..40_u64 {
        plant.fabric().memory_mut(root).unwrap().write(block * 0x1000, &[block as u8 + 1; 1500]).unwrap();
    }
    for block in 0..40 {
        read(&mut plant, block * 0x1000, 1500, block);
    }
    plant.settle();
    let expected: Vec<_> = (0..40).map(|block| (block, Ok(vec![block as u8 + 1; 1500]))).collect();
    assert_eq!(ended(&mut plant), expected);
    assert_eq!(plant.agent(0, |agent, _| agent.dma.open()), 0);
}

#[test]
fn nothing_is_sent_without_bus_master_enable() {
    let mut plant = single(&Spec::default());
    command(&mut plant, 0b010);
    read(&mut plant, 0, 64, 1);
    assert_eq!(ended(&mut plant), [(1, Err(DmaError::NotBusMaster))]);
    let written = plant.agent(0, |agent, core| Dma::write(core, &agent.function, 0, &[1; 4]));
    assert_eq!(written, Err(DmaError::NotBusMaster));
    plant.settle();
    assert_eq!(plant.faults(), Default::default());
    command(&mut plant, 0b110);
    read(&mut plant, 0, 4, 2);
    plant.settle();
    assert_eq!(ended(&mut plant), [(2, Ok(vec![0; 4]))]);
}

/// Bus Master Enable is taken away while a read is under way: no request goes out after that, and the read says why.
#[test]
fn a_read_ends_when_bus_master_enable_is_taken_away() {
    let mut plant = single(&Spec { tags: 1, ..Spec::default() });
    let node = plant.agents[0];
    read(&mut plant, 0, 64 << 10, 1);
    read(&mut plant, 0, 64, 2);
    command(&mut plant, 0b010);
    plant.settle();
    let sent = plant.agent(0, |agent, _| agent.received.iter().filter(|r| r.header.kind().is_completion()).count());
    assert!(sent < 128, "all of it was read");
    // The second one, of which nothing was out, ends at once.
    assert_eq!(ended(&mut plant), [(2, Err(DmaError::NotBusMaster)), (1, Err(DmaError::NotBusMaster))]);
    let open = |fabric: &mut Fabric| common::agent::agent(fabric, node, |agent, _| agent.dma.open());
    assert_eq!(open(plant.fabric()), 0);
}

#[test]
fn a_refused_read_says_where_and_why() {
    let mut plant = single(&Spec::default());
    // The second half of the transfer lies beyond memory.
    let address = MEMORY - 512;
    read(&mut plant, address, 4096, 1);
    read(&mut plant, 0, 16, 2);
    plant.settle();
    let refused = DmaError::Refused { address, status: Status::UnsupportedRequest };
    let mut ended = ended(&mut plant);
    ended.sort_by_key(|&(token, _)| token);
    assert_eq!(ended, [(1, Err(refused)), (2, Ok(vec![0; 16]))]);
}

#[test]
fn a_range_past_the_address_space_is_refused() {
    let mut plant = single(&Spec::default());
    let range = DmaError::Range { address: u64::MAX - 3, len: 8 };
    read(&mut plant, u64::MAX - 3, 8, 1);
    assert_eq!(ended(&mut plant), [(1, Err(range))]);
    let written = plant.agent(0, |agent, core| Dma::write(core, &agent.function, u64::MAX - 3, &[0; 8]));
    assert_eq!(written, Err(range));
    read(&mut plant, u64::MAX - 3, 0, 2);
    assert_eq!(ended(&mut plant), [(2, Ok(Vec::new()))]);
}

/// A peer that doesn't answer: the reads time out, their tags rest, and then the engine goes on.
#[test]
fn a_read_times_out_and_the_engine_goes_on() {
    let shape = common::plant::Shape::Switch(vec![common::plant::Shape::Agent, common::plant::Shape::Agent]);
    let mut plant = common::plant::plant(&[shape], &Spec { timing: TIMING, tags: 4, ..Spec::default() });
    let peer = plant.function(1).1;
    plant.agent(1, |agent, _| agent.manner = common::agent::Manner::Mute);
    let begin = plant.simulation.fabric().now();
    // Five requests for four tags.
    read(&mut plant, peer, 2048, 1);
    read(&mut plant, 0, 64, 2);
    plant.settle();
    assert_eq!(ended(&mut plant), [(1, Err(DmaError::Timeout { address: peer })), (2, Ok(vec![0; 64]))]);
    assert_eq!(plant.faults().completion_timeout, 4);
    let span = plant.simulation.fabric().now().since(begin);
    assert!(span >= Time::ms(2), "the fifth request went out under a tag that should rest: {span}");
    // Late completions touch nobody's data.
    let asked: Vec<_> = plant.agent(1, |agent, _| agent.received.iter().map(|received| received.header).collect());
    read(&mut plant, 0x4000, 2048, 3);
    for request in asked {
        let late = mlx5_twin_sim::tlp::Header::completion_for(&request, plant.function(1).0, Status::Successful);
        plant.send(1, late.unwrap(), &vec![0xee; request.length_dw() as usize * 4]);
    }
    plant.settle();
    let after = ended(&mut plant);
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].0, 3);
}

#[test]
fn a_reset_forgets_all_reads() {
    let mut plant = single(&Spec { tags: 2, timing: TIMING, ..Spec::default() });
    for token in 0..5 {
        read(&mut plant, 0, 512, token);
    }
    let now = plant.simulation.fabric().now();
    plant.agent(0, |agent, _| agent.dma.reset(now));
    assert_eq!(plant.agent(0, |agent, _| agent.dma.open()), 0);
    plant.settle();
    assert_eq!(ended(&mut plant), []);
    // Two requests were out, for 512 bytes each: Max_Payload_Size makes two completions of each.
    assert_eq!(plant.faults().unexpected_completion, 4);
    read(&mut plant, 0, 512, 9);
    plant.settle();
    assert_eq!(ended(&mut plant), [(9, Ok(vec![0; 512]))]);
}
