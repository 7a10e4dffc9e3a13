//! The sealed format, version 1. Pure functions over bytes: the same code serves Coordinator, command line and fuzzer.
