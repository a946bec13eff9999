//! What a kernel image says of itself: its release, from the header of Linux's x86 boot protocol (Documentation/arch/x86/boot.rst).

/// Offset of the magic `HdrS`.
const MAGIC: usize = 0x202;
/// Offset of 16 bits: where the version text is, less 0x200.
const VERSION: usize = 0x20e;

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
    }
}
