//! dispatcher-user
