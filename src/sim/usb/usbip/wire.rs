//! The words of USB/IP, the device's side: what a host asks before it imports a phone, and transfers afterwards. All
//! numbers are big endian. Described by the Linux kernel's `usbip_protocol.rst`. Every length has a bound.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::sim::usb::Setup;

const VERSION: u16 = 0x0111;
const REQUEST_LIST: u16 = 0x8005;
const REPLY_LIST: u16 = 0x0005;
const REQUEST_IMPORT: u16 = 0x8003;
const REPLY_IMPORT: u16 = 0x0003;
const SUBMIT: u32 = 1;
const UNLINK: u32 = 2;
const REPLY_SUBMIT: u32 = 3;
const REPLY_UNLINK: u32 = 4;
const PATH_BYTES: usize = 256;
const BUS_ID_BYTES: usize = 32;
const COMMAND_BYTES: usize = 48;
/// Linux lets nobody submit more than this at once over usbfs; nor does this.
const TRANSFER_BYTES_MAX: u32 = 1 << 20;
/// The flag of a transfer that an empty packet is to follow where it fills its last one (`URB_ZERO_PACKET`).
const ZERO_PACKET: u32 = 0x40;

/// What a host asks before it has a phone.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    List,
    /// The phone with this bus id.
    Import(String),
}

/// What a host says of a phone that it has.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Submit(Submit),
    /// Forget the transfer of that number.
    Unlink {
        number: u32,
        unlinked: u32,
    },
}

/// A transfer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Submit {
    pub(super) number: u32,
    /// Without the bit of the direction.
    pub(super) endpoint: u8,
    pub(super) to_phone: Option<Vec<u8>>,
    /// Bytes that the host takes at most, or has sent.
    pub(super) bytes: usize,
    pub(super) ends_with_empty: bool,
    pub(super) setup: Setup,
}

/// What a list says of a phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exported {
    pub(super) bus_id: String,
    pub(super) bus: u32,
    pub(super) address: u32,
    /// 3: high, 5: super.
    pub(super) speed: u32,
    /// The device descriptor.
    pub(super) descriptor: [u8; 18],
    /// Class, subclass and protocol of the first configuration's interfaces.
    pub(super) interfaces: Vec<[u8; 3]>,
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Request {
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let (version, code) = (stream.read_u16().await?, stream.read_u16().await?);
        stream.read_u32().await?;
        if version != VERSION {
            return Err(malformed("another version of USB/IP"));
        }
        match code {
            REQUEST_LIST => Ok(Self::List),
            REQUEST_IMPORT => {
                let mut id = [0; BUS_ID_BYTES];
                stream.read_exact(&mut id).await?;
                let end = id.iter().position(|byte| *byte == 0).unwrap_or(BUS_ID_BYTES);
                Ok(Self::Import(String::from_utf8_lossy(&id[..end]).into_owned()))
            }
            _ => Err(malformed("an unknown request")),
        }
    }
}

impl Command {
    /// Not safe to cancel.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut head = [0; COMMAND_BYTES];
        stream.read_exact(&mut head).await?;
        let number = word(&head, 4);
        match word(&head, 0) {
            UNLINK => Ok(Self::Unlink { number, unlinked: word(&head, 20) }),
            SUBMIT => {
                let (to_host, endpoint) = (word(&head, 12) == 1, word(&head, 16));
                let endpoint = u8::try_from(endpoint).ok().filter(|endpoint| *endpoint < 16);
                let endpoint = endpoint.ok_or_else(|| malformed("an endpoint beyond 15"))?;
                let bytes = word(&head, 24);
                if bytes > TRANSFER_BYTES_MAX {
                    return Err(malformed("a transfer of more than a mebibyte"));
                }
                let bytes = usize::try_from(bytes).expect("bounded above");
                let mut to_phone = None;
                if !to_host {
                    let mut data = vec![0; bytes];
                    stream.read_exact(&mut data).await?;
                    to_phone = Some(data);
                }
                skip_packets(stream, word(&head, 32)).await?;
                let setup = Setup::parse(head[40..48].try_into().expect("eight bytes"));
                let ends_with_empty = word(&head, 20) & ZERO_PACKET != 0;
                Ok(Self::Submit(Submit { number, endpoint, to_phone, bytes, ends_with_empty, setup }))
            }
            _ => Err(malformed("an unknown command")),
        }
    }
}

/// Isochronous transfers have a description of each packet after them; those of others say 0, or that there are none.
async fn skip_packets(stream: &mut (impl AsyncRead + Unpin), packets: u32) -> io::Result<()> {
    const PACKETS_MAX: u32 = 1024;
    const DESCRIPTION_BYTES: u64 = 16;
    match packets {
        0 | u32::MAX => Ok(()),
        1..=PACKETS_MAX => {
            let mut descriptions = Vec::new();
            let bytes = u64::from(packets) * DESCRIPTION_BYTES;
            stream.take(bytes).read_to_end(&mut descriptions).await.map(|_| ())
        }
        _ => Err(malformed("a transfer of more than a thousand packets")),
    }
}

impl Exported {
    /// The record of 312 bytes that lists and imports have in common.
    fn record(&self) -> Vec<u8> {
        let mut bytes = format!("/sys/devices/simulated/usb{}/{}", self.bus, self.bus_id).into_bytes();
        bytes.resize(PATH_BYTES, 0);
        bytes.extend(self.bus_id.bytes().take(BUS_ID_BYTES - 1));
        bytes.resize(PATH_BYTES + BUS_ID_BYTES, 0);
        bytes.extend([self.bus, self.address, self.speed].map(u32::to_be_bytes).concat());
        let descriptor = &self.descriptor;
        // Vendor, product and release are little endian in the descriptor.
        for at in [8, 10, 12] {
            bytes.extend([descriptor[at + 1], descriptor[at]]);
        }
        bytes.extend(&descriptor[4..7]);
        let interfaces = u8::try_from(self.interfaces.len()).unwrap_or(u8::MAX);
        // The first configuration, of so many.
        bytes.extend([1, descriptor[17], interfaces]);
        bytes
    }
}

fn reply(code: u16, status: u32) -> Vec<u8> {
    [&VERSION.to_be_bytes()[..], &code.to_be_bytes(), &status.to_be_bytes()].concat()
}

pub(super) fn list(phones: &[Exported]) -> Vec<u8> {
    let mut bytes = reply(REPLY_LIST, 0);
    bytes.extend(u32::try_from(phones.len()).unwrap_or(u32::MAX).to_be_bytes());
    for phone in phones {
        bytes.extend(phone.record());
        bytes.extend(phone.interfaces.iter().flat_map(|[class, sub, protocol]| [*class, *sub, *protocol, 0]));
    }
    bytes
}

/// `None`: there is no such phone, or somebody has it.
pub(super) fn imported(phone: Option<&Exported>) -> Vec<u8> {
    match phone {
        Some(phone) => [reply(REPLY_IMPORT, 0), phone.record()].concat(),
        None => reply(REPLY_IMPORT, 1),
    }
}

/// The end of a transfer: a negative error number of Linux's, or 0. `data`: what the phone has sent.
pub(super) fn submitted(number: u32, status: i32, actual: usize, data: &[u8]) -> Vec<u8> {
    let actual = u32::try_from(actual).expect("no longer than what was submitted");
    let mut bytes = head(REPLY_SUBMIT, number);
    bytes.extend(status.to_be_bytes());
    bytes.extend(actual.to_be_bytes());
    bytes.resize(COMMAND_BYTES, 0);
    bytes.extend(data);
    bytes
}

pub(super) fn unlinked(number: u32, status: i32) -> Vec<u8> {
    let mut bytes = head(REPLY_UNLINK, number);
    bytes.extend(status.to_be_bytes());
    bytes.resize(COMMAND_BYTES, 0);
    bytes
}

/// Device, direction and endpoint are 0 in what a phone says.
fn head(code: u32, number: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(COMMAND_BYTES);
    bytes.extend(code.to_be_bytes());
    bytes.extend(number.to_be_bytes());
    bytes.resize(20, 0);
    bytes
}
