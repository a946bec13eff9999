//! `harness/README.md`: what of the firmware interface is modelled, from the tables that the model goes by.

mod common;

use std::fmt::Write;

use common::{text, twin};
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_model::firmware::{COMMANDS, Caller, OpMods, spec};
use serde_json::Value;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

const HEAD: &str = "\
# What is modelled

Made from the model's own tables, and compared with them by a test; to make it anew:
`MLX5_TWIN_WRITE_DOCS=1 cargo test -p mlx5-twin-harness --test reference`. Names are those of Linux's `mlx5_ifc.h`.

How software reaches all this: [PROTOCOL.md](PROTOCOL.md) for emulated functions, [CAPTURE.md](CAPTURE.md) for captures,
[../model/SYNDROMES.md](../model/SYNDROMES.md) for why a command was refused.
";

/// A command's name: those of ours are in no header.
fn name(opcode: Opcode) -> String {
    opcode.name().map_or_else(|| "ours, `twin-v1`".to_owned(), |name| format!("`{name}`"))
}

fn commands() -> String {
    let mut out = String::new();
    let count = COMMANDS.len();
    let _ = write!(
        out,
        "\n## Commands\n\n{count} commands. Lengths are the shortest that are accepted, in bytes; what a command may hold beyond them is \
         checked by its own rules. Each is carried out in the states that are named and answers BAD_SYS_STATE in others.\n\n\
         | opcode | command | input | output | states | who | op_mod |\n|---|---|---|---|---|---|---|\n"
    );
    for command in COMMANDS {
        let states: Vec<_> = command.states.iter().map(ToString::to_string).collect();
        let who = match command.caller {
            Caller::Driver => "driver",
            Caller::Any => "driver, user contexts",
        };
        let op_mods = match command.op_mods {
            OpMods::Zero => "0",
            OpMods::Own => "the command's own",
        };
        let (number, name) = (command.opcode.0, name(command.opcode));
        let (input, output, states) = (command.input, command.output, states.join(", "));
        let _ = writeln!(out, "| {number:#05x} | {name} | {input} | {output} | {states} | {who} | {op_mods} |");
    }
    let missing: Vec<_> =
        Opcode::ALL.iter().filter(|(_, opcode)| spec(*opcode).is_none()).map(|(name, _)| format!("`{name}`")).collect();
    let _ = write!(
        out,
        "\nThe other {} of Linux's header answer BAD_OP, as every unknown opcode does: {}.\n",
        missing.len(),
        missing.join(", ")
    );
    out
}

fn capabilities() -> String {
    let output = twin(&["caps", "--json"]);
    let caps: Value = serde_json::from_str(&text(&output.stdout)).expect("an object");
    let mut out = "\n## Capabilities\n\nThose of the built-in profile that aren't 0, by page; a profile can set others. Any other page is refused \
                   with BAD_PARAM.\n"
        .to_owned();
    for page in caps["pages"].as_array().expect("pages") {
        let number = page["cap_type"].as_u64().expect("a number");
        let layout = page["layout"].as_str().unwrap_or("no layout");
        let source = page["source"].as_str().unwrap_or_default();
        let _ = write!(out, "\n### {number:#x}: `{layout}` ({source})\n\n");
        let fields = page["fields"].as_array().expect("fields");
        let shown = fields.iter().map(|field| {
            let value = field["value"].as_u64().expect("a number");
            format!("`{}` {value:#x}", field["name"].as_str().unwrap_or_default())
        });
        let all = shown.collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "{}", if all.is_empty() { "all 0" } else { &all });
    }
    out
}

#[test]
fn readme_is_what_the_tables_say() {
    let right = format!("{HEAD}{}{}", commands(), capabilities());
    if std::env::var_os("MLX5_TWIN_WRITE_DOCS").is_some() {
        std::fs::write(PATH, &right).expect("README.md can be written");
    }
    let file = std::fs::read_to_string(PATH).expect("README.md can be read");
    assert!(
        file == right,
        "harness/README.md is out of date: MLX5_TWIN_WRITE_DOCS=1 cargo test -p mlx5-twin-harness --test reference"
    );
}
