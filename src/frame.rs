//! Length-prefixed property lists over a stream, bounded in bytes, depth and nodes before anything is parsed.
