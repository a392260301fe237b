//! The `argd-pipe` program. All of its code is in the library's `cli`.

use std::process::ExitCode;

/// Training allocates the same buffers every step; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // candle's element-wise operations would start their own threads, beyond the number of `--threads`.
    // SAFETY: no other thread is running, so none reads the environment.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    argd_pipe::cli::main()
}
