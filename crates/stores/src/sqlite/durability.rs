//! Whether a file is where SQLite can keep what it has answered.

use std::{fs, path::Path};

use crate::durability::DurabilityWarning;

/// The file systems of memory, which end with the machine.
const MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// The file systems of other machines, on which SQLite's locks and shared memory cannot be relied on.
const REMOTE: [&str; 7] = ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs"];

/// What is wrong with the place of a file; nothing where the system does not tell.
pub(crate) fn file_durability(path: &Path) -> Vec<DurabilityWarning> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    kind_of(&folder, &mounts).and_then(warning).into_iter().collect()
}

/// The file system of a folder: that of the innermost mount, and of several there the last.
fn kind_of<'a>(folder: &Path, mounts: &'a str) -> Option<&'a str> {
    let mount = |line: &'a str| {
        let (place, kind) = line.split_once(" - ")?;
        let point = place.split(' ').nth(4)?.replace("\\040", " ");
        folder.starts_with(&point).then_some((point.len(), kind.split(' ').next()?))
    };
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

fn warning(kind: &str) -> Option<DurabilityWarning> {
    let (consequence, advice) = if MEMORY.contains(&kind) {
        ("a restart of the machine loses everything", "put the database on a disk")
    } else if REMOTE.contains(&kind) {
        (
            "SQLite's locks do not hold on network file systems, so the database can be damaged",
            "put the database on a local disk, or use PostgreSQL or MongoDB",
        )
    } else {
        return None;
    };
    let setting = format!("the file system is {kind}");
    Some(DurabilityWarning { database: "SQLite", setting, consequence, advice })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /tmp rw,nosuid shared:5 - tmpfs tmpfs rw
31 22 0:27 / /srv/shared\\040data rw - nfs4 host:/data rw
32 30 0:28 / /tmp/disk rw - xfs /dev/vdb rw";

    #[test]
    fn the_innermost_mount_counts() {
        for (folder, kind, said) in [
            ("/var/lib/hallpass", "ext4", None),
            ("/tmp", "tmpfs", Some("a restart of the machine")),
            ("/tmp/disk/x", "xfs", None),
            ("/tmpfoo", "ext4", None),
            ("/srv/shared data/x", "nfs4", Some("network file systems")),
        ] {
            assert_eq!(kind_of(Path::new(folder), MOUNTS), Some(kind), "{folder}");
            let warning = warning(kind).map(|warning| warning.to_string());
            assert_eq!(warning.is_some(), said.is_some(), "{folder}");
            assert!(warning.unwrap_or_default().contains(said.unwrap_or_default()), "{folder}");
        }
        assert_eq!(kind_of(Path::new("/x"), ""), None);
    }
}
