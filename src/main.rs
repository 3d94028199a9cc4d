//! The command line `thinnet`: see `thinnet --help`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
