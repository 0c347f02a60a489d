//! Findings to a ladder of remedies, least risk first.
