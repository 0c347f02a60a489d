//! Phones that break the rules of AFC, stall or leave: at every single message of a walk and a pull.
//!
//! Whatever they do: no panic, no hang, nothing outside the copy, what was copied stays good, and the next run against
//! a phone that behaves completes the copy. `IDEVICE_FIX_EVERY_MESSAGE=1` really strikes at every message; otherwise
//! it is a few for each kind.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

/// How long a phone may be silent that will be,
const SHORT_LIMIT: Duration = Duration::from_millis(500);
/// and any other: a busy computer is no silent phone.
const LONG_LIMIT: Duration = Duration::from_secs(20);
/// No run takes as long as this, whatever the phone does: silence on a few connections, and a busy computer.
const NO_HANG: Duration = Duration::from_secs(60);

/// What a phone does at the reply whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crook {
    /// The next reply comes before this one.
    Swapped,
    Doubled,
    /// Half of it, and then the next one.
    Cut,
    OtherNumber,
    OtherMark,
    /// A header that announces less than itself.
    ShorterThanItself,
    /// A header that announces 2^62 bytes.
    Endless,
    /// Of a kind that nobody knows.
    OtherKind,
    /// Success, whatever was asked.
    MereSuccess,
    /// The device's own "no", with a code that nobody knows.
    Nonsense,
    /// One more before it that nobody asked for.
    Unasked,
    /// The phone leaves, and is not to be reached any more.
    Unplugged,
    /// Not another byte, on this and on any new connection.
    Stalled,
}

const CROOKS: [Crook; 13] = [
    Crook::Swapped,
    Crook::Doubled,
    Crook::Cut,
    Crook::OtherNumber,
    Crook::OtherMark,
    Crook::ShorterThanItself,
    Crook::Endless,
    Crook::OtherKind,
    Crook::MereSuccess,
    Crook::Nonsense,
    Crook::Unasked,
    Crook::Unplugged,
    Crook::Stalled,
];

/// A small phone, the host's folder, and what the phone does at which of its replies.
struct Crooked {
    phone: tempfile::TempDir,
    host: tempfile::TempDir,
    device: Arc<Device>,
    crook: Option<(Crook, u64)>,
    limit: Duration,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    replies: AtomicU64,
    struck: AtomicBool,
}

const FILES: [(&str, usize); 6] = [
    ("DCIM/100APPLE/IMG_0001.HEIC", 3000),
    ("DCIM/100APPLE/IMG_0002.HEIC", 50_000),
    ("DCIM/100APPLE/IMG_0003.AAE", 0),
    ("DCIM/100APPLE/IMG_0004.MOV", 2_500_000),
    ("PhotoData/CPLAssets/group1/AB.HEIC", 900),
    ("PhotoData/Mutations/DCIM/100APPLE/IMG_0002/Adjustments/FullSizeRender.heic", 1200),
];

impl Crooked {
    fn new() -> Self {
        let phone = tempfile::tempdir().unwrap();
        for (seed, (path, size)) in FILES.iter().enumerate() {
            let path = phone.path().join("media").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, heic(seed, *size)).unwrap();
        }
        let device = Device::open(phone.path(), false).unwrap();
        let (host, shared) = (tempfile::tempdir().unwrap(), Arc::default());
        Self { phone, host, device, crook: None, limit: LONG_LIMIT, shared }
    }

    /// The same phone and an empty folder, with a crook at a reply.
    fn struck(self, crook: Crook, at: u64) -> Self {
        let (host, shared) = (tempfile::tempdir().unwrap(), Arc::default());
        let falls_silent = matches!(crook, Crook::Swapped | Crook::Cut | Crook::Stalled);
        let limit = if falls_silent { SHORT_LIMIT } else { LONG_LIMIT };
        Self { host, shared, limit, crook: Some((crook, at)), ..self }
    }

    fn honest(&mut self) {
        self.crook = None;
        self.limit = LONG_LIMIT;
        self.shared = Arc::default();
    }

    fn store(&self) -> Store {
        let dir = Dir::open_ambient_dir(self.host.path(), cap_std::ambient_authority()).unwrap();
        Store::open(dir, Udid::parse("00008101-000000000000001E").unwrap()).unwrap()
    }

    /// Walks and copies, as far as the phone lets it be. `None`: the walk failed already.
    async fn run(&self) -> Option<Result<Pulled, photos::pull::Error>> {
        let settings = Settings { limit: self.limit, ..Settings::default() };
        let cancel = CancellationToken::new();
        let afc = Afc::dial(self, settings.clone()).await.ok()?;
        let listing = photos::walk(&afc, &cancel).await.ok()?;
        let store = self.store();
        let plan = store.plan(&listing, None).unwrap();
        let options = Options { settings, ..Options::default() };
        Some(pull_with(self, &store, &plan, &Silent, &cancel, options).await)
    }

    /// Nothing is outside of the copy, and what is in it is the phone's.
    async fn is_unharmed(&self, what: &str) {
        for entry in std::fs::read_dir(self.host.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(name.starts_with("photos"), "{what}: {name}");
        }
        for (path, _) in FILES {
            let copy = self.host.path().join("photos").join(path);
            if copy.exists() {
                let phone = self.phone.path().join("media").join(path);
                assert!(std::fs::read(phone).unwrap() == std::fs::read(copy).unwrap(), "{what}: {path}");
            }
        }
        let proven = prove(&self.store(), Depth::Full, &Silent, &CancellationToken::new()).await.unwrap();
        assert!(proven.damage.is_empty(), "{what}: {:?}", proven.damage);
    }

    /// A run against the phone without its crook ends with everything copied.
    async fn completes(&mut self, what: &str) {
        self.honest();
        let pulled = self.run().await.unwrap_or_else(|| panic!("{what}: no walk")).unwrap();
        assert_eq!((pulled.ended, pulled.left, pulled.refused.len()), (Ended::Complete, 0, 0), "{what}");
        for (path, _) in FILES {
            assert!(self.host.path().join("photos").join(path).exists(), "{what}: {path}");
        }
        self.is_unharmed(what).await;
    }
}

#[async_trait]
impl Dial for Crooked {
    async fn dial(&self) -> Result<Stream, lockdown::Error> {
        let struck = self.shared.struck.load(Ordering::SeqCst);
        let (here, there) = tokio::io::duplex(64 << 10);
        match self.crook {
            Some((Crook::Unplugged, _)) if struck => {
                return Err(idevice_fix::usbmux::Error::NoSuchDevice.into());
            }
            Some((Crook::Stalled, _)) if struck => {
                tokio::spawn(silence(there));
                return Ok(Box::new(here));
            }
            _ => {}
        }
        let (phone, service) = tokio::io::duplex(64 << 10);
        let (device, crook, shared) = (self.device.clone(), self.crook, self.shared.clone());
        tokio::spawn(async move { Service::Afc.serve(Box::new(service), device).await });
        tokio::spawn(async move { between(phone, there, crook, &shared).await });
        Ok(Box::new(here))
    }
}

/// Takes everything and says nothing, until the host has left.
async fn silence(mut host: impl tokio::io::AsyncRead + Unpin) {
    let _ = tokio::io::copy(&mut host, &mut tokio::io::sink()).await;
}

/// Passes requests on as they are, and replies with what the crook does to one of them.
async fn between(
    phone: tokio::io::DuplexStream,
    host: tokio::io::DuplexStream,
    crook: Option<(Crook, u64)>,
    shared: &Shared,
) -> std::io::Result<()> {
    let (mut from_phone, mut to_phone) = tokio::io::split(phone);
    let (mut from_host, mut to_host) = tokio::io::split(host);
    let replies = async {
        let mut held: Option<Vec<u8>> = None;
        loop {
            let mut reply = vec![0; HEADER_BYTES];
            from_phone.read_exact(&mut reply).await?;
            let Ok(header) = Header::parse(reply[..].try_into().expect("as long as a header")) else {
                // The simulated phone's own faults go through as they are.
                to_host.write_all(&reply).await?;
                return tokio::io::copy(&mut from_phone, &mut to_host).await.map(drop);
            };
            reply.resize(HEADER_BYTES + usize::try_from(header.body()).expect("the phone's"), 0);
            from_phone.read_exact(&mut reply[HEADER_BYTES..]).await?;
            let at = shared.replies.fetch_add(1, Ordering::SeqCst);
            let Some((crook, _)) = crook.filter(|(_, strikes)| *strikes == at) else {
                to_host.write_all(&reply).await?;
                if let Some(held) = held.take() {
                    to_host.write_all(&held).await?;
                }
                continue;
            };
            shared.struck.store(true, Ordering::SeqCst);
            match crook {
                Crook::Unplugged => return Ok(()),
                Crook::Stalled => return std::future::pending().await,
                Crook::Swapped => held = Some(reply),
                _ => to_host.write_all(&twisted(crook, reply)).await?,
            }
        }
    };
    tokio::select! {
        ended = replies => ended,
        _ = tokio::io::copy(&mut from_host, &mut to_phone) => Ok(()),
    }
}

/// What comes instead of a reply.
fn twisted(crook: Crook, mut reply: Vec<u8>) -> Vec<u8> {
    let number = u64::from_le_bytes(reply[24..32].try_into().expect("eight bytes"));
    let mut put = |at: usize, word: u64| reply[at..at + 8].copy_from_slice(&word.to_le_bytes());
    match crook {
        Crook::Doubled => reply.extend(reply.clone()),
        Crook::Cut => reply.truncate(reply.len() / 2),
        Crook::OtherNumber => put(24, number + 1),
        Crook::OtherMark => reply[0] ^= 0x20,
        Crook::ShorterThanItself => put(8, 39),
        Crook::Endless => put(8, 1 << 62),
        Crook::OtherKind => put(32, 0x7777),
        Crook::MereSuccess => return status_reply(number, Status::Success).to_vec(),
        Crook::Nonsense => return status_reply(number, Status::from_code(u64::MAX)).to_vec(),
        Crook::Unasked => return [&status_reply(number + 1000, Status::Success)[..], &reply].concat(),
        Crook::Swapped | Crook::Unplugged | Crook::Stalled => unreachable!("acted out by whoever sends"),
    }
    reply
}

/// Every message, or every so many.
fn step(usually: u64) -> u64 {
    if std::env::var_os("IDEVICE_FIX_EVERY_MESSAGE").is_some() { 1 } else { usually }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_breaks_the_rules_at_any_message_harms_nothing_and_the_next_run_completes() {
    let mut desk = Crooked::new();
    let mut runs = 0;
    for (first, crook) in CROOKS.into_iter().enumerate() {
        let mut at = first as u64;
        loop {
            let what = format!("{crook:?} at reply {at}");
            desk = desk.struck(crook, at);
            let began = std::time::Instant::now();
            let outcome = tokio::time::timeout(NO_HANG, desk.run()).await;
            let outcome = outcome.unwrap_or_else(|_| panic!("{what}: it hangs"));
            let untouched = !desk.shared.struck.load(Ordering::SeqCst);
            desk.is_unharmed(&what).await;
            // Whoever is struck by nothing has copied everything; who left or fell silent is an error, not a refusal.
            let complete =
                matches!(&outcome, Some(Ok(pulled)) if pulled.left == 0 && pulled.refused.is_empty());
            let failed = matches!(&outcome, None | Some(Err(_)));
            assert!(!untouched || complete, "{what}: {outcome:?}");
            if matches!(crook, Crook::Unplugged | Crook::Stalled) {
                assert!(untouched || failed, "{what}: {outcome:?}");
            } else if let Some(outcome) = &outcome {
                let pulled = outcome.as_ref().unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(pulled.left, 0, "{what}: {pulled:?}");
                assert!(pulled.refused.len() <= 1, "{what}: {:?}", pulled.refused);
            }
            assert!(began.elapsed() < NO_HANG, "{what}");
            desk.completes(&what).await;
            runs += 1;
            if untouched {
                break;
            }
            at += step(31);
        }
    }
    println!("{runs} runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_the_simulated_phone_at_any_message_harms_nothing() {
    let mut desk = Crooked::new();
    for (first, kind) in ["unplug", "stall", "refuse", "short", "lie-about-length"].into_iter().enumerate() {
        let mut at = 3 * first;
        loop {
            let what = format!("{kind} at message {at}");
            let toml = format!("[[fault]]\nat = \"afc-read\"\nafter_messages = {at}\nkind = \"{kind}\"\n");
            std::fs::write(desk.phone.path().join("device.toml"), toml).unwrap();
            // The phone as it is now, so that nobody waits until it looks at the file again.
            desk.device = Device::open(desk.phone.path(), false).unwrap();
            desk = desk.struck(Crook::Swapped, u64::MAX);
            desk.limit = if matches!(kind, "unplug" | "refuse") { LONG_LIMIT } else { SHORT_LIMIT };
            let outcome = tokio::time::timeout(NO_HANG, desk.run()).await;
            let outcome = outcome.unwrap_or_else(|_| panic!("{what}: it hangs"));
            desk.is_unharmed(&what).await;
            let replies = desk.shared.replies.load(Ordering::SeqCst);
            if let Some(outcome) = outcome {
                let pulled = outcome.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(pulled.left, 0, "{what}: {pulled:?}");
            }
            std::fs::write(desk.phone.path().join("device.toml"), "").unwrap();
            desk.device = Device::open(desk.phone.path(), false).unwrap();
            desk.completes(&what).await;
            if replies < at as u64 {
                break;
            }
            at += usize::try_from(step(37)).unwrap();
        }
    }
}

/// A phone with as many names in its one folder as it likes, each of which is what it says.
struct Crowd {
    names: usize,
    /// A folder has this again in it, and so on.
    inside: &'static [&'static str],
    asked: Arc<AtomicU64>,
}

#[async_trait]
impl Dial for Crowd {
    async fn dial(&self) -> Result<Stream, lockdown::Error> {
        let (here, mut there) = tokio::io::duplex(1 << 20);
        let (names, inside, asked) = (self.names, self.inside, self.asked.clone());
        tokio::spawn(async move {
            let mut head = [0; HEADER_BYTES];
            while there.read_exact(&mut head).await.is_ok() {
                let header = Header::parse(&head).unwrap();
                let mut body = vec![0; usize::try_from(header.body()).unwrap()];
                there.read_exact(&mut body).await.unwrap();
                asked.fetch_add(1, Ordering::Relaxed);
                let reply = crowded(names, inside, &header, &body);
                if there.write_all(&reply).await.is_err() {
                    return;
                }
            }
        });
        Ok(Box::new(here))
    }
}

fn crowded(names: usize, inside: &[&str], header: &Header, body: &[u8]) -> Vec<u8> {
    let data = |bytes: Vec<u8>| [&data_header(header.number, bytes.len() as u64)[..], &bytes].concat();
    let info = |kind| {
        let (size, blocks, links, mtime_ns, birthtime_ns) = (3, 0, 1, 1_000_000_000, 0);
        data(FileInfo { kind, size, blocks, links, mtime_ns, birthtime_ns, link_target: None }.encode())
    };
    match Request::parse(header.operation, body).unwrap() {
        Request::FileInfo { path } if !path.starts_with("DCIM") => {
            status_reply(header.number, Status::NotFound).to_vec()
        }
        Request::FileInfo { path } if path.ends_with("link") => info(Kind::Link),
        Request::FileInfo { path } if path == "DCIM" || inside.iter().any(|name| path.ends_with(name)) => {
            info(Kind::Directory)
        }
        Request::FileInfo { .. } => info(Kind::File),
        Request::ReadDir { .. } if !inside.is_empty() => data(Directory::encode(inside)),
        Request::ReadDir { .. } => data(Directory::encode((0..names).map(|n| format!("IMG_{n:07}.HEIC")))),
        other => panic!("{other:?}"),
    }
}

async fn walked(names: usize, inside: &'static [&'static str]) -> (MediaListing, u64) {
    let crowd = Crowd { names, inside, asked: Arc::default() };
    let (pacing, cancel) = (Arc::default(), CancellationToken::new());
    let walk = photos::walk_anew(&crowd, &pacing, &cancel);
    let listing = tokio::time::timeout(Duration::from_secs(300), walk).await.expect("no hang").unwrap();
    (listing, crowd.asked.load(Ordering::Relaxed))
}

#[tokio::test]
async fn folders_that_contain_themselves_and_links_that_go_round_end() {
    let (listing, asked) = walked(0, &["a", "link"]).await;
    assert!(listing.files.is_empty() && asked < 200, "{asked} questions");
    let deep = listing.refused.iter().filter(|(_, why)| why.contains("too deep")).count();
    let links = listing.refused.iter().filter(|(_, why)| why.contains("not followed")).count();
    assert_eq!((deep, links + deep), (1, listing.refused.len()));
    assert!(links >= 30, "one at each depth: {links}");
}

#[tokio::test]
async fn a_folder_with_more_entries_than_any_phone_has_is_looked_at_up_to_a_bound() {
    const MOST: usize = 1_000_000;
    if std::env::var_os("IDEVICE_FIX_EVERY_MESSAGE").is_none() {
        let (listing, _) = walked(5000, &[]).await;
        assert_eq!((listing.files.len(), listing.refused.len()), (5000, 0));
        return;
    }
    // More than a million names, and a tree whose every folder has three of them: both end at the same bound.
    let (listing, _) = walked(MOST + 5, &[]).await;
    assert_eq!((listing.files.len(), listing.refused.len()), (MOST, 1));
    assert!(listing.refused[0].1.contains("more names than are looked at"), "{:?}", listing.refused);
    let (listing, asked) = walked(0, &["a", "b", "c"]).await;
    assert!(listing.files.is_empty() && asked <= 2 * MOST as u64 + 10, "{asked} questions");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
}
