//! What is copied from which phone, and what is wanted of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::peers::PEERS;
use crate::phone::{self, Folder, Link, PROGRAM, Phone, scratch};
use crate::program::{self, Ran};
use crate::table::{Cable, Row, Table, Want};

/// What the command line chose.
pub(crate) struct Chosen {
    /// The peers are measured, too.
    pub(crate) peers: bool,
    /// They copy all small files.
    pub(crate) whole: bool,
}

/// A scenario.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Chosen, &mut Table),
}

/// All of them.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "usb2", run: usb2 },
    Scenario { name: "usb3", run: usb3 },
    Scenario { name: "small", run: small },
    Scenario { name: "no-limit", run: no_limit },
    Scenario { name: "second", run: second },
];

const USB2: Link = Link { bytes_per_second: 40_000_000, round_trip_us: 1000 };
const USB3: Link = Link { bytes_per_second: 400_000_000, round_trip_us: 1000 };

/// Photos that make about 1,250 files of 2 GB as a camera makes them, and what `sim new` calls such sizes.
const LIBRARY: (u32, &str) = (750, "real");
/// As many of these as the peers copy unless told otherwise: a rate is a rate.
const LIBRARY_SAMPLE: u32 = 150;
/// Photos that make about 20,000 files of 20 KB.
const SMALL: (u32, &str) = (12_400, "20000");
/// Photos that make more than 50,000 files, each as small as can be.
const MANY: (u32, &str) = (31_500, "1");
/// What is short is measured so often; the middle one counts.
const ROUNDS: usize = 3;
/// Folders of small files that the peers copy unless told otherwise: they take the same time for each file.
const SAMPLE_FOLDERS: usize = 1;

fn usb2(chosen: &Chosen, table: &mut Table) {
    let folder = Folder::new(LIBRARY.0, LIBRARY.1);
    for (temper, wanted) in [("kind", 0.97), ("harsh", 0.85)] {
        let bench = Bench::plug_in(&folder, temper, Some(USB2));
        let mut row = bench.ours();
        row.wants.push(Want::at_least("of the cable", row.part_of_cable(), wanted));
        table.add(row);
        if temper == "kind" {
            bench.library_peers(chosen, Some(USB2), table);
        }
    }
}

fn usb3(chosen: &Chosen, table: &mut Table) {
    let folder = Folder::new(LIBRARY.0, LIBRARY.1);
    let bench = Bench::plug_in(&folder, "kind", Some(USB3));
    let mut row = middle((0..ROUNDS).map(|_| bench.ours()).collect());
    row.wants.push(Want::at_least("of the cable", row.part_of_cable(), 0.9));
    table.add(row);
    bench.library_peers(chosen, Some(USB3), table);
}

fn small(chosen: &Chosen, table: &mut Table) {
    let folder = Folder::new(SMALL.0, SMALL.1);
    let all = folders(&folder.media());
    let sample = if chosen.whole { &all[..] } else { &all[..SAMPLE_FOLDERS.min(all.len())] };
    for (temper, of_cable, times) in [("kind", Some(0.85), 5.0), ("harsh", None, 3.0)] {
        let bench = Bench::plug_in(&folder, temper, Some(USB2));
        let mut row = bench.ours();
        if let Some(wanted) = of_cable {
            row.wants.push(Want::at_least("of the cable", row.part_of_cable(), wanted));
        }
        let fastest = bench.peers(chosen, sample, table);
        if let Some(fastest) = fastest {
            let is = row.bytes_per_second() / fastest;
            row.wants.push(Want::at_least("times the fastest peer", is, times));
        }
        table.add(row);
    }
}

fn no_limit(chosen: &Chosen, table: &mut Table) {
    let folder = Folder::new(LIBRARY.0, LIBRARY.1);
    let bench = Bench::plug_in(&folder, "kind", None);
    // In turns: whatever else the machine does meets both.
    let (mut ours, mut sinks) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        sinks.push(bench.sink(&folder));
        ours.push(bench.ours());
    }
    let (mut row, sink) = (middle(ours), middle(sinks));
    let is = row.bytes_per_second() / sink.bytes_per_second();
    row.wants.push(Want::at_least("of the bare sink", is, 0.85));
    table.add(sink);
    table.add(row);
    bench.library_peers(chosen, None, table);
}

/// On a phone without a library: its transfer is not to be counted.
fn second(_: &Chosen, table: &mut Table) {
    let folder = Folder::new(MANY.0, MANY.1);
    for part in ["Photos.sqlite", "Photos.sqlite-wal", "Photos.sqlite-shm"] {
        let _ = std::fs::remove_file(folder.media().join("PhotoData").join(part));
    }
    let to = scratch();
    table.add(Bench::plug_in(&folder, "kind", None).command("the first photos pull", to.path()).0);
    let bench = Bench::plug_in(&folder, "kind", Some(USB2));
    let mut row = bench.ours_into(&device_folder(to.path()));
    row.wants.push(Want::seconds(row.seconds, 3.0));
    row.wants.push(Want::nothing(row.bytes));
    table.add(row);
    let (mut row, received) = bench.command("the second photos pull", to.path());
    row.wants.push(Want::seconds(row.seconds, 3.0));
    row.wants.push(Want::memory(row.peak_kib.unwrap_or(u64::MAX)));
    row.wants.push(Want::nothing(received));
    table.add(row);
}

/// Where the copy of the only phone is.
fn device_folder(to: &Path) -> PathBuf {
    let entries = std::fs::read_dir(to).expect("something was copied").flatten();
    let mut folders = entries.map(|entry| entry.path()).filter(|path| path.join("photos").is_dir());
    folders.next().expect("something was copied")
}

/// The folders of pictures, as paths of the phone.
fn folders(media: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(media.join("DCIM")).expect("the phone has pictures").flatten();
    let mut folders: Vec<_> = entries.map(|entry| format!("DCIM/{}", entry.file_name().display())).collect();
    folders.sort();
    folders
}

/// The run in the middle by time.
fn middle(mut rows: Vec<Row>) -> Row {
    rows.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    rows.swap_remove(rows.len() / 2)
}

/// A phone that is plugged in, and what its cable gives.
struct Bench {
    phone: Phone,
    words: String,
    cable: Cable,
}

impl Bench {
    fn plug_in(folder: &Folder, temper: &str, link: Option<Link>) -> Self {
        let phone = Phone::serve(folder, temper, link);
        let cable = Cable::of(&program::play("cable", &[&phone.unix()]));
        let words = match link {
            Some(link) => format!(
                "{temper}, {} MB/s, {} ms",
                link.bytes_per_second / 1_000_000,
                link.round_trip_us as f64 / 1000.0
            ),
            None => format!("{temper}, no limit"),
        };
        Self { phone, words, cable }
    }

    fn row(&self, who: &str, said: &Value) -> Row {
        Row {
            phone: self.words.clone(),
            who: who.to_owned(),
            files: said["files"].as_u64().expect("it says so"),
            bytes: said["bytes"].as_u64().expect("it says so"),
            seconds: said["seconds"].as_f64().expect("it says so"),
            peak_kib: said["peak_kib"].as_u64(),
            cable: self.cable,
            wants: Vec::new(),
            note: String::new(),
        }
    }

    fn ours(&self) -> Row {
        let to = scratch();
        let row = self.ours_into(to.path());
        assert_eq!(phone::count(&to.path().join("photos")), (row.files, row.bytes), "what it says is there");
        row
    }

    fn ours_into(&self, to: &Path) -> Row {
        let said = program::play("ours", &[&self.phone.unix(), to]);
        let mut row = self.row("idevice-fix", &said);
        let count = |what: &str| said[what].as_u64().expect("it says so");
        let walk_seconds = said["walk_seconds"].as_f64().expect("it says so");
        row.note = format!("walk {walk_seconds:.2} s, {} files", count("seen"));
        if count("refused") > 0 {
            row.note += &format!(", {} refused", count("refused"));
        }
        row.wants.push(Want::memory(row.peak_kib.unwrap_or(u64::MAX)));
        row
    }

    fn sink(&self, folder: &Folder) -> Row {
        let to = scratch();
        let said = program::play("sink", &[&self.phone.unix(), &folder.media(), to.path()]);
        self.row("a bare sink", &said)
    }

    /// `photos pull`, from its start to its end; and the bytes of photos that came over the cable, as it says.
    fn command(&self, who: &str, to: &Path) -> (Row, u64) {
        let mut command = Command::new(PROGRAM);
        command.env("USBMUXD_SOCKET_ADDRESS", &self.phone.tcp).env_remove("IDEVICE_FIX_UDID");
        command.args(["--yes", "--json", "--dest"]).arg(to).args(["photos", "pull"]);
        let ran = program::run(&mut command).and_then(Ran::succeeded);
        let ran = ran.unwrap_or_else(|why| panic!("photos pull failed: {why}"));
        let (files, bytes) = phone::count(&device_folder(to).join("photos"));
        let mut lines = ran.output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let result = lines.next_back().expect("it prints a result");
        let received = result["protection"]["photos"]["received_bytes"].as_u64().expect("it says so");
        let row = Row {
            phone: self.words.clone(),
            who: who.to_owned(),
            files,
            bytes,
            seconds: ran.seconds,
            peak_kib: Some(ran.peak_kib),
            cable: self.cable,
            wants: Vec::new(),
            note: "the whole command, with what the copy holds now".to_owned(),
        };
        (row, received)
    }

    /// Measures the peers on a library of photos as they are, a smaller one unless told otherwise.
    fn library_peers(self, chosen: &Chosen, link: Option<Link>, table: &mut Table) {
        if !chosen.peers {
            return;
        }
        let all = ["DCIM".to_owned()];
        if chosen.whole {
            self.peers(chosen, &all, table);
            return;
        }
        let Self { phone, words, cable } = self;
        drop(phone);
        let folder = Folder::new(LIBRARY_SAMPLE, LIBRARY.1);
        let bench = Self { phone: Phone::serve(&folder, "kind", link), words, cable };
        bench.peers(chosen, &all, table);
    }

    /// Measures the peers; gives the rate of the fastest.
    fn peers(&self, chosen: &Chosen, folders: &[String], table: &mut Table) -> Option<f64> {
        let mut fastest: Option<f64> = None;
        for peer in PEERS.iter().filter(|_| chosen.peers) {
            let to = scratch();
            let copied = match (peer.copy)(&self.phone, folders, to.path()) {
                Ok(copied) => copied,
                Err(why) => {
                    table.miss(&self.words, peer.name, &why);
                    continue;
                }
            };
            let row = Row {
                phone: self.words.clone(),
                who: peer.name.to_owned(),
                files: copied.files,
                bytes: copied.bytes,
                seconds: copied.seconds,
                peak_kib: copied.peak_kib,
                cable: self.cable,
                wants: Vec::new(),
                note: if chosen.whole { String::new() } else { "a sample of these files".to_owned() },
            };
            fastest = Some(fastest.unwrap_or(0.0).max(row.bytes_per_second()));
            table.add(row);
        }
        fastest
    }
}
