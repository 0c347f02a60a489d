//! The catalogue of remedies, and the gate that clears a risky one.
