//! The numbers of a backup: what a host answers by errno, how a stream ends, and what a device's own error means for
//! the person who reads it.
//!
//! The host's numbers are those of libimobiledevice's `idevicebackup2.c`; the device's are `MBErrorDomain`, gathered from
//! public reports of libimobiledevice and pymobiledevice3.

use std::io;

/// A block of file data follows.
pub const BLOCK_DATA: u8 = 0x0C;
/// A file ended well.
pub const BLOCK_SUCCESS: u8 = 0x00;
/// A file ended with an error of the side that stores it.
pub const BLOCK_LOCAL_ERROR: u8 = 0x06;
/// A file ended with an error of the phone.
pub const BLOCK_REMOTE_ERROR: u8 = 0x0B;

/// Something else went wrong.
pub const GENERIC: i64 = -1;
/// Not there.
pub const NOT_FOUND: i64 = -6;
/// Already there.
pub const EXISTS: i64 = -7;
/// No folder.
pub const NOT_A_DIRECTORY: i64 = -8;
/// A folder.
pub const IS_A_DIRECTORY: i64 = -9;
/// A link where none may be.
pub const LINK_LOOP: i64 = -10;
/// Reading or writing failed.
pub const INPUT_OUTPUT: i64 = -11;
/// Several things went wrong; the last element says which.
pub const MULTIPLE: i64 = -13;
/// The disk is full.
pub const NO_SPACE: i64 = -15;

/// The status code for a local error.
#[must_use]
pub fn of_io(error: &io::Error) -> i64 {
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        io::ErrorKind::AlreadyExists => EXISTS,
        io::ErrorKind::NotADirectory => NOT_A_DIRECTORY,
        io::ErrorKind::IsADirectory => IS_A_DIRECTORY,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => NO_SPACE,
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => LINK_LOOP,
        _ if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => INPUT_OUTPUT,
        _ => GENERIC,
    }
}

/// What a device's error code means, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// The code.
    pub code: i64,
    /// The cause, one plain sentence.
    pub cause: &'static str,
    /// The next step.
    pub next_step: &'static str,
}

/// The device wants its screen unlocked, or its passcode was not entered in time.
pub const DEVICE_LOCKED: i64 = 208;
/// The host has too little space.
pub const HOST_FULL: i64 = 105;
/// The device could not use the metadata it was sent back.
pub const BAD_MANIFEST: i64 = 205;

const MEANINGS: &[Meaning] = &[
    Meaning {
        code: 1,
        cause: "The phone met an error that it does not name, often because it was locked.",
        next_step: "Unlock the phone, keep its screen on, and run the backup again.",
    },
    Meaning {
        code: 2,
        cause: "Several things went wrong on the phone.",
        next_step: "Run the backup again; if it happens again, restart the phone first.",
    },
    Meaning {
        code: 3,
        cause: "The phone still holds the snapshot of an interrupted backup.",
        next_step: "Restart the phone, then run the backup again.",
    },
    Meaning {
        code: 4,
        cause: "The phone asked for a file of the earlier backup that is not there.",
        next_step: "Run the backup again; damaged records of the earlier one are set aside by themselves.",
    },
    Meaning {
        code: 11,
        cause: "The phone could not read a record of the earlier backup.",
        next_step: "Run the backup again; damaged records of the earlier one are set aside by themselves.",
    },
    Meaning {
        code: 13,
        cause: "The phone says that something it needs is locked.",
        next_step: "Unlock the phone, keep its screen on, and run the backup again.",
    },
    Meaning {
        code: 14,
        cause: "The phone is busy with another backup.",
        next_step: "Wait until its iCloud backup is finished, or restart the phone, then run the backup again.",
    },
    Meaning {
        code: 100,
        cause: "The phone could not read or export some of its data.",
        next_step: "Run the backup again; if it fails each time, restart the phone first.",
    },
    Meaning {
        code: 102,
        cause: "The phone stopped with an error that nobody has explained yet.",
        next_step: "Restart the phone and run the backup again.",
    },
    Meaning {
        code: 103,
        cause: "The phone could not read the status of the earlier backup.",
        next_step: "Run the backup again; a damaged status is set aside by itself.",
    },
    Meaning {
        code: 104,
        cause: "The phone could not send several of its files; this happens when its screen locks on the way.",
        next_step: "Keep the screen on, turn on airplane mode, and run the backup again: it continues with what is missing.",
    },
    Meaning {
        code: HOST_FULL,
        cause: "There is not enough free space on this computer for the backup.",
        next_step: "Free some space, or choose another disk with --dest, and run the backup again.",
    },
    Meaning {
        code: 106,
        cause: "The phone has not enough free space of its own to prepare a backup.",
        next_step: "Copy the photos first, then free about 1 GB on the phone (offload apps), and run the backup again.",
    },
    Meaning {
        code: 202,
        cause: "The backup was cancelled on the phone or the cable was pulled.",
        next_step: "Run the backup again and leave the phone connected.",
    },
    Meaning {
        code: 203,
        cause: "The phone's backup has a version that does not fit.",
        next_step: "Update the phone or this program.",
    },
    Meaning {
        code: BAD_MANIFEST,
        cause: "The phone could not use the records of the earlier backup.",
        next_step: "Run the backup again; damaged records are set aside by themselves and the phone starts over.",
    },
    Meaning {
        code: 207,
        cause: "The backup password is wrong or missing.",
        next_step: "Give the password that was set for backups of this phone, not its passcode or Apple Account password.",
    },
    Meaning {
        code: DEVICE_LOCKED,
        cause: "The passcode was not entered on the phone in time, or the phone locked itself.",
        next_step: "Run the backup again and enter the passcode on the phone when it asks for it.",
    },
    Meaning {
        code: 209,
        cause: "The phone could not find the key of a file.",
        next_step: "Run the backup again as a full one.",
    },
    Meaning {
        code: 211,
        cause: "Find My is on.",
        next_step: "Turn Find My off in Settings, then try again.",
    },
    Meaning {
        code: 212,
        cause: "The phone has not been set up to its end.",
        next_step: "Finish the setup on the phone until its home screen is there.",
    },
    Meaning { code: 303, cause: "The iCloud storage is full.", next_step: "Free or buy iCloud storage." },
    Meaning {
        code: 305,
        cause: "iCloud wants the owner to sign in again.",
        next_step: "Sign in again in Settings on the phone.",
    },
];

/// What a device's error code means; a code that no report explains is said to be one.
#[must_use]
pub fn meaning(code: i64) -> Meaning {
    let known = MEANINGS.iter().find(|meaning| meaning.code == code).copied();
    let cancelled = (217..=224).contains(&code);
    known.unwrap_or(if cancelled {
        Meaning {
            code,
            cause: "The phone put the backup off or cancelled it.",
            next_step: "Keep the phone unlocked and connected, and run the backup again.",
        }
    } else {
        Meaning {
            code,
            cause: "The phone stopped with an error that is not known.",
            next_step: "Restart the phone and run the backup again.",
        }
    })
}

/// What some of the codes mean when a phone is restored: there the other side is short of space, and it is the backup that
/// is read.
const IN_A_RESTORE: &[Meaning] = &[
    Meaning {
        code: 1,
        cause: "The phone could not go on with the restore.",
        next_step: "Restart the phone, then restore again.",
    },
    Meaning {
        code: 4,
        cause: "The phone asked for a file that the backup does not hold.",
        next_step: "Verify the backup: idevice-fix backup verify.",
    },
    Meaning {
        code: 13,
        cause: "The phone says that something it needs is locked.",
        next_step: "Unlock the phone, keep its screen on, and restore again.",
    },
    Meaning {
        code: 102,
        cause: "The phone could not put the restore in place: an earlier one waits for its restart.",
        next_step: "Restart the phone, then restore again.",
    },
    Meaning {
        code: HOST_FULL,
        cause: "The phone has not enough free space for what is in the backup.",
        next_step: "Free space on the phone, or use one with more storage.",
    },
    Meaning {
        code: 202,
        cause: "The restore was cancelled on the phone or the cable was pulled.",
        next_step: "Restore again and leave the phone connected.",
    },
    Meaning {
        code: 203,
        cause: "The backup comes from a newer iOS than the phone has.",
        next_step: "Update the phone in Settings > General > Software Update, then restore again.",
    },
    Meaning {
        code: BAD_MANIFEST,
        cause: "The phone could not use the records of the backup, or a file of it.",
        next_step: "Verify the backup: idevice-fix backup verify.",
    },
    Meaning {
        code: 207,
        cause: "The backup password is wrong or missing.",
        next_step: "Give the password that this backup was made with; it may have been changed since.",
    },
    Meaning {
        code: DEVICE_LOCKED,
        cause: "The passcode was not entered on the phone in time, or the phone locked itself.",
        next_step: "Restore again and enter the passcode on the phone when it asks for it.",
    },
    Meaning {
        code: 211,
        cause: "Find My is on, and a phone with Find My on is not restored.",
        next_step: "Turn it off on the phone: Settings > your name > Find My > Find My iPhone. Then restore again.",
    },
    Meaning {
        code: 212,
        cause: "The phone has not been set up to its end.",
        next_step: "Finish the setup on the phone until its home screen is there, then restore again.",
    },
];

/// What a device's error code means in a restore.
#[must_use]
pub fn meaning_of_restore(code: i64) -> Meaning {
    let known = IN_A_RESTORE.iter().find(|meaning| meaning.code == code).copied();
    known.unwrap_or(Meaning {
        code,
        cause: "The phone stopped the restore with an error that is not known.",
        next_step: "Restart the phone, then restore again.",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_becomes_the_code_that_the_phone_knows() {
        use rustix::io::Errno;
        for (errno, code) in [
            (Errno::NOENT, NOT_FOUND),
            (Errno::EXIST, EXISTS),
            (Errno::NOTDIR, NOT_A_DIRECTORY),
            (Errno::ISDIR, IS_A_DIRECTORY),
            (Errno::LOOP, LINK_LOOP),
            (Errno::IO, INPUT_OUTPUT),
            (Errno::NOSPC, NO_SPACE),
            (Errno::DQUOT, NO_SPACE),
            (Errno::PERM, GENERIC),
        ] {
            assert_eq!(of_io(&io::Error::from_raw_os_error(errno.raw_os_error())), code, "{errno:?}");
        }
    }

    #[test]
    fn every_meaning_says_what_to_do_and_is_there_once() {
        for table in [MEANINGS, IN_A_RESTORE] {
            for meaning in table {
                assert!(meaning.cause.ends_with('.') && meaning.next_step.ends_with('.'));
                assert_eq!(table.iter().filter(|other| other.code == meaning.code).count(), 1);
            }
        }
        assert_eq!(meaning_of_restore(4711).code, 4711);
        assert_eq!(meaning(9999).code, 9999);
    }
}
