//! The bytes of a command on its way: queue entry and mailbox blocks. No state, no I/O.
//!
//! Layout: `struct mlx5_cmd_layout` and `struct mlx5_cmd_prot_block` of Linux's `device.h`. A signature is the complement of the exclusive or of
//! the bytes that it covers, so that all of them together give 0xff (`core/cmd.c`).

use mlx5_twin_fw_cmds::constants::{CMD_DATA_BLOCK_SIZE, CMD_INLINE_SIZE, CMD_OWNER_HW, PCI_CMD_XPORT};
use mlx5_twin_fw_cmds::layout::{cmd_layout, cmd_prot_block};

use crate::backend::Error;

/// The first and last byte that a block's `ctrl_sig` covers: all behind its data up to `ctrl_sig` itself.
const CONTROL: std::ops::RangeInclusive<usize> = CMD_DATA_BLOCK_SIZE..=cmd_prot_block::CTRL_SIG.offset as usize / 8;

/// How many blocks a message of `len` bytes needs beside the queue entry.
pub(super) fn blocks_for(len: usize) -> usize {
    len.saturating_sub(CMD_INLINE_SIZE).div_ceil(CMD_DATA_BLOCK_SIZE)
}

/// The exclusive or of all bytes.
fn xor8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte)
}

/// Block number `index` of a chain that lies at `addresses`; `data` is the whole message.
pub(super) fn block(
    data: &[u8],
    index: usize,
    addresses: &[u64],
    token: u8,
) -> Result<[u8; cmd_prot_block::SIZE], Error> {
    let mut block = [0; cmd_prot_block::SIZE];
    let start = CMD_INLINE_SIZE + index * CMD_DATA_BLOCK_SIZE;
    let part = data.get(start..).unwrap_or_default();
    let part = &part[..part.len().min(CMD_DATA_BLOCK_SIZE)];
    block[..part.len()].copy_from_slice(part);
    cmd_prot_block::NEXT.set(&mut block, addresses.get(index + 1).copied().unwrap_or(0))?;
    cmd_prot_block::BLOCK_NUM.set(&mut block, index as u64)?;
    cmd_prot_block::TOKEN.set(&mut block, u64::from(token))?;
    let control = !xor8(&block[CONTROL]);
    cmd_prot_block::CTRL_SIG.set(&mut block, u64::from(control))?;
    let signature = !xor8(&block);
    cmd_prot_block::SIG.set(&mut block, u64::from(signature))?;
    Ok(block)
}

/// What a queue entry says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) input: &'a [u8],
    pub(super) input_blocks: &'a [u64],
    pub(super) output_len: usize,
    pub(super) output_blocks: &'a [u64],
    pub(super) token: u8,
}

impl Entry<'_> {
    /// The entry's bytes, owned by the device.
    pub(super) fn bytes(&self) -> Result<[u8; cmd_layout::SIZE], Error> {
        let mut entry = [0; cmd_layout::SIZE];
        cmd_layout::TYPE.set(&mut entry, u64::from(PCI_CMD_XPORT))?;
        cmd_layout::INLEN.set(&mut entry, self.input.len() as u64)?;
        cmd_layout::IN_PTR.set(&mut entry, self.input_blocks.first().copied().unwrap_or(0))?;
        let inline = &self.input[..self.input.len().min(CMD_INLINE_SIZE)];
        cmd_layout::IN.slice_mut(&mut entry)?[..inline.len()].copy_from_slice(inline);
        cmd_layout::OUT_PTR.set(&mut entry, self.output_blocks.first().copied().unwrap_or(0))?;
        cmd_layout::OUTLEN.set(&mut entry, self.output_len as u64)?;
        cmd_layout::TOKEN.set(&mut entry, u64::from(self.token))?;
        cmd_layout::STATUS_OWN.set(&mut entry, u64::from(CMD_OWNER_HW))?;
        let signature = !xor8(&entry);
        cmd_layout::SIG.set(&mut entry, u64::from(signature))?;
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_carry_what_the_entry_does_not() {
        for (len, blocks) in [(0, 0), (16, 0), (17, 1), (528, 1), (529, 2), (16 + 3 * 512, 3)] {
            assert_eq!(blocks_for(len), blocks, "{len} bytes");
        }
    }

    proptest! {
        /// The offsets are those of Linux's `device.h`, read there by hand.
        #[test]
        fn a_message_lies_where_the_header_says(input in prop::collection::vec(any::<u8>(), 16..2000), output_len in 16..2000_usize, token in 1..=255_u8) {
            let addresses: Vec<u64> = (0..blocks_for(input.len()) as u64).map(|n| 0x1_0000_0000 + n * 0x400).collect();
            let outputs: Vec<u64> = (0..blocks_for(output_len) as u64).map(|n| 0x2_0000_0000 + n * 0x400).collect();
            let entry = Entry { input: &input, input_blocks: &addresses, output_len, output_blocks: &outputs, token };
            let entry = entry.bytes().expect("fits");
            prop_assert_eq!(entry.len(), 64);
            prop_assert_eq!(entry[0], 7);
            prop_assert_eq!(&entry[4..8], &(input.len() as u32).to_be_bytes()[..]);
            prop_assert_eq!(&entry[8..16], &addresses.first().copied().unwrap_or(0).to_be_bytes()[..]);
            prop_assert_eq!(&entry[16..32], &input[..16]);
            prop_assert_eq!(&entry[0x30..0x38], &outputs.first().copied().unwrap_or(0).to_be_bytes()[..]);
            prop_assert_eq!(&entry[0x38..0x3c], &(output_len as u32).to_be_bytes()[..]);
            prop_assert_eq!((entry[0x3c], entry[0x3f]), (token, 1));
            prop_assert_eq!(xor8(&entry), 0xff);
            let mut carried = entry[16..32].to_vec();
            for index in 0..addresses.len() {
                let block = block(&input, index, &addresses, token).expect("fits");
                carried.extend_from_slice(&block[..512]);
                prop_assert_eq!(&block[0x230..0x238], &addresses.get(index + 1).copied().unwrap_or(0).to_be_bytes()[..]);
                prop_assert_eq!(&block[0x238..0x23c], &(index as u32).to_be_bytes()[..]);
                prop_assert_eq!(block[0x23d], token);
                prop_assert_eq!(xor8(&block[0x200..0x23f]), 0xff);
                prop_assert_eq!(xor8(&block), 0xff);
            }
            prop_assert_eq!(&carried[..input.len()], &input[..]);
            prop_assert!(carried[input.len()..].iter().all(|&byte| byte == 0));
        }
    }
}
