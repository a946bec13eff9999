//! What a guest is to whoever runs it: exact bytes, exact exit codes, and this program in it.

use crate::common::Folder;
use crate::rig::Guest;

#[test]
fn output_input_and_exit_codes_are_exact() {
    let Some(guest) = Guest::new() else { return };
    let ran = guest.run("echo out; echo err >&2; exit 7");
    assert_eq!((ran.code, ran.stdout.as_slice(), ran.stderr.as_str()), (7, &b"out\n"[..], "err\n"));
    let bytes: Vec<u8> = (0..1_u32 << 20).map(|number| (number.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
    let ran = Guest::new().expect("is allowed").arguments(&["--run", "cat"]).run_with(&bytes);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout == bytes, "{} bytes of {}", ran.stdout.len(), bytes.len());
}

#[test]
fn this_program_is_in_the_guest() {
    let Some(guest) = Guest::new() else { return };
    let ran = guest.run("mlx5-twin --version");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), format!("mlx5-twin {}\n", env!("CARGO_PKG_VERSION")));
}

/// Nothing is run, and nothing downloaded.
#[test]
fn a_kernel_that_is_none_is_the_users_mistake() {
    let Some(guest) = Guest::new() else { return };
    assert_eq!(guest.run("true").code, 0);
    let folder = Folder::new("kernel");
    let (file, modules) = (folder.write("vmlinuz", b"no kernel"), folder.file("6.1"));
    for (path, rule) in
        [(file.as_str(), "must be a bzImage"), (&folder.file("none"), "must be a file that can be read")]
    {
        let ran = Guest::new().unwrap().arguments(&["--kernel", path, "--modules", &modules]).run("true");
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(path) && ran.stderr.contains(rule), "{}", ran.stderr);
    }
}
