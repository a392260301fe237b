//! The `argd-pipe` program; everything it does is in the library's `cli`.

use std::process::ExitCode;

/// Training allocates the same buffers every step; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // candle's element-wise operations would start threads of their own, which spin beside those that `--threads` counts.
    // SAFETY: no other thread has been started that could read the environment.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    argd_pipe::cli::main()
}
