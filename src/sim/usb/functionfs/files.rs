//! The files of a FunctionFS: what is written to them at first, what the kernel tells there, and the threads that wait at
//! them. Described by the kernel's `linux/usb/functionfs.h`.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::super::Setup;
use super::super::descriptors::MUX_ENDPOINTS;
use crate::sim::config::Speed;

const DESCRIPTORS_MAGIC: u32 = 3;
const STRINGS_MAGIC: u32 = 2;
const HAS_HIGH_SPEED: u32 = 2;
const HAS_SUPER_SPEED: u32 = 4;
/// Requests to the device, and those before a configuration is set, come here too: Apple's own are such.
const ALL_REQUESTS: u32 = 64 | 128;
/// An event: a setup packet, its kind, three bytes of nothing.
const EVENT_BYTES: usize = 12;
/// The kernel keeps four.
const EVENTS_MAX: usize = 4;
/// More than the longest transfer of any host, so that only a short packet ends a read.
pub(super) const READ_BYTES: usize = 64 << 10;
/// `ESHUTDOWN`: the host has set no configuration with this interface.
const NOT_CONFIGURED: i32 = 108;
/// `EL2HLT`: how a stalled control transfer is reported to whoever stalled it.
const STALLED: i32 = 51;
/// `EIDRM`: the host asks something else instead.
const ASKED_ANEW: i32 = 43;
const TO_HOST: u8 = 0x80;
/// The kernel's word that a configuration is over comes within this after the first sign of it.
const WORD_WAIT: Duration = Duration::from_secs(1);
const WORD_LOOK: Duration = Duration::from_millis(1);

/// The mux's interface and its two endpoints, the one to the phone first.
pub(super) fn descriptors(speed: Speed) -> Vec<u8> {
    let (flag, packet_bytes) = match speed {
        Speed::High => (HAS_HIGH_SPEED, 512_u16),
        Speed::Super => (HAS_SUPER_SPEED, 1024),
    };
    let [low, high] = packet_bytes.to_le_bytes();
    let mut described = vec![9, 4, 0, 0, 2, 255, 254, 2, 0];
    let mut count = 1_u32;
    for address in [MUX_ENDPOINTS.out, MUX_ENDPOINTS.input] {
        described.extend([7, 5, address, 2, low, high, 0]);
        count += 1;
        if flag == HAS_SUPER_SPEED {
            described.extend([6, 48, 0, 0, 0, 0]);
            count += 1;
        }
    }
    let length = u32::try_from(16 + described.len()).expect("a few bytes");
    let head = [DESCRIPTORS_MAGIC, length, flag | ALL_REQUESTS, count];
    head.iter().flat_map(|number| number.to_le_bytes()).chain(described).collect()
}

/// None.
pub(super) fn strings() -> Vec<u8> {
    [STRINGS_MAGIC, 16, 0, 0].iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// What the kernel tells of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It has set a configuration with this interface.
    Enabled,
    /// It has taken it away.
    Disabled,
    /// It asks something.
    Asked(Setup),
    /// What changes nothing.
    Other,
}

fn told(event: &[u8; EVENT_BYTES]) -> Told {
    let [s0, s1, s2, s3, s4, s5, s6, s7, kind, ..] = *event;
    match kind {
        2 => Told::Enabled,
        1 | 3 => Told::Disabled,
        4 => Told::Asked(Setup::parse([s0, s1, s2, s3, s4, s5, s6, s7])),
        _ => Told::Other,
    }
}

type Reply = oneshot::Sender<Option<Vec<u8>>>;

/// What the kernel tells, with the age of the configuration that it leaves. `reply`, where there is a question: `None`
/// as a reply means that the phone does not do that.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) told: Told,
    pub(super) age: u64,
    pub(super) reply: Option<Reply>,
}

/// The age of the configuration after `told`: odd while there is one, and never the same twice. It belongs to the
/// thread that hears; the others look at it.
fn age_after(age: u64, told: Told) -> u64 {
    match told {
        Told::Enabled => age + 1 + age % 2,
        Told::Disabled => age + age % 2,
        Told::Asked(_) | Told::Other => age,
    }
}

/// Reads what the kernel tells, until there is nobody to tell it to.
pub(super) fn hear(
    mut control: impl Read + Write,
    tells: &mpsc::Sender<Heard>,
    age: &AtomicU64,
) -> io::Result<()> {
    let mut events = [0; EVENTS_MAX * EVENT_BYTES];
    loop {
        let read = match again(|| control.read(&mut events)) {
            Err(error) if is_one_of(&error, &[ASKED_ANEW]) => continue,
            other => other?,
        };
        for event in events[..read].chunks_exact(EVENT_BYTES) {
            let told = told(event.try_into().expect("chunks of this length"));
            let now = age_after(age.load(Ordering::Acquire), told);
            age.store(now, Ordering::Release);
            let Told::Asked(setup) = told else {
                if tells.blocking_send(Heard { told, age: now, reply: None }).is_err() {
                    return Ok(());
                }
                continue;
            };
            let (reply, replied) = oneshot::channel();
            if tells.blocking_send(Heard { told, age: now, reply: Some(reply) }).is_err() {
                return Ok(());
            }
            answer(&mut control, &setup, replied.blocking_recv().ok().flatten().as_deref());
        }
    }
}

/// A request is stalled by moving no bytes the wrong way. An answer that comes too late is nobody's: the host asks something
/// else by then, and whether the file is still one is told by the next event.
fn answer(control: &mut (impl Read + Write), setup: &Setup, reply: Option<&[u8]>) {
    let to_host = setup.request_type & TO_HOST != 0;
    let done = again(|| match reply {
        Some(bytes) if to_host => control.write(bytes).map(drop),
        None if to_host => control.read(&mut []).map(drop),
        Some(_) => control.read(&mut vec![0; usize::from(setup.length)]).map(drop),
        None => control.write(&[]).map(drop),
    });
    match done {
        Err(error) if !is_one_of(&error, &[STALLED, NOT_CONFIGURED, ASKED_ANEW]) => {
            tracing::debug!(?setup, "the simulated phone's answer is not taken: {error}");
        }
        Ok(()) | Err(_) => {}
    }
}

/// A signal breaks a call off that is to be made all the same.
fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn is_one_of(error: &io::Error, codes: &[i32]) -> bool {
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// For the kernel's word that a configuration is over, which comes a moment after the first sign of it.
fn wait_while(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while holds() && began.elapsed() < WORD_WAIT {
        std::thread::sleep(WORD_LOOK);
    }
}

/// Bulk OUT transfers, whole, until there is nobody for them, each with the age of the configuration in which it came:
/// a read that begins within one ends with it, and one that begins without waits for the next.
pub(super) fn take_out(mut endpoint: impl Read, transfers: &mpsc::Sender<(u64, Vec<u8>)>, age: &AtomicU64) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let now = age.load(Ordering::Acquire);
        let of = now + 1 - now % 2;
        match again(|| endpoint.read(&mut buffer)) {
            Ok(bytes) => {
                if transfers.blocking_send((of, buffer[..bytes].to_vec())).is_err() {
                    return;
                }
            }
            // The next read waits for the next configuration, whose age is another one.
            Err(error) if is_one_of(&error, &[NOT_CONFIGURED]) => {
                wait_while(|| age.load(Ordering::Acquire) <= of);
            }
            Err(error) => return tracing::debug!("the simulated phone's endpoint to it is gone: {error}"),
        }
    }
}

/// Bulk IN transfers; those of a configuration that is over are for nobody.
pub(super) fn put_in(
    mut endpoint: impl Write,
    mut transfers: mpsc::Receiver<(u64, Vec<u8>)>,
    age: &AtomicU64,
) {
    while let Some((of, bytes)) = transfers.blocking_recv() {
        if of != age.load(Ordering::Acquire) {
            continue;
        }
        match again(|| endpoint.write(&bytes)) {
            Ok(_) => {}
            // The next transfer is one of this configuration, too: it must not be the first of the next one.
            Err(error) if is_one_of(&error, &[NOT_CONFIGURED]) => {
                wait_while(|| age.load(Ordering::Acquire) == of);
            }
            Err(error) => return tracing::debug!("the simulated phone's endpoint from it is gone: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn descriptors_have_the_length_and_the_count_that_they_announce() {
        for (speed, endpoints, companions) in [(Speed::High, 2, 0), (Speed::Super, 2, 2)] {
            let bytes = descriptors(speed);
            let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            assert_eq!(usize::try_from(number(4)).unwrap(), bytes.len());
            let mut kinds = Vec::new();
            let mut rest = &bytes[16..];
            while let [length, kind, ..] = *rest {
                kinds.push(kind);
                rest = &rest[usize::from(length)..];
            }
            let count = |wanted: u8| kinds.iter().filter(|kind| **kind == wanted).count();
            assert_eq!((count(4), count(5), count(48)), (1, endpoints, companions));
            assert_eq!(usize::try_from(number(12)).unwrap(), kinds.len());
        }
        assert_eq!(strings().len(), 16);
    }

    #[test]
    fn events_are_told_apart_and_unknown_ones_change_nothing() {
        let event = |kind: u8| {
            let mut event = [0; EVENT_BYTES];
            event[..8].copy_from_slice(&[0xC0, 0x45, 0, 0, 0, 0, 4, 0]);
            event[8] = kind;
            told(&event)
        };
        assert_eq!(event(2), Told::Enabled);
        assert_eq!((event(1), event(3)), (Told::Disabled, Told::Disabled));
        let mode = Setup { request_type: 0xC0, request: 0x45, value: 0, index: 0, length: 4 };
        assert_eq!(event(4), Told::Asked(mode));
        for kind in [0, 5, 6, 7, 255] {
            assert_eq!(event(kind), Told::Other);
        }
    }

    #[test]
    fn no_two_configurations_have_the_same_age() {
        let mut age = 0;
        let mut seen = Vec::new();
        for told in [Told::Other, Told::Enabled, Told::Enabled, Told::Disabled, Told::Disabled, Told::Enabled]
        {
            age = age_after(age, told);
            seen.push(age);
        }
        assert_eq!(seen, [0, 1, 3, 4, 4, 5]);
    }

    /// An endpoint, or what stands for one: each call has its outcome.
    struct Script(Vec<Result<Vec<u8>, i32>>);

    const INTERRUPTED: i32 = 4;
    const BROKEN: i32 = 5;

    impl Script {
        fn next(&mut self) -> io::Result<Vec<u8>> {
            if self.0.is_empty() { Err(BROKEN) } else { self.0.remove(0) }
                .map_err(io::Error::from_raw_os_error)
        }
    }

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.next()?;
            buffer[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.next().map(|_| bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_signal_ends_no_thread() {
        let mut enabled = vec![0; EVENT_BYTES];
        enabled[8] = 2;
        let (tells, mut told) = mpsc::channel(4);
        let age = AtomicU64::new(0);
        let events = Script(vec![Err(INTERRUPTED), Ok(enabled), Err(INTERRUPTED), Err(BROKEN)]);
        assert!(hear(events, &tells, &age).is_err());
        assert_eq!(told.try_recv().map(|heard| (heard.told, heard.age)), Ok((Told::Enabled, 1)));

        let (taken, mut out) = mpsc::channel(4);
        take_out(Script(vec![Err(INTERRUPTED), Ok(vec![7]), Err(BROKEN)]), &taken, &age);
        assert_eq!(out.try_recv(), Ok((1, vec![7])));

        let (input, given) = mpsc::channel(4);
        for of in [1, 3, 1] {
            input.try_send((of, vec![7])).unwrap();
        }
        drop(input);
        let mut written =
            Script(vec![Err(INTERRUPTED), Ok(vec![]), Err(INTERRUPTED), Err(INTERRUPTED), Ok(vec![])]);
        put_in(&mut written, given, &age);
        assert!(written.0.is_empty(), "those of this configuration were written, each once");
    }

    #[test]
    fn a_read_that_its_configuration_ended_counts_what_comes_next_to_the_next_one() {
        let (taken, mut out) = mpsc::channel(4);
        let age = Arc::new(AtomicU64::new(1));
        let older = Arc::clone(&age);
        let kernel = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            older.store(2, Ordering::Release);
        });
        take_out(Script(vec![Ok(vec![1]), Err(NOT_CONFIGURED), Ok(vec![3])]), &taken, &age);
        kernel.join().unwrap();
        assert_eq!((out.try_recv(), out.try_recv()), (Ok((1, vec![1])), Ok((3, vec![3]))));
    }
}
