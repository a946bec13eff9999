//! What one process tells another one, so that its channel's functions can be handed over.

/// First bytes of an export (ours).
const MAGIC: &str = "mtXc";
/// Version of its bytes.
const VERSION: u16 = 1;

/// A channel that another one may take over from: plain data, to be sent by whatever way the two processes have. Who has it may join the channel's
/// group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export {
    /// The device's number of the channel.
    pub channel: u32,
    /// What the device asks for. Not 0.
    pub key: u64,
}

/// Bytes that aren't what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// They begin otherwise.
    #[error("these bytes are no {what}: they don't begin with {magic:?}")]
    Magic {
        /// What they should be.
        what: &'static str,
        /// What that begins with.
        magic: &'static str,
    },
    /// They're of a version that isn't known here.
    #[error("a {what} of version {version}: only version {known} is known")]
    Version {
        /// What they are.
        what: &'static str,
        /// Their version.
        version: u16,
        /// The version that is known.
        known: u16,
    },
    /// There are too few of them, or too many.
    #[error("a {what} of {len} bytes: {rule}")]
    Length {
        /// What they are.
        what: &'static str,
        /// How many there are.
        len: usize,
        /// How many there must be.
        rule: &'static str,
    },
}

impl Export {
    /// What errors call it.
    const WHAT: &str = "channel export";

    /// 18 bytes: "mtXc", the version, the channel, the key; numbers big-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.as_bytes().to_vec();
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(self.channel.to_be_bytes());
        bytes.extend(self.key.to_be_bytes());
        bytes
    }

    /// The export that these bytes are.
    ///
    /// # Errors
    /// The rule that they break.
    pub fn from_bytes(bytes: &[u8]) -> Result<Export, ExportError> {
        let rest = begin(bytes, Export::WHAT, MAGIC, VERSION)?;
        let fields =
            rest.split_first_chunk::<4>().and_then(|(channel, rest)| Some((channel, rest.first_chunk::<8>()?)));
        match fields {
            Some((channel, key)) if rest.len() == 12 => {
                Ok(Export { channel: u32::from_be_bytes(*channel), key: u64::from_be_bytes(*key) })
            }
            _ => Err(ExportError::Length { what: Export::WHAT, len: bytes.len(), rule: "must be 18" }),
        }
    }
}

/// Checks how bytes begin: gives what follows.
pub(crate) fn begin<'a>(
    bytes: &'a [u8],
    what: &'static str,
    magic: &'static str,
    known: u16,
) -> Result<&'a [u8], ExportError> {
    let rest = bytes.strip_prefix(magic.as_bytes()).ok_or(ExportError::Magic { what, magic })?;
    let (version, rest) = rest.split_first_chunk().ok_or(ExportError::Length {
        what,
        len: bytes.len(),
        rule: "it ends within its version",
    })?;
    let version = u16::from_be_bytes(*version);
    if version == known { Ok(rest) } else { Err(ExportError::Version { what, version, known }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_are_told_apart() {
        let export = Export { channel: 0x0102_0304, key: 0x1112_1314_1516_1718 };
        let bytes = export.to_bytes();
        assert_eq!(bytes[..6], *b"mtXc\x00\x01");
        assert_eq!(bytes[6..], [1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
        let other = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            Export::from_bytes(&bytes).map_err(|error| error.to_string())
        };
        assert_eq!(other(0, b'x'), Err("these bytes are no channel export: they don't begin with \"mtXc\"".to_owned()));
        assert_eq!(other(5, 2), Err("a channel export of version 2: only version 1 is known".to_owned()));
        for len in [0, 3, 4, 5, 6, 9, 17, 19] {
            let mut bytes = bytes.clone();
            bytes.resize(len, 0);
            assert!(Export::from_bytes(&bytes).is_err(), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(channel: u32, key: u64) {
            let export = Export { channel, key };
            prop_assert_eq!(Export::from_bytes(&export.to_bytes()), Ok(export));
        }

        #[test]
        fn any_bytes_are_an_export_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(export) = Export::from_bytes(&bytes) {
                prop_assert_eq!(export.to_bytes(), bytes);
            }
        }
    }
}
