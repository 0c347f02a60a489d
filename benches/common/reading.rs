//! A file read over AFC as fast as the cable goes, and thrown away.

use std::collections::VecDeque;

use idevice_fix::afc::{Afc, OpenMode};

const READ_BYTES: u32 = 1 << 20;
const READS_AHEAD: usize = 4;

/// How many bytes came of a file that is said to have `size`.
pub(crate) async fn read(afc: &Afc, path: &str, size: u64) -> u64 {
    let mut file = afc.open_file(path, OpenMode::Read).await.expect("it opens");
    let mut asked = VecDeque::new();
    let (mut left, mut got) = (size, 0);
    while left > 0 || !asked.is_empty() {
        while left > 0 && asked.len() < READS_AHEAD {
            asked.push_back(file.ask_read(READ_BYTES).await.expect("it is asked"));
            left = left.saturating_sub(u64::from(READ_BYTES));
        }
        let read = asked.pop_front().expect("one was asked");
        got += read.bytes().await.expect("it is read").len() as u64;
    }
    file.close().await.expect("it closes");
    got
}
