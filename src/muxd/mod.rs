//! The phone's side of the USB cable: what is on the bus. The one module that knows `rusb`.
//!
//! It looks and touches nothing: no interface is claimed and no configuration changed, since a usbmuxd may be at work
//! on the same phone.

mod sysfs;
pub mod usb;
