//! MySQL and MariaDB: where the original's three tables are kept. Used by the source that reads
//! them.

mod address;
mod rows;

pub use address::MysqlAddress;
pub use rows::RowWriter;
