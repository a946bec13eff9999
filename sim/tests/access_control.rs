//! Access Control Services: where a switch sends what a port brings from below, by the services that are turned on there.

mod common;

use common::plant::{Plant, Shape, Spec, plant};
use common::registers::ACS;
use mlx5_twin_sim::tlp::{AddressType, Attr, Bdf, Header, MessageCode, Route, Status};

const SOURCE: u32 = 1 << 0;
const TRANSLATION: u32 = 1 << 1;
const REQUESTS: u32 = 1 << 2;
const COMPLETIONS: u32 = 1 << 3;
const FORWARDING: u32 = 1 << 4;
const EGRESS: u32 = 1 << 5;
const DIRECT: u32 = 1 << 6;

/// Where a TLP ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// At the peer.
    Peer,
    /// At the root complex.
    Root,
    /// At the port, as a violation of access control.
    Violation,
    /// At the port, as something that nobody claims.
    Unclaimed,
}

/// What agent 0 sends.
#[derive(Clone, Copy, Debug)]
enum What {
    /// A write to the BAR of agent 1, with this address type.
    Write(AddressType),
    /// The same by another requester.
    Stranger,
    /// A read of it.
    Read,
    /// A write to host memory.
    Memory,
    /// A completion for agent 1.
    Completion(Attr),
    /// A write to its own BAR, as if it had been redirected further down.
    Own,
    /// A message for the root complex by another requester.
    StrangeMessage,
}

fn header(plant: &Plant, what: What) -> Header {
    let ((me, own), (peer, bar)) = (plant.function(0), plant.function(1));
    let write = |from, at| Header::mem_write_bytes(from, 0, at, 4).unwrap();
    match what {
        What::Write(at) => {
            let mut header = write(me, bar);
            header.set_at(at).unwrap();
            header
        }
        What::Stranger => write(Bdf(0), bar),
        What::Read => Header::mem_read_bytes(me, 3, bar, 4).unwrap(),
        What::Memory => write(me, 0x1000),
        What::Completion(attr) => {
            let mut header = Header::completion(me, peer, 9, Status::Successful, 4, 0, 1, 0, Attr::NONE).unwrap();
            header.set_attr(attr).unwrap();
            header
        }
        What::Own => write(me, own),
        What::StrangeMessage => {
            Header::message(Bdf(0), 0, MessageCode::PM_PME, Route::ToRootComplex, [0, 0], 0).unwrap()
        }
    }
}

#[test]
fn where_it_goes() {
    use AddressType::{Translated, Untranslated};
    let plain = What::Write(Untranslated);
    let translated = What::Write(Translated);
    // Services, Egress Control Vector, what is sent, where it ends.
    #[rustfmt::skip]
    let table = [
        (0,                             0,      plain,                        Ends::Peer),
        (0,                             0,      translated,                   Ends::Peer),
        (0,                             0,      What::Stranger,               Ends::Peer),
        (0,                             0,      What::Memory,                 Ends::Root),
        (0,                             0,      What::Completion(Attr::NONE), Ends::Peer),
        (0,                             0,      What::Own,                    Ends::Unclaimed),
        (0,                             0,      What::StrangeMessage,         Ends::Root),
        (SOURCE,                        0,      plain,                        Ends::Peer),
        (SOURCE,                        0,      What::Stranger,               Ends::Violation),
        (SOURCE,                        0,      What::StrangeMessage,         Ends::Violation),
        (SOURCE,                        0,      What::Memory,                 Ends::Root),
        (SOURCE,                        0,      What::Completion(Attr::NONE), Ends::Peer),
        (TRANSLATION,                   0,      plain,                        Ends::Peer),
        (TRANSLATION,                   0,      translated,                   Ends::Violation),
        (REQUESTS,                      0,      plain,                        Ends::Root),
        (REQUESTS,                      0,      What::Read,                   Ends::Root),
        (REQUESTS,                      0,      What::Completion(Attr::NONE), Ends::Peer),
        (REQUESTS,                      0,      What::Own,                    Ends::Unclaimed),
        (COMPLETIONS,                   0,      plain,                        Ends::Peer),
        (COMPLETIONS,                   0,      What::Completion(Attr::NONE), Ends::Root),
        (COMPLETIONS,                   0,      What::Completion(Attr::RO),   Ends::Peer),
        (FORWARDING,                    0,      What::Own,                    Ends::Root),
        (FORWARDING,                    0,      plain,                        Ends::Peer),
        (EGRESS,                        0b00,   plain,                        Ends::Peer),
        (EGRESS,                        0b01,   plain,                        Ends::Peer),
        (EGRESS,                        0b10,   plain,                        Ends::Violation),
        (EGRESS,                        0b10,   What::Read,                   Ends::Violation),
        (EGRESS,                        0b10,   What::Memory,                 Ends::Root),
        (EGRESS | REQUESTS,             0b00,   plain,                        Ends::Peer),
        (EGRESS | REQUESTS,             0b10,   plain,                        Ends::Root),
        (EGRESS | DIRECT,               0b10,   translated,                   Ends::Peer),
        (EGRESS | DIRECT,               0b10,   plain,                        Ends::Violation),
        (REQUESTS | DIRECT,             0,      translated,                   Ends::Peer),
        (REQUESTS | DIRECT,             0,      plain,                        Ends::Root),
        (REQUESTS | SOURCE,             0,      What::Stranger,               Ends::Violation),
    ];
    let mut plant = plant(&[Shape::Switch(vec![Shape::Agent, Shape::Agent])], &Spec::default());
    let port = plant.bridges()[2];
    let upstream = plant.bridges()[1];
    let root = plant.bridges()[0];
    let at = plant.extended(port, ACS);
    assert_eq!(plant.config_read(port, at + 1) & 0xffff, 0x207f);
    for (services, vector, what, ends) in table {
        let told = format!("{services:#09b} {vector:#b} {what:?}");
        plant.config_write(port, at + 2, 0xf, vector);
        plant.config_write(port, at + 1, 0xc, services << 16);
        for id in [port, upstream, root] {
            plant.clear_errors(id);
        }
        let header = header(&plant, what);
        for agent in 0..2 {
            plant.agent(agent, |agent, _| agent.received.clear());
        }
        plant.send(0, header, &[0; 4][..header.payload_len()]);
        plant.settle();
        let got = plant.agent(1, |agent, _| agent.received.iter().any(|seen| seen.header == header));
        assert_eq!(got, ends == Ends::Peer, "{told}");
        let answer = plant.agent(0, |agent, _| agent.received.last().map(|seen| seen.header));
        let errors = plant.errors(port);
        let violation = errors.uncorrectable >> 21 & 1 != 0;
        assert_eq!(violation, ends == Ends::Violation && !header.class_is_answered(), "{told}");
        if ends == Ends::Violation && header.class_is_answered() {
            // An advice, and those are masked; the requester is told.
            assert_eq!((errors.uncorrectable, errors.correctable), (0, 1 << 13), "{told}");
            assert_eq!(answer.map(|answer| answer.status()), Some(Status::CompleterAbort), "{told}");
            assert_eq!(plant.config_read(port, 7) >> 27 & 1, 1, "signalled target abort on the side below");
        } else if violation {
            assert_eq!(errors.header, header.dws(), "{told}");
        }
        assert_eq!(plant.device_status(port) != 0, matches!(ends, Ends::Violation | Ends::Unclaimed), "{told}");
        // A root port routes nothing to a peer: redirected requests and completions are refused there.
        let redirected = ends == Ends::Root && !matches!(what, What::Memory | What::StrangeMessage);
        assert_eq!(plant.device_status(root) != 0, redirected, "{told}");
    }
}

/// Whether a request is answered.
trait Answered {
    fn class_is_answered(&self) -> bool;
}

impl Answered for Header {
    fn class_is_answered(&self) -> bool {
        self.class() == mlx5_twin_sim::tlp::Class::NonPosted
    }
}

/// A root port validates sources too.
#[test]
fn source_validation_at_a_root_port() {
    let mut plant = plant(&[Shape::Agent], &Spec::default());
    let port = plant.bridges()[0];
    let at = plant.extended(port, ACS);
    plant.config_write(port, at + 1, 0xc, (SOURCE | REQUESTS) << 16);
    assert_eq!(plant.config_read(port, at + 1) >> 16, SOURCE, "nothing goes to a peer here");
    let me = plant.function(0).0;
    for (from, refused) in [(me, false), (Bdf(0xff00), true)] {
        plant.clear_errors(port);
        plant.agent(0, |agent, _| agent.received.clear());
        plant.send(0, Header::mem_write_bytes(from, 0, 0x2000, 4).unwrap(), &[7; 4]);
        plant.send(0, Header::mem_read_bytes(from, 1, 0x2000, 4).unwrap(), &[]);
        plant.settle();
        assert_eq!(plant.errors(port).uncorrectable, u32::from(refused) << 21, "{from}");
        let mut memory = [0; 4];
        let root = plant.root;
        plant.fabric().memory(root).unwrap().read(0x2000, &mut memory).unwrap();
        assert_eq!(memory, [7; 4]);
        let answers: Vec<Status> =
            plant.agent(0, |agent, _| agent.received.iter().map(|seen| seen.header.status()).collect());
        // The answer goes back by the port, whoever asked.
        assert_eq!(answers, [if refused { Status::CompleterAbort } else { Status::Successful }]);
    }
}
