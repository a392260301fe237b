//! Results: the table of a manifest, its means over seeds, the files of both, and the comparison of two files.

mod compare;
mod csv;
mod file;
mod place;
mod select;
mod summary;
mod table;

pub use compare::{Change, Comparison, Pair, compare};
pub use file::ResultsFileError;
pub use place::{check_file, check_files, check_place, other_results};
pub use select::NoView;
pub use summary::{BASELINE, Group, Spread, Summary};
pub use table::{Row, Table, table};
