//! What all commands have in common: states, lengths, callers, operation modifiers.

use super::*;
use mlx5_twin_fw_cmds::twin_v1;

const STATES: [State; 4] = [State::Disabled, State::Enabled, State::Initialised, State::TornDown];

/// For each command: the states that allow it (Disabled, Enabled, Initialised, Torn down), whether
/// a user context may send it, and the bytes of its input and output (from `mlx5_ifc.h`;
/// QUERY_HCA_CAP answers half of its page too).
#[rustfmt::skip]
const COMMON: &[(Opcode, &str, bool, usize, usize)] = &[
    (Opcode::QUERY_HCA_CAP,          "EI",   true,  16,   2064),
    (Opcode::QUERY_ADAPTER,          "EI",   true,  16,   272),
    (Opcode::INIT_HCA,               "E",    false, 32,   16),
    (Opcode::TEARDOWN_HCA,           "I",    false, 16,   16),
    (Opcode::ENABLE_HCA,             "D",    false, 16,   12),
    (Opcode::DISABLE_HCA,            "ET",   false, 16,   12),
    (Opcode::QUERY_PAGES,            "EIT",  false, 16,   16),
    (Opcode::MANAGE_PAGES,           "EIT",  false, 16,   16),
    (Opcode::SET_HCA_CAP,            "E",    false, 4112, 16),
    (Opcode::QUERY_ISSI,             "EIT",  true,  16,   112),
    (Opcode::SET_ISSI,               "E",    false, 16,   16),
    (Opcode::CREATE_MKEY,            "I",    true,  272,   16),
    (Opcode::QUERY_MKEY,             "I",    true,  16,    304),
    (Opcode::DESTROY_MKEY,           "I",    true,  16,    16),
    (Opcode::QUERY_SPECIAL_CONTEXTS, "I",    true,  16,   32),
    (Opcode::ALLOC_MEMIC,            "I",    false, 32,   16),
    (Opcode::DEALLOC_MEMIC,          "I",    false, 32,   16),
    (Opcode::MODIFY_MEMIC,           "I",    false, 64,   64),
    (Opcode::CREATE_EQ,              "I",    true,  272,  16),
    (Opcode::DESTROY_EQ,             "I",    true,  16,   16),
    (Opcode::QUERY_EQ,               "I",    true,  16,   272),
    (Opcode::CREATE_CQ,              "I",    true,  272,   16),
    (Opcode::DESTROY_CQ,             "I",    true,  16,    16),
    (Opcode::QUERY_CQ,               "I",    true,  16,    272),
    (Opcode::MODIFY_CQ,              "I",    true,  272,   16),
    (Opcode::CREATE_QP,              "I",    true,  272,   16),
    (Opcode::DESTROY_QP,             "I",    true,  16,    16),
    (Opcode::RST2INIT_QP,            "I",    true,  272,   16),
    (Opcode::INIT2RTR_QP,            "I",    true,  272,   16),
    (Opcode::RTR2RTS_QP,             "I",    true,  272,   16),
    (Opcode::RTS2RTS_QP,             "I",    true,  272,   16),
    (Opcode::SQERR2RTS_QP,           "I",    true,  272,   16),
    (Opcode::_2ERR_QP,               "I",    true,  16,    16),
    (Opcode::_2RST_QP,               "I",    true,  16,    16),
    (Opcode::QUERY_QP,               "I",    true,  16,    272),
    (Opcode::SQD_RTS_QP,             "I",    true,  272,   16),
    (Opcode::MAD_IFC,                "I",    false, 272,  272),
    (Opcode::INIT2INIT_QP,           "I",    true,  272,   16),
    (Opcode::CREATE_SRQ,             "I",    true,  272,   16),
    (Opcode::DESTROY_SRQ,            "I",    true,  16,    16),
    (Opcode::QUERY_SRQ,              "I",    true,  16,    272),
    (Opcode::ARM_RQ,                 "I",    true,  16,    16),
    (Opcode::CREATE_XRC_SRQ,         "I",    true,  272,   16),
    (Opcode::DESTROY_XRC_SRQ,        "I",    true,  16,    16),
    (Opcode::QUERY_XRC_SRQ,          "I",    true,  16,    272),
    (Opcode::ARM_XRC_SRQ,            "I",    true,  16,    16),
    (Opcode::QUERY_VPORT_STATE,       "I",    true,  16,   16),
    (Opcode::QUERY_NIC_VPORT_CONTEXT, "I",    true,  16,   272),
    (Opcode::MODIFY_NIC_VPORT_CONTEXT,"I",    false, 512,  16),
    (Opcode::QUERY_ROCE_ADDRESS,      "I",    true,  16,   48),
    (Opcode::SET_ROCE_ADDRESS,        "I",    false, 48,   16),
    (Opcode::QUERY_HCA_VPORT_CONTEXT, "I",   true,  16,   528),
    (Opcode::MODIFY_HCA_VPORT_CONTEXT, "I",  false, 528,  16),
    (Opcode::QUERY_HCA_VPORT_GID,    "I",    true,  16,   16),
    (Opcode::QUERY_HCA_VPORT_PKEY,   "I",    true,  16,   16),
    (Opcode::QUERY_VPORT_COUNTER,    "I",    true,  32,   528),
    (Opcode::ALLOC_Q_COUNTER,        "I",    true,  16,   16),
    (Opcode::DEALLOC_Q_COUNTER,      "I",    true,  16,   16),
    (Opcode::QUERY_Q_COUNTER,        "I",    true,  32,   256),
    (Opcode::SET_PP_RATE_LIMIT,      "I",    true,  64,   16),
    (Opcode::CREATE_SCHEDULING_ELEMENT, "I", true,  128,  64),
    (Opcode::DESTROY_SCHEDULING_ELEMENT, "I", true, 64,   64),
    (Opcode::MODIFY_SCHEDULING_ELEMENT, "I", true,  128,  64),
    (Opcode::ALLOC_PD,               "I",    true,  16,   16),
    (Opcode::DEALLOC_PD,             "I",    true,  16,   16),
    (Opcode::ALLOC_UAR,              "I",    true,  16,   16),
    (Opcode::DEALLOC_UAR,            "I",    true,  16,   16),
    (Opcode::ACCESS_REG,             "EI",   false, 16,   16),
    (Opcode::ATTACH_TO_MCG,          "I",    true,  32,    16),
    (Opcode::DETACH_FROM_MCG,        "I",    true,  32,    16),
    (Opcode::NOP,                    "DEIT", true,  16,   16),
    (Opcode::ALLOC_XRCD,             "I",    true,  16,    16),
    (Opcode::DEALLOC_XRCD,           "I",    true,  16,    16),
    (Opcode::ALLOC_TRANSPORT_DOMAIN,  "I",    true,  16,    16),
    (Opcode::DEALLOC_TRANSPORT_DOMAIN,  "I",    true,  16,    16),
    (Opcode::CREATE_TIR,              "I",    true,  272,  16),
    (Opcode::MODIFY_TIR,              "I",    true,  272,  16),
    (Opcode::DESTROY_TIR,             "I",    true,  16,   16),
    (Opcode::QUERY_TIR,               "I",    true,  16,   272),
    (Opcode::CREATE_SQ,               "I",    true,  272,  16),
    (Opcode::MODIFY_SQ,               "I",    true,  272,  16),
    (Opcode::DESTROY_SQ,              "I",    true,  16,   16),
    (Opcode::QUERY_SQ,                "I",    true,  16,   272),
    (Opcode::CREATE_RQ,               "I",    true,  272,  16),
    (Opcode::MODIFY_RQ,               "I",    true,  272,  16),
    (Opcode::DESTROY_RQ,              "I",    true,  16,   16),
    (Opcode::QUERY_RQ,                "I",    true,  16,   272),
    (Opcode::CREATE_RMP,             "I",    true,  272,   16),
    (Opcode::MODIFY_RMP,             "I",    true,  272,   16),
    (Opcode::DESTROY_RMP,            "I",    true,  16,    16),
    (Opcode::QUERY_RMP,              "I",    true,  16,    272),
    (Opcode::CREATE_TIS,              "I",    true,  192,  16),
    (Opcode::MODIFY_TIS,              "I",    true,  192,  16),
    (Opcode::DESTROY_TIS,             "I",    true,  16,   16),
    (Opcode::QUERY_TIS,               "I",    true,  16,   176),
    (Opcode::CREATE_RQT,              "I",    true,  272,  16),
    (Opcode::MODIFY_RQT,              "I",    true,  272,  16),
    (Opcode::DESTROY_RQT,             "I",    true,  16,   16),
    (Opcode::QUERY_RQT,               "I",    true,  16,   272),
    (Opcode::SET_FLOW_TABLE_ROOT,     "I",    true,  64,   16),
    (Opcode::CREATE_FLOW_TABLE,       "I",    true,  64,   16),
    (Opcode::DESTROY_FLOW_TABLE,      "I",    true,  64,   16),
    (Opcode::CREATE_FLOW_GROUP,       "I",    true,  1024, 16),
    (Opcode::DESTROY_FLOW_GROUP,      "I",    true,  64,   16),
    (Opcode::SET_FLOW_TABLE_ENTRY,    "I",    true,  832,  16),
    (Opcode::DELETE_FLOW_TABLE_ENTRY, "I",    true,  64,   16),
    (Opcode::ALLOC_FLOW_COUNTER,     "I",    true,  16,   16),
    (Opcode::DEALLOC_FLOW_COUNTER,   "I",    true,  16,   16),
    (Opcode::QUERY_FLOW_COUNTER,     "I",    true,  32,   16),
    (Opcode::MODIFY_FLOW_TABLE,       "I",    true,  64,   16),
    (Opcode::CREATE_GENERAL_OBJECT,  "I",    true,  16,   16),
    (Opcode::MODIFY_GENERAL_OBJECT,  "I",    true,  16,   16),
    (Opcode::QUERY_GENERAL_OBJECT,   "I",    true,  16,   16),
    (Opcode::DESTROY_GENERAL_OBJECT, "I",    true,  16,   16),
    (Opcode::CREATE_UCTX,            "I",    false, 64,   16),
    (Opcode::DESTROY_UCTX,           "I",    false, 16,   16),
    (Opcode::CREATE_UMEM,            "I",    true,  48,   16),
    (Opcode::DESTROY_UMEM,           "I",    true,  16,   16),
    (twin_v1::QUERY_EMULATED_PORT,   "I",    true,  16,   32),
    (twin_v1::MODIFY_EMULATED_PORT,  "I",    true,  16,   16),
    (twin_v1::QUERY_EMULATED_REGION, "I",    true,  32,   16),
    (twin_v1::MODIFY_EMULATED_REGION, "I",   true,  32,   16),
];

fn letter(state: State) -> char {
    state.to_string().to_uppercase().remove(0)
}

#[test]
fn the_table_names_every_command() {
    let named: Vec<Opcode> = COMMON.iter().map(|row| row.0).collect();
    let known: Vec<Opcode> = COMMANDS.iter().map(|spec| spec.opcode).collect();
    assert_eq!(named, known);
}

#[test]
fn states() {
    for state in STATES {
        let machine = in_state(state);
        for (opcode, states, ..) in COMMON {
            let outcome = machine.clone().try_run(&plain(*opcode, 0, &[]));
            let refused = outcome == Err(Failure::WRONG_STATE);
            assert_eq!(refused, !states.contains(letter(state)), "{opcode} when {state}: {outcome:?}");
        }
    }
}

#[test]
fn lengths() {
    for (opcode, states, _, input, output) in COMMON {
        let state = STATES.into_iter().find(|state| states.contains(letter(*state)));
        let machine = in_state(state.expect("is allowed somewhere"));
        let whole = plain(*opcode, 0, &[]);
        assert_eq!(whole.len(), *input, "{opcode}");
        for length in (0..*input).step_by(if *input > 500 { 37 } else { 1 }) {
            let outcome = machine.clone().try_run(&whole[..length]);
            assert_eq!(outcome, Err(Failure::INPUT_TOO_SHORT), "{opcode} with {length} bytes");
        }
        for length in (0..*output).step_by(if *output > 500 { 37 } else { 1 }) {
            let mut machine = machine.clone();
            let before = machine.snapshot();
            let (executed, bytes) = machine.run_with(&whole, length);
            let status = (executed.status, executed.syndrome);
            let expected = (Status::BAD_OUTP_LEN, Failure::OUTPUT_TOO_SHORT.syndrome.0);
            assert_eq!(status, expected, "{opcode} with room for {length} bytes");
            assert!(before == machine.snapshot(), "{opcode} changes nothing");
            if length < MIN_OUTPUT {
                assert!(bytes.iter().all(|byte| *byte == 0xa5), "{opcode}: an output too short is left alone");
            }
        }
    }
}

#[test]
fn callers() {
    for (opcode, states, user, ..) in COMMON {
        let Some(state) = STATES.into_iter().find(|state| states.contains(letter(*state))) else { continue };
        let machine = in_state(state);
        let unknown = machine.clone().try_run(&plain(*opcode, 7, &[]));
        assert_eq!(unknown, Err(Failure::UID_UNKNOWN), "{opcode}");
        if state == State::Initialised {
            let outcome = machine.clone().try_run(&plain(*opcode, 1, &[]));
            assert_eq!(outcome == Err(Failure::DRIVER_ONLY), !user, "{opcode}: {outcome:?}");
        }
    }
}

#[test]
fn op_mods() {
    for (opcode, states, ..) in COMMON {
        let state = STATES.into_iter().find(|state| states.contains(letter(*state)));
        let mut machine = in_state(state.expect("is allowed somewhere"));
        let odd = plain(*opcode, 0, &[(mbox_in::OP_MOD, 0x7ffe)]);
        let expected = match *opcode {
            Opcode::QUERY_HCA_CAP | Opcode::SET_HCA_CAP => Failure::CAP_TYPE,
            Opcode(0xa00..=0xa03) => Failure::OBJECT_TYPE,
            // Nobody knows it here.
            twin_v1::MODIFY_EMULATED_PORT | twin_v1::MODIFY_EMULATED_REGION => Failure::UNKNOWN_OPCODE,
            _ => Failure::OP_MOD,
        };
        assert_eq!(machine.try_run(&odd), Err(expected), "{opcode}");
    }
}

#[test]
fn unknown_opcodes() {
    for state in STATES {
        for opcode in [0, 0x106, 0x508, 0x710, 0x751, 0xa05, 0xb00, 0xffff] {
            let outcome = in_state(state).try_run(&command(Opcode(opcode), 0, 16, &[]));
            assert_eq!(outcome, Err(Failure::UNKNOWN_OPCODE), "{opcode:#x} when {state}");
        }
    }
}
