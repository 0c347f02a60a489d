//! The bare sink: reads the same files over one connection, hashes them, writes them, syncs them, and nothing else. It
//! asks about nothing, checks nothing and remembers nothing; no copy can be faster by much.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use aws_lc_rs::digest::{Context, SHA256};
use idevice_fix::lockdown::Session;
use idevice_fix::usbmux::Stream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::cable::{FILE_CLOSE, FILE_OPEN, FILE_READ, READ_BYTES, number, packet, reply};

/// What may wait for the hash and the disk.
const PIECE_BYTES: u64 = 1 << 20;
const PIECES_MAX: usize = 8;
/// So much is synced at once, as in a careful copy.
const BATCH_BYTES: u64 = 64 << 20;

/// A file of the phone.
struct Wanted {
    path: String,
    bytes: u64,
}

enum Piece {
    Bytes(Vec<u8>),
    End,
}

/// Where photos are.
const ROOTS: [&str; 4] =
    ["DCIM", "PhotoData/CPLAssets", "PhotoData/Mutations", "PhotoData/PhotoCloudSharingData"];

/// Copies all photos below `media`, in whatever order, into `to`.
pub(crate) async fn copy(session: &Session, media: &Path, to: &Path) -> Value {
    let mut files = Vec::new();
    for root in ROOTS {
        list(media, Path::new(root), &mut files);
    }
    let stream = session.start_service("com.apple.afc").await.expect("AFC starts");
    let started = Instant::now();
    let (pieces, work) = mpsc::channel(PIECES_MAX);
    let to = to.to_owned();
    let disk = tokio::task::spawn_blocking(move || write_all(work, &to));
    receive_all(stream, &files, pieces).await;
    disk.await.expect("the disk takes it");
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    json!({"files": files.len(), "bytes": bytes, "seconds": started.elapsed().as_secs_f64()})
}

fn list(media: &Path, below: &Path, into: &mut Vec<Wanted>) {
    for entry in std::fs::read_dir(media.join(below)).into_iter().flatten().flatten() {
        let metadata = entry.metadata().expect("it is there");
        let path = below.join(entry.file_name());
        if metadata.is_dir() {
            list(media, &path, into);
        } else {
            into.push(Wanted { path: format!("/{}", path.display()), bytes: metadata.len() });
        }
    }
}

/// A file's reads and its close, and the open of the next.
fn requests(handle: u64, file: &Wanted, next: Option<&Wanted>) -> Vec<u8> {
    let mut bytes = next.map_or_else(Vec::new, |next| packet(FILE_OPEN, &[1], &next.path));
    let reads = file.bytes.div_ceil(READ_BYTES);
    for _ in 0..reads {
        bytes.extend(packet(FILE_READ, &[handle, READ_BYTES], ""));
    }
    bytes.extend(packet(FILE_CLOSE, &[handle], ""));
    bytes
}

/// One file is always asked for ahead of the one that comes.
async fn receive_all(mut stream: Stream, files: &[Wanted], pieces: mpsc::Sender<Piece>) {
    let Some(first) = files.first() else { return };
    stream.write_all(&packet(FILE_OPEN, &[1], &first.path)).await.expect("bytes go");
    let handle = number(&mut stream).await;
    stream.write_all(&requests(handle, first, files.get(1))).await.expect("bytes go");
    for (at, file) in files.iter().enumerate() {
        if let Some(next) = files.get(at + 1) {
            let handle = number(&mut stream).await;
            stream.write_all(&requests(handle, next, files.get(at + 2))).await.expect("bytes go");
        }
        for _ in 0..file.bytes.div_ceil(READ_BYTES) {
            let (_, mut left) = reply(&mut stream).await;
            while left > 0 {
                let mut piece = vec![0; usize::try_from(left.min(PIECE_BYTES)).expect("a piece")];
                stream.read_exact(&mut piece).await.expect("the phone goes on");
                left -= piece.len() as u64;
                pieces.send(Piece::Bytes(piece)).await.expect("the disk takes it");
            }
        }
        assert_eq!(number(&mut stream).await, 0, "it is closed");
        pieces.send(Piece::End).await.expect("the disk takes it");
    }
}

fn write_all(mut work: mpsc::Receiver<Piece>, to: &Path) {
    let (batches, due) = std::sync::mpsc::channel::<()>();
    let folder = File::open(to).expect("the folder is there");
    let syncs = std::thread::spawn(move || {
        let sync = || rustix::fs::syncfs(&folder).expect("the disk syncs");
        due.iter().for_each(|()| sync());
        sync();
    });
    let (mut number, mut unsynced) = (0, 0);
    let mut open: Option<(File, Context)> = None;
    while let Some(piece) = work.blocking_recv() {
        let (file, hash) = open.get_or_insert_with(|| {
            number += 1;
            let path: PathBuf = to.join(number.to_string());
            (File::create_new(path).expect("a file is made"), Context::new(&SHA256))
        });
        match piece {
            Piece::Bytes(bytes) => {
                file.write_all(&bytes).expect("the disk takes it");
                hash.update(&bytes);
                unsynced += bytes.len() as u64;
            }
            Piece::End => {
                let (_, hash) = open.take().expect("it was opened above");
                std::hint::black_box(hash.finish());
            }
        }
        if unsynced >= BATCH_BYTES {
            unsynced = 0;
            batches.send(()).expect("the other thread listens");
        }
    }
    drop(batches);
    syncs.join().expect("the disk syncs");
}
