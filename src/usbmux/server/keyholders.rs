//! Who may have pair records: they hold the keys with which a phone lets a computer in, and usbmuxd hands them to every
//! user of the machine. Here they are for root, for the user whose socket it is, and for the members of its group.
//!
//! Groups are those of `/etc/group`; described by `group(5)` and `passwd(5)`.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// What is read of either file at most.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// See the module.
#[derive(Debug, Clone)]
pub struct Keyholders {
    /// The user whose socket it is.
    own: u32,
    group: Option<Group>,
    groups: PathBuf,
    users: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    id: u32,
}

impl Keyholders {
    /// Root, this process' user, and the members of the group with this name.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`]: there is no such group.
    pub fn new(group: Option<&str>) -> io::Result<Self> {
        Self::by_files(rustix::process::geteuid().as_raw(), group, "/etc/group".into(), "/etc/passwd".into())
    }

    fn by_files(own: u32, group: Option<&str>, groups: PathBuf, users: PathBuf) -> io::Result<Self> {
        let mut holders = Self { own, group: None, groups, users };
        if let Some(name) = group {
            let line = holders.group_line(name)?;
            let id = line.and_then(|(id, _)| id);
            let id =
                id.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no group {name:?}")))?;
            holders.group = Some(Group { name: name.to_owned(), id });
        }
        Ok(holders)
    }

    /// The group's number, for the socket's own permissions.
    pub(super) fn group_id(&self) -> Option<u32> {
        self.group.as_ref().map(|group| group.id)
    }

    /// Whether a process of this user and group may have pair records. What cannot be read makes nobody a member.
    #[must_use]
    pub fn includes(&self, user: u32, group: u32) -> bool {
        user == 0
            || user == self.own
            || self.group.as_ref().is_some_and(|ours| group == ours.id || self.is_member(user, ours))
    }

    fn is_member(&self, user: u32, group: &Group) -> bool {
        let Ok(Some((_, members))) = self.group_line(&group.name) else { return false };
        let Ok(users) = read(&self.users) else { return false };
        let mut lines = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        lines.any(|fields| {
            fields.len() >= 3
                && fields[2].parse() == Ok(user)
                && members.iter().any(|member| member == fields[0])
        })
    }

    /// The number and the members of the group with this name.
    fn group_line(&self, name: &str) -> io::Result<Option<(Option<u32>, Vec<String>)>> {
        let groups = read(&self.groups)?;
        let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let line = lines.find(|fields| fields.len() >= 4 && fields[0] == name);
        Ok(line.map(|fields| {
            let members = fields[3].split(',').filter(|member| !member.is_empty());
            (fields[2].parse().ok(), members.map(str::to_owned).collect())
        }))
    }
}

fn read(path: &PathBuf) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holders(group: Option<&str>) -> (tempfile::TempDir, io::Result<Keyholders>) {
        let dir = tempfile::tempdir().unwrap();
        let (groups, users) = (dir.path().join("group"), dir.path().join("passwd"));
        std::fs::write(&groups, "root:x:0:\nphones:x:77:anna,olga\nodd\nbad:x:none:anna\n").unwrap();
        std::fs::write(
            &users,
            "root:x:0:0::/:/bin/sh\nanna:x:1001:1001::/:\nboris:x:1002:1002::/:\nolga:x\n",
        )
        .unwrap();
        let made = Keyholders::by_files(500, group, groups, users);
        (dir, made)
    }

    #[test]
    fn root_the_owner_and_the_members_have_keys_and_nobody_else() {
        let (_dir, holders) = holders(Some("phones"));
        let holders = holders.unwrap();
        assert_eq!(holders.group_id(), Some(77));
        for (user, group, has) in [
            (0, 0, true),
            (500, 500, true),
            (1001, 1001, true),
            (1002, 77, true),
            (1002, 1002, false),
            (1003, 0, false),
        ] {
            assert_eq!(holders.includes(user, group), has, "{user}:{group}");
        }
    }

    #[test]
    fn without_a_group_there_are_no_members() {
        let (_dir, holders) = holders(None);
        let holders = holders.unwrap();
        assert!(holders.includes(500, 1) && !holders.includes(1001, 77));
    }

    #[test]
    fn a_group_that_is_not_there_or_has_no_number_is_an_error() {
        for name in ["nobodies", "bad", ""] {
            assert_eq!(holders(Some(name)).1.unwrap_err().kind(), io::ErrorKind::NotFound, "{name:?}");
        }
    }

    #[test]
    fn a_list_that_went_away_makes_nobody_a_member() {
        let (dir, holders) = holders(Some("phones"));
        let holders = holders.unwrap();
        std::fs::remove_file(dir.path().join("passwd")).unwrap();
        assert!(!holders.includes(1001, 1001) && holders.includes(0, 0));
    }
}
