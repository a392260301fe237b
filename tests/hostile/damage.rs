//! Caches that are damaged, planted, read-only or shared by two users.
