//! Proving: against what two cores can hash, with decryption, with a million rows; and a large database sent back.

use std::path::Path;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use cap_std::fs::Dir;
use idevice_fix::backup::manifest::file_id;
use idevice_fix::backup::mbfile::MbFile;
use idevice_fix::backup::record::{Journal, Record};
use idevice_fix::backup::vault::Vault;
use idevice_fix::backup::verify::{self, Depth, Proven};
use idevice_fix::frame::{self, Encoding, Limits};
use idevice_fix::mobilebackup2::Secret;
use idevice_fix::mobilebackup2::folder::Folder;
use idevice_fix::mobilebackup2::host::{Host, Patience};
use idevice_fix::mobilebackup2::ledger::{Entry, Ledger, Received};
use idevice_fix::mobilebackup2::message::{DeviceMessage, Response};
use idevice_fix::mobilebackup2::stream::{Piece, Reader};
use idevice_fix::progress::{CancellationToken, Silent};
use idevice_fix::usbmux::Udid;
use plist::{Dictionary, Value};

use super::phone::{self, Served};
use super::{Load, peak_memory, processor, receiving, verdict};

/// What is wanted, of what two cores can hash.
const WANTED: f64 = 0.70;
/// Most memory that proving a million rows may take.
const ROWS_MEMORY_WANTED: u64 = 128 << 20;
/// How much is hashed to learn what the processor can do.
const HASHED: usize = 512 << 20;
const UDID: &str = "00008101-000000000000001E";

/// Bytes a second that two cores hash.
fn two_cores_hash() -> f64 {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let block = vec![0x5a; 1 << 20];
                let mut sha256 = digest::Context::new(&digest::SHA256);
                for _ in 0..HASHED >> 20 {
                    sha256.update(&block);
                }
                sha256.finish()
            });
        }
    });
    2.0 * HASHED as f64 / began.elapsed().as_secs_f64()
}

/// Processor seconds that hashing so many bytes takes.
pub(crate) fn hashing_takes(bytes: u64) -> f64 {
    let before = processor::seconds();
    two_cores_hash();
    (processor::seconds() - before) * bytes as f64 / (2 * HASHED) as f64
}

pub(crate) async fn prove(host: &Path, udid: &Udid, password: Option<&Secret>) -> (Proven, Duration) {
    let dir = Dir::open_ambient_dir(host, cap_std::ambient_authority()).expect("it is there");
    let vault = Vault::look(dir, udid.clone());
    let began = Instant::now();
    let proven = verify::prove(&vault, password, Depth::Full, &Silent, &CancellationToken::new()).await;
    let proven = proven.expect("it can be read");
    assert!(proven.proof.is_some(), "{:?}", proven.damage.first());
    (proven, began.elapsed())
}

/// Proves what was just received, which is warm; gives the rate.
pub(crate) async fn compare_with_two_cores(served: &Served, host: &Path, password: Option<&Secret>) -> f64 {
    // The second time is warm for certain.
    prove(host, &served.udid(), password).await;
    let before = two_cores_hash();
    let (proven, took) = prove(host, &served.udid(), password).await;
    let hash = two_cores_hash().min(before);
    let rate = proven.bytes_read as f64 / took.as_secs_f64();
    let share = rate / hash;
    println!(
        "  proving {:.2} GB/s, two cores hash {:.2} GB/s: {:.0} % ({})",
        rate / 1e9,
        hash / 1e9,
        share * 100.0,
        if password.is_some() { "encrypted" } else { verdict(share >= WANTED) }
    );
    rate
}

/// Proving with the password: what is decrypted costs two hashes and a decryption.
pub(crate) async fn encrypted(load: Load) {
    let room = receiving::room();
    let secret = receiving::password();
    let settings = "[backup]\npassword = \"bench\"\ndpic = 1000\niter = 1000\n";
    phone::make(&room.path().join("phone"), &load, settings);
    let served = Served::open(&room.path().join("phone")).await;
    println!("encrypted: {} files, {:.0} MB", load.files, load.total() as f64 / 1e6);
    let host = room.path().join("ours");
    let before = processor::seconds();
    let took = receiving::receive(&served, &host).await;
    super::tell("idevice-fix, synced", &load, took, processor::seconds() - before);
    compare_with_two_cores(&served, &host, Some(&secret)).await;
    served.close().await;
    let began = Instant::now();
    decrypt_once();
    println!(
        "  one core decrypts AES-256-CBC at {:.2} GB/s",
        HASHED as f64 / began.elapsed().as_secs_f64() / 1e9
    );
}

fn decrypt_once() {
    use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
    let mut block = vec![0; 1 << 20];
    for _ in 0..HASHED >> 20 {
        let key = UnboundCipherKey::new(&AES_256, &[7; 32]).expect("a key has 32 bytes");
        let key = DecryptingKey::cbc(key).expect("AES has this mode");
        let context = DecryptionContext::Iv128([0; 16].into());
        key.decrypt(&mut block, context).expect("whole blocks decrypt");
    }
}

/// Proving a manifest of so many rows of empty files, in the project's own program, whose memory is looked at.
pub(crate) async fn rows(count: u32) {
    let room = receiving::room();
    let dest = room.path().join("dest");
    let own = dest.join(UDID).join("backup").join(UDID);
    std::fs::create_dir_all(&own).expect("a folder is made");
    let began = Instant::now();
    make_rows(&own, count);
    println!("rows: {count} rows, made in {:.0} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_idevice-fix"))
        .args(["backup", "verify", "--udid", UDID, "--dest"])
        .arg(&dest)
        .env_remove("BACKUP_PASSWORD")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    let (mut memory, process) = (0, child.id().to_string());
    let status = loop {
        memory = memory.max(peak_memory(&process));
        match child.try_wait().expect("the program can be waited for") {
            Some(status) => break status,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    println!(
        "  {status}, {:.0} rows/s, at most {:.0} MiB ({})",
        f64::from(count) / began.elapsed().as_secs_f64(),
        memory as f64 / f64::from(1 << 20),
        verdict(status.success() && memory <= ROWS_MEMORY_WANTED)
    );
}

fn make_rows(own: &Path, count: u32) {
    let records = [
        ("Status.plist", vec![("SnapshotState", Value::from("finished"))]),
        ("Manifest.plist", vec![("IsEncrypted", Value::from(false))]),
        ("Info.plist", Vec::new()),
    ];
    let root = own.parent().expect("it has one");
    let root = Dir::open_ambient_dir(root, cap_std::ambient_authority()).expect("it was made");
    let mut journal = Journal::open(&root).expect("a journal is made");
    let mut entries = Vec::new();
    for (name, values) in records {
        let values: Dictionary = values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let bytes = frame::to_xml(&Value::Dictionary(values));
        std::fs::write(own.join(name), &bytes).expect("a file is written");
        entries.push(received(name, &bytes));
    }
    for folder in 0..256 {
        std::fs::create_dir(own.join(format!("{folder:02x}"))).expect("a folder is made");
    }
    let path = own.join("Manifest.db");
    let mut database = rusqlite::Connection::open(&path).expect("a database is made");
    let schema = "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;
        CREATE TABLE Files (fileID TEXT PRIMARY KEY, domain TEXT, relativePath TEXT, flags INTEGER, file BLOB);
        CREATE TABLE Properties (key TEXT PRIMARY KEY, value BLOB);";
    database.execute_batch(schema).expect("a schema is right");
    let all = database.transaction().expect("a transaction begins");
    {
        let mut insert = all.prepare("INSERT INTO Files VALUES (?1, ?2, ?3, 1, ?4)").expect("it is SQL");
        for number in 0..count {
            let relative_path = format!("Library/Application Support/Some App/Caches/{number:07}.data");
            let (domain, file) =
                ("AppDomain-com.example.some-app", MbFile { relative_path, ..MbFile::default() });
            let id = file_id(domain, &file.relative_path);
            let row = rusqlite::params![id, domain, file.relative_path, file.to_archive()];
            insert.execute(row).expect("a row goes in");
            let stored = format!("{}/{id}", &id[..2]);
            std::fs::File::create(own.join(&stored)).expect("a file is made");
            entries.push(received(&stored, b""));
        }
    }
    all.commit().expect("the rows go in");
    drop(database);
    let (bytes, sha256) = hash_of(&path);
    let (path, device_path) = ("Manifest.db".to_owned(), String::new());
    entries.push(Entry::Received(Received { path, device_path, bytes, sha256, code: 0 }));
    journal.keep(&entries).expect("the journal can be written");
    Record::load(&root).and_then(|record| record.save(&root)).expect("the record is written");
}

/// A file as it would have been received.
pub(crate) fn received(path: &str, content: &[u8]) -> Entry {
    let sha256 = digest::digest(&digest::SHA256, content).as_ref().try_into().expect("SHA-256 has 32 bytes");
    let (path, device_path, bytes) = (path.to_owned(), String::new(), content.len() as u64);
    Entry::Received(Received { path, device_path, bytes, sha256, code: 0 })
}

fn hash_of(path: &Path) -> (u64, [u8; 32]) {
    use std::io::Read;
    let mut file = std::fs::File::open(path).expect("it was made");
    let (mut sha256, mut piece, mut bytes) = (digest::Context::new(&digest::SHA256), vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut piece).expect("it can be read") {
            0 => break,
            read => {
                bytes += read as u64;
                sha256.update(&piece[..read]);
            }
        }
    }
    (bytes, sha256.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// A phone that wants a large database back, and looks at the size of every block.
pub(crate) async fn sent_back(bytes: u64) {
    let room = receiving::room();
    let own = room.path().join(UDID);
    std::fs::create_dir_all(&own).expect("a folder is made");
    let database = std::fs::File::create(own.join("Manifest.db")).expect("a file is made");
    database.set_len(bytes).expect("a file is made");
    let (here, there) = tokio::net::UnixStream::pair().expect("a pair of sockets");
    let phone = tokio::spawn(wants_it_back(there));
    let cancel = CancellationToken::new();
    let host = Host::greet(Box::new(here), Patience::default(), &cancel).await.expect("the phone greets");
    let root = Dir::open_ambient_dir(room.path(), cap_std::ambient_authority()).expect("it was made");
    let folder = Folder::open(root, Udid::parse(UDID).expect("it is one"), 0).expect("a folder is made");
    let report = host.backup(true, folder, Box::new(Vec::<Entry>::new()), &Silent, &cancel).await;
    let (got, took) = phone.await.expect("the phone does not panic");
    assert_eq!((got, report.sent_back_bytes), (bytes, bytes));
    println!(
        "database: {:.1} GB sent back in blocks of 32 KiB: {:.2} GB/s, this process has had {:.0} MiB at most",
        bytes as f64 / 1e9,
        bytes as f64 / took.as_secs_f64() / 1e9,
        peak_memory("self") as f64 / f64::from(1 << 20)
    );
}

async fn wants_it_back(mut stream: tokio::net::UnixStream) -> (u64, Duration) {
    let say = async |stream: &mut tokio::net::UnixStream, message: DeviceMessage| {
        frame::write(stream, &message.to_value(), Encoding::Binary).await.expect("the host listens");
    };
    let hear = async |stream: &mut tokio::net::UnixStream| {
        frame::read(stream, &Limits::DEVICELINK).await.expect("the host speaks")
    };
    say(&mut stream, DeviceMessage::VersionExchange { major: 400, minor: 0 }).await;
    hear(&mut stream).await;
    say(&mut stream, DeviceMessage::Ready).await;
    hear(&mut stream).await;
    say(
        &mut stream,
        DeviceMessage::Response(Response { protocol_version: Some(2.1), ..Response::default() }),
    )
    .await;
    hear(&mut stream).await;
    let began = Instant::now();
    let paths = vec![format!("{UDID}/Manifest.db")];
    say(&mut stream, DeviceMessage::DownloadFiles { paths, progress: 0.0 }).await;
    let (mut bytes, mut piece) = (0, Vec::new());
    {
        let mut buffered = tokio::io::BufReader::with_capacity(1 << 18, &mut stream);
        let mut reader = Reader::new(&mut buffered);
        assert!(reader.name().await.expect("a name").is_some());
        loop {
            piece.clear();
            match reader.piece(&mut piece, usize::MAX).await.expect("the stream goes on") {
                Piece::Data(read) => {
                    assert!(read <= 32 * 1024, "a block of {read} bytes kills a phone");
                    bytes += read as u64;
                }
                Piece::End(end) => {
                    assert!(end.success(), "{end:?}");
                    break;
                }
            }
        }
        assert!(reader.name().await.expect("the end").is_none());
        frame::read(&mut buffered, &Limits::DEVICELINK).await.expect("the host answers");
    }
    let took = began.elapsed();
    say(&mut stream, DeviceMessage::Response(Response { code: 1, ..Response::default() })).await;
    (bytes, took)
}
