//! The command line of mlx5-twin.

fn main() -> std::process::ExitCode {
    mlx5_twin_harness::cli::main()
}
