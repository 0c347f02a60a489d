//! Which files of a backup are meant: patterns for domains and for paths, as people write them for files.
//!
//! `*` stands for anything but a slash, `**` for anything, `?` for one character but a slash. A pattern for paths without a
//! slash is meant for the file's own name, wherever it lies, as in `*.sqlite`.

/// Longest pattern: far beyond any path of a phone.
const PATTERN_CHARS_MAX: usize = 1024;

/// One pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    steps: Vec<Step>,
    /// Only the last component counts.
    name_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Some,
    /// `**`
    Everything,
}

impl Pattern {
    /// For a path. `None`: too long, or empty.
    #[must_use]
    pub fn path(text: &str) -> Option<Self> {
        let steps = steps(text.strip_prefix('/').unwrap_or(text))?;
        Some(Self { name_only: !text.contains('/') && !steps.contains(&Step::Everything), steps })
    }

    /// For a domain.
    #[must_use]
    pub fn domain(text: &str) -> Option<Self> {
        Some(Self { steps: steps(text)?, name_only: false })
    }

    /// Whether it fits.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        let text = if self.name_only { text.rsplit('/').next().unwrap_or(text) } else { text };
        let text: Vec<char> = text.chars().collect();
        fits(&self.steps, &text)
    }
}

fn steps(text: &str) -> Option<Vec<Step>> {
    if text.is_empty() || text.chars().count() > PATTERN_CHARS_MAX {
        return None;
    }
    let mut steps: Vec<Step> = Vec::new();
    for c in text.chars() {
        match (c, steps.last()) {
            ('*', Some(Step::Everything)) => {}
            ('*', Some(Step::Some)) => *steps.last_mut().expect("there is a last one") = Step::Everything,
            ('*', _) => steps.push(Step::Some),
            ('?', _) => steps.push(Step::One),
            (c, _) => steps.push(Step::Literal(c)),
        }
    }
    Some(steps)
}

/// A row of states, one for each step that may be next: so no pattern takes more time than its length times the text's.
fn fits(steps: &[Step], text: &[char]) -> bool {
    let mut at = vec![false; steps.len() + 1];
    at[0] = true;
    skip_stars(steps, &mut at);
    for &c in text {
        let mut next = vec![false; steps.len() + 1];
        for (from, step) in steps.iter().enumerate().filter(|(from, _)| at[*from]) {
            match *step {
                Step::Literal(wanted) => next[from + 1] |= wanted == c,
                Step::One => next[from + 1] |= c != '/',
                Step::Some => next[from] |= c != '/',
                Step::Everything => next[from] = true,
            }
        }
        skip_stars(steps, &mut next);
        at = next;
    }
    at[steps.len()]
}

/// A star may stand for nothing.
fn skip_stars(steps: &[Step], at: &mut [bool]) {
    for (from, step) in steps.iter().enumerate() {
        if at[from] && matches!(step, Step::Some | Step::Everything) {
            at[from + 1] = true;
        }
    }
}

/// Which files are meant. Without a pattern of one kind, that kind leaves nothing out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// One of them must fit the domain.
    pub domains: Vec<Pattern>,
    /// One of them must fit the path.
    pub paths: Vec<Pattern>,
}

impl Choice {
    /// Whether this file is meant.
    #[must_use]
    pub fn takes(&self, domain: &str, path: &str) -> bool {
        let one_of =
            |patterns: &[Pattern], text| patterns.is_empty() || patterns.iter().any(|one| one.fits(text));
        one_of(&self.domains, domain) && one_of(&self.paths, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_people_mean() {
        for (pattern, fitting, other) in [
            ("*.sqlite", "Library/a.sqlite", "Library/a.sqlite/x"),
            ("Media/DCIM/*", "Media/DCIM/x", "Media/DCIM/100APPLE/x"),
            ("Media/DCIM/**", "Media/DCIM/100APPLE/x", "Media/dcim/x"),
            ("Library/SMS/sms.db", "Library/SMS/sms.db", "Library/SMS/sms.db-wal"),
            ("/Library/*/sms.db", "Library/SMS/sms.db", "Library/SMS/Parts/sms.db"),
            ("IMG_000?.HEIC", "Media/DCIM/100APPLE/IMG_0001.HEIC", "IMG_00010.HEIC"),
            ("**.db", "Library/SMS/sms.db", "Library/SMS/sms.dbx"),
            ("**/Parts/**", "Library/Parts/x", "Library/Part/x"),
            ("*", "anything/at/all", ""),
        ] {
            let one = Pattern::path(pattern).unwrap();
            assert!(one.fits(fitting), "{pattern} {fitting}");
            assert!(!one.fits(other) || other.is_empty(), "{pattern} {other}");
        }
        let apps = Pattern::domain("AppDomain-*").unwrap();
        assert!(apps.fits("AppDomain-org.example.notes") && !apps.fits("AppDomainGroup-x"));
        assert!(Pattern::path("").is_none() && Pattern::path(&"x".repeat(2000)).is_none());
    }

    #[test]
    fn many_stars_take_no_longer_than_few() {
        let pattern = Pattern::path(&format!("/{}b", "a*".repeat(300))).unwrap();
        assert!(!pattern.fits(&"a".repeat(1000)));
    }

    #[test]
    fn a_choice_without_patterns_takes_everything() {
        assert!(Choice::default().takes("HomeDomain", "x"));
        let choice = Choice {
            domains: vec![Pattern::domain("HomeDomain").unwrap()],
            paths: vec![Pattern::path("*.db").unwrap(), Pattern::path("*.plist").unwrap()],
        };
        assert!(choice.takes("HomeDomain", "a/b.plist") && !choice.takes("HomeDomain", "a/b"));
        assert!(!choice.takes("RootDomain", "a/b.plist"));
    }
}
