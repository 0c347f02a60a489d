//! The orientation in an Exif block (CIPA DC-008, a TIFF 6.0 directory): read, set to upright, or written alone.
//!
//! Knows bytes only. A block that is damaged has no orientation; nothing is ever read or written outside it.

/// The tag that says how a picture is to be turned, and its type: one SHORT.
const ORIENTATION: u16 = 0x0112;
const SHORT: u16 = 3;
/// Entries of a directory that are looked at.
const ENTRIES_MAX: u16 = 512;

/// How the picture is to be turned (1 … 8); `None` where the block does not say. `tiff` begins with its byte order.
pub(super) fn orientation(tiff: &[u8]) -> Option<u8> {
    let (order, at) = orientation_at(tiff)?;
    let value = order.u16(tiff, at)?;
    u8::try_from(value).ok().filter(|value| (1..=8).contains(value))
}

/// Says that the picture is upright: for pixels that have been turned already.
pub(super) fn set_upright(tiff: &mut [u8]) {
    let Some((order, at)) = orientation_at(tiff) else { return };
    if let Some(value) = tiff.get_mut(at..at + 2) {
        value.copy_from_slice(&order.bytes(1));
    }
}

/// A block that says the orientation and nothing else.
pub(super) fn only_orientation(orientation: u8) -> Vec<u8> {
    let mut tiff = b"MM\0*\0\0\0\x08\0\x01".to_vec();
    tiff.extend_from_slice(&ORIENTATION.to_be_bytes());
    tiff.extend_from_slice(&SHORT.to_be_bytes());
    tiff.extend_from_slice(&[0, 0, 0, 1, 0, orientation, 0, 0]);
    tiff.extend_from_slice(&[0; 4]);
    tiff
}

#[derive(Clone, Copy)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn u16(self, tiff: &[u8], at: usize) -> Option<u16> {
        let bytes = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(match self {
            Order::Big => u16::from_be_bytes(bytes),
            Order::Little => u16::from_le_bytes(bytes),
        })
    }

    fn u32(self, tiff: &[u8], at: usize) -> Option<u32> {
        let bytes = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(match self {
            Order::Big => u32::from_be_bytes(bytes),
            Order::Little => u32::from_le_bytes(bytes),
        })
    }

    fn bytes(self, value: u16) -> [u8; 2] {
        match self {
            Order::Big => value.to_be_bytes(),
            Order::Little => value.to_le_bytes(),
        }
    }
}

/// Where the first directory holds the orientation's value.
fn orientation_at(tiff: &[u8]) -> Option<(Order, usize)> {
    let order = match tiff.get(..4)? {
        b"MM\0*" => Order::Big,
        b"II*\0" => Order::Little,
        _ => return None,
    };
    let directory = usize::try_from(order.u32(tiff, 4)?).ok()?;
    let entries = order.u16(tiff, directory)?.min(ENTRIES_MAX);
    for entry in 0..usize::from(entries) {
        let at = directory.checked_add(2 + entry * 12)?;
        if order.u16(tiff, at)? == ORIENTATION && order.u16(tiff, at + 2)? == SHORT {
            return tiff.get(at + 8..at + 10).map(|_| (order, at + 8));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LITTLE: &[u8] =
        b"II*\0\x08\0\0\0\x02\0\x0f\x01\x02\0\x01\0\0\0A\0\0\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";

    #[test]
    fn both_byte_orders_are_read() {
        assert_eq!(orientation(LITTLE), Some(6));
        for turned in 1..=8 {
            assert_eq!(orientation(&only_orientation(turned)), Some(turned));
        }
        for wrong in [0, 9, 255] {
            assert_eq!(orientation(&only_orientation(wrong)), None);
        }
    }

    #[test]
    fn a_block_cut_at_any_byte_says_nothing_and_harms_nothing() {
        for cut in 0..LITTLE.len() - 6 {
            assert_eq!(orientation(&LITTLE[..cut]), None, "cut at {cut}");
        }
        let mut far = LITTLE.to_vec();
        far[4..8].copy_from_slice(&[0xff; 4]);
        assert_eq!(orientation(&far), None);
    }

    #[test]
    fn upright_changes_two_bytes_and_no_others() {
        let mut turned = LITTLE.to_vec();
        set_upright(&mut turned);
        assert_eq!(orientation(&turned), Some(1));
        assert_eq!(turned.iter().zip(LITTLE).filter(|(a, b)| a != b).count(), 1);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), big: bool) {
            let head: &[u8] = if big { b"MM\0*\0\0\0\x08" } else { b"II*\0\x08\0\0\0" };
            bytes.splice(0..0, head.iter().copied());
            let _ = orientation(&bytes);
        }
    }
}
