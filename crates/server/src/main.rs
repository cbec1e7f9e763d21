//! The `hallpass` program.

use std::{alloc::System, process::ExitCode};

use zeroizing_alloc::ZeroAlloc;

/// Wipes all memory when it is given back: typed passwords pass through the buffers of HTTP, JSON and forms, which wipe nothing.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    hallpass_server::cli::main()
}
