//! From a link that has come up to flow control that is initialized: the exchange of features (base spec 3.3), and per virtual channel
//! FC_INIT1 and FC_INIT2 (3.4.1).
//!
//! Both repeat what they say until they hear what they wait for. Each state says what is to be sent next; when, is the caller's affair: at
//! least once in [`super::INIT_REPEAT_AT_MOST`], and at once when the state changes.

use super::dllp::{Dllp, FcField, FcStage, Features};
use super::flow::{ClassGate, ClassLedger};
use crate::tlp::Class;

/// The exchange of features, state DL_Feature of the data link control and management state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureExchange {
    local: Features,
    /// What the other end can do, if it has said so.
    remote: Option<Features>,
    done: bool,
}

impl FeatureExchange {
    /// Begins. `None`: this port doesn't do it.
    pub const fn new(local: Option<Features>) -> FeatureExchange {
        match local {
            Some(local) => FeatureExchange { local, remote: None, done: false },
            None => FeatureExchange { local: Features::from_bits(0), remote: None, done: true },
        }
    }

    /// Is it over?
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// What both ends can do.
    pub const fn common(&self) -> Features {
        match self.remote {
            Some(remote) => Features::from_bits(self.local.bits() & remote.bits()),
            None => Features::from_bits(0),
        }
    }

    /// What is to be sent: until it's over, and in answer to one that comes afterwards.
    pub const fn next(&self) -> Dllp {
        Dllp::Feature { acknowledges: self.remote.is_some(), features: self.local }
    }

    /// A DLLP has come. It's over when the other end says that it knows our features, or begins with FC_INIT1 without having said what
    /// it can do. Gives whether the state changed.
    pub fn receive(&mut self, dllp: &Dllp) -> bool {
        let before = *self;
        match *dllp {
            Dllp::Feature { acknowledges, features } if !self.done => {
                // The first one counts.
                self.remote = self.remote.or(Some(features));
                self.done = acknowledges;
            }
            Dllp::FlowControl { stage: FcStage::Init1, .. } => self.done = true,
            _ => {}
        }
        *self != before
    }
}

/// How far the initialization of a virtual channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InitState {
    /// FC_INIT1: the other end's credits aren't known yet.
    Init1,
    /// FC_INIT2: they are; whether the other end knows ours isn't.
    Init2,
    /// TLPs may go.
    Done,
}

/// The initialization of flow control of one virtual channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FcInit {
    channel: u8,
    state: InitState,
    /// The other end's credits by class: FI1 is set when all are there.
    gates: [Option<ClassGate>; 3],
    /// FI2: the other end has got all of our InitFC1s.
    fi2: bool,
    /// The next class in turn, 0 to 2: three make a sequence that isn't broken off.
    turn: usize,
    /// A whole sequence has been sent in this state.
    said: bool,
}

impl FcInit {
    /// Begins for virtual channel `channel`.
    pub const fn new(channel: u8) -> FcInit {
        FcInit { channel, state: InitState::Init1, gates: [None; 3], fi2: false, turn: 0, said: false }
    }

    /// The VC ID.
    pub const fn channel(&self) -> u8 {
        self.channel
    }

    /// How far it is.
    pub const fn state(&self) -> InitState {
        self.state
    }

    /// Flag FI1: the credits of all three classes of the other end are known.
    pub fn fi1(&self) -> bool {
        self.gates.iter().all(Option::is_some)
    }

    /// Flag FI2: the other end has shown that it is past FC_INIT1.
    pub const fn fi2(&self) -> bool {
        self.fi2
    }

    /// The transmitter's counters, once FI1 is set.
    pub fn gates(&self) -> Option<[ClassGate; 3]> {
        let [posted, nonposted, completion] = self.gates;
        Some([posted?, nonposted?, completion?])
    }

    /// Is a sequence of three begun or due, which must go before anything else may be said on this virtual channel?
    pub const fn is_within_sequence(&self) -> bool {
        self.turn != 0 || !self.said
    }

    /// Has a sequence of three begun that isn't over?
    pub const fn has_begun(&self) -> bool {
        self.turn != 0
    }

    /// The next DLLP, in the order P, NP, Cpl; `None` if it's over.
    pub fn next(&mut self, ledgers: &[ClassLedger; 3]) -> Option<Dllp> {
        let stage = match self.state {
            InitState::Init1 => FcStage::Init1,
            InitState::Init2 => FcStage::Init2,
            InitState::Done => return None,
        };
        let (class, ledger) = Class::ALL.into_iter().zip(ledgers).nth(self.turn)?;
        self.turn = (self.turn + 1) % Class::ALL.len();
        self.said |= self.turn == 0;
        let (headers, data): (FcField, FcField) = (ledger.headers.field(), ledger.data.field());
        let dllp = Dllp::FlowControl { stage, class, channel: self.channel, headers, data };
        self.advance();
        Some(dllp)
    }

    /// A flow control DLLP of this virtual channel has come. Gives whether the state changed.
    pub fn receive(&mut self, stage: FcStage, class: Class, headers: FcField, data: FcField) -> bool {
        let before = self.state;
        match (self.state, stage) {
            (InitState::Init1, FcStage::Init1 | FcStage::Init2) => {
                if let Some(gate) = self.gates.get_mut(class as usize) {
                    *gate = Some(ClassGate::new(headers, data));
                }
            }
            // The values aren't looked at any more.
            (InitState::Init2, FcStage::Init2 | FcStage::Update) => self.fi2 = true,
            _ => {}
        }
        self.advance();
        self.state != before
    }

    /// A TLP has come on this virtual channel, which sets FI2, too. Gives whether the state changed.
    pub fn receive_tlp(&mut self) -> bool {
        let before = self.state;
        self.fi2 |= self.state == InitState::Init2;
        self.advance();
        self.state != before
    }

    /// Goes on to the next state if its condition is met and a whole sequence of this one has been sent.
    fn advance(&mut self) {
        if self.turn != 0 || !self.said {
            return;
        }
        let next = match self.state {
            InitState::Init1 if self.fi1() => InitState::Init2,
            InitState::Init2 if self.fi2 => InitState::Done,
            _ => return,
        };
        self.state = next;
        self.said = next == InitState::Done;
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::{Amount, Scale};
    use super::*;
    use crate::rng::Rng;

    fn ledgers(rooms: [(u32, u32); 3], scaled: bool) -> [ClassLedger; 3] {
        rooms.map(|(headers, data)| ClassLedger::new(Amount { headers, data }, scaled))
    }

    fn parts(dllp: Dllp) -> (FcStage, Class, FcField, FcField) {
        match dllp {
            Dllp::FlowControl { stage, class, headers, data, .. } => (stage, class, headers, data),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn states_and_flags() {
        let rooms = ledgers([(32, 256), (16, 8), (0, 0)], false);
        let mut one = FcInit::new(0);
        let sent: Vec<_> = (0..3).map(|_| parts(one.next(&rooms).unwrap())).collect();
        assert_eq!(sent.iter().map(|dllp| dllp.1).collect::<Vec<_>>(), Class::ALL);
        assert!(sent.iter().all(|dllp| dllp.0 == FcStage::Init1));
        // UpdateFCs mean nothing yet.
        let zero = FcField { scale: Scale::Unscaled, value: 0 };
        let eight = FcField { scale: Scale::Unscaled, value: 8 };
        assert!(!one.receive(FcStage::Update, Class::Posted, eight, eight));
        assert!(!one.fi1());
        assert!(!one.receive(FcStage::Init1, Class::Posted, eight, eight));
        assert!(!one.receive(FcStage::Init1, Class::Completion, zero, zero));
        // The other end may be in FC_INIT2 already.
        assert!(one.receive(FcStage::Init2, Class::NonPosted, eight, eight));
        assert_eq!((one.state(), one.fi1(), one.fi2()), (InitState::Init2, true, false));
        // InitFC1s are ignored here.
        assert!(!one.receive(FcStage::Init1, Class::Posted, zero, zero));
        assert!(!one.fi2());
        assert!(!one.receive(FcStage::Init2, Class::Posted, zero, zero), "first it says its own");
        assert!(one.fi2());
        for class in Class::ALL {
            let (stage, sent, ..) = parts(one.next(&rooms).unwrap());
            assert_eq!((stage, sent), (FcStage::Init2, class));
        }
        assert_eq!(one.state(), InitState::Done);
        assert_eq!(one.next(&rooms), None);
        let gates = one.gates().unwrap();
        assert_eq!(gates[0].headers.unused(), 8, "values of FC_INIT2 count for nothing");
        assert!(gates[2].headers.is_infinite());
    }

    /// A TLP or an UpdateFC shows as well that the other end is past FC_INIT1.
    #[test]
    fn what_sets_fi2() {
        let rooms = ledgers([(1, 1); 3], false);
        for with_tlp in [false, true] {
            let mut one = FcInit::new(3);
            (0..3).for_each(|_| assert!(one.next(&rooms).is_some()));
            let field = FcField { scale: Scale::Unscaled, value: 1 };
            for class in Class::ALL {
                one.receive(FcStage::Init1, class, field, field);
            }
            (0..3).for_each(|_| assert!(one.next(&rooms).is_some()));
            assert_eq!(one.state(), InitState::Init2);
            let changed =
                if with_tlp { one.receive_tlp() } else { one.receive(FcStage::Update, Class::Posted, field, field) };
            assert!(changed);
            assert_eq!(one.state(), InitState::Done);
        }
    }

    /// Both ends over a line that loses much: they get there, both with the right credits.
    #[test]
    fn both_ends_get_there() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let rooms = [ledgers([(32, 256), (16, 8), (0, 0)], true), ledgers([(200, 9000), (1, 2), (3, 4)], true)];
            let mut ends = [FcInit::new(0), FcInit::new(0)];
            let loss = rng.range(0, 80);
            for _ in 0..100_000 {
                let from = rng.range(0, 1) as usize;
                let to = 1 - from;
                // When it's over, UpdateFCs go now and then.
                let dllp = ends[from].next(&rooms[from]).map(parts);
                let update =
                    (FcStage::Update, Class::Posted, rooms[from][0].headers.field(), rooms[from][0].data.field());
                let (stage, class, headers, data) = dllp.unwrap_or(update);
                if rng.range(0, 99) >= loss {
                    ends[to].receive(stage, class, headers, data);
                }
                if ends.iter().all(|end| end.state() == InitState::Done) {
                    break;
                }
            }
            for (end, other) in [(0, 1), (1, 0)] {
                assert_eq!(ends[end].state(), InitState::Done, "seed {seed}");
                let gates = ends[end].gates().unwrap();
                for (gate, ledger) in gates.iter().zip(&rooms[other]) {
                    assert_eq!(gate.headers.unused(), ledger.headers.unused());
                    assert_eq!(gate.data.unused(), ledger.data.unused());
                }
            }
        }
    }

    #[test]
    fn features() {
        let scaled = Features::SCALED_FLOW_CONTROL;
        let mut one = FeatureExchange::new(Some(scaled));
        let mut two = FeatureExchange::new(Some(Features::from_bits(5)));
        assert_eq!(one.next(), Dllp::Feature { acknowledges: false, features: scaled });
        assert!(two.receive(&one.next()));
        assert!(!two.is_done());
        assert!(one.receive(&two.next()), "it has ours");
        assert!(one.is_done());
        assert!(two.receive(&one.next()));
        assert!(two.is_done());
        assert_eq!([one.common(), two.common()], [scaled; 2]);
        // One that doesn't do it begins with InitFC1 at once.
        let rooms = ledgers([(1, 1); 3], false);
        let mut alone = FeatureExchange::new(Some(scaled));
        assert!(alone.receive(&FcInit::new(0).next(&rooms).unwrap()));
        assert!(alone.is_done());
        assert!(!alone.common().scaled_flow_control());
        assert!(FeatureExchange::new(None).is_done());
    }
}
