//! The host's side of a changed backup password: one request, one answer, and in between a person at the phone.

use super::{Error, Host, unexpected};
use crate::mobilebackup2::Secret;
use crate::mobilebackup2::codes;
use crate::mobilebackup2::host::talk::Talk;
use crate::mobilebackup2::message::DeviceMessage;
use crate::mobilebackup2::request::{HostMessage, Request, Status};
use crate::progress::CancellationToken;
use crate::usbmux::Udid;

/// What the device answers to a request that moves no files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Done, it says.
    Done,
    /// It refuses.
    DeviceError {
        /// Its code ([`codes::meaning`]).
        code: i64,
        /// What it says about it: text from the phone.
        description: String,
    },
    /// It ended the talk without a result.
    Disconnected {
        /// What it says about it: text from the phone.
        text: String,
    },
}

impl Host {
    /// Has the device set (`new` alone), change (both) or remove (`old` alone) the password of its backups. The passcode may
    /// be asked for on the phone meanwhile.
    ///
    /// # Errors
    /// [`Error`]: silence, a broken stream, or a message that moves files. Whether the password was changed is then not
    /// known.
    ///
    /// # Panics
    /// If a password is not text: the caller has looked.
    pub async fn change_password(
        self,
        udid: &Udid,
        old: Option<&Secret>,
        new: Option<&Secret>,
        cancel: &CancellationToken,
    ) -> Result<Reply, Error> {
        let mut stream = self.stream;
        let mut talk = Talk::new(&mut stream, self.patience, cancel);
        let target = udid.as_str().to_owned();
        let request = Request::ChangePassword { target, old: old.cloned(), new: new.cloned() };
        talk.send(&HostMessage::Request(request)).await?;
        let mut limit = self.patience.first_message;
        let answer = loop {
            match talk.message(limit, "its answer to the new password").await? {
                DeviceMessage::Response(response) if response.code == 0 => break Reply::Done,
                DeviceMessage::Response(response) => {
                    let description = response.description.unwrap_or_default();
                    break Reply::DeviceError { code: response.code, description };
                }
                DeviceMessage::Disconnect { text } => return Ok(Reply::Disconnected { text }),
                files @ (DeviceMessage::UploadFiles { .. } | DeviceMessage::DownloadFiles { .. }) => {
                    return Err(unexpected(&files, "its answer to the new password"));
                }
                // Nothing of this computer's disk has to do with a password.
                _ => {
                    let status = Status::refused(codes::GENERIC, "Operation not supported");
                    talk.send(&HostMessage::Status(status)).await?;
                }
            }
            limit = self.patience.message;
        };
        talk.leave().await;
        Ok(answer)
    }
}
