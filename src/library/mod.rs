//! Photos.sqlite and the iCloud Photos engine's own files, as facts.
