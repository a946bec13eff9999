//! The layouts, one module for each, named as in the header without `mlx5_ifc_` and `_bits`.
//!
//! A layout is a table whose rows read like the header: name, offset, width, the numbers in bits
//! and in hex, offset 0 being the most significant bit of the first byte. Reserved bits have no
//! row. What a row may hold:
//!
//! | row | header | constant |
//! |---|---|---|
//! | `OPCODE 0x00 0x10;` | `u8 opcode[0x10];` | a [`Field`] |
//! | `PAS 0x80 [0x40];` | `u8 pas[][0x40];` | a [`FieldArray`] without a fixed end |
//! | `EVENT_BITMASK 0x2c0 [0x40; 4];` | `u8 event_bitmask[4][0x40];` | a [`FieldArray`] of 4 |
//! | `CAPABILITY 0x80 bytes 0x1000;` | a union or a run of bytes | [`Bytes`], length in bytes |
//! | `EQ_CONTEXT_ENTRY 0x80 eqc;` | `struct mlx5_ifc_eqc_bits eq_context_entry;` | [`Bytes`] of the nested layout |
//!
//! A name with capitals in the header carries its spelling:
//! `ATOMIC_SIZE_8B = "atomic_size_8B" 0x10 0x1;`.
//!
//! Beside its fields each module has `SIZE` (bytes, without the elements of an array that has no
//! fixed end) and `LAYOUT`, the same table as data.
//!
//! [`Field`]: crate::field::Field
//! [`FieldArray`]: crate::field::FieldArray
//! [`Bytes`]: crate::field::Bytes

#[macro_use]
mod table;

mod caps;
mod caps_eth;
mod caps_general;
mod caps_general_2;
mod command;
mod counters;
mod cq;
mod domains;
mod eq;
mod flow_table;
mod hca;
mod init_segment;
mod mad;
mod memic;
mod mkey;
mod nic_vport;
mod objects;
mod qos;
mod qp;
mod qp_state;
mod registers;
mod registers_eth;
mod resources;
mod rmp;
mod sq_rq;
mod srq;
mod tir_tis;
mod twin_v1;
mod umem_uctx;
mod vport;

pub use caps::*;
pub use caps_eth::*;
pub use caps_general::*;
pub use caps_general_2::*;
pub use command::*;
pub use counters::*;
pub use cq::*;
pub use domains::*;
pub use eq::*;
pub use flow_table::*;
pub use hca::*;
pub use init_segment::*;
pub use mad::*;
pub use memic::*;
pub use mkey::*;
pub use nic_vport::*;
pub use objects::*;
pub use qos::*;
pub use qp::*;
pub use qp_state::*;
pub use registers::*;
pub use registers_eth::*;
pub use resources::*;
pub use rmp::*;
pub use sq_rq::*;
pub use srq::*;
pub use table::{FieldDesc, Kind, Layout, Source};
pub use tir_tis::*;
pub use twin_v1::*;
pub use umem_uctx::*;
pub use vport::*;

/// Every layout of the crate, file by file.
pub const ALL: &[&Layout] = &table::flatten::<{ table::count(GROUPS) }>(GROUPS);

/// The layouts of each file.
const GROUPS: &[&[&Layout]] = &[
    command::DEVICE,
    command::IFC,
    command::DRIVER,
    init_segment::DEVICE,
    init_segment::IFC,
    hca::IFC,
    caps::IFC,
    caps_general::IFC,
    caps_general_2::IFC,
    caps_eth::IFC,
    umem_uctx::IFC,
    eq::DEVICE,
    eq::IFC,
    objects::IFC,
    resources::IFC,
    domains::IFC,
    cq::IFC,
    cq::RDMA_CORE,
    cq::RDMA_CORE_QUEUES,
    qp::IFC,
    qp::RDMA_CORE,
    qp_state::IFC,
    mkey::IFC,
    mkey::RDMA_CORE,
    memic::IFC,
    memic::RDMA_CORE,
    qos::IFC,
    qos::RDMA_CORE,
    srq::IFC,
    rmp::IFC,
    sq_rq::IFC,
    tir_tis::IFC,
    flow_table::IFC,
    registers::IFC,
    registers_eth::IFC,
    vport::IFC,
    nic_vport::IFC,
    counters::IFC,
    mad::IFC,
    mad::MAD,
    mad::SMI,
    mad::PMA,
    mad::DRIVER,
    twin_v1::OURS,
];

/// The layout of that name, `None` if there is none.
#[must_use]
pub fn find(name: &str) -> Option<&'static Layout> {
    ALL.iter().copied().find(|layout| layout.name == name)
}

#[cfg(test)]
mod tests;
