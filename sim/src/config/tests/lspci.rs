//! What pciutils' `lspci` reads in our configuration spaces: an outside judge of every field.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

use super::super::*;
use super::{physical_function, port, write};

/// What `lspci -vvv` must say of the function, in parts of lines, and must not say of any.
#[test]
fn lspci_reads_our_spaces() -> Result<(), Box<dyn std::error::Error>> {
    let mut function = physical_function()?;
    write(&mut function, 0x10, 0xe000_0000);
    write(&mut function, 0x04, 0x0006);
    write(&mut function, 0x68, 0x515f);
    write(&mut function, 0x88, 0x1006);
    write(&mut function, 0x9c, 0x8000_0000);
    let header = [0x4a00_4010, 0x40, 0x0100_0000, 0xffff_ffff];
    function.record_uncorrectable(UncorrectableError::PoisonedTlp, Some(header));
    let function_lines = [
        "0207: 15b3:a2dc (rev 01)",
        "Subsystem: 15b3:0051",
        "Control: I/O- Mem+ BusMaster+",
        "Interrupt: pin A routed to IRQ 0",
        "Region 0: Memory at e0000000 (64-bit, prefetchable)",
        "Capabilities: [60] Express (v2) Endpoint",
        "MaxPayload 512 bytes, PhantFunc 0",
        "ExtTag+ AttnBtn- AttnInd- PwrInd- RBE+ FLReset+",
        "CorrErr+ NonFatalErr+ FatalErr+ UnsupReq+",
        "RlxdOrd+ ExtTag+ PhantFunc- AuxPwr- NoSnoop- FLReset-",
        "MaxPayload 512 bytes, MaxReadReq 4096 bytes",
        "LnkCap:\tPort #0, Speed 32GT/s, Width x16",
        "LnkSta:\tSpeed 32GT/s, Width x16",
        "DevCap2: Completion Timeout: Range ABCD, TimeoutDis+",
        "10BitTagComp+ 10BitTagReq+",
        "DevCtl2: Completion Timeout: 65ms to 210ms, TimeoutDis-",
        "Supported Link Speeds: 2.5-32GT/s",
        "LnkCtl2: Target Link Speed: 32GT/s",
        "Capabilities: [9c] MSI-X: Enable+ Count=64 Masked-",
        "Vector table: BAR=0 offset=00002000",
        "PBA: BAR=0 offset=00003000",
        "Capabilities: [40] Power Management version 3",
        "Status: D0 NoSoftRst+ PME-Enable-",
        "Capabilities: [100 v2] Advanced Error Reporting",
        "UESta:\tDLP- SDES- TLP+ FCP-",
        "UESvrt:\tDLP+ SDES- TLP- FCP+ CmpltTO- CmpltAbrt- UnxCmplt- RxOF+ MalfTLP+",
        "CEMsk:\tRxErr- BadTLP- BadDLLP- Rollover- Timeout- AdvNonFatalErr+",
        "First Error Pointer: 0c, ECRCGenCap+ ECRCGenEn- ECRCChkCap+ ECRCChkEn-",
        "HeaderLog: 4a004010 00000040 01000000 ffffffff",
    ];

    let mut root = port(PortType::RootPort)?;
    write(&mut root, 0x18, 0x0005_0100);
    write(&mut root, 0x20, 0xe3f0_e000);
    write(&mut root, 0x24, 0x0010_0000);
    write(&mut root, 0x28, 0x20);
    write(&mut root, 0x2c, 0x20);
    write(&mut root, 0x5c, 0x0010);
    root.record_root_error(ErrorMessage::NonFatal, 0x0100);
    let slot = root.find(CapabilityId::PCIE).expect("added") + 0x18;
    // All enables, a blinking and a dark indicator, power off; In-Band PD Disable, which this lspci has no word for.
    root.write(slot / 4, 0x3, 0x57bf);
    root.toggle_interlock(slot / 4, 0x3, 1 << 11);
    root.set_slot_latch(true);
    root.record_slot_event(SlotEvent::PowerFault);
    let root_lines = [
        "0604: 15b3:197b",
        "Bus: primary=00, secondary=01, subordinate=05, sec-latency=0",
        "Memory behind bridge: e0000000-e3ffffff",
        "Prefetchable memory behind bridge: 0000002000000000-00000020001fffff",
        "Express (v2) Root Port (Slot+)",
        "LnkCap:\tPort #3, Speed 32GT/s, Width x16",
        "Surprise+ LLActRep+ BwNot+",
        "DLActive+ BWMgmt- ABWMgmt-",
        "AttnBtn+ PwrCtrl+ MRL+ AttnInd+ PwrInd+ HotPlug+ Surprise+",
        "Slot #7, PowerLimit 25",
        "Interlock+ NoCompl-",
        "Enable: AttnBtn+ PwrFlt+ MRL+ PresDet+ CmdCplt+ HPIrq+ LinkChg+",
        "AttnInd Blink, PwrInd Off, Power+ Interlock-",
        "Status: AttnBtn- PowerFlt+ MRL+ CmdCplt- PresDet+ Interlock+",
        "Changed: MRL+ PresDet- LinkState-",
        "CRSVisible+",
        "RootSta: CERcvd- MultCERcvd- UERcvd+ MultUERcvd-",
        "ERR_COR: 0000 ERR_FATAL/NONFATAL: 0100",
    ];
    let mut sriov = super::sriov_function()?;
    let at = sriov.find(CapabilityId::SRIOV).expect("added");
    for (offset, value) in [(0x10, 5), (0x24, 0x2000_0000), (0x28, 0x40), (0x08, 0x19)] {
        write(&mut sriov, at + offset, value);
    }
    sriov.review_sriov(&super::SRIOV, true);
    let sriov_lines = [
        "Alternative Routing-ID Interpretation (ARI)",
        "ARICap:\tMFVC- ACS-, Next Function: 1",
        "ARICtl:\tMFVC- ACS-, Function Group: 0",
        "Single Root I/O Virtualization (SR-IOV)",
        "IOVCap:\tMigration- 10BitTagReq-",
        "IOVCtl:\tEnable+ Migration- Interrupt- MSE+ ARIHierarchy+ 10BitTagReq-",
        "Initial VFs: 16, Total VFs: 16, Number of VFs: 5, Function Dependency Link: 00",
        "VF offset: 2, stride: 2, Device ID: a2de",
        "Supported Page Size: 00000553, System Page Size: 00000001",
        "Region 0: Memory at 0000004020000000 (64-bit, prefetchable)",
    ];
    let virtual_function = sriov.virtual_function()?;
    let virtual_lines =
        ["0207: ffff:ffff (rev 01)", "BusMaster-", "Express (v2) Endpoint", "FLReset+", "MaxPayload 128 bytes"];
    let forwarding_lines = ["ARIFwd+"];
    let mut forwarding = port(PortType::Downstream)?;
    let pcie = forwarding.find(CapabilityId::PCIE).expect("added");
    write(&mut forwarding, pcie + 0x28, 1 << 5);
    assert!(forwarding.ari_forwarding_enabled());

    let upstream_lines = ["Express (v2) Upstream Port", "MaxPayload 512 bytes"];
    let downstream_lines = ["Express (v2) Downstream Port (Slot+)", "PresDet+ Interlock-"];

    // Two channels beyond VC0: one that the other end has, too, and one that it hasn't.
    let mut channels = port(PortType::Downstream)?;
    let at = channels.add(&VcCapability { extended: 2, low_priority: 1, phases: 0, arbitrates_ports: true })?;
    for (offset, value) in [(0x14, 0x8000_000f), (0x20, 0x8100_0070), (0x2c, 0x8300_0080)] {
        write(&mut channels, at + offset, value);
    }
    channels.set_working_channels(0b011);
    let channel_lines = [
        "v1] Virtual Channel",
        "Caps:\tLPEVC=1 RefClk=100ns PATEntryBits=1",
        "Arb:\tFixed+ WRR32- WRR64- WRR128-",
        "Ctrl:\tArbSelect=Fixed",
        "Status:\tInProgress-",
        "VC0:\tCaps:\tPATOffset=00 MaxTimeSlots=1 RejSnoopTrans-",
        "Ctrl:\tEnable+ ID=0 ArbSelect=Fixed TC/VC=0f",
        "Ctrl:\tEnable+ ID=1 ArbSelect=Fixed TC/VC=70",
        "Status:\tNegoPending- InProgress-",
        "Ctrl:\tEnable+ ID=3 ArbSelect=Fixed TC/VC=80",
        "Status:\tNegoPending+ InProgress-",
    ];

    let mut weighted = port(PortType::Downstream)?;
    let at = weighted.add(&VcCapability { extended: 2, low_priority: 2, phases: 64, arbitrates_ports: true })?;
    for (offset, value) in [(0x40, 0x0001_2021), (0x0c, 5), (0x44, 0x1)] {
        write(&mut weighted, at + offset, value);
    }
    let weighted_lines =
        ["Caps:\tLPEVC=2", "Arb:\tFixed+ WRR32+ WRR64+ WRR128-", "Ctrl:\tArbSelect=WRR64", "Status:\tInProgress+"];

    let functions: [(&str, ConfigSpace, &[&str]); 9] = [
        ("function", function, &function_lines),
        ("function with virtual ones", sriov, &sriov_lines),
        ("virtual function", virtual_function, &virtual_lines),
        ("forwarding port", forwarding, &forwarding_lines),
        ("root port", root, &root_lines),
        ("upstream port", port(PortType::Upstream)?, &upstream_lines),
        ("downstream port", port(PortType::Downstream)?, &downstream_lines),
        ("virtual channels", channels, &channel_lines),
        ("weighted round robin", weighted, &weighted_lines),
    ];
    let mut checked = 0;
    for (name, space, lines) in functions {
        let Some(text) = lspci(&space)? else {
            println!("SKIPPED: lspci (pciutils) is not on this machine, nothing was judged");
            return Ok(());
        };
        for line in lines {
            assert!(text.contains(line), "{name}: lspci doesn't say {line:?}:\n{text}");
            checked += 1;
        }
        // It finds the VC Arbitration Table, by another name, and doesn't read it.
        let text = text.replace("Port Arbitration Table [188] <?>", "");
        for strange in ["<?>", "nknown", "!!!", "<chain", "<access denied>", "Capabilities: [00]"] {
            assert!(!text.contains(strange), "{name}: lspci says {strange:?}:\n{text}");
        }
    }
    println!("lspci said what it should in {checked} places of 8 configuration spaces");
    Ok(())
}

/// The capabilities of errors beyond AER's own lines: its prefix log, access control, containment.
#[test]
fn lspci_reads_our_error_capabilities() -> Result<(), Box<dyn std::error::Error>> {
    let ports = [PortType::RootPort, PortType::Downstream];
    for kind in ports {
        let root_port = kind == PortType::RootPort;
        let mut space = port(kind)?;
        let acs = space.add(&AcsCapability { services: Acs::ALL, egress_ports: 9 })?;
        let dpc = space.add(&DpcCapability { root_port, interrupt_message: 3 })?;
        let log = TlpLog { header: [0x6000_0001, 0x0100_000f, 1, 0], prefixes: [0x9100_0007, 0, 0, 0] };
        space.record_tlp_error(UncorrectableError::AcsViolation, Some(log));
        write(&mut space, acs + 4, 0x0035_0000);
        write(&mut space, acs + 8, 0x1ff);
        write(&mut space, dpc + 4, 0x001d_0000);
        if root_port {
            write(&mut space, dpc + 0x10, 0);
            space.record_root_port_pio(RootPortPio::Timeout, 16, [0x2000_0001, 0x0000_000f, 0x40, 0]);
        }
        assert!(space.begin_containment(DpcReason::Fatal(0x0200)));
        let pio = if root_port { "12" } else { "00" };
        let extensions = if root_port {
            "RPExt+ PoisonedTLP+ SwTrigger+ RP PIO Log 4"
        } else {
            "RPExt- PoisonedTLP+ SwTrigger+ RP PIO Log 0"
        };
        let lines = [
            "UESta:\tDLP- SDES- TLP- FCP- CmpltTO- CmpltAbrt- UnxCmplt- RxOF- MalfTLP- ECRC- UnsupReq- ACSViol+",
            "First Error Pointer: 15, ECRCGenCap+ ECRCGenEn- ECRCChkCap+ ECRCChkEn-",
            "MultHdrRecCap- MultHdrRecEn- TLPPfxPres+ HdrLogCap-",
            "HeaderLog: 60000001 0100000f 00000001 00000000",
            "Access Control Services",
            "ACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl+ DirectTrans+",
            "ACSCtl:\tSrcValid+ TransBlk- ReqRedir+ CmpltRedir- UpstreamFwd+ EgressCtrl+ DirectTrans-",
            "Downstream Port Containment",
            "DpcCap:\tINT Msg #3, ",
            extensions,
            "DpcCtl:\tTrigger:1 Cmpl+ INT+ ErrCor+ PoisonedTLP- SwTrigger- DL_ActiveErr-",
            "DpcSta:\tTrigger+ Reason:02 INT+ RPBusy- TriggerExt:00 RP PIO ErrPtr:",
            "Source:\t0200",
        ];
        let Some(text) = lspci(&space)? else {
            println!("SKIPPED: lspci (pciutils) is not on this machine, nothing was judged");
            return Ok(());
        };
        for line in lines {
            assert!(text.contains(line), "{kind:?}: lspci doesn't say {line:?}:\n{text}");
        }
        assert!(text.contains(&format!("ErrPtr:{pio}")), "{kind:?}:\n{text}");
        // It finds the VC Arbitration Table, by another name, and doesn't read it.
        let text = text.replace("Port Arbitration Table [188] <?>", "");
        for strange in ["<?>", "nknown", "!!!", "<chain", "<access denied>", "Capabilities: [00]"] {
            assert!(!text.contains(strange), "{kind:?}: lspci says {strange:?}:\n{text}");
        }
    }
    Ok(())
}

/// The text of `lspci -vvv` on a dump of this space, or `None` if there is no lspci.
fn lspci(space: &ConfigSpace) -> Result<Option<String>, Box<dyn std::error::Error>> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let file = env::temp_dir().join(format!("mlx5-twin-lspci-{}-{number}.txt", process::id()));
    fs::write(&file, LspciDump { bdf: 0x0100, space }.to_string())?;
    let paths = ["lspci", "/usr/bin/lspci", "/usr/sbin/lspci", "/sbin/lspci"];
    let run = paths.iter().find_map(|path| Command::new(path).arg("-F").arg(&file).args(["-n", "-vvv"]).output().ok());
    fs::remove_file(&file)?;
    let Some(output) = run else { return Ok(None) };
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "lspci refused the dump: {complaints}");
    Ok(Some(String::from_utf8(output.stdout)?))
}

#[test]
fn a_dump_has_all_bytes_in_order() -> Result<(), ConfigError> {
    let space = physical_function()?;
    let text = LspciDump { bdf: 0x0341, space: &space }.to_string();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("03:08.1 function"));
    assert_eq!(lines.next(), Some("00: b3 15 dc a2 00 00 10 00 01 00 07 02 00 00 00 00"));
    assert_eq!(lines.next(), Some("10: 0c 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"));
    assert_eq!(text.lines().filter(|line| line.len() > 47).count(), 256);
    assert!(text.contains("\nff0: 00"));
    Ok(())
}
