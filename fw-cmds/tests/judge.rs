//! The judge: every number of this crate beside Linux's own headers.
//!
//! The headers are not part of the project; `judge/fetch-headers.sh` gets them. Without them the
//! comparison is skipped and says so. The other tests here show that the judge can fail.

#[path = "judge/compare.rs"]
mod compare;
#[path = "judge/header.rs"]
mod header;
#[path = "judge/lexer.rs"]
mod lexer;
#[path = "judge/made_up.rs"]
mod made_up;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mlx5_twin_fw_cmds::cap::{CapMode, CapType};
use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::mad::{self, MadClass, MadMethod, MadStatus, PmaAttribute, SmpAttribute};
use mlx5_twin_fw_cmds::object::ObjectType;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::Status;
use mlx5_twin_fw_cmds::transport::{AccessMode, OptParam, QpState, ServiceType};
use mlx5_twin_fw_cmds::{constants, layout};

use compare::Report;
use header::Header;

/// The headers the judge reads.
const FILES: &[&str] =
    &["mlx5_ifc_fpga.h", "mlx5_ifc.h", "device.h", "doorbell.h", "driver.h", "qp.h", "cq.h", "port.h"];

/// The headers of MADs. A folder of an older `fetch-headers.sh` doesn't hold them.
const RDMA_FILES: &[&str] = &["rdma/ib_mad.h", "rdma/ib_smi.h", "rdma/ib_pma.h"];

/// The kernel that the tables are of; its headers go before others in the cache.
const KERNEL: [u64; 3] = [7, 3, 4];

/// A comparison of fewer is a fault of the judge.
const MIN_FIELDS: usize = 1450;
const MIN_CONSTANTS: usize = 440;

#[test]
fn tables_agree_with_the_linux_headers() {
    let folder = match headers() {
        Ok(folder) => folder,
        Err(reason) => {
            say(&format!(
                "SKIPPED, nothing was compared: {reason}\n(get the headers with fw-cmds/judge/fetch-headers.sh)"
            ));
            return;
        }
    };
    let rdma = RDMA_FILES.iter().all(|file| folder.join(file).is_file());
    if !rdma {
        say("the headers of MADs are missing: their layouts and numbers are not compared (fetch-headers.sh gets them)");
    }
    let header = read(&folder, rdma);
    let report = compare_all(&header, rdma);

    let version = fs::read_to_string(folder.join("VERSION")).unwrap_or_else(|_| "version unknown".to_owned());
    say(&format!(
        "{} fields of {} layouts and {} constants compared with {} ({}): {} differences\nnot in any header: {}",
        report.fields,
        report.layouts,
        report.constants,
        folder.display(),
        version.trim(),
        report.differences.len(),
        report.unjudged.join(", ")
    ));
    for difference in &report.differences {
        say(&difference.to_string());
    }
    assert!(report.differences.is_empty(), "{} differences", report.differences.len());
    assert!(report.fields >= MIN_FIELDS, "only {} fields compared", report.fields);
    assert!(report.constants >= MIN_CONSTANTS, "only {} constants compared", report.constants);
}

/// Writes past the test harness, which hides what a passing test prints.
fn say(text: &str) {
    for line in text.lines() {
        // Standard error is gone: nobody to tell.
        let _ = writeln!(io::stderr(), "judge: {line}");
    }
}

/// Where the headers are: `MLX5_TWIN_HEADERS`, else the cache that `fetch-headers.sh` fills. A
/// folder that was named but does not hold them is an error of the test's caller.
fn headers() -> Result<PathBuf, String> {
    if let Some(folder) = env::var_os("MLX5_TWIN_HEADERS") {
        let folder = PathBuf::from(folder);
        let found = is_complete(&folder);
        assert!(found, "MLX5_TWIN_HEADERS is {}, which does not hold {FILES:?}", folder.display());
        return Ok(folder);
    }
    let cache = match (env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) if !home.is_empty() => PathBuf::from(home).join(".cache"),
        _ => return Err("neither MLX5_TWIN_HEADERS, XDG_CACHE_HOME nor HOME is set".to_owned()),
    };
    let cache = cache.join("mlx5-twin").join("headers");
    let entries = fs::read_dir(&cache).map_err(|error| format!("no headers in {}: {error}", cache.display()))?;
    let folders = entries.flatten().map(|entry| entry.path()).filter(|folder| is_complete(folder));
    folders
        .max_by_key(|folder| (version(folder).starts_with(&KERNEL), version(folder)))
        .ok_or_else(|| format!("no headers in {}", cache.display()))
}

fn is_complete(folder: &Path) -> bool {
    FILES.iter().all(|file| folder.join(file).is_file())
}

/// The numbers in a folder's name, so that 7.3.10 is newer than 7.3.4.
fn version(folder: &Path) -> Vec<u64> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

fn read(folder: &Path, rdma: bool) -> Header {
    let mut header = Header::default();
    for file in FILES.iter().chain(RDMA_FILES.iter().filter(|_| rdma)) {
        let path = folder.join(file);
        header.add(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    }
    header
}

/// Everything the crate declares beside the headers; `rdma`: those of MADs are there.
fn compare_all(header: &Header, rdma: bool) -> Report {
    let mut report = Report { rdma, ..Report::default() };
    for layout in layout::ALL {
        report.layout(header, layout);
    }

    let opcodes = kernel_names(Opcode::KERNEL_NAMES, |opcode| opcode.0.into());
    let statuses = kernel_names(Status::KERNEL_NAMES, |status| status.0.into());
    let caps = kernel_names(CapType::KERNEL_NAMES, |cap| cap.0.into());
    let events = kernel_names(EventType::KERNEL_NAMES, |event| event.0.into());
    let objects = kernel_names(ObjectType::KERNEL_NAMES, |object| object.0.into());
    let qp_states = kernel_names(QpState::KERNEL_NAMES, |state| state.0.into());
    let services = kernel_names(ServiceType::KERNEL_NAMES, |service| service.0.into());
    let opt_params = kernel_names(OptParam::KERNEL_NAMES, |param| param.0.into());
    let access_modes = kernel_names(AccessMode::KERNEL_NAMES, |mode| mode.0.into());
    let others = [
        ("MLX5_CMD_OP_GENERAL_START", Opcode::GENERAL_START.0.into()),
        ("MLX5_CMD_OP_GENERAL_END", Opcode::GENERAL_END.0.into()),
        ("HCA_CAP_OPMOD_GET_MAX", CapMode::Max as u64),
        ("HCA_CAP_OPMOD_GET_CUR", CapMode::Current as u64),
    ];
    let lists: [&[(&str, u64)]; 17] = [
        &opcodes,
        &statuses,
        &caps,
        &events,
        &objects,
        &qp_states,
        &services,
        &opt_params,
        &access_modes,
        &others,
        constants::CQ,
        constants::DEVICE,
        constants::DOORBELL,
        constants::DRIVER,
        constants::PORT,
        constants::IFC,
        constants::QP,
    ];
    for (name, value) in lists.into_iter().flatten() {
        report.constant(header, name, *value);
    }
    if rdma {
        let mad_lists = [
            kernel_names(MadClass::KERNEL_NAMES, |class| class.0.into()),
            kernel_names(MadMethod::KERNEL_NAMES, |method| method.0.into()),
            kernel_names(MadStatus::KERNEL_NAMES, |status| status.0.into()),
            kernel_names(SmpAttribute::KERNEL_NAMES, |attribute| attribute.0.into()),
            kernel_names(PmaAttribute::KERNEL_NAMES, |attribute| attribute.0.into()),
            vec![
                ("IB_MGMT_BASE_VERSION", mad::BASE_VERSION.into()),
                ("IB_PMA_CLASS_CAP_EXT_WIDTH", mad::PMA_CLASS_CAP_EXT_WIDTH.into()),
            ],
        ];
        for (name, value) in mad_lists.into_iter().flatten() {
            report.constant(header, name, value);
        }
    }

    // And the other way round: what these enums of the header have, the tables have.
    let sentinels = ["MLX5_QP_NUM_STATE", "MLX5_QP_STATE", "MLX5_QP_STATE_BAD"];
    for (table, member, except) in [
        (&opcodes, "MLX5_CMD_OP_QUERY_HCA_CAP", &["MLX5_CMD_OP_MAX"][..]),
        (&statuses, "MLX5_CMD_STAT_OK", &[]),
        (&caps, "MLX5_CAP_GENERAL", &["MLX5_CAP_NUM"]),
        (&events, "MLX5_EVENT_TYPE_COMP", &["MLX5_EVENT_TYPE_MAX"]),
        (&objects, "MLX5_OBJ_TYPE_SW_ICM", &[]),
        (&objects, "MLX5_GENERAL_OBJECT_TYPES_IPSEC", &[]),
        (&qp_states, "MLX5_QP_STATE_RST", &sentinels),
        (&services, "MLX5_QP_ST_RC", &["MLX5_QP_ST_MAX"]),
        (&opt_params, "MLX5_QP_OPTPAR_RRE", &[]),
        (&access_modes, "MLX5_MKC_ACCESS_MODE_PA", &[]),
    ] {
        let table: Vec<_> = table.iter().map(|(name, _)| *name).collect();
        report.complete_enum(header, member, &table, except);
    }
    report
}

fn kernel_names<T: Copy>(table: &'static [(&'static str, T)], number: impl Fn(T) -> u64) -> Vec<(&'static str, u64)> {
    table.iter().map(|(name, value)| (*name, number(*value))).collect()
}
