//! A run on a device that isn't simulated here: the emulation program alone. Its host is the device's.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlx5_twin_fw_cmds::cap::{CapMode, CapType};
use mlx5_twin_fw_cmds::layout::{query_hca_cap_in, query_hca_cap_out};
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::Status;
use mlx5_twin_fw_cmds::twin_v1::TWIN_CAP;
use serde::Serialize;

use crate::backend::{Backend, Error};
use crate::channel::inject;
use crate::devices::{Device, Summary};
use crate::emulation::Serving;
use crate::report::write_software;
use crate::run::{self, RunError};

/// All that a run on a device has to say.
#[derive(Clone, Debug, Serialize)]
pub struct HardwareReport {
    /// The emulated device.
    pub device: String,
    /// The backend, and its device: `uverbs:mlx5_0`.
    pub backend: String,
    /// What the emulation program did.
    pub emulation: Summary,
    /// What came of mistakes that the emulation program made on purpose, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mistakes: Option<String>,
    /// How long it ran, in nanoseconds.
    pub real_ns: u64,
}

/// Runs the emulation program of a device in a context: until the request to end that its backend has been given.
///
/// # Errors
/// The program failed.
pub fn run(
    device: &Device,
    context: Arc<dyn Backend>,
    serving: &Serving,
    mistakes: Option<&Arc<inject::Plan>>,
) -> Result<HardwareReport, RunError> {
    let begin = Instant::now();
    let backend = context.name();
    let emulate = || (device.emulate)(context, serving);
    let ran = match mistakes {
        Some(plan) => inject::while_running(plan, emulate),
        None => emulate(),
    };
    let emulation = match (ran, mistakes) {
        (Err(error), Some(plan)) => return Err(RunError::Mistakes(format!("{}; {error}", run::tell_software(plan)))),
        (ran, _) => ran?,
    };
    Ok(HardwareReport {
        device: device.name.to_owned(),
        backend,
        emulation,
        mistakes: mistakes.map(|plan| run::tell_software(plan)),
        real_ns: u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX),
    })
}

impl fmt::Display for HardwareReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} on {}\n", self.device, self.backend)?;
        write_software(&self.emulation, f)?;
        writeln!(f, "\nTime      {:.3} s", Duration::from_nanos(self.real_ns).as_secs_f64())
    }
}

/// The capability pages that a device answers with, of all types that are known: type, and the largest values. Those that it refuses aren't among them.
///
/// # Errors
/// What isn't the firmware's refusal of a type.
pub fn capability_pages(context: &dyn Backend) -> Result<Vec<(CapType, Vec<u8>)>, Error> {
    let types = CapType::ALL.iter().map(|(_, cap_type)| *cap_type).chain([TWIN_CAP]);
    let mut pages = Vec::new();
    for cap_type in types {
        let mut input = [0; query_hca_cap_in::SIZE];
        query_hca_cap_in::OPCODE.set(&mut input, u64::from(Opcode::QUERY_HCA_CAP.0))?;
        query_hca_cap_in::OP_MOD.set(&mut input, u64::from(cap_type.op_mod(CapMode::Max)))?;
        match context.general_command(&input, query_hca_cap_out::SIZE) {
            Ok(output) => pages.push((cap_type, query_hca_cap_out::CAPABILITY.slice(&output)?.to_vec())),
            Err(Error::Command { status: Status::BAD_PARAM | Status::BAD_OP, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_short() {
        let emulation = Summary { reads: 2000, resets: 1, ..Summary::default() };
        let (device, backend) = ("scratch".to_owned(), "uverbs:mlx5_0".to_owned());
        let report = HardwareReport { device, backend, emulation, mistakes: None, real_ns: 12_345_678_901 };
        assert_eq!(
            report.to_string(),
            "scratch on uverbs:mlx5_0\n\n\
             Software  2,000 reads answered, 0 writes taken, 0 interrupts raised, 1 resets\n\n\
             Time      12.346 s\n"
        );
        let value = serde_json::to_value(report).expect("an object");
        assert_eq!((&value["backend"], &value["emulation"]["reads"]), (&"uverbs:mlx5_0".into(), &2000.into()));
    }
}
