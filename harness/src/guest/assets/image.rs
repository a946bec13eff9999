//! What a kernel image says of itself: its release, from the header of Linux's x86 boot protocol (Documentation/arch/x86/boot.rst).

/// Offset of the magic `HdrS`.
const MAGIC: usize = 0x202;
/// Offset of 16 bits: where the version text is, less 0x200.
const VERSION: usize = 0x20e;

/// Offset of 8 bits: sectors of the part for real mode, less the first; 0 stands for 4.
const SETUP_SECTORS: usize = 0x1f1;
/// Offset of 32 bits: how long the other part is, in units of 16 bytes.
const SIZE: usize = 0x1f4;
/// How many bytes of an image tell its size.
pub(super) const HEADER: usize = 0x200;

/// The bytes that an image has at least, by its first [`HEADER`] bytes. 0 if they aren't there.
pub(super) fn least_size(header: &[u8]) -> u64 {
    let (Some(&sectors), Some(size)) = (header.get(SETUP_SECTORS), header.get(SIZE..SIZE + 4)) else { return 0 };
    let sectors = if sectors == 0 { 4 } else { u64::from(sectors) };
    let size = size.iter().rev().fold(0, |size, byte| size << 8 | u64::from(*byte));
    (sectors + 1) * 512 + size * 16
}

/// The release of a bzImage: the first word of its version text. An error is the rule that the image breaks.
pub(super) fn release(image: &[u8]) -> Result<String, String> {
    if image.get(MAGIC..MAGIC + 4) != Some(b"HdrS") {
        return Err("a kernel image must be a bzImage (HdrS at 0x202), which this isn't".to_owned());
    }
    let offset =
        image.get(VERSION..VERSION + 2).map_or(0, |bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
    let text = image.get(0x200 + offset..).unwrap_or_default();
    let word = text.iter().take(128).take_while(|byte| byte.is_ascii_graphic()).map(|byte| char::from(*byte));
    let release = word.collect::<String>();
    // The release becomes the name of a folder.
    if offset == 0 || release.is_empty() || release.contains('/') || release.starts_with('.') {
        return Err(format!("a kernel image must say its release, and this one says {release:?}"));
    }
    let least = least_size(image);
    if (image.len() as u64) < least {
        let length = image.len();
        return Err(format!(
            "a kernel image must have the {least} bytes that it says it has, and this one has {length}"
        ));
    }
    Ok(release)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 0x1000];
        image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        image[VERSION..VERSION + 2].copy_from_slice(&0x300u16.to_le_bytes());
        image[0x500..0x500 + text.len()].copy_from_slice(text);
        image
    }

    #[test]
    fn the_release_is_the_first_word() {
        assert_eq!(release(&image(b"7.3.4+deb13-cloud-amd64 (a@b) #1")), Ok("7.3.4+deb13-cloud-amd64".to_owned()));
    }

    #[test]
    fn other_files_are_refused() {
        assert!(release(b"\x7fELF").is_err());
        assert!(release(&image(b"")).is_err() && release(&image(b"../x")).is_err());
        let mut cut = image(b"7");
        cut.truncate(0x300);
        assert!(release(&cut).is_err());
        let mut cut = image(b"7");
        cut[SIZE..SIZE + 4].copy_from_slice(&0x61_u32.to_le_bytes());
        let rule = "a kernel image must have the 4112 bytes that it says it has, and this one has 4096";
        assert_eq!(release(&cut), Err(rule.to_owned()));
    }
}
