//! The states of queue pairs.

use mlx5_twin_fw_cmds::transport::{OptParam, QpState, ServiceType};

use super::*;

const PRIMARY: u32 = qpc::PRIMARY_ADDRESS_PATH.bits();
const SECONDARY: u32 = qpc::SECONDARY_ADDRESS_PATH.bits();

/// What a driver says on the way from RST to RTS.
fn usual(opcode: Opcode) -> Vec<(Field, u64)> {
    match opcode {
        Opcode::RST2INIT_QP => vec![(ads::VHCA_PORT_NUM.within(PRIMARY), 1), (qpc::RRE, 1), (qpc::RWE, 1)],
        Opcode::INIT2RTR_QP => vec![
            (qpc::MTU, 5),
            (qpc::LOG_MSG_MAX, 30),
            (qpc::REMOTE_QPN, 0x77),
            (qpc::NEXT_RCV_PSN, 0x123),
            (qpc::LOG_RRA_MAX, 4),
            (qpc::MIN_RNR_NAK, 12),
            (ads::RLID.within(PRIMARY), 1),
        ],
        Opcode::RTR2RTS_QP => vec![
            (qpc::NEXT_SEND_PSN, 0x456),
            (qpc::LOG_SRA_MAX, 4),
            (qpc::RETRY_COUNT, 7),
            (qpc::RNR_RETRY, 6),
            (ads::ACK_TIMEOUT.within(PRIMARY), 14),
        ],
        _ => Vec::new(),
    }
}

/// A transition as a driver says it.
fn step(opcode: Opcode, uid: u16, qpn: u32) -> Vec<u8> {
    transition(opcode, uid, qpn, 0, &usual(opcode))
}

const UP: [Opcode; 3] = [Opcode::RST2INIT_QP, Opcode::INIT2RTR_QP, Opcode::RTR2RTS_QP];

/// QP 0x41 of uid 1 in a state; those that no command leads to are put there.
fn machine_in(state: QpState) -> Machine {
    let mut machine = furnished_for_transport();
    let steps = match state {
        QpState::RST | QpState::ERR => 0,
        QpState::INIT => 1,
        QpState::RTR => 2,
        _ => 3,
    };
    for opcode in UP.iter().take(steps) {
        machine.ok(&step(*opcode, 1, 0x41));
    }
    match state {
        QpState::ERR => drop(machine.ok(&step(Opcode::_2ERR_QP, 1, 0x41))),
        QpState::RST | QpState::INIT | QpState::RTR | QpState::RTS => {}
        state => {
            let mut qp = machine.firmware.resources().of::<Qp>().get(0x41).expect("is there").1.clone();
            qp.0.context.set(qpc::STATE, state.0).expect("fits");
            machine.firmware.resources.replace(0x41, qp).expect("is there");
        }
    }
    assert_eq!(state_of(&mut machine, 0x41), state);
    machine
}

fn context_of(machine: &mut Machine, qpn: u32) -> Vec<u8> {
    let answer = machine.ok(&naming(Opcode::QUERY_QP, 0, query_qp_in::QPN, qpn.into()));
    query_qp_out::QPC.slice(&answer).expect("is long enough").to_vec()
}

fn state_of(machine: &mut Machine, qpn: u32) -> QpState {
    QpState(qpc::STATE.get(&context_of(machine, qpn)).expect("is long enough") as u8)
}

/// Every transition from every state: Linux's `optab`, and nothing else.
#[test]
fn every_transition_from_every_state() {
    use QpState as S;
    // Command, where it starts, where it ends.
    let any: &[S] = &[S::RST, S::INIT, S::RTR, S::RTS, S::SQER, S::SQD, S::ERR, S::SQ_DRAINING, S::SUSPENDED];
    let optab: &[(Opcode, &[S], S)] = &[
        (Opcode::RST2INIT_QP, &[S::RST], S::INIT),
        (Opcode::INIT2RTR_QP, &[S::INIT], S::RTR),
        (Opcode::RTR2RTS_QP, &[S::RTR], S::RTS),
        (Opcode::RTS2RTS_QP, &[S::RTS], S::RTS),
        (Opcode::SQERR2RTS_QP, &[S::SQER], S::RTS),
        (Opcode::_2ERR_QP, any, S::ERR),
        (Opcode::_2RST_QP, any, S::RST),
        (Opcode::SQD_RTS_QP, &[S::SQD], S::RTS),
        (Opcode::INIT2INIT_QP, &[S::INIT], S::INIT),
    ];
    let mut accepted = 0;
    for state in any {
        let machine = machine_in(*state);
        for (opcode, from, to) in optab {
            let mut machine = machine.clone();
            let before = machine.snapshot();
            let outcome = machine.try_run(&step(*opcode, 1, 0x41)).map(drop);
            machine.check();
            if from.contains(state) {
                assert_eq!(outcome, Ok(()), "{opcode} from {state}");
                assert_eq!(state_of(&mut machine, 0x41), *to, "{opcode} from {state}");
                accepted += 1;
            } else {
                assert_eq!(outcome, Err(Failure::QP_STATE), "{opcode} from {state}");
                assert!(before == machine.snapshot(), "{opcode} from {state} changes nothing");
            }
        }
    }
    assert_eq!(accepted, 7 + 2 * any.len());
    assert_eq!(Failure::QP_STATE.status, Status::BAD_QP_STATE);
}

#[test]
fn rules() {
    let change = |opcode, mask: OptParam, fields: &[(Field, u64)]| {
        transition(opcode, 1, 0x41, mask.0, &[usual(opcode), fields.to_vec()].concat())
    };
    let none = OptParam(0);
    use Opcode as Op;
    #[rustfmt::skip]
    let to_init = vec![
        ("another's", step(Op::RST2INIT_QP, 2, 0x41), Err(Failure::QP_FOREIGN)),
        ("the driver changes a user's", step(Op::RST2INIT_QP, 0, 0x41), Err(Failure::QP_FOREIGN)),
        ("none", step(Op::RST2INIT_QP, 1, 0x42), Err(Failure::QP_UNKNOWN)),
        ("2ERR of another's", step(Op::_2ERR_QP, 2, 0x41), Err(Failure::QP_FOREIGN)),
        ("port 0 is port 1", change(Op::RST2INIT_QP, none, &[(ads::VHCA_PORT_NUM.within(PRIMARY), 0)]), Ok(())),
        ("port 2", change(Op::RST2INIT_QP, none, &[(ads::VHCA_PORT_NUM.within(PRIMARY), 2)]), Err(Failure::QP_PORT)),
        ("the last P_Key", change(Op::RST2INIT_QP, none, &[(ads::PKEY_INDEX.within(PRIMARY), 127)]), Ok(())),
        ("a P_Key beyond", change(Op::RST2INIT_QP, none, &[(ads::PKEY_INDEX.within(PRIMARY), 128)]), Err(Failure::QP_PKEY_INDEX)),
        ("nothing is optional", change(Op::RST2INIT_QP, OptParam::PKEY_INDEX, &[]), Err(Failure::QP_OPT_PARAM)),
        ("too short", step(Op::RST2INIT_QP, 1, 0x41)[..271].to_vec(), Err(Failure::INPUT_TOO_SHORT)),
    ];
    table(&machine_in(QpState::RST), to_init);
    let gid = |index| [(ads::GRH.within(PRIMARY), 1), (ads::SRC_ADDR_INDEX.within(PRIMARY), index)];
    let alternative = [(ads::VHCA_PORT_NUM.within(SECONDARY), 2)];
    #[rustfmt::skip]
    let to_rtr = vec![
        ("MTU 256", change(Op::INIT2RTR_QP, none, &[(qpc::MTU, 1)]), Ok(())),
        ("MTU 0", change(Op::INIT2RTR_QP, none, &[(qpc::MTU, 0)]), Err(Failure::QP_MTU)),
        ("MTU of raw Ethernet", change(Op::INIT2RTR_QP, none, &[(qpc::MTU, 7)]), Err(Failure::QP_MTU)),
        ("messages too large", change(Op::INIT2RTR_QP, none, &[(qpc::LOG_MSG_MAX, 31)]), Err(Failure::QP_MESSAGE)),
        ("too many reads", change(Op::INIT2RTR_QP, none, &[(qpc::LOG_RRA_MAX, 5)]), Err(Failure::QP_READS)),
        ("the last GID", change(Op::INIT2RTR_QP, none, &gid(7)), Ok(())),
        ("a GID beyond", change(Op::INIT2RTR_QP, none, &gid(8)), Err(Failure::QP_GID_INDEX)),
        ("a GID beyond, of no concern", change(Op::INIT2RTR_QP, none, &gid(8)[1..]), Ok(())),
        ("an alternative path", change(Op::INIT2RTR_QP, OptParam::ALT_ADDR_PATH, &alternative), Err(Failure::QP_PORT)),
        ("an alternative path that does not count", change(Op::INIT2RTR_QP, none, &alternative), Ok(())),
        ("a Q_Key for RC", change(Op::INIT2RTR_QP, OptParam::Q_KEY, &[]), Err(Failure::QP_OPT_PARAM)),
        ("a rate limit", change(Op::INIT2RTR_QP, OptParam::PP_INDEX, &[]), Err(Failure::QP_OPT_PARAM)),
        ("a bit that stands for nothing", change(Op::INIT2RTR_QP, OptParam(1 << 31), &[]), Err(Failure::QP_OPT_PARAM)),
    ];
    table(&machine_in(QpState::INIT), to_rtr);
    let to_rts =
        vec![("too many reads", change(Op::RTR2RTS_QP, none, &[(qpc::LOG_SRA_MAX, 5)]), Err(Failure::QP_READS))];
    table(&machine_in(QpState::RTR), to_rts);
}

/// QUERY_QP answers what the way to RTS set; 2RST forgets it, and keeps what CREATE_QP said.
#[test]
fn query_qp_answers_what_was_set() {
    let mut machine = furnished_for_transport();
    let created = context_of(&mut machine, 0x41);
    let mut expected = created.clone();
    for (opcode, state) in UP.into_iter().zip([1, 2, 3]) {
        // What a command carries beyond what it sets does not count.
        let stray = [(qpc::PD, 1), (qpc::LOG_SQ_SIZE, 9), (qpc::CQN_SND, 1), (qpc::SSN, 5), (qpc::ST, 2)];
        machine.ok(&transition(opcode, 1, 0x41, 0, &[usual(opcode), stray.to_vec()].concat()));
        let said = [usual(opcode), vec![(qpc::STATE, state)]].concat();
        for (field, value) in said {
            field.set(&mut expected, value).expect("fits");
        }
        // RST2INIT always says it, and this one said 0.
        qpc::PM_STATE.set(&mut expected, 0).expect("fits");
        assert_eq!(context_of(&mut machine, 0x41), expected, "{opcode}");
    }
    machine.ok(&step(Opcode::_2ERR_QP, 1, 0x41));
    qpc::STATE.set(&mut expected, 6).expect("fits");
    assert_eq!(context_of(&mut machine, 0x41), expected);
    machine.ok(&step(Opcode::_2RST_QP, 1, 0x41));
    let mut reset = created;
    qpc::PM_STATE.set(&mut reset, 0).expect("fits");
    assert_eq!(context_of(&mut machine, 0x41), reset);
}

/// Each bit of `opt_param_mask`: taken or refused, as Linux's `opt_mask` has it, and what it changes.
#[test]
fn optional_parameters() {
    use OptParam as P;
    use ServiceType as St;
    let access = P::RRE.0 | P::RAE.0 | P::RWE.0;
    let path = P::ALT_ADDR_PATH.0 | P::PM_STATE.0;
    let counters = P::COUNTER_SET_ID.0;
    let (keys, place) = (P::PKEY_INDEX.0 | P::Q_KEY.0, P::PKEY_INDEX.0 | P::PRI_PORT.0);
    #[rustfmt::skip]
    let opt_mask = [
        (Opcode::INIT2INIT_QP, QpState::INIT, St::RC, access | place),
        (Opcode::INIT2INIT_QP, QpState::INIT, St::UC, P::RWE.0 | place),
        (Opcode::INIT2INIT_QP, QpState::INIT, St::UD, keys | P::PRI_PORT.0),
        (Opcode::INIT2INIT_QP, QpState::INIT, St::QP1, 0),
        (Opcode::INIT2RTR_QP, QpState::INIT, St::RC, access | P::ALT_ADDR_PATH.0 | P::PKEY_INDEX.0),
        (Opcode::INIT2RTR_QP, QpState::INIT, St::UC, P::RWE.0 | P::ALT_ADDR_PATH.0 | P::PKEY_INDEX.0),
        (Opcode::INIT2RTR_QP, QpState::INIT, St::UD, keys),
        (Opcode::INIT2RTR_QP, QpState::INIT, St::QP0, keys),
        (Opcode::INIT2RTR_QP, QpState::INIT, St::REG_UMR, 0),
        (Opcode::RTR2RTS_QP, QpState::RTR, St::XRC, access | path | P::RNR_TIMEOUT.0),
        (Opcode::RTR2RTS_QP, QpState::RTR, St::UC, P::RWE.0 | path),
        (Opcode::RTR2RTS_QP, QpState::RTR, St::UD, P::Q_KEY.0),
        (Opcode::RTS2RTS_QP, QpState::RTS, St::RC, access | path | P::RNR_TIMEOUT.0 | counters),
        (Opcode::RTS2RTS_QP, QpState::RTS, St::UD, P::Q_KEY.0 | P::SRQN.0 | P::CQN_RCV.0 | counters),
        (Opcode::RTS2RTS_QP, QpState::RTS, St::REG_UMR, 0),
        (Opcode::SQERR2RTS_QP, QpState::SQER, St::RC, access | P::RNR_TIMEOUT.0),
        (Opcode::SQERR2RTS_QP, QpState::SQER, St::UD, P::Q_KEY.0),
        (Opcode::SQD_RTS_QP, QpState::SQD, St::UC, P::RWE.0),
    ];
    for (opcode, state, service, allowed) in opt_mask {
        let mut machine = furnished_for_transport();
        let create = with(create_qp(0, service, DRIVER), &[(qpc_in(qpc::XRCD), 1)]);
        let qpn = machine.number(&create, create_qp_out::QPN);
        let mut qp = machine.firmware.resources().of::<Qp>().get(qpn).expect("is there").1.clone();
        for (field, value) in [(qpc::STATE, state.0), (qpc::MTU, 5)] {
            qp.0.context.set(field, value).expect("fits");
        }
        machine.firmware.resources.replace(qpn, qp).expect("is there");
        for bit in (0..32).map(|bit| 1 << bit) {
            // Numbers of what is there, in case the bit is for them.
            let fields = [usual(opcode), vec![(qpc::CQN_RCV, 1), (qpc::SRQN_RMPN_XRQN, 3)]].concat();
            let outcome = machine.clone().try_run(&transition(opcode, 0, qpn, bit, &fields)).map(drop);
            let expected = if allowed & bit != 0 { Ok(()) } else { Err(Failure::QP_OPT_PARAM) };
            assert_eq!(outcome, expected, "{opcode} of {service}: {}", OptParam(bit));
        }
    }
}

#[test]
fn optional_parameters_change_what_they_name() {
    let changed = [
        (OptParam::RRE, qpc::RRE, 0),
        (OptParam::RAE, qpc::ATOMIC_MODE, 1),
        (OptParam::RWE, qpc::RWE, 0),
        (OptParam::PKEY_INDEX, ads::PKEY_INDEX.within(PRIMARY), 5),
        (OptParam::ALT_ADDR_PATH, ads::RLID.within(SECONDARY), 0x1234),
        (OptParam::RNR_TIMEOUT, qpc::MIN_RNR_NAK, 3),
        (OptParam::PM_STATE, qpc::PM_STATE, 1),
        (OptParam::COUNTER_SET_ID, qpc::COUNTER_SET_ID, 9),
    ];
    for (param, field, value) in changed {
        let (mut machine, opcode) = match param {
            OptParam::PKEY_INDEX => (machine_in(QpState::INIT), Opcode::INIT2INIT_QP),
            _ => (machine_in(QpState::RTS), Opcode::RTS2RTS_QP),
        };
        let before = context_of(&mut machine, 0x41);
        machine.ok(&transition(opcode, 1, 0x41, 0, &[(field, value)]));
        assert_eq!(context_of(&mut machine, 0x41), before, "without {param}");
        machine.ok(&transition(opcode, 1, 0x41, param.0, &[(field, value)]));
        let mut expected = before;
        if param == OptParam::ALT_ADDR_PATH {
            assert_eq!(field.get(&context_of(&mut machine, 0x41)), Ok(value));
            continue;
        }
        field.set(&mut expected, value).expect("fits");
        assert_eq!(context_of(&mut machine, 0x41), expected, "{param}");
    }
}

/// A datagram QP that goes over to another receive queue and CQ uses those from then on.
#[test]
fn what_is_used_follows() {
    let mut machine = furnished_for_transport();
    let qpn = machine.number(&shared(create_qp(0, ServiceType::UD, DRIVER), 1), create_qp_out::QPN);
    let cqn = machine.number(&create_cq(0, 0x100, 2), create_cq_out::CQN);
    for opcode in UP {
        machine.ok(&step(opcode, 0, qpn));
    }
    let mask = OptParam::SRQN.0 | OptParam::CQN_RCV.0;
    let change = |srqn, cqn: u32| {
        let fields = [(qpc::SRQN_RMPN_XRQN, srqn), (qpc::CQN_RCV, cqn.into())];
        transition(Opcode::RTS2RTS_QP, 0, qpn, mask, &fields)
    };
    let cases = vec![
        ("no such SRQ", change(2, cqn), Err(Failure::SRQ_UNKNOWN)),
        ("no such CQ", change(3, 9), Err(Failure::CQ_UNKNOWN)),
        ("both there", change(3, cqn), Ok(())),
    ];
    table(&machine, cases);
    machine.ok(&change(3, cqn));
    machine.check();
    machine.ok(&naming(Opcode::DESTROY_XRC_SRQ, 0, destroy_xrc_srq_in::XRC_SRQN, 1));
    let rmp = naming(Opcode::DESTROY_RMP, 0, destroy_rmp_in::RMPN, 3);
    assert_eq!(machine.try_run(&rmp), Err(Failure::RMP_IN_USE));
    let cq = naming(Opcode::DESTROY_CQ, 0, destroy_cq_in::CQN, cqn.into());
    assert_eq!(machine.try_run(&cq), Err(Failure::CQ_IN_USE));
    machine.ok(&step(Opcode::_2RST_QP, 0, qpn));
    machine.check();
    assert_eq!(machine.try_run(&rmp), Err(Failure::RMP_IN_USE), "a reset keeps what is used");
}
