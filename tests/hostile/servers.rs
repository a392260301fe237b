//! Downloads from servers that stall, never end, or are interrupted.
