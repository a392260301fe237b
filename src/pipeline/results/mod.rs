//! Results: the table that a manifest asks for, its means over seeds, the files that hold them, and what differs between
//! two of them.

mod compare;
mod csv;
mod file;
mod select;
mod summary;
mod table;

pub use compare::{Change, Comparison, Pair, compare};
pub use file::ResultsFileError;
pub use select::NoView;
pub use summary::{BASELINE, Group, Spread, Summary};
pub use table::{Row, Table, check_place, table};
