//! What a device's configurations describe, read out of the bytes themselves as chapter 9 of the USB specification
//! lays them out: a device may announce more than it shows, and libusb's answer to that is a list without memory.
//!
//! Knows nothing of multiplexers.

/// Configurations beyond this are not looked at: none has been seen to have so many.
pub(super) const CONFIGURATIONS_MAX: u8 = 16;
/// Endpoints of an interface; there are no more addresses than this.
const ENDPOINTS_MAX: usize = 30;
const CONFIGURATION: u8 = 2;
const CONFIGURATION_BYTES: usize = 9;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;
/// The kind of an endpoint, in its attributes.
const KIND: u8 = 3;
const BULK: u8 = 2;

/// An interface in its first setting, as a configuration describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) number: u8,
    pub(super) class: [u8; 3],
    pub(super) endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) address: u8,
    pub(super) is_bulk: bool,
    pub(super) packet_bytes: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Configuration {
    pub(super) value: u8,
    pub(super) interfaces: Vec<Interface>,
}

/// The configurations that stand in these bytes one after the other. What is cut off or does not hold what it
/// announces is left out, and so is everything behind a length that cannot be.
pub(super) fn parse(mut bytes: &[u8]) -> Vec<Configuration> {
    let mut found = Vec::new();
    while found.len() < usize::from(CONFIGURATIONS_MAX)
        && let [length, CONFIGURATION, low, high, _, value, ..] = *bytes
    {
        let (length, total) = (usize::from(length), usize::from(u16::from_le_bytes([low, high])));
        if length < CONFIGURATION_BYTES || total < length || bytes.len() < length {
            break;
        }
        let (own, rest) = bytes.split_at(total.min(bytes.len()));
        found.push(Configuration { value, interfaces: interfaces(&own[length..]) });
        bytes = rest;
    }
    found
}

/// An interface's setting and the number of endpoints that it announces.
struct Setting {
    number: u8,
    announced: usize,
    interface: Interface,
}

fn interfaces(mut bytes: &[u8]) -> Vec<Interface> {
    let mut settings: Vec<Setting> = Vec::new();
    while let [length, kind, ..] = *bytes {
        let length = usize::from(length);
        if length < 2 || bytes.len() < length {
            break;
        }
        let (own, rest) = bytes.split_at(length);
        match (kind, own) {
            (INTERFACE, &[_, _, number, setting, endpoints, class, subclass, protocol, _, ..]) => {
                let class = [class, subclass, protocol];
                let interface = Interface { number, class, endpoints: Vec::new() };
                settings.push(Setting { number: setting, announced: endpoints.into(), interface });
            }
            (ENDPOINT, &[_, _, address, attributes, low, high, _, ..]) => {
                if let Some(setting) = settings.last_mut()
                    && setting.interface.endpoints.len() <= ENDPOINTS_MAX
                {
                    setting.interface.endpoints.push(Endpoint {
                        address,
                        is_bulk: attributes & KIND == BULK,
                        // The upper bits mean something else on other kinds of endpoints.
                        packet_bytes: u16::from_le_bytes([low, high]) & 0x07FF,
                    });
                }
            }
            _ => {}
        }
        bytes = rest;
    }
    let whole =
        |setting: &Setting| setting.number == 0 && setting.announced == setting.interface.endpoints.len();
    settings.into_iter().filter(whole).map(|setting| setting.interface).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINTS: [u8; 14] = [7, 5, 0x04, 2, 0, 2, 0, 7, 5, 0x85, 2, 0, 2, 0];

    fn interface(number: u8, setting: u8, endpoints: u8) -> [u8; 9] {
        [9, 4, number, setting, endpoints, 255, 254, 2, 0]
    }

    fn configuration(value: u8, content: &[u8]) -> Vec<u8> {
        let [low, high] = u16::try_from(CONFIGURATION_BYTES + content.len()).unwrap().to_le_bytes();
        [&[9, 2, low, high, 1, value, 0, 0xC0, 250][..], content].concat()
    }

    #[test]
    fn interfaces_are_found_in_their_first_setting_with_their_endpoints() {
        let foreign = [4, 0x24, 1, 2];
        let content =
            [&interface(0, 0, 0)[..], &foreign, &interface(1, 0, 2), &ENDPOINTS, &interface(1, 1, 0)]
                .concat();
        let found = parse(&[configuration(3, &content), configuration(4, &[])].concat());
        let endpoint = |address| Endpoint { address, is_bulk: true, packet_bytes: 512 };
        let class = [255, 254, 2];
        let interfaces = vec![
            Interface { number: 0, class, endpoints: vec![] },
            Interface { number: 1, class, endpoints: vec![endpoint(0x04), endpoint(0x85)] },
        ];
        let expected =
            [Configuration { value: 3, interfaces }, Configuration { value: 4, interfaces: Vec::new() }];
        assert_eq!(found, expected);
    }

    #[test]
    fn endpoints_that_are_announced_and_not_there_make_no_interface() {
        // The total tells the truth, and ends within the first endpoint, or before it.
        for kept in [0, 1, 2, 6, 7, 13] {
            let content = [&interface(1, 0, 2)[..], &ENDPOINTS[..kept]].concat();
            assert_eq!(parse(&configuration(1, &content))[0].interfaces, [], "{kept}");
        }
        let more = [&interface(1, 0, 1)[..], &ENDPOINTS].concat();
        assert_eq!(parse(&configuration(1, &more))[0].interfaces, []);
        // An endpoint too short to be one.
        let short = [&interface(1, 0, 1)[..], &[6, 5, 4, 2, 0, 2]].concat();
        assert_eq!(parse(&configuration(1, &short))[0].interfaces, []);
    }

    #[test]
    fn cut_anywhere_nothing_is_found_that_is_not_there() {
        let content = [&interface(1, 0, 2)[..], &ENDPOINTS].concat();
        let whole = configuration(1, &content);
        assert_eq!(parse(&whole)[0].interfaces.len(), 1);
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).iter().all(|it| it.interfaces.is_empty()), "cut at {length}");
        }
    }

    #[test]
    fn lengths_that_cannot_be_end_the_reading_and_no_bytes_panic() {
        assert_eq!(parse(&[0; 64]), []);
        assert_eq!(parse(&[9, 2, 0, 0, 1, 1, 0, 0, 0]), []);
        assert_eq!(parse(&configuration(1, &[0, 0, 0]))[0].interfaces, []);
        assert_eq!(parse(&configuration(1, &[]).repeat(100)).len(), usize::from(CONFIGURATIONS_MAX));
        let mut state = 1_u32;
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..64)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    // Small numbers are lengths and kinds.
                    u8::try_from(state >> 24).unwrap() % 12
                })
                .collect();
            parse(&configuration(1, &bytes));
            parse(&bytes);
        }
    }
}
