//! The program: reads the command line and hands over to what it asks for.

use std::io::{self, Write};
use std::process::ExitCode;

use gpanel_proxy::cli::{self, Command, EXIT_UNAVAILABLE, EXIT_USAGE, Options};
use gpanel_proxy::{config, server};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator's arenas and the guests' memories are used in small parts. With huge pages every first byte would
    // cost two megabytes; where the kernel does not know the call, that is what it costs.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    match run() {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "gpanel-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let Options { command, overrides } = match cli::parse(std::env::args_os()) {
        Ok(options) => options,
        Err(error) => {
            error.print()?;
            return Ok(cli::exit_code(&error).into());
        }
    };
    if let Command::Debug(topic) = command {
        writeln!(io::stderr(), "gpanel-proxy: {}", topic.unavailable())?;
        return Ok(EXIT_UNAVAILABLE.into());
    }
    let loaded = config::load(&overrides);
    if command == Command::Check {
        return Ok(server::check(loaded, &mut io::stdout().lock())?.into());
    }
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => {
            let mut out = io::stderr().lock();
            for error in errors {
                writeln!(out, "{error}")?;
            }
            return Ok(EXIT_USAGE.into());
        }
    };
    match command {
        Command::Explain(request) => Ok(server::explain(&loaded, request.as_ref(), &mut io::stdout().lock())?.into()),
        Command::Run | Command::Check | Command::Debug(_) => server::run(loaded, overrides),
    }
}
