//! The data link layer against an independent implementation: the vectors in `fixtures/dllp-vectors`.

use mlx5_twin_sim::fabric::dll::{
    Amount, ClassGate, ClassLedger, Dllp, FcField, FcStage, Features, Gate, Ledger, PowerRequest, Scale, Sequence,
    Unit, latency_symbols, lcrc,
};
use mlx5_twin_sim::tlp::Class;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;

fn read<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/dllp-vectors");
    let path = folder.join(format!("cocotbext-pcie-0.2.16-{name}.jsonl"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let parse = |(i, line)| serde_json::from_str(line).unwrap_or_else(|e| panic!("{name}, line {}: {e}", i + 1));
    text.lines().enumerate().map(parse).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// The fields as the encoder was given them (absent ones are 0), and its bytes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Packet {
    kind: String,
    #[serde(default)]
    sequence: u16,
    #[serde(default)]
    features: u32,
    #[serde(default)]
    acknowledges: bool,
    #[serde(default)]
    channel: u8,
    #[serde(default)]
    header_scale: u8,
    #[serde(default)]
    headers: u16,
    #[serde(default)]
    data_scale: u8,
    #[serde(default)]
    data: u16,
    #[serde(default)]
    dllp: String,
    #[serde(default)]
    tlp: String,
    #[serde(default)]
    lcrc: String,
}

fn dllp_of(v: &Packet) -> Option<Dllp> {
    Some(match v.kind.as_str() {
        "Ack" => Dllp::Ack(Sequence::new(v.sequence)),
        "Nak" => Dllp::Nak(Sequence::new(v.sequence)),
        "Nop" => Dllp::Nop,
        "Feature" => Dllp::Feature { acknowledges: v.acknowledges, features: Features::from_bits(v.features) },
        "PM_Enter_L1" => Dllp::Power(PowerRequest::EnterL1),
        "PM_Enter_L23" => Dllp::Power(PowerRequest::EnterL23),
        "PM_Active_State_Request_L1" => Dllp::Power(PowerRequest::ActiveStateL1),
        "PM_Request_Ack" => Dllp::Power(PowerRequest::Acknowledge),
        other => {
            let (stage, class) = other.split_once('-')?;
            let stage = match stage {
                "InitFC1" => FcStage::Init1,
                "InitFC2" => FcStage::Init2,
                "UpdateFC" => FcStage::Update,
                _ => return None,
            };
            let class = match class {
                "P" => Class::Posted,
                "NP" => Class::NonPosted,
                "Cpl" => Class::Completion,
                _ => return None,
            };
            let headers = FcField { scale: Scale::from_bits(v.header_scale), value: v.headers };
            let data = FcField { scale: Scale::from_bits(v.data_scale), value: v.data };
            Dllp::FlowControl { stage, class, channel: v.channel, headers, data }
        }
    })
}

#[test]
fn packets_both_ways() {
    let mut counts = BTreeMap::new();
    for v in read::<Packet>("dllps") {
        *counts.entry(v.kind.clone()).or_insert(0) += 1;
        if v.kind == "LCRC" {
            assert_eq!(lcrc(Sequence::new(v.sequence), &[&bytes(&v.tlp)]).to_vec(), bytes(&v.lcrc), "{v:?}");
            continue;
        }
        let dllp = dllp_of(&v).unwrap_or_else(|| panic!("{v:?}"));
        let wire: [u8; Dllp::LEN] = bytes(&v.dllp).try_into().unwrap();
        assert_eq!(dllp.encode(), wire, "{v:?}");
        assert_eq!(Dllp::decode(&wire), Ok(dllp), "{v:?}");
    }
    assert_eq!(counts.len(), 8 + 9 + 1, "{counts:?}");
    assert_eq!(counts.values().sum::<u32>(), 1_393);
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    generation: u8,
    lanes: u8,
    max_payload: u32,
    symbols: f64,
}

#[test]
fn limits_are_those_of_the_formula_rounded_down() {
    let limits: Vec<Limit> = read("limits");
    assert_eq!(limits.len(), 5 * 7 * 6);
    for v in limits {
        let ours = latency_symbols(v.generation, v.lanes, v.max_payload);
        assert_eq!(ours, v.symbols.floor() as u64, "{v:?}");
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    unit: String,
    bits: u32,
    initial: u32,
    /// What happened, how much of it, and what both ends then count as available; none if it's infinite.
    events: Vec<(String, u32, Option<u32>, Option<u32>)>,
}

#[test]
fn counters_through_the_same_events() {
    let runs: Vec<Run> = read("credits");
    assert_eq!(runs.len(), 24);
    let mut wrapped = 0;
    for run in runs {
        let unit = if run.unit == "headers" { Unit::Headers } else { Unit::Data };
        let scale = match run.bits - unit.field_bits() {
            0 => Scale::Unscaled,
            2 => Scale::Four,
            _ => Scale::Sixteen,
        };
        let mut ledger = Ledger::new(unit, run.initial, scale);
        let mut gate = Gate::new(unit, ledger.field());
        let mut sent = 0;
        for (number, (event, amount, available, free)) in run.events.iter().enumerate() {
            let at = || format!("{} of {} bits, initially {}: event {number}", run.unit, run.bits, run.initial);
            match event.as_str() {
                "send" => {
                    assert!(gate.allows(*amount), "{}", at());
                    gate.consume(*amount);
                    sent += amount;
                }
                "blocked" => assert!(!gate.allows(*amount), "{}", at()),
                "receive" => assert_eq!(ledger.receive(*amount), Ok(()), "{}", at()),
                "free" => ledger.free(*amount),
                _ => assert_eq!(gate.update(ledger.field()), Ok(()), "{}", at()),
            }
            assert_eq!(gate.unused(), available.unwrap_or(u32::MAX), "{}", at());
            assert_eq!(ledger.unused(), free.unwrap_or(u32::MAX), "{}", at());
        }
        wrapped += u32::from(run.initial > 0 && sent >> run.bits > 0);
    }
    assert!(wrapped >= 6, "only {wrapped} runs wrapped");
}

/// The same by class, over the fields of DLLPs as bytes: the counters wrap in 8 and 12 bits, which the oracle never sees.
#[test]
fn fields_wrap_on_the_wire() {
    let room = Amount { headers: 100, data: 2047 };
    let mut ledger = ClassLedger::new(room, false);
    let mut gate = ClassGate::new(ledger.headers.field(), ledger.data.field());
    let one = Amount::of_payload(4096);
    for turn in 0..10_000 {
        assert!(gate.take(one), "turn {turn}");
        assert_eq!(ledger.receive(one), Ok(()));
        ledger.free(one);
        let (headers, data) = (ledger.headers.field(), ledger.data.field());
        let update = Dllp::FlowControl { stage: FcStage::Update, class: Class::Posted, channel: 0, headers, data };
        let Ok(Dllp::FlowControl { headers, data, .. }) = Dllp::decode(&update.encode()) else { panic!("{update:?}") };
        assert_eq!(gate.update(headers, data), Ok(()));
        assert_eq!((gate.headers.unused(), gate.data.unused()), (100, 2047));
    }
}
