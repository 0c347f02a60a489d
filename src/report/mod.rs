//! Text, JSON and HTML from the same values.
