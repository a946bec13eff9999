//! Tests of the table and of those who judge by it.

mod check;
mod handshake;
mod table;
