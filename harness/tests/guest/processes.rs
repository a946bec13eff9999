//! Emulation programs as processes in a guest, under Linux's own driver: they're killed, take over from each other, serve several functions, and stall.

use serde_json::Value;

use mlx5_twin_harness::profile;

use crate::common::Folder;
use crate::driver::nothing_is_alive;
use crate::rig::Guest;

/// How often a program is killed in one boot: `MLX5_TWIN_KILL_ROUNDS`, else this.
const ROUNDS: u64 = 5;

fn rounds() -> u64 {
    let rounds = std::env::var("MLX5_TWIN_KILL_ROUNDS").ok();
    rounds.map_or(ROUNDS, |number| number.parse().expect("MLX5_TWIN_KILL_ROUNDS is a number"))
}

/// The built-in profile with so many static functions.
fn functions(folder: &Folder, count: u8) -> String {
    let mut text = profile::DEFAULT.to_owned();
    for name in ["downstream_ports", "static_functions"] {
        let line = format!("\n{name} = 1");
        assert!(text.contains(&line), "the profile has no {line:?}");
        text = text.replace(&line, &format!("\n{name} = {count}"));
    }
    folder.write(&format!("{count}.toml"), text.as_bytes())
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

/// The host's report, if it came to its end.
fn host(result: &Value) -> &Value {
    let host = &result["server"]["host"]["ended"];
    assert!(host.is_object(), "{:#} {} {}", result["server"]["host"], result["stdout"], result["stderr"]);
    assert_eq!(host["mismatches"], 0, "{host:#}");
    host
}

/// Reads, writes and interrupts of the host; and of all programs, whose reports are in what was printed.
fn counts(result: &Value) -> ([u64; 3], Vec<[u64; 3]>) {
    let host = host(result);
    let interrupts = host["interrupts"].as_array().expect("vectors").iter().map(number).sum();
    let stdout = result["stdout"].as_str().expect("text");
    let reports = serde_json::Deserializer::from_str(stdout).into_iter::<Value>();
    let programs = reports.map(|report| {
        let report = report.expect("an object");
        ["reads", "writes", "interrupts"].map(|name| number(&report["emulation"][name]))
    });
    ([number(&host["reads"]), number(&host["writes"]), interrupts], programs.collect())
}

fn sum(programs: &[[u64; 3]]) -> [u64; 3] {
    programs.iter().fold([0; 3], |sum, one| [0, 1, 2].map(|place| sum[place] + one[place]))
}

/// Waits until a process has claimed its functions or listens, and so on: as long as it takes, but not for ever.
const UNTIL: &str =
    "until_() { for _ in $(seq 1000); do \"$@\" && return; sleep 0.01; done; echo \"never: $*\" >&2; exit 9; }\n";

/// The drivers go, and with them what they had.
const UNLOAD: &str = "rmmod rdma_ucm ib_umad && rmmod mlx5_ib mlx5_core\n";

/// How many of its rounds the host goes for each time that a program is killed: about half a second.
const ROUNDS_EACH: u64 = 1200;

/// Each program is killed while the host uses its function, after a time that differs: while it claims, is set up, or serves. The kernel gives back what it
/// had, the host finds its request ended and the function gone, and goes on with the next program's. In the end all pages can be had again.
#[test]
fn programs_are_killed_and_others_go_on() {
    let Some(guest) = Guest::new() else { return };
    let rounds = rounds();
    let host_rounds = (rounds + 1) * ROUNDS_EACH;
    let (host_rounds_text, recoveries) = (host_rounds.to_string(), (rounds * 4).to_string());
    let timeout = (60 + 5 * rounds).to_string();
    let arguments = ["--host", "scratch", "--host-rounds", &host_rounds_text, "--host-recoveries", &recoveries];
    let guest = guest.arguments(&arguments).arguments(&["--timeout", &timeout]);
    let script = format!(
        "{UNTIL}\
         for round in $(seq {rounds}); do\n\
             mlx5-twin run scratch --backend uverbs >/dev/null 2>/tmp/said & program=$!\n\
             until_ grep -q 'ends$' /tmp/said\n\
             sleep 0.$((round * 37 % 4))$((round * 13 % 10))\n\
             kill -9 $program; wait $program 2>/dev/null\n\
             [ $? = 137 ] || {{ ended=1; break; }}\n\
         done\n\
         echo \"killed $round programs\" >&2\n\
         [ -n \"$ended\" ] || mlx5-twin run scratch --backend uverbs --json\n\
         mlx5-twin check --backend uverbs >/tmp/check || {{ cat /tmp/check >&2; exit 6; }}\n\
         {UNLOAD}"
    );
    let result = guest.json(&script);
    let host = host(&result);
    let stderr = result["stderr"].as_str().expect("text");
    let recovered = host["recoveries"].as_array().map_or(0, Vec::len) as u64;
    println!("{} s, {recovered} recoveries: {:#}\n{stderr}", result["seconds"], host["recoveries"]);
    assert!(stderr.contains(&format!("killed {rounds} programs")), "the host ended too early: {stderr}");
    // One that is killed before it has served is no error for the host.
    assert!(recovered >= rounds / 2, "{recovered} recoveries in {rounds} rounds: {host:#}");
    assert_eq!((&result["exit_code"], number(&host["rounds"])), (&0.into(), host_rounds), "{stderr}");
    nothing_is_alive(&result["server"]);
}

/// How often the function goes from one process to another.
const TIMES: u64 = 5;

/// A process takes over from the one before while the host goes on: all that it asked was answered, once, by one of them.
#[test]
fn processes_take_over_from_each_other() {
    let Some(guest) = Guest::new() else { return };
    let script = format!(
        "{UNTIL}cd /tmp\n\
         mlx5-twin run scratch --backend uverbs --json --hand-over at-0 >said-0 & \n\
         for number in $(seq {TIMES}); do\n\
             before=$((number - 1)); until_ [ -S at-$before ]; sleep 0.2\n\
             mlx5-twin run scratch --backend uverbs --json --take-over at-$before --hand-over at-$number >said-$number & last=$!\n\
             until_ [ -s said-$before ]\n\
         done\n\
         kill -0 $last || echo 'the last one has ended too early' >&2\n\
         echo \"handed over {TIMES} times\" >&2\n\
         wait $last; cat said-*; {UNLOAD}"
    );
    let guest = guest.arguments(&["--host", "scratch", "--host-rounds", "8000", "--timeout", "90"]);
    let result = guest.json(&script);
    let (host, programs) = counts(&result);
    println!("{} s: {host:?}, {programs:?}", result["seconds"]);
    assert_eq!(programs.len() as u64, TIMES + 1, "{}", result["stderr"]);
    assert!(programs.iter().all(|done| done[0] > 0), "each had its part: {programs:?}");
    assert_eq!(sum(&programs), host, "{programs:?} {}", result["stderr"]);
    assert_eq!(result["server"]["faults"]["unexpected_completion"], 0);
    assert_eq!(result["server"]["faults"]["completion_timeout"], 0);
    assert!(!result["stderr"].as_str().expect("text").contains("too early"), "{}", result["stderr"]);
    nothing_is_alive(&result["server"]);
}

/// One process serves eight functions, which the host uses side by side.
#[test]
fn one_process_serves_eight_functions() {
    let Some(guest) = Guest::new() else { return };
    let folder = Folder::new("eight");
    let guest = guest.arguments(&["--profile", &functions(&folder, 8), "--host", "scratch", "--timeout", "60"]);
    let result = guest.json(&format!("mlx5-twin run scratch --backend uverbs --ports 0-7 --json; {UNLOAD}"));
    let (host, programs) = counts(&result);
    println!("{} s: {host:?}", result["seconds"]);
    assert_eq!(programs, [host]);
    assert_eq!(self::host(&result)["exercised"].as_array().map(Vec::len), Some(8));
    assert_eq!(self::host(&result)["lost"], Value::Null);
    nothing_is_alive(&result["server"]);
}

/// Two processes serve a function each. One of them stalls: the host loses its function after two seconds of patience, and uses the other one to the end.
#[test]
fn a_process_that_stalls_stops_no_other() {
    let Some(guest) = Guest::new() else { return };
    let folder = Folder::new("stall");
    let arguments = ["--host", "scratch", "--host-rounds", "2000", "--patience", "2", "--timeout", "60"];
    let guest = guest.arguments(&["--profile", &functions(&folder, 2)]).arguments(&arguments);
    let script = format!(
        "{UNTIL}\
         mlx5-twin run scratch --backend uverbs --ports 1 --json >/tmp/one 2>/tmp/said & stalls=$!\n\
         mlx5-twin run scratch --backend uverbs --ports 0 --json & other=$!\n\
         until_ grep -q 'ends$' /tmp/said\n\
         sleep 0.5; kill -STOP $stalls\n\
         wait $other\n\
         kill -CONT $stalls; wait $stalls; {UNLOAD}"
    );
    let result = guest.json(&script);
    let host = host(&result);
    let (_, programs) = counts(&result);
    println!("{} s: {programs:?} {:#}", result["seconds"], host["lost"]);
    let lost = host["lost"].as_array().expect("one is lost");
    assert!(lost.len() == 1 && lost[0].as_str().is_some_and(|lost| lost.starts_with("04:00.0: ")), "{lost:?}");
    assert_eq!(number(&host["rounds"]), 2000, "{host:#}");
    assert!(programs.len() == 1 && programs[0][0] > 2000, "{programs:?}");
    nothing_is_alive(&result["server"]);
}

/// A program that is told to end while its host is always busy ends nevertheless. The host loses its function in the middle.
#[test]
fn a_program_ends_although_its_host_is_busy() {
    let Some(guest) = Guest::new() else { return };
    // The host's end is told to all that the script has started: to this program, which is gone by then, and to no other.
    let guest = guest.arguments(&["--host", "scratch", "--host-rounds", "1000000", "--timeout", "60"]);
    let script = format!(
        "{UNTIL}\
         mlx5-twin run scratch --backend uverbs --json 2>/tmp/said & program=$!; trap '' TERM\n\
         until_ grep -q 'ends$' /tmp/said\n\
         sleep 1; begin=${{EPOCHREALTIME/./}}; kill $program; wait $program\n\
         echo \"code $?, $(((${{EPOCHREALTIME/./}} - begin) / 1000)) ms\" >&2\n\
         {UNLOAD}"
    );
    let result = guest.json(&script);
    let stderr = result["stderr"].as_str().expect("text");
    println!("{} s: {stderr}{:#}", result["seconds"], result["server"]["host"]);
    assert!(stderr.contains("code 0, "), "{stderr}");
    let report: Value = serde_json::from_str(result["stdout"].as_str().expect("text")).expect("a report");
    assert!(number(&report["emulation"]["reads"]) > 100, "the host wasn't busy: {report:#}");
    assert!(result["server"]["host"]["ended"].is_null(), "it didn't come to its end");
    nothing_is_alive(&result["server"]);
}
