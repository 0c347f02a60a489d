//! What is on the USB bus, seen without usbmuxd.
