//! AFC: every operation that a real client sends, and those that none does.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use idevice_fix::sim::Service;

use crate::wire::Simulator;

mod op {
    pub(super) const STATUS: u64 = 0x01;
    pub(super) const DATA: u64 = 0x02;
    pub(super) const READ_DIR: u64 = 0x03;
    pub(super) const TRUNCATE: u64 = 0x07;
    pub(super) const REMOVE: u64 = 0x08;
    pub(super) const MAKE_DIR: u64 = 0x09;
    pub(super) const INFO: u64 = 0x0A;
    pub(super) const DEVICE_INFO: u64 = 0x0B;
    pub(super) const OPEN: u64 = 0x0D;
    pub(super) const OPEN_RESULT: u64 = 0x0E;
    pub(super) const READ: u64 = 0x0F;
    pub(super) const WRITE: u64 = 0x10;
    pub(super) const SEEK: u64 = 0x11;
    pub(super) const TELL: u64 = 0x12;
    pub(super) const TELL_RESULT: u64 = 0x13;
    pub(super) const CLOSE: u64 = 0x14;
    pub(super) const SET_SIZE: u64 = 0x15;
    pub(super) const RENAME: u64 = 0x18;
    pub(super) const LOCK: u64 = 0x1B;
    pub(super) const LINK: u64 = 0x1C;
    pub(super) const SET_MTIME: u64 = 0x1E;
    pub(super) const REMOVE_ALL: u64 = 0x22;
}

const OK: u64 = 0;
const INVALID_ARGUMENT: u64 = 7;
const NOT_FOUND: u64 = 8;
const IS_DIRECTORY: u64 = 9;
const DENIED: u64 = 10;
const NOT_SUPPORTED: u64 = 15;
const EXISTS: u64 = 16;
const WOULD_BLOCK: u64 = 19;

/// A connection, its numbers counted as libimobiledevice counts them.
struct Afc {
    stream: UnixStream,
    number: u64,
}

#[derive(Debug, PartialEq)]
struct Reply {
    operation: u64,
    params: Vec<u8>,
    payload: Vec<u8>,
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// A packet with its lengths as hosts state them.
fn packet(number: u64, operation: u64, params: &[u8], payload: &[u8]) -> Vec<u8> {
    let this = 40 + params.len() as u64;
    let mut bytes = b"CFA6LPAA".to_vec();
    for value in [this + payload.len() as u64, this, number, operation] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(params);
    bytes.extend(payload);
    bytes
}

fn receive(stream: &mut UnixStream) -> (u64, Reply) {
    let mut header = [0; 40];
    stream.read_exact(&mut header).unwrap();
    assert_eq!(&header[..8], b"CFA6LPAA");
    let (entire, this) = (word(&header, 8), word(&header, 16));
    assert!(entire >= this && this >= 40, "entire {entire}, this {this}");
    let mut params = vec![0; this as usize - 40];
    stream.read_exact(&mut params).unwrap();
    let mut payload = vec![0; (entire - this) as usize];
    stream.read_exact(&mut payload).unwrap();
    (word(&header, 24), Reply { operation: word(&header, 32), params, payload })
}

impl Afc {
    fn on(simulator: &Simulator) -> Self {
        Self { stream: simulator.service(Service::Afc), number: 0 }
    }

    fn ask(&mut self, operation: u64, params: &[u8], payload: &[u8]) -> Reply {
        self.number += 1;
        self.stream.write_all(&packet(self.number, operation, params, payload)).unwrap();
        let (number, reply) = receive(&mut self.stream);
        assert_eq!(number, self.number, "a reply has its request's number");
        reply
    }

    /// Numbers first, then paths with their NUL.
    fn with(&mut self, operation: u64, numbers: &[u64], paths: &[&str]) -> Reply {
        let mut params: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        for path in paths {
            params.extend(path.as_bytes());
            params.push(0);
        }
        self.ask(operation, &params, b"")
    }

    /// The status that a request gets.
    fn status(&mut self, operation: u64, numbers: &[u64], paths: &[&str]) -> u64 {
        let reply = self.with(operation, numbers, paths);
        assert_eq!(
            (reply.operation, reply.params.len(), reply.payload.len()),
            (op::STATUS, 8, 0),
            "{reply:?}"
        );
        word(&reply.params, 0)
    }

    /// Text that ends with a NUL each time.
    fn texts(&mut self, operation: u64, paths: &[&str]) -> Vec<String> {
        let reply = self.with(operation, &[], paths);
        assert_eq!((reply.operation, reply.params.len()), (op::DATA, 0), "{paths:?}: {reply:?}");
        let text = String::from_utf8(reply.payload).unwrap();
        assert!(text.is_empty() || text.ends_with('\0'));
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    fn info(&mut self, path: &str) -> std::collections::BTreeMap<String, String> {
        let texts = self.texts(op::INFO, &[path]);
        assert_eq!(texts.len() % 2, 0);
        texts.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }

    fn open(&mut self, path: &str, mode: u64) -> u64 {
        let reply = self.with(op::OPEN, &[mode], &[path]);
        assert_eq!(
            (reply.operation, reply.params.len(), reply.payload.len()),
            (op::OPEN_RESULT, 8, 0),
            "{path}: {reply:?}"
        );
        let handle = word(&reply.params, 0);
        assert!(handle >= 1, "libimobiledevice takes 0 for a failure");
        handle
    }

    fn read(&mut self, handle: u64, count: u64) -> Vec<u8> {
        let reply = self.with(op::READ, &[handle, count], &[]);
        assert_eq!((reply.operation, reply.params.len()), (op::DATA, 0), "{reply:?}");
        reply.payload
    }

    fn write(&mut self, handle: u64, bytes: &[u8]) -> u64 {
        let reply = self.ask(op::WRITE, &handle.to_le_bytes(), bytes);
        assert_eq!((reply.operation, reply.params.len()), (op::STATUS, 8));
        word(&reply.params, 0)
    }

    fn tell(&mut self, handle: u64) -> u64 {
        let reply = self.with(op::TELL, &[handle], &[]);
        assert_eq!((reply.operation, reply.params.len(), reply.payload.len()), (op::TELL_RESULT, 8, 0));
        word(&reply.params, 0)
    }

    fn content(&mut self, path: &str) -> Vec<u8> {
        let handle = self.open(path, 1);
        let bytes = self.read(handle, 4 << 20);
        assert_eq!(self.status(op::CLOSE, &[handle], &[]), OK);
        bytes
    }
}

const PHOTO: &str = "/DCIM/100APPLE/IMG_0001.HEIC";

fn photos(phone: &Path) {
    let folder = phone.join("media/DCIM/100APPLE");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::create_dir_all(phone.join("media/Books")).unwrap();
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(folder.join("IMG_0001.HEIC"), bytes).unwrap();
    std::fs::write(folder.join("IMG_0002.JPG"), b"two").unwrap();
    std::fs::write(phone.join("secret"), b"outside of media").unwrap();
}

fn phone_with(toml: &str) -> Simulator {
    Simulator::start_with(toml, photos)
}

#[test]
fn trap_7_a_status_a_handle_and_a_position_are_parameters_and_data_is_payload() {
    let simulator = phone_with("");
    let mut stream = simulator.service(Service::Afc);
    let mut lengths = |operation: u64, params: &[u8]| {
        stream.write_all(&packet(5, operation, params, b"")).unwrap();
        let mut header = [0; 40];
        stream.read_exact(&mut header).unwrap();
        let mut rest = vec![0; word(&header, 8) as usize - 40];
        stream.read_exact(&mut rest).unwrap();
        (word(&header, 32), word(&header, 8), word(&header, 16), word(&header, 24))
    };
    assert_eq!(lengths(op::REMOVE, b"nothing\0"), (op::STATUS, 48, 48, 5));
    let open = [&1_u64.to_le_bytes()[..], PHOTO.as_bytes(), b"\0"].concat();
    assert_eq!(lengths(op::OPEN, &open), (op::OPEN_RESULT, 48, 48, 5));
    assert_eq!(lengths(op::TELL, &1_u64.to_le_bytes()), (op::TELL_RESULT, 48, 48, 5));
    let read = [1_u64.to_le_bytes(), 1000_u64.to_le_bytes()].concat();
    assert_eq!(lengths(op::READ, &read), (op::DATA, 1040, 40, 5));
}

#[test]
fn trap_7_the_number_of_a_request_comes_back_from_zero_to_the_largest() {
    let simulator = phone_with("");
    for temper in ["kind", "harsh"] {
        std::fs::write(simulator.phone().join("device.toml"), format!("temper = \"{temper}\"")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30));
        let mut stream = simulator.service(Service::Afc);
        // pymobiledevice3 begins with 0; several wait at once and are answered in their order.
        let numbers = [0, 1, u64::from(u32::MAX) + 1, u64::MAX, 7, 7];
        let requests: Vec<u8> =
            numbers.iter().flat_map(|number| packet(*number, op::READ_DIR, b"/", b"")).collect();
        stream.write_all(&requests).unwrap();
        assert_eq!(numbers.map(|_| receive(&mut stream).0), numbers, "{temper}");
    }
}

#[test]
fn trap_7_a_listing_begins_with_the_two_dots_and_a_path_needs_no_nul() {
    let simulator = phone_with("");
    let mut afc = Afc::on(&simulator);
    assert_eq!(afc.texts(op::READ_DIR, &["/"]), [".", "..", "Books", "DCIM"]);
    assert_eq!(afc.texts(op::READ_DIR, &["Books"]), [".", ".."]);
    for path in ["", "/", ".", "./", "//"] {
        assert_eq!(
            afc.ask(op::READ_DIR, path.as_bytes(), b"").operation,
            if path.is_empty() { op::STATUS } else { op::DATA }
        );
    }
    for path in ["DCIM/100APPLE", "./DCIM//100APPLE/", "/DCIM/./100APPLE\0", "/DCIM/../DCIM/100APPLE"] {
        let reply = afc.ask(op::READ_DIR, path.as_bytes(), b"");
        assert_eq!(reply.payload, b".\0..\0IMG_0001.HEIC\0IMG_0002.JPG\0", "{path:?}");
    }
    assert_eq!(afc.status(op::READ_DIR, &[], &["nowhere"]), NOT_FOUND);
}

#[test]
fn trap_7_a_read_is_never_shorter_than_it_must_be() {
    let simulator = phone_with("");
    for temper in ["kind", "harsh"] {
        // The phone that a harsh one does not open is the first of a folder of two: another one is read.
        std::fs::write(simulator.phone().join("device.toml"), format!("temper = \"{temper}\"")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30));
        let mut afc = Afc::on(&simulator);
        let handle = afc.open(PHOTO, 1);
        assert_eq!(afc.read(handle, 4 << 20).len(), 4 << 20, "{temper}");
        assert_eq!(afc.read(handle, 4 << 20).len(), 5_000_000 - (4 << 20));
        assert!(afc.read(handle, 4 << 20).is_empty(), "the end is an empty reply");
        assert_eq!(afc.status(op::SEEK, &[handle, 0, 9_000_000], &[]), OK);
        assert!(afc.read(handle, 100).is_empty(), "behind the end as well");
    }
}

#[test]
fn trap_7_file_info_has_every_key() {
    let simulator = phone_with("");
    let mut afc = Afc::on(&simulator);
    assert_eq!(afc.status(op::LINK, &[1], &[PHOTO, "/twin"]), OK);
    assert_eq!(afc.status(op::LINK, &[2], &["DCIM/100APPLE", "/link"]), OK);
    let file = afc.info(PHOTO);
    assert_eq!(
        (file["st_ifmt"].as_str(), file["st_size"].as_str(), file["st_nlink"].as_str()),
        ("S_IFREG", "5000000", "2")
    );
    assert_eq!(afc.info("/DCIM")["st_ifmt"], "S_IFDIR");
    let link = afc.info("link");
    assert_eq!((link["st_ifmt"].as_str(), link["LinkTarget"].as_str()), ("S_IFLNK", "DCIM/100APPLE"));
    for info in [&file, &link, &afc.info("/")] {
        for key in ["st_size", "st_blocks", "st_nlink", "st_mtime", "st_birthtime"] {
            info[key].parse::<i64>().unwrap_or_else(|_| panic!("{key} of {info:?} is no decimal number"));
        }
        // Nanoseconds.
        assert!(info["st_mtime"].len() >= 19 && info["st_birthtime"].len() >= 19, "{info:?}");
    }
    assert!(!file.contains_key("LinkTarget"));
    assert_eq!(afc.status(op::INFO, &[], &["nowhere"]), NOT_FOUND);
    let device = afc.texts(op::DEVICE_INFO, &[]);
    let keys: Vec<&str> = device.chunks(2).map(|pair| pair[0].as_str()).collect();
    for key in ["Model", "FSTotalBytes", "FSFreeBytes", "FSBlockSize"] {
        assert!(keys.contains(&key), "{device:?}");
    }
}

#[test]
fn each_mode_opens_as_fopen_does() {
    let simulator = phone_with("");
    let mut afc = Afc::on(&simulator);
    for mode in [1, 2, 3, 4, 5, 6] {
        let reply = afc.with(op::OPEN, &[mode], &["/new"]);
        assert_eq!(reply.operation == op::OPEN_RESULT, mode != 1, "mode {mode} makes a file");
        let _ = afc.status(op::REMOVE, &[], &["/new"]);
    }
    let fill = |afc: &mut Afc| {
        let handle = afc.open("/f", 3);
        assert_eq!(afc.write(handle, b"12345"), OK);
        assert_eq!(afc.status(op::CLOSE, &[handle], &[]), OK);
    };
    for (mode, left) in [(2, &b"ab345"[..]), (3, b"ab"), (4, b"ab"), (5, b"12345ab"), (6, b"12345ab")] {
        fill(&mut afc);
        let handle = afc.open("/f", mode);
        assert_eq!(afc.write(handle, b"ab"), OK);
        assert_eq!(afc.status(op::CLOSE, &[handle], &[]), OK);
        assert_eq!(afc.content("/f"), left, "mode {mode}");
    }
    let read_only = afc.open("/f", 1);
    assert_ne!(afc.write(read_only, b"x"), OK);
    let write_only = afc.open("/f", 5);
    assert_ne!(afc.status(op::READ, &[write_only, 5], &[]), OK);
    for mode in [0, 7, u64::MAX] {
        assert_eq!(afc.status(op::OPEN, &[mode], &["/f"]), INVALID_ARGUMENT);
    }
    assert_eq!(afc.status(op::OPEN, &[1], &["/DCIM"]), IS_DIRECTORY);
    assert_eq!(afc.status(op::OPEN, &[3], &["/nowhere/f"]), NOT_FOUND);
}

#[test]
fn a_position_moves_as_told() {
    let simulator = phone_with("");
    let mut afc = Afc::on(&simulator);
    let handle = afc.open(PHOTO, 1);
    assert_eq!(afc.tell(handle), 0);
    assert_eq!(afc.read(handle, 10), (0..10).collect::<Vec<u8>>());
    assert_eq!(afc.tell(handle), 10);
    for (whence, offset, at) in [(0, 251, 251), (1, -1, 250), (2, -2, 4_999_998), (2, 5, 5_000_005)] {
        assert_eq!(afc.status(op::SEEK, &[handle, whence, i64::cast_unsigned(offset)], &[]), OK);
        assert_eq!(afc.tell(handle), at);
    }
    assert_eq!(afc.status(op::SEEK, &[handle, 0, i64::cast_unsigned(-1)], &[]), INVALID_ARGUMENT);
    assert_eq!(afc.status(op::SEEK, &[handle, 9, 0], &[]), INVALID_ARGUMENT);
    assert_eq!(afc.tell(handle), 5_000_005, "a refused seek moves nothing");
    assert_eq!(afc.status(op::CLOSE, &[handle], &[]), OK);
    for (operation, numbers) in
        [(op::CLOSE, vec![handle]), (op::TELL, vec![handle]), (op::READ, vec![handle, 1])]
    {
        assert_ne!(afc.status(operation, &numbers, &[]), OK, "a closed handle");
    }
}

#[test]
fn a_large_write_comes_in_one_packet_and_sizes_can_be_set() {
    let simulator = phone_with("");
    let mut afc = Afc::on(&simulator);
    let bytes: Vec<u8> = (0..9_000_000_u32).map(|n| (n % 253) as u8).collect();
    let handle = afc.open("/large", 4);
    assert_eq!(afc.write(handle, &bytes), OK);
    assert_eq!((afc.tell(handle), afc.info("/large")["st_size"].as_str()), (9_000_000, "9000000"));
    assert_eq!(afc.status(op::SEEK, &[handle, 0, 8_999_000], &[]), OK);
    assert_eq!(afc.read(handle, 5000), bytes[8_999_000..]);
    assert_eq!(afc.status(op::SET_SIZE, &[handle, 3], &[]), OK);
    assert_eq!(afc.info("/large")["st_size"], "3");
    assert_eq!(afc.status(op::TRUNCATE, &[6], &["/large"]), OK);
    assert_eq!(afc.content("/large"), [0, 1, 2, 0, 0, 0]);
    assert_eq!(afc.status(op::TRUNCATE, &[6], &["/nowhere"]), NOT_FOUND);
    assert_ne!(afc.status(op::TRUNCATE, &[u64::MAX], &["/large"]), OK);
}

#[test]
fn folders_are_made_moved_and_removed() {
    let simulator = phone_with("");
    let mut afc = Afc::on(&simulator);
    assert_eq!(afc.status(op::MAKE_DIR, &[], &["/a/b/c"]), OK, "parents come with it");
    assert_eq!(afc.status(op::MAKE_DIR, &[], &["/a/b"]), OK, "one that is there is no error");
    assert_eq!(afc.status(op::MAKE_DIR, &[], &[PHOTO]), EXISTS);
    let non_empty = afc.status(op::REMOVE, &[], &["/a/b"]);
    assert!(non_empty == 33 || non_empty == 1, "{non_empty}");
    assert_eq!(afc.status(op::RENAME, &[], &["/a/b", "/z"]), OK);
    assert_eq!(afc.texts(op::READ_DIR, &["/z"]), [".", "..", "c"]);
    assert_eq!(afc.status(op::READ_DIR, &[], &["/a/b"]), NOT_FOUND);
    assert_eq!(afc.status(op::RENAME, &[], &[PHOTO, "/z/c/photo"]), OK);
    assert_eq!(
        afc.status(op::RENAME, &[], &["DCIM/100APPLE/IMG_0002.JPG", "/z/c/photo"]),
        OK,
        "a file is replaced"
    );
    assert_eq!(afc.content("/z/c/photo"), b"two");
    assert_eq!(afc.status(op::RENAME, &[], &["/nowhere", "/y"]), NOT_FOUND);
    assert_eq!(afc.status(op::REMOVE, &[], &["/z/c/photo"]), OK);
    assert_eq!(afc.status(op::REMOVE, &[], &["/z/c/photo"]), NOT_FOUND);
    assert_eq!(afc.status(op::REMOVE, &[], &["/z/c"]), OK);
    assert_eq!(afc.status(op::REMOVE_ALL, &[], &["/DCIM"]), OK);
    assert_eq!(afc.texts(op::READ_DIR, &["/"]), [".", "..", "Books", "a", "z"]);
    assert_eq!(afc.status(op::REMOVE_ALL, &[], &["/nowhere"]), NOT_FOUND);
    assert!(
        simulator.phone().join("media/DCIM/100APPLE/IMG_0001.HEIC").exists(),
        "the folder stays as it was"
    );
}

#[test]
fn links_are_followed_inside_and_dates_are_set() {
    let simulator = phone_with("");
    let mut afc = Afc::on(&simulator);
    assert_eq!(afc.status(op::LINK, &[2], &["IMG_0002.JPG", "/DCIM/100APPLE/two"]), OK);
    assert_eq!(afc.status(op::LINK, &[1], &["/DCIM/100APPLE/IMG_0002.JPG", "/hard"]), OK);
    assert_eq!(afc.content("/DCIM/100APPLE/two"), b"two");
    let handle = afc.open("/hard", 2);
    assert_eq!(afc.write(handle, b"TWO"), OK);
    assert_eq!(afc.content("/DCIM/100APPLE/IMG_0002.JPG"), b"TWO", "both names are one file");
    assert_eq!(afc.info("/hard")["st_nlink"], "2");
    assert_eq!(afc.status(op::REMOVE, &[], &["/hard"]), OK);
    assert_eq!(afc.info("/DCIM/100APPLE/IMG_0002.JPG")["st_nlink"], "1");
    assert_eq!(afc.status(op::LINK, &[1], &["/nowhere", "/x"]), NOT_FOUND);
    assert_eq!(afc.status(op::LINK, &[3], &[PHOTO, "/x"]), INVALID_ARGUMENT);
    assert_eq!(afc.status(op::LINK, &[2], &["nowhere", "/dangling"]), OK);
    assert_eq!(afc.status(op::OPEN, &[1], &["/dangling"]), NOT_FOUND);
    assert_eq!(afc.status(op::SET_MTIME, &[1_700_000_000_123_456_789], &[PHOTO]), OK);
    assert_eq!(afc.info(PHOTO)["st_mtime"], "1700000000123456789");
    assert_eq!(afc.status(op::SET_MTIME, &[1], &["/nowhere"]), NOT_FOUND);
}

#[test]
fn locks_exclude_and_are_let_go_and_never_wait() {
    const SHARED: u64 = 5;
    const EXCLUSIVE: u64 = 6;
    const UNLOCK: u64 = 12;
    let simulator = phone_with("");
    let (mut one, mut two) = (Afc::on(&simulator), Afc::on(&simulator));
    // As idevicebackup2 does it.
    let path = "/com.apple.itunes.lock_sync";
    let (first, second) = (one.open(path, 2), two.open(path, 2));
    let mut lock = |afc: usize, kind: u64| match afc {
        1 => one.status(op::LOCK, &[first, kind], &[]),
        _ => two.status(op::LOCK, &[second, kind], &[]),
    };
    assert_eq!((lock(1, EXCLUSIVE), lock(2, EXCLUSIVE), lock(2, SHARED)), (OK, WOULD_BLOCK, WOULD_BLOCK));
    assert_eq!((lock(1, SHARED), lock(2, SHARED), lock(2, EXCLUSIVE)), (OK, OK, WOULD_BLOCK));
    assert_eq!((lock(1, UNLOCK), lock(2, EXCLUSIVE), lock(1, SHARED)), (OK, OK, WOULD_BLOCK));
    assert_eq!(lock(1, 3), INVALID_ARGUMENT);
    drop(two);
    let mut held = WOULD_BLOCK;
    for _ in 0..200 {
        held = one.status(op::LOCK, &[first, EXCLUSIVE], &[]);
        if held == OK {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(held, OK, "a lock ends with its connection");
}

#[test]
fn what_no_client_sends_is_not_supported_and_the_connection_goes_on() {
    let simulator = phone_with("");
    let mut afc = Afc::on(&simulator);
    for operation in
        [0x04, 0x05, 0x06, 0x0C, 0x16, 0x17, 0x19, 0x1A, 0x1D, 0x1F, 0x20, 0x21, 0x23, 0x28, 0, u64::MAX]
    {
        let reply = afc.ask(operation, b"12345678/DCIM\0", b"payload");
        assert_eq!((reply.operation, word(&reply.params, 0)), (op::STATUS, NOT_SUPPORTED), "{operation:#x}");
    }
    // A request without what belongs to it.
    for operation in
        [op::READ_DIR, op::TRUNCATE, op::OPEN, op::READ, op::SEEK, op::RENAME, op::LINK, op::SET_MTIME]
    {
        let reply = afc.ask(operation, b"", b"");
        assert_eq!(
            (reply.operation, word(&reply.params, 0)),
            (op::STATUS, INVALID_ARGUMENT),
            "{operation:#x}"
        );
    }
    assert_eq!(afc.ask(op::INFO, b"\xff\xfe\0", b"").operation, op::STATUS);
    assert_eq!(afc.content("DCIM/100APPLE/IMG_0002.JPG"), b"two");
}

/// Every request that names a path, with `path` in each place that a path has.
fn every_use_of(afc: &mut Afc, path: &str) -> Vec<(&'static str, u64)> {
    let mut statuses = Vec::new();
    let mut note = |name: &'static str, reply: Reply| {
        let status = if reply.operation == op::STATUS { word(&reply.params, 0) } else { OK };
        statuses.push((name, status));
    };
    note("list", afc.with(op::READ_DIR, &[], &[path]));
    note("info", afc.with(op::INFO, &[], &[path]));
    for (name, mode) in [("read", 1), ("r+", 2), ("w", 3), ("w+", 4), ("a", 5), ("a+", 6)] {
        note(name, afc.with(op::OPEN, &[mode], &[path]));
    }
    note("truncate", afc.with(op::TRUNCATE, &[1], &[path]));
    note("mtime", afc.with(op::SET_MTIME, &[1], &[path]));
    note("mkdir", afc.with(op::MAKE_DIR, &[], &[path]));
    note("rename to", afc.with(op::RENAME, &[], &["/Books", path]));
    note("rename from", afc.with(op::RENAME, &[], &[path, "/stolen"]));
    note("hard link from", afc.with(op::LINK, &[1], &[path, "/hard"]));
    note("hard link to", afc.with(op::LINK, &[1], &["/DCIM/100APPLE/IMG_0002.JPG", path]));
    note("symbolic link to", afc.with(op::LINK, &[2], &["DCIM", path]));
    note("remove", afc.with(op::REMOVE, &[], &[path]));
    note("remove all", afc.with(op::REMOVE_ALL, &[], &[path]));
    statuses
}

#[test]
fn a_refused_path_is_refused_to_every_request() {
    let simulator = phone_with("[refuse]\nafc_paths = [\"/DCIM\"]");
    let mut afc = Afc::on(&simulator);
    for path in ["/DCIM", "DCIM/100APPLE", PHOTO, "/Books/../DCIM/100APPLE/IMG_0001.HEIC", "/DCIM/new"] {
        for (name, status) in every_use_of(&mut afc, path) {
            assert_eq!(status, DENIED, "{name} {path}");
        }
    }
    assert_eq!(afc.texts(op::READ_DIR, &["/Books"]), [".", ".."], "what is beside it is not refused");
}

#[test]
fn no_request_leads_out_of_the_media_folder() {
    for keep in [false, true] {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("file"), b"outside").unwrap();
        std::fs::create_dir(outside.path().join("folder")).unwrap();
        let phone = tempfile::tempdir().unwrap();
        photos(phone.path());
        let media = phone.path().join("media");
        let link = |target: &Path, name: &str| std::os::unix::fs::symlink(target, media.join(name)).unwrap();
        link(outside.path(), "absolute");
        link(Path::new("../.."), "relative");
        link(&outside.path().join("file"), "to-file");
        link(Path::new("/"), "root");
        link(Path::new("absolute"), "twice");
        let device = idevice_fix::sim::Device::open(phone.path(), keep).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (host, there) = UnixStream::pair().unwrap();
        there.set_nonblocking(true).unwrap();
        let _entered = runtime.enter();
        let there = tokio::net::UnixStream::from_std(there).unwrap();
        runtime.spawn(Service::Afc.serve(Box::new(there), device));
        let mut afc = Afc { stream: host, number: 0 };
        // A link that a client makes leads no further than one that was there.
        let target = outside.path().to_str().unwrap();
        assert_eq!(afc.status(op::LINK, &[2], &[target, "/made"]), OK);
        let inside_links = [
            "absolute/file",
            "absolute/folder",
            "absolute/new",
            "twice/file",
            "made/file",
            "root/etc/passwd",
        ];
        let outright = ["..", "../secret", "/../../etc/passwd", "DCIM/../../secret", "relative/phone"];
        for path in inside_links.iter().chain(&outright) {
            for (name, status) in every_use_of(&mut afc, path) {
                assert_ne!(status, OK, "{name} {path}");
            }
        }
        for (name, status) in every_use_of(&mut afc, "to-file") {
            // The link itself can be described, moved and removed; what it leads to cannot be touched.
            let on_the_link = ["info", "rename to", "rename from", "hard link from", "remove", "remove all"];
            assert!(
                on_the_link.contains(&name) || status != OK || !media.join("to-file").is_symlink(),
                "{name}"
            );
        }
        assert_eq!(afc.status(op::REMOVE_ALL, &[], &["/absolute"]), OK, "a link goes, not what it leads to");
        assert_eq!(std::fs::read(outside.path().join("file")).unwrap(), b"outside");
        assert!(outside.path().join("folder").is_dir());
        let mut names: Vec<_> =
            std::fs::read_dir(outside.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["file", "folder"]);
        assert_eq!(std::fs::read(phone.path().join("secret")).unwrap(), b"outside of media");
        drop(afc);
        runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    }
}
