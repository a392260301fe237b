//! Exports and results: whole or not there, and read back as they were.
