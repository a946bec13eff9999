//! GUIDE.md: its code is that of the example, and its commands run.

mod common;
/// Its unit tests run here.
#[path = "../examples/dice.rs"]
#[allow(dead_code, reason = "it's a program")]
mod example;

use std::process::Command;

use common::text;

const GUIDE: &str = include_str!("../GUIDE.md");
const EXAMPLE: &str = include_str!("../examples/dice.rs");

/// The blocks of code in a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    GUIDE.split(&*fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

/// The arguments of a block's command; a quoted one may have several lines.
fn arguments(block: &str) -> Vec<String> {
    let rest =
        block.trim().strip_prefix("cargo run -p mlx5-twin-harness --example dice -- ").expect("the guide's command");
    let parts = rest.split('\'').enumerate();
    let words = parts.flat_map(|(number, part)| {
        let whole = number % 2 == 1;
        if whole { vec![part.to_owned()] } else { part.split_whitespace().map(str::to_owned).collect() }
    });
    words.collect()
}

#[test]
fn its_code_is_that_of_the_example() {
    let blocks = blocks("rust");
    assert_eq!(blocks.len(), 6);
    for block in blocks {
        assert!(EXAMPLE.contains(block), "this isn't in examples/dice.rs:\n{block}");
    }
}

#[test]
fn its_commands_run() {
    let blocks = blocks("sh");
    assert_eq!(blocks.len(), 4);
    for block in blocks {
        let arguments = arguments(block);
        let guest = arguments[0] == "guest";
        if guest && std::env::var_os("MLX5_TWIN_GUEST_TESTS").is_none_or(|value| value != "1") {
            println!("SKIPPED: commands of the guide with a Linux guest need MLX5_TWIN_GUEST_TESTS=1");
            continue;
        }
        let ran = Command::new(common::dice()).args(&arguments).output().expect("it runs");
        let (stdout, stderr) = (text(&ran.stdout), text(&ran.stderr));
        // The one with a mistake fails, as the guide says.
        let fails = arguments.iter().any(|argument| argument == "--fault");
        assert_eq!(ran.status.code(), Some(i32::from(fails)), "{arguments:?}: {stdout}{stderr}");
        let expected = if fails { "no-credit@2 was made once" } else { "6 interrupts raised" };
        assert!(stdout.contains(expected) || stderr.contains(expected), "{arguments:?}: {stdout}{stderr}");
    }
}
