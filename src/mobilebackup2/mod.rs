//! DeviceLink messages and streams; the host's side of a backup, inside one device's folder.
