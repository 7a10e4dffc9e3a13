//! Backups of standalone directories: create, list, inspect, verify, restore.
