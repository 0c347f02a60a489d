//! Paths that came from a phone: what may be used below a folder of ours, and what may not.
//!
//! Knows no file system. `cap-std` keeps every access inside its folder anyway; this keeps hostile names out of
//! manifests, reports and comparisons as well.

/// The longest path that is accepted, in bytes.
pub const PATH_BYTES_MAX: usize = 1024;
/// The most components that are accepted.
pub const COMPONENTS_MAX: usize = 32;

/// True for a path that goes down from a root and nowhere else: no leading slash, no empty, `.` or `..` component, no
/// control character, and bounded in length and depth.
#[must_use]
pub fn is_clean_relative(path: &str) -> bool {
    path.len() <= PATH_BYTES_MAX
        && path.split('/').count() <= COMPONENTS_MAX
        && path.split('/').all(is_clean_component)
}

/// True for a name of one component: not empty, not `.` or `..`, no slash, no control character, at most 255 bytes.
#[must_use]
pub fn is_clean_component(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.chars().any(|c| c == '/' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_phones_really_have_is_clean() {
        for path in
            ["DCIM/100APPLE/IMG_0001.HEIC", "PhotoData/CPLAssets/group12/ABC.JPG", "DCIM/.MISC/a b\\c.JPG"]
        {
            assert!(is_clean_relative(path), "{path}");
        }
    }

    #[test]
    fn what_leads_elsewhere_is_not() {
        let deep = ["a"; COMPONENTS_MAX + 1].join("/");
        let long = format!("DCIM/{}", "x".repeat(256));
        for path in [
            "",
            "/etc/passwd",
            "DCIM/../../x",
            "DCIM//x",
            "DCIM/./x",
            "..",
            "DCIM/a\0b",
            "a/\n",
            "DCIM/",
            &deep,
            &long,
        ] {
            assert!(!is_clean_relative(path), "{path:?}");
        }
    }
}
