//! phx
