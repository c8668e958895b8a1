//! The program: all of it is in the library.

use std::env;
use std::process::ExitCode;

/// A process that many come to at once, and that then does nothing for hours, is as large as what
/// it holds: this one packs sizes closely, and gives back what is free without being called for it.
/// How it is built: `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    chinwag::app::main(env::args_os(), env::vars_os())
}
