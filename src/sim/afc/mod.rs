//! `com.apple.afc`, the device's side: files below the media root, answered strictly in the order of the requests.
//!
//! The messages are those of [`crate::afc`]; the phone's habits (the two dots first in a listing, where the bytes of a
//! reply stand, which status for what) are those that libimobiledevice, ifuse and pymobiledevice3 rely on. This file
//! moves packets and acts out faults; `input` reads requests, `media` answers them.

mod input;
mod media;
mod output;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use input::{Incoming, Input};
pub(super) use media::Withheld;
use media::{Answer, Root, Session};
use output::Output;

use super::config::{At, FaultKind};
use super::device::Device;
use super::faults::Amount;
use crate::afc::{Request, Status};
use crate::usbmux::Stream;

/// Serves one connection on the phone's media.
pub(super) async fn serve(stream: Stream, device: Arc<Device>) -> io::Result<()> {
    serve_root(stream, device, Root::Media).await
}

/// Serves one connection on the phone's crash reports.
pub(super) async fn serve_crashes(stream: Stream, device: Arc<Device>) -> io::Result<()> {
    serve_root(stream, device, Root::Crashes).await
}

async fn serve_root(stream: Stream, device: Arc<Device>, root: Root) -> io::Result<()> {
    let traits = device.traits();
    let (reader, writer) = tokio::io::split(stream);
    let mut input = Input::new(reader, traits.afc_waiting_max);
    let mut output = Output::new(writer, traits.afc_replies_in_pieces);
    let mut session = Session::new(Arc::clone(&device), root);
    while let Some(incoming) = input.next().await? {
        let request = Request::parse(incoming.operation, &incoming.params);
        let fault = struck(&device, request.as_ref().ok());
        match fault {
            Some(FaultKind::Unplug) => return Ok(()),
            Some(FaultKind::Stall) => std::future::pending::<()>().await,
            _ => {}
        }
        let answer = match (request, fault) {
            (_, Some(FaultKind::Refuse)) => {
                skip_payload(&mut input, &incoming).await?;
                Answer::Status(Status::PermissionDenied)
            }
            (Ok(Request::FileWrite { handle }), _) => {
                match write(&device, &mut session, handle, &mut input, &incoming).await? {
                    Some(status) => Answer::Status(status),
                    None => return Ok(()),
                }
            }
            (Ok(request), _) => {
                skip_payload(&mut input, &incoming).await?;
                session.answer(&request)
            }
            (Err(status), _) => {
                skip_payload(&mut input, &incoming).await?;
                Answer::Status(status)
            }
        };
        if !send(&device, &session, &mut input, &mut output, incoming.number, answer, fault).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// What strikes as this request is taken up.
fn struck(device: &Device, request: Option<&Request>) -> Option<FaultKind> {
    device.fault(place(request?), Amount::Message)
}

/// Whether a request reads or writes, as faults see it.
fn place(request: &Request) -> At {
    match request {
        Request::ReadDir { .. }
        | Request::FileInfo { .. }
        | Request::DeviceInfo
        | Request::FileRead { .. }
        | Request::FileSeek { .. }
        | Request::FileTell { .. }
        | Request::FileOpen { mode: crate::afc::OpenMode::Read, .. }
        | Request::FileClose { .. } => At::AfcRead,
        _ => At::AfcWrite,
    }
}

async fn skip_payload(input: &mut Input, incoming: &Incoming) -> io::Result<()> {
    let mut left = incoming.payload;
    while left > 0 {
        left -= input.payload(left).await?.len() as u64;
    }
    Ok(())
}

/// Takes a write's bytes as they come: one packet may be a gigabyte. `None`: the phone has left meanwhile.
async fn write(
    device: &Device,
    session: &mut Session,
    handle: u64,
    input: &mut Input,
    incoming: &Incoming,
) -> io::Result<Option<Status>> {
    let mut left = incoming.payload;
    let mut status = Status::Success;
    while left > 0 {
        let mut piece = input.payload(left).await?;
        left -= piece.len() as u64;
        match device.fault(At::AfcWrite, Amount::Bytes(piece.len() as u64)) {
            Some(FaultKind::Unplug) => return Ok(None),
            Some(FaultKind::Stall) => std::future::pending().await,
            Some(FaultKind::Refuse | FaultKind::Short | FaultKind::LieAboutLength) => {
                status = Status::WriteError;
            }
            Some(FaultKind::Corrupt) => piece[0] ^= 0x20,
            None => {}
        }
        if status == Status::Success {
            status = session.write(handle, &piece);
        }
        input.give_back(piece);
    }
    Ok(Some(status))
}

/// Sends the answer, with `fault` acted out on it. `false`: the phone has left.
async fn send(
    device: &Device,
    session: &Session,
    input: &mut Input,
    output: &mut Output,
    number: u64,
    answer: Answer,
    fault: Option<FaultKind>,
) -> io::Result<bool> {
    match answer {
        Answer::Status(status) => output.status(input, number, status, fault).await?,
        Answer::Handle(handle) => output.handle(input, number, handle, fault).await?,
        Answer::Position(position) => output.position(input, number, position, fault).await?,
        Answer::Data(data) => output.data(input, number, &data, fault).await?,
        Answer::Read { handle, offset, length } => {
            let strikes = device.fault(At::AfcRead, Amount::Bytes(length)).or(fault);
            match strikes {
                Some(FaultKind::Unplug) => return Ok(false),
                Some(FaultKind::Stall) => std::future::pending::<()>().await,
                Some(FaultKind::Refuse) => {
                    output.status(input, number, Status::ReadError, None).await?;
                    return Ok(true);
                }
                _ => {}
            }
            let file = session.file(handle).expect("the handle was there when the request was answered");
            output.file(input, number, file, offset, length, strikes).await?;
        }
    }
    Ok(true)
}
