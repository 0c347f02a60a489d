//! `Photo Details.csv`, the list that comes with a download from privacy.apple.com: a line for each file, with the
//! fingerprint that iCloud keeps of it (`imgName`, `fileChecksum`). It tells whether a file came whole, where the phone's
//! library has no fingerprint. The form is RFC 4180, described by tools that import such downloads.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::facts::Fingerprint;

/// What the lists say of files, by folder and name in lower case. A list speaks of the folder it lies in and of `Photos`
/// in it; one name can stand there several times.
#[derive(Debug, Default)]
pub(super) struct Details(HashMap<(PathBuf, String), HashSet<Fingerprint>>);

impl Details {
    /// A list that lies in `folder`.
    pub(super) fn add(&mut self, folder: &Path, list: &str) {
        let mut records = Records(list.trim_start_matches('\u{FEFF}'));
        let Some(head) = records.next() else { return };
        let column = |name: &str| head.iter().position(|cell| cell.trim().eq_ignore_ascii_case(name));
        let (Some(name_at), Some(print_at)) = (column("imgName"), column("fileChecksum")) else { return };
        for record in records {
            let (Some(name), Some(print)) = (record.get(name_at), record.get(print_at)) else { continue };
            if let Some(print) = Fingerprint::parse(print.trim()) {
                for place in [folder.to_owned(), folder.join("Photos")] {
                    self.0.entry((place, name.to_lowercase())).or_default().insert(print);
                }
            }
        }
    }

    /// Whether the file of that name in `folder` is what its list names; `None` when no list does.
    pub(super) fn agree(&self, folder: &Path, name: &str, fingerprint: Fingerprint) -> Option<bool> {
        let named = self.0.get(&(folder.to_owned(), name.to_lowercase()))?;
        Some(named.contains(&fingerprint))
    }
}

/// The records of a list.
struct Records<'a>(&'a str);

impl Iterator for Records<'_> {
    type Item = Vec<String>;

    fn next(&mut self) -> Option<Vec<String>> {
        if self.0.is_empty() {
            return None;
        }
        let (mut record, mut cell, mut quoted) = (Vec::new(), String::new(), false);
        let mut chars = self.0.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' if quoted && chars.peek().is_some_and(|(_, next)| *next == '"') => {
                    cell.push('"');
                    chars.next();
                }
                '"' => quoted = !quoted,
                ',' if !quoted => record.push(std::mem::take(&mut cell)),
                '\r' if !quoted && chars.peek().is_some_and(|(_, next)| *next == '\n') => {}
                '\n' if !quoted => {
                    self.0 = &self.0[at + 1..];
                    record.push(cell);
                    return Some(record);
                }
                c => cell.push(c),
            }
        }
        self.0 = "";
        record.push(cell);
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_those_of_rfc_4180() {
        let list = "a,b\r\n\"x,1\",\"say \"\"hi\"\"\nthere\"\r\n,\n";
        let records: Vec<Vec<String>> = Records(list).collect();
        let wanted = [vec!["a", "b"], vec!["x,1", "say \"hi\"\nthere"], vec!["", ""]];
        assert_eq!(records, wanted.map(|record| record.into_iter().map(str::to_owned).collect::<Vec<_>>()));
        for cut in 0..list.len() {
            assert!(Records(&list[..cut]).count() <= 3, "cut at {cut}");
        }
    }

    #[test]
    fn a_list_speaks_of_its_own_folder() {
        let print = "Acg7iUvHLiR8FEuZ08xqDKhpN+tR";
        let mut details = Details::default();
        details.add(
            Path::new("part 1"),
            &format!("imgName,fileChecksum,favorite\nIMG_1.JPG,{print},no\nIMG_2.JPG,?,no\n"),
        );
        details.add(Path::new("part 2"), "other,columns\n1,2\n");
        let print = Fingerprint::parse(print).unwrap();
        let other = Fingerprint::parse("AcfhCyA9QrbLeurYu6zE5FnQe+SG").unwrap();
        assert_eq!(details.agree(Path::new("part 1"), "img_1.jpg", print), Some(true));
        assert_eq!(details.agree(Path::new("part 1/Photos"), "IMG_1.JPG", other), Some(false));
        assert_eq!(details.agree(Path::new("part 1"), "IMG_2.JPG", other), None);
        assert_eq!(details.agree(Path::new("part 2"), "IMG_1.JPG", print), None);
    }
}
