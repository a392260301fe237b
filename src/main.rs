//! The `argd-pipe` program; everything it does is in the library's `cli`.

use std::process::ExitCode;

/// Training allocates the same buffers every step; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    argd_pipe::cli::main()
}
