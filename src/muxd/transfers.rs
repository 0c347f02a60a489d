//! The bulk transfers of one phone, over libusb's asynchronous interface: several reads are always under way, in
//! order, and writes go out as they come. Described by libusb's `core.c` ("Asynchronous device I/O"). Knows nothing of
//! what is carried.
//!
//! The only file with unsafe code. What makes it sound: a transfer is at any time either *ours* (a [`Transfer`], which
//! frees it) or *libusb's* (a [`Flight`] behind its `user_data`, made by [`Shared::submit`] and taken back by the
//! callback, exactly once). A flight owns its buffer and a share of everything that the callback looks at. libusb's
//! events are handled under one lock, whoever does it, so that the callback is called by nobody else. The device is
//! closed under that lock, after every flight has come back; one that does not come back is freed after that, when
//! nobody knows of it any more.
//!
//! A task waits for what libusb waits for, the device node, beside everything else that its runtime waits for: a thread
//! of libusb's own would have to wake another one for each transfer, which costs more than the transfer.

#![expect(
    unsafe_code,
    reason = "rusb has no asynchronous transfers: libusb's own are called here and nowhere else"
)]

use std::collections::{HashMap, VecDeque};
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use rusb::ffi::constants::LIBUSB_TRANSFER_COMPLETED;
use rusb::ffi::{self, libusb_transfer};
use rusb::{Context, DeviceHandle, UsbContext};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::line::{Bulk, WRITES_MAX};
use crate::usbmux::packet::READ_BYTES;

/// Reads under way at the same time. usbmuxd has three; with one the phone waits for us after each 16 KiB.
const READS_MAX: usize = 6;
/// Finished reads that wait for whoever works the phone; then no new ones are begun, and the phone waits.
const FINISHED_MAX: usize = 16;
/// Reads shorter than this are copied, so that their large buffer can be used again.
const COPIED_BYTES_MAX: usize = 2 << 10;
/// Transfers that were taken back return within this, or never: the kernel forgets those of an interface that goes away
/// because somebody sets another configuration.
const DRAIN_WAIT: Duration = Duration::from_secs(1);
/// The task that carries the transfers ends within this when it is told to, or its runtime is gone.
const CARRIER_WAIT: Duration = Duration::from_secs(1);

/// libusb's own news are looked at this often, however silent the phone is.
const LOOK: Duration = Duration::from_secs(30);

/// Where the transfers go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Endpoints {
    /// Address of the bulk OUT endpoint.
    pub(super) out: u8,
    /// Address of the bulk IN endpoint.
    pub(super) input: u8,
    /// `wMaxPacketSize` of the OUT endpoint.
    pub(super) packet_bytes: u16,
}

/// The transfers of a phone. Dropping it takes them all back, closes the device and waits for that: not for the
/// runtime's own threads.
#[derive(Debug)]
pub(super) struct Cable {
    shared: Arc<Shared>,
    /// Says nothing; closed when the carrying task is over.
    carried: Mutex<std_mpsc::Receiver<()>>,
}

/// What the carrying task, the callback and whoever writes have in common.
#[derive(Debug)]
struct Shared {
    context: Context,
    endpoints: Endpoints,
    /// Held by whoever handles libusb's events.
    handling: Mutex<()>,
    stop: CancellationToken,
    state: Mutex<State>,
    /// Came back and were not looked at. Apart from `state`: the callback must never wait for a submission.
    returned: Mutex<VecDeque<Returned>>,
    /// Places for writes; closed at the end.
    places: Semaphore,
}

#[derive(Debug)]
struct State {
    /// There until the end.
    handle: Option<DeviceHandle<Context>>,
    /// With libusb, or returned and not looked at.
    flying: HashMap<usize, Raw>,
    /// Nothing is submitted any more.
    stopping: bool,
}

/// A transfer of libusb's making.
#[derive(Debug, Clone, Copy)]
struct Raw(NonNull<libusb_transfer>);

// SAFETY: libusb's transfers belong to no thread; who may touch one at which time is told by `Transfer` and `Flight`.
unsafe impl Send for Raw {}

/// A transfer that libusb does not have.
#[derive(Debug)]
struct Transfer {
    raw: Raw,
    buffer: Vec<u8>,
}

impl Transfer {
    fn new(buffer: Vec<u8>) -> Option<Self> {
        // SAFETY: no preconditions; null says that there is no memory.
        let raw = NonNull::new(unsafe { ffi::libusb_alloc_transfer(0) })?;
        Some(Self { raw: Raw(raw), buffer })
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        // SAFETY: made by libusb_alloc_transfer, freed only here, and not under way: then a `Flight` has it.
        unsafe { ffi::libusb_free_transfer(self.raw.0.as_ptr()) };
    }
}

/// A transfer that libusb has.
struct Flight {
    transfer: Transfer,
    shared: Arc<Shared>,
}

/// A transfer that came back.
#[derive(Debug)]
struct Returned {
    transfer: Transfer,
    is_read: bool,
    status: c_int,
    bytes: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Called by libusb while its events are handled, once for each submission that succeeded.
extern "system" fn came_back(raw: *mut libusb_transfer) {
    // SAFETY: libusb hands us the transfer that we submitted; it is not under way any more.
    let (user_data, status, actual) = unsafe { ((*raw).user_data, (*raw).status, (*raw).actual_length) };
    // SAFETY: `submit` put a box there, and a transfer comes back once for each submission.
    let Flight { transfer, shared } = *unsafe { Box::from_raw(user_data.cast::<Flight>()) };
    // SAFETY: as above.
    let is_read = unsafe { (*raw).endpoint } == shared.endpoints.input;
    let bytes = usize::try_from(actual).unwrap_or(0).min(transfer.buffer.len());
    lock(&shared.returned).push_back(Returned { transfer, is_read, status, bytes });
}

impl Shared {
    /// Gives a transfer to libusb. False: there is no device any more, or it takes none.
    fn submit(self: &Arc<Self>, transfer: Transfer, endpoint: u8) -> bool {
        let mut state = lock(&self.state);
        let Some(handle) = state.handle.as_ref().filter(|_| !state.stopping) else { return false };
        let raw = transfer.raw;
        let Ok(length) = c_int::try_from(transfer.buffer.len()) else { return false };
        let flight = Box::into_raw(Box::new(Flight { transfer, shared: Arc::clone(self) }));
        // SAFETY: `raw` is a transfer that is not under way and `flight` a box that only we know. The buffer lies on the
        // heap and lives as long as the flight. The handle is open: it is taken away under the lock that we hold.
        let result = unsafe {
            let buffer = (*flight).transfer.buffer.as_mut_ptr();
            let user_data = flight.cast::<c_void>();
            ffi::libusb_fill_bulk_transfer(
                raw.0.as_ptr(),
                handle.as_raw(),
                endpoint,
                buffer,
                length,
                came_back,
                user_data,
                0,
            );
            ffi::libusb_submit_transfer(raw.0.as_ptr())
        };
        if result != 0 {
            tracing::debug!(result, endpoint, "a transfer is not taken");
            // SAFETY: libusb did not take it, and will not call back: the box is ours again.
            drop(unsafe { Box::from_raw(flight) });
            return false;
        }
        state.flying.insert(raw.0.as_ptr().addr(), raw);
        true
    }

    /// Nothing more is submitted; whoever drops the cable takes everything back.
    fn stop(&self) {
        lock(&self.state).stopping = true;
        self.places.close();
        self.stop.cancel();
    }

    fn is_stopping(&self) -> bool {
        lock(&self.state).stopping
    }

    /// The next transfer that came back; it counts as ours from here on.
    fn next_returned(&self) -> Option<Returned> {
        // In one step: it is either in both or in neither, for whoever frees what never came back.
        let mut state = lock(&self.state);
        let returned = lock(&self.returned).pop_front()?;
        state.flying.remove(&returned.transfer.raw.0.as_ptr().addr());
        Some(returned)
    }

    /// Has libusb look at what the kernel has finished, without waiting. False: it cannot.
    fn handle_events(&self) -> bool {
        let _handling = lock(&self.handling);
        if self.is_stopping() {
            return false;
        }
        match self.context.handle_events(Some(Duration::ZERO)) {
            Ok(()) | Err(rusb::Error::Interrupted) => true,
            Err(error) => {
                tracing::debug!("libusb handles no events: {error}");
                false
            }
        }
    }

    /// Sees what came back, and gives what was read. False: the phone is gone, or nobody reads it.
    async fn see(self: &Arc<Self>, returned: Returned, reads: &mpsc::Sender<Vec<u8>>) -> bool {
        let Returned { mut transfer, is_read, status, bytes } = returned;
        if status != LIBUSB_TRANSFER_COMPLETED {
            tracing::debug!(status, is_read, "a transfer failed: the phone is given up");
            return false;
        }
        if !is_read {
            self.places.add_permits(1);
            return bytes == transfer.buffer.len();
        }
        let read = if bytes <= COPIED_BYTES_MAX {
            transfer.buffer[..bytes].to_vec()
        } else {
            let mut full = std::mem::replace(&mut transfer.buffer, vec![0; READ_BYTES]);
            full.truncate(bytes);
            full
        };
        reads.send(read).await.is_ok() && self.submit(transfer, self.endpoints.input)
    }

    /// Carries until the phone is gone or somebody says stop. What the phone had said until then is passed on.
    async fn carry(self: &Arc<Self>, node: &AsyncFd<OwnedFd>, reads: &mpsc::Sender<Vec<u8>>) {
        let mut look = tokio::time::interval(LOOK);
        loop {
            let finished = tokio::select! {
                () = self.stop.cancelled() => false,
                finished = finished(node) => finished,
                // libusb keeps each device that comes or goes anywhere until somebody looks.
                _ = look.tick() => true,
            };
            let handled = finished && self.handle_events();
            let mut goes_on = handled;
            while let Some(returned) = self.next_returned() {
                goes_on &= self.see(returned, reads).await;
            }
            if !goes_on {
                return;
            }
        }
    }

    /// Takes everything back and closes the device.
    fn take_back(self: &Arc<Self>) {
        let _handling = lock(&self.handling);
        for raw in lock(&self.state).flying.values() {
            // SAFETY: what is in `flying` is not freed: it is taken out of there first, under the lock that is held here.
            // One that has come back already is not found by libusb, which does no harm.
            unsafe { ffi::libusb_cancel_transfer(raw.0.as_ptr()) };
        }
        let began = Instant::now();
        while !lock(&self.state).flying.is_empty() && began.elapsed() < DRAIN_WAIT {
            if let Err(error) = self.context.handle_events(Some(Duration::from_millis(50)))
                && error != rusb::Error::Interrupted
            {
                break;
            }
            while let Some(returned) = self.next_returned() {
                drop(returned);
            }
        }
        // Closing releases the interface, and ends what the kernel may still have.
        let handle = lock(&self.state).handle.take();
        drop(handle);
        self.reclaim();
    }

    /// Frees what never came back, after the device was closed.
    fn reclaim(&self) {
        while let Some(returned) = self.next_returned() {
            drop(returned);
        }
        let lost = std::mem::take(&mut lock(&self.state).flying);
        if !lost.is_empty() {
            tracing::debug!("{} transfers did not come back", lost.len());
        }
        for raw in lost.values() {
            // SAFETY: with the device libusb has struck out its transfers and calls back for none of them, and the
            // kernel has ended all that were under way: nobody writes to their buffers. What had come back was taken out
            // of `flying` above, so the box is still where `submit` put it, and is taken from there once.
            drop(unsafe { Box::from_raw((*raw.0.as_ptr()).user_data.cast::<Flight>()) });
        }
    }
}

/// Waits until the kernel has finished a transfer. False: it cannot be waited for.
async fn finished(node: &AsyncFd<OwnedFd>) -> bool {
    loop {
        let Ok(mut ready) = node.writable().await else { return false };
        if is_finished(&ready) {
            return true;
        }
        ready.clear_ready();
    }
}

/// Whether it really is so: readiness is told once, and libusb may have seen to it since.
fn is_finished(ready: &AsyncFdReadyGuard<'_, OwnedFd>) -> bool {
    let mut node = [PollFd::new(ready.get_inner(), PollFlags::OUT)];
    // What cannot be asked is tried.
    poll(&mut node, Some(&Timespec::default())).is_ok_and(|count| count > 0)
}

/// The device node that libusb waits for, as a descriptor of our own: it must be out of the runtime's hands before
/// libusb closes its one, whose number may be another's then.
fn node(context: &Context) -> io::Result<OwnedFd> {
    let missing = || io::Error::other("libusb does not tell what it waits for");
    // SAFETY: the context is alive; null says that the list is not to be had.
    let list =
        NonNull::new(unsafe { ffi::libusb_get_pollfds(context.as_raw()) }.cast_mut()).ok_or_else(missing)?;
    let mut node = None;
    let mut at = list.as_ptr();
    // SAFETY: an array of pointers that ends with null.
    while let Some(entry) = NonNull::new(unsafe { *at }) {
        // SAFETY: it points to an entry that lives as long as the list.
        let entry = unsafe { entry.as_ref() };
        // libusb's own bells are waited for with POLLIN; a device node of the kernel's is ready with POLLOUT.
        if PollFlags::from_bits_retain(entry.events.cast_unsigned()).contains(PollFlags::OUT) {
            node = Some(entry.fd);
        }
        // SAFETY: this entry was not the last.
        at = unsafe { at.add(1) };
    }
    // SAFETY: the list is libusb's, made above, and used no more.
    unsafe { ffi::libusb_free_pollfds(list.as_ptr().cast()) };
    // SAFETY: the device is open, and stays so while we look.
    let node = unsafe { BorrowedFd::borrow_raw(node.ok_or_else(missing)?) };
    node.try_clone_to_owned()
}

/// Has the runtime wait for a descriptor. Within one.
///
/// # Errors
/// When it cannot be waited for.
pub(super) fn registered(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is nobody else's, and stays the same until it is dropped with the `AsyncFd`.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    registered.map_err(|error| error.into_parts().1)
}

/// What the carrying task waits for. The node goes first, whenever the task ends or its runtime does.
struct Watched {
    node: AsyncFd<OwnedFd>,
    /// Dropped, it tells that the node is gone.
    _carrying: std_mpsc::Sender<()>,
}

/// Takes what is to be written from the channel.
async fn write_out(shared: Arc<Shared>, mut writes: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = writes.recv().await {
        let Ok(place) = shared.places.acquire().await else { return };
        place.forget();
        let submitted =
            Transfer::new(bytes).is_some_and(|transfer| shared.submit(transfer, shared.endpoints.out));
        if !submitted {
            break;
        }
    }
    shared.stop();
}

impl Cable {
    /// Begins to carry transfers over a device whose interface is claimed. Within a runtime, not on its own threads.
    ///
    /// # Errors
    /// When the device node cannot be waited for, or the device takes no transfers.
    pub(super) fn begin(handle: DeviceHandle<Context>, endpoints: Endpoints) -> io::Result<(Self, Bulk)> {
        let context = handle.context().clone();
        let node = registered(node(&context)?, Interest::WRITABLE)?;
        let state = State { handle: Some(handle), flying: HashMap::new(), stopping: false };
        let shared = Arc::new(Shared {
            context,
            endpoints,
            handling: Mutex::default(),
            stop: CancellationToken::new(),
            state: Mutex::new(state),
            returned: Mutex::default(),
            places: Semaphore::new(WRITES_MAX),
        });
        let (finished, reads) = mpsc::channel(FINISHED_MAX);
        let (writes, written) = mpsc::channel(WRITES_MAX);
        let (carrying, carried) = std_mpsc::channel();
        let cable = Self { shared: Arc::clone(&shared), carried: Mutex::new(carried) };
        let carrier = Arc::clone(&shared);
        let watched = Watched { node, _carrying: carrying };
        tokio::spawn(async move {
            carrier.carry(&watched.node, &finished).await;
            // Whoever reads may take what has come; there will be no more.
            carrier.stop();
        });
        for _ in 0..READS_MAX {
            let read = Transfer::new(vec![0; READ_BYTES]);
            if !read.is_some_and(|read| shared.submit(read, endpoints.input)) {
                return Err(io::Error::other("the device takes no transfers"));
            }
        }
        tokio::spawn(write_out(shared, written));
        Ok((cable, Bulk { reads, writes, packet_bytes: endpoints.packet_bytes }))
    }
}

/// Closes the device.
impl Drop for Cable {
    fn drop(&mut self) {
        self.shared.stop();
        let carried = self.carried.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = carried.recv_timeout(CARRIER_WAIT);
        self.shared.take_back();
    }
}
