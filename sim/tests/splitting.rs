//! How reads and writes are cut: Read Completion Boundary, Max_Payload_Size, Max_Read_Request_Size, 4 KiB.

mod common;

use common::plant::{Plant, Recorder, Spec, single};
use mlx5_twin_sim::fabric::Dma;
use mlx5_twin_sim::tlp::{Class, Header};

/// A plant with these sizes whose memory holds a pattern, and what is seen on the agent's link, which is the last one.
fn plant_of(boundary: u32, max_payload: u32, max_read_request: u32) -> (Plant, Recorder) {
    let spec = Spec { read_completion_boundary: boundary, max_payload, max_read_request, ..Spec::default() };
    let mut plant = single(&spec);
    let root = plant.root;
    plant.fabric().memory_mut(root).unwrap().write(0, &pattern(0, 0x6000)).unwrap();
    let recorder = Recorder::default();
    plant.fabric().set_probe(Some(Box::new(recorder.clone())));
    (plant, recorder)
}

fn pattern(from: u64, len: usize) -> Vec<u8> {
    (from..from + len as u64).map(|address| (address ^ address >> 8) as u8).collect()
}

/// Headers and payloads that went over the agent's link in one direction.
fn on_link(recorder: &Recorder, down: bool) -> Vec<(Header, Vec<u8>)> {
    let seen = recorder.take().transmitted.into_iter().filter(|seen| seen.link == 1 && seen.down == down);
    seen.map(|seen| (Header::decode(&seen.header).unwrap(), seen.payload)).collect()
}

/// A read's address and length; boundary and payload size; and the payload bytes of the completions that it gives.
type Row = (u64, u32, u32, u32, &'static [u32]);

const READS: [Row; 18] = [
    // Whatever fits into one completion is one, wherever it lies.
    (0x1000, 4, 64, 128, &[4]),
    (0x1000, 128, 64, 128, &[128]),
    (0x1004, 128, 64, 128, &[128]),
    (0x1004, 132, 64, 128, &[124, 8]),
    (0x103c, 8, 64, 128, &[8]),
    // Cut at a boundary: the first part reaches to the last boundary within Max_Payload_Size, the others are whole.
    (0x1000, 512, 64, 128, &[128, 128, 128, 128]),
    (0x1000, 512, 128, 256, &[256, 256]),
    (0x1000, 512, 64, 512, &[512]),
    (0x1004, 512, 64, 128, &[124, 128, 128, 128, 4]),
    (0x1044, 512, 64, 128, &[124, 128, 128, 128, 4]),
    (0x1044, 512, 128, 128, &[60, 128, 128, 128, 68]),
    (0x1044, 512, 128, 256, &[188, 256, 68]),
    (0x107c, 512, 128, 128, &[4, 128, 128, 128, 124]),
    (0x107c, 1024, 64, 512, &[452, 512, 60]),
    // Bytes: the payload is whole dwords.
    (0x1001, 1, 64, 128, &[4]),
    (0x1003, 2, 64, 128, &[8]),
    (0x1003, 126, 64, 128, &[128, 4]),
    (0x1ffd, 3, 64, 128, &[4]),
];

#[test]
fn completions_are_cut_at_the_boundary() {
    for (address, len, boundary, max_payload, parts) in READS {
        let row = format!("{len} bytes at {address:#x}, RCB {boundary}, MPS {max_payload}");
        let (mut plant, recorder) = plant_of(boundary, max_payload, 512);
        let request = Header::mem_read_bytes(plant.function(0).0, 9, address, len).unwrap();
        plant.send(0, request, &[]);
        plant.settle();
        let completions = on_link(&recorder, true);
        let lengths: Vec<u32> = completions.iter().map(|(_, payload)| payload.len() as u32).collect();
        assert_eq!(lengths, parts, "{row}");
        let (mut left, mut at) = (len, address);
        let mut data = Vec::new();
        for (header, payload) in &completions {
            assert_eq!((header.byte_count(), u64::from(header.lower_address())), (left, at & 0x7f), "{row}");
            let skip = (at & 3) as usize;
            let take = (payload.len() - skip).min(left as usize);
            data.extend_from_slice(&payload[skip..skip + take]);
            left -= take as u32;
            at += take as u64;
            if left > 0 {
                assert_eq!(at % u64::from(boundary), 0, "{row}: cut at {at:#x}");
            }
        }
        assert_eq!((left, data), (0, pattern(address, len as usize)), "{row}");
    }
}

#[test]
fn the_switch_and_endpoints_cut_at_128_bytes() {
    // A host can't read more than a line, so another agent reads.
    let spec = Spec { max_payload: 128, ..Spec::default() };
    let shape = common::plant::Shape::Switch(vec![common::plant::Shape::Agent, common::plant::Shape::Agent]);
    let mut plant = common::plant::plant(&[shape], &spec);
    let (me, bar) = (plant.function(0).0, plant.function(1).1);
    plant.send(0, Header::mem_read_bytes(me, 3, bar + 0x44, 300).unwrap(), &[]);
    plant.settle();
    let lengths: Vec<_> = plant.agent(0, |agent, _| agent.received.iter().map(|r| r.payload.len()).collect());
    assert_eq!(lengths, [60, 128, 112]);
}

/// A transfer's address and length, the size that cuts it, and the pieces.
type Transfer = (u64, usize, u32, &'static [(u64, u32)]);

const TRANSFERS: [Transfer; 8] = [
    (0x1000, 128, 128, &[(0x1000, 128)]),
    (0x1000, 300, 128, &[(0x1000, 128), (0x1080, 128), (0x1100, 44)]),
    (0x1070, 64, 128, &[(0x1070, 16), (0x1080, 48)]),
    (0x1fff, 2, 128, &[(0x1fff, 1), (0x2000, 1)]),
    (0x1f00, 512, 512, &[(0x1f00, 256), (0x2000, 256)]),
    (0x1f01, 511, 512, &[(0x1f01, 255), (0x2000, 256)]),
    (0x1000, 4097, 4096, &[(0x1000, 4096), (0x2000, 1)]),
    (0x1801, 8192, 4096, &[(0x1801, 2047), (0x2000, 4096), (0x3000, 2049)]),
];

/// First byte and number of bytes of a memory request.
fn piece(header: &Header) -> (u64, u32) {
    header.byte_enables().range(header.address())
}

#[test]
fn dma_reads_are_cut_by_the_read_request_size() {
    for (address, len, max_read_request, pieces) in TRANSFERS {
        let row = format!("{len} bytes at {address:#x}, MRRS {max_read_request}");
        let (mut plant, recorder) = plant_of(64, 128, max_read_request);
        plant.agent(0, |agent, core| agent.dma_read(core, address, len, 5));
        plant.settle();
        let asked: Vec<_> = on_link(&recorder, false).iter().map(|(header, _)| piece(header)).collect();
        assert_eq!(asked, pieces, "{row}");
        let ended = plant.agent(0, |agent, _| std::mem::take(&mut agent.ended));
        assert_eq!(ended.len(), 1, "{row}");
        assert_eq!((ended[0].token, &ended[0].result), (5, &Ok(pattern(address, len))), "{row}");
    }
}

#[test]
fn dma_writes_are_cut_by_the_payload_size() {
    for (address, len, max_payload, pieces) in TRANSFERS {
        let row = format!("{len} bytes at {address:#x}, MPS {max_payload}");
        let (mut plant, recorder) = plant_of(64, max_payload, 128);
        let root = plant.root;
        plant.fabric().memory_mut(root).unwrap().write(0, &[0xff; 0x6000]).unwrap();
        let data = pattern(address, len);
        plant.agent(0, |agent, core| Dma::write(core, &agent.function, address, &data)).unwrap();
        plant.settle();
        let sent = on_link(&recorder, false);
        assert!(sent.iter().all(|(header, _)| header.class() == Class::Posted), "{row}");
        assert_eq!(sent.iter().map(|(header, _)| piece(header)).collect::<Vec<_>>(), pieces, "{row}");
        let mut expected = vec![0xff; 0x6000];
        expected[address as usize..address as usize + len].copy_from_slice(&data);
        let mut memory = vec![0; 0x6000];
        plant.simulation.fabric().memory(root).unwrap().read(0, &mut memory).unwrap();
        assert!(memory == expected, "{row}: memory holds something else");
    }
}
