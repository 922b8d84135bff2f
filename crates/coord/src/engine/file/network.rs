//! Refuses file systems whose locks do not hold between machines.

use super::layout::Folder;
use crate::engine::EngineError;

/// Fails when the store lies on a network file system that can be told: NFS, SMB, AFS, Ceph, Lustre, Coda,
/// `BeeGFS`, GPFS, and the FUSE file systems that stand for another machine, such as sshfs.
#[cfg(target_os = "linux")]
pub(super) fn refuse_network_file_system(root: &Folder) -> Result<(), EngineError> {
    let stat = rustix::fs::fstatfs(root.fd()).map_err(|errno| root.unreadable("", errno))?;
    // The magic numbers are 32 bits wide; the field is as wide as the machine and may be sign-extended.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only the low 32 bits count")]
    let magic = stat.f_type as u32;
    let kind = match network_kind(magic) {
        FileSystem::Local => return Ok(()),
        FileSystem::Network(kind) => kind.to_owned(),
        FileSystem::Fuse => match fuse_kind(root) {
            Some(kind) => kind,
            None => return Ok(()),
        },
    };
    Err(EngineError::UnsupportedFileSystem { path: root.path().to_path_buf(), kind })
}

/// Elsewhere the kind of a file system is not looked at; the documentation says so.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "it can fail on Linux")]
pub(super) fn refuse_network_file_system(_: &Folder) -> Result<(), EngineError> {
    Ok(())
}

#[cfg(target_os = "linux")]
#[derive(Debug, PartialEq, Eq)]
enum FileSystem {
    Local,
    Network(&'static str),
    /// Anything at all: the mount table says what.
    Fuse,
}

/// What `statfs` tells. The numbers are those of Linux's `magic.h` and of the file systems' own sources.
#[cfg(target_os = "linux")]
fn network_kind(magic: u32) -> FileSystem {
    match magic {
        0x6969 => FileSystem::Network("nfs"),
        0x517B | 0xFF53_4D42 | 0xFE53_4D42 => FileSystem::Network("smb"),
        0x5346_414F | 0x6B41_4653 => FileSystem::Network("afs"),
        0x00C3_6400 => FileSystem::Network("ceph"),
        0x0BD0_0BD0 => FileSystem::Network("lustre"),
        0x7375_7245 => FileSystem::Network("coda"),
        0x1983_0326 => FileSystem::Network("beegfs"),
        0x4750_4653 => FileSystem::Network("gpfs"),
        0x6573_5546 => FileSystem::Fuse,
        _ => FileSystem::Local,
    }
}

/// FUSE file systems that stand for another machine, as the mount table spells their type after `fuse.`.
#[cfg(target_os = "linux")]
const NETWORK_FUSE_TYPES: [&str; 14] = [
    "sshfs",
    "nfs",
    "smbnetfs",
    "rclone",
    "s3fs",
    "gcsfuse",
    "davfs",
    "davfs2",
    "curlftpfs",
    "glusterfs",
    "juicefs",
    "ceph-fuse",
    "mfs",
    "mount-s3",
];

/// The type of the FUSE mount that `root` lies on, if it is a network one. A mount table that cannot be read
/// says nothing: the locks of a FUSE file system hold on one machine.
#[cfg(target_os = "linux")]
fn fuse_kind(root: &Folder) -> Option<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let device = rustix::fs::fstat(root.fd()).ok()?.st_dev;
    fuse_kind_in(&table, rustix::fs::major(device), rustix::fs::minor(device))
}

/// Looks the device up in a mount table (`proc_pid_mountinfo(5)`): the third field is `major:minor`, and the
/// type follows the first field after the lone hyphen.
#[cfg(target_os = "linux")]
fn fuse_kind_in(table: &str, major: u32, minor: u32) -> Option<String> {
    let device = format!("{major}:{minor}");
    let line = table.lines().find(|line| line.split(' ').nth(2) == Some(&device))?;
    let file_system = line.split(' ').skip_while(|field| *field != "-").nth(1)?;
    let kind = file_system.strip_prefix("fuse.")?;
    NETWORK_FUSE_TYPES.contains(&kind).then(|| file_system.to_owned())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        assert_eq!(network_kind(0x6969), FileSystem::Network("nfs"));
        assert_eq!(network_kind(0xFF53_4D42), FileSystem::Network("smb"));
        assert_eq!(network_kind(0xFE53_4D42), FileSystem::Network("smb"));
        assert_eq!(network_kind(0x6573_5546), FileSystem::Fuse);
        for local in [0xEF53, 0x0102_1994, 0x9123_683E, 0x794C_7630, 0x5846_5342, 0x2FC1_2FC1] {
            assert_eq!(network_kind(local), FileSystem::Local);
        }
    }

    #[test]
    fn a_fuse_mount_is_judged_by_its_type() {
        let table = "36 35 98:0 / / rw,noatime shared:1 - ext4 /dev/root rw\n\
                     37 36 0:51 / /mnt/remote rw,nosuid - fuse.sshfs me@host:/ rw\n\
                     38 36 0:52 / /mnt/layers rw - fuse.fuse-overlayfs overlay rw\n";
        assert_eq!(fuse_kind_in(table, 0, 51).as_deref(), Some("fuse.sshfs"));
        assert_eq!(fuse_kind_in(table, 0, 52), None);
        assert_eq!(fuse_kind_in(table, 98, 0), None);
        assert_eq!(fuse_kind_in(table, 9, 9), None);
    }
}
