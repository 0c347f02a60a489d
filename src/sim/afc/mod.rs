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
use media::{Answer, Root, Session};
pub(super) use media::{Container, Withheld};
use output::Output;

use super::config::{At, FaultKind};
use super::device::Device;
use super::faults::{Amount, Faults};
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

/// Serves the rest of a connection on the files of an application.
pub(super) async fn serve_container(
    stream: Stream,
    device: Arc<Device>,
    container: Container,
) -> io::Result<()> {
    serve_root(stream, device, Root::Container(container)).await
}

async fn serve_root(stream: Stream, device: Arc<Device>, root: Root) -> io::Result<()> {
    let traits = device.traits();
    let (reader, writer) = tokio::io::split(stream);
    let mut line = Line {
        input: Input::new(reader, traits.afc_waiting_max),
        output: Output::new(writer, traits.afc_replies_in_pieces),
        faults: Faults::new(Arc::clone(&device), root.service()),
    };
    let mut session = Session::new(device, root);
    while let Some(incoming) = line.input.next().await? {
        let request = Request::parse(incoming.operation, &incoming.params);
        let fault = line.faults.strike(place(request.as_ref().ok()), &[Amount::Message]);
        match fault {
            Some(FaultKind::Unplug) => return Ok(()),
            Some(FaultKind::Stall) => std::future::pending::<()>().await,
            _ => {}
        }
        let answer = match (request, fault) {
            (_, Some(FaultKind::Refuse)) => {
                skip_payload(&mut line.input, &incoming).await?;
                Answer::Status(Status::PermissionDenied)
            }
            (Ok(Request::FileWrite { handle }), _) => {
                match line.write(&mut session, handle, &incoming).await? {
                    Some(status) => Answer::Status(status),
                    None => return Ok(()),
                }
            }
            (Ok(request), _) => {
                skip_payload(&mut line.input, &incoming).await?;
                session.answer(&request)
            }
            (Err(status), _) => {
                skip_payload(&mut line.input, &incoming).await?;
                Answer::Status(status)
            }
        };
        if !line.send(&session, incoming.number, answer, fault).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether a request reads or writes, as faults see it; what is not understood changes nothing.
fn place(request: Option<&Request>) -> At {
    match request {
        None
        | Some(
            Request::ReadDir { .. }
            | Request::FileInfo { .. }
            | Request::DeviceInfo
            | Request::FileRead { .. }
            | Request::FileSeek { .. }
            | Request::FileTell { .. }
            | Request::FileOpen { mode: crate::afc::OpenMode::Read, .. }
            | Request::FileClose { .. },
        ) => At::AfcRead,
        _ => At::AfcWrite,
    }
}

async fn skip_payload(input: &mut Input, incoming: &Incoming) -> io::Result<()> {
    let mut left = incoming.payload;
    while left > 0 {
        let piece = input.payload(left).await?;
        left -= piece.len() as u64;
        input.give_back(piece);
    }
    Ok(())
}

/// Both ways of a connection, and what may strike it.
struct Line {
    input: Input,
    output: Output,
    faults: Faults,
}

impl Line {
    /// Takes a write's bytes as they come: one packet may be a gigabyte. `None`: the phone has left meanwhile.
    async fn write(
        &mut self,
        session: &mut Session,
        handle: u64,
        incoming: &Incoming,
    ) -> io::Result<Option<Status>> {
        let mut left = incoming.payload;
        let mut status = Status::Success;
        while left > 0 {
            let mut piece = self.input.payload(left).await?;
            left -= piece.len() as u64;
            match self.faults.strike(At::AfcWrite, &[Amount::Bytes(piece.len() as u64)]) {
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
            self.input.give_back(piece);
        }
        Ok(Some(status))
    }

    /// Sends the answer, with a fault acted out on it. `false`: the connection is over.
    async fn send(
        &mut self,
        session: &Session,
        number: u64,
        answer: Answer,
        fault: Option<FaultKind>,
    ) -> io::Result<bool> {
        let on_bytes = match &answer {
            Answer::Data(data) => self.faults.strike(At::AfcRead, &[Amount::Bytes(data.len() as u64)]),
            Answer::Read { length, .. } => self.faults.strike(At::AfcRead, &[Amount::Bytes(*length)]),
            _ => None,
        };
        let answer = match on_bytes {
            Some(FaultKind::Unplug) => return Ok(false),
            Some(FaultKind::Stall) => std::future::pending().await,
            Some(FaultKind::Refuse) => Answer::Status(Status::ReadError),
            _ => answer,
        };
        let fault = on_bytes.or(fault);
        let (input, output) = (&mut self.input, &mut self.output);
        match answer {
            Answer::Status(status) => output.status(input, number, status, fault).await,
            Answer::Handle(handle) => output.handle(input, number, handle, fault).await,
            Answer::Position(position) => output.position(input, number, position, fault).await,
            Answer::Data(data) => output.data(input, number, &data, fault).await.map(|()| true),
            Answer::Read { handle, offset, length } => {
                let file = session.file(handle).expect("the handle was there when the request was answered");
                output.file(input, number, file, offset, length, fault).await.map(|()| true)
            }
        }
    }
}
