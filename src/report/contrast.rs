//! The colours of the report can be told from what they stand on: text by 4.5 to 1 and shapes by 3 to 1, as the Web
//! Content Accessibility Guidelines want it (level AA), by day, by night and on paper.

const STYLE: &str = include_str!("style.css");

/// Text, and what it stands on.
const TEXT: [(&str, &str); 12] = [
    ("ink", "page"),
    ("ink", "card"),
    ("ink", "good-back"),
    ("ink", "bad-back"),
    ("ink", "open-back"),
    ("soft", "page"),
    ("soft", "card"),
    ("good", "card"),
    ("good", "good-back"),
    ("bad", "bad-back"),
    ("open", "open-back"),
    ("phone", "card"),
];
/// Shapes, and what they stand on.
const SHAPES: [(&str, &str); 9] = [
    ("phone", "card"),
    ("cloud", "card"),
    ("copy", "card"),
    ("vault", "card"),
    ("cloud", "track"),
    ("copy", "track"),
    ("phone", "track"),
    ("warn", "track"),
    ("bad", "track"),
];

/// The blocks of colours: day, night, paper.
fn blocks() -> Vec<&'static str> {
    STYLE.split(":root {").skip(1).map(|rest| rest.split('}').next().expect("there is a first")).collect()
}

/// The share of light that a colour gives back; what a block leaves out is as by day.
fn luminance(block: &str, name: &str) -> f64 {
    let wanted = format!("--{name}:");
    let found = block
        .split(&wanted)
        .nth(1)
        .or_else(|| blocks()[0].split(&wanted).nth(1))
        .expect("every colour is there");
    let hex = found.trim_start().trim_start_matches('#').split(';').next().expect("there is a first");
    let digits: String = if hex.len() == 3 { hex.chars().flat_map(|c| [c, c]).collect() } else { hex.into() };
    let parts = [0, 2, 4]
        .map(|at| f64::from(u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal")) / 255.0);
    let [red, green, blue] =
        parts.map(|part| if part <= 0.039_28 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

#[test]
fn every_colour_can_be_told_from_what_it_stands_on() {
    assert_eq!(blocks().len(), 3);
    for (at, block) in blocks().into_iter().enumerate() {
        for (pairs, wanted) in [(&TEXT[..], 4.5), (&SHAPES[..], 3.0)] {
            for (colour, back) in pairs {
                let (one, other) = (luminance(block, colour), luminance(block, back));
                let contrast = (one.max(other) + 0.05) / (one.min(other) + 0.05);
                assert!(contrast >= wanted, "block {at}: {colour} on {back} is {contrast:.2}");
            }
        }
    }
}
