//! AFC: packets, and a client that keeps requests in flight.
