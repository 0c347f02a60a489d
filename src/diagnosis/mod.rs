//! Rules: facts to findings, each with its evidence.
