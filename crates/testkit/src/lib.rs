//! Starts coordinators and marbles for tests; golden fixtures.
