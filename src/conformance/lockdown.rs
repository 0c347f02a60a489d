//! What lockdown says: before a session and inside one, what it must refuse, how it is encrypted, which services it
//! starts. Messages as in libimobiledevice `lockdown.c`, domains as in its `ideviceinfo.c`.

use std::sync::Arc;
use std::time::Duration;

use plist::Value;
use rustls::ClientConfig;
use tokio::time::timeout;

use super::node::{Node, Section};
use super::reason;
use super::shape;
use super::word::Word;
use crate::frame::{self, DictExt, Encoding, Limits};
use crate::lockdown::connection::Connection;
use crate::lockdown::message::{self, Request};
use crate::lockdown::tls::{self, Spoken};
use crate::lockdown::{CONNECT_WAIT, Error, PORT, PairRecord, Phone, Session};

/// The domains that are asked for, without `com.apple.mobile.debug`, which makes lockdownd crash.
const DOMAINS: &[&str] = &[
    "com.apple.Accessibility",
    "com.apple.PurpleBuddy",
    "com.apple.disk_usage",
    "com.apple.disk_usage.factory",
    "com.apple.fairplay",
    "com.apple.fmip",
    "com.apple.iTunes",
    "com.apple.international",
    "com.apple.iqagent",
    "com.apple.mobile.backup",
    "com.apple.mobile.battery",
    "com.apple.mobile.chaperone",
    "com.apple.mobile.data_sync",
    "com.apple.mobile.iTunes",
    "com.apple.mobile.iTunes.SQLMusicLibraryPostProcessCommands",
    "com.apple.mobile.iTunes.accessories",
    "com.apple.mobile.iTunes.store",
    "com.apple.mobile.internal",
    "com.apple.mobile.lockdown_cache",
    "com.apple.mobile.lockdownd",
    "com.apple.mobile.mobile_application_usage",
    "com.apple.mobile.nikita",
    "com.apple.mobile.restriction",
    "com.apple.mobile.software_behavior",
    "com.apple.mobile.sync_data_class",
    "com.apple.mobile.tethered_sync",
    "com.apple.mobile.third_party_termination",
    "com.apple.mobile.user_preferences",
    "com.apple.mobile.wireless_lockdown",
    "com.apple.purplebuddy",
    "com.apple.security.mac.amfi",
    "com.apple.xcode.developerdomain",
];
/// How long one domain may take.
const DOMAIN_WAIT: Duration = Duration::from_secs(3);

/// The services that are started. Not among them: `com.apple.crashreportmover`, which moves files as soon as it runs.
const SERVICES: &[&str] = &[
    "com.apple.afc",
    "com.apple.crashreportcopymobile",
    "com.apple.mobile.MCInstall",
    "com.apple.mobile.diagnostics_relay",
    "com.apple.mobile.heartbeat",
    "com.apple.mobile.house_arrest",
    "com.apple.mobile.installation_proxy",
    "com.apple.mobile.notification_proxy",
    "com.apple.mobilebackup2",
    "com.apple.misagent",
    "com.apple.os_trace_relay",
    "com.apple.springboardservices",
    "com.apple.syslog_relay",
];
/// How long one service may take to start.
const SERVICE_WAIT: Duration = Duration::from_secs(4);

/// What no phone has.
const NO_SUCH_DOMAIN: &str = "com.example.no-such-domain";
const NO_SUCH_KEY: &str = "NoSuchKeyAtAll";
const NO_SUCH_SERVICE: &str = "com.example.no-such-service";

/// Sessions that are opened at the same time: more than any host uses.
const SESSIONS_MAX: usize = 4;

/// What a stranger is told.
pub(super) async fn outside(phone: &Phone, into: &mut Section) -> Result<(), Error> {
    let mut connection = Connection::open(phone).await?;
    let kind = connection.query_type().await?;
    into.put(
        "QueryType",
        if kind == message::TYPE { Node::own(message::TYPE) } else { Node::own("another type") },
    );
    into.put("values", values(connection.value(None, None).await)?);
    for (name, request) in [
        ("GetValue SerialNumber", get(None, Some("SerialNumber"))),
        ("GetValue PasswordProtected", get(None, Some("PasswordProtected"))),
        ("GetValue com.apple.mobile.battery", get(Some("com.apple.mobile.battery"), None)),
        ("GetValue of a key that is none", get(None, Some(NO_SUCH_KEY))),
        ("StartService com.apple.afc", start("com.apple.afc")),
    ] {
        let answer = ask(phone, &mut connection, &request).await?;
        into.section(Word::own("requests")).insert(Word::own(name), answer.into());
    }
    Ok(())
}

/// What a trusted host is told. The model and the versions go to `phone_is`.
pub(super) async fn inside(
    session: &Session,
    into: &mut Section,
    phone_is: &mut Section,
) -> Result<(), Error> {
    let root = session.value(None, None).await?;
    if let Some(root) = root.as_dictionary() {
        let told = |key: &str, word: fn(&str) -> Option<Word>| {
            root.string(key).and_then(word).unwrap_or_else(|| Word::own("not in the usual form"))
        };
        phone_is.put("product_type", told("ProductType", Word::product_type));
        phone_is.put("ios_version", told("ProductVersion", Word::ios_version));
        phone_is.put("build", told("BuildVersion", Word::build));
    }
    into.put("values", shape::of(&root));
    for (name, domain, key) in [
        ("GetValue of a key that is none", None, Some(NO_SUCH_KEY)),
        ("GetValue of a domain that is none", Some(NO_SUCH_DOMAIN), None),
        ("GetValue of a key in a domain that is none", Some(NO_SUCH_DOMAIN), Some(NO_SUCH_KEY)),
    ] {
        let answer = match session.value(domain, key).await {
            Ok(Value::Dictionary(values)) if values.is_empty() => Word::own("answered, empty"),
            other => word_of(other.map(drop))?,
        };
        into.section(Word::own("requests")).insert(Word::own(name), answer.into());
    }
    for domain in DOMAINS {
        let told = match timeout(DOMAIN_WAIT, session.value(Some(domain), None)).await {
            Ok(value) => values(value)?,
            Err(_) => Node::own("no answer in time"),
        };
        into.section(Word::own("domains")).insert(Word::own(domain), told);
    }
    Ok(())
}

/// How sessions and services are encrypted, which services there are, and how many sessions there can be.
pub(super) async fn services(phone: &Phone, into: &mut Section) -> Result<(), Error> {
    let Some(record) = phone.muxer.pair_record(&phone.attached.udid).await? else {
        into.put("pair record", Node::own("not kept by the muxer"));
        return Ok(());
    };
    let record = PairRecord::from_plist(&record)?;
    let config = tls::client_config(&record)?;
    into.put("session", spoken(session_spoken(phone, &record, &config).await?));
    let mut connection = open(phone, &record, &config).await?;
    let mut service_told = false;
    for service in SERVICES {
        let started = timeout(SERVICE_WAIT, connection.start_service(service, None)).await;
        let answer = match started {
            Err(_) => {
                connection = open(phone, &record, &config).await?;
                Word::own("no answer in time")
            }
            Ok(Ok(started)) => {
                let stream =
                    timeout(CONNECT_WAIT, phone.muxer.connect(phone.attached.id, started.port)).await;
                if let (true, false, Ok(Ok(stream))) = (started.tls, service_told, stream) {
                    service_told = true;
                    let told = timeout(CONNECT_WAIT, tls::connect_and_tell(stream, &config)).await;
                    into.put(
                        "service",
                        told.ok().and_then(Result::ok).map_or(Node::own("failed"), |told| spoken(told.1)),
                    );
                }
                Word::own(if started.tls { "started, encrypted" } else { "started, plain" })
            }
            Ok(Err(error)) => {
                let word = word_of(Err(error))?;
                if word.as_str() == CLOSED {
                    connection = open(phone, &record, &config).await?;
                }
                word
            }
        };
        into.section(Word::own("services")).insert(Word::own(service), answer.into());
    }
    let refused = word_of(connection.start_service(NO_SUCH_SERVICE, None).await.map(drop))?;
    into.section(Word::own("requests"))
        .insert(Word::own("StartService of a service that is none"), refused.into());
    drop(connection);
    into.put("sessions at the same time", sessions(phone, &record, &config).await);
    Ok(())
}

async fn open(phone: &Phone, record: &PairRecord, config: &Arc<ClientConfig>) -> Result<Connection, Error> {
    Connection::open(phone).await?.start_session(record, config).await
}

/// Opens a session by hand, to see what was agreed.
async fn session_spoken(
    phone: &Phone,
    record: &PairRecord,
    config: &Arc<ClientConfig>,
) -> Result<Spoken, Error> {
    let request = Request::StartSession {
        host_id: Some(record.host_id().to_owned()),
        system_buid: Some(record.system_buid().to_owned()),
    };
    let wire = |source| Error::Wire { request: "StartSession".to_owned(), source };
    let opening = async {
        let mut stream = phone.muxer.connect(phone.attached.id, PORT).await?;
        let sent = Value::Dictionary(request.to_dictionary());
        frame::write(&mut stream, &sent, Encoding::Xml).await.map_err(wire)?;
        let reply = frame::read(&mut stream, &Limits::LOCKDOWN_UNTRUSTED).await.map_err(wire)?;
        let refusal = reply.as_dictionary().and_then(message::refusal_of);
        if let Some(refusal) = refusal {
            return Err(Error::Refused { request: "StartSession".to_owned(), refusal });
        }
        Ok(tls::connect_and_tell(stream, config).await?.1)
    };
    timeout(CONNECT_WAIT, opening).await.unwrap_or_else(|_| Err(Error::Timeout("StartSession".to_owned())))
}

fn spoken(spoken: Spoken) -> Node {
    let mut told = Section::default();
    told.put("version", Word::own(spoken.version.unwrap_or("another version")));
    told.put("cipher", Word::own(spoken.cipher.unwrap_or("another cipher")));
    told.into()
}

async fn sessions(phone: &Phone, record: &PairRecord, config: &Arc<ClientConfig>) -> Node {
    let mut open_now = Vec::new();
    while open_now.len() < SESSIONS_MAX {
        match open(phone, record, config).await {
            Ok(connection) => open_now.push(connection),
            Err(_) => return Word::number_up_to(open_now.len() as u64, SESSIONS_MAX as u64).into(),
        }
    }
    Node::own("4 or more")
}

const CLOSED: &str = "the connection broke";

fn get(domain: Option<&str>, key: Option<&str>) -> Request {
    Request::GetValue { domain: domain.map(str::to_owned), key: key.map(str::to_owned) }
}

fn start(service: &str) -> Request {
    Request::StartService { service: Some(service.to_owned()), escrow_bag: None }
}

/// What a request is answered; where the phone ends the connection over it, a new one is opened.
async fn ask(phone: &Phone, connection: &mut Connection, request: &Request) -> Result<Word, Error> {
    let word = word_of(connection.ask(request).await.map(drop))?;
    if word.as_str() == CLOSED {
        *connection = Connection::open(phone).await?;
    }
    Ok(word)
}

/// The values of a domain, or the refusal.
fn values(answer: Result<Value, Error>) -> Result<Node, Error> {
    match answer {
        Ok(value) => Ok(shape::of(&value)),
        Err(error) => Ok(word_of(Err(error))?.into()),
    }
}

/// An answer as a word; what ends the measuring of this part stays an error.
fn word_of(answer: Result<(), Error>) -> Result<Word, Error> {
    match answer {
        Ok(()) => Ok(Word::own("answered")),
        Err(error) if error.is_lost_connection() => Ok(Word::own(CLOSED)),
        Err(error @ Error::Refused { .. }) => Ok(reason::of_lockdown(&error)),
        Err(error) => Err(error),
    }
}
