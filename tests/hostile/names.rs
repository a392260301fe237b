//! Names from data and caches: they never become paths, terminal escapes or forged lines.
