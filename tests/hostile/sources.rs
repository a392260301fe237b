//! Source data that changes or is endless, and repositories with programs in their settings.
