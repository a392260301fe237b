//! Links and special files inside a cache: nothing is opened through them, and nothing waits for them.
