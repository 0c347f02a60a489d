//! A host of another make, which takes a backup from the simulated phone, and is as easily lost as idevicebackup2 and
//! pymobiledevice3 are. What a fault breaks is an error; what breaks real hosts is a failed test.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use idevice_fix::sim::Service;
use plist::{Dictionary, Value};

use crate::wire::Simulator;

pub(crate) const EMPTY: &str = "___EmptyParameterString___";
/// libimobiledevice's own: in the middle of a message silence may not be longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A host's side of a connection, with all that it keeps in memory.
pub(crate) struct Host {
    pub(crate) stream: UnixStream,
    /// Folders and files below the backup's root.
    pub(crate) folders: BTreeSet<String>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// What the phone asked, in its order.
    pub(crate) asked: Vec<String>,
    /// Each file that was sent, by its path on the phone, and the code that it ended with.
    pub(crate) ends: Vec<(String, u8)>,
}

pub(crate) fn array(items: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(items.into_iter().collect())
}

pub(crate) fn dictionary<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Dictionary {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_string().unwrap_or_else(|| panic!("{value:?} is no text"))
}

impl Host {
    pub(crate) fn connect(simulator: &Simulator) -> Self {
        let stream = simulator.service(Service::MobileBackup2);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, folders: BTreeSet::new(), files: BTreeMap::new(), asked: Vec::new(), ends: Vec::new() }
    }

    /// Hosts differ in this: libimobiledevice sends the binary form, pymobiledevice3 XML.
    pub(crate) fn send(&mut self, message: &Value, xml: bool) -> io::Result<()> {
        let mut body = Vec::new();
        if xml {
            message.to_writer_xml(&mut body).unwrap();
        } else {
            message.to_writer_binary(&mut body).unwrap();
        }
        self.stream.write_all(&(body.len() as u32).to_be_bytes())?;
        self.stream.write_all(&body)
    }

    pub(crate) fn number(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.stream.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    pub(crate) fn bytes(&mut self, count: u32) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = Read::by_ref(&mut self.stream).take(count.into()).read_to_end(&mut bytes)?;
        if read < count as usize { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
    }

    pub(crate) fn receive(&mut self) -> io::Result<Vec<Value>> {
        let length = self.number()?;
        if length >= 1 << 24 {
            return Err(io::Error::other(format!("a message of {length} bytes")));
        }
        let body = self.bytes(length)?;
        // Phones send the binary form; only a fault breaks it.
        if !body.starts_with(b"bplist00") {
            return Err(io::Error::other("no binary property list"));
        }
        let message = Value::from_reader(Cursor::new(body)).map_err(io::Error::other)?;
        let message = message.into_array().expect("messages are arrays");
        let name = text(&message[0]);
        assert!(name.starts_with("DL") && name.len() >= 9, "libimobiledevice takes no other name: {name}");
        Ok(message)
    }

    pub(crate) fn greet(&mut self, version: u64, xml: bool) -> io::Result<()> {
        let hello = self.receive()?;
        assert_eq!(text(&hello[0]), "DLMessageVersionExchange");
        assert_eq!(hello[1..], [Value::from(version), Value::from(0)]);
        self.send(
            &array(["DLMessageVersionExchange".into(), "DLVersionsOk".into(), Value::from(version)]),
            xml,
        )?;
        assert_eq!(self.receive()?, ["DLMessageDeviceReady".into()]);
        Ok(())
    }

    pub(crate) fn process(&mut self, entries: Dictionary, xml: bool) -> io::Result<()> {
        self.send(&array(["DLMessageProcessMessage".into(), Value::Dictionary(entries)]), xml)
    }

    pub(crate) fn hello(&mut self, versions: &[f64], xml: bool) -> io::Result<Dictionary> {
        let versions = array(versions.iter().map(|version| Value::Real(*version)));
        let hello = dictionary([("MessageName", "Hello".into()), ("SupportedProtocolVersions", versions)]);
        self.process(hello, xml)?;
        self.response()
    }

    pub(crate) fn response(&mut self) -> io::Result<Dictionary> {
        let message = self.receive()?;
        assert_eq!(
            (text(&message[0]), message.len()),
            ("DLMessageProcessMessage", 2),
            "libimobiledevice wants two"
        );
        let response = message[1].as_dictionary().unwrap().clone();
        assert_eq!(response["MessageName"].as_string(), Some("Response"));
        assert!(
            response["ErrorCode"].as_signed_integer().is_some(),
            "pymobiledevice3 looks for it: {response:?}"
        );
        Ok(response)
    }

    pub(crate) fn status(&mut self, code: i64, content: Value, xml: bool) -> io::Result<()> {
        let text = if code == 0 { EMPTY } else { "it went wrong" };
        // Negative numbers travel as libimobiledevice and pymobiledevice3 write them: without a sign.
        let code = if code < 0 { Value::from(i64::cast_unsigned(code)) } else { Value::from(code) };
        self.send(&array(["DLMessageStatusResponse".into(), code, text.into(), content]), xml)
    }

    pub(crate) fn request_backup(&mut self, udid: &str, full: bool, xml: bool) -> io::Result<()> {
        let mut request = dictionary([
            ("MessageName", "Backup".into()),
            ("TargetIdentifier", udid.into()),
            ("SourceIdentifier", udid.into()),
        ]);
        if full {
            let options = dictionary([("ForceFullBackup", true.into())]);
            request.insert("Options".to_owned(), Value::Dictionary(options));
        }
        self.process(request, xml)
    }

    /// Serves the phone until it has said how it went.
    pub(crate) fn serve(&mut self, xml: bool) -> io::Result<Dictionary> {
        loop {
            let message = self.receive()?;
            let name = text(&message[0]).to_owned();
            self.asked.push(name.clone());
            match name.as_str() {
                "DLMessageProcessMessage" => {
                    assert_eq!(message.len(), 2);
                    return Ok(message[1].as_dictionary().unwrap().clone());
                }
                "DLMessageGetFreeDiskSpace" => self.status(0, Value::from(50_000_000_000_u64), xml)?,
                "DLMessageCreateDirectory" => {
                    self.make_folder(text(&message[1]));
                    self.status(0, EMPTY.into(), xml)?;
                }
                "DLContentsOfDirectory" => {
                    let listing = self.list(text(&message[1]));
                    self.status(0, Value::Dictionary(listing), xml)?;
                }
                "DLMessageDownloadFiles" => self.download(&message, xml)?,
                "DLMessageUploadFiles" => self.upload(&message, xml)?,
                "DLMessageMoveItems" => self.move_items(&message, xml)?,
                "DLMessageRemoveItems" => self.remove_items(&message, xml)?,
                other => panic!("pymobiledevice3 knows no {other}"),
            }
        }
    }

    pub(crate) fn inside(path: &str) -> String {
        let path = path.trim_start_matches('/');
        assert!(!path.split('/').any(|part| part == ".."), "{path}");
        path.to_owned()
    }

    pub(crate) fn make_folder(&mut self, path: &str) {
        self.folders.insert(Self::inside(path));
    }

    /// Neither host makes folders: the phone must have asked for them.
    pub(crate) fn expect_parent(&self, path: &str) {
        let parent = Path::new(path).parent().unwrap().to_str().unwrap();
        assert!(self.folders.contains(parent), "{path} goes into a folder that was never made");
    }

    pub(crate) fn list(&self, path: &str) -> Dictionary {
        let path = Self::inside(path);
        assert!(
            self.folders.contains(&path),
            "pymobiledevice3 ends at a listing of {path}, which is not there"
        );
        let inside = |full: &str| {
            full.strip_prefix(&format!("{path}/")).filter(|name| !name.contains('/')).map(str::to_owned)
        };
        let date = Value::Date(std::time::SystemTime::UNIX_EPOCH.into());
        let entry = |kind: &str, size: usize| {
            Value::Dictionary(dictionary([
                ("DLFileType", kind.into()),
                ("DLFileSize", (size as u64).into()),
                ("DLFileModificationDate", date.clone()),
            ]))
        };
        let folders = self
            .folders
            .iter()
            .filter_map(|full| inside(full))
            .map(|name| (name, entry("DLFileTypeDirectory", 0)));
        let files = self.files.iter().filter_map(|(full, bytes)| {
            inside(full).map(|name| (name, entry("DLFileTypeRegular", bytes.len())))
        });
        folders.chain(files).collect()
    }

    pub(crate) fn progress(message: &[Value], at: usize) {
        let progress = message.get(at).expect("both hosts look at the progress").as_real();
        assert!(progress.is_some_and(|percent| (0.0..=100.0).contains(&percent)), "{message:?}");
    }

    pub(crate) fn download(&mut self, message: &[Value], xml: bool) -> io::Result<()> {
        Self::progress(message, 3);
        let paths: Vec<String> =
            message[1].as_array().unwrap().iter().map(|path| Self::inside(text(path))).collect();
        let missing = paths.iter().filter(|path| !self.files.contains_key(*path)).count();
        assert!(
            missing == 0 || paths.len() == 1,
            "libimobiledevice stops at the first that fails: {paths:?}"
        );
        let mut failed = 0;
        for path in paths {
            self.stream.write_all(&(path.len() as u32).to_be_bytes())?;
            self.stream.write_all(path.as_bytes())?;
            if let Some(bytes) = self.files.get(&path).cloned() {
                for block in bytes.chunks(32 << 10) {
                    self.stream.write_all(&(block.len() as u32 + 1).to_be_bytes())?;
                    self.stream.write_all(&[0x0C])?;
                    self.stream.write_all(block)?;
                }
                self.stream.write_all(&[0, 0, 0, 1, 0])?;
            } else {
                failed += 1;
                self.stream.write_all(&[0, 0, 0, 8, 6])?;
                self.stream.write_all(b"no file")?;
            }
        }
        self.stream.write_all(&[0; 4]).unwrap();
        let (code, content) =
            if failed > 0 { (-13, Value::Dictionary(Dictionary::new())) } else { (0, EMPTY.into()) };
        self.status(code, content, xml)
    }

    pub(crate) fn upload(&mut self, message: &[Value], xml: bool) -> io::Result<()> {
        assert!(message.len() >= 4, "libimobiledevice says nothing and waits for ever");
        Self::progress(message, 2);
        assert!(
            message[1].as_dictionary().is_some() && message[3].as_signed_integer().is_some(),
            "{message:?}"
        );
        loop {
            let length = self.number()?;
            if length == 0 {
                break;
            }
            assert!(length <= 4096);
            let on_phone = String::from_utf8(self.bytes(length)?).unwrap();
            assert!(on_phone.starts_with('/'), "{on_phone}");
            let length = self.number()?;
            assert!(length > 0 && length <= 4096);
            let path = Self::inside(&String::from_utf8(self.bytes(length)?).unwrap());
            self.expect_parent(&path);
            let (file, end) = self.blocks(&path)?;
            self.ends.push((on_phone, end));
            self.files.insert(path, file);
        }
        self.status(0, Value::Dictionary(Dictionary::new()), xml)
    }

    pub(crate) fn blocks(&mut self, path: &str) -> io::Result<(Vec<u8>, u8)> {
        let mut file = Vec::new();
        loop {
            let length = self.number()?;
            assert!(length > 0, "a length of zero inside {path} ends libimobiledevice's batch");
            let code = self.bytes(1)?[0];
            let data = self.bytes(length - 1)?;
            match code {
                0x0C => {
                    assert!(!data.is_empty(), "pymobiledevice3 takes no empty block");
                    file.extend(data);
                }
                0x00 => {
                    assert!(data.is_empty());
                    return Ok((file, code));
                }
                0x0B => {
                    assert!(std::str::from_utf8(&data).is_ok());
                    return Ok((file, code));
                }
                other => panic!("a block of code {other:#x} at {path}"),
            }
        }
    }

    pub(crate) fn move_items(&mut self, message: &[Value], xml: bool) -> io::Result<()> {
        Self::progress(message, 3);
        for (from, to) in message[1].as_dictionary().unwrap() {
            let (from, to) = (Self::inside(from), Self::inside(text(to)));
            self.expect_parent(&to);
            let file =
                self.files.remove(&from).unwrap_or_else(|| panic!("{from} is to be moved and is not there"));
            self.files.insert(to, file);
        }
        self.status(0, EMPTY.into(), xml)
    }

    pub(crate) fn remove_items(&mut self, message: &[Value], xml: bool) -> io::Result<()> {
        Self::progress(message, 3);
        for path in message[1].as_array().unwrap() {
            let path = Self::inside(text(path));
            let below = format!("{path}/");
            self.folders.retain(|folder| *folder != path && !folder.starts_with(&below));
            self.files.retain(|file, _| *file != path && !file.starts_with(&below));
        }
        self.status(0, EMPTY.into(), xml)
    }
}
