//! Contexts: what a driver said of an object, kept field by field.

use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{Kind, Layout};

use crate::firmware::syndrome::Failure;

/// The context of an object, such as `cqc`. Only fields that a layout names are kept: reserved bits
/// are 0, whatever the driver wrote there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    bytes: Box<[u8]>,
}

impl Context {
    /// A context of this layout, all zero.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self { bytes: vec![0; (layout.size_bits / 8) as usize].into_boxed_slice() }
    }

    /// Reads a context that starts `base` bits into `input`. The first layout says how long it is; the
    /// others name more of its fields.
    ///
    /// # Errors
    /// [`Failure::INPUT_TOO_SHORT`] if the input ends before a field does.
    pub(crate) fn read(layouts: &[&'static Layout], input: &[u8], base: u32) -> Result<Self, Failure> {
        let mut context = layouts.first().map_or(Self { bytes: Box::default() }, |layout| Self::new(layout));
        for layout in layouts {
            context.take(layout, 0, input, base)?;
        }
        Ok(context)
    }

    /// The value of a field of the context's layout, 0 for any that lies outside.
    #[must_use]
    pub fn get(&self, field: Field) -> u64 {
        field.get(&self.bytes).unwrap_or(0)
    }

    /// As [`Context::get`], for a field of at most 32 bits.
    #[must_use]
    pub fn get32(&self, field: Field) -> u32 {
        u32::try_from(self.get(field)).unwrap_or(u32::MAX)
    }

    /// Whether a field is not 0.
    #[must_use]
    pub fn flag(&self, field: Field) -> bool {
        self.get(field) != 0
    }

    /// The context as a command or an answer carries it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Sets a field.
    ///
    /// # Errors
    /// [`Failure::INTERNAL`] if it is not one of the context's, or the value does not fit.
    pub(crate) fn set(&mut self, field: Field, value: impl Into<u64>) -> Result<(), Failure> {
        field.set(&mut self.bytes, value.into()).map_err(|_| Failure::INTERNAL)
    }

    /// Sets a field to what it is in the context that starts `base` bits into `input`.
    ///
    /// # Errors
    /// [`Failure::INPUT_TOO_SHORT`] if the input ends before the field does.
    pub(crate) fn copy(&mut self, field: Field, input: &[u8], base: u32) -> Result<(), Failure> {
        let value = field.within(base).get(input).map_err(|error| Failure::of_input(&error))?;
        self.set(field, value)
    }

    /// Copies all fields of a layout that lies `at` bits into the context.
    fn take(&mut self, layout: &'static Layout, at: u32, input: &[u8], base: u32) -> Result<(), Failure> {
        for desc in layout.fields {
            let offset = at + desc.offset;
            let field = |offset, width| Field { layout: layout.name, name: desc.name, offset, width };
            match desc.kind {
                Kind::Uint => self.copy(field(offset, desc.width), input, base)?,
                Kind::Nested(nested) => self.take(nested, offset, input, base)?,
                Kind::Array { element, count: Some(count) } => {
                    for index in 0..count {
                        self.copy(field(offset + index * element, element), input, base)?;
                    }
                }
                // A list that goes on to the end of the command is no part of the context.
                Kind::Array { count: None, .. } => {}
                Kind::Bytes => {
                    for byte in 0..desc.width / 8 {
                        self.copy(field(offset + byte * 8, 8), input, base)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mlx5_twin_fw_cmds::layout::{ads, cqc, cqc_umem, qpc, wq};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reserved_bits_are_not_kept() {
        let cq = Context::read(&[cqc::LAYOUT], &[0xff; cqc::SIZE], 0).expect("is long enough");
        assert_eq!(cq.bytes()[4..8], [0; 4], "the kernel's header has nothing there");
        let cq = Context::read(&[cqc::LAYOUT, cqc_umem::LAYOUT], &[0xff; cqc::SIZE], 0).expect("is long enough");
        assert_eq!(cq.bytes()[4..8], [0xff; 4], "rdma-core has dbr_umem_id");
    }

    #[test]
    fn nested_fields_and_arrays_are_kept() {
        let all = vec![0xff; 1024];
        let qp = Context::read(&[qpc::LAYOUT], &all, 0).expect("is long enough");
        let rgid = qpc::PRIMARY_ADDRESS_PATH.bits() + ads::RGID_RIP.offset;
        for byte in 0..16 {
            assert_eq!(qp.bytes()[(rgid / 8 + byte) as usize], 0xff);
        }
        assert_eq!(qp.get(ads::RLID.within(qpc::SECONDARY_ADDRESS_PATH.bits())), 0xffff);
        assert_eq!(Context::read(&[wq::LAYOUT], &all, 0).expect("is long enough").bytes().len(), wq::SIZE);
        let last = qpc::DBR_UMEM_VALID.end();
        assert!(Context::read(&[qpc::LAYOUT], &all[..last], 0).is_ok());
        assert_eq!(Context::read(&[qpc::LAYOUT], &all[..last - 1], 0), Err(Failure::INPUT_TOO_SHORT));
    }

    proptest! {
        /// What is read is what the fields of the layouts say, and nothing more.
        #[test]
        fn a_context_is_its_fields(input in prop::collection::vec(any::<u8>(), cqc::SIZE)) {
            let context = Context::read(&[cqc::LAYOUT, cqc_umem::LAYOUT], &input, 0).expect("is long enough");
            let mut again = Context::new(cqc::LAYOUT);
            for layout in [cqc::LAYOUT, cqc_umem::LAYOUT] {
                for desc in layout.fields {
                    let field = layout.field(desc.name).expect("these layouts have integers only");
                    prop_assert_eq!(context.get(field), field.get(&input).expect("is long enough"));
                    again.set(field, context.get(field)).expect("fits");
                }
            }
            prop_assert_eq!(again, context);
        }
    }
}
