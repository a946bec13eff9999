//! Tables: which suites and packages, and what of them goes where.
//!
//! A pattern is a path from the root without its first slash. `*` stands for any letters within one component. A pattern that matches a
//! folder matches all that's in it.

/// A suite of Debian's archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suite {
    /// Its name in the archive.
    pub(super) name: &'static str,
    /// True if it's in the archive of security updates.
    pub(super) security: bool,
}

const fn main(name: &'static str) -> Suite {
    Suite { name, security: false }
}

const fn security(name: &'static str) -> Suite {
    Suite { name, security: true }
}

/// Where QEMU and what runs in the guest come from. It's the first suite with rdma-core 65, whose pyverbs knows TLP VARs, and has a QEMU
/// with `vfio-user-pci`; from one suite, host tools and guest share their libraries.
pub(super) const SYSTEM_SUITE: Suite = main("forky");

/// Where kernels come from: of those that fit the newest is taken, and if several have it, from the first of them. The suite with the pinned
/// kernel is the first, so that no other is asked for it.
pub(super) const KERNEL_SUITES: &[Suite] = &[
    main("trixie-backports"),
    main("forky"),
    main("sid"),
    security("trixie-security"),
    main("trixie"),
    security("bookworm-security"),
    main("bookworm-backports"),
    main("bookworm"),
];

/// The packages.
pub(super) const PACKAGES: &[&str] = &[
    // For the host.
    "qemu-system-x86",
    "e2fsprogs",
    // mke2fs loads it to read a tar file.
    "libarchive13t64",
    // For the guest.
    "bash",
    "busybox-static",
    "ethtool",
    "ibverbs-providers",
    "ibverbs-utils",
    "infiniband-diags",
    "iproute2",
    "kmod",
    "libgcc-s1",
    "pciutils",
    "perftest",
    "python3",
    "python3-pyverbs",
    "python3-scapy",
    "rdma-core",
    "util-linux",
];

/// Packages that others depend on, but that nothing needs which runs here. apt is told that they are installed.
pub(super) const NOT_NEEDED: &[&str] = &[
    "base-files",
    "debconf",
    "debianutils",
    "dracut",
    "initramfs-tools",
    "ipxe-qemu",
    "libasound2-data",
    "libaudit-common",
    "libcap2-bin",
    "libdb5.3t64",
    "libpam-modules",
    "libpam-runtime",
    "libpam0g",
    "libperl5.42",
    "libsasl2-modules-db",
    "libss2",
    "libtirpc-common",
    "linux-base",
    "login",
    "logsave",
    "mawk",
    "media-types",
    "netbase",
    "openssl-provider-legacy",
    "passwd",
    "perl",
    "perl-base",
    "readline-common",
    "sensible-utils",
    "systemd",
    "tzdata",
    "udev",
];

/// The same for the packages of a kernel.
pub(super) const NOT_NEEDED_BY_KERNEL: &[&str] = &["kmod"];

/// What of the packages isn't even unpacked.
pub(super) const NOT_UNPACKED: &[&str] = &[
    "usr/bin/qemu-pr-helper",
    "usr/bin/qemu-system-i386",
    "usr/bin/qemu-system-x86_64-microvm",
    "usr/bin/qemu-vmsr-helper",
    "usr/include",
    "usr/lib/python3.*/_pyrepl",
    "usr/lib/python3.*/config-*",
    "usr/lib/python3.*/idlelib",
    "usr/lib/python3.*/lib-dynload/_test*",
    "usr/lib/python3.*/lib-dynload/xx*",
    "usr/lib/python3.*/pydoc_data",
    "usr/lib/python3.*/test",
    "usr/lib/python3.*/turtledemo",
    "usr/lib/python3/dist-packages/scapy/tools",
    "usr/lib/valgrind",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/perl*",
    "usr/share/applications",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/fish",
    "usr/share/icons",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/menu",
    "usr/share/metainfo",
    "usr/share/perl5",
    "usr/share/pixmaps",
    "usr/share/qemu/*.dtb",
    "usr/share/qemu/hppa-*",
    "usr/share/qemu/openbios-*",
    "usr/share/qemu/s390-*",
    "usr/share/qemu/skiboot.lid",
    "usr/share/qemu/u-boot*",
    "usr/share/zsh",
];

/// What of `usr/share/doc` is unpacked all the same: the tests of rdma-core are there.
pub(super) const UNPACKED_DOC: &str = "usr/share/doc/rdma-core/tests";

/// Where the tests of rdma-core are in the guest.
pub(super) const TESTS: &str = "usr/share/rdma-core/tests";

/// Folders with Python code that is compiled.
pub(super) const PYTHON_CODE: &[&str] = &["usr/lib/python3.*", "usr/lib/python3/dist-packages", TESTS];

/// The folder in which libraries are looked for.
pub(super) const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The programs that run on the host.
pub(super) const HOST_PROGRAMS: &[&str] =
    &["usr/bin/qemu-system-x86_64", "usr/sbin/mke2fs", "usr/bin/kmod", "usr/lib/x86_64-linux-gnu/libarchive.so.13"];

/// What goes into the root image; libraries come by themselves.
pub(super) const GUEST: &[&str] = &[
    "etc/libibverbs.d/mlx5.driver",
    "etc/libnl-3",
    "etc/infiniband-diags",
    "usr/bin/bash",
    "usr/bin/busybox",
    "usr/bin/ib_*",
    "usr/bin/ibv_*",
    "usr/bin/ip",
    "usr/bin/kmod",
    "usr/bin/lsmod",
    "usr/bin/lspci",
    "usr/bin/prlimit",
    "usr/bin/python3",
    "usr/bin/python3.*",
    "usr/bin/raw_ethernet_*",
    "usr/bin/rdma",
    "usr/bin/setpci",
    "usr/bin/setpriv",
    "usr/bin/ss",
    "usr/bin/taskset",
    "usr/sbin/bridge",
    "usr/sbin/depmod",
    "usr/sbin/devlink",
    "usr/sbin/ethtool",
    "usr/sbin/ib*",
    "usr/sbin/insmod",
    "usr/sbin/ip",
    "usr/sbin/lsmod",
    "usr/sbin/modinfo",
    "usr/sbin/modprobe",
    "usr/sbin/perfquery",
    "usr/sbin/rmmod",
    "usr/sbin/saquery",
    "usr/sbin/sminfo",
    "usr/sbin/smpdump",
    "usr/sbin/smpquery",
    "usr/sbin/tc",
    "usr/sbin/vendstat",
    "usr/lib/python3",
    "usr/lib/python3.*",
    "usr/lib64",
    "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "usr/lib/x86_64-linux-gnu/libibverbs/libmlx5-*",
    // What libraries load by name: threads that end, and names of users and hosts.
    "usr/lib/x86_64-linux-gnu/libgcc_s.so.1",
    "usr/lib/x86_64-linux-gnu/libnss_files.so.2",
    // kmod loads what it needs for compressed modules.
    "usr/lib/x86_64-linux-gnu/liblzma.so.5",
    "usr/lib/x86_64-linux-gnu/libzstd.so.1",
    "usr/share/iproute2",
    "usr/share/misc/pci.ids",
    TESTS,
];

/// What of that doesn't.
pub(super) const NOT_IN_GUEST: &[&str] = &[
    "usr/lib/python3.*/lib-dynload/_dbm.*",
    "usr/lib/python3.*/lib-dynload/_sqlite3.*",
    "usr/lib/python3.*/sqlite3",
    "usr/lib/python3.*/ensurepip",
    "usr/lib/python3.*/venv",
];

/// Which modules of a kernel go into the image, below its folder `kernel`; those that they need come by themselves.
pub(super) const MODULES: &[&str] = &[
    "drivers/block/virtio_blk.*",
    "drivers/char/virtio_console.*",
    "drivers/infiniband",
    "drivers/iommu",
    "drivers/net/ethernet/mellanox/mlx5",
    "drivers/net/dummy.*",
    "drivers/net/veth.*",
    "drivers/net/virtio_net.*",
    "drivers/nvme",
    "drivers/pci",
    "drivers/vfio",
    "drivers/virtio",
    "fs/overlayfs",
    "fs/fuse",
];

/// Folders of the root image that the packages don't bring.
pub(super) const FOLDERS: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("mnt", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/tmp", 0o1777),
];

/// Symbolic links of the root image that the packages don't bring.
pub(super) const LINKS: &[(&str, &str)] = &[
    ("bin", "usr/bin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("sbin", "usr/sbin"),
    ("etc/mtab", "../proc/self/mounts"),
    ("var/run", "../run"),
];

/// Files of the root image that the packages don't bring.
pub(super) const TEXTS: &[(&str, &str)] = &[
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hostname", "twin\n"),
    ("etc/hosts", "127.0.0.1 localhost twin\n::1 localhost\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
];

/// True if one of the patterns matches the path.
pub(super) fn matches(patterns: &[&str], path: &str) -> bool {
    patterns.iter().any(|pattern| {
        let mut components = path.split('/');
        pattern.split('/').all(|pattern| components.next().is_some_and(|component| alike(pattern, component)))
    })
}

/// True if a component matches that of a pattern.
fn alike(pattern: &str, component: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == component };
    let Some(rest) = component.strip_prefix(before) else { return false };
    (0..=rest.len()).any(|skipped| rest.get(skipped..).is_some_and(|rest| alike(after, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_files_and_what_is_in_folders() {
        assert!(matches(&["usr/bin/ip"], "usr/bin/ip"));
        assert!(!matches(&["usr/bin/ip"], "usr/bin/ipcs"));
        assert!(!matches(&["usr/bin/ip"], "usr/bin"));
        assert!(matches(&["usr/share/doc"], "usr/share/doc/a/b"));
        assert!(matches(&["usr/lib/python3.*/test"], "usr/lib/python3.14/test/a.py"));
        assert!(!matches(&["usr/lib/python3.*"], "usr/lib/python3/dist-packages"));
        assert!(matches(&["a/*.b*"], "a/x.bc") && !matches(&["a/*.b*"], "a/x.c"));
        assert!(matches(&["a/lib*"], "a/lib"));
    }

    #[test]
    fn the_guest_looks_for_the_tests_where_they_are() {
        let line = format!("FOLDER = \"/{TESTS}\"");
        assert!(include_str!("../rootfs/suite.py").lines().any(|found| found == line), "{line}");
    }

    #[test]
    fn no_table_has_a_row_twice() {
        for table in [PACKAGES, NOT_NEEDED, NOT_UNPACKED, GUEST, NOT_IN_GUEST, MODULES] {
            let mut rows = table.to_vec();
            rows.sort_unstable();
            rows.dedup();
            assert_eq!(rows.len(), table.len());
        }
    }
}
