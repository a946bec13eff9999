use super::*;
use proptest::prelude::*;

const UNITS: [Unit; 2] = [Unit::Headers, Unit::Data];
const SCALES: [Scale; 4] = [Scale::Unscaled, Scale::One, Scale::Four, Scale::Sixteen];

#[test]
fn sizes_of_the_tables() {
    let rows = [
        (Unit::Headers, [8, 8, 10, 12], [127, 127, 508, 2032]),
        (Unit::Data, [12, 12, 14, 16], [2047, 2047, 8188, 32752]),
    ];
    for (unit, bits, most) in rows {
        assert_eq!(SCALES.map(|scale| unit.counter_bits(scale)), bits);
        assert_eq!(SCALES.map(|scale| unit.most(scale)), most);
    }
    let fitting = |credits| Scale::fitting(Unit::Headers, credits, true);
    assert_eq!([0, 127, 128, 508, 509, 9999].map(fitting), {
        use Scale::*;
        [One, One, Four, Four, Sixteen, Sixteen]
    });
    assert_eq!(Scale::fitting(Unit::Data, 9999, false), Scale::Unscaled);
}

/// The gating equation at its borders, with counters that have wrapped.
#[test]
fn gating_at_the_borders() {
    for unit in UNITS {
        for scale in SCALES {
            for credits in [1, 2, unit.most(scale) >> scale.shift()] {
                let value = credits as u16;
                let credits = credits << scale.shift();
                let mut gate = Gate::new(unit, FcField { scale, value });
                let mut ledger = Ledger::new(unit, credits, scale);
                // Several times around.
                let rounds = (3 << unit.counter_bits(scale)) / credits;
                for _ in 0..rounds {
                    assert_eq!(gate.unused(), credits);
                    assert!(gate.allows(credits) && !gate.allows(credits + 1), "{unit} {scale:?} {credits}");
                    gate.consume(credits);
                    assert!(!gate.allows(1), "{unit} {scale:?}");
                    assert!(gate.allows(0), "what needs none goes");
                    assert_eq!(ledger.receive(credits), Ok(()));
                    assert!(ledger.receive(1).is_err_and(|error| error.is_overflow()), "{unit} {scale:?}");
                    ledger.free(credits);
                    assert_eq!(gate.update(ledger.field()), Ok(()));
                }
            }
        }
    }
}

#[test]
fn infinite_ones_are_neither_counted_nor_updated() {
    let ledger = ClassLedger::new(Amount { headers: 0, data: 4 }, false);
    assert_eq!(ledger.headers.field(), FcField { scale: Scale::Unscaled, value: 0 });
    assert!(!ledger.is_infinite());
    let mut gate = ClassGate::new(ledger.headers.field(), ledger.data.field());
    let one = Amount { headers: 1, data: 0 };
    for _ in 0..1000 {
        assert!(gate.take(one));
    }
    assert!(!gate.take(Amount { headers: 1, data: 5 }));
    let bad = FcField { scale: Scale::Unscaled, value: 3 };
    let error = gate.update(bad, ledger.data.field());
    assert_eq!(error, Err(FcError::InfiniteUpdated { unit: Unit::Headers, value: 3 }));
}

#[test]
fn updates_that_break_a_rule_change_nothing() {
    let field = |scale, value| FcField { scale, value };
    let mut gate = Gate::new(Unit::Headers, field(Scale::Unscaled, 100));
    let before = gate;
    let most = FcError::TooMany { unit: Unit::Headers, unused: 128, most: 127 };
    assert_eq!(gate.update(field(Scale::Unscaled, 128)), Err(most));
    assert!(matches!(gate.update(field(Scale::One, 100)), Err(FcError::ScaleChanged { .. })));
    // A limit that went back is one that went very far ahead.
    assert!(matches!(gate.update(field(Scale::Unscaled, 255)), Err(FcError::TooMany { .. })));
    assert_eq!(gate, before);
}

#[test]
fn updates_go_in_time() {
    let mut timer = UpdateTimer::new(Time::us(1), Time::us(30));
    assert_eq!((timer.owed(), timer.due()), (None, Time::us(31)));
    timer.freed(Time::us(2), Time::ns(400));
    timer.freed(Time::us(2) + Time::ns(300), Time::ns(400));
    assert_eq!(timer.owed(), Some(Time::ns(2_400)), "the first one counts");
    timer.freed(Time::us(2) + Time::ns(350), Time::ZERO);
    assert_eq!(timer.due(), Time::ns(2_350), "at once is sooner");
    timer.sent(Time::us(3));
    assert_eq!((timer.owed(), timer.due()), (None, Time::us(33)));
}

proptest! {
    /// Both ends with UpdateFCs that are late, lost, and in bunches: never more under way than there's room for, what the transmitter believes
    /// is never more than what the receiver allows, and all comes back.
    #[test]
    fn credits_are_conserved(
        room in (0..=2032_u32, 0..=32_752_u32),
        scaled in any::<bool>(),
        steps in proptest::collection::vec((0..4_u8, 0..4096_u32), 1..2000),
    ) {
        let room = Amount { headers: room.0, data: room.1 };
        let mut ledger = ClassLedger::new(room, scaled);
        let initial = ledger;
        let mut gate = ClassGate::new(ledger.headers.field(), ledger.data.field());
        let (mut wire, mut held) = (std::collections::VecDeque::new(), std::collections::VecDeque::new());
        for (step, bytes) in steps {
            match step {
                0 => {
                    let amount = Amount::of_payload(bytes);
                    if gate.take(amount) {
                        wire.push_back(amount);
                    }
                }
                1 => {
                    if let Some(amount) = wire.pop_front() {
                        prop_assert_eq!(ledger.receive(amount), Ok(()));
                        held.push_back(amount);
                    }
                }
                2 => {
                    if let Some(amount) = held.pop_front() {
                        ledger.free(amount);
                    }
                }
                _ => prop_assert_eq!(gate.update(ledger.headers.field(), ledger.data.field()), Ok(())),
            }
            let used = wire.iter().chain(&held).fold((0, 0), |sum, a: &Amount| (sum.0 + a.headers, sum.1 + a.data));
            for (unused, used, all, infinite) in [
                (gate.headers.unused(), used.0, initial.headers.unused(), initial.headers.is_infinite()),
                (gate.data.unused(), used.1, initial.data.unused(), initial.data.is_infinite()),
            ] {
                prop_assert!(infinite || unused + used <= all, "{unused} and {used} of {all}");
            }
        }
        for amount in wire.drain(..) {
            prop_assert_eq!(ledger.receive(amount), Ok(()));
            held.push_back(amount);
        }
        held.drain(..).for_each(|amount| ledger.free(amount));
        prop_assert_eq!(gate.update(ledger.headers.field(), ledger.data.field()), Ok(()));
        // Only what lies below the scale factor may still be hidden.
        for (unit, room, now, all) in [
            (Unit::Headers, room.headers, gate.headers.unused(), initial.headers.unused()),
            (Unit::Data, room.data, gate.data.unused(), initial.data.unused()),
        ] {
            prop_assert!(all - now < 1 << Scale::fitting(unit, room, scaled).shift(), "{unit}: {now} of {all}");
        }
        prop_assert_eq!(ledger.headers.unused(), initial.headers.unused());
        prop_assert_eq!(ledger.data.unused(), initial.data.unused());
    }
}
