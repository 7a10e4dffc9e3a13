//! Every call of every story fails once in every way, and the power goes after each.
